"""Chat completions out of what a reader finds: whole and in chunks."""

from __future__ import annotations

from typing import Any

import pytest

from llama_bind.chat_results import ChatShape
from llama_bind.values import PieceEvent, TokenLogprob
from tests.letters import Letters, finish


def whole(text: str, reason: str = "stop", **options: Any) -> Any:
    shape = ChatShape("m", 1, reader=Letters, **options)
    for letter in text:
        shape.add(0, PieceEvent(letter))
    shape.add(0, finish(reason))
    return shape.result()["choices"][0]


def streamed(text: str, reason: str = "stop", **options: Any) -> list[Any]:
    shape = ChatShape("m", 1, reader=Letters, **options)
    chunks = [*shape.opening()]
    for letter in text:
        chunks += shape.chunks(0, PieceEvent(letter), usage=False)
    return [chunk["choices"][0] for chunk in [*chunks, *shape.chunks(0, finish(reason), usage=False)]]


def joined(choices: list[Any]) -> dict[str, Any]:
    """What a client makes of the deltas."""
    message: dict[str, Any] = {"content": "", "reasoning": "", "calls": []}
    for delta in [choice["delta"] for choice in choices]:
        message["content"] += delta.get("content") or ""
        message["reasoning"] += delta.get("reasoning_content", "")
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                assert call["type"] == "function"
                message["calls"].append([call["id"], call["function"]["name"], ""])
            message["calls"][call["index"]][2] += call["function"]["arguments"]
    return message


def test_text_alone_is_as_it_ever_was() -> None:
    choice = whole("T")
    assert choice["message"] == {"role": "assistant", "content": "Let me see."}
    assert choice["finish_reason"] == "stop"
    assert whole("-")["message"] == {"role": "assistant", "content": ""}


def test_reasoning_text_and_two_calls() -> None:
    choice = whole("RTCDE")
    assert choice["message"] == {
        "role": "assistant",
        "content": "Let me see.",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
            {"id": "call_2", "type": "function", "function": {"name": "sub", "arguments": "{}"}},
        ],
    }
    assert choice["finish_reason"] == "tool_calls"
    assert whole("CD")["message"]["content"] is None


def test_chunks_say_the_same_as_the_whole() -> None:
    choices = streamed("RT-CDE")
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert joined(choices) == {
        "content": "Let me see.",
        "reasoning": "hm",
        "calls": [["call_1", "add", '{"a": 1}'], ["call_2", "sub", "{}"]],
    }
    assert [c["finish_reason"] for c in choices] == [None] * (len(choices) - 1) + ["tool_calls"]


def test_what_was_held_back_comes_before_the_end() -> None:
    choices = streamed("Tww")
    assert joined(choices)["content"] == "Let me see.ww"
    assert choices[-1] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert whole("Tww")["message"]["content"] == "Let me see.ww"


@pytest.mark.parametrize("reason", ["length", "deadline", "cancelled"])
def test_a_call_that_is_cut_off_is_given_as_far_as_it_came(reason: str) -> None:
    choice = whole("C", reason)
    assert choice["finish_reason"] == reason
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": '}
    assert streamed("C", reason)[-1]["finish_reason"] == reason


def test_legacy_functions_give_one_function_call() -> None:
    choice = whole("TCDE", legacy=True)
    assert choice["message"]["function_call"] == {"name": "add", "arguments": '{"a": 1}'}
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"
    deltas = [c["delta"]["function_call"] for c in streamed("TCDE", legacy=True) if "function_call" in c["delta"]]
    assert deltas == [{"name": "add", "arguments": ""}, {"arguments": '{"a": '}, {"arguments": "1}"}]


def test_every_choice_is_read_for_itself() -> None:
    shape = ChatShape("m", 2, reader=Letters)
    for index, letter in ((0, "C"), (1, "T"), (0, "D"), (1, "w")):
        shape.chunks(index, PieceEvent(letter), usage=False)
    first, second = (shape.chunks(index, finish(), usage=False) for index in (0, 1))
    assert first[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert [c["choices"][0]["delta"] for c in second] == [{"content": "w"}, {}]


def test_log_probabilities_come_with_the_first_chunk_of_their_piece() -> None:
    entry = TokenLogprob(7, b"C", -0.5)
    shape = ChatShape("m", 1, reader=Letters, logprobs=True)
    chunks = shape.chunks(0, PieceEvent("C", (7,), (entry,)), usage=False)
    assert [bool(c["choices"][0]["logprobs"]) for c in chunks] == [True, False]
    silent = shape.chunks(0, PieceEvent("-", (7,), (entry,)), usage=False)
    assert silent[0]["choices"][0]["delta"] == {}
    assert silent[0]["choices"][0]["logprobs"]


def test_results_are_parsed_where_there_is_text_to_parse() -> None:
    seen = []

    def parse(text: str, reason: str) -> dict[str, Any]:
        seen.append((text, reason))
        return {"parsed": len(text)}

    assert whole("T", parse=parse)["message"]["parsed"] == 11
    assert "parsed" not in whole("CD", parse=parse)["message"]
    assert seen == [("Let me see.", "stop")]
