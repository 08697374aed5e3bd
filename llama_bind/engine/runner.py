"""Computes a step plan on a context: besides what drafts (draft, mtp) the only module of the engine that imports core.

Not for: deciding what to compute (scheduler) or what a token means for its request (loop).
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Hashable
from collections.abc import Sequence as Many

import numpy as np

from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.pulse import Pulse
from llama_bind.core.sampler import Sampler
from llama_bind.core.sampler_draw import Drawer
from llama_bind.core.state import exchange_seqs, fingerprint, load_seq_state, save_seq_state, seq_state_size
from llama_bind.core.stepper import Stepper
from llama_bind.engine.constraint import Constraint, ConstraintMaker
from llama_bind.engine.drawing import Drawing
from llama_bind.engine.outcome import Sampled
from llama_bind.engine.scheduler import Admission, Chunk, StepPlan
from llama_bind.engine.sequence import Sequence
from llama_bind.engine.vectors import Vectors
from llama_bind.errors import StateError, UnsupportedError

__all__ = ["Runner"]

LONG = 2.0
"""Seconds: of a step that may take longer it is counted how far it is, so that it does not look like one that hangs."""
logger = logging.getLogger("llama_bind")


class Runner:
    """Owns nothing: drives the context that the facade made. One thread calls it, except `abort`.

    Args:
        make_context: Makes it, and makes it anew when its native state is in doubt.
        make_constraint: Makes what outputs are held to.

    Attributes:
        observer: Called with each plan that was computed and the context, before anything is sampled.
    """

    def __init__(self, make_context: Callable[[], Context], make_constraint: ConstraintMaker | None = None) -> None:
        self._make_context = make_context
        self._make_constraint = make_constraint
        self.context = make_context()
        self.batch = Batch(self.context.n_batch, 1)
        self.vocab = self.context.model.vocab
        self._embeds = self.context.params.embedding
        self._copied: set[int] = set()  # slots whose streams are copied when the next step begins
        self._drawer = Drawer(self.context, self.context.n_seq_max)
        self.observer: Callable[[StepPlan, Context], None] | None = None
        self._pace = math.inf  # seconds for each token of the last step
        self._pulse = Pulse(self.context)
        self._drawing = Drawing(self)
        self._vectors = Vectors(self)

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
        self._pulse = Pulse(self.context)
        self._copied.clear()
        self._drawer = Drawer(self.context, self.context.n_seq_max)
        self._embeds = self.context.params.embedding

    @property
    def pace(self) -> float:
        """Seconds for each token of the last step; infinite before the first."""
        return self._pace

    @property
    def nodes_done(self) -> int:
        """A number that grows during a long step; any thread may ask."""
        return self._pulse.nodes

    @property
    def can_cut(self) -> bool:
        """Whether the memory can be cut at any token: not recurrent state, nor windows that keep only their width."""
        model = self.context.model
        full = self.context.params.swa_full or model.n_swa == 0
        return full and not model.is_recurrent and not model.is_hybrid

    @property
    def copy_worth(self) -> int:
        """Shared tokens from which on copying pays: streams of their own are copied whole, cells of one cache only in
        name. A stream of n tokens takes as long to copy as n / 128 take to compute, with a small model on a CPU.
        """
        return 1 if self.context.kv_unified else max(16, self.context.n_ctx_seq // 128)

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that are equal where saved states can be exchanged."""
        return fingerprint(self.context.model, self.context)

    def prepare(self, admission: Admission, state: bytes | None = None) -> int:
        """Bring what the sequence shares into its slot; gives how many tokens that are.

        Args:
            admission: Where they are.
            state: What was saved under the admission's source, where that is no slot.

        Raises:
            StateError: the state cannot be loaded; the slot is empty.
        """
        memory, slot, source = self.context.memory, admission.slot, admission.source
        for held in admission.evicted:
            self.clear(held.slot)
        if source != slot:
            self.clear(slot)
            if isinstance(source, int) and memory.exists:
                whole = not self.context.kv_unified
                memory.seq_cp(source, slot, -1 if whole else 0, -1 if whole else admission.keep)
                self._copied |= {source, slot}
            elif state is None or slot in self._copied:  # another slot is to be made from what this one held
                return 0
            else:
                load_seq_state(self.context, state, slot)
        held_now = memory.seq_pos_max(slot) + 1
        if held_now == admission.keep or (held_now > admission.keep and memory.seq_rm(slot, admission.keep, -1)):
            return admission.keep
        self.clear(slot)
        return 0

    def clear(self, slot: int) -> None:
        """Forget all that a slot holds."""
        self.context.memory.seq_rm(slot, -1, -1)

    def state_size(self, slot: int) -> int:
        """Bytes that `save` gives; 0 where it gives none."""
        return seq_state_size(self.context, slot) if self.context.memory.exists else 0

    def save(self, slot: int) -> bytes | None:
        """What the memory holds of a slot; None where that is only on its way (a stream that is copied in the next
        step) or cannot be saved.
        """
        if slot in self._copied or not self.context.memory.exists:
            return None
        try:
            return save_seq_state(self.context, slot)
        except StateError as error:
            logger.warning("a prefix could not be saved: %s", error)
            return None

    def exchange(self, a: int, b: int) -> bool:
        """Let what the memory holds of two slots change places; False where that cannot be done now.

        Raises:
            StateError: both slots are empty.
            NativeAbortError: the memory is in doubt.
        """
        if a in self._copied or b in self._copied:
            return False
        exchange_seqs(self.context, a, b)
        return True

    def shift(self, sequence: Sequence, keep: int, count: int) -> int:
        """Take tokens [keep, keep + count) out of a sequence's memory; gives how many tokens that holds then.

        Where positions cannot be changed (or cells may be shared) all behind the cut is forgotten and computed again.
        """
        memory, slot = self.context.memory, sequence.slot
        alone = not self.context.kv_unified or self.context.n_seq_max == 1
        if alone and self.can_cut and memory.can_shift:
            memory.seq_rm(slot, keep, keep + count)
            memory.seq_add(slot, keep + count, -1, -count)
            return sequence.n_computed - count
        if self.can_cut and memory.seq_rm(slot, keep, -1):
            return keep
        self.clear(slot)
        return 0

    def equip(self, sequence: Sequence) -> None:
        """Make the sequence's sampler; penalties look back over the prompt's end, as in llama.cpp's own programs.

        Raises:
            InputError: sampling options that this vocabulary or llama.cpp cannot take.
        """
        request = sequence.request
        if request.kind == "embed":
            self._vectors.equip(sequence)
            return
        sampling = request.sampling
        sequence.sampler = Sampler.create(self.vocab, sampling, n_ctx=self.context.n_ctx_seq, seed=request.seed)
        if request.constraint is not None:
            sequence.constraint = self.make_constraint(request.constraint)
        last = (sampling.penalty_last_n, sampling.dry_penalty_last_n)
        reach = sequence.n_tokens if min(last) < 0 else max(last)
        if reach:
            sequence.sampler.accept_prompt(sequence.view()[-reach:])

    def make_constraint(self, spec: Hashable) -> Constraint:
        """What holds an output to a demand; any thread may ask, and the first to ask waits until it is compiled.

        Raises:
            GrammarError: nothing can be held to it.
            UnsupportedError: this runner was made without the means.
        """
        if self._make_constraint is None:
            raise UnsupportedError("this engine cannot hold outputs to a grammar or schema")
        return self._make_constraint(spec)

    def first(self, sequence: Sequence) -> list[Sampled]:
        """The tokens that must stand at the beginning of its text, whatever the model says."""
        return self._drawing.first(sequence)

    def drawn_alone(self, sequence: Sequence, stepper: Stepper, token: int) -> list[Sampled]:
        """What a token that `alone` gave means for a sequence with a constraint; within the block."""
        return self._drawing.drawn(sequence, token, stepper.logits)

    def run(self, plan: StepPlan) -> list[Sampled]:
        """Decode the plan's tokens; sample for every sequence whose last known token was among them.

        Raises:
            DecodeError: nothing of the plan counts; `give_back` its cells.
        """
        if plan.embed:
            return self._vectors.run(plan)
        self.compute(plan.chunks, embed=False)
        if self.observer is not None:
            self.observer(plan, self.context)
        return self._drawing.step(plan)

    def compute(self, chunks: Many[Chunk], *, embed: bool) -> None:
        """Decode chunks; with `embed` for their rows, which needs the output of every token."""
        self._set_embeds(embed)
        batch = self.batch
        batch.clear()
        for single, group in itertools.groupby(chunks, lambda c: c.count == 1 and c.output != "none"):
            if single:
                self._fill_singles(list(group))
            else:
                for chunk in group:
                    self._fill(chunk)
        self._copied.clear()
        began = time.perf_counter()
        if self._pace * batch.n_tokens > LONG:
            with self._pulse.counting():
                self.context.decode(batch)
        else:
            self.context.decode(batch)
        self._pace = (time.perf_counter() - began) / batch.n_tokens

    def _fill_singles(self, chunks: Many[Chunk]) -> None:
        """Add chunks of one token, all at once."""
        tokens = [chunk.sequence.tokens[chunk.start] for chunk in chunks]
        self.batch.extend_each(tokens, [chunk.start for chunk in chunks], [chunk.sequence.slot for chunk in chunks])

    def _fill(self, chunk: Chunk) -> None:
        sequence = chunk.sequence
        start = self.batch.n_tokens
        tokens = sequence.tokens[chunk.start : chunk.start + chunk.count - len(chunk.draft)]
        if chunk.draft:
            tokens = np.append(tokens, np.array(chunk.draft, np.int32))
        self.batch.extend(tokens, chunk.start, sequence.slot, chunk.output == "last")
        if chunk.output == "all":
            self.batch.logits[start : self.batch.n_tokens] = 1

    def draw(self, samplers: list[Sampler], outputs: list[int]) -> list[int | BaseException]:
        """For each of these outputs of the last step a token, or why there is none. No sampler has a grammar."""
        return self._drawer.draw(samplers, outputs)

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
        if sequence.watched or self.observer is not None or not Stepper.can_step(self.context, sequence.sampler):
            return None
        if self._pace > LONG:
            return None  # a single token takes so long that it is to be seen how far it is
        if sequence.constraint is not None and (sequence.sampler.remembers or sequence.coming):
            return None
        self._set_embeds(False)
        self._copied.clear()
        return Stepper(self.context, sequence.sampler, sequence.slot)

    def trim(self, sequence: Sequence, n_tokens: int) -> None:
        """Forget what the memory holds of a sequence after its first `n_tokens` tokens."""
        self.context.memory.seq_rm(sequence.slot, n_tokens, -1)
        sequence.n_computed = n_tokens

    @property
    def can_draft(self) -> bool:
        """Whether wrong guesses can be taken out of the memory again."""
        return self.can_cut
