"""The server beside llama-server and llama-cpp-python's server: the same streaming chat requests over loopback.

`http-1`, `http-4`, `http-16`: completion tokens per second of a closed loop of so many requests at a time, all greedy,
64 tokens each, all prompts different; times to the first token and to the end are shown. `http-16-first`: the median
time to the first token of that load. `http-shared`: wall time of 16 requests, 8 at a time, whose prompts share 400
words. `http-schema-1`, `http-schema-8`: JSON of a schema; results that were not cut off must follow it. `http-peer-1`,
`http-peer-16`: beside llama-cpp-python's server, which answers one request at a time.

All get as many slots as requests at a time, and 1024 tokens of context for each. The first round warms up. `python -m
benchmarks servers` measures all but the last two with both servers running, which takes a fraction of the time.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.http_load import Load, percentile_ms, run_load
from benchmarks.registry import Benchmark, Goal, Measurement, Settings
from benchmarks.server import LlamaServer, OurServer, PeerServer, ServerProcess

__all__ = ["BENCHMARKS", "LOADS", "N_CTX", "ServerLoad", "check_schema"]

N_CTX = 1024
N_GEN = 64
N_SCHEMA = 160
N_WORDS = 400
PEER = "server, beside llama-cpp-python's"
Bodies = Callable[[int], list[dict[str, Any]]]
"""Requests of a round."""
Value = Callable[[Load], float]


@dataclasses.dataclass(frozen=True)
class ServerLoad:
    """Requests of one kind, so many at a time, and what is read from them: (benchmark, its value)."""

    at_once: int
    bodies: Bodies
    values: tuple[tuple[Benchmark, Value], ...]
    schema: bool = False


def _chat(text: str, **options: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": N_GEN, **options}


def _plain(count: int, round_: int) -> list[dict[str, Any]]:
    from benchmarks.prompts import shared_prefix_texts

    return [_chat(text.strip()) for text in shared_prefix_texts(count, 0, 100 * round_ + count)]


def _shared(round_: int) -> list[dict[str, Any]]:
    from benchmarks.prompts import shared_prefix_texts

    return [_chat(text, max_tokens=16) for text in shared_prefix_texts(16, N_WORDS, round_)]


def _schema(round_: int) -> list[dict[str, Any]]:
    from benchmarks.cases.schema import FORMAT, SUBJECTS, prompt

    return [
        _chat(f"{prompt(subject)} Number {round_}.", max_tokens=N_SCHEMA, response_format=FORMAT)
        for subject in SUBJECTS
    ]


def _measure(
    settings: Settings, server: ServerProcess, at_once: int, bodies: Bodies, value: Value, *, schema: bool
) -> Measurement:
    rounds = []
    with server:
        for round_ in range(settings.inner + 1):
            load = run_load(server.port, bodies(round_), at_once)
            if schema:
                check_schema(load)
            if round_:
                rounds.append(load)
        variant = server.variant
    firsts = [answer.first for load in rounds for answer in load.answers]
    extras = {
        "tokens/s": statistics.median(load.rate for load in rounds),
        "first token p50, ms": percentile_ms(firsts, 0.5),
        "first token p95, ms": percentile_ms(firsts, 0.95),
        "wall, s": statistics.median(load.wall for load in rounds),
        "tokens": float(sum(answer.tokens for answer in rounds[-1].answers)),
    }
    texts = () if schema else tuple(answer.text for answer in rounds[-1].answers)
    return Measurement(statistics.median(value(load) for load in rounds), extras, {"cpu backend": variant}, texts)


def check_schema(load: Load) -> None:
    """Raises `RuntimeError` where an answer that was not cut off is no JSON of the schema."""
    from benchmarks.cases.schema import follows

    for answer in load.answers:
        if answer.finish != "length":
            follows(answer.text)


def _first(load: Load) -> float:
    return percentile_ms([answer.first for answer in load.answers], 0.5)


def _wall(load: Load) -> float:
    return load.wall


def _rate(load: Load) -> float:
    return load.rate


def _ours(settings: Settings, at_once: int) -> ServerProcess:
    return OurServer(settings, "--n_seq_max", str(at_once), "--n_ctx", str(N_CTX))


def _llama_server(settings: Settings, at_once: int) -> ServerProcess:
    return LlamaServer(settings, "-np", str(at_once), "-c", str(N_CTX * at_once))


def _peer(settings: Settings, at_once: int) -> ServerProcess:  # noqa: ARG001
    # As it is, each request ends the one before it: a crowd would get no texts.
    return PeerServer(settings, "--n_ctx", str(N_CTX), "--interrupt_requests", "false")


def _side(
    make: Callable[[Settings, int], ServerProcess], at_once: int, bodies: Bodies, value: Value, *, schema: bool = False
) -> Callable[[Settings], Measurement]:
    def measure(settings: Settings) -> Measurement:
        return _measure(settings, make(settings, at_once), at_once, bodies, value, schema=schema)

    return measure


def _case(
    name: str, title: str, unit: str, at_once: int, bodies: Bodies, value: Value, goal: Goal, *, peer: bool = False
) -> Benchmark:
    side = functools.partial(_side, at_once=at_once, bodies=bodies, value=value, schema="schema" in name)
    return Benchmark(name, title, unit, side(_ours), side(_peer if peer else _llama_server), goal=goal, warm=False)


def _loads(at_once: int) -> Bodies:
    return functools.partial(_plain, max(8, 2 * at_once))


BENCHMARKS = (
    _case("http-1", "server, one request at a time", "tokens/s", 1, _loads(1), _rate, Goal("ratio", 0.97)),
    _case("http-4", "server, 4 requests at a time", "tokens/s", 4, _loads(4), _rate, Goal("ratio", 1.05)),
    _case("http-16", "server, 16 requests at a time", "tokens/s", 16, _loads(16), _rate, Goal("ratio", 1.10)),
    _case("http-16-first", "time to the first token, 16 at a time", "ms", 16, _loads(16), _first, Goal("share", 0.8)),
    _case("http-shared", "16 prompts that share 400 words, 8 at a time", "s", 8, _shared, _wall, Goal("share", 1 / 3)),
    _case("http-schema-1", "JSON of a schema, one at a time", "tokens/s", 1, _schema, _rate, Goal("ratio", 1.15)),
    _case("http-schema-8", "JSON of a schema, 8 at a time", "tokens/s", 8, _schema, _rate, Goal("ratio", 1.10)),
    _case("http-peer-1", PEER, "tokens/s", 1, _loads(1), _rate, Goal("ratio", 2.2), peer=True),
    _case("http-peer-16", f"{PEER}, 16 at a time", "tokens/s", 16, _loads(16), _rate, Goal("ratio", 3.3), peer=True),
)  # fmt: skip


def _server_loads() -> tuple[ServerLoad, ...]:
    one, four, sixteen, first, shared, schema, schema8, *_ = BENCHMARKS
    return (
        ServerLoad(1, _loads(1), ((one, _rate),)),
        ServerLoad(4, _loads(4), ((four, _rate),)),
        ServerLoad(16, _loads(16), ((sixteen, _rate), (first, _first))),
        ServerLoad(8, _shared, ((shared, _wall),)),
        ServerLoad(1, _schema, ((schema, _rate),), schema=True),
        ServerLoad(8, _schema, ((schema8, _rate),), schema=True),
    )


LOADS = _server_loads()
"""Those beside llama-server, each once."""
