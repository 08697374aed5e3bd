"""Steps of embeddings: what the scheduler plans for them, and what becomes of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.engine.pooling import PoolingKind
from llama_bind.engine.request import Request
from llama_bind.engine.scheduler import Chunk, Scheduler, StepPlan
from llama_bind.engine.sequence import Sequence
from llama_bind.engine.vectors import APART_FOR_EACH, LEAST_APART, Vectors
from llama_bind.errors import DecodeError


def text(n: int, pooling: PoolingKind = "mean", arrival: int = 0) -> Sequence:
    made = Sequence(Request(prompt=list(range(n)), kind="embed", pooling=pooling), arrival, 0.0, limit=n)
    made.slot = arrival
    return made


class Rows:
    """A context whose row for a token is that token's number, or whose pooled vector is the last number computed."""

    def __init__(self, *, pools: bool = False, whole_texts: bool = False) -> None:
        self.pooling_type = 3 if pools else 0
        self.whole_texts = whole_texts
        self.batch: list[tuple[int, int]] = []  # slot and token

    def embedding_rows(self, count: int) -> np.ndarray:
        assert count == len(self.batch)
        return np.array([[token, 1] for _, token in self.batch], np.float32)

    def embeddings_seq(self, slot: int) -> np.ndarray:
        return np.array([[token for s, token in self.batch if s == slot][-1], 1], np.float32)


class Computes:
    """A runner that remembers how many tokens were computed with output and without."""

    def __init__(self, context: Rows) -> None:
        self.context = context
        self.calls: list[tuple[bool, int]] = []

    def compute(self, chunks: list[Chunk], *, embed: bool) -> None:
        assert all((chunk.output != "none") == embed for chunk in chunks)
        self.calls.append((embed, sum(chunk.count for chunk in chunks)))
        self.context.batch = [(c.sequence.slot, t) for c in chunks for t in range(c.start, c.start + c.count)]


def run(vectors: Vectors, *chunks: tuple[Sequence, int]) -> list[Sequence]:
    plan = StepPlan(tuple(Chunk(s, s.n_computed, count, "all") for s, count in chunks), embed=True)
    return [sampled.sequence for sampled in vectors.run(plan)]


@pytest.mark.parametrize("pools", [False, True])
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4), step=st.integers(1, 400))
def test_last_rows_are_the_same_however_they_are_computed(pools: bool, sizes: list[int], step: int) -> None:
    runner: Any = Computes(Rows(pools=pools))
    vectors = Vectors(runner)
    texts = [text(n, "last", i) for i, n in enumerate(sizes)]
    for one in texts:
        vectors.equip(one)
    while left := [s for s in texts if s.n_computed < s.n_tokens]:
        done = run(vectors, *((s, min(step, s.n_tokens - s.n_computed)) for s in left))
        assert done == [s for s in left if s.n_computed == s.n_tokens]
    assert [s.result.tolist() for s in texts] == [[n - 1, 1] for n in sizes]


def test_rows_that_nobody_wants_are_computed_without_output() -> None:
    runner: Any = Computes(Rows())
    vectors = Vectors(runner)
    long, short = text(LEAST_APART + 1, "last", 0), text(LEAST_APART, "last", 1)
    for one in (long, short):
        vectors.equip(one)
    run(vectors, (long, long.n_tokens))
    assert runner.calls == [(False, LEAST_APART), (True, 1)]
    runner.calls.clear()
    run(vectors, (short, short.n_tokens))
    assert runner.calls == [(True, LEAST_APART)], "too little to gain"
    runner.calls.clear()
    middle = text(500, "last")
    run(vectors, (middle, 100))
    assert runner.calls == [(False, 100)], "it goes on, and its end is not here"
    runner.calls.clear()
    many = [text(APART_FOR_EACH, "last", i) for i in range(100)]
    for one in many:
        vectors.equip(one)
    run(vectors, *((s, s.n_tokens) for s in many))
    assert runner.calls == [(True, 100 * APART_FOR_EACH)], "too many rows are wanted"


def test_all_rows_count_for_a_mean_and_for_whole_texts() -> None:
    for runner, pooling in ((Computes(Rows()), "mean"), (Computes(Rows(pools=True, whole_texts=True)), "last")):
        made: Any = runner
        vectors, one = Vectors(made), text(400, pooling)  # type: ignore[arg-type]
        vectors.equip(one)
        run(vectors, (one, 400))
        assert runner.calls == [(True, 400)]


def test_a_text_that_starts_over_gives_the_same() -> None:
    runner: Any = Computes(Rows())
    vectors, one = Vectors(runner), text(10)
    vectors.equip(one)
    run(vectors, (one, 6))
    one.n_computed = 0  # it was sent back to the queue
    run(vectors, (one, 5))
    assert run(vectors, (one, 5)) == [one]
    assert one.result.tolist() == [4.5, 1]


def test_numbers_that_are_none_are_an_error_of_that_text() -> None:
    runner: Any = Computes(Rows())
    runner.context.embedding_rows = lambda count: np.full((count, 2), np.nan, np.float32)
    vectors, one = Vectors(runner), text(3)
    vectors.equip(one)
    (sampled,) = vectors.run(StepPlan((Chunk(one, 0, 3, "all"),), embed=True))
    assert isinstance(sampled.error, DecodeError)


# -- the scheduler -----------------------------------------------------------------------------------------------------


def started(scheduler: Scheduler, *sequences: Sequence) -> None:
    for one in sequences:
        scheduler.add(one)
    while (admission := scheduler.next_admission()) is not None:
        scheduler.start(admission, admission.keep)


def test_both_kinds_go_on_in_every_step() -> None:
    scheduler = Scheduler(4, 64)
    writes = Sequence(Request(prompt=[1] * 200), 0, 0.0, limit=300)
    started(scheduler, writes, text(200, arrival=1))
    for _ in range(3):
        plans = scheduler.plans()
        assert [plan.embed for plan in plans] == [False, True]
        assert all(0 < plan.n_tokens <= 64 for plan in plans)
        for chunk in (c for plan in plans for c in plan.chunks):
            chunk.sequence.n_computed += chunk.count
            scheduler.computed(chunk.sequence)


def test_a_step_of_embeddings_has_its_own_limit() -> None:
    scheduler = Scheduler(4, 64, embed_budget=16)
    started(scheduler, *(text(30, arrival=i) for i in range(3)))
    (plan,) = scheduler.plans()
    assert plan.n_tokens == 16
    whole = Scheduler(4, 64, whole_texts=True, embed_budget=16)
    started(whole, *(text(10, arrival=i) for i in range(3)))
    (plan,) = whole.plans()
    assert plan.n_tokens == 10


def test_whole_texts_are_never_cut() -> None:
    scheduler = Scheduler(8, 64, whole_texts=True, embed_budget=64)
    texts = [text(n, arrival=i) for i, n in enumerate((40, 60, 20, 4, 64))]
    started(scheduler, *texts)
    taken: list[list[int]] = []
    while scheduler.running:
        (plan,) = scheduler.plans()
        assert plan.n_tokens <= 64
        assert all((c.start, c.count) == (0, c.sequence.n_tokens) for c in plan.chunks)
        taken.append([c.count for c in plan.chunks])
        for chunk in plan.chunks:
            scheduler.finish(chunk.sequence, remember=False)
    assert taken == [[40, 20, 4], [60], [64]]
