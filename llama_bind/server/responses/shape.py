"""The engine's events as those of a response, for a stream and for a whole answer alike.

A whole response is what its events come to: the two cannot differ. Not for: what events say (``writer``), or finding
text, reasoning and calls (``chat.router``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_bind.chat_results import Reader
from llama_bind.results import Shape, timings_dict
from llama_bind.server.responses.writer import Event, ResponseWriter
from llama_bind.values import FinishEvent, PieceEvent

__all__ = ["OPENING", "ResponseShape"]

OPENING = 2
"""Events of a stream that come before the model has written anything."""


class ResponseShape(Shape):
    """One response.

    Args:
        writer: Writes it.
        reader: Reads the output.
        ended: Called when the response is complete, before its last event goes out.
    """

    def __init__(self, writer: ResponseWriter, reader: Reader, ended: Callable[[], None]) -> None:
        super().__init__(writer.response["model"], 1)
        self._writer = writer
        self._reader = reader
        self._ended = ended

    def opening(self) -> list[Event]:
        """Events before any output."""
        return self._writer.opening()

    def chunks(self, _index: int, event: PieceEvent | FinishEvent, *, usage: bool = True) -> list[Event]:
        """Events for one of the engine. The usage is always told."""
        del usage
        if isinstance(event, PieceEvent):
            found = self._reader.feed(event.text) if event.text else ()
            events = self._writer.take(found, len(event.tokens), event.logprobs)
            return events if self.reports is None else self._with_reports(events, self.reports.fields(0, event), event)
        self.finishes[0] = event
        timings = timings_dict(event.timings, event.usage)
        self._writer.response["timings"] = timings
        events = [*self._writer.take(self._reader.finish()), *self._writer.ending(event)]
        events[-1]["timings"] = timings  # where llama-server has them
        self._ended()
        return events

    def _with_reports(self, events: list[Event], fields: dict[str, Any], event: PieceEvent) -> list[Event]:
        """The last event says what was asked for besides; the progress of a prompt has one of its own."""
        if fields and event.progress is not None and not events:
            events = [self._writer.still()]
        if fields and events:
            events[-1].update(fields)
        return events

    def closing(self, *, usage: bool) -> list[Event]:
        """Nothing: the last event of the engine closes the response."""
        del usage
        return []

    def add(self, index: int, event: PieceEvent | FinishEvent) -> None:
        """Take an event of an answer that is not streamed."""
        self.chunks(index, event)

    def result(self) -> dict[str, Any]:
        """The whole response, when it has finished."""
        return self._writer.response
