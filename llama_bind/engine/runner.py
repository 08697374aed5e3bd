"""Computes a step plan on a context: the only module of the engine that imports core.

Not for: deciding what to compute (scheduler) or what a token means for its request (loop).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.sampler import Sampler
from llama_bind.core.stepper import Stepper
from llama_bind.engine.drawing import Drawing
from llama_bind.engine.outcome import Sampled
from llama_bind.engine.scheduler import Admission, Chunk, StepPlan
from llama_bind.engine.sequence import Sequence

__all__ = ["Runner"]

POOLING_NONE = 0  # LLAMA_POOLING_TYPE_NONE


class Runner:
    """Owns nothing: drives the context that the facade made. One thread calls it, except `abort`."""

    def __init__(self, make_context: Callable[[], Context]) -> None:
        self._make_context = make_context
        self.context = make_context()
        self.batch = Batch(self.context.n_batch, 1)
        self.vocab = self.context.model.vocab
        self._embeds = self.context.params.embedding
        self._drawing = Drawing(self)

    def abort(self) -> None:
        """Stop the decode that is running now, from any thread."""
        self.context.request_abort()

    def ready(self) -> None:
        """Forget an abort that came too late."""
        self.context.clear_abort()

    def rebuild(self) -> None:
        """Replace a context whose native state cannot be trusted any more."""
        self.context.close()
        self.context = self._make_context()
        self._embeds = self.context.params.embedding

    def prepare(self, admission: Admission) -> int:
        """Cut the slot's memory down to what the sequence shares; gives how many tokens it holds.

        Memory that cannot be cut (recurrent, hybrid, sliding window) is cleared.
        """
        memory = self.context.memory
        for slot in admission.drop:
            memory.seq_rm(slot, -1, -1)
        if admission.keep and self._can_cut and memory.seq_rm(admission.slot, admission.keep, -1):
            return admission.keep
        memory.seq_rm(admission.slot, -1, -1)
        return 0

    @property
    def _can_cut(self) -> bool:
        """A sliding window that keeps only its own width cannot be taken back to an earlier place."""
        return self.context.params.swa_full or self.context.model.n_swa == 0

    def equip(self, sequence: Sequence) -> None:
        """Make the sequence's sampler; penalties look back over the prompt's end, as in llama.cpp's own programs.

        Raises:
            InputError: sampling options that this vocabulary or llama.cpp cannot take.
        """
        request = sequence.request
        if request.kind == "embed":
            return
        sampling = request.sampling
        sequence.sampler = Sampler.create(self.vocab, sampling, n_ctx=self.context.n_ctx_seq, seed=request.seed)
        last = (sampling.penalty_last_n, sampling.dry_penalty_last_n)
        reach = sequence.n_tokens if min(last) < 0 else max(last)
        if reach:
            sequence.sampler.accept_prompt(sequence.view()[-reach:])

    def run(self, plan: StepPlan) -> list[Sampled]:
        """Decode the plan's tokens; sample for every sequence whose last known token was among them.

        Raises:
            DecodeError: nothing of the plan counts; `give_back` its cells.
        """
        self._set_embeds(plan.embed)
        batch = self.batch
        batch.clear()
        for chunk in plan.chunks:
            self._fill(chunk)
        self.context.decode(batch)
        return self._embeddings(plan) if plan.embed else self._drawing.step(plan)

    def _fill(self, chunk: Chunk) -> None:
        sequence = chunk.sequence
        if chunk.count == 1:
            token = int(sequence.tokens[chunk.start])
            self.batch.append(token, chunk.start, sequence.slot, chunk.output != "none")
            return
        start = self.batch.n_tokens
        tokens = sequence.tokens[chunk.start : chunk.start + chunk.count - len(chunk.draft)]
        if chunk.draft:
            tokens = np.append(tokens, np.array(chunk.draft, np.int32))
        self.batch.extend(tokens, chunk.start, sequence.slot, chunk.output == "last")
        if chunk.output == "all":
            self.batch.logits[start : self.batch.n_tokens] = 1

    def _set_embeds(self, embed: bool) -> None:
        if embed != self._embeds:
            self.context.set_embeddings(embed)
            self._embeds = embed

    def give_back(self, plan: StepPlan) -> None:
        """Forget what a decode that failed may have left in the memory."""
        memory = self.context.memory
        for sequence in [chunk.sequence for chunk in plan.chunks]:
            if not memory.seq_rm(sequence.slot, sequence.n_computed, -1):
                memory.seq_rm(sequence.slot, -1, -1)
                sequence.n_computed = 0

    def alone(self, sequence: Sequence) -> Stepper | None:
        """The short way for a sequence that runs alone: a context manager giving (token, position) -> next token.

        None where something is to be looked at between two tokens.
        """
        request = sequence.request
        watched = request.logits_processors or request.stopping_criteria or request.logprobs is not None
        if watched or request.proposer is not None or not Stepper.can_step(self.context, sequence.sampler):
            return None
        self._set_embeds(False)
        return Stepper(self.context, sequence.sampler, sequence.slot)

    def trim(self, sequence: Sequence, n_tokens: int) -> None:
        """Forget what the memory holds of a sequence after its first `n_tokens` tokens."""
        self.context.memory.seq_rm(sequence.slot, n_tokens, -1)
        sequence.n_computed = n_tokens

    @property
    def can_draft(self) -> bool:
        """Whether wrong guesses can be taken out of the memory again."""
        model = self.context.model
        return self._can_cut and not model.is_recurrent and not model.is_hybrid

    def _embeddings(self, plan: StepPlan) -> list[Sampled]:
        index = 0
        for chunk in plan.chunks:
            if self.context.pooling_type == POOLING_NONE:
                rows = [self.context.embeddings(index + i) for i in range(chunk.count)]
                chunk.sequence.result = np.stack(rows)
            else:
                chunk.sequence.result = self.context.embeddings_seq(chunk.sequence.slot)
            index += chunk.count
        return [Sampled(chunk.sequence) for chunk in plan.chunks]
