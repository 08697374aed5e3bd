"""Responses out of what a model writes: every sequence of events, held to the official client's types."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.reports import Reports
from llama_bind.server.errors import ApiError
from llama_bind.server.responses.frames import frame
from llama_bind.server.responses.items import opened
from llama_bind.server.responses.request import read_request
from llama_bind.server.responses.shape import ResponseShape
from llama_bind.server.responses.writer import ResponseWriter
from llama_bind.values import PieceEvent, Progress
from tests.letters import Letters, finish, piece
from tests.responses import checked, typed


def written(text: str, reason: str = "stop", **options: Any) -> list[Any]:
    """The events of a stream, as they would come over the wire."""
    _writer, shape = _shape(**options)
    events = [*shape.opening()]
    for number, letter in enumerate(text):
        events += shape.chunks(0, piece(letter, number))
    return _wired([*events, *shape.chunks(0, finish(reason))])


def _shape(ended: Callable[[], None] = lambda: None, **options: Any) -> tuple[ResponseWriter, ResponseShape]:
    writer = ResponseWriter({**read_request({}).told, "temperature": 1.0, "top_p": 1.0}, "m", **options)
    return writer, ResponseShape(writer, Letters(), ended)


def _wired(events: list[Any]) -> list[Any]:
    return [json.loads(frame(event).partition(b"data: ")[2]) for event in events]


def kinds(events: list[Any]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def outputs(response: Any) -> list[tuple[str, str, str]]:
    """Type, text and status of each item."""
    found = []
    for item in response["output"]:
        text = item["arguments"] if item["type"] == "function_call" else "".join(p["text"] for p in item["content"])
        found.append((item["type"], text, item["status"]))
    return found


def test_the_events_of_a_text() -> None:
    events = written("TT")
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    response = checked(events)
    assert outputs(response) == [("message", "Let me see." * 2, "completed")]
    assert response["status"] == "completed"
    assert response["completed_at"] >= response["created_at"]
    assert response["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 6},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    }
    assert response["seed"] == 42
    assert events[-1]["timings"]["predicted_n"] == 5


def test_reasoning_text_and_calls() -> None:
    events = written("RRTCDE")
    response = checked(events)
    assert outputs(response) == [
        ("reasoning", "hmhm", "completed"),
        ("message", "Let me see.", "completed"),
        ("function_call", '{"a": 1}', "completed"),
        ("function_call", "{}", "completed"),
    ]
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}
    assert [(i["call_id"], i["name"]) for i in response["output"][2:]] == [("call_1", "add"), ("call_2", "sub")]
    assert [i["id"].partition("_")[0] for i in response["output"]] == ["rs", "msg", "fc", "fc"]
    assert len({i["id"] for i in response["output"]}) == 4
    assert kinds(events)[2:7] == [
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta", "reasoning_text.done"
    ]  # fmt: skip
    assert typed(response).output_text == "Let me see."


def test_tokens_whose_text_is_held_back_count_with_it() -> None:
    assert written("--R-T")[-1]["response"]["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    assert written("RX-T")[-1]["response"]["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("", [("message", "", "completed")]),
        ("w", [("message", "w", "completed")]),
        (" ", [("message", "\n\n", "completed")]),
        (" T", [("message", "\n\nLet me see.", "completed")]),
        ("R T", [("reasoning", "hm", "completed"), ("message", "\n\nLet me see.", "completed")]),
        ("R E", [("reasoning", "hm", "completed"), ("function_call", "{}", "completed")]),
        ("E ", [("function_call", "{}", "completed")]),
        ("R", [("reasoning", "hm", "completed")]),
        ("R  ", [("reasoning", "hm", "completed"), ("message", "\n\n\n\n", "completed")]),
        ("ET", [("function_call", "{}", "completed"), ("message", "Let me see.", "completed")]),
        (" ET", [("function_call", "{}", "completed"), ("message", "Let me see.", "completed")]),
    ],
)
def test_blank_text_is_a_message_only_where_there_is_nothing_else(text: str, output: Any) -> None:
    assert outputs(checked(written(text))) == output


@pytest.mark.parametrize("text", ["T", "R", "TC", "", "RTw"])
def test_cut_off(text: str) -> None:
    events = written(text, "length")
    response = checked(events)
    assert events[-1]["type"] == "response.incomplete"
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["completed_at"] is None
    assert response["output"][-1]["status"] == "incomplete"
    assert all(item["status"] == "completed" for item in response["output"][:-1])


def test_a_deadline_is_none_of_openais_reasons() -> None:
    response = checked(written("T", "deadline"))
    assert response["incomplete_details"] == {"reason": None, "finish_reason": "deadline"}


def test_log_probabilities_are_those_of_the_text() -> None:
    events = written("R-T-TC", logprobs=True)
    response = checked(events)
    (part,) = response["output"][1]["content"]
    assert [entry["logprob"] for entry in part["logprobs"]] == [-1.0, -2.0, -3.0, -4.0]
    assert part["logprobs"][1]["token"] == "T"
    assert part["logprobs"][1]["top_logprobs"] == [
        {"token": "a", "bytes": [97], "logprob": -0.5},
        {"token": "\ufffd", "bytes": [240, 159], "logprob": -1.5},
    ]
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert [len(event["logprobs"]) for event in deltas] == [2, 2]
    assert all(event["logprobs"] == [] for event in written("T") if "logprobs" in event)


def test_reasoning_for_clients_that_keep_nothing_else() -> None:
    (item, _) = checked(written("RT", seal=True))["output"]
    assert opened(item["encrypted_content"]) == "hm"
    assert "encrypted_content" not in checked(written("RT"))["output"][0]


def test_one_that_waits_first() -> None:
    events = written("-T", queued=True)
    assert kinds(events)[:4] == ["created", "queued", "in_progress", "output_item.added"]
    assert [e["response"]["status"] for e in events if "response" in e] == [
        "queued", "queued", "in_progress", "completed",
    ]  # fmt: skip
    checked(events)


@pytest.mark.parametrize(
    ("status", "code"), [(503, "server_error"), (429, "rate_limit_exceeded"), (400, "invalid_prompt")]
)
def test_a_failure_in_the_middle(status: int, code: str) -> None:
    writer, shape = _shape()
    events = [*shape.opening(), *shape.chunks(0, piece("T", 0)), *shape.chunks(0, piece("C", 1))]
    last = writer.failed(ApiError(status, "type", "its_code", "It failed.", param="input"))
    assert last[-2] == {
        "type": "error", "sequence_number": last[-2]["sequence_number"], "code": "its_code", "message": "It failed.",
        "param": "input",
    }  # fmt: skip
    response = checked(_wired([*events, *last]))
    assert response["status"] == "failed"
    assert response["error"] == {"code": code, "message": "It failed."}
    assert outputs(response)[1] == ("function_call", '{"a": ', "incomplete")


def test_cancelling() -> None:
    writer, shape = _shape(queued=True)
    events = [*shape.opening(), *shape.chunks(0, piece("R", 0))]
    response = checked(_wired([*events, *writer.cancelled()]))
    assert response["status"] == "cancelled"
    assert outputs(response) == [("reasoning", "hm", "incomplete")]


def test_a_whole_response_is_that_of_the_stream() -> None:
    ended: list[int] = []
    writer, shape = _shape(lambda: ended.append(len(writer.response["output"])), logprobs=True)
    for number, letter in enumerate("RTC"):
        shape.add(0, piece(letter, number))
    assert ended == []
    shape.add(0, finish("length"))
    assert ended == [3], "it is complete when it is kept"
    whole = json.loads(json.dumps(shape.result()))
    typed(whole)
    streamed = written("RTC", "length", logprobs=True)[-1]["response"]
    assert _without_ids(whole) == _without_ids(streamed)


def _without_ids(response: Any) -> Any:
    output = [{k: v for k, v in item.items() if k != "id"} for item in response["output"]]
    changing = ("id", "created_at", "completed_at")
    return {**{k: v for k, v in response.items() if k not in changing}, "output": output}


def test_what_was_told_is_not_changed_later() -> None:
    writer, shape = _shape()
    events = [*shape.opening(), *shape.chunks(0, piece("T", 0))]
    before = json.dumps(events)
    shape.chunks(0, piece("E", 1))
    shape.chunks(0, finish())
    assert json.dumps(events) == before
    assert writer.snapshot() == writer.response


@pytest.mark.parametrize("queued", [False, True])
def test_how_far_a_prompt_is(queued: bool) -> None:
    _, shape = _shape(queued=queued)
    shape.reports = Reports(1, progress=True, timings=True)
    events = [*shape.opening()]
    for done in (5, 10):
        events += shape.chunks(0, PieceEvent("", progress=Progress(done, 10)))
    assert [kinds([event])[0] for event in events[2:]] == ["in_progress"] * 2
    assert [event["prompt_progress"]["processed"] for event in events[2:]] == [5, 10]
    events += [*shape.chunks(0, piece("T", 1)), *shape.chunks(0, finish())]
    (delta,) = (event for event in events if event["type"].endswith("text.delta"))
    assert delta["timings"]["predicted_n"] == 1
    checked(_wired(events))


@given(st.text("RT X-wE", max_size=12), st.sampled_from(["stop", "length", "deadline"]), st.booleans())
def test_any_output(text: str, reason: str, logprobs: bool) -> None:
    response = checked(written(text, reason, logprobs=logprobs))
    assert response["output"]
