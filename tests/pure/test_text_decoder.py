from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.text.detokenizer import Utf8Decoder


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks)]


def decode(pieces: list[bytes]) -> str:
    decoder = Utf8Decoder()
    text = "".join([decoder.push(piece) for piece in pieces]) + decoder.flush()
    assert decoder.pending == b""
    return text


# Text, noise, and noise made of the bytes where UTF-8 is subtle.
ODD = st.lists(st.sampled_from(b"\x41\x80\xa0\xbf\xc1\xc3\xe0\xed\xef\xf0\xf4\xf5\xff")).map(bytes)
BYTES = st.text().map(str.encode) | st.binary() | ODD


@given(BYTES, st.lists(st.integers(min_value=0)))
def test_pieces_decode_as_the_whole(data: bytes, places: list[int]) -> None:
    assert decode(cut(data, places)) == data.decode("utf-8", "replace")


@given(BYTES)
def test_single_bytes_decode_as_the_whole(data: bytes) -> None:
    assert decode([data[i : i + 1] for i in range(len(data))]) == data.decode("utf-8", "replace")


def test_an_unfinished_character_is_held_back() -> None:
    decoder = Utf8Decoder()
    assert decoder.push(b"a\xf0\x9f") == "a"
    assert decoder.pending == b"\xf0\x9f"
    assert decoder.push(b"\x98") == ""
    assert decoder.push(b"\x80b") == "\N{GRINNING FACE}b"
    assert decoder.flush() == ""


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([b"\xff"], "\ufffd"),
        ([b"\xf0\x9f", b"a"], "\ufffda"),
        ([b"\xc3"], "\ufffd"),
        ([b"\xed", b"\xa0", b"\x80"], "\ufffd" * 3),
        ([b"\xe2", b"\x82", b"\xac"], "\N{EURO SIGN}"),
        ([b"\x00"], "\x00"),
        ([b"", b""], ""),
    ],
)
def test_known_cases(pieces: list[bytes], text: str) -> None:
    assert decode(pieces) == text


@given(st.text(), st.lists(st.integers(min_value=0)))
def test_valid_text_never_shows_a_replacement(text: str, places: list[int]) -> None:
    decoder = Utf8Decoder()
    pieces = [decoder.push(piece) for piece in cut(text.encode(), places)]
    assert "".join(pieces) == text
    assert sum(piece.count("\ufffd") for piece in pieces) == text.count("\ufffd")
