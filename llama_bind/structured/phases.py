"""A grammar that does not hold all the time: from a text on, or from the beginning of one of several to its own end.

Before that, anything may be written that does not bring the text together with something the grammar refuses: a token
that ends with the text and more is allowed only if the grammar allows the more. Not for: grammars that always hold
(``matcher``), or compiling them (``compiled``).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llama_bind.errors import GrammarError
from llama_bind.structured.compiled import Grammars, failure, refused
from llama_bind.structured.needles import Find, Needles, Piece
from llama_bind.structured.spec import Spec

if TYPE_CHECKING:
    from llguidance import LLMatcher

__all__ = ["Phased"]

Mask = npt.NDArray[np.bool_]

MOST_BLANKS = 16
"""Blanks that may stand between the text after which a grammar holds and what it matches."""
_PART = -1
"""In place of a token of which only the end is meant."""


class _Phase(enum.Enum):
    BEFORE = "before"  # `after` has not appeared
    GAP = "gap"  # it has; blanks may follow
    FREE = "free"  # no trigger has appeared, or the grammar has been matched since
    HELD = "held"
    DONE = "done"  # it has been matched, and once is enough


class Phased:
    """See the module. Where there are triggers the text may end whenever the grammar does not hold."""

    active = True

    def __init__(self, grammars: Grammars, spec: Spec) -> None:
        self._grammars = grammars
        self._spec = spec
        self._tokenizer = grammars.tokenizer
        self._pieces = self._tokenizer.pieces
        self._ends = self._tokenizer.vocabulary.ends
        self._n_tokens = self._tokenizer.vocabulary.n_tokens
        self._new: LLMatcher = grammars.get(spec)  # at the start of the grammar, never advanced
        self._after = Needles(tuple(text.encode() for text in spec.after)) if spec.after else None
        self._triggers = Needles(tuple(text.encode() for text in spec.triggers)) if spec.triggers else None
        self._matcher: LLMatcher | None = None
        self._blanks = 0
        self._seen: tuple[int, LLMatcher] | None = None  # what `allows` found out about a token
        self._leaves = self._triggers is not None and not spec.once  # whether it is free again after a match
        self._phase = _Phase.BEFORE if self._after is not None else _Phase.FREE

    # -- asking ----------------------------------------------------------------------------------------------------

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        phase = self._phase
        if phase is _Phase.HELD:
            assert self._matcher is not None
            if self._matcher.validate_tokens([token]) == 1:
                return True
            if not self._matcher.is_accepting():
                return False
            return self._free(token) if self._leaves else token in self._ends
        if phase is _Phase.DONE:
            return token in self._ends
        if phase is _Phase.GAP:
            return self._new.validate_tokens([token]) == 1 or self._is_blank(token)
        return self._free(token)

    def _free(self, token: int) -> bool:
        """Whether `token` may come where the grammar does not hold."""
        if token in self._ends:
            return self._triggers is not None
        needles = self._after if self._phase is _Phase.BEFORE else self._triggers
        assert needles is not None
        text = self._pieces[token]
        if not needles.completes(text):
            return True
        find = needles.find(Piece(token, text))
        assert find is not None
        if self._phase is _Phase.BEFORE:
            return self._follows(find.rest)
        matcher = self._entered(find)
        self._seen = None if matcher is None else (token, matcher)
        return matcher is not None

    def _follows(self, rest: bytes) -> bool:
        """Whether `rest`, after the text that ends what is free, can begin what follows."""
        if self._triggers is not None:
            find = self._triggers.find(Piece(_PART, rest))
            return find is None or self._entered(find) is not None
        return not rest.strip() or self._begun(rest) is not None

    def _begun(self, rest: bytes) -> LLMatcher | None:
        """The grammar after `rest`, blanks before it left out where it does not take them."""
        return self._consumed(self._bytes(rest)) or self._consumed(self._bytes(rest.lstrip()))

    def _entered(self, find: Find) -> LLMatcher | None:
        """The grammar after what a trigger began: by the tokens as they came, or by their text."""
        first, *others = find.pieces
        whole = not find.start and first.token != _PART
        head = [first.token] if whole else self._bytes(first.text[find.start :])
        tokens = [*head, *(piece.token for piece in others)]
        return self._consumed(tokens) or self._consumed(self._bytes(find.text))

    def _consumed(self, tokens: list[int]) -> LLMatcher | None:
        matcher = self._new.deep_copy()
        return matcher if matcher.try_consume_tokens(tokens) == len(tokens) and not matcher.is_error() else None

    def _bytes(self, text: bytes) -> list[int]:
        native = self._tokenizer.native
        try:
            return native.greedy_tokenize(text.decode())
        except UnicodeDecodeError:
            return native.tokenize_bytes(text)

    def _is_blank(self, token: int) -> bool:
        text = self._pieces[token]
        return bool(text) and not text.strip() and token not in self._ends and self._blanks < MOST_BLANKS

    def fitting(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` may come next, at least: as far as the phase lasts."""
        if self._phase is _Phase.HELD:
            assert self._matcher is not None
            return self._matcher.validate_tokens(list(tokens))
        if self._phase is _Phase.GAP:
            return self._new.validate_tokens(list(tokens))
        if self._phase is _Phase.DONE:
            return 0
        needles = self._after if self._phase is _Phase.BEFORE else self._triggers
        assert needles is not None
        text = b""
        for count, token in enumerate(tokens):
            text += self._pieces[token]
            if token in self._ends or needles.completes(text):
                return count
        return len(tokens)

    def refused(self) -> Mask:
        """Every token that may not come next. Raises `GrammarError` where the grammar has become too complex."""
        if self._phase is _Phase.HELD:
            assert self._matcher is not None
            mask = refused(self._matcher, self._spec, self._n_tokens)
            if self._leaves and self._matcher.is_accepting():
                mask &= self._free_mask()
            return mask
        if self._phase is _Phase.DONE:
            mask = np.ones(self._n_tokens, np.bool_)
            mask[list(self._ends)] = False
            return mask
        if self._phase is _Phase.GAP:
            mask = refused(self._new, self._spec, self._n_tokens)
            for token, text in enumerate(self._pieces):
                if text.isspace() and self._is_blank(token):
                    mask[token] = False
            return mask
        return self._free_mask()

    def _free_mask(self) -> Mask:
        """What is refused where the grammar does not hold: rarely asked for, so one by one."""
        needles = self._after if self._phase is _Phase.BEFORE else self._triggers
        assert needles is not None
        mask = np.zeros(self._n_tokens, np.bool_)
        for token, text in enumerate(self._pieces):
            if (token in self._ends or needles.completes(text)) and not self._free(token):
                mask[token] = True
        return mask

    def forced(self) -> Sequence[int]:
        """Tokens that must come next."""
        if self._phase is not _Phase.HELD or self._matcher is None:
            return ()
        if self._leaves and self._matcher.is_accepting():
            return ()
        return self._matcher.compute_ff_tokens()

    @property
    def finished(self) -> bool:
        """Whether nothing but the end may follow."""
        if self._phase is _Phase.DONE:
            return True
        return self._triggers is None and self._matcher is not None and self._matcher.is_stopped()

    # -- going on --------------------------------------------------------------------------------------------------

    def accept(self, token: int) -> None:
        """`token` came next.

        Raises:
            GrammarError: it does not fit, or the grammar has become too complex.
        """
        piece = Piece(token, self._pieces[token])
        if self._phase is _Phase.HELD:
            self._accept_held(piece)
        elif self._phase is _Phase.GAP:
            self._accept_gap(piece)
        elif self._phase is _Phase.BEFORE:
            self._accept_before(piece)
        elif self._phase is _Phase.FREE:
            self._accept_free(piece)

    def _accept_before(self, piece: Piece) -> None:
        assert self._after is not None
        find = None if piece.token in self._ends else self._after.find(piece)
        if find is None:
            self._after.push(piece)
        elif self._triggers is not None:
            self._phase = _Phase.FREE
            self._accept_free(Piece(_PART, find.rest))
        elif not find.rest.strip():
            self._phase, self._blanks = _Phase.GAP, len(find.rest)
        else:
            self._hold(self._begun(find.rest))

    def _accept_gap(self, piece: Piece) -> None:
        if self._new.validate_tokens([piece.token]) == 1:
            self._hold(self._consumed([piece.token]))
        elif self._is_blank(piece.token):
            self._blanks += len(piece.text)
        else:
            self._hold(None)

    def _accept_free(self, piece: Piece) -> None:
        assert self._triggers is not None
        seen, self._seen = self._seen, None
        find = None if piece.token in self._ends else self._triggers.find(piece)
        if find is None:
            self._triggers.push(piece)
        else:
            self._hold(seen[1] if seen is not None and seen[0] == piece.token else self._entered(find))

    def _accept_held(self, piece: Piece) -> None:
        matcher = self._matcher
        assert matcher is not None
        if not self._leaves or matcher.validate_tokens([piece.token]) == 1:
            if not matcher.consume_token(piece.token):
                raise failure(matcher, self._spec)
            if self._triggers is not None and matcher.is_stopped():
                self._leave()
        elif matcher.is_accepting():
            self._leave()
            self._accept_free(piece)
        else:
            self._hold(None)

    def _leave(self) -> None:
        """The grammar has been matched: free again, unless once is enough."""
        assert self._triggers is not None
        self._matcher, self._phase = None, _Phase.DONE if self._spec.once else _Phase.FREE
        self._triggers.clear()

    def _hold(self, matcher: LLMatcher | None) -> None:
        if matcher is None:
            raise GrammarError("a token was taken that the grammar refuses", param=None)
        self._matcher, self._phase = matcher, _Phase.HELD
        if self._triggers is not None:
            self._triggers.clear()
            if matcher.is_stopped():
                self._leave()
