from __future__ import annotations

import itertools
import random
import threading
from typing import Any

import pytest

from llama_bind.engine.loop import Engine
from llama_bind.engine.moving import Mover
from llama_bind.engine.neighbours import Move, groups, next_move
from llama_bind.engine.prefix_cache import Match, PrefixCache
from llama_bind.engine.request import Request
from llama_bind.engine.scheduler import Scheduler
from llama_bind.engine.sequence import Sequence
from llama_bind.errors import NativeAbortError, StateError
from llama_bind.values import PieceEvent
from tests.fakes import FakeContext, FakeRunner


def test_groups() -> None:
    assert groups([]) == []
    assert groups([5, 1, 0, 3]) == [[0, 1], [3], [5]]


@pytest.mark.parametrize(
    ("running", "move"),
    [
        ([0, 1, 2], None),
        ([3], None),
        ([0, 1, 2, 4], Move(4, 3)),
        ([0, 1, 3, 4, 7], Move(7, 2)),  # one move closes two gaps
        ([0, 2, 3, 4], Move(0, 1)),
        ([0, 1, 2, 6, 7], Move(6, 3, 2)),  # and the other one after it
    ],
)
def test_the_next_move(running: list[int], move: Move | None) -> None:
    free = {slot: 0 for slot in range(8) if slot not in running}
    assert next_move(running, running, free) == move


def test_of_equal_places_the_emptiest_is_taken() -> None:
    assert next_move([3, 4, 7], [3, 4, 7], {2: 9, 5: 100, 6: 0}) == Move(7, 2)
    assert next_move([3, 4, 7], [3, 4, 7], {2: 100, 5: 9, 6: 0}) == Move(7, 5)


def test_what_cannot_be_moved_stays() -> None:
    assert next_move([0, 1, 2, 4], [], {3: 0, 5: 0}) is None
    assert next_move([0, 1, 2, 4], [0, 1, 2], {3: 0, 5: 0}) is None, "the three do not move to the one"
    assert next_move([0, 1, 4, 5], [0, 1], {2: 0, 3: 0}) == Move(0, 3, 2)


@pytest.mark.parametrize("seed", range(20))
def test_moving_comes_to_an_end_with_all_side_by_side(seed: int) -> None:
    rng = random.Random(seed)
    n = rng.choice((4, 16, 64))
    running = set(rng.sample(range(n), rng.randint(1, n - 1)))
    count = len(running)
    for _ in range(10 * n):
        move = next_move(running, running, {slot: rng.randint(0, 5) for slot in range(n) if slot not in running})
        if move is None:
            break
        assert move.source in running
        assert move.target not in running
        running = {*running, move.target} - {move.source}
    assert len(groups(running)) == 1
    assert len(running) == count


def test_what_is_remembered_changes_its_place_too() -> None:
    cache = PrefixCache(3, apart=True)
    cache.replace(0, [1, 2, 3])
    cache.replace(1, [7, 8])
    running = Sequence(Request(prompt=[4, 5, 6]), 0, 0.0, limit=9)
    slot, _ = cache.take(Match())
    assert slot == 2
    running.slot, running.n_computed = slot, 3
    cache.run(slot, running)
    order = [held.slot for held in cache.free]
    cache.exchange(2, 0)
    assert [held.slot for held in cache.free] == [2 if slot == 0 else slot for slot in order], "its age stays"
    assert cache.tokens(2) == [1, 2, 3]
    assert cache.match(Sequence(Request(prompt=[1, 2, 3, 4]), 1, 0.0, limit=9)) == Match(2, 3, seen=3)
    assert cache.match(Sequence(Request(prompt=[4, 5, 6, 7]), 1, 0.0, limit=9)) == Match(0, 3, seen=3)
    cache.give(0, [4, 5, 6])
    assert cache.n_free == 3


def crowd(n: int, slots: int = 8, **options: Any) -> Scheduler:
    scheduler = Scheduler(slots, 64)
    for i in range(n):
        scheduler.add(Sequence(Request(prompt=[i + 1, 2], **options), i, 0.0, limit=100))
    while (admission := scheduler.next_admission()) is not None:
        scheduler.start(admission, admission.keep)
    for plan in scheduler.plans():
        for chunk in plan.chunks:
            chunk.sequence.n_computed += chunk.count
            chunk.sequence.append(5)
    return scheduler


def end(scheduler: Scheduler, slot: int) -> None:
    scheduler.finish(scheduler.at(slot), remember=True)


def test_a_gap_is_closed_unless_somebody_waits_for_it() -> None:
    scheduler = crowd(4, slots=4)
    assert scheduler.next_move() is None
    end(scheduler, 1)
    waiting = Sequence(Request(prompt=[9, 9]), 9, 0.0, limit=100)
    scheduler.add(waiting)
    assert scheduler.next_move() is None
    scheduler.finish(waiting, remember=False)
    move = scheduler.next_move()
    assert move == Move(0, 1)
    scheduler.moved(move)
    assert sorted(s.slot for s in scheduler.running) == [1, 2, 3]
    assert scheduler.slots.tokens(0) == [2, 2], "what the one that ended left behind"
    assert scheduler.moves == 1
    assert scheduler.next_move() is None


def test_one_cache_for_all_has_no_gaps() -> None:
    scheduler = Scheduler(4, 64, cells=100)
    assert scheduler.next_move() is None


def test_reproducible_texts_are_computed_alone_and_stay() -> None:
    scheduler = crowd(4, reproducible=True)
    end(scheduler, 1)
    assert scheduler.next_move() is None


class Slow(FakeRunner):
    """Counts what is exchanged; may refuse it."""

    def __init__(self) -> None:
        super().__init__(FakeContext(n_seq_max=8))
        self.exchanged: list[tuple[int, int]] = []
        self.answer: bool | BaseException = True

    def exchange(self, a: int, b: int) -> bool:
        self.exchanged.append((a, b))
        if isinstance(self.answer, BaseException):
            self.clear(a)
            self.clear(b)
            raise self.answer
        return self.answer and super().exchange(a, b)


def test_what_does_not_pay_is_left_until_something_changes() -> None:
    scheduler, runner = crowd(5), Slow()
    runner.pace = 1e-9
    mover = Mover(runner, scheduler)  # type: ignore[arg-type]
    end(scheduler, 1)
    assert mover.gather() is None
    runner.pace = 1.0
    assert mover.gather() is None, "it was decided"
    end(scheduler, 3)
    assert mover.gather() is not None
    assert runner.exchanged


def test_what_cannot_be_moved_now_is_moved_later() -> None:
    scheduler, runner = crowd(4, slots=4), Slow()
    mover = Mover(runner, scheduler)  # type: ignore[arg-type]
    end(scheduler, 1)
    runner.answer = False
    assert mover.gather() is None
    runner.answer = True
    assert mover.gather() == Move(0, 1)


def test_a_stream_that_is_lost_is_computed_again() -> None:
    scheduler, runner = crowd(4, slots=4), Slow()
    mover = Mover(runner, scheduler)  # type: ignore[arg-type]
    end(scheduler, 1)
    runner.answer = StateError("no")
    assert mover.gather() is None
    assert scheduler.at(0).n_computed == 0
    assert scheduler.slots.tokens(1) == []
    assert mover.gather() is None, "it is no text that decodes any more"


@pytest.mark.parametrize("trouble", [None, StateError("no"), NativeAbortError("no")])
def test_texts_go_on_as_if_they_had_not_been_moved(trouble: BaseException | None) -> None:
    """Eight at once, of which every other one ends early."""
    runner = Slow()
    runner.answer = True if trouble is None else trouble
    engine = Engine(runner)  # type: ignore[arg-type]
    gate = threading.Event()
    try:
        held = threading.Thread(target=engine.call, args=(lambda _: gate.wait(10),))
        held.start()
        handles = [engine.submit(Request(prompt=[10 * i + 1], max_tokens=4 + 20 * (i % 2))) for i in range(8)]
        gate.set()
        held.join()
        texts = ["".join(e.text for e in handle if isinstance(e, PieceEvent)) for handle in handles]
    finally:
        engine.close()
    for i, text in enumerate(texts):
        ids = itertools.islice(itertools.count(10 * i + 2), 4 + 20 * (i % 2))
        assert text == "".join(f" {n}" for n in ids)
    assert runner.exchanged
    assert engine._worker.scheduler.moves == (len(runner.exchanged) if trouble is None else 0)
    assert trouble is None or len(runner.exchanged) == 1, "what does not work is not tried again"
