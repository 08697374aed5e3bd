"""Messages and streams in Anthropic's shape: whole and streamed say the same, however the output came in pieces."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import pytest

from llama_bind import errors
from llama_bind.chat.reasoning import Reasoning
from llama_bind.chat.router import Router
from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.registry import get_format
from llama_bind.chat_results import PlainReader, Reader
from llama_bind.server.anthropic.errors import error_body, in_its_shape, refusal
from llama_bind.server.anthropic.frames import PING, error_frame, frame
from llama_bind.server.anthropic.models import model_info, model_page
from llama_bind.server.anthropic.shape import OPENING, MessageShape
from llama_bind.server.errors import TABLE, ApiError, api_error
from llama_bind.values import FinishEvent, FinishReason, PieceEvent, Timings, Usage

THINK = Reasoning("<think>", "</think>")
WEATHER = Tool("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
OUTPUT = f"<think>\nLook it up.\n</think>\n\nI will look.{CALL}\n{CALL}"


def reader() -> Reader:
    return Router(get_format("hermes"), (WEATHER,), reasoning=THINK)


def finish(
    reason: FinishReason = "stop", *, n: int = 7, stop: str | None = None, cached: int = 0, prompt: int = 20
) -> FinishEvent:
    return FinishEvent(reason, Usage(prompt, n, cached), Timings(0, 0, 0, prompt, n), 1, stop)


def shape(**options: Any) -> MessageShape:
    return MessageShape("m", 20, **{"reader": reader, "limit": 100, **options})


def streamed(pieces: Iterable[str], end: FinishEvent | None = None, **options: Any) -> list[dict[str, Any]]:
    made = shape(**options)
    events = made.opening()
    for piece in pieces:
        events += made.chunks(0, PieceEvent(piece), usage=False)
    events += made.chunks(0, end or finish(), usage=False)
    return events + made.closing(usage=False)


def whole(text: str, end: FinishEvent | None = None, **options: Any) -> dict[str, Any]:
    made = shape(**options)
    for piece in (text[:5], text[5:]):
        made.add(0, PieceEvent(piece))
    made.add(0, end or finish())
    return made.result()


def put_together(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client makes of a stream, whose order is checked."""
    assert [event["type"] for event in events[:OPENING]] == ["message_start", "ping"]
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    message: dict[str, Any] = json.loads(json.dumps(events[0]["message"]))
    assert (message["content"], message["stop_reason"]) == ([], None)
    is_open = False
    for event in events[OPENING:-2]:
        kind = event["type"]
        if kind == "content_block_start":
            assert not is_open
            assert event["index"] == len(message["content"])
            message["content"].append({**event["content_block"]})
            arguments, is_open = "", True
            continue
        assert is_open
        assert event["index"] == len(message["content"]) - 1
        block = message["content"][-1]
        if kind == "content_block_stop":
            is_open = False
            if block["type"] == "tool_use":
                block["input"] = json.loads(arguments)
        else:
            assert kind == "content_block_delta"
            delta = event["delta"]
            if delta["type"] == "input_json_delta":
                arguments += delta["partial_json"]
            else:
                key = delta["type"].removesuffix("_delta")
                block[key] += delta[key]
    assert not is_open
    message.update(events[-2]["delta"])
    message["usage"].update(events[-2]["usage"])
    return message


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_comes_to_the_whole_message(size: int) -> None:
    pieces = [OUTPUT[i : i + size] for i in range(0, len(OUTPUT), size)]
    made = put_together(streamed(pieces))
    digest = base64.b64encode(hashlib.sha256(b"Look it up.").digest()).decode()
    ids = [block.pop("id") for block in made["content"] if block["type"] == "tool_use"]
    assert len(set(ids)) == 2
    assert made["content"] == [
        {"type": "thinking", "thinking": "Look it up.", "signature": digest},
        {"type": "text", "text": "I will look."},
        *[{"type": "tool_use", "name": "get_weather", "input": {"city": "Paris"}}] * 2,
    ]
    one = whole(OUTPUT)
    for block in one["content"]:
        block.pop("id", None)
    assert {k: v for k, v in one.items() if k != "id"} == {k: v for k, v in made.items() if k != "id"}
    assert one["id"].startswith("msg_")


def test_the_fields_of_a_message() -> None:
    assert {k: v for k, v in whole("Hello", finish(cached=15)).items() if k != "id"} == {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 15,
            "output_tokens": 7,
        },
    }


def test_nothing_at_all() -> None:
    events = streamed([])
    assert [event["type"] for event in events] == ["message_start", "ping", "message_delta", "message_stop"]
    assert whole("")["content"] == []
    start = events[0]["message"]["usage"]
    assert (start["input_tokens"], start["cache_read_input_tokens"], start["output_tokens"]) == (20, 0, 0)


@pytest.mark.parametrize(
    ("text", "end", "options", "wanted"),
    [
        ("Hello", finish(), {}, ("end_turn", None)),
        ("Hello", finish(stop="<|im_end|>"), {"stops": ["END"]}, ("end_turn", None)),
        ("Hello", finish(stop="END"), {"stops": ["x", "END"]}, ("stop_sequence", "END")),
        ("Hello", finish("length", n=100), {}, ("max_tokens", None)),
        ("Hello", finish("length", n=99), {}, ("model_context_window_exceeded", None)),
        ("", finish("length", n=0), {"limit": 0}, ("max_tokens", None)),
        ("Hello", finish("deadline"), {}, ("max_tokens", None)),
        (CALL, finish(), {}, ("tool_use", None)),
        (CALL, finish("length", n=100), {}, ("max_tokens", None)),
        (CALL + "END", finish(stop="END"), {"stops": ["END"]}, ("stop_sequence", "END")),
    ],
)
def test_why_it_ended(text: str, end: FinishEvent, options: dict[str, Any], wanted: tuple[str, str | None]) -> None:
    made = whole(text, end, **options)
    assert (made["stop_reason"], made["stop_sequence"]) == wanted
    last = streamed([text], end, **options)[-2]
    assert (last["delta"]["stop_reason"], last["delta"]["stop_sequence"]) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"name": "get_weather", "arguments": {"city": "Par', {}),
        ('{"name": "get_weather", "arguments": {"city": "Paris", "days": [1, 2', {"city": "Paris", "days": [1, 2]}),
        ('{"name": "get_weather", "arguments": {', {}),
    ],
)
def test_a_call_that_was_cut_off_has_what_is_complete(text: str, wanted: Any) -> None:
    made = whole("<tool_call>" + text, finish("length", n=100))
    (call,) = made["content"]
    assert (call["type"], call["input"]) == ("tool_use", wanted)
    assert made["stop_reason"] == "max_tokens"


def test_thoughts_that_are_not_shown() -> None:
    events = streamed([OUTPUT], show_thinking=False)
    assert not [e for e in events if e.get("delta", {}).get("type") == "thinking_delta"]
    first = put_together(events)["content"][0]
    assert (first["thinking"], len(first["signature"])) == ("", 44)
    assert whole(OUTPUT, show_thinking=False)["content"][0] == first


def test_thoughts_in_several_places() -> None:
    class Interleaved(PlainReader):
        def feed(self, text: str) -> Any:
            from llama_bind.chat.events import ReasoningDelta, TextDelta

            return [ReasoningDelta(text[1:]) if text[0] == "?" else TextDelta(text)]

    pieces = ["?a", "?b", "c", "d", "?e", "f"]
    made = put_together(streamed(pieces, reader=Interleaved))
    assert [block.get("thinking", block.get("text")) for block in made["content"]] == ["ab", "cd", "e", "f"]
    assert made["content"][0]["signature"] != made["content"][2]["signature"]
    assert made["content"][2]["signature"] == base64.b64encode(hashlib.sha256(b"e").digest()).decode()


# -- bytes -------------------------------------------------------------------------------------------------------


def test_frames() -> None:
    assert PING == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert frame({"type": "content_block_stop", "index": 1}) == (
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":1}\n\n'
    )
    sent = error_frame(api_error(errors.EngineCrashedError(-9)), "req_1")
    assert sent.startswith(b"event: error\ndata: ")
    body = json.loads(sent.split(b"data: ")[1])
    assert (body["type"], body["error"]["type"], body["request_id"]) == ("error", "overloaded_error", "req_1")


# -- errors ------------------------------------------------------------------------------------------------------

KNOWN = {
    "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "request_too_large",
    "rate_limit_error", "api_error", "overloaded_error",
}  # fmt: skip


def test_every_error_has_a_type_that_clients_know() -> None:
    for row in TABLE.values():
        body = error_body(ApiError(row.status, row.type, row.code, "Sorry.", retry=row.retry), "req_1")
        assert body.keys() == {"type", "error", "request_id"}
        assert body["error"].keys() == {"type", "message"}
        assert body["error"]["type"] in KNOWN
    assert {error_body(api_error(e), "")["error"]["type"] for e in (RuntimeError(), errors.LibraryError("x"))} == {
        "api_error"
    }


def test_details_of_errors() -> None:
    details = {"error_code": "thread_unsupported_request"}
    error = ApiError(400, "invalid_request_error", "unsupported", "Sorry.", details=details, n_ctx=5)
    assert error_body(error, "")["error"] == {
        "type": "invalid_request_error",
        "message": "Sorry.",
        "details": details,
    }


@pytest.mark.parametrize(
    ("status", "kind", "retry", "wanted"),
    [
        (400, "invalid_request_error", False, "invalid_request_error"),
        (401, "authentication_error", False, "authentication_error"),
        (404, "not_found_error", False, "not_found_error"),
        (413, "invalid_request_error", False, "request_too_large"),
        (429, "rate_limit_error", True, "rate_limit_error"),
        (500, "server_error", False, "api_error"),
        (503, "service_unavailable", True, "overloaded_error"),
        (503, "service_unavailable", False, "api_error"),
    ],
)
def test_types_of_errors(status: int, kind: str, retry: bool, wanted: str) -> None:
    error = ApiError(status, kind, "code", "Sorry.", retry=retry, headers={"X-More": "1"})
    reply = refusal({"path": "/v1/messages", "headers": []}, error, 7, "req_1")
    assert reply.status_code == status
    assert json.loads(bytes(reply.body)) == {
        "type": "error",
        "error": {"type": wanted, "message": "Sorry."},
        "request_id": "req_1",
    }
    assert reply.headers.get("retry-after") == ("7" if retry else None)
    assert reply.headers["x-more"] == "1"
    other = refusal({"path": "/v1/chat/completions", "headers": []}, error, 7, "req_1")
    assert json.loads(bytes(other.body)) == error.body()


@pytest.mark.parametrize(
    ("path", "headers", "wanted"),
    [
        ("/v1/messages", [], True),
        ("/v1/messages/count_tokens", [], True),
        ("/v1/messages/batches", [], True),
        ("/v1/messagesx", [], False),
        ("/v1/models", [], False),
        ("/v1/models", [(b"host", b"x"), (b"anthropic-version", b"2023-06-01")], True),
        ("/v1/chat/completions", [(b"authorization", b"Bearer x")], False),
    ],
)
def test_who_speaks_it(path: str, headers: Any, wanted: bool) -> None:
    assert in_its_shape({"path": path, "headers": headers}) is wanted
    assert in_its_shape({"path": "/here" + path, "root_path": "/here", "headers": headers}) is wanted


# -- models ------------------------------------------------------------------------------------------------------


def cards(*names: str) -> list[dict[str, Any]]:
    return [{"id": name, "created": 1_700_000_000, "meta": {"n_ctx": 512}} for name in names]


def test_a_model() -> None:
    assert model_info(cards("a")[0]) == {
        "type": "model",
        "id": "a",
        "display_name": "a",
        "created_at": "2023-11-14T22:13:20Z",
        "lifecycle": "active",
        "max_input_tokens": 512,
        "max_tokens": 512,
    }
    assert model_info({"id": "a", "created": 0, "meta": None})["max_tokens"] is None


@pytest.mark.parametrize(
    ("query", "wanted", "more"),
    [
        ({}, "abcde", False),
        ({"limit": "2"}, "ab", True),
        ({"limit": "2", "after_id": "b"}, "cd", True),
        ({"limit": "2", "after_id": "c"}, "de", False),
        ({"after_id": "e"}, "", False),
        ({"limit": "2", "before_id": "d"}, "bc", True),
        ({"limit": "3", "before_id": "d"}, "abc", False),
        ({"before_id": "a"}, "", False),
    ],
)
def test_pages_of_models(query: dict[str, str], wanted: str, more: bool) -> None:
    page = model_page(cards(*"abcde"), query)
    assert "".join(model["id"] for model in page["data"]) == wanted
    ends = (wanted[0], wanted[-1]) if wanted else (None, None)
    assert (page["first_id"], page["last_id"], page["has_more"]) == (*ends, more)


@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"limit": "9" * 5000}, {"limit": "²"}, {"after_id": "z"}],
)
def test_pages_that_are_none(query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as caught:
        model_page(cards("a"), query)
    assert (caught.value.status, caught.value.param) == (400, next(iter(query)))
