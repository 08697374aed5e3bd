from __future__ import annotations

import math

import pytest

from benchmarks.agreement import gap_where_texts_part
from benchmarks.windows import common_window, count_within, gaps_within


def test_the_window_in_which_all_run() -> None:
    assert common_window([0.0, 2.0, 1.0], [9.0, 8.0, 7.0]) == (2.0, 7.0)


@pytest.mark.parametrize("ends", [[9.0, 2.0], [9.0, 1.0]])
def test_no_moment_at_which_all_run_is_an_error(ends: list[float]) -> None:
    with pytest.raises(ValueError, match="at no moment"):
        common_window([0.0, 2.0], ends)


@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.2])
def test_what_comes_at_the_start_belongs_to_the_time_before(shift: float) -> None:
    times = [t + shift for t in (1.0, 2.0, 3.0, 4.0, 5.0)]  # seen a little before or after the others
    assert count_within(times, (2.0, 4.0)) == 2
    assert count_within(times, (0.0, 9.0)) == 5


def test_few_or_no_times_are_counted_as_well() -> None:
    assert count_within([], (2.0, 4.0)) == 0
    assert count_within([3.0], (2.0, 4.0)) == 1
    assert count_within([2.0], (2.0, 4.0)) == 0


@pytest.mark.parametrize(
    ("window", "gaps"),
    [
        ((1.5, 1.6), [1.0]),  # all of it in one gap, as when nothing came meanwhile
        ((1.0, 2.0), [1.0]),  # gaps that only touch it do not count
        ((1.5, 4.5), [1.0, 2.0, 3.0]),
        ((0.0, 9.0), [1.0, 2.0, 3.0]),
        ((7.0, 9.0), []),
    ],
)
def test_gaps_of_which_a_part_lies_in_the_window(window: tuple[float, float], gaps: list[float]) -> None:
    assert gaps_within([1.0, 2.0, 4.0, 7.0], window) == gaps


TOKENS = ["The", " cat", " sat"]
TOPS = [{"The": -0.1, "A": -3.0}, {" cat": -0.7, " ca": -0.9, " dog": -0.8}, {" sat": -0.2, " ran": -2.2}]


@pytest.mark.parametrize(
    ("text", "gap"),
    [
        ("The cat sat", 0.0),
        ("The cat", 0.0),  # shorter than the reference
        ("The cat sat on", 0.0),  # longer
        ("The dog ran", 0.1),
        ("The car", 0.2),  # a shorter token of the same beginning
        ("A cat sat", 2.9),
        ("The cat ran", 2.0),
        ("The bird", math.inf),
    ],
)
def test_how_unlikely_the_token_was_where_a_text_leaves_the_reference(text: str, gap: float) -> None:
    assert gap_where_texts_part(text, TOKENS, TOPS) == pytest.approx(gap)


def test_the_likeliest_token_that_goes_on_like_the_text_is_taken() -> None:
    assert gap_where_texts_part("xyz", ["a"], [{"a": -1.0, "x": -4.0, "xy": -2.0, "": -1.5}]) == pytest.approx(1.0)
