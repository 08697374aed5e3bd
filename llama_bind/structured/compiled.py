"""Grammars of one model, compiled by llguidance, kept for the next request that asks for the same.

What would crash or hang native code is refused before (``limits``); what only turns out to be too much while a text is
written ends with an error then. Not for: following a text (``matcher``).
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llama_bind.errors import GrammarError
from llama_bind.structured import limits
from llama_bind.structured.spec import Spec
from llama_bind.structured.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher

__all__ = ["PARAMS", "Grammars", "failure", "refused"]

MOST_KEPT = 128
MOST_KEPT_TEXT = 8 << 20
"""Characters of grammar text, of all that are kept."""

PARAMS = {
    "json_schema": "response_format",
    "json_object": "response_format",
    "regex": "regex",
    "choice": "choice",
    "grammar": "grammar",
    "lark": "lark",
    "tools": "tools",
    "thinking": "thinking",
}
"""The option that asked for a kind of `Spec`."""

_PLACE = re.compile(r"(?:^|at )(\d+)\((\d+)\): ")


class Grammars:
    """The compiled grammars of one tokenizer, the latest used ones kept. Any thread may ask."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._lock = threading.Lock()
        self._kept: OrderedDict[Spec, LLMatcher | GrammarError] = OrderedDict()
        self._kept_text = 0

    def get(self, spec: Spec) -> LLMatcher:
        """A matcher of its own, at the start of the grammar.

        Raises:
            GrammarError: the grammar does not compile, is too large, or matches nothing.
        """
        with self._lock:
            found = self._kept.get(spec)
            if found is not None:
                self._kept.move_to_end(spec)
        if found is None:
            found = self._compiled(spec)
            self._keep(spec, found)
        if isinstance(found, GrammarError):
            raise _copied(found)
        with self._lock:
            return found.deep_copy()

    def _keep(self, spec: Spec, found: LLMatcher | GrammarError) -> None:
        with self._lock:
            if spec not in self._kept:
                self._kept_text += len(spec.lark)
            self._kept[spec] = found
            while len(self._kept) > MOST_KEPT or (self._kept_text > MOST_KEPT_TEXT and len(self._kept) > 1):
                gone, _ = self._kept.popitem(last=False)
                self._kept_text -= len(gone.lark)

    def _compiled(self, spec: Spec) -> LLMatcher | GrammarError:
        from llguidance import LLMatcher

        try:
            text = self._text(spec)
            limits.check(text)
            native_limits = limits.native(spec.kind in ("grammar", "json_schema", "json_object", "tools"))
            grammar = LLMatcher.grammar_from_lark(text)
            matcher = LLMatcher(self.tokenizer.native, grammar, log_level=0, limits=native_limits)
            if not matcher.is_error():
                mask = matcher.compute_bitmask()  # what the first token costs is found out here, on the caller's thread
                if not matcher.is_error() and not any(mask) and not matcher.is_accepting():
                    raise GrammarError("it matches nothing at all: parts of it contradict each other")
            if matcher.is_error():
                raise failure(matcher, spec)
        except GrammarError as error:
            return _named(error, spec)
        return matcher

    def _text(self, spec: Spec) -> str:
        """The grammar with its markers defined as this vocabulary has them, beginning at ``start``."""
        if spec.options:
            blocks = [f"option_{i}: %lark {{\n{self._text(option)}\n}}" for i, option in enumerate(spec.options)]
            return "\n".join([f"start: {' | '.join(f'option_{i}' for i in range(len(blocks)))}", *blocks])
        rules = []
        for name, marker in spec.markers:
            ids = self.tokenizer.by_text(marker)
            written = limits.literal(marker)
            rules.append(f"{name}: <[{','.join(map(str, ids))}]> | {written}" if ids else f"{name}: {written}")
        if spec.start != "start":
            rules.append(f"start: {spec.start}")
        return "\n".join([spec.lark, *rules])


def failure(matcher: LLMatcher, spec: Spec) -> GrammarError:
    """The error that a matcher is in."""
    lines = matcher.get_error().split("\n")
    text = lines[0].strip()
    reasons = [line.strip() for line in lines[1:] if line.startswith("error: ")]
    match = _PLACE.search(text)
    line = column = None
    if match is not None:
        text = text[: match.start()] + text[match.end() :]
        if spec.kind == "lark":  # else the grammar is not what the caller wrote
            line, column = int(match.group(1)), int(match.group(2))
    if text.startswith("NoExtension"):
        text = "it matches nothing at all: parts of it contradict each other"
    elif "too many" in text.lower() or "max is" in text or text.startswith("panic"):
        text += "; it asks for too much: make repetitions smaller, alternatives fewer, or patterns simpler"
    return GrammarError("; ".join([text[:500], *reasons]), line=line, column=column, param=PARAMS[spec.kind])


def refused(matcher: LLMatcher, spec: Spec, n_tokens: int) -> npt.NDArray[np.bool_]:
    """What a matcher refuses now, of the first `n_tokens` tokens.

    Raises:
        GrammarError: it has become too complex.
    """
    bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    if matcher.is_error():
        raise failure(matcher, spec)
    mask: npt.NDArray[np.bool_] = np.unpackbits(bits, count=n_tokens, bitorder="little") == 0
    return mask


def _named(error: GrammarError, spec: Spec) -> GrammarError:
    param = PARAMS[spec.kind]
    named = GrammarError(f"{param}: {error}", param=param)
    named.line, named.column = error.line, error.column
    return named


def _copied(error: GrammarError) -> GrammarError:
    """To raise: one that is kept would collect tracebacks."""
    copy = GrammarError(str(error), param=error.param)
    copy.line, copy.column = error.line, error.column
    return copy
