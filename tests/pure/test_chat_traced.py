from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.chat.segments import Segment, segments_of, text_of
from llama_bind.chat.traced import METHODS, PLAIN_METHODS, Traced, join, mask_of, percent, repeat, to_text, trusted

LETTERS = st.text(alphabet="abAB \n\tß<|", max_size=12)


@st.composite
def traced(draw: st.DrawFn) -> Traced:
    text = draw(LETTERS)
    return Traced(text, bytes(draw(st.lists(st.sampled_from([0, 1]), min_size=len(text), max_size=len(text)))))


def test_all_methods_of_strings_are_decided() -> None:
    left_out = {"encode", "maketrans", "translate"}
    public = {name for name in dir(str) if not name.startswith("_")}
    assert public == set(METHODS) | set(PLAIN_METHODS) | left_out


CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("capitalize", ()),
    ("casefold", ()),
    ("center", (9,)),
    ("center", (9, "*")),
    ("expandtabs", (3,)),
    ("join", (["x", "y"],)),
    ("ljust", (9, "-")),
    ("lower", ()),
    ("lstrip", ()),
    ("lstrip", ("a",)),
    ("partition", ("a",)),
    ("removeprefix", ("a",)),
    ("removesuffix", ("b",)),
    ("replace", ("a", "bb")),
    ("replace", ("ab", "", 1)),
    ("replace", ("", "-")),
    ("replace", ("", "-", 2)),
    ("rjust", (9,)),
    ("rpartition", ("b",)),
    ("rsplit", ()),
    ("rsplit", (None, 1)),
    ("rsplit", ("a", 1)),
    ("rstrip", ("b",)),
    ("split", ()),
    ("split", (None, 1)),
    ("split", ("a",)),
    ("split", ("ab", 1)),
    ("splitlines", ()),
    ("splitlines", (True,)),
    ("strip", ()),
    ("strip", ("ab",)),
    ("swapcase", ()),
    ("title", ()),
    ("upper", ()),
    ("zfill", (9,)),
]


@pytest.mark.parametrize(("name", "args"), CALLS, ids=lambda value: str(value))
@settings(max_examples=25)
@given(text=traced())
def test_methods_give_what_str_gives(text: Traced, name: str, args: tuple[Any, ...]) -> None:
    plain = str.__str__(text)
    expected = getattr(plain, name)(*args)
    for subject in (text, plain):
        result = METHODS[name](subject, *args)
        assert result == expected
        for piece in result if isinstance(result, (list, tuple)) else [result]:
            assert len(mask_of(piece)) == len(piece)


@given(traced())
def test_origin_follows_the_characters(text: Traced) -> None:
    """With one side of the mask upper case and the other lower, letters and mask must stay together."""
    painted = Traced("".join("T" if bit else "u" for bit in text.mask), text.mask)

    def faithful(piece: str) -> bool:
        return all((char == "T") == bool(bit) for char, bit in zip(str.__str__(piece), mask_of(piece), strict=True))

    results: list[str] = [painted[1:], painted[::-1], painted[:-1], join([painted, "uu", trusted("T")]), *painted]
    results += METHODS["split"](painted, "u") + METHODS["rsplit"](painted, "T", 1) + METHODS["split"](painted, "Tu", 2)
    results += [METHODS["strip"](painted, "u"), METHODS["rstrip"](painted, "T"), METHODS["replace"](painted, "Tu", "u")]
    results += [METHODS["replace"](painted, "u", trusted("TT")), METHODS["join"](painted, ["uu", trusted("T")])]
    results += METHODS["partition"](painted, "T")
    assert all(map(faithful, results))


@given(st.lists(traced(), max_size=5), traced())
def test_join(parts: list[Traced], separator: Traced) -> None:
    result = join(parts, separator)
    assert result == str.__str__(separator).join(map(str.__str__, parts))
    assert mask_of(result) == separator.mask.join(part.mask for part in parts)


@given(traced())
def test_segments_cut_at_origins(text: Traced) -> None:
    segments = segments_of(text)
    assert text_of(segments) == text
    assert all(segment.text for segment in segments)
    assert all(a.special != b.special for a, b in itertools.pairwise(segments))
    assert b"".join((b"\1" if s.special else b"\0") * len(s.text) for s in segments) == text.mask


def test_a_plain_string_is_text_from_outside() -> None:
    assert segments_of("abc") == [Segment("abc", False)]
    assert segments_of("") == []


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("%s and %s", ("a", 1)),
        ("%d%%", 5),
        ("%5.2f|%-4s|", (1.234, "x")),
        ("%(a)s %(b)03d", {"a": "x", "b": 7}),
        ("%r", "x"),
        ("%x %c", (255, "y")),
        ("no field", ()),
    ],
)
def test_percent(text: str, values: Any) -> None:
    assert percent(trusted(text), values) == text % values


@pytest.mark.parametrize(("text", "values"), [("%s", ()), ("%s", ("a", "b")), ("%", ()), ("%z", 1), ("%d", "x")])
def test_percent_refuses_what_str_refuses(text: str, values: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        text % values
    with pytest.raises((TypeError, ValueError)):
        percent(trusted(text), values)


@pytest.mark.parametrize(
    ("text", "args", "kwargs"),
    [
        ("{} {}", ("a", 2), {}),
        ("{1}{0}", ("a", "b"), {}),
        ("{x:>5}|{y:.2f}", (), {"x": "a", "y": 1.5}),
        ("{{}}", (), {}),
    ],
)
def test_format(text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert METHODS["format"](trusted(text), *args, **kwargs) == text.format(*args, **kwargs)


def test_formats_keep_origins_apart() -> None:
    for result in (percent(trusted("<%s>"), "in"), METHODS["format"](trusted("<{}>"), "in")):
        assert segments_of(result) == [Segment("<", True), Segment("in", False), Segment(">", True)]


@pytest.mark.parametrize(
    "value",
    [None, True, 1, 1.5, [1, "a", [None]], (1,), (1, 2), {"a": [1], 2: "b"}, {}, [], {1: 2}.items(), {1: 2}.keys()],
)
def test_to_text_is_str(value: Any) -> None:
    assert to_text(value) == str(value)


def test_repeat() -> None:
    assert repeat(trusted("ab"), 3) == "ababab"
    assert repeat("ab", -1) == ""


def test_a_method_that_changes_the_length_never_gains_trust() -> None:
    half: Callable[[str], str] = METHODS["upper"]
    assert mask_of(half(Traced("ßa", b"\0\1"))) == bytes(3)
    assert mask_of(half(trusted("ß"))) == b"\1\1"
    assert re.fullmatch("S+A", half(Traced("ßa", b"\0\1")))
