"""Reads one output as it comes: reasoning, text, tool calls. One object for each answer.

Linear, and nothing is lost: what begins like a tag or a call and is none comes as what it stands in. Not for: finding
out what a model writes (``reasoning.py``, ``tools/registry.py``), or the shape of results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from llama_bind.chat.events import OutputEvent, ReasoningDelta, TextDelta, ToolCallStart
from llama_bind.chat.fences import Unfence
from llama_bind.chat.reasoning import Reasoning, ReasoningFormat
from llama_bind.chat.tools.base import ChannelOutputParser, OutputParser, Tool, ToolFormat
from llama_bind.chat.tools.markers import Markers

__all__ = ["Router"]

# Where the output is.
BEGIN, THINKING, CALL, AFTER, ANSWER = range(5)

MOST = 4096
"""Most characters that are read at once."""
LITTLE = 32
"""Most characters that are read at once where it is to be found out whether they are a call."""


class Router:
    """Turns pieces of text into events.

    Args:
        form: How the model writes calls; None: all but reasoning is text.
        tools: What may be called; none: nothing is a call, whatever it looks like.
        parallel: False: `done` after the first call.
        reasoning: The tags of the reasoning; None for a model that does not think.
        reasoning_format: See `ReasoningFormat`.
        opened: What of the prompt has opened the reasoning (`Reasoning.opened_by`; any text will do where a message's
            reasoning is continued); "" where the model opens it. Where the format reads the reasoning: what of the
            prompt belongs to the answer (`ChannelFormat.opened_by`).
        streaming: Whether the events go out one by one ("deepseek-legacy" asks).
        json_text: The text is to be JSON: a code fence around it is taken off.
    """

    def __init__(
        self,
        form: ToolFormat | None = None,
        tools: Sequence[Tool] = (),
        *,
        parallel: bool = True,
        reasoning: Reasoning | None = None,
        reasoning_format: ReasoningFormat = "auto",
        opened: str = "",
        streaming: bool = False,
        json_text: bool = False,
    ) -> None:
        self._form = form
        self._tools = tuple(tools)
        self._parallel = parallel
        self._parser = self._new_parser()
        self._inline = reasoning_format == "none" or (reasoning_format == "deepseek-legacy" and streaming)
        self._held = ""
        # A list: an output may be a million blanks.
        self._spaces: list[str] = []
        self._thought = False
        self._trial: OutputParser | None = None
        self._tried: list[str] = []
        self._calls: tuple[str, ...] = form.ends_reasoning if form is not None and self._tools else ()
        self._before: list[OutputEvent] = []
        self._unfence = Unfence() if json_text else None
        if reasoning is None or (form is not None and form.reads_reasoning):
            self._state = ANSWER
            if form is not None and form.reads_reasoning:
                cast(ChannelOutputParser, self._parser).begin(opened, inline=self._inline)
            return
        self._opening, self._closing = reasoning.opening, reasoning.closing
        self._ends = Markers((self._closing, *self._calls))
        self._state = THINKING if opened else BEGIN
        if opened and self._inline:
            self._before.append(TextDelta(opened))
        elif opened and reasoning.spoken:
            self._think(opened, self._before)

    @property
    def done(self) -> bool:
        """Whether the rest of the output is not wanted: there was a call, and one is enough."""
        return bool(getattr(self._parser, "done", False))

    def feed(self, text: str) -> list[OutputEvent]:
        """What the next piece of the output makes certain."""
        if self._state == ANSWER:
            events = self._parser.feed(text)
        else:
            events, self._before = self._before, []
            # Long texts in parts: every tag copies what is left.
            for at in range(0, len(text), MOST):
                self._read(text[at : at + MOST], events)
        return events if self._unfence is None else _unfenced(events, self._unfence)

    def finish(self) -> list[OutputEvent]:
        """What is left when the output has ended, for whatever reason."""
        events, self._before = self._before, []
        if self._state == CALL:
            self._end_trial(events)
        if self._state == BEGIN:
            self._state = ANSWER
            events += self._parser.feed("".join((*self._spaces, self._held)))
        elif self._state == THINKING:
            rest, self._held = self._held, ""
            self._think(rest, events)
            if self._thought:
                self._reason("".join(self._spaces), events)
        self._held = ""
        self._spaces = []
        events += self._parser.finish()
        if self._unfence is not None:
            events = _unfenced(events, self._unfence)
            rest = self._unfence.finish()
            events += [TextDelta(rest)] if rest else []
        return events

    # Each takes text and says what is left for the next state; None where nothing is.

    def _read(self, text: str, events: list[OutputEvent]) -> None:
        rest: str | None = text
        while rest is not None:
            if self._state == BEGIN:
                rest = self._begin(rest, events)
            elif self._state == THINKING:
                rest = self._thinking(rest, events)
            elif self._state == CALL:
                rest = self._try(rest, events)
            elif self._state == AFTER:
                rest = rest if self._inline else rest.lstrip()
                if not rest:
                    return
                self._state = ANSWER
            else:
                events += self._parser.feed(rest)
                return

    def _begin(self, text: str, events: list[OutputEvent]) -> str | None:
        if not self._held and (not text or text.isspace()):
            self._spaces.append(text)
            return None
        text = self._held + text
        if not self._held:
            start = text.lstrip()
            self._spaces.append(text[: len(text) - len(start)])
            text = start
        if any(tag.startswith(text) and tag != text for tag in (self._opening, self._closing)):
            self._held = text
            return None
        space, self._held, self._spaces = "".join(self._spaces), "", []
        if text.startswith(self._closing):
            # Models close what nobody opened, to say that they do not think.
            if self._inline:
                events.append(TextDelta(space + self._closing))
            self._state = AFTER
            return text[len(self._closing) :]
        if not text.startswith(self._opening):
            self._state = ANSWER
            return space + text
        if self._inline:
            events.append(TextDelta(space + self._opening))
        self._state = THINKING
        return text[len(self._opening) :]

    def _thinking(self, text: str, events: list[OutputEvent]) -> str | None:
        text = self._held + text
        index, marker = self._ends.find(text)
        self._think(text[:index], events)
        self._held = ""
        if marker == self._closing:
            if self._inline:
                self._reason(marker, events)
            self._spaces = []
            self._state = AFTER
            return text[index + len(marker) :]
        if marker:
            self._trial, self._tried = self._new_parser(), []
            self._state = CALL
            return text[index:]
        self._held = text[index:]
        return None

    def _think(self, text: str, events: list[OutputEvent]) -> None:
        """Reasoning; white space waits for what follows, so that none is left at its end."""
        if self._inline:
            self._reason(text, events)
            return
        solid = text.rstrip()
        if not solid:
            self._spaces.append(text)
            return
        before = "".join(self._spaces) if self._thought else ""
        self._spaces = [text[len(solid) :]]
        self._reason(before + (solid if self._thought else solid.lstrip()), events)
        self._thought = True

    def _reason(self, text: str, events: list[OutputEvent]) -> None:
        if text:
            events.append(TextDelta(text) if self._inline else ReasoningDelta(text))

    def _try(self, text: str, events: list[OutputEvent]) -> str | None:
        """In a call that would end the reasoning, if it is one; else it is thought about, and the reasoning goes on."""
        assert self._trial is not None
        for at in range(0, len(text), LITTLE):
            part = text[at : at + LITTLE]
            self._tried.append(part)
            found = self._trial.feed(part)
            if not found:
                continue
            rest = text[at + LITTLE :]
            if isinstance(found[0], ToolCallStart):
                events += self._accept(found)
                return rest
            return self._refuse(events) + rest
        return None

    def _accept(self, found: list[OutputEvent]) -> list[OutputEvent]:
        assert self._trial is not None
        self._parser, self._trial = self._trial, None
        self._tried = []
        self._spaces = []
        self._state = ANSWER
        return found

    def _refuse(self, events: list[OutputEvent]) -> str:
        text = "".join(self._tried)
        self._trial, self._tried = None, []
        self._state = THINKING
        marker = next(call for call in self._calls if text.startswith(call))
        self._think(marker, events)
        return text[len(marker) :]

    def _end_trial(self, events: list[OutputEvent]) -> None:
        """The output ended within what may be a call."""
        while self._state == CALL and self._trial is not None:
            found = self._trial.finish()
            if found and isinstance(found[0], ToolCallStart):
                events += self._accept(found)
            else:
                self._read(self._refuse(events), events)

    def _new_parser(self) -> OutputParser:
        if self._form is None:
            return _Plain()
        return self._form.parser(self._tools, parallel=self._parallel)


def _unfenced(events: list[OutputEvent], unfence: Unfence) -> list[OutputEvent]:
    found: list[OutputEvent] = []
    for event in events:
        if isinstance(event, TextDelta):
            text = unfence.feed(event.text)
            if text:
                found.append(TextDelta(text))
        else:
            found.append(event)
    return found


class _Plain:
    """All is text."""

    def feed(self, text: str) -> list[OutputEvent]:
        return [TextDelta(text)] if text else []

    def finish(self) -> list[OutputEvent]:
        return []
