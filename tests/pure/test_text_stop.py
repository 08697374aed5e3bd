from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.errors import InputError, TextEncodingError
from llama_bind.text.stop import MAX_STOP_CHARS, StopMatcher, check_stops

LETTERS = st.text(alphabet="ab]", max_size=30)
STOPS = st.lists(st.text(alphabet="ab]", min_size=1, max_size=5), max_size=5)


def naive(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The rule of the module, letter by letter: first end wins, then the longest."""
    for end in range(1, len(text) + 1):
        hits = [stop for stop in stops if text[:end].endswith(stop)]
        if hits:
            longest = max(hits, key=len)
            return text[: end - len(longest)], longest
    return text, None


def longest_beginning(text: str, stops: list[str]) -> int:
    return max((n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)


def chunks(text: str, places: list[int]) -> list[str]:
    marks = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(marks)]


@given(LETTERS, STOPS, st.lists(st.integers(min_value=0), max_size=8))
def test_any_chunking_gives_the_naive_result(text: str, stops: list[str], places: list[int]) -> None:
    expected, stop = naive(text, stops)
    matcher = StopMatcher(stops)
    shown, fed = "", ""
    for chunk in chunks(text, places):
        fed += chunk
        safe, matched = matcher.push(chunk)
        shown += safe
        assert matched == matcher.matched == naive(fed, stops)[1]
        if matched is None:
            # Everything is shown but the longest suffix that may still become a stop string.
            assert shown == fed[: len(fed) - longest_beginning(fed, stops)]
            assert matcher.held == len(fed) - len(shown)
        else:
            assert shown == expected
    shown += matcher.flush()
    assert (shown, matcher.matched) == (expected, stop)


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=3))
def test_any_characters(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown = "".join([matcher.push(char)[0] for char in text]) + matcher.flush()
    assert (shown, matcher.matched) == naive(text, stops)


def test_nothing_leaks_after_a_match() -> None:
    matcher = StopMatcher(["</s>"])
    assert matcher.push("hello</") == ("hello", None)
    assert matcher.push("s>tail") == ("", "</s>")
    assert matcher.push("more") == ("", "</s>")
    assert matcher.flush() == ""


def test_a_false_beginning_is_released() -> None:
    matcher = StopMatcher(["User:"])
    assert [matcher.push(text)[0] for text in ("Us", "er", " Us", "er")] == ["", "", "User ", ""]
    assert matcher.flush() == "User"
    assert matcher.held == 0


def test_without_stops_the_text_passes_as_it_is() -> None:
    matcher = StopMatcher()
    text = "x" * 1000
    assert matcher.push(text)[0] is text
    assert matcher.flush() == ""


@pytest.mark.parametrize("stops", [[""], ["a", ""], [1], "", ["x" * (MAX_STOP_CHARS + 1)]])
def test_refused(stops: list[str]) -> None:
    with pytest.raises(InputError) as info:
        StopMatcher(stops)
    assert info.value.param == "stop"


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(TextEncodingError):
        StopMatcher(["\ud800"])


def test_one_string_is_one_stop() -> None:
    assert check_stops("abc") == ("abc",)
    assert check_stops(None) == ()
    assert check_stops(["b", "a", "b"]) == ("b", "a")


def test_special_characters_of_regular_expressions() -> None:
    stops = ["]x", "^x", "-x", "[[x", "&&x", "~~x", "||x", "--x", "\\x"]
    for stop in stops:
        assert StopMatcher(stops).push("a" + stop) == ("a", stop)


def test_long_stops_stay_linear() -> None:
    # Each push shows one character and holds 20000: copying what is held would take 40000 * 20000 steps.
    matcher = StopMatcher(["a" * 20_000 + "b"])
    begin = time.process_time()
    shown = sum(len(matcher.push("a")[0]) for _ in range(40_000))
    assert shown == 20_000
    assert time.process_time() - begin < 2


def test_many_stops() -> None:
    stops = [f"stop{number:05d}" for number in range(5000)]
    matcher = StopMatcher(stops)
    assert matcher.push("some stop text stop0499") == ("some stop text ", None)
    assert matcher.push("9!") == ("", "stop04999")
