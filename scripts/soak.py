"""Mixed load on a server for some time: nothing may leak, no slot may stay taken, every answer must be right.

    python -m scripts.soak --minutes 10 [--model MODEL] [--workers 16] [-- OPTIONS OF THE SERVER]

Clients stream, wait, leave in the middle of streams, prompts and bodies, ask for schemas and embeddings, and send what
is wrong. Now and then all of them stop; then the server must come to rest within seconds, and what it takes at rest is
written down: memory, open files and threads of the server and of its engine. Exit status 1 when something leaks, stays,
is answered wrongly, or is an error in the server's log. Not for: speed (benchmarks), or an engine that is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import random
import re
import sys
import time
from collections.abc import Sequence

import httpx

from scripts.served import Served, Usage, served
from scripts.soak_load import Load, UnexpectedError

REST_SECONDS = 30
"""So long after the load ends everything may still take to come to rest."""
FEWEST_RESTS = 4
MOST_WRONG = 20
FILES_ALLOWED = 4
THREADS_ALLOWED = 10
OPTIONS = ("--n-seq-max", "8", "--n_ctx", "1024", "--embedding", "--cache-ram-bytes", "4000000")
"""The cache in host memory is small: full after some seconds, with states so small that the heap, where a new one comes
before an old one goes, stays well below what counts as growth."""
GAUGES = ("llama_bind_running", "llama_bind_waiting", "llama_bind_http_requests_open")

Rest = dict[str, Usage]


def main() -> int:
    """Exit status 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m scripts.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--model", help="A file or name; the default model else.")
    parser.add_argument("--workers", type=int, default=16, help="Clients at a time.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--allow-mb", type=float, default=16.0, help="Growth at rest that is no leak yet.")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="Of the server, after --.")
    given = parser.parse_args()
    with served(given.model, [*OPTIONS, *given.options]) as server:
        wrong = asyncio.run(_soak(server, given.minutes * 60, given.workers, given.seed, given.allow_mb * 1e6))
    for line in wrong:
        print(f"WRONG: {line}")
    print("failed" if wrong else "all is well")
    return 1 if wrong else 0


async def _soak(server: Served, seconds: float, workers: int, seed: int, allowed: float) -> list[str]:
    """What was wrong."""
    phase = min(60.0, max(2.0, seconds / 6))
    rng, done, wrong = random.Random(seed), collections.Counter[str](), list[str]()
    rests: list[Rest] = []
    begun = time.monotonic()
    await _fill(server)
    print(f"{'s':>6} {'requests':>9}   {'server: MB':>11} {'files':>6} {'threads':>8}   {'engine: MB':>11} ...")
    while (time.monotonic() - begun < seconds or len(rests) < FEWEST_RESTS) and len(wrong) < MOST_WRONG:
        await _phase(server, min(phase, max(1.0, begun + seconds - time.monotonic())), workers, rng, done, wrong)
        stuck = await _come_to_rest(server)
        wrong += stuck
        try:
            rests.append(server.usage())
        except ProcessLookupError as error:
            return [*wrong, str(error)]
        print(_row(time.monotonic() - begun, done.total(), rests[-1]), flush=True)
        if stuck:
            break
    print(", ".join(f"{name} {count}" for name, count in sorted(done.items())))
    return [*wrong[:MOST_WRONG], *leaks(rests, allowed), *_log(server.said())]


async def _fill(server: Served) -> None:
    """Every slot once to its end, and the largest step of embeddings: what is used for the first time takes its memory.

    That is no leak, and by chance may come at any time: the outputs of a step of embeddings alone take 25 MB for each
    128 tokens.
    """
    async with httpx.AsyncClient(base_url=server.base, timeout=300) as client:
        slots = (await client.get("/slots")).json()
        texts = [[5 + i] * (slot["n_ctx"] - 8) for i, slot in enumerate(slots)]
        bodies = [{"prompt": text, "max_tokens": 4} for text in texts]
        answers = await asyncio.gather(*(client.post("/v1/completions", json=body) for body in bodies))
        answers.append(await client.post("/v1/embeddings", json={"input": texts[:2]}))
    for answer in answers:
        answer.raise_for_status()


async def _phase(
    server: Served, seconds: float, workers: int, rng: random.Random, done: collections.Counter[str], wrong: list[str]
) -> None:
    """All workers at once, for a time."""
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=workers)

    async def work(load: Load) -> None:
        while time.monotonic() < end and len(wrong) < MOST_WRONG:
            try:
                await load.act()
            except UnexpectedError as error:
                wrong.append(str(error))

    async with httpx.AsyncClient(base_url=server.base, timeout=300, limits=limits) as client:
        loads = [Load(client, random.Random(rng.random()), embeds=True) for _ in range(workers)]
        await asyncio.gather(*(work(load) for load in loads))
    for load in loads:
        done.update(load.done)


async def _come_to_rest(server: Served) -> list[str]:
    """Wait until nothing runs, waits or is open but the question itself; else what does."""
    end, values = time.monotonic() + REST_SECONDS, dict[str, float]()
    async with httpx.AsyncClient(base_url=server.base, timeout=REST_SECONDS) as client:
        while time.monotonic() < end:
            text = (await client.get("/metrics")).text
            values = {name: float(value) for name, value in re.findall(r"^(\w+) ([0-9.e+]+)$", text, re.MULTILINE)}
            if [values.get(name) for name in GAUGES] == [0.0, 0.0, 1.0]:
                slots = (await client.get("/slots")).json()
                if not any(slot["is_processing"] for slot in slots):
                    break
            await asyncio.sleep(0.1)
        else:
            still = ", ".join(f"{name} {values.get(name)}" for name in GAUGES)
            return [f"{REST_SECONDS} s after the last client left it is not at rest: {still}"]
    await asyncio.sleep(0.3)  # connections are closed after their last answer
    return []


def leaks(rests: Sequence[Rest], allowed: float) -> list[str]:
    """What grew: what is least in the last third of the rests against what is most in the first half.

    A leak grows all the time, so that even its least value comes to be above all earlier ones; what goes up and down
    does not.
    """
    if len(rests) < FEWEST_RESTS:
        return [f"only {len(rests)} rests: too few to see a leak; run longer"]
    early, late = rests[: (len(rests) + 1) // 2], rests[-max(1, len(rests) // 3) :]
    found = []
    for name in ("server", "engine"):
        if len({rest[name].pid for rest in rests}) > 1:
            found.append(f"the {name} was started again")
        for what, limit in (("memory", allowed), ("files", FILES_ALLOWED), ("threads", THREADS_ALLOWED)):
            before = max(getattr(rest[name], what) for rest in early)
            after = min(getattr(rest[name], what) for rest in late)
            if after > before + limit:
                found.append(f"{what} of the {name} grew from {before} to {after}")
    return found


def _log(text: str) -> list[str]:
    """Errors in what the server wrote."""
    lines = text.splitlines()
    bad = [line for line in lines if line.startswith(("ERROR", "CRITICAL", "Traceback"))]
    return [f"in the server's log: {line}" for line in bad[:5]]


def _row(seconds: float, requests: int, rest: Rest) -> str:
    columns = [f"{u.memory / 1e6:11.1f} {u.files:6} {u.threads:8}" for u in (rest["server"], rest["engine"])]
    return f"{seconds:6.0f} {requests:9}   " + "   ".join(columns)


if __name__ == "__main__":
    sys.exit(main())
