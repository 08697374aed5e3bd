"""From a `Spec` to what holds an output to it, token by token (the engine's ``Constraint``).

Three kinds: a grammar from the first token (`Held`); one that waits for a text (``phases``); and either of them, or
nothing, under a limit on reasoning (`Limited`). Not for: compiling (``compiled``), or drawing tokens (the engine).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llama_bind.errors import GrammarError, InputError
from llama_bind.structured.compiled import Grammars, failure, refused
from llama_bind.structured.needles import Piece
from llama_bind.structured.phases import Phased
from llama_bind.structured.spec import Spec, ThinkingBudget
from llama_bind.structured.thinking import Budget
from llama_bind.structured.tokenizer import Tokenizer, Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher

__all__ = ["Compiler", "Held", "Limited"]

Mask = npt.NDArray[np.bool_]


class Compiler:
    """Makes the constraints of one model. Any thread may use it; what it makes belongs to one.

    Args:
        vocabulary: The model's; looked at when the first constraint is made.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._tokenizer = Tokenizer(vocabulary)
        self._grammars = Grammars(self._tokenizer)

    def check(self, spec: Hashable) -> None:
        """Compile, where that was not done before: milliseconds, the first time of all some tenths of a second.

        Raises:
            GrammarError: it cannot be held to.
            UnsupportedError: the model has no vocabulary.
        """
        self.make(spec)

    def make(self, spec: Hashable) -> Held | Phased | Limited:
        """A constraint at the start of an output. Raises as `check` does."""
        if not isinstance(spec, Spec):
            raise InputError(f"a constraint is a Spec, not {type(spec).__name__}", param="constraint")
        held: Held | Phased | None = None
        demands = bool(spec.lark or spec.options)
        if demands and (spec.triggers or spec.after):
            held = Phased(self._grammars, spec)
        elif demands:
            held = Held(self._grammars.get(spec), spec, self._tokenizer)
        if spec.thinking is not None:
            return Limited(self._budget(spec.thinking), self._tokenizer, held)
        if held is None:
            raise GrammarError("the grammar is empty", param=None)
        return held

    def _budget(self, given: ThinkingBudget) -> Budget:
        tokenizer = self._tokenizer
        end = given.end or given.closing.strip()
        if not end:
            raise GrammarError("a limit on reasoning needs the text that ends it", param="thinking")
        openings = (given.opening.encode(),) if given.opening else ()
        closing = tuple(tokenizer.vocabulary.tokenize(given.closing, True))
        opened = given.opened or not openings
        return Budget(given.tokens, openings, (end.encode(),), closing, opened)


class Held:
    """A grammar that holds from the first token to the end."""

    __slots__ = ("_ends", "_matcher", "_n_tokens", "_spec")

    active = True

    def __init__(self, matcher: LLMatcher, spec: Spec, tokenizer: Tokenizer) -> None:
        self._matcher = matcher
        self._spec = spec
        self._n_tokens = tokenizer.vocabulary.n_tokens
        self._ends = tokenizer.vocabulary.ends

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        if self._matcher.validate_tokens([token]) == 1:
            return True
        return token in self._ends and self._matcher.is_stopped() and self._matcher.is_accepting()

    def fitting(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` may come next, in this order."""
        return self._matcher.validate_tokens(list(tokens))

    def refused(self) -> Mask:
        """Every token that may not come next.

        Raises:
            GrammarError: the grammar has become too complex here.
        """
        return refused(self._matcher, self._spec, self._n_tokens)

    def accept(self, token: int) -> None:
        """`token` came next.

        Raises:
            GrammarError: it does not fit, or the grammar has become too complex.
        """
        if not self._matcher.consume_token(token):
            raise failure(self._matcher, self._spec)

    def forced(self) -> Sequence[int]:
        """Tokens that must come next."""
        return self._matcher.compute_ff_tokens()

    @property
    def finished(self) -> bool:
        """Whether nothing but the end may follow."""
        return self._matcher.is_stopped()


class Limited:
    """A limit on reasoning, and what else the output is held to."""

    def __init__(self, budget: Budget, tokenizer: Tokenizer, inner: Held | Phased | None) -> None:
        self._budget = budget
        self._tokenizer = tokenizer
        self._pieces = tokenizer.pieces
        self._inner = inner

    @property
    def active(self) -> bool:
        """Whether it may refuse anything now."""
        return bool(self._budget.forced) or (self._inner is not None and self._inner.active)

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        forced = self._budget.forced
        if forced:
            return token == forced[0]
        return self._inner is None or self._inner.allows(token)

    def fitting(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` may come next, at least."""
        if self._budget.forced:
            return int(bool(tokens) and tokens[0] == self._budget.forced[0])
        left = self._budget.left
        some = tokens if left is None else tokens[:left]
        return len(some) if self._inner is None else self._inner.fitting(some)

    def refused(self) -> Mask:
        """Every token that may not come next."""
        forced = self._budget.forced
        if not forced and self._inner is not None:
            return self._inner.refused()
        mask = np.full(self._tokenizer.vocabulary.n_tokens, bool(forced))
        mask[list(forced[:1])] = False
        return mask

    def accept(self, token: int) -> None:
        """`token` came next."""
        self._budget.accept(Piece(token, self._pieces[token]))
        if self._inner is not None:
            self._inner.accept(token)

    def forced(self) -> Sequence[int]:
        """Tokens that must come next."""
        forced = self._budget.forced
        if forced or self._inner is None:
            return forced
        found = self._inner.forced()
        return found if self._budget.left is None else found[: self._budget.left]

    @property
    def finished(self) -> bool:
        """Whether nothing but the end may follow."""
        return not self._budget.forced and self._inner is not None and self._inner.finished
