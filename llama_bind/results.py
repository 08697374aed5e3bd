"""Builds OpenAI-shaped dicts of completions from the engine's values. Pure.

Not for: chat completions (``chat_results``), or running anything.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from llama_bind.reports import Reports, timings_dict
from llama_bind.types import Completion, CompletionChoice, CompletionLogprobs, CompletionUsage, TimingsDict
from llama_bind.values import FinishEvent, PieceEvent, TokenLogprob, Usage

__all__ = ["Shape", "TextShape", "timings_dict", "usage_dict"]

C = TypeVar("C")


def token_text(piece: bytes) -> str:
    r"""A token's bytes as text; bytes that are not characters of their own as OpenAI writes them: bytes:\\xf0\\x9f."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{b:02x}" for b in piece)


def usage_dict(usages: Sequence[Usage]) -> CompletionUsage:
    """One usage for the choices of a request: the prompt counts once."""
    prompt = usages[0].prompt_tokens
    completion = sum(u.completion_tokens for u in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usages[0].cached_tokens},
    }


class Shape:
    """What all results of one call have in common.

    Fed with events and asked for a result, it serves callers that wait and callers that await alike: a stream takes
    `opening`, then `chunks` of each event, then `closing`; a call that does not stream takes `add` and `result`.
    """

    prefix = ""
    best: int | None
    """Of `n` candidates give so many, by the mean log probability of their tokens; None: all, in order."""
    reports: Reports | None = None
    """Says what chunks carry besides text; None: nothing."""

    def __init__(self, model: str, n: int, best: int | None = None) -> None:
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model
        self.n = n
        self.best = best
        self.finishes: dict[int, FinishEvent] = {}
        self.pieces: list[list[PieceEvent]] = [[] for _ in range(n)]

    def order(self) -> list[int]:
        """The candidates to give, when all have finished; equal ones in the order they were asked for."""
        if self.best is None:
            return list(range(self.n))
        return sorted(range(self.n), key=lambda i: -self.finishes[i].mean_logprob)[: self.best]

    def usage(self) -> CompletionUsage:
        """Of all candidates."""
        return usage_dict([self.finishes[i].usage for i in range(self.n)])

    def timings(self) -> TimingsDict:
        first = self.finishes[self.order()[0]]
        return timings_dict(first.timings, first.usage)

    def reported(self, chunks: list[C], index: int, event: PieceEvent, empty: Callable[[], C]) -> list[C]:
        """The chunks of an event with what is reported on the last; one of its own for the progress of a prompt."""
        if self.reports is None:
            return chunks
        fields = self.reports.fields(index, event)
        if fields and event.progress is not None:
            chunks = [empty()]
        if fields and chunks:
            chunks[-1].update(fields)  # type: ignore[attr-defined]  # a TypedDict, whose fields these are
        return chunks

    def add(self, index: int, event: PieceEvent | FinishEvent) -> None:
        """Take an event of choice `index`."""
        if isinstance(event, FinishEvent):
            self.finishes[index] = event
        else:
            self.pieces[index].append(event)


class TextShape(Shape):
    """Completions. `echo` is put before each text, `prompt_logprobs` (known once the prompt is computed) with it.

    `parse` makes entries of a choice from its text and finish reason; None for none.
    """

    prefix = "cmpl"

    def __init__(
        self,
        model: str,
        n: int,
        *,
        echo: str = "",
        logprobs: bool = False,
        best: int | None = None,
        prompt_logprobs: Callable[[], Sequence[TokenLogprob | None]] = tuple,
        parse: Callable[[str, str], dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(model, n, best)
        self.echo = echo
        self._parse = parse
        self.logprobs = logprobs
        self.prompt_logprobs = prompt_logprobs
        self.offsets = [0] * n
        self.unopened = set(range(n)) if echo else set()

    def result(self) -> Completion:
        """The whole completion, when every choice has finished."""
        prompt_logprobs = self.prompt_logprobs()
        result = self._chunk()
        for index, made in enumerate(self.order()):
            text = "".join(p.text for p in self.pieces[made])
            entries = [*prompt_logprobs, *(e for p in self.pieces[made] for e in p.logprobs)]
            choice: CompletionChoice = {
                "text": self.echo + text,
                "index": index,
                "logprobs": self._logprobs(made, entries) if self.logprobs else None,
                "finish_reason": self.finishes[made].reason,
            }
            if self._parse is not None:
                choice.update(self._parse(text, self.finishes[made].reason))  # type: ignore[typeddict-item]
            result["choices"].append(choice)
        result["usage"] = self.usage()
        result["timings"] = self.timings()
        result["seed"] = self.finishes[0].seed
        return result

    def opening(self) -> list[Completion]:
        """Chunks before any event: none, as the echo's log probabilities come with the first."""
        return []

    def chunks(self, index: int, event: PieceEvent | FinishEvent, *, usage: bool) -> list[Completion]:
        """Chunks that an event gives. `usage`: it comes at the end, with the timings."""
        made: list[Completion] = []
        if isinstance(event, PieceEvent) and event.progress is not None:
            return self.reported(made, index, event, lambda: self._piece(index, "", ()))
        if index in self.unopened:
            self.unopened.remove(index)
            made.append(self._piece(index, self.echo, self.prompt_logprobs()))
        if isinstance(event, PieceEvent):
            if event.text or (self.logprobs and event.logprobs):
                made.append(self._piece(index, event.text, event.logprobs))
            return self.reported(made, index, event, lambda: self._piece(index, "", ()))
        self.finishes[index] = event
        chunk = self._piece(index, "", ())
        chunk["choices"][0]["finish_reason"] = event.reason
        chunk["choices"][0]["logprobs"] = None
        if len(self.finishes) == self.n and not usage:
            chunk["timings"], chunk["seed"] = self.timings(), self.finishes[0].seed
        return [*made, chunk]

    def closing(self, *, usage: bool) -> list[Completion]:
        """Chunks after the last event: the usage, if asked for."""
        if not usage:
            return []
        last = self._chunk()
        last["usage"], last["timings"], last["seed"] = self.usage(), self.timings(), self.finishes[0].seed
        return [last]

    def _chunk(self) -> Completion:
        return {"id": self.id, "object": "text_completion", "created": self.created, "model": self.model, "choices": []}

    def _piece(self, index: int, text: str, entries: Sequence[TokenLogprob | None]) -> Completion:
        chunk = self._chunk()
        logprobs = self._logprobs(index, entries) if self.logprobs else None
        chunk["choices"].append({"text": text, "index": index, "logprobs": logprobs, "finish_reason": None})
        return chunk

    def _logprobs(self, index: int, entries: Sequence[TokenLogprob | None]) -> CompletionLogprobs:
        result: CompletionLogprobs = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for entry in entries:
            text = "" if entry is None else token_text(entry.piece)
            top = None if entry is None else {token_text(t.piece): t.logprob for t in entry.top}
            if entry is not None and top is not None:
                top.setdefault(text, entry.logprob)
            result["tokens"].append(text)
            result["token_logprobs"].append(None if entry is None else entry.logprob)
            result["top_logprobs"].append(top)
            result["text_offset"].append(self.offsets[index])
            self.offsets[index] += len(text)
        return result
