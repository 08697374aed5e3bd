from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.core import gguf_strings
from llama_bind.core.gguf_strings import find_strings

texts = st.lists(
    st.one_of(st.binary(max_size=12), st.binary(min_size=250, max_size=300), st.just(bytes(9))), max_size=40
)


def pack(strings: list[bytes]) -> bytes:
    return b"".join(struct.pack("<Q", len(s)) + s for s in strings)


@given(texts, st.integers(0, 9), st.binary(max_size=20))
def test_every_string_is_found(strings: list[bytes], at: int, rest: bytes) -> None:
    packed = pack(strings)
    data = bytes(at) + packed + rest
    found = find_strings(data, at, len(strings), len(data))
    assert found is not None
    places, end = found
    assert end == at + len(packed) == places[-1]
    assert [data[a + 8 : b] for a, b in itertools.pairwise(places)] == strings


@given(texts.filter(bool), st.data())
def test_an_end_inside_is_noticed(strings: list[bytes], data: st.DataObject) -> None:
    packed = pack(strings)
    cut = data.draw(st.integers(0, len(packed) - 1))
    assert find_strings(packed[:cut], 0, len(strings), cut) is None


def test_many_strings_over_several_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_strings, "WINDOW", 100)
    strings = [bytes([65 + i % 26]) * (i % 30) for i in range(2000)]
    found = find_strings(pack(strings), 0, len(strings), 2**40)
    assert found is not None
    assert np.array_equal(np.diff(found[0]) - 8, [len(s) for s in strings])


def test_a_length_of_2_to_64_ends_nowhere() -> None:
    data = pack([b"a"]) + b"\xff" * 8 + b"b"
    assert find_strings(data, 0, 2, len(data)) is None


def test_no_strings_at_all() -> None:
    found = find_strings(b"abc", 1, 0, 3)
    assert found is not None
    assert found[1] == 1
