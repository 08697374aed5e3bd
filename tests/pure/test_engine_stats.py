"""Statistics of an engine: histograms against exact computing, counters that add up, and what they cost."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import threading
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.engine.histogram import SECONDS, TOKENS, Histogram
from llama_bind.engine.stats import EngineStats

VALUES = st.lists(st.tuples(st.floats(0, 2000), st.integers(1, 5)), min_size=1, max_size=80)


def filled(values: list[tuple[float, int]], bounds: tuple[float, ...] = SECONDS) -> Histogram:
    made = Histogram(bounds)
    for value, weight in values:
        made.observe(value, weight)
    return made


def bucket(bounds: tuple[float, ...], value: float) -> int:
    return sum(bound < value for bound in bounds)


@given(VALUES, st.floats(0, 1), st.sampled_from([SECONDS, TOKENS]))
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(
    values: list[tuple[float, int]], share: float, bounds: tuple[float, ...]
) -> None:
    made = filled(values, bounds)
    exact = sorted(value for value, weight in values for _ in range(weight))
    want = exact[max(math.ceil(share * len(exact)), 1) - 1]
    got = made.quantile(share)
    # the edges between two buckets are the same number
    assert bucket(bounds, got) == bucket(bounds, want) or got == bounds[bucket(bounds, want) - 1]
    assert exact[0] <= got <= exact[-1]
    assert made.quantile(1) == exact[-1]


@given(VALUES)
def test_sums_and_cumulative_counts_are_exact(values: list[tuple[float, int]]) -> None:
    made = filled(values)
    everything = [value for value, weight in values for _ in range(weight)]
    assert made.count == len(everything)
    assert made.sum == pytest.approx(sum(everything))
    assert (made.low, made.high) == (min(everything), max(everything))
    for every in (1, 2, 5):
        buckets = made.cumulative(every)
        assert buckets[-1] == (math.inf, len(everything))
        for bound, count in buckets:
            assert count == sum(value <= bound for value in everything)
    assert len(made.cumulative(5)) == len(SECONDS) // 5 + 1


@given(VALUES, VALUES)
def test_merging_is_observing_both(first: list[tuple[float, int]], second: list[tuple[float, int]]) -> None:
    made = filled(first)
    kept = made.copy()
    made.merge(filled(second))
    both = filled([*first, *second])
    assert made.counts == both.counts
    assert made.sum == pytest.approx(both.sum)
    assert (made.low, made.high) == (both.low, both.high)
    assert kept == filled(first), "a copy stays as it was"


def test_an_empty_histogram_has_zeros_and_no_infinities() -> None:
    made = Histogram().to_dict()
    assert set(made.values()) == {0}
    assert json.loads(json.dumps(made)) == made


def test_bounds_are_round_ascending_numbers() -> None:
    assert SECONDS[0] == 1e-5
    assert SECONDS[-1] == 1000
    assert {0.001, 0.1, 1.0, 2.0} <= set(SECONDS)
    for bounds in (SECONDS, TOKENS):
        assert list(bounds) == sorted(set(bounds))
    assert max(b / a for a, b in itertools.pairwise(SECONDS)) < 1.31
    with pytest.raises(ValueError, match="ascend"):
        Histogram((1.0, 1.0))
    with pytest.raises(ValueError, match="same bounds"):
        Histogram().merge(Histogram(TOKENS))
    with pytest.raises(ValueError, match="0 to 1"):
        Histogram().quantile(1.5)


def test_steps_and_requests_are_counted() -> None:
    stats = EngineStats()
    stats.on_start(0.5, 40, "device")
    stats.on_start(0.5, 40, "host")
    stats.on_start(0.5, 40, "disk")
    stats.on_start(0.5)
    stats.on_step(0.1, 20, 4, 16)
    stats.on_step(0.01, 4, 4, 0, interval=0.02)
    stats.on_step(0.3, 64, 0, 64)
    stats.on_alone(1.0, 100)
    stats.on_alone(1.0, 0)
    stats.on_draft(10, 4)
    stats.on_first_token(0.7)
    for reason in ("stop", "length", "cancelled", "deadline"):
        stats.on_finish(reason, 2.0, 10)
    stats.on_fail(5)
    assert (stats.device_hits, stats.host_hits, stats.disk_hits, stats.misses) == (1, 1, 1, 1)
    assert (stats.cached_tokens, stats.prompt_tokens, stats.generated_tokens) == (120, 80, 45)
    assert (stats.finished, stats.cancelled, stats.deadlines, stats.failed) == (4, 1, 1, 1)
    assert stats.steps == 103
    assert stats.step_seconds.count == 103
    assert stats.token_seconds.count == 108
    assert stats.token_seconds.sum == pytest.approx(4 * 0.1 + 4 * 0.02 + 1.0)
    assert (stats.step_decoding.count, stats.step_prompt.sum) == (102, 80)
    assert stats.decode_seconds == pytest.approx(1.41)
    assert stats.acceptance == 0.4
    assert stats.cached_share == 0.6
    assert EngineStats().acceptance == EngineStats().cached_share == 0.0


def test_a_copy_stands_still_and_travels() -> None:
    stats = EngineStats()
    stats.on_step(0.1, 4, 4, 0)
    kept = stats.copy()
    stats.on_step(0.1, 4, 4, 0)
    assert (kept.steps, kept.step_seconds.count, stats.step_seconds.count) == (1, 1, 2)
    assert pickle.loads(pickle.dumps(stats)) == stats
    told = json.loads(json.dumps(stats.to_dict()))
    assert told["steps"] == 2
    assert told["token_seconds"]["count"] == 8
    assert told["acceptance"] == 0


def test_snapshots_while_another_thread_observes_are_consistent() -> None:
    stats, stop = EngineStats(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            stats.on_step(0.01, 8, 8, 0)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(300):
            kept = stats.copy()
            assert kept.step_seconds.cumulative()[-1][1] == kept.step_seconds.count
            assert kept.token_seconds.count % 8 == 0
    finally:
        stop.set()
        thread.join(20)


def test_observing_costs_nothing_worth_mentioning() -> None:
    made = Histogram()
    best = min(timeit.repeat(lambda: made.observe(0.0123, 16), number=20_000, repeat=5)) / 20_000
    assert best < 2e-6, f"{best * 1e6:.2f} us"  # measured 0.4; room for a busy machine
