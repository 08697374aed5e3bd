"""`Sampler`: llama.cpp's sampler chain for one sequence, with a grammar beside it.

The grammar costs little, as in common/sampling.cpp: a token is drawn first and tested alone; only when the grammar
refuses it are all tokens masked and one drawn again. Nothing that native code would abort on gets there: arguments are
checked first (``sampler_chain``), grammars too (``structured.gbnf``), and a token enters a grammar only after that
grammar was asked about it.

Not for: choosing options, decoding, or masks of other constraint engines (hand changed logits to `sample_array`).
"""

from __future__ import annotations

import ctypes
import functools
import operator
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from llama_bind.core.handle import Handle
from llama_bind.core.sampler_build import build_chain, grammar_source, init_grammar, longest_piece
from llama_bind.core.sampler_chain import (
    Stage,
    VocabFacts,
    merge_biases,
    plan,
    remembers,
    remembers_text,
    usable_seed,
)
from llama_bind.core.sampler_draw import GREEDY, chain_struct, clear_history, copy_history
from llama_bind.core.sampler_native import Candidates, free_pair, native
from llama_bind.errors import GrammarError, InputError, NativeAbortError, TokenError, UnsupportedError
from llama_bind.lib._guard import check_guard
from llama_bind.params import SamplingParams
from llama_bind.structured.grammar import LlamaGrammar

if TYPE_CHECKING:
    from llama_bind.core.context import Context
    from llama_bind.core.vocab import Vocab

__all__ = ["Holds", "Sampler"]

_CLONE_ELEMENTS = 20_000
"""Above this size of a grammar, in elements, a clone replays its tokens: llama.cpp's clone takes size times stacks."""
_NO_SUCH_TOKEN = -2


class Holds(Protocol):
    """What a constraint engine says of the next token."""

    def allows(self, token: int) -> bool:
        """Whether it may come."""
        ...

    def refused(self) -> npt.NDArray[np.bool_]:
        """Every token that may not, shape (n_vocab,)."""
        ...


class Sampler(Handle):
    """A sampler chain (``llama_sampler_chain_*``) and its state. Make one for each sequence with `create`.

    One call at a time: a lock sees to it. Closed with its model.

    Attributes:
        seed: The seed of the draws, 0 to 2**32 - 2; the same seed, options and logits give the same tokens.
        params: What it was made of.
        is_greedy: Whether it takes the likeliest token, after biases, and remembers nothing: no chain needs to run.
        has_grammar: Whether a grammar stands beside the chain.
        remembers: Whether the tokens that it accepts change what it draws.
        native_chain: The address of its ``lb_chain``, while it is open.
    """

    def __init__(
        self,
        vocab: Vocab,
        params: SamplingParams,
        stages: list[Stage],
        chain: int,
        grammar: tuple[int, LlamaGrammar] | None,
        seed: int,
    ) -> None:
        self.params = params
        self.seed = seed
        self._vocab = vocab
        self._n_vocab = vocab.n_tokens
        self._stages = stages
        self._grammar = grammar[0] if grammar else 0
        self._source = grammar[1] if grammar else None
        self.has_grammar = grammar is not None
        self._accepted: list[int] = []  # tokens that the grammar took
        self._memory = max((int(remembers(stage)) for stage in stages), default=0)
        self._accepts = self._memory > 0 or any(stage.name == "adaptive_p" for stage in stages)
        self.remembers = self._accepts
        self._struct = chain_struct(stages, chain)
        self.native_chain = ctypes.addressof(self._struct)
        self.is_greedy = not grammar and self._struct.top_k == GREEDY
        self._candidates: Candidates | None = None
        self._single = Candidates(1)
        self._lock = threading.Lock()
        self._native = native()
        super().__init__(chain, functools.partial(free_pair, self._grammar), vocab._model)

    @classmethod
    def create(cls, vocab: Vocab, params: SamplingParams, *, n_ctx: int, seed: int) -> Sampler:
        """Make a sampler.

        Args:
            vocab: of the model whose logits it will see.
            params: which samplers and how; all of it is checked.
            n_ctx: tokens of the context, for options whose -1 means it.
            seed: any integer; taken modulo 2**32 (`seed` tells what was used).

        Raises:
            InputError: an option; `param` names it.
            TokenError: `logit_bias` names a token that does not exist.
            GrammarError: the grammar cannot be run with this vocabulary.
            UnsupportedError: something that needs a text vocabulary, and there is none.
        """
        seed = usable_seed(operator.index(seed))
        banned = [*vocab.suppress_tokens, *(vocab.eog_tokens if params.ignore_eos else ())]
        biases = merge_biases(params.logit_bias, vocab.n_tokens, banned)
        facts = VocabFacts(
            vocab.ptr,
            vocab.n_tokens,
            vocab.eot is not None or vocab.eos is not None,
            functools.partial(longest_piece, vocab),
        )
        stages = plan(params, facts, n_ctx=n_ctx, seed=seed, biases=biases)
        if vocab.type == "none" and (params.grammar is not None or any(remembers_text(stage) for stage in stages)):
            raise UnsupportedError("this model has no vocabulary: grammar and DRY need one")
        source = None if params.grammar is None else grammar_source(params.grammar, vocab)
        chain = build_chain(stages, vocab)
        try:
            grammar = None if source is None else (init_grammar(source, vocab), source)
            return cls(vocab, params, stages, chain, grammar, seed)
        except BaseException:
            native().free(chain)
            raise

    # -- sampling -----------------------------------------------------------------------------------------------

    def sample(self, ctx: Context, idx: int = -1) -> int:
        """Choose the next token from output `idx` of the last decode (-1: the last output), and accept it.

        Raises:
            GrammarError: the grammar allows no token of this vocabulary here.
            InputError: there is no such output, or the context belongs to a model with another vocabulary.
        """
        chain = self._resource.pin()
        try:
            with self._lock:
                if ctx._resource.parent is not self._resource.parent:
                    self._check_vocab(ctx)
                if self._grammar:
                    return self._sample_grammar(chain, ctx, idx)
                return self._sample(ctx, idx)
        finally:
            self._resource.unpin()

    def _sample(self, ctx: Context, idx: int) -> int:
        use = ctx._use()
        context = use.__enter__()
        try:
            token: int = self._native.draw(context, idx, self.native_chain)
        except ctypes.ArgumentError:
            raise InputError(f"idx must be a 32-bit integer, not {idx!r}", param="idx") from None
        finally:
            use.__exit__()
        if token < 0:
            self._no_token(ctx, idx)
        return token

    def _no_token(self, ctx: Context, idx: int) -> NoReturn:
        try:
            check_guard()
        except NativeAbortError as error:
            ctx.logits(idx)  # says so if there is no such output
            raise error
        raise NativeAbortError(f"the sampler chain chose no token from output {idx}")

    def _check_vocab(self, ctx: Context) -> None:
        n_tokens = ctx.model.vocab.n_tokens
        if n_tokens != self._n_vocab:
            raise InputError(
                f"the sampler is for {self._n_vocab} tokens and the context's model has {n_tokens}", param="ctx"
            )

    def sample_array(self, logits: npt.NDArray[np.float32], *, whole: bool = False) -> int:
        """Choose the next token from logits of the caller's, shape (n_vocab,), and accept it. They are not changed.

        `whole`: by the whole chain, so that `left` can tell what it left; the token is the same.

        Raises:
            InputError: the wrong shape.
            GrammarError: as for `sample`.
        """
        row = self._row(logits)
        chain = self._resource.pin()
        try:
            with self._lock:
                if self._grammar or whole:
                    return self._settle(chain, row, self._draw(chain, row))
                return self._sample_row(row)
        finally:
            self._resource.unpin()

    def left(self) -> dict[int, float]:
        """The tokens that the samplers left when the last token was drawn by the whole chain, and their probabilities
        then, the likeliest first; those of probability 0 left out.
        """
        with self._lock:
            if self._candidates is None:
                return {}
            left, last = self._candidates.left(), self._stages[-1].name
            if last == "greedy":
                return {self._candidates.selected(): 1.0}
        weights = left["p"].astype(np.float64)
        if last == "dist":  # it draws by the logits; not every version of it writes probabilities down
            logits = left["logit"].astype(np.float64)
            weights = np.exp(logits - logits.max())
        order = np.lexsort((left["id"], -weights))
        total = weights.sum()
        return {int(left["id"][i]): float(weights[i] / total) for i in order if weights[i] > 0}

    def _sample_row(self, row: npt.NDArray[np.float32]) -> int:
        changed = self._struct.n_biases or self._struct.history_size  # and restored, but the row is the caller's
        own = row.copy() if changed else np.ascontiguousarray(row)
        token: int = self._native.draw_row(own.ctypes.data, self._n_vocab, self.native_chain)
        if token < 0:
            check_guard()
        return token

    def _sample_grammar(self, chain: int, ctx: Context, idx: int) -> int:
        if self._accepts:  # the chain must not accept a token that the grammar may refuse
            row = ctx.logits(idx)
            return self._settle(chain, row, self._draw(chain, row))
        token = self._sample(ctx, idx)
        if self._allows(token):
            self._advance(token)
            return token
        return self._settle(chain, ctx.logits(idx), token, refused=True)

    def _settle(self, chain: int, row: npt.NDArray[np.float32], token: int, *, refused: bool = False) -> int:
        """The token to give out for a drawn one: itself, or where the grammar refuses it one that it allows."""
        if self._grammar and (refused or not self._allows(token)):
            token = self._draw(chain, row, masked=True)
            if not self._allows(token):
                token = self._end_of_grammar()
        self._native.accept_chain(self.native_chain, token)
        check_guard()
        if self._grammar:
            self._advance(token)
        return token

    def _draw(self, chain: int, row: npt.NDArray[np.float32], *, masked: bool = False) -> int:
        if self._candidates is None:
            self._candidates = Candidates(self._n_vocab)
        candidates = self._candidates
        candidates.fill(row)
        if masked:
            self._native.apply(self._grammar, candidates.address)
            check_guard()
        self._native.apply(chain, candidates.address)
        check_guard()
        return candidates.selected()

    def sample_held(self, logits: npt.NDArray[np.float32], held: Holds) -> int | None:
        """As `sample_array`, where `held` refuses some tokens: one is drawn and asked about, and only if it is refused
        is one drawn of those that are not. What is given out is accepted, what was refused never. None where no token
        that is allowed can be drawn.

        Raises:
            InputError: the wrong shape.
        """
        row = self._row(logits)
        chain = self._resource.pin()
        try:
            with self._lock:
                token = self._draw(chain, row)
                if not held.allows(token):
                    token = self._draw(chain, np.where(held.refused(), np.float32(-np.inf), row))
                    if not held.allows(token):
                        return None
                self._native.accept_chain(self.native_chain, token)
                check_guard()
                return token
        finally:
            self._resource.unpin()

    # -- the grammar --------------------------------------------------------------------------------------------

    def allows(self, token: int) -> bool:
        """Whether the grammar takes this token next (True where there is no grammar)."""
        token = self._checked(token)
        self._resource.pin()
        try:
            with self._lock:
                return self._allows(token)
        finally:
            self._resource.unpin()

    def _allows(self, token: int) -> bool:
        if not self._grammar:
            return True
        single = self._single
        single.fill_one(token)
        self._native.apply(self._grammar, single.address)
        check_guard()
        return single.first_logit() != -np.inf

    def _advance(self, token: int) -> None:
        self._native.accept(self._grammar, token)
        check_guard()
        self._accepted.append(token)

    def _end_of_grammar(self) -> int:
        """The token that ends the text, where that is all the grammar allows but options forbid it.

        A grammar that is complete ends the text even with ``ignore_eos``.
        """
        ends = [t for t in (self._vocab.eos, self._vocab.eot) if t is not None]
        for token in [*ends, *sorted(self._vocab.eog_tokens)]:
            if token in self._vocab.eog_tokens and self._allows(token):
                return token
        raise GrammarError("the grammar allows no usable token of this vocabulary here; allow more, or ban less")

    # -- state --------------------------------------------------------------------------------------------------

    def accept(self, token: int) -> None:
        """Take note of a token that came about in another way than by this sampler.

        Raises:
            TokenError: there is no such token.
            GrammarError: the grammar does not allow it here.
        """
        token = self._checked(token)
        self._resource.pin()
        try:
            with self._lock:
                if not self._allows(token):
                    raise GrammarError(f"token {token} does not fit the grammar here; accept only what it allows")
                self._native.accept_chain(self.native_chain, token)
                check_guard()
                if self._grammar:
                    self._advance(token)
        finally:
            self._resource.unpin()

    def accept_prompt(self, tokens: Iterable[int] | npt.NDArray[np.int32]) -> None:
        """Take note of a prompt: penalties and DRY see its tokens, the grammar does not.

        Raises:
            TokenError: there is no such token.
        """
        if not self._memory:
            return
        last = np.asarray(tokens if isinstance(tokens, np.ndarray) else list(tokens), np.int64)[-self._memory :]
        wrong = last[(last < 0) | (last >= self._n_vocab)]
        if wrong.size:
            raise TokenError(int(wrong[0]), self._n_vocab, param="tokens")
        self._resource.pin()
        try:
            with self._lock:
                for token in last.tolist():
                    self._native.accept_chain(self.native_chain, token)
                check_guard()
        finally:
            self._resource.unpin()

    def reset(self) -> None:
        """Back to the start: no tokens seen, the same seed, the grammar at its root."""
        chain = self._resource.pin()
        try:
            with self._lock:
                self._native.reset(chain)
                check_guard()
                clear_history(self._struct)
                if self._grammar:
                    self._native.reset(self._grammar)
                    check_guard()
                self._accepted.clear()
        finally:
            self._resource.unpin()

    def clone(self) -> Sampler:
        """A sampler that goes on from this one's state, independently. adaptive_p's draws start anew."""
        chain = self._resource.pin()
        try:
            with self._lock:
                copy = self._native.clone(chain)
                check_guard()
                if self._stages[-1].name == "adaptive_p":
                    # A draw that was never accepted would be looked up in probabilities that are not cloned; accepting
                    # a token that does not exist forgets it.
                    self._native.accept(self._native.get(copy, len(self._stages) - 1), _NO_SUCH_TOKEN)
                try:
                    grammar = None if self._source is None else (self._clone_grammar(self._source), self._source)
                    twin = Sampler(self._vocab, self.params, self._stages, copy, grammar, self.seed)
                except BaseException:
                    self._native.free(copy)
                    raise
                twin._accepted = list(self._accepted)
                copy_history(self._struct, twin._struct)
                return twin
        finally:
            self._resource.unpin()

    def _clone_grammar(self, source: LlamaGrammar) -> int:
        if sum(map(len, source.parsed.rules)) <= _CLONE_ELEMENTS:
            copy: int = self._native.clone(self._grammar)
            check_guard()
            return copy
        grammar = init_grammar(source, self._vocab)
        for token in self._accepted:
            self._native.accept(grammar, token)
        check_guard()
        return grammar

    # -- looking ------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """llama.cpp's names of the samplers in order; one that does nothing begins with "?"."""
        chain = self._resource.pin()
        try:
            with self._lock:
                found = [self._native.name(self._native.get(chain, i)) for i in range(len(self._stages))]
        finally:
            self._resource.unpin()
        return [*(["grammar"] if self._grammar else []), *(name.decode() for name in found)]

    def apply(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """What the samplers leave of these logits, shape (n_vocab,): a structured array of ``id``, ``logit`` and ``p``.

        `p` is the probability of the draw. Works on a copy of the state: the sampler does not advance.
        """
        row = self._row(logits)
        with self.clone() as twin:
            candidates = Candidates(self._n_vocab)
            candidates.fill(row)
            if twin._grammar:
                self._native.apply(twin._grammar, candidates.address)
            self._native.apply(twin.ptr, candidates.address)
            check_guard()
            left = candidates.left()
        if self._stages[-1].name == "greedy":  # it leaves the probabilities to others
            left["p"] = left["id"] == left["id"][np.argmax(left["logit"])]
        return left

    def probs(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The probability of each token, shape (n_vocab,); see `apply`."""
        left = self.apply(logits)
        dense = np.zeros(self._n_vocab, np.float32)
        dense[left["id"]] = left["p"]
        return dense

    def _row(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        row = np.asarray(logits, np.float32)
        if row.shape != (self._n_vocab,):
            raise InputError(f"logits must have shape ({self._n_vocab},), not {row.shape}", param="logits")
        return row

    def _checked(self, token: int) -> int:
        number = operator.index(token)
        if not 0 <= number < self._n_vocab:
            raise TokenError(number, self._n_vocab, param="token")
        return number
