from __future__ import annotations

from typing import Any

import pytest

from llama_bind.chat_results import ChatShape
from llama_bind.results import TextShape, timings_dict, token_text
from llama_bind.values import FinishEvent, PieceEvent, Timings, TokenLogprob, Usage

TIMINGS = Timings(queued=0.1, prompt=0.5, generation=2.0, prompt_tokens=10, generated_tokens=5)


def finish(reason: Any = "stop", prompt: int = 10, made: int = 5, cached: int = 2) -> FinishEvent:
    return FinishEvent(reason, Usage(prompt, made, cached), TIMINGS, 42, None)


def test_a_completion_of_two_choices() -> None:
    shape = TextShape("m", 2)
    shape.add(1, PieceEvent("b"))
    shape.add(0, PieceEvent("a"))
    shape.add(0, PieceEvent("A"))
    shape.add(0, finish("length"))
    shape.add(1, finish("stop", made=3))
    result = shape.result()
    assert [(c["index"], c["text"], c["finish_reason"]) for c in result["choices"]] == [
        (0, "aA", "length"),
        (1, "b", "stop"),
    ]
    assert result["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 8,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    assert (result["object"], result["model"], result["seed"]) == ("text_completion", "m", 42)


def test_timings_have_the_servers_names_and_do_not_count_the_first_token_twice() -> None:
    timings = timings_dict(TIMINGS, Usage(12, 5, 2))
    assert timings["prompt_per_second"] == pytest.approx(20)
    assert timings["predicted_per_second"] == pytest.approx(2)
    assert timings["predicted_per_token_ms"] == pytest.approx(500)
    assert (timings["cache_n"], timings["prompt_n"], timings["predicted_n"]) == (2, 10, 5)
    assert timings["queued_ms"] == pytest.approx(1e3 * TIMINGS.queued)
    empty = timings_dict(Timings(0, 0, 0, 0, 0), Usage(0, 0))
    assert empty["predicted_per_second"] == empty["prompt_per_second"] == 0


def test_chunks_of_a_completion_with_echo_and_logprobs() -> None:
    prompt = [None, TokenLogprob(7, b"lo", -0.5)]
    shape = TextShape("m", 1, echo="hello", logprobs=True, prompt_logprobs=lambda: prompt)
    assert shape.opening() == []
    first = shape.chunks(
        0, PieceEvent("!", (9,), (TokenLogprob(9, b"!", -1.0, (TokenLogprob(9, b"!", -1.0),)),)), usage=True
    )
    assert [c["choices"][0]["text"] for c in first] == ["hello", "!"]
    assert first[0]["choices"][0]["logprobs"] == {
        "tokens": ["", "lo"],
        "token_logprobs": [None, -0.5],
        "top_logprobs": [None, {"lo": -0.5}],
        "text_offset": [0, 0],
    }
    second = first[1]["choices"][0]["logprobs"]
    assert second is not None
    assert second["text_offset"] == [2]
    last = shape.chunks(0, finish(), usage=True)
    assert last[0]["choices"][0]["finish_reason"] == "stop"
    assert "timings" not in last[0]
    usage = shape.closing(usage=True)
    assert usage[0]["choices"] == []
    assert usage[0]["usage"] is not None
    assert usage[0]["usage"]["completion_tokens"] == 5
    assert TextShape("m", 1).closing(usage=False) == []


def test_chunks_without_usage_end_with_the_timings() -> None:
    shape = ChatShape("m", 1)
    assert shape.opening()[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert shape.chunks(0, PieceEvent("", (3,)), usage=False) == []
    assert shape.chunks(0, PieceEvent("x"), usage=False)[0]["choices"][0]["delta"] == {"content": "x"}
    last = shape.chunks(0, finish(), usage=False)[0]
    assert last["timings"]["predicted_n"] == 5
    assert last["seed"] == 42


def test_chat_logprobs_carry_bytes() -> None:
    shape = ChatShape("m", 1, logprobs=True)
    top = (TokenLogprob(1, b"\xc3", -0.1), TokenLogprob(2, b"b", -2.0))
    shape.add(0, PieceEvent("", (1,), (TokenLogprob(1, b"\xc3", -0.1, top),)))
    shape.add(0, finish())
    logprobs = shape.result()["choices"][0]["logprobs"]
    assert logprobs is not None
    assert logprobs["content"] is not None
    assert logprobs["content"][0]["bytes"] == [0xC3]
    assert [t["bytes"] for t in logprobs["content"][0]["top_logprobs"]] == [[0xC3], [ord("b")]]


def test_tokens_that_are_no_characters_are_written_as_bytes() -> None:
    assert token_text("é".encode()) == "é"
    assert token_text(b"\xf0\x9f") == "bytes:\\xf0\\x9f"
