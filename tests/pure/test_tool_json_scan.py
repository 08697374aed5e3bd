"""One JSON value piece by piece: the same end and the same value as Python's reader finds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.chat.tools.json_scan import MAX_DEPTH, JsonScan
from tests.routing import pieces

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def scan(parts: list[str]) -> tuple[JsonScan, str, str]:
    """The scan, what it made of the parts, and what it left."""
    found = JsonScan()
    out, buffer = "", ""
    for part in parts:
        buffer += part
        if not found.done and not found.failed:
            at = found.read(buffer)
            out += found.text
            buffer = buffer[at:]
    if not found.done and not found.failed:
        buffer = buffer[found.read(buffer, final=True) :]
        out += found.text
    return found, out, buffer


@settings(max_examples=200, deadline=None)
@given(value=VALUES, ascii=st.booleans(), indent=st.sampled_from([None, 1]), cuts=st.sets(st.integers(1, 100)))
def test_every_value_is_read_to_its_end(value: Any, ascii: bool, indent: int | None, cuts: set[int]) -> None:
    text = json.dumps(value, ensure_ascii=ascii, indent=indent)
    found, out, rest = scan(pieces(text + " ,x", cuts))
    assert found.done
    assert (out, rest) == (text, " ,x")


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet='{}[]:,"\\u12tfnrueals -.eE+\n0', max_size=30), cuts=st.sets(st.integers(1, 30)))
def test_what_is_taken_for_json_is_json(text: str, cuts: set[int]) -> None:
    whole, out, rest = scan([text])
    again, out_again, rest_again = scan(pieces(text, cuts))
    assert (whole.done, whole.failed, out) == (again.done, again.failed, out_again)
    assert not whole.done or rest == rest_again
    if whole.done:
        json.loads(out)
    else:
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)


@pytest.mark.parametrize(
    ("text", "mended"),
    [('"a\nb"', '"a\\nb"'), ('"\t\x01"', '"\\t\\u0001"'), (r'"\d\'"', r'"\\d\\' + "'\""), ('"\\\n"', '"\\\\\\n"')],
)
def test_strings_are_mended(text: str, mended: str) -> None:
    for parts in ([text], list(text)):
        found, out, _ = scan(parts)
        assert found.done
        assert out == mended
        json.loads(out)


@pytest.mark.parametrize("text", ["{]", "[1,]", "{,}", '{"a" 1}', '{"a":}', "nul1", "01", "1.", "-", "[1 2]", "x", "]",
                                  '"\\u12g4"', "{1:2}", '{"a":1,}', "9" * 500])  # fmt: skip
def test_what_is_no_json_fails(text: str) -> None:
    for parts in ([text], list(text)):
        found, _, _ = scan(parts)
        assert (found.failed, found.done) == (True, False)


def test_depth_has_an_end() -> None:
    assert scan(["[" * MAX_DEPTH + "]" * MAX_DEPTH])[0].done
    assert scan(["[" * (MAX_DEPTH + 1)])[0].failed
