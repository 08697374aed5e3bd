"""The Responses API with the official client for Node.js, and as LangChain uses it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.judges.test_npm_openai import run_node

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def found(node: str, api: str) -> Any:
    return run_node(node, "responses.mjs", api)


def test_node(found: Any) -> None:
    assert found["whole"]
    assert found["whole"] == found["streamed"] == found["helper"] == found["background"]
    first, answer, second = found["conversation"]
    assert (first, second) == ("My name is Ada.", QUESTION)
    assert answer
    assert found["parsed"] == ["name", "age"]
    assert found["calls"] == "weather"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Colour(BaseModel, extra="forbid"):
    name: str
    warm: bool


def chat_of(api: str, **given: Any) -> ChatOpenAI:
    options: dict[str, Any] = {"temperature": 0, "max_tokens": 24, "use_responses_api": True, **given}
    return ChatOpenAI(model="any", base_url=api, api_key="none", **options)


def test_langchain_says_the_same_whole_and_streamed(api: str) -> None:
    chat = chat_of(api)
    made = chat.invoke(QUESTION)
    assert made.text
    assert made.usage_metadata is not None
    assert made.usage_metadata["output_tokens"] <= 24
    whole: Any = None
    for chunk in chat.stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert isinstance(whole, AIMessageChunk)
    assert whole.text == made.text


def test_langchain_goes_on_from_a_stored_response(api: str) -> None:
    chat = chat_of(api, use_previous_response_id=True)
    first = chat.invoke("My name is Ada.")
    said = [HumanMessage("My name is Ada."), first, HumanMessage(QUESTION)]
    stateless = chat_of(api).invoke([said[0], AIMessage(first.text), said[2]])
    assert chat.invoke(said).text == stateless.text


def test_langchain_calls_tools_and_parses(api: str) -> None:
    chat = chat_of(api, max_tokens=100)
    call = chat.bind_tools([add], tool_choice="add").invoke("What is 2+3?")
    assert call.tool_calls[0]["name"] == "add"
    results = [ToolMessage("5", tool_call_id=one["id"]) for one in call.tool_calls]
    assert chat.bind_tools([add], tool_choice="none").invoke([HumanMessage("2+3?"), call, *results]).text
    assert isinstance(chat.with_structured_output(Colour).invoke("What colour is the sky?"), Colour)
