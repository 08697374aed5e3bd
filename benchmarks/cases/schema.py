"""Generating JSON that follows a schema, beside the same model writing freely, and beside llama-server.

`schema`, `schema8`: ours twice, with the schema and without it, from 1 and from 8 threads; each call without it makes
as many tokens as the call with it made. `schema-server`, `schema8-server`: the rate with the schema beside
llama-server's, over loopback; what llama-server reaches of its own rate without a schema is shown beside it. A rate is
completion tokens over the wall time of all calls, prompts included. Results that were not cut off must be valid JSON
of the schema, or the measurement fails; how many were cut off is shown.
"""

from __future__ import annotations

import functools
import importlib
import json
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.crowd import Crowd
from benchmarks.registry import Benchmark, Goal, Measurement, Settings

if TYPE_CHECKING:
    from llama_bind import Llama

__all__ = ["BENCHMARKS", "FORMAT", "SCHEMA", "SUBJECTS", "follows", "prompt"]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "minItems": 3, "maxItems": 6},
        "address": {
            "type": "object",
            "properties": {
                "street": {"type": "string", "maxLength": 40},
                "city": {"type": "string", "maxLength": 40},
            },
            "required": ["street", "city"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age", "tags", "address"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}
SUBJECTS = ("a sailor", "a baker", "a teacher", "a gardener", "a doctor", "a carpenter", "a painter", "a shepherd")
N_TOKENS = 160
TIMEOUT = 240.0

Ask = Callable[[str, dict[str, Any]], Any]


def prompt(subject: str) -> str:
    """What is asked of the model about a person."""
    return f"Invent {subject} who lives by the river, and describe this person as JSON with name, age, tags, address."


def follows(text: str) -> None:
    """Raises `RuntimeError` where a text is no JSON of the schema."""
    jsonschema: Any = importlib.import_module("jsonschema")  # it brings no types
    try:
        jsonschema.validate(json.loads(text), SCHEMA)
    except (ValueError, jsonschema.ValidationError) as error:
        raise RuntimeError(f"not what the schema asks for: {text!r}: {error}") from error


def _texts(results: list[Any]) -> tuple[int, int]:
    """Completion tokens, and how many results were cut off.

    Raises:
        RuntimeError: a whole one does not follow the schema.
    """
    tokens = cut = 0
    for result in results:
        choice = result["choices"][0]
        tokens += result["usage"]["completion_tokens"]
        if choice["finish_reason"] == "length":
            cut += 1
            continue
        follows(choice["message"]["content"])
    return tokens, cut


def _round(ask: Ask, at_once: int, options: list[dict[str, Any]]) -> tuple[list[Any], float]:
    """Results for all subjects, in order, and the wall time."""
    jobs = [functools.partial(ask, prompt(s), o) for s, o in zip(SUBJECTS, options, strict=True)]
    start = time.perf_counter()
    results = Crowd(jobs, at_once, TIMEOUT).values() if at_once > 1 else [job() for job in jobs]
    return results, time.perf_counter() - start


def _rates(ask: Ask, at_once: int, inner: int) -> tuple[list[float], list[float], int]:
    """Tokens per second with the schema and without, and how many results were cut off. The first round warms up."""
    bound, free, cut = [], [], 0
    for round_ in range(inner + 1):
        constrained = {"max_tokens": N_TOKENS, "temperature": 0.0, "response_format": FORMAT}
        results, wall = _round(ask, at_once, [constrained] * len(SUBJECTS))
        tokens, cut = _texts(results)
        plain = [
            {"max_tokens": r["usage"]["completion_tokens"], "temperature": 0.0, "ignore_eos": True} for r in results
        ]
        results, free_wall = _round(ask, at_once, plain)
        if round_:
            bound.append(tokens / wall)
            free.append(sum(r["usage"]["completion_tokens"] for r in results) / free_wall)
    return bound, free, cut


def _ours(settings: Settings, at_once: int, *, constrained: bool) -> Measurement:
    from benchmarks.cases.sides import open_llama

    slots = {"n_seq_max": at_once, "n_ctx": 512, "kv_unified": False} if at_once > 1 else {}
    with open_llama(settings, **slots) as llm:
        bound, free, cut = _rates(_asks(llm), at_once, settings.inner)
    extras = {"with": statistics.median(bound), "without": statistics.median(free), "cut off": float(cut)}
    return Measurement(statistics.median(bound if constrained else free), extras)


def _asks(llm: Llama) -> Ask:
    def ask(prompt: str, options: dict[str, Any]) -> Any:
        return llm.create_chat_completion([{"role": "user", "content": prompt}], **options)

    return ask


def _server(settings: Settings, at_once: int) -> Measurement:
    from benchmarks.server import LlamaServer

    with LlamaServer(settings, "-np", str(at_once), "-c", str(512 * at_once)) as server:

        def ask(prompt: str, options: dict[str, Any]) -> Any:
            return server.chat({"messages": [{"role": "user", "content": prompt}], **options})

        bound, free, cut = _rates(ask, at_once, settings.inner)
    ratio = statistics.median(bound) / statistics.median(free)
    extras = {"without": statistics.median(free), "ratio to its own": ratio, "cut off": float(cut)}
    return Measurement(statistics.median(bound), extras, {"cpu backend": server.variant})


def _pair(name: str, title: str, at_once: int, goal: float) -> tuple[Benchmark, Benchmark]:
    return (
        Benchmark(
            name,
            f"JSON of a schema, {title}, with and without the schema",
            "tokens/s",
            lambda settings: _ours(settings, at_once, constrained=True),
            lambda settings: _ours(settings, at_once, constrained=False),
            Goal("ratio", goal),
        ),
        Benchmark(
            f"{name}-server",
            f"JSON of a schema, {title}, beside llama-server",
            "tokens/s",
            lambda settings: _ours(settings, at_once, constrained=True),
            lambda settings: _server(settings, at_once),
        ),
    )


BENCHMARKS = (*_pair("schema", "one stream", 1, 1.10), *_pair("schema8", "8 streams", 8, 0.97))
