"""Events of responses as server-sent events. Not for: streams of other endpoints, whose events have no names."""

from __future__ import annotations

from llama_bind.server.replies import dumps
from llama_bind.server.responses.writer import Event

__all__ = ["frame", "frames"]


def frame(event: Event) -> bytes:
    """An event as it is sent."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode("ascii"), dumps(event))


def frames(events: list[Event]) -> bytes:
    """Several."""
    return b"".join(map(frame, events))
