"""Many streams open at once on one server: all are served, and memory stays flat.

    python -m scripts.open_streams [--streams 200] [--tokens 64] [--model MODEL] [-- OPTIONS OF THE SERVER]

Opens all streams at the same time and reads them as they come; prints when first tokens came and what the server and
its engine took before, at the most, and after. Exit status 1 when a stream was not served whole, or memory grew by more
than --allow-mb. Not for: throughput (benchmarks), or clients that misbehave (``soak``).
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import statistics
import sys
import time

import httpx

from scripts.served import Served, Usage, served

OPTIONS = ("--n_ctx", "1024", "--cache-ram-bytes", "16000000")
"""The cache in host memory is small: it is full beforehand, and its growth is not taken for that of the streams."""


@dataclasses.dataclass
class Stream:
    """How one stream went: seconds until its first text and its end, chunks, whether it ended as it must."""

    first: float = 0.0
    total: float = 0.0
    chunks: int = 0
    whole: bool = False
    wrong: str = ""


def main() -> int:
    """Exit status 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m scripts.open_streams", description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--model", help="A file or name; the default model else.")
    parser.add_argument("--allow-mb", type=float, default=64.0, help="Growth that counts as flat.")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="Of the server, after --.")
    given = parser.parse_args()
    with served(given.model, [*OPTIONS, *given.options]) as server:
        wrong = asyncio.run(_run(server, given.streams, given.tokens, given.allow_mb * 1e6))
    for line in wrong:
        print(f"WRONG: {line}")
    print("failed" if wrong else "all is well")
    return 1 if wrong else 0


async def _run(server: Served, count: int, tokens: int, allowed: float) -> list[str]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=server.base, timeout=600, limits=limits) as client:
        await asyncio.gather(*(_stream(client, -1 - i, tokens) for i in range(16)))  # what is made once is there then
        before = server.usage()
        most = dict(before)
        watching = asyncio.ensure_future(_watch(server, most))
        begun = time.monotonic()
        streams = await asyncio.gather(*(_stream(client, i, tokens) for i in range(count)))
        seconds = time.monotonic() - begun
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    await asyncio.sleep(1)
    return _report(streams, seconds, before, most, server.usage(), allowed)


async def _watch(server: Served, most: dict[str, Usage]) -> None:
    while True:
        for name, usage in server.usage().items():
            if usage.memory > most[name].memory:
                most[name] = usage
        await asyncio.sleep(0.1)


async def _stream(client: httpx.AsyncClient, number: int, tokens: int) -> Stream:
    body = {
        "prompt": f"Number {number} of many. Once upon a time",
        "max_tokens": tokens,
        "stream": True,
        "ignore_eos": True,
    }
    stream, begun = Stream(), time.monotonic()
    try:
        async with client.stream("POST", "/v1/completions", json=body) as answer:
            if answer.status_code != 200:
                stream.wrong = f"{answer.status_code}: {(await answer.aread())[:200]!r}"
                return stream
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    stream.whole = True
                elif line.startswith("data: "):
                    stream.chunks += 1
                    stream.first = stream.first or time.monotonic() - begun
                    if line.startswith('data: {"error"'):
                        stream.wrong = line[:200]
    except httpx.HTTPError as error:
        stream.wrong = f"{type(error).__name__}: {error}"
    stream.total = time.monotonic() - begun
    return stream


def _report(
    streams: list[Stream],
    seconds: float,
    before: dict[str, Usage],
    most: dict[str, Usage],
    after: dict[str, Usage],
    allowed: float,
) -> list[str]:
    served_whole = [stream for stream in streams if stream.whole and not stream.wrong and stream.chunks > 1]
    wrong = [stream.wrong or "ended too early" for stream in streams if stream not in served_whole][:5]
    print(f"{len(served_whole)} of {len(streams)} streams served in {seconds:.1f} s")
    if served_whole:
        first = sorted(stream.first for stream in served_whole)
        print(
            f"first text after {first[0]:.2f} s (least), {statistics.median(first):.2f} s (median), {first[-1]:.2f} s"
        )
    for name in ("server", "engine"):
        sizes = [usage[name].memory / 1e6 for usage in (before, most, after)]
        print(f"{name}: {sizes[0]:.1f} MB before, {sizes[1]:.1f} MB at the most, {sizes[2]:.1f} MB after")
        if most[name].memory > before[name].memory + allowed:
            wrong.append(f"memory of the {name} grew by {sizes[1] - sizes[0]:.1f} MB")
        if after[name].files > before[name].files + 4:
            wrong.append(f"the {name} has {after[name].files} files open, {before[name].files} before")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
