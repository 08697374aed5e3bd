from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.engine.prefix_cache import PrefixCache, common_prefix
from llama_bind.engine.request import Request
from llama_bind.engine.scheduler import PROMPT_LOGPROB_CHUNK, Scheduler
from llama_bind.engine.sequence import Phase, Sequence


def sequence(prompt: list[int], arrival: int = 0, limit: int = 100, **options: object) -> Sequence:
    return Sequence(Request(prompt=prompt, **options), arrival, 0.0, limit=limit)  # type: ignore[arg-type]


def tokens(*ids: int) -> np.ndarray:
    return np.array(ids, np.int32)


def test_common_prefix() -> None:
    assert common_prefix(tokens(1, 2, 3), tokens(1, 2, 4)) == 2
    assert common_prefix(tokens(), tokens(1)) == 0
    assert common_prefix(tokens(1, 2), tokens(1, 2, 3)) == 2


def test_the_slot_with_the_longest_prefix_is_taken_and_the_last_token_is_computed_again() -> None:
    cache = PrefixCache(3)
    for _ in range(3):
        cache.take(tokens(9, 9))
    for slot, held in ((0, [1, 2]), (1, [1, 2, 3, 4]), (2, [9])):
        cache.give(slot, held)
    assert cache.take(tokens(1, 2, 3, 4)) == (1, 3)
    assert cache.take(tokens(1, 2, 5)) == (0, 2)


def test_without_a_shared_prefix_the_emptiest_then_the_oldest_slot_is_taken() -> None:
    cache = PrefixCache(2)
    slot, _ = cache.take(tokens(5))
    cache.give(slot, [1, 2, 3])
    assert cache.take(tokens(7, 7))[0] != slot
    assert cache.take(tokens(8, 8)) == (slot, 0)
    with pytest.raises(LookupError):
        cache.take(tokens(1))


def test_a_slot_cannot_be_given_twice() -> None:
    cache = PrefixCache(1)
    with pytest.raises(ValueError, match="free already"):
        cache.give(0, [])


def test_decoding_sequences_go_first_and_prompts_fill_the_budget() -> None:
    scheduler = Scheduler(n_slots=3, budget=8)
    first, second, third = sequence([1] * 3, 0), sequence([2] * 10, 1), sequence([3] * 4, 2)
    for s in (first, second, third):
        scheduler.add(s)
        admission = scheduler.next_admission()
        assert admission is not None
        scheduler.start(admission, 0)
    first.n_computed = 3
    first.append(9)
    plan = scheduler.plan()
    assert plan is not None
    assert [(c.sequence, c.start, c.count, c.output) for c in plan.chunks] == [
        (first, 3, 1, "last"),
        (second, 0, 7, "none"),
    ]


def test_priority_then_arrival() -> None:
    scheduler = Scheduler(n_slots=1, budget=8)
    low, high, late = sequence([1], 0), sequence([2], 1, priority=5), sequence([3], 2, priority=5)
    for s in (low, high, late):
        scheduler.add(s)
    assert scheduler.waiting == [high, late, low]
    admission = scheduler.next_admission()
    assert admission is not None
    assert admission.sequence is high
    assert scheduler.next_admission() is None  # no slot


def test_prompts_whose_logits_are_all_wanted_are_computed_in_small_chunks_and_never_from_the_cache() -> None:
    scheduler = Scheduler(n_slots=1, budget=512)
    scheduler.slots.replace(0, [1] * 200)
    scheduler.add(sequence([1] * 200, prompt_logprobs=2))
    admission = scheduler.next_admission()
    assert admission is not None
    assert admission.keep == 0
    scheduler.start(admission, 0)
    plan = scheduler.plan()
    assert plan is not None
    assert plan.chunks[0].count == PROMPT_LOGPROB_CHUNK
    assert plan.chunks[0].output == "all"


def test_a_shared_cache_is_never_promised_twice() -> None:
    scheduler = Scheduler(n_slots=4, budget=64, cells=100)
    for i in range(3):
        scheduler.add(sequence([i] * 10, i, limit=40))
    for _ in range(2):
        admission = scheduler.next_admission()
        assert admission is not None
        scheduler.start(admission, 0)
    assert scheduler.next_admission() is None
    scheduler.finish(scheduler.running[0], remember=False)
    assert scheduler.next_admission() is not None


def test_remembered_prefixes_make_room_for_a_running_sequence() -> None:
    scheduler = Scheduler(n_slots=2, budget=64, cells=100)
    scheduler.slots.replace(0, [7] * 80)
    scheduler.add(sequence([1] * 10, limit=50))
    admission = scheduler.next_admission()
    assert admission is not None
    assert (admission.slot, admission.drop) == (1, (0,))


def test_finishing_a_waiting_sequence_takes_it_out_of_the_queue() -> None:
    scheduler = Scheduler(n_slots=1, budget=8)
    waiting = sequence([1])
    scheduler.add(waiting)
    scheduler.finish(waiting, remember=True)
    assert scheduler.idle
    assert waiting.phase is Phase.FINISHED


@settings(max_examples=1000, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_traces_compute_every_token_once_and_finish(seed: int) -> None:
    rng = random.Random(seed)
    n_slots = rng.randint(1, 4)
    budget = rng.randint(n_slots, 16)
    cells = rng.choice((None, 64))
    scheduler = Scheduler(n_slots, budget, cells)
    sequences = []
    for i in range(rng.randint(1, 12)):
        prompt = [rng.randint(1, 2) for _ in range(rng.randint(1, 20))]
        sequences.append(sequence(prompt, i, limit=len(prompt) + rng.randint(0, 8), priority=rng.randint(-2, 2)))
    held: dict[int, list[int]] = {}
    pending = list(sequences)
    for _ in range(2000):
        if pending and rng.random() < 0.5:
            scheduler.add(pending.pop())
        while (admission := scheduler.next_admission()) is not None:
            for slot in admission.drop:
                held[slot] = []
            kept = held.get(admission.slot, [])[: admission.keep]
            assert kept == admission.sequence.view()[: admission.keep].tolist()
            held[admission.slot] = kept
            scheduler.start(admission, admission.keep)
        plan = scheduler.plan()
        if plan is None:
            if not pending:
                break
            continue
        assert plan.chunks, "something runs but nothing is computed"
        assert plan.n_tokens <= budget
        assert {c.sequence for c in plan.chunks} >= {s for s in scheduler.running if s.decoding}
        for chunk in plan.chunks:
            s = chunk.sequence
            assert chunk.start == s.n_computed == len(held[s.slot])
            held[s.slot] += s.tokens[chunk.start : chunk.start + chunk.count].tolist()
            s.n_computed += chunk.count
            if s.n_computed == s.n_tokens:
                if s.n_tokens < s.limit:
                    s.append(rng.randint(1, 2))
                if s.n_tokens >= s.limit:
                    scheduler.finish(s, remember=rng.random() < 0.5)
                    held[s.slot] = scheduler.slots.tokens(s.slot)
        if cells is not None:
            assert sum(len(h) for h in held.values()) <= cells
    assert all(s.phase is Phase.FINISHED for s in sequences)
