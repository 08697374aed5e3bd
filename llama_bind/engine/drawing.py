"""Draws tokens from what a step computed, each with its own sequence's sampler; logs their probabilities.

Not for: computing (runner), or what a token means for its request (worker).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llama_bind.engine.holding import Holding
from llama_bind.engine.outcome import Sampled
from llama_bind.engine.rules import Mask, check_left, masking
from llama_bind.engine.scheduler import Chunk, StepPlan
from llama_bind.engine.sequence import Sequence
from llama_bind.errors import GrammarError
from llama_bind.values import TokenLogprob

if TYPE_CHECKING:
    from llama_bind.engine.runner import Runner

__all__ = ["Drawing"]

Floats = npt.NDArray[np.float32]

LOGPROB_FLOOR = -9999.0


class Drawing:
    """Samples for the sequences of `runner`. Its context may be replaced meanwhile."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._vocab = runner.vocab
        self._holding = Holding(runner.vocab.eog_tokens, runner.context.n_ctx_seq)

    def first(self, sequence: Sequence) -> list[Sampled]:
        """The tokens that must stand at the beginning of a text."""
        return self._holding.first(sequence)

    def step(self, plan: StepPlan) -> list[Sampled]:
        """A token for every sequence whose last known token was computed.

        Those that nobody watches are drawn together, in one native call.
        """
        results: list[Sampled] = []
        plain: list[Sequence] = []
        outputs: list[int] = []
        index = 0
        for chunk in plan.chunks:
            sequence = chunk.sequence
            if chunk.draft:
                results += self._verify(chunk, index)
            else:
                sequence.n_computed += chunk.count
                if chunk.output == "all":
                    self._prompt_logprobs(chunk, index)
                if sequence.n_computed == sequence.n_tokens:
                    last = index + chunk.count - 1
                    if sequence.n_tokens >= sequence.limit or self._is_special(sequence):
                        results += self._with_followers(self.one(sequence, last))
                    else:
                        plain.append(sequence)
                        outputs.append(last)
            index += chunk.count
        if plain:
            tokens = self._runner.draw([sequence.sampler for sequence in plain], outputs)
            for sequence, token, output in zip(plain, tokens, outputs, strict=True):
                if isinstance(token, BaseException):
                    results.append(Sampled(sequence, error=token))
                elif sequence.constraint is None:
                    results.append(Sampled(sequence, token))
                else:
                    results += self.drawn(sequence, token, functools.partial(self._runner.context.logits, output))
        return results

    @staticmethod
    def _is_special(sequence: Sequence) -> bool:
        """Whether a sequence cannot be drawn together with others."""
        if sequence.watched or sequence.sampler.has_grammar:
            return True
        return sequence.constraint is not None and (sequence.sampler.remembers or bool(sequence.coming))

    def drawn(self, sequence: Sequence, token: int, row: Callable[[], Floats]) -> list[Sampled]:
        """What a drawn token gives a sequence that is held to something: it or another, and what must follow.

        Args:
            sequence: Its sampler remembers nothing.
            token: Drawn by it.
            row: Gives the logits that the token was drawn from.
        """
        try:
            return self._with_followers(Sampled(sequence, self._holding.settle(sequence, token, row)))
        except Exception as error:  # of this request alone: a grammar that cannot go on
            return [Sampled(sequence, error=error)]

    def _with_followers(self, sampled: Sampled) -> list[Sampled]:
        return [sampled, *self._holding.follow(sampled)]

    def _verify(self, chunk: Chunk, index: int) -> list[Sampled]:
        """Sample after the last token and after each guess, up to the first guess that was wrong."""
        sequence, draft = chunk.sequence, chunk.draft
        results: list[Sampled] = []
        following: list[Sampled] = []
        for i in range(chunk.count):
            if following:
                sampled = following.pop(0)
                sampled.forced = False  # computed already, if it is what was guessed
            else:
                sampled = self.one(sequence, index + i, draft[:i])
                following = self._holding.follow(sampled, i)
            results.append(sampled)
            sequence.n_computed += 1
            if sampled.error is not None or sampled.stop or i == len(draft) or sampled.token != draft[i]:
                break
        held = len(results) - 1
        sequence.draft_length.result(len(draft), held)
        if held < len(draft):
            self._runner.trim(sequence, sequence.n_computed)
        return results + following

    def one(self, sequence: Sequence, index: int, ahead: tuple[int, ...] = ()) -> Sampled:
        """`ahead`: guesses that held, after the tokens that the sequence has."""
        if sequence.n_tokens >= sequence.limit:
            return Sampled(sequence)  # the prompt was all that was asked for
        try:
            if sequence.watched:
                return self._watched(sequence, index, ahead)
            coming = self._coming(sequence, None)
            return Sampled(sequence, self._sample(sequence, index) if coming is None else coming)
        except Exception as error:  # of this request alone: a callback, a grammar that cannot go on
            return Sampled(sequence, error=error)

    def _sample(self, sequence: Sequence, index: int) -> int:
        """A token from an output as it lies in native memory."""
        context, whole = self._runner.context, sequence.request.after_samplers
        if sequence.constraint is not None and (whole or sequence.sampler.remembers):
            return self._holding.draw(sequence, context.logits(index))
        token: int
        if whole:
            token = sequence.sampler.sample_array(context.logits(index), whole=True)
            return token
        token = sequence.sampler.sample(context, index)
        if sequence.constraint is None:
            return token
        return self._holding.settle(sequence, token, functools.partial(context.logits, index))

    @staticmethod
    def _coming(sequence: Sequence, mask: Mask | None) -> int | None:
        """The token that must come next, where that is known and nothing else forbids it."""
        if not sequence.coming:
            return None
        token, sequence.coming = sequence.coming[0], sequence.coming[1:]
        if mask is not None and _names(mask, token):
            sequence.coming = ()
            return None
        if sequence.sampler.remembers:
            sequence.sampler.accept(token)
        return token

    def _watched(self, sequence: Sequence, index: int, ahead: tuple[int, ...]) -> Sampled:
        """Sample where someone wants to see or change the logits."""
        request, stop = sequence.request, False
        logits = self._runner.context.logits(index)
        mask = self._mask(sequence, ahead)
        coming = self._coming(sequence, mask)
        if request.logits_processors or request.stopping_criteria:
            token, stop = self._processed(sequence, logits, mask, ahead, coming)
        elif coming is not None:
            token = coming
        elif mask is None:
            token = self._sample(sequence, index)
        else:
            with masking(logits, mask):  # in native memory, where the chain finds them
                token = self._sample(sequence, index)
        if mask is not None and request.sampling.grammar is not None:
            self._check_choice(mask, token)
        if request.logprobs is None:
            return Sampled(sequence, token, None, stop)
        if request.after_samplers:
            left = {token: 1.0} if coming is not None else sequence.sampler.left()
            return Sampled(sequence, token, self._logprob_after(left, token, request.logprobs), stop)
        return Sampled(sequence, token, self._logprob(logits, token, request.logprobs), stop)

    @staticmethod
    def _mask(sequence: Sequence, ahead: tuple[int, ...]) -> Mask | None:
        rules = sequence.request.rules
        if rules is None:
            return None
        before = sequence.view()[-max(rules.reach, 1) :]
        if ahead:
            before = np.append(before, np.array(ahead, np.int32))
        return rules.masked(before, sequence.n_generated + len(ahead))

    def _processed(
        self, sequence: Sequence, logits: Floats, mask: Mask | None, ahead: tuple[int, ...], coming: int | None
    ) -> tuple[int, bool]:
        """A token of what the caller's functions make of the logits (or the one that is `coming`), and whether they
        end the text.
        """
        request = sequence.request
        ids = np.append(sequence.view(), np.array(ahead, np.int32))
        scores: Any = logits.copy()
        for processor in request.logits_processors:
            scores = processor(ids, scores)
        if mask is not None and np.shape(scores) == logits.shape:  # else the sampler says what is wrong
            scores = np.array(scores, np.float32)  # a processor may keep what it returned
            scores[mask] = -np.inf
            check_left(scores)
        row = np.ascontiguousarray(scores, np.float32)
        if coming is not None:
            token = coming
        elif sequence.constraint is None:
            token = sequence.sampler.sample_array(row, whole=request.after_samplers)
        else:
            token = self._holding.draw(sequence, row)
        stop = any(criterion(np.append(ids, np.int32(token)), scores) for criterion in request.stopping_criteria)
        return token, stop

    def _check_choice(self, mask: Mask, token: int) -> None:
        """A grammar that finds all its tokens masked takes one of them, or the end where it is complete."""
        if _names(mask, token) and token not in self._vocab.eog_tokens:
            raise GrammarError("the grammar allows only tokens that other options ban here; allow more, or ban less")

    def _prompt_logprobs(self, chunk: Chunk, index: int) -> None:
        """Log probabilities of the tokens after each of the chunk's, within the prompt; the first token has none."""
        sequence = chunk.sequence
        if not sequence.prompt_logprobs:
            sequence.prompt_logprobs.append(None)
        for i in range(chunk.count):
            following = chunk.start + i + 1
            if len(sequence.prompt_logprobs) == following < sequence.n_prompt:  # else known before it was preempted
                token = int(sequence.tokens[following])
                entry = self._logprob(
                    self._runner.context.logits(index + i), token, sequence.request.prompt_logprobs or 0
                )
                sequence.prompt_logprobs.append(entry)

    def _logprob(self, logits: Floats, token: int, n_top: int) -> TokenLogprob:
        peak = float(logits.max())
        norm = peak + float(np.log(np.exp(logits - peak, dtype=np.float32).sum(dtype=np.float64)))
        top: list[TokenLogprob] = []
        if n_top:
            n_top = min(n_top, len(logits))
            best = np.argpartition(logits, -n_top)[-n_top:]
            for i in best[np.lexsort((best, -logits[best]))]:
                top.append(self._entry(int(i), float(logits[i]) - norm))
        return dataclasses.replace(self._entry(token, float(logits[token]) - norm), top=tuple(top))

    def _logprob_after(self, left: Mapping[int, float], token: int, n_top: int) -> TokenLogprob:
        """Of a token among those that the samplers left, whose probabilities come likeliest first."""
        top = tuple(self._entry(i, math.log(p)) for i, p in itertools.islice(left.items(), n_top))
        # A constraint that is complete ends the text whatever was left.
        logprob = math.log(left[token]) if token in left else 0.0
        return dataclasses.replace(self._entry(token, logprob), top=top)

    def _entry(self, token: int, logprob: float) -> TokenLogprob:
        piece = self._vocab.token_to_piece(token, True)
        return TokenLogprob(token, piece, logprob if logprob > LOGPROB_FLOOR else LOGPROB_FLOOR)


def _names(mask: Mask, token: int) -> bool:
    """Whether a mask refuses a token."""
    return bool(mask[token]) if mask.dtype == np.bool_ else token in mask
