from __future__ import annotations

import math

import pytest

from benchmarks.registry import Benchmark, Goal, Measurement, Settings
from benchmarks.stats import compare, percentile, spread


def measured(_: Settings) -> Measurement:
    return Measurement(1.0)


@pytest.mark.parametrize(
    ("values", "median", "low", "high"),
    [([3.0], 3.0, 3.0, 3.0), ([5.0, 1.0, 3.0], 3.0, 1.0, 5.0), ([4.0, 1.0, 3.0, 2.0], 2.5, 1.0, 4.0)],
)
def test_spread(values: list[float], median: float, low: float, high: float) -> None:
    found = spread(values)
    assert (found.median, found.low, found.high, found.count) == (median, low, high, len(values))


@pytest.mark.parametrize("values", [[], [0.0], [1.0, -1.0], [math.nan], [1.0, math.inf]])
def test_spread_refuses_what_is_no_measurement(values: list[float]) -> None:
    with pytest.raises(ValueError, match="measure"):
        spread(values)


def test_the_ratio_is_of_the_medians_and_its_range_of_the_pairs() -> None:
    found = compare([100.0, 90.0, 110.0], [50.0, 100.0, 100.0])
    assert found.ratio == pytest.approx(1.0)
    assert found.ratio_low == pytest.approx(0.9)
    assert found.ratio_high == pytest.approx(2.0)
    assert found.difference == pytest.approx(0.0)


def test_one_outlier_moves_neither_median() -> None:
    steady = compare([10.0, 10.0, 10.0], [10.0, 10.0, 10.0])
    jolted = compare([10.0, 1.0, 10.0], [10.0, 10.0, 99.0])
    assert steady.ratio == jolted.ratio == 1.0


def test_without_the_other_side_there_is_no_ratio() -> None:
    found = compare([2.0, 1.0, 3.0], None)
    assert found.ours.median == 2.0
    assert (found.theirs, found.ratio, found.ratio_low, found.ratio_high, found.difference) == (None,) * 5


def test_a_count_may_be_zero_and_has_no_ratio_then() -> None:
    found = compare([32.0, 32.0, 31.0], [0.0, 1.0, 0.0], counts=True)
    assert found.theirs is not None
    assert (found.ours.median, found.theirs.median, found.ratio) == (32.0, 0.0, None)
    with pytest.raises(ValueError, match="measure"):
        compare([32.0], [0.0])
    with pytest.raises(ValueError, match="measure"):
        compare([-1.0], [1.0], counts=True)


def test_sides_of_different_length_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        compare([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.2, 1.0), (0.21, 2.0), (0.5, 3.0), (0.95, 5.0), (1.0, 5.0)])
def test_percentile(share: float, value: float) -> None:
    assert percentile([5.0, 3.0, 1.0, 4.0, 2.0], share) == value


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], -0.1), ([1.0], 1.1)])
def test_percentile_refuses(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        percentile(values, share)


@pytest.mark.parametrize(
    ("goal", "ours", "theirs", "met"),
    [
        (Goal("ratio", 0.97), 97.0, 100.0, True),
        (Goal("ratio", 0.97), 96.9, 100.0, False),
        (Goal("difference", 0.2), 1.2, 1.0, True),
        (Goal("difference", 0.2), 1.21, 1.0, False),
        (Goal("difference", 0.2), 0.5, 1.0, True),
        (Goal("share", 1 / 3), 1.0, 3.0, True),
        (Goal("share", 1 / 3), 1.01, 3.0, False),
        (Goal("least", 32), 32.0, 0.0, True),
        (Goal("least", 32), 31.0, None, False),
        (Goal("value", 60.0), 60.0, None, True),
        (Goal("value", 60.0), 60.1, 1000.0, False),
    ],
)
def test_goals(goal: Goal, ours: float, theirs: float | None, met: bool) -> None:
    assert goal.met(ours, theirs) is met


@pytest.mark.parametrize("kind", ["ratio", "share", "difference"])
def test_a_comparing_goal_needs_both_sides(kind: str) -> None:
    with pytest.raises(ValueError, match="both sides"):
        Goal(kind, 1.0).met(1.0, None)  # type: ignore[arg-type]


def test_goal_text_names_the_bound_and_the_unit() -> None:
    assert Goal("ratio", 0.97).text("tokens/s") == "ratio >= 0.97"
    assert Goal("difference", 0.2).text("s") == "ours - theirs <= 0.2 s"
    assert Goal("value", 60).text("us") == "ours <= 60 us"
    assert Goal("share", 1 / 3).text("s") == "ratio <= 0.3333"
    assert Goal("least", 32).text("requests") == "ours >= 32 requests"


def test_a_missing_side_is_an_error() -> None:
    alone = Benchmark("b", "title", "s", measured)
    assert alone.side("ours") is measured
    with pytest.raises(ValueError, match="no side 'theirs'"):
        alone.side("theirs")
