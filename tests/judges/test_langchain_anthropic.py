"""LangChain's ``ChatAnthropic`` against the server's Messages API."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import anthropic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from tests.judges import wanted
from tests.judges.wanted import Person

QUESTION = "What is the capital of France?"
weather = tool(wanted.weather)


def chat_of(base: str, **options: Any) -> ChatAnthropic:
    given = {"temperature": 0, "max_tokens": 16, "max_retries": 0, "timeout": 60, **options}
    return ChatAnthropic(model="any", base_url=base, api_key="none", **given)


def test_invoke_and_stream(base: str) -> None:
    chat = chat_of(base)
    whole = chat.invoke(QUESTION)
    assert isinstance(whole, AIMessage)
    assert whole.content
    assert whole.usage_metadata is not None
    assert 0 < whole.usage_metadata["output_tokens"] <= 16
    assert whole.response_metadata["stop_reason"] in ("end_turn", "max_tokens")
    chunks = list(chat.stream(QUESTION))
    assert len(chunks) > 3
    added: Any = sum(chunks[1:], chunks[0])
    assert isinstance(added, AIMessageChunk)
    assert added.text == whole.text
    assert added.usage_metadata is not None
    assert added.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"]
    assert added.usage_metadata["input_tokens"] == whole.usage_metadata["input_tokens"]


def test_asynchronous(base: str) -> None:
    chat = chat_of(base, max_tokens=8)
    questions = [f"Count from {i}: " for i in range(4)]

    async def work() -> tuple[list[Any], str]:
        answers: list[Any] = await chat.abatch(questions)
        return answers, "".join([chunk.text async for chunk in chat.astream(questions[0])])

    answers, streamed = asyncio.run(work())
    assert [answer.text for answer in answers[:2]] == [chat.invoke(question).text for question in questions[:2]]
    assert streamed == answers[0].text


def test_a_system_prompt_and_a_stop_sequence(base: str) -> None:
    messages = [SystemMessage("You are brief."), HumanMessage(QUESTION)]
    assert chat_of(base).invoke(messages).text
    stopped = chat_of(base, stop_sequences=["Paris"]).invoke(messages)
    assert "Paris" not in stopped.text
    assert stopped.response_metadata["stop_reason"] in ("stop_sequence", "end_turn", "max_tokens")


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_there_and_back(base: str, streamed: bool) -> None:
    chat = chat_of(base, max_tokens=100)
    asked = HumanMessage("What is the weather in Paris?")
    bound = chat.bind_tools([weather], tool_choice="any", parallel_tool_calls=False)
    if streamed:
        chunks = list(bound.stream([asked]))
        answer: Any = sum(chunks[1:], chunks[0])
    else:
        answer = bound.invoke([asked])
    (call,) = answer.tool_calls
    assert call["name"] == "weather"
    assert call["args"]["city"] in ("Paris", "Rome")
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    last = chat_of(base).bind_tools([weather], tool_choice={"type": "none"}).invoke([asked, answer, result])
    assert last.text
    assert last.tool_calls == []


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(base: str, method: Literal["json_schema", "function_calling"]) -> None:
    chat = chat_of(base, max_tokens=100).with_structured_output(Person, method=method)
    assert isinstance(chat.invoke("Invent a person."), Person)


def test_tokens_are_counted_by_the_server(base: str) -> None:
    chat = chat_of(base)
    counted = chat.get_num_tokens_from_messages([HumanMessage(QUESTION)])
    usage = chat.invoke(QUESTION).usage_metadata
    assert usage is not None
    assert counted == usage["input_tokens"]
    assert chat.get_num_tokens_from_messages([HumanMessage(QUESTION)], tools=[weather]) > counted


def test_a_mistake_is_an_error_of_the_client(base: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        chat_of(base, temperature=-1).invoke(QUESTION)
