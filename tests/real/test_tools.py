"""The default model calls Python functions: forced to, for it is small, and held to their schemas."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Iterator
from typing import Any

import pytest

from llama_bind import AsyncLlama, Llama
from llama_bind.agent import RunFinished, TextDelta, ToolCallArguments, ToolCallStart, ToolFinished, ToolStarted
from llama_bind.hub import resolve_model

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]
OPTIONS: dict[str, Any] = {
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_tokens": 96,
    "temperature": 0,
    "max_rounds": 1,
}


class Sign(enum.Enum):
    PLUS = "plus"
    MINUS = "minus"


@dataclasses.dataclass
class Numbers:
    """Two numbers."""

    first: int
    second: int


def calculate(numbers: Numbers, sign: Sign) -> int:
    """Calculates with two numbers.

    Args:
        numbers: The numbers.
        sign: What to do with them.
    """
    assert isinstance(numbers, Numbers)
    return numbers.first + numbers.second if sign is Sign.PLUS else numbers.first - numbers.second


async def calculate_later(numbers: Numbers, sign: Sign) -> int:
    """Calculates with two numbers."""
    await asyncio.sleep(0)
    return calculate(numbers, sign)


@pytest.fixture(scope="module")
def llm() -> Iterator[Llama]:
    with Llama(resolve_model("smollm2-135m-instruct"), n_ctx=2048, n_threads=1) as made:
        yield made


def test_a_forced_call_is_made_run_and_answered(llm: Llama) -> None:
    run = llm.run_tools(QUESTION, [calculate], **OPTIONS)
    assert run.limited
    first = run.outcomes[0]
    assert first.kind == "result"
    assert first.call.values is not None
    assert isinstance(first.call.values["numbers"], Numbers)
    assert isinstance(first.call.values["sign"], Sign)
    assert [m["role"] for m in run.new_messages] == ["assistant", *["tool"] * len(run.outcomes), "assistant"]
    assert run.text
    assert run.usage.cached_tokens > 100  # the second prompt begins with the first


def test_a_stream_does_the_same(llm: Llama) -> None:
    run = llm.run_tools(QUESTION, [calculate], **OPTIONS)
    events = list(llm.stream_tools(QUESTION, [calculate], **OPTIONS))
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert [(o.kind, o.call.arguments) for o in last.result.outcomes] == [
        (o.kind, o.call.arguments) for o in run.outcomes
    ]
    assert last.result.text == run.text
    kinds = [type(event) for event in events]
    started, finished = kinds.index(ToolStarted), kinds.index(ToolFinished)
    assert kinds.index(ToolCallStart) < kinds.index(ToolCallArguments) < started < finished
    written = "".join(event.text for event in events if isinstance(event, ToolCallArguments) and event.index == 0)
    assert written == run.outcomes[0].call.arguments
    assert "".join(event.text for event in events[finished:] if isinstance(event, TextDelta)) == run.text


def test_asyncio_does_the_same(llm: Llama) -> None:
    run = llm.run_tools(QUESTION, [calculate_later], **OPTIONS)

    async def work() -> None:
        both = AsyncLlama.of(llm)
        again = await both.run_tools(QUESTION, [calculate_later], **OPTIONS)
        assert [o.value for o in again.outcomes] == [o.value for o in run.outcomes]
        assert again.text == run.text
        events = [event async for event in both.stream_tools(QUESTION, [calculate_later], **OPTIONS)]
        assert isinstance(events[-1], RunFinished)
        assert events[-1].result.text == run.text

    asyncio.run(asyncio.wait_for(work(), 300))


def test_leaving_a_stream_frees_the_engine(llm: Llama) -> None:
    stream = llm.stream_tools(QUESTION, [calculate], **OPTIONS)
    next(stream)
    stream.close()
    for _ in range(500):
        if llm.stats.running == 0:
            break
        asyncio.run(asyncio.sleep(0.01))
    assert llm.stats.running == 0


def test_a_tool_that_raises_ends_nothing(llm: Llama) -> None:
    def look_up(city: str) -> int:
        """The number of people in a city."""
        raise KeyError(city)

    run = llm.run_tools([{"role": "user", "content": "How many people live in Rome?"}], [look_up], **OPTIONS)
    assert run.outcomes[0].kind == "error"
    assert run.outcomes[0].content.startswith("Error: KeyError: ")
    assert run.finish_reason in ("stop", "length")


def test_a_call_that_is_cut_is_not_run(llm: Llama) -> None:
    run = llm.run_tools(QUESTION, [calculate], **{**OPTIONS, "max_tokens": 12})
    assert run.finish_reason == "length"
    assert run.outcomes == []
