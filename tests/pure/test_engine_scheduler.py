from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.engine.prefix_cache import HOLD_WORTH, PrefixCache
from llama_bind.engine.request import Request
from llama_bind.engine.scheduler import PROMPT_LOGPROB_CHUNK, REPRODUCIBLE_CHUNK, Admission, Scheduler, StepPlan
from llama_bind.engine.sequence import Phase, Sequence


def sequence(prompt: list[int], arrival: int = 0, limit: int = 100, **options: Any) -> Sequence:
    return Sequence(Request(prompt=prompt, **options), arrival, 0.0, limit=limit)


def tokens(*ids: int) -> np.ndarray:
    return np.array(ids, np.int32)


def admit(scheduler: Scheduler, *sequences: Sequence) -> list[Admission]:
    """Add sequences and start all that can start."""
    for s in sequences:
        scheduler.add(s)
    found = []
    while (admission := scheduler.next_admission()) is not None:
        scheduler.start(admission, admission.keep)
        found.append(admission)
    return found


def only(plans: list[StepPlan]) -> StepPlan:
    (plan,) = plans
    return plan


def compute(scheduler: Scheduler, token: int = 9, prompt_tokens: int | None = None) -> list[StepPlan]:
    """Run a step of a model that always says `token`."""
    plans = scheduler.plans(prompt_tokens)
    for chunk in (c for plan in plans for c in plan.chunks):
        s = chunk.sequence
        s.n_computed += chunk.count
        scheduler.computed(s)
        if s.n_computed == s.n_tokens:
            if s.n_tokens < s.limit:
                s.append(token)
            if s.n_tokens >= s.limit:
                scheduler.finish(s, remember=True)
    return plans


def held(cache: PrefixCache, *tokens_of: list[int]) -> None:
    """Fill the free slots in order."""
    for slot, ids in enumerate(tokens_of):
        cache.replace(slot, ids)


def test_the_slot_with_the_longest_prefix_is_taken_and_the_last_token_is_computed_again() -> None:
    cache = PrefixCache(3)
    held(cache, [1, 2], [1, 2, 3, 4], [9])
    match = cache.match(sequence([1, 2, 3, 4]))
    assert (match.source, match.keep) == (1, 3)
    assert cache.take(match)[0] == 1, "little is lost: taken in place"


def test_a_prefix_is_copied_out_of_a_slot_that_holds_much_more() -> None:
    cache = PrefixCache(2, copy_worth=4)
    held(cache, list(range(100)), [])
    match = cache.match(sequence([*range(50), 7]))
    assert (match.source, match.keep) == (0, 50)
    slot, lost = cache.take(match)
    assert (slot, len(lost.tokens)) == (1, 0)
    assert len(cache.tokens(0)) == 100


def test_the_only_free_slot_is_taken_over_whatever_it_holds() -> None:
    cache = PrefixCache(1, copy_worth=4)
    held(cache, list(range(100)))
    match = cache.match(sequence([*range(50), 7]))
    assert cache.take(match)[0] == 0
    with pytest.raises(LookupError):
        cache.take(match)


def test_without_a_shared_prefix_the_emptiest_then_the_oldest_slot_is_taken() -> None:
    cache = PrefixCache(3)
    held(cache, [1, 2, 3], [], [4])
    other = cache.match(sequence([8, 8]))
    assert (other.source, other.keep) == (None, 0)
    assert [cache.take(other)[0] for _ in range(3)] == [1, 0, 2]


@pytest.mark.parametrize(("apart", "expected"), [(True, [2, 1, 0]), (False, [0, 1, 2])])
def test_of_streams_one_beside_those_that_run_is_taken_from_the_older_half(apart: bool, expected: list[int]) -> None:
    cache = PrefixCache(8, apart=apart)
    held(cache, *([n] * 4 for n in range(8)))
    again = sequence([3] * 4 + [9])
    assert cache.take(cache.match(again))[0] == 3
    cache.run(3, again)
    for n, slot in enumerate(expected):
        other = sequence([70 + n, 80])
        assert cache.take(cache.match(other))[0] == slot
        cache.run(slot, other)


def test_a_few_tokens_of_a_running_slot_are_not_worth_copying() -> None:
    scheduler = Scheduler(2, 64, copy_worth=16)
    admit(scheduler, sequence([1] * 20, limit=40))
    compute(scheduler)
    (admission,) = admit(scheduler, sequence([1] * 8 + [2], 1))
    assert (admission.source, admission.keep) == (None, 0)


def test_salts_do_not_share() -> None:
    scheduler = Scheduler(2, 64)
    admit(scheduler, sequence([1] * 20, limit=21, salt=b"one"))
    compute(scheduler)
    (other,) = admit(scheduler, sequence([1] * 20, 1, salt=b"two"))
    assert other.keep == 0
    scheduler.finish(other.sequence, remember=False)
    (same,) = admit(scheduler, sequence([1] * 20, 2, salt=b"one"))
    assert same.keep == 19


def test_a_slot_cannot_be_given_twice() -> None:
    cache = PrefixCache(1)
    with pytest.raises(ValueError, match="free already"):
        cache.give(0, [])


def test_a_prompt_waits_for_the_same_tokens_that_are_being_computed() -> None:
    scheduler = Scheduler(4, 50)
    first = sequence([1] * 200, 0, limit=210)
    assert len(admit(scheduler, first)) == 1
    same, different = sequence([1] * 190 + [2], 1), sequence([3] * 10, 2)
    (started,) = admit(scheduler, same, different)
    assert started.sequence is different, "it does not hold up those behind it"
    for _ in range(4):
        assert not scheduler.next_admission()
        compute(scheduler)
    (shared,) = admit(scheduler)
    assert (shared.sequence, shared.source, shared.keep) == (same, first.slot, 190)


def test_a_prompt_that_is_ended_keeps_nobody_waiting() -> None:
    scheduler = Scheduler(4, 10)
    first = sequence([1] * 200, 0)
    admit(scheduler, first)
    assert admit(scheduler, sequence([1] * (HOLD_WORTH + 2), 1)) == []
    scheduler.finish(first, remember=True)
    assert len(admit(scheduler)) == 1


def test_decoding_sequences_go_first_and_prompts_fill_the_budget() -> None:
    scheduler = Scheduler(n_slots=3, budget=8)
    first, second, third = sequence([1] * 3, 0), sequence([2] * 10, 1), sequence([3] * 4, 2)
    admit(scheduler, first, second, third)
    first.n_computed = 3
    first.append(9)
    plan = only(scheduler.plans())
    assert [(c.sequence, c.start, c.count, c.output) for c in plan.chunks] == [
        (first, 3, 1, "last"),
        (second, 0, 7, "none"),
    ]
    assert [c.count for c in only(scheduler.plans(prompt_tokens=4)).chunks] == [1, 4]


@pytest.mark.parametrize(("cells", "slots"), [(None, [0, 1, 2, 3]), (1000, [3, 1, 2, 0])])
def test_streams_of_their_own_are_computed_in_the_order_of_their_numbers(cells: int | None, slots: list[int]) -> None:
    scheduler = Scheduler(n_slots=4, budget=100, cells=cells)
    first, *others = [sequence([n] * 5, n, limit=100 if n else 6) for n in range(4)]
    admit(scheduler, first, *others)
    compute(scheduler)  # the first ends
    assert first.phase is Phase.FINISHED
    late = sequence([0] * 9, 9)
    admit(scheduler, late)
    assert late.slot == first.slot == 0
    compute(scheduler)
    scheduler.running.insert(0, scheduler.running.pop(scheduler.running.index(others[2])))
    plan = only(scheduler.plans())
    assert [chunk.sequence.slot for chunk in plan.chunks] == slots
    assert all(chunk.count == 1 for chunk in plan.chunks)


def test_more_sequences_decode_than_fit_into_one_batch() -> None:
    scheduler = Scheduler(n_slots=5, budget=2)
    admit(scheduler, *(sequence([i], i, limit=10) for i in range(5)))
    for _ in range(60):
        compute(scheduler)
    assert scheduler.idle
    scheduler = Scheduler(n_slots=5, budget=2)
    admit(scheduler, *(sequence([i], i, limit=10) for i in range(5)))
    for s in scheduler.running:
        s.n_computed = 1
        s.append(3)
    assert [plan.n_tokens for plan in scheduler.plans()] == [2, 2, 1]


def test_priority_then_arrival() -> None:
    scheduler = Scheduler(n_slots=1, budget=8)
    low, high, late = sequence([1], 0), sequence([2], 1, priority=5), sequence([3], 2, priority=5)
    for s in (low, high, late):
        scheduler.add(s)
    assert scheduler.waiting == [high, late, low]
    (admission,) = admit(scheduler)
    assert admission.sequence is high


def test_keys_take_turns_however_many_requests_one_of_them_sends() -> None:
    scheduler = Scheduler(n_slots=1, budget=64)
    many = [sequence([1] * 10, i, limit=12, key="many") for i in range(20)]
    few = [sequence([2] * 10, 20 + i, limit=12, key="few") for i in range(3)]
    for s in [*many, *few]:
        scheduler.add(s)
    order = []
    while not scheduler.idle:
        order += [a.sequence.request.key for a in admit(scheduler)]
        compute(scheduler)
    assert order[:6].count("few") == 3


def test_a_key_that_was_away_brings_no_credit() -> None:
    scheduler = Scheduler(n_slots=1, budget=64)
    for i in range(10):
        scheduler.add(sequence([1] * 10, i, limit=12, key="early"))
    for _ in range(20):
        admit(scheduler)
        compute(scheduler)
    for i in range(10):
        scheduler.add(sequence([1] * 10, 10 + i, limit=12, key="early"))
        scheduler.add(sequence([2] * 10, 30 + i, limit=12, key="late"))
    order = []
    while not scheduler.idle:
        order += [a.sequence.request.key for a in admit(scheduler)]
        compute(scheduler)
    assert 3 <= order[:8].count("late") <= 5


def test_reproducible_sequences_are_computed_apart_in_chunks_of_one_size() -> None:
    scheduler = Scheduler(n_slots=3, budget=512)
    admit(scheduler, sequence([1] * 300, 0, limit=400, reproducible=True), sequence([2] * 10, 1))
    apart, rest = scheduler.plans(prompt_tokens=5)
    assert [c.count for c in apart.chunks] == [REPRODUCIBLE_CHUNK]
    assert [c.count for c in rest.chunks] == [5]
    compute(scheduler)
    (admission,) = admit(scheduler, sequence([1] * 300, 2, reproducible=True))
    assert admission.keep == 0, "what others computed is not shared"


def test_prompts_whose_logits_are_all_wanted_are_computed_in_small_chunks_and_never_from_the_cache() -> None:
    scheduler = Scheduler(n_slots=1, budget=512)
    scheduler.restore(0, [1] * 200)
    (admission,) = admit(scheduler, sequence([1] * 200, prompt_logprobs=2))
    assert admission.keep == 0
    plan = only(scheduler.plans())
    assert plan.chunks[0].count == PROMPT_LOGPROB_CHUNK
    assert plan.chunks[0].output == "all"


def test_embeddings_and_text_run_side_by_side() -> None:
    scheduler = Scheduler(n_slots=2, budget=8)
    admit(scheduler, sequence([1] * 20, 0, limit=20, kind="embed"), sequence([2] * 20, 1))
    text, embed = scheduler.plans()
    assert (text.embed, embed.embed) == (False, True)
    assert [c.output for c in embed.chunks] == ["all"]
    assert [only(scheduler.plans(0, most)).n_tokens for most in (3, 100)] == [3, 8], "at most what it may, and a batch"


def test_whole_texts_are_computed_in_one_step() -> None:
    scheduler = Scheduler(n_slots=3, budget=16, whole_texts=True)
    admit(scheduler, *(sequence([i] * 7, i, limit=7, kind="embed") for i in range(3)))
    assert [c.count for c in only(compute(scheduler)).chunks] == [7, 7]
    assert [c.count for c in only(compute(scheduler)).chunks] == [7]
    assert scheduler.idle


def test_remembered_prefixes_make_room_for_a_running_sequence() -> None:
    scheduler = Scheduler(n_slots=3, budget=64, cells=100)
    scheduler.restore(0, [7] * 80)
    (admission,) = admit(scheduler, sequence([1] * 50, limit=90))
    assert [h.slot for h in admission.evicted] == [0]


def test_a_shared_beginning_takes_its_cells_once() -> None:
    scheduler = Scheduler(n_slots=4, budget=200, cells=150)
    admit(scheduler, sequence([1] * 100, limit=110))
    compute(scheduler)
    admit(scheduler, *(sequence([1] * 99 + [i], i, limit=104) for i in (2, 3, 4)))
    assert len(scheduler.running) == 4, "100 cells shared by four, not 400"
    assert scheduler.spare_cells == 50


def test_a_text_starts_only_where_its_cells_fit_beside_those_that_run() -> None:
    for cells, started in ((66, 1), (67, 2)):  # 40 held, 1 and 20 to compute, half of the 12 that both may still write
        scheduler = Scheduler(n_slots=2, budget=64, cells=cells)
        admit(scheduler, sequence([1] * 40, limit=43))
        compute(scheduler)
        scheduler._caution = 0.5
        admit(scheduler, sequence([2] * 20, 1, limit=30))
        assert len(scheduler.running) == started, cells


@pytest.mark.parametrize(("cells", "started"), [(85, 2), (84, 1)])
def test_a_beginning_that_is_remembered_is_counted_once(cells: int, started: int) -> None:
    scheduler = Scheduler(n_slots=3, budget=64, cells=cells)
    scheduler.restore(0, [1] * 30)
    admit(scheduler, sequence([2] * 40, limit=42))
    compute(scheduler)
    scheduler._caution = 0.0
    admit(scheduler, sequence([1] * 30 + [3] * 14, 1, limit=45))  # 40 + 1 that run, 30 + 14
    assert len(scheduler.running) == started


def test_a_start_that_kept_less_than_was_hoped_holds_less() -> None:
    """A saved state may be gone, or damaged, when it is to be loaded."""
    scheduler = Scheduler(n_slots=2, budget=64, cells=100)
    scheduler.restore(0, [1] * 40)
    wanted = sequence([1] * 40 + [2], limit=60)
    scheduler.add(wanted)
    admission = scheduler.next_admission()
    assert admission is not None
    assert admission.keep == 40
    scheduler.start(admission, 0)
    assert (scheduler.cells_used, wanted.n_computed) == (0, 0)


def test_what_streams_of_their_own_hold_is_counted_running_or_remembered() -> None:
    scheduler = Scheduler(n_slots=2, budget=64)
    scheduler.restore(1, [5] * 7)
    admit(scheduler, sequence([1] * 20, limit=30))
    compute(scheduler)
    assert scheduler.cells_used == 27


def test_a_stream_that_starts_away_from_the_others_is_brought_beside_them() -> None:
    scheduler = Scheduler(n_slots=4, budget=64)
    scheduler.restore(3, [7] * 50)
    admit(scheduler, sequence([1] * 5))
    compute(scheduler)
    assert scheduler.next_move() is None, "one alone lies where it lies"
    (admission,) = admit(scheduler, sequence([7] * 50 + [8], 1))
    assert abs(scheduler.running[0].slot - admission.slot) > 1
    compute(scheduler)
    move = scheduler.next_move()
    assert move is not None
    scheduler.moved(move)
    assert abs(scheduler.running[0].slot - scheduler.running[1].slot) == 1
    assert scheduler.next_move() is None


def test_when_cells_run_out_the_youngest_of_the_lowest_priority_goes_back_and_comes_again() -> None:
    scheduler = Scheduler(n_slots=3, budget=64, cells=60)
    old = sequence([1] * 20, 0, limit=50)
    high, young = sequence([2] * 10, 2, limit=20, priority=1), sequence([3] * 5, 1, limit=40)
    admit(scheduler, old)
    compute(scheduler)
    scheduler._caution = 0.0
    admit(scheduler, high, young)
    went_back: list[int] = []
    for _ in range(300):
        if scheduler.idle:
            break
        for plan in compute(scheduler):
            went_back += plan.preempted
        scheduler._caution = 0.0
        admit(scheduler)
    assert scheduler.idle
    assert young.preempted
    assert not old.preempted
    assert not high.preempted
    assert young.n_generated == 35


def test_memory_that_cannot_be_cut_shares_whole_paths_only_and_says_where_to_save() -> None:
    scheduler = Scheduler(n_slots=2, budget=512, can_cut=False)
    scheduler.restore(0, [1] * 60)
    (admission,) = admit(scheduler, sequence([1] * 50 + [2] * 40))
    assert admission.keep == 0
    assert admission.sequence.checkpoints == [50, 89], "where it parted from another, and before its last token"
    assert [p.chunks[0].count for p in (only(compute(scheduler)) for _ in range(3))] == [50, 39, 1]
    scheduler.slots.add_saved("state", tokens(*[1] * 50), b"")
    (admission,) = admit(scheduler, sequence([1] * 50 + [3] * 40, 1))
    assert (admission.source, admission.keep) == ("state", 50)


def test_finishing_a_waiting_sequence_takes_it_out_of_the_queue() -> None:
    scheduler = Scheduler(n_slots=1, budget=8)
    waiting = sequence([1])
    scheduler.add(waiting)
    scheduler.finish(waiting, remember=True)
    assert scheduler.idle
    assert waiting.phase is Phase.FINISHED


class Memory:
    """What the slots of a context hold, cell by cell, so that shared cells are seen as one."""

    def __init__(self, unified: bool) -> None:
        self.unified = unified
        self.slots: dict[int, list[tuple[int, object]]] = {}

    def tokens(self, slot: int) -> list[int]:
        return [token for token, _ in self.slots.get(slot, [])]

    def prepare(self, admission: Admission) -> None:
        for gone in admission.evicted:
            self.slots[gone.slot] = []
        if admission.slot != admission.source:
            assert self.tokens(admission.slot) == admission.lost.tokens.tolist() or not self.slots.get(admission.slot)
        source = [] if admission.source is None else self.slots.get(int(admission.source), [])
        self.slots[admission.slot] = source[: admission.keep]
        assert self.tokens(admission.slot) == admission.sequence.view()[: admission.keep].tolist()

    def clear(self, plan: StepPlan) -> None:
        for slot in [*(h.slot for h in plan.evicted), *plan.preempted]:
            self.slots[slot] = []

    @property
    def used(self) -> int:
        return len({id(cell) for held in self.slots.values() for _, cell in held})


@settings(max_examples=1500, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_traces_compute_every_token_once_and_finish(seed: int) -> None:
    """No lost or doubled token, no budget or memory exceeded, nobody starves, whatever comes in whatever order."""
    rng = random.Random(seed)
    n_slots = rng.randint(1, 5)
    budget = rng.randint(1, 16)
    cells = rng.choice((None, 40, 64))
    scheduler = Scheduler(n_slots, budget, cells, copy_worth=rng.choice((1, 4)))
    memory = Memory(cells is not None)
    sequences = []
    for i in range(rng.randint(1, 14)):
        prompt = [rng.randint(1, 2) for _ in range(rng.choice((3, 20, 38)))]
        kind = "embed" if rng.random() < 0.15 else "generate"
        limit = len(prompt) if kind == "embed" else min(len(prompt) + rng.randint(0, 20), 41)
        options: dict[str, Any] = {"priority": rng.randint(-1, 1), "key": rng.choice((None, "a", "b")), "kind": kind}
        if cells is None and rng.random() < 0.1:
            options["reproducible"] = True
        sequences.append(sequence(prompt, i, limit=limit, salt=rng.choice((b"", b"", b"x")), **options))
    expected = {s: [*s.view().tolist()] for s in sequences}
    pending, cancelled = list(sequences), []
    for _ in range(6000):
        if pending and rng.random() < 0.3:
            scheduler.add(pending.pop(0))
        if rng.random() < 0.02 and (alive := [*scheduler.running, *scheduler.waiting]):
            victim = rng.choice(alive)
            slot = victim.slot
            running = victim.phase is Phase.RUNNING
            scheduler.finish(victim, remember=True)
            cancelled.append(victim)
            if running and not victim.shareable:
                memory.slots[slot] = []
        while (admission := scheduler.next_admission()) is not None:
            memory.prepare(admission)
            scheduler.start(admission, admission.keep)
        if rng.random() < 0.5 and (move := scheduler.next_move()) is not None:
            rows = memory.slots
            rows[move.source], rows[move.target] = rows.get(move.target, []), rows[move.source]
            scheduler.moved(move)
        plans = scheduler.plans(rng.choice((None, 2)))
        if not plans:
            assert not scheduler.running, "something runs but nothing is computed"
            if not pending and scheduler.idle:
                break
            continue
        must = {s for s in scheduler.running if s.decoding}
        assert {c.sequence for plan in plans for c in plan.chunks} >= must, "a decoding sequence was left out"
        for plan in plans:
            memory.clear(plan)
            assert 0 < plan.n_tokens <= budget
            for chunk in plan.chunks:
                s = chunk.sequence
                row = memory.slots[s.slot]
                assert chunk.start == s.n_computed == len(row), "computed twice or out of order"
                memory.slots[s.slot] = row + [
                    (int(t), object()) for t in s.tokens[chunk.start : chunk.start + chunk.count]
                ]
                s.n_computed += chunk.count
                scheduler.computed(s)
                if cells is not None:
                    assert memory.used <= cells
                    assert scheduler.cells is not None
                    assert scheduler.cells.used == memory.used, "the ledger counts other cells than there are"
                if s.n_computed == s.n_tokens:
                    if s.n_tokens < s.limit:
                        token = rng.randint(1, 2)
                        s.append(token)
                        expected[s].append(token)
                    if s.n_tokens >= s.limit:
                        scheduler.finish(s, remember=True)
                        if not s.shareable:
                            memory.slots[s.slot] = []
    assert all(s.phase is Phase.FINISHED for s in sequences), "not everybody came to an end"
    for s in sequences:
        assert s.view().tolist() == expected[s]
        assert s in cancelled or s.n_tokens >= s.limit
