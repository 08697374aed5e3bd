"""Several prompts in one request, as one answer: choices numbered through, usage added up, streams merged as they come.

Not for: one prompt, which needs none of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from llama_bind.server.replies import settled

__all__ = ["joined", "merged"]

AHEAD = 64
"""Chunks that wait to be sent; then the streams wait."""


def joined(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Results of several prompts as one, choices in the order of the prompts."""
    first = dict(results[0])
    first["choices"] = []
    for result in results:
        for choice in result["choices"]:
            first["choices"].append({**choice, "index": len(first["choices"])})
    first["usage"] = _sum([result["usage"] for result in results])
    if len(results) > 1:
        first.pop("timings", None)  # of one prompt
    return first


def _sum(usages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages)
    return {
        **{name: sum(usage[name] for usage in usages) for name in names},
        "prompt_tokens_details": {"cached_tokens": cached},
    }


async def merged(streams: Sequence[Any], each: int) -> AsyncIterator[dict[str, Any]]:
    """The chunks of several streams as one stream with one id; the usages, where they come, as one at the end.

    Args:
        streams: Each of one prompt.
        each: Choices of a prompt.
    """
    queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(AHEAD)

    async def forward(place: int, stream: Any) -> None:
        try:
            async for chunk in stream:
                await queue.put((place, chunk))
            await queue.put((place, None))
        except Exception as error:
            await queue.put((place, error))

    tasks = [asyncio.ensure_future(forward(place, stream)) for place, stream in enumerate(streams)]
    left, name, usages, last = len(tasks), None, [], None
    try:
        while left:
            place, chunk = await queue.get()
            if isinstance(chunk, Exception):
                raise chunk
            if chunk is None:
                left -= 1
                continue
            name = name or chunk["id"]
            chunk["id"] = name
            if not chunk["choices"]:
                usages.append(chunk["usage"])
                last = chunk
                continue
            for choice in chunk["choices"]:
                choice["index"] += place * each
            yield chunk
        if last is not None:
            last["usage"] = _sum(usages)
            last.pop("timings", None)
            yield last
    finally:
        await settled(*tasks)
        for stream in streams:
            await stream.aclose()
