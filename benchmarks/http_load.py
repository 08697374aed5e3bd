"""A closed loop of streaming chat requests to a server on this machine: rates, times to first tokens, texts.

The client shares the machine with what it measures, so it does the least that is right: one connection for each
request, chunked bodies taken apart by hand, JSON read after the clock has stopped. Not for: servers elsewhere.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

__all__ = ["Answer", "Load", "percentile_ms", "run_load"]

HOST = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Answer:
    """One streamed answer.

    Attributes:
        first: Seconds from the request to the first chunk that holds text.
        total: Seconds to the end.
        tokens: Completion tokens, as the server counts them; where it does not, chunks with text.
        text: All of it.
        finish: Finish reason.
    """

    first: float
    total: float
    tokens: int
    text: str
    finish: str


@dataclasses.dataclass(frozen=True)
class Load:
    """What a load gave. `answers` are in the order of the requests; `wall` is from the first start to the last end."""

    answers: tuple[Answer, ...]
    wall: float

    @property
    def rate(self) -> float:
        """Completion tokens per second."""
        return sum(answer.tokens for answer in self.answers) / self.wall


def run_load(port: int, bodies: Sequence[dict[str, Any]], at_once: int, timeout: float = 400.0) -> Load:
    """Post `bodies` to ``/v1/chat/completions``, `at_once` of them at a time, each as soon as one before it ended.

    Raises:
        RuntimeError: a request failed; says how.
        TimeoutError: not all were done in time.
    """
    return asyncio.run(asyncio.wait_for(_load(port, bodies, at_once), timeout))


async def _load(port: int, bodies: Sequence[dict[str, Any]], at_once: int) -> Load:
    found: list[Answer | None] = [None] * len(bodies)
    left = list(enumerate(bodies))[::-1]

    async def work() -> None:
        while left:
            index, body = left.pop()
            found[index] = await _answer(port, body)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    wall = time.perf_counter() - start
    return Load(tuple(answer for answer in found if answer is not None), wall)


async def _answer(port: int, body: dict[str, Any]) -> Answer:
    data = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(head.encode() + data)
        status = await reader.readline()
        chunked = False
        while (line := await reader.readline()).strip():
            chunked = chunked or line.lower().replace(b" ", b"").startswith(b"transfer-encoding:chunked")
        if b" 200 " not in status:
            raise RuntimeError(f"{status.decode().strip()}: {(await reader.read(500)).decode(errors='replace')}")
        times, events = await _events(reader, chunked)
    finally:
        writer.close()
    return _read(times, events, start)


async def _events(reader: asyncio.StreamReader, chunked: bool) -> tuple[list[float], list[bytes]]:
    """Events and when each was whole."""
    times: list[float] = []
    events: list[bytes] = []
    kept = b""
    while True:
        if chunked:
            size = int((await reader.readline()).split(b";")[0] or b"0", 16)
            part = (await reader.readexactly(size + 2))[:-2] if size else b""
        else:
            part = await reader.read(65536)
        if not part:
            return times, events
        *whole, kept = (kept + part).split(b"\n\n")
        now = time.perf_counter()
        for event in whole:
            times.append(now)
            events.append(event)


def _read(times: Sequence[float], events: Sequence[bytes], start: float) -> Answer:
    first, tokens, finish, texts = None, 0, "", []
    for when, event in zip(times, events, strict=True):
        data = event.partition(b"data:")[2].strip()
        if not data or data == b"[DONE]":
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            raise RuntimeError(f"an error in the stream: {json.dumps(chunk['error'])[:300]}")
        if chunk.get("usage"):
            tokens = chunk["usage"]["completion_tokens"]
        for choice in chunk.get("choices") or ():
            finish = choice.get("finish_reason") or finish
            text = choice["delta"].get("content")
            if text:
                first = when if first is None else first
                texts.append(text)
    if first is None:
        raise RuntimeError("a stream ended without text")
    # llama-cpp-python's server sends no usage in streams, and each token as a chunk.
    return Answer(first - start, times[-1] - start, tokens or len(texts), "".join(texts), finish)


def percentile_ms(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie, in milliseconds."""
    ordered = sorted(values)
    return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]
