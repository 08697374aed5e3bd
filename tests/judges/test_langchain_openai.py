"""LangChain's ``ChatOpenAI``, ``OpenAI`` and ``OpenAIEmbeddings`` against the server."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from tests.judges import wanted
from tests.judges.wanted import Person

QUESTION = "What is the capital of France?"
weather = tool(wanted.weather)


def chat_model(api: str, **options: Any) -> ChatOpenAI:
    given = {"temperature": 0, "max_tokens": 16, "max_retries": 0, "timeout": 60, **options}
    return ChatOpenAI(model="any", base_url=api, api_key="none", **given)


@pytest.fixture(scope="module")
def chat(api: str) -> ChatOpenAI:
    return chat_model(api)


def test_invoke_and_stream(chat: ChatOpenAI) -> None:
    whole = chat.invoke(QUESTION)
    assert isinstance(whole, AIMessage)
    assert whole.content
    assert whole.usage_metadata is not None
    assert 0 < whole.usage_metadata["output_tokens"] <= 16
    assert whole.response_metadata["finish_reason"] in ("stop", "length")
    chunks = list(chat.stream(QUESTION, stream_usage=True))
    assert len(chunks) > 3
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content
    assert (
        sum((c.usage_metadata or {}).get("output_tokens", 0) for c in chunks) == whole.usage_metadata["output_tokens"]
    )


def test_asynchronous(api: str) -> None:
    """In one event loop: the client keeps its connections, which belong to a loop, for all of its objects."""
    chat = chat_model(api, max_tokens=8)
    questions = [f"Count from {i}: " for i in range(8)]

    async def work() -> tuple[list[Any], str, list[list[float]]]:
        answers: list[Any] = await chat.abatch(questions)
        streamed = "".join([str(chunk.content) async for chunk in chat.astream(QUESTION)])
        return answers, streamed, await embeddings(api).aembed_documents(["The moon is far."])

    answers, streamed, vectors = asyncio.run(work())
    assert [answer.content for answer in answers[:3]] == [chat.invoke(question).content for question in questions[:3]]
    assert all(answer.content for answer in answers)
    assert streamed == chat.invoke(QUESTION).content
    assert vectors[0] == pytest.approx(embeddings(api).embed_query("The moon is far."), abs=1e-3)


def embeddings(api: str) -> OpenAIEmbeddings:
    # check_embedding_ctx_length=False: texts go to the server, which has the model's own tokenizer.
    return OpenAIEmbeddings(model="any", base_url=api, api_key="none", check_embedding_ctx_length=False)


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_there_and_back(api: str, streamed: bool) -> None:
    chat = chat_model(api, max_tokens=100)
    asked = HumanMessage("What is the weather in Paris?")
    bound = chat.bind_tools([weather], tool_choice="required", parallel_tool_calls=False)
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
    last = chat.bind_tools([weather], tool_choice="none").invoke([asked, answer, result])
    assert last.content
    assert last.tool_calls == []


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(api: str, method: Literal["json_schema", "function_calling"]) -> None:
    # strict: no members but these; else a model may write others until max_tokens.
    chat = chat_model(api, max_tokens=100).with_structured_output(Person, method=method, strict=True)
    made = chat.invoke("Invent a person.")
    assert isinstance(made, Person)


def test_log_probabilities_and_several_answers(api: str) -> None:
    answer = chat_model(api, logprobs=True, top_logprobs=2).invoke(QUESTION)
    content = answer.response_metadata["logprobs"]["content"]
    assert len(content) == answer.response_metadata["token_usage"]["completion_tokens"]
    result = chat_model(api, n=3, temperature=1).generate([[HumanMessage(QUESTION)]])
    assert len(result.generations[0]) == 3


def test_completions(api: str) -> None:
    model = OpenAI(model="any", base_url=api, api_key="none", temperature=0, max_tokens=4, max_retries=0)
    assert model.invoke("The capital of France is").startswith(" Paris")
    assert "".join(model.stream("The capital of France is")).startswith(" Paris")
    assert len(model.batch(["One, two,", "Red, green,", "A, B,"])) == 3


def test_embeddings(api: str) -> None:
    texts = ["How do I bake bread?", "Bread is baked in an oven.", "The moon is far."]
    vectors = np.array(embeddings(api).embed_documents(texts))
    assert vectors.shape == (3, 576)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)
    assert embeddings(api).embed_query("The moon is far.") == pytest.approx(vectors[2].tolist(), abs=1e-3)
