"""Stand-ins for the runner and its context, so that the engine is tested without a library."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llama_bind.engine.outcome import Sampled
from llama_bind.engine.scheduler import Admission, Chunk, StepPlan
from llama_bind.engine.sequence import Sequence
from llama_bind.errors import DecodeAbortedError

EOG = 0
N_VOCAB = 1000


@dataclass
class FakeMemory:
    """Which tokens each slot holds; checks that nothing is computed twice or out of order."""

    slots: dict[int, list[int]] = field(default_factory=dict)
    exists: bool = True

    def seq_rm(self, slot: int, p0: int, p1: int) -> bool:
        assert p1 == -1
        self.slots[slot] = self.slots.get(slot, [])[: max(p0, 0)]
        return True


class FakeVocab:
    eog_tokens = frozenset({EOG})
    n_tokens = N_VOCAB

    def token_to_piece(self, token: int, special: bool = False) -> bytes:
        if token == EOG:
            return b"<eog>" if special else b""
        return f" {token}".encode()


@dataclass
class FakeModel:
    vocab: FakeVocab = field(default_factory=FakeVocab)
    n_pos_max: int = 0


class FakeContext:
    def __init__(self, n_ctx: int = 64, n_batch: int = 16, n_seq_max: int = 1, kv_unified: bool = False) -> None:
        self.n_ctx = self.n_ctx_seq = n_ctx
        self.n_batch = self.n_ubatch = n_batch
        self.n_seq_max = n_seq_max
        self.kv_unified = kv_unified
        self.whole_texts = False
        self.model = FakeModel()
        self.memory = FakeMemory()


class FakeSampler:
    closed = False

    def close(self) -> None:
        self.closed = True


def count_up(sequence: Sequence) -> int:
    """The default model: the token after n is n + 1."""
    return (int(sequence.view()[-1]) + 1) % N_VOCAB


class FakeRunner:
    """A model that computes instantly, or blocks while `hold` is set until it is aborted or released."""

    def __init__(self, context: FakeContext | None = None, next_token: Callable[[Sequence], int] = count_up) -> None:
        self.context: Any = context or FakeContext()
        self.next_token = next_token
        self.hold = threading.Event()
        self.release = threading.Event()
        self.aborted = threading.Event()
        self.entered = threading.Event()
        self.samplers: list[FakeSampler] = []
        self.plans: list[list[tuple[int, int, int]]] = []
        self.error: BaseException | None = None
        self.rebuilt = 0

    def abort(self) -> None:
        self.aborted.set()
        self.release.set()

    def ready(self) -> None:
        self.aborted.clear()

    def rebuild(self) -> None:
        self.rebuilt += 1
        self.context.memory.slots.clear()

    can_cut = True
    nodes_done = 0
    copy_worth = 1
    fingerprint = b"f" * 16

    def prepare(self, admission: Admission, state: bytes | None = None) -> int:
        slots = self.context.memory.slots
        for held in admission.evicted:
            self.clear(held.slot)
        if admission.source is None:
            self.clear(admission.slot)
            return 0
        given = pickle.loads(state) if state is not None else slots.get(admission.source, [])
        prompt = admission.sequence.view().tolist()
        assert given[: admission.keep] == prompt[: admission.keep], "a slot does not hold what the cache believes"
        slots[admission.slot] = given[: admission.keep]
        return admission.keep

    def clear(self, slot: int) -> None:
        self.context.memory.seq_rm(slot, -1, -1)

    def state_size(self, slot: int) -> int:
        return len(self.save(slot) or b"")

    def save(self, slot: int) -> bytes | None:
        return pickle.dumps(self.context.memory.slots.get(slot, []))

    pace = 1.0

    def exchange(self, a: int, b: int) -> bool:
        slots = self.context.memory.slots
        slots[a], slots[b] = slots.get(b, []), slots.get(a, [])
        return True

    def shift(self, sequence: Sequence, keep: int, count: int) -> int:
        held = self.context.memory.slots[sequence.slot]
        del held[keep : keep + count]
        return sequence.n_computed - count

    def equip(self, sequence: Sequence) -> None:
        sequence.sampler = FakeSampler()
        self.samplers.append(sequence.sampler)

    def run(self, plan: StepPlan) -> list[Sampled]:
        assert 0 < plan.n_tokens <= self.context.n_batch
        self.plans.append([(c.sequence.slot, c.start, c.count) for c in plan.chunks])
        self.entered.set()
        if self.hold.is_set():
            self.release.wait(10)
        if self.aborted.is_set():
            raise DecodeAbortedError("aborted", code=2)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return [s for c in plan.chunks for s in self._compute(c)]

    def alone(self, _sequence: Sequence) -> Any:
        """The fake has no short way; the engine then takes the long one."""
        return None

    def give_back(self, plan: StepPlan) -> None:
        for chunk in plan.chunks:
            self.context.memory.seq_rm(chunk.sequence.slot, chunk.sequence.n_computed, -1)

    def trim(self, sequence: Sequence, n_tokens: int) -> None:
        self.context.memory.seq_rm(sequence.slot, n_tokens, -1)
        sequence.n_computed = n_tokens

    def _compute(self, chunk: Chunk) -> list[Sampled]:
        sequence = chunk.sequence
        held = self.context.memory.slots.setdefault(sequence.slot, [])
        assert len(held) == chunk.start == sequence.n_computed, "computed out of order"
        held += sequence.tokens[chunk.start : chunk.start + chunk.count - len(chunk.draft)].tolist()
        held += chunk.draft
        if chunk.draft:
            return self._verify(chunk)
        sequence.n_computed += chunk.count
        if sequence.request.kind == "embed":
            sequence.result = np.ones(4, np.float32)
            return [Sampled(sequence)]
        if sequence.n_computed < sequence.n_tokens:
            return []
        if sequence.n_tokens >= sequence.limit:
            return [Sampled(sequence)]
        return [Sampled(sequence, self.next_token(sequence))]

    def _verify(self, chunk: Chunk) -> list[Sampled]:
        sequence, results = chunk.sequence, []
        token = int(sequence.view()[-1])
        for i in range(chunk.count):
            token = (token + 1) % N_VOCAB
            results.append(Sampled(sequence, token))
            sequence.n_computed += 1
            if i == len(chunk.draft) or token != chunk.draft[i]:
                break
        sequence.draft_length.result(len(chunk.draft), len(results) - 1)
        self.trim(sequence, sequence.n_computed)
        return results
