"""JSON that comes and goes: the same whichever parser reads it, bounded in what it costs, written in pieces."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from typing import Any

import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from llama_bind.reading import LONG
from llama_bind.server import body, json_body
from llama_bind.server.errors import ApiError
from llama_bind.server.json_body import LARGE, MOST_FIELDS, parsed
from llama_bind.server.schemas.chat import ChatRequest
from llama_bind.server.schemas.completions import CompletionRequest
from llama_bind.server.schemas.embeddings import EmbeddingRequest, RerankRequest
from llama_bind.server.schemas.tokens import DetokenizeRequest
from llama_bind.server.written import rows_reply, written

SPACES = b" " * (LARGE + 1)
"""Make a body a large one."""

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), values, max_size=5), st.booleans())
def test_large_and_small_bodies_are_read_alike(value: dict[str, Any], escaped: bool) -> None:
    try:
        raw = json.dumps(value, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        return
    assert repr(parsed(raw)) == repr(parsed(raw + SPACES)) == repr(value)


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        (b"", "invalid_json", "not JSON"),
        (b"hello", "invalid_json", "not JSON"),
        (b'{"a": 1', "invalid_json", "not JSON"),
        (b'{"a": 1,}', "invalid_json", "not JSON"),
        (b'{"a": 1} x', "invalid_json", "not JSON"),
        (b"[1]", "invalid_json", "a JSON object"),
        (b"null", "invalid_json", "a JSON object"),
        (b'{"a": NaN}', "invalid_json", "not JSON"),
        (b'{"a": -Infinity}', "invalid_json", "not JSON"),
        (b'{"a": [1, {"b": 1e999}]}', "invalid_json", "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "invalid_json", "can be used"),
        (b'{"a": "\xc3\x28"}', "invalid_utf8", "byte 7 is wrong"),
        ('{"a": 1}'.encode("utf-16"), "invalid_utf8", "byte 0 is wrong"),
        (b'{"a": "\\udc80"}', "invalid_utf8", "surrogate"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json", "nested too deeply"),
        (b'{"a": "\x01"}', "invalid_json", "not JSON"),
        (b'{"a": 01}', "invalid_json", "not JSON"),
    ],
)
def test_what_is_no_body_is_refused_alike(raw: bytes, code: str, words: str) -> None:
    for whole in (raw, raw + SPACES):
        with pytest.raises(ApiError, match=words) as caught:
            parsed(whole)
        assert (caught.value.status, caught.value.code) == (400, code)
        assert len(caught.value.message) < 250


@pytest.mark.parametrize("unit", [b"5", b"[]", b'{"a":1}', b'""', b"[[[[]]]]"])
def test_the_number_of_values_is_bounded(unit: bytes) -> None:
    marks = 1 + sum(unit.count(mark) for mark in (b",", b":", b"[", b"{"))
    fits = 1000 // marks - 2
    assert len(parsed(b'{"a":[' + b",".join([unit] * fits) + b"]}", 1000)["a"]) == fits
    with pytest.raises(ApiError, match="more than 1000 values") as caught:
        parsed(b'{"a":[' + b",".join([unit] * (fits + 4)) + b"]}", 1000)
    assert (caught.value.status, caught.value.code) == (400, "limit_exceeded")


def test_the_number_of_fields_is_bounded() -> None:
    fields = {f"k{i}": 1 for i in range(MOST_FIELDS)}
    assert parsed(json.dumps(fields).encode()) == fields
    with pytest.raises(ApiError, match="fields"):
        parsed(json.dumps({**fields, "x": 1}).encode())


def test_few_unknown_names_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs more than parsing a thousand values."""
    seen: list[str] = []
    monkeypatch.setattr(body, "nearest", lambda name, _known: seen.append(name))
    raw = json.dumps({"prompt": "x", **{f"unknown{i}": 1 for i in range(900)}}).encode()
    assert body._read(raw, CompletionRequest).headers == {}
    assert 0 < len(seen) <= body.MOST_LOOKED_AT


@pytest.mark.parametrize("unit", [b"5", b"[]", b'{"a":1}', b'"ab"', b"1.5", b"[[[[]]]]"])
def test_nothing_takes_long(unit: bytes) -> None:
    """In time of this thread, many times of what it takes: it is to find what takes hundreds of times."""
    marks = 1 + sum(unit.count(mark) for mark in (b",", b":", b"[", b"{"))
    raw = b'{"input":[' + b",".join([unit] * (999_000 // marks)) + b"]}"
    begun = time.thread_time()
    assert body._read(raw, EmbeddingRequest).size == len(raw)
    assert time.thread_time() - begun < 3


@pytest.mark.parametrize("is_on", [True, False])
def test_garbage_is_collected_as_before(is_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    real = pydantic_core.from_json

    def look(*arguments: Any, **options: Any) -> Any:
        seen.append(gc.isenabled())
        return real(*arguments, **options)

    monkeypatch.setattr(json_body, "from_json", look)
    before = gc.isenabled()
    (gc.enable if is_on else gc.disable)()
    try:
        parsed(b'{"a": 1}' + SPACES)
        with pytest.raises(ApiError):
            parsed(b"{" + SPACES)
        assert gc.isenabled() is is_on
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [False, False]


# -- answers -----------------------------------------------------------------------------------------------------


@given(values)
def test_what_is_written_is_the_value(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert repr(json.loads(written(value))) == repr(value)


def test_long_answers_are_written_by_another_thread() -> None:
    threads: list[bool] = []

    def make() -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return {"data": [{"embedding": [0.5, -1.0, 1e-9]}], "none": []}

    async def main() -> None:
        for numbers in (3, LONG):
            answer = await rows_reply(make, numbers, {"X-A": "b"})
            assert bytes(answer.body) == b'{"data":[{"embedding":[0.5,-1.0,1e-9]}],"none":[]}'
            assert (answer.headers["content-type"], answer.headers["x-a"]) == ("application/json", "b")

    asyncio.run(main())
    assert threads == [True, False]


# -- values of a wrong kind --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "raw", "param"),
    [
        (DetokenizeRequest, b'{"tokens":[%b]}' % b",".join([b"[]"] * 400_000), "tokens"),
        (RerankRequest, b'{"query":"x","documents":[%b]}' % b",".join([b"5"] * 400_000), "documents"),
        (ChatRequest, b'{"messages":[%b]}' % b",".join([b"5"] * 400_000), "messages"),
        (CompletionRequest, b'{"prompt":"x","stop":[%b]}' % b",".join([b"5"] * 400_000), "stop"),
        (
            CompletionRequest,
            b'{"prompt":"x","logit_bias":{%b}}' % b",".join(b'"%d":"x"' % i for i in range(300_000)),
            None,
        ),
    ],
)
def test_many_mistakes_are_told_soon(schema: type[BaseModel], raw: bytes, param: str | None) -> None:
    begun = time.thread_time()
    with pytest.raises(ApiError) as caught:
        body._read(raw, schema)
    assert time.thread_time() - begun < 1.5
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_type", param)
    assert len(caught.value.message) < 200
