"""Answers of llama-server's own endpoints out of the engine's events: one object for each text.

The fields are those of ``to_json_non_oaicompat`` (vendor/llama.cpp, tools/server/server-task.cpp). Slots are alike here
and a text may change its slot, so id_slot is always -1. Not for: OpenAI's shapes (``llama_bind.results``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_bind.engine.request import Request
from llama_bind.reports import Reports, timings_dict
from llama_bind.server.native.options import Wanted
from llama_bind.values import FinishEvent, PieceEvent, TokenLogprob

__all__ = ["NativeShape"]


class _Text:
    """One text as it comes."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.text = ""
        self.tokens: list[int] = []
        self.entries: list[TokenLogprob] = []
        self.stopped = False
        self.first = 0.0
        self._line = -1  # where the last line begins; -1: it is the first

    @property
    def has_new_line(self) -> bool:
        return "\n" in self.text

    def take(self, event: PieceEvent) -> PieceEvent:
        """Add a piece, or what of it comes before the end that the limits set; gives what was added."""
        if self.wanted.watches and event.text:
            event = self._watched(event)
        self.text += event.text
        self.tokens += event.tokens
        self.entries += event.logprobs
        return event

    def _watched(self, event: PieceEvent) -> PieceEvent:
        now = time.perf_counter()
        self.first = self.first or now
        end = self._end_by_indent(self.text + event.text)
        if end is not None:
            self.stopped = True
            return event._replace(text=event.text[: max(end - len(self.text), 0)])
        limit = self.wanted.milliseconds
        if limit and "\n" in event.text and 1e3 * (now - self.first) > limit:
            self.stopped = True
        return event

    def _end_by_indent(self, text: str) -> int | None:
        """Where the text ends because a line is indented too little; None where none is, as far as is known."""
        while self.wanted.n_indent:
            if self._line < 0:
                self._line = text.find("\n") + 1 or -1
                if self._line < 0:
                    return None
            start = self._line
            end = start
            while end < len(text) and text[end] in " \t":
                end += 1
            if end == len(text):
                return None  # more spaces may come
            if end - start < self.wanted.n_indent:
                return end
            following = text.find("\n", end) + 1
            if not following:
                return None
            self._line = following
        return None


class NativeShape:
    """The texts of one request.

    Args:
        requests: One for each text.
        prompts: Their prompts as text.
        settings: Their generation_settings.
        model: Name in the answers.
        wanted: What they are to say.
        n_ctx: Tokens that a text can have.

    Attributes:
        stop: Called with a text's number when it is to end; set when the texts run.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        prompts: Sequence[str],
        settings: Sequence[Mapping[str, Any]],
        model: str,
        wanted: Wanted,
        n_ctx: int,
    ) -> None:
        self._requests = requests
        self._prompts = prompts
        self._settings = settings
        self._model = model
        self._wanted = wanted
        self._n_ctx = n_ctx
        self._texts = [_Text(wanted) for _ in requests]
        self._finals: dict[int, dict[str, Any]] = {}
        self._reports: Reports | None = None
        if wanted.stream and (wanted.progress or wanted.timings):
            self._reports = Reports(len(requests), progress=wanted.progress, timings=wanted.timings)
        self.stop: Callable[[int], None] = lambda _index: None

    # -- what a stream asks for ------------------------------------------------------------------------------------

    def opening(self) -> list[dict[str, Any]]:
        """Nothing comes before the first event."""
        return []

    def chunks(self, index: int, event: PieceEvent | FinishEvent, *, usage: bool) -> list[dict[str, Any]]:  # noqa: ARG002
        """What an event gives. `usage` changes nothing: the last object of a text has all counts."""
        if isinstance(event, FinishEvent):
            return [self._final(index, event, streamed=True)]
        text = self._texts[index]
        if text.stopped:
            return []
        fields = self._reports.fields(index, event) if self._reports is not None else {}
        piece = self._take(index, event)
        if not (piece.text or piece.tokens or "prompt_progress" in fields):
            return []
        chunk: dict[str, Any] = {
            "index": index,
            "content": piece.text,
            "tokens": list(piece.tokens),
            "stop": False,
            "id_slot": -1,
            "tokens_predicted": len(text.tokens),
            "tokens_evaluated": len(self._requests[index].prompt),
            **fields,
        }
        if self._wanted.n_probs and piece.logprobs:
            chunk["completion_probabilities"] = self._probabilities(piece.logprobs)
        return [chunk]

    def closing(self, *, usage: bool) -> list[dict[str, Any]]:  # noqa: ARG002
        """Nothing comes after the last event."""
        return []

    # -- what a whole answer asks for ------------------------------------------------------------------------------

    def add(self, index: int, event: PieceEvent | FinishEvent) -> None:
        """Take an event."""
        if isinstance(event, FinishEvent):
            self._finals[index] = self._final(index, event, streamed=False)
        elif not self._texts[index].stopped:
            self._take(index, event)

    def result(self) -> list[dict[str, Any]]:
        """All texts, in order."""
        return [self._finals[index] for index in range(len(self._requests))]

    # -- both ------------------------------------------------------------------------------------------------------

    def _take(self, index: int, event: PieceEvent) -> PieceEvent:
        text = self._texts[index]
        piece = text.take(event)
        if text.stopped:
            self.stop(index)
        return piece

    def _final(self, index: int, event: FinishEvent, *, streamed: bool) -> dict[str, Any]:
        text, request = self._texts[index], self._requests[index]
        word = not text.stopped and event.reason == "stop" and event.stop in request.stop
        kind = "word" if word else "eos" if event.reason == "stop" and not text.stopped else "limit"
        generated = len(text.tokens) if text.stopped else event.usage.completion_tokens
        found: dict[str, Any] = {
            "index": index,
            "content": "" if streamed else text.text,
            "tokens": text.tokens if self._wanted.tokens and not streamed else [],
            "id_slot": -1,
            "stop": True,
            "model": self._model,
            "tokens_predicted": generated,
            "tokens_evaluated": event.usage.prompt_tokens,
            "generation_settings": self._settings[index],
            "prompt": self._prompts[index],
            "has_new_line": text.has_new_line,
            "truncated": self._truncated(request, event),
            "stop_type": kind,
            "stopping_word": event.stop if word else "",
            "tokens_cached": min(event.usage.total_tokens, self._n_ctx),
            "timings": timings_dict(event.timings, event.usage),
        }
        if self._wanted.n_probs and not streamed:
            found["completion_probabilities"] = self._probabilities(text.entries)
        return _chosen(found, self._wanted.fields)

    def _truncated(self, request: Request, event: FinishEvent) -> bool:
        """Whether the context was too short for the prompt or for the text."""
        usage = event.usage
        if usage.prompt_tokens < len(request.prompt) or usage.total_tokens > self._n_ctx + 1:
            return True
        limited = request.max_tokens is not None and usage.completion_tokens >= request.max_tokens
        return event.reason == "length" and not limited

    def _probabilities(self, entries: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
        top = "top_probs" if self._wanted.after else "top_logprobs"
        return [{**self._entry(entry), top: [self._entry(other) for other in entry.top]} for entry in entries]

    def _entry(self, entry: TokenLogprob) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": entry.token,
            "token": entry.piece.decode("utf-8", "replace"),
            "bytes": list(entry.piece),
        }
        if self._wanted.after:
            found["prob"] = math.exp(entry.logprob)
        else:
            found["logprob"] = entry.logprob
        return found


def _chosen(found: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The fields that are asked for; those that are not there are left out."""
    if not names:
        return found
    chosen: dict[str, Any] = {}
    for name in names:
        value: Any = found
        for part in name.split("/"):
            if not isinstance(value, Mapping) or part not in value:
                break
            value = value[part]
        else:
            chosen[name] = value
    return chosen
