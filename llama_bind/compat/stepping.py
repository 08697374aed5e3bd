"""Computing token by token: what `eval`, `sample`, `generate` and `ctx` of llama-cpp-python's `Llama` stand on.

A context of its own beside the engine's, made when the first of these is used: the engine owns its context, and who
computes by hand changes the memory as it pleases. One caller at a time. Not for: completions, which run on the engine.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llama_bind.compat.processors import as_functions
from llama_bind.core.adapter import Adapter
from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.sampler import Sampler
from llama_bind.core.state import load_seq_state, save_seq_state
from llama_bind.errors import ContextOverflowError, InputError
from llama_bind.params import SamplingParams
from llama_bind.starting import Setup

if TYPE_CHECKING:
    from llama_bind.session import Session
    from llama_bind.values import LlamaState as Saved

__all__ = ["LlamaState", "Steps"]

Ids = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


@dataclasses.dataclass
class LlamaState:
    """What was computed of a text.

    Attributes:
        input_ids: Token ids, of which the first `n_tokens` count.
        scores: Logits of each of them where they were kept (``logits_all=True``), else of none.
        n_tokens: How many tokens it has.
        llama_state: What the memory held, as bytes that say themselves which model they belong to.
        llama_state_size: How many those are.
        seed: From which further texts take their seeds.
    """

    input_ids: Ids
    scores: Scores
    n_tokens: int
    llama_state: bytes
    llama_state_size: int
    seed: int


class Steps:
    """A context for one text, and what was computed in it.

    Args:
        session: The loaded model.
        logits_all: Keep the logits of all tokens in `scores`.

    Attributes:
        context: The context; its address is `Llama.ctx`.
        n_tokens: Tokens of the text that were computed; lowering it forgets the rest at the next `eval`.
        input_ids: Their ids at the beginning of an array of n_ctx numbers.
        scores: With `logits_all` a row of logits for each, shape (n_ctx, n_vocab), zeros where nothing was computed.
    """

    def __init__(self, session: Session, logits_all: bool) -> None:
        self._session = session
        self.logits_all = logits_all
        n_ctx = session.n_ctx
        params = dataclasses.replace(session.context_params, n_ctx=n_ctx, n_seq_max=1, kv_unified=None, embedding=False)
        self.context = Context.create(session.model, params)
        setup = Setup(session.model_path, session.model_params, params, session.params)
        if setup.adapters:
            loaded = [(Adapter.load(session.model, spec.path), spec.scale) for spec in setup.adapters]
            self.context.set_adapters(loaded)
        self._batch = Batch(self.context.n_batch)
        self.lock = threading.RLock()
        self.n_tokens = 0
        self.stale = True  # nothing to sample from: the last token must be computed again
        self.input_ids: Ids = np.zeros(n_ctx, np.int32)
        self._scores: Scores | None = None
        self._sampler: Sampler | None = None

    @property
    def scores(self) -> Scores:
        """See the class; made when it is first needed: it may take many gigabytes."""
        if self._scores is None:
            rows = len(self.input_ids) if self.logits_all else 1
            self._scores = np.zeros((rows, self.context.n_vocab), np.float32)
        return self._scores

    @property
    def tokens(self) -> Ids:
        """The tokens of the text; a view."""
        return self.input_ids[: self.n_tokens]

    def eval(self, tokens: Sequence[int]) -> None:
        """Compute tokens after those that are there.

        Raises:
            ContextOverflowError: more than the context holds.
            TokenError: there is no such token.
        """
        ids = np.asarray(list(tokens), np.int64)
        with self.lock:
            end = self.n_tokens + len(ids)
            if end > len(self.input_ids):
                raise ContextOverflowError(end, len(self.input_ids))
            self._session.vocab.check_tokens(ids)
            if not self.context.memory.seq_rm(0, self.n_tokens, -1):
                self._recompute()
            for start in range(0, len(ids), self.context.n_batch):
                self._decode(ids[start : start + self.context.n_batch])

    def _recompute(self) -> None:
        """Compute the text again, where the memory cannot be cut (recurrent models)."""
        before, self.n_tokens = self.tokens.copy(), 0
        self.context.memory.seq_rm(0, -1, -1)
        for start in range(0, len(before), self.context.n_batch):
            self._decode(before[start : start + self.context.n_batch])

    def _decode(self, ids: npt.NDArray[Any]) -> None:
        batch, n_past, count = self._batch, self.n_tokens, len(ids)
        batch.clear()
        batch.extend(ids, n_past, 0, True)
        if self.logits_all:
            batch.logits[:count] = 1
        self.context.decode(batch)
        self.input_ids[n_past : n_past + count] = ids
        if self.logits_all:
            for index in range(count):
                self.scores[n_past + index] = self.context.logits(index)
        self.n_tokens += count
        self.stale = False

    def logits(self, idx: int | None = None) -> Scores:
        """The logits after the token at place `idx` of the text (default: the last); a view, valid until `eval`.

        Raises:
            InputError: nothing was computed since the text was restored or cut, or that token gave no logits.
        """
        if self.n_tokens == 0 or self.stale:
            raise InputError("nothing to sample from: eval() a token first", param="idx")
        if idx is None or idx == self.n_tokens - 1:
            return self.context.logits(-1)
        if self.logits_all and 0 <= idx < self.n_tokens:
            kept: Scores = self.scores[idx]
            return kept
        raise InputError(f"there are no logits at {idx}; load with logits_all=True", param="idx")

    def sample(self, params: SamplingParams, seed: int, idx: int | None = None, logits_processor: Any = None) -> int:
        """Choose a token by the logits after the last one.

        Args:
            params: How.
            seed: Of the draw, unless `generate` runs: then its sampler goes on.
            idx: See `logits`.
            logits_processor: Functions (input_ids, scores) -> scores.
        """
        with self.lock:
            row = self.logits(idx)
            if self._sampler is not None:
                return self._draw(self._sampler, row, logits_processor)
            with self._new_sampler(params, seed) as sampler:
                return self._draw(sampler, row, logits_processor)

    def _new_sampler(self, params: SamplingParams, seed: int) -> Sampler:
        return Sampler.create(self._session.vocab, params, n_ctx=self.context.n_ctx_seq, seed=seed)

    def _draw(self, sampler: Sampler, row: Scores, logits_processor: Any) -> int:
        processors = as_functions(logits_processor) or ()
        scores: Any = row.copy() if processors else row
        for processor in processors:
            scores = processor(self.tokens.copy(), scores)
        return sampler.sample_array(np.ascontiguousarray(scores, np.float32))

    def generate(
        self,
        tokens: Sequence[int],
        params: SamplingParams,
        seed: int,
        *,
        reset: bool = True,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
    ) -> Generator[int, Sequence[int] | None, None]:
        """Yield tokens without end, the model's own end among them; what is sent in comes after the token.

        Args:
            tokens: The prompt.
            params: How tokens are chosen.
            seed: Of the draws.
            reset: Begin a new text, of which what is known already is not computed again; False: go on.
            logits_processor: As for `sample`.
            stopping_criteria: Functions (input_ids, scores) -> bool; True ends it.
        """
        wanted = list(tokens)
        sampler = self._new_sampler(params, seed)
        criteria = as_functions(stopping_criteria) or ()
        try:
            if reset:
                wanted = self._shared(wanted)
            while True:
                with self.lock:
                    if wanted:
                        self.eval(wanted)
                    self._sampler = sampler
                    row = self.logits()
                    token = self._draw(sampler, row, logits_processor)
                    self._sampler = None
                    if any(criterion(self.tokens.copy(), row) for criterion in criteria):
                        return
                sent = yield token
                wanted = [token, *(sent or ())]
        finally:
            self._sampler = None
            sampler.close()

    def _shared(self, tokens: list[int]) -> list[int]:
        """Cut the text back to what it has in common with another one; gives the rest, one token at least."""
        with self.lock:
            known, count = self.tokens.tolist(), 0
            while count < min(len(known), len(tokens) - 1) and known[count] == tokens[count]:
                count += 1
            self.cut(count)
            return tokens[count:]

    def cut(self, n_tokens: int) -> None:
        """Forget all but the first tokens."""
        with self.lock:
            if n_tokens < self.n_tokens:
                self.n_tokens, self.stale = max(n_tokens, 0), True

    def save(self) -> tuple[Ids, bytes]:
        """The tokens, and what the memory holds of them."""
        with self.lock:
            self.context.memory.seq_rm(0, self.n_tokens, -1)
            return self.tokens.copy(), save_seq_state(self.context, 0)

    def restore(self, saved: Saved) -> None:
        """Go on from a text that was computed elsewhere.

        Raises:
            StateError: it belongs to another model or context.
        """
        with self.lock:
            load_seq_state(self.context, saved.data, 0)
            count = len(saved.tokens)
            self.input_ids[:count] = saved.tokens
            self.n_tokens, self.stale = count, True
