"""LangChain's community classes for llama-cpp-python, on the default model, over `import llama_cpp`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import llama_bind

llama_bind.install_as_llama_cpp()

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the package is no longer developed
    from langchain_community.chat_models import ChatLlamaCpp
    from langchain_community.embeddings import LlamaCppEmbeddings
    from langchain_community.llms import LlamaCpp
from langchain_core.messages import HumanMessage  # noqa: E402
from langchain_core.tools import tool  # noqa: E402
from pydantic import BaseModel, Field  # noqa: E402

from llama_bind.hub import resolve_model  # noqa: E402
from tests.judges.conftest import MODEL  # noqa: E402

PATH = str(resolve_model(MODEL))
OPTIONS: dict[str, Any] = {"model_path": PATH, "n_ctx": 1024, "n_threads": 1, "temperature": 0.0, "verbose": False}
PROMPT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
QUESTION = [HumanMessage("What is the capital of France?")]


@pytest.fixture(scope="module")
def llm() -> Iterator[Any]:
    made = LlamaCpp(**OPTIONS, max_tokens=16)
    yield made
    made.client.close()


@pytest.fixture(scope="module")
def chat() -> Iterator[Any]:
    made = ChatLlamaCpp(**OPTIONS, max_tokens=64)
    yield made
    made.client.close()


def test_invoke_and_stream(llm: Any) -> None:
    text = llm.invoke(PROMPT, stop=["\n\n"])
    assert "Paris" in text
    assert "".join(llm.stream(PROMPT, stop=["\n\n"])) == text
    assert llm.get_num_tokens("Hello world") >= 2
    assert type(llm.client).__module__ == "llama_bind.compat.llama"


def test_a_grammar() -> None:
    made = LlamaCpp(**OPTIONS, max_tokens=16, grammar='root ::= "Rome" | "Paris"')
    assert made.invoke(PROMPT) in ("Rome", "Paris")
    made.client.close()


def test_chats(chat: Any) -> None:
    answer = chat.invoke(QUESTION)
    assert "Paris" in answer.content
    assert "".join(str(chunk.content) for chunk in chat.stream(QUESTION)) == answer.content


def test_tools_and_structured_output(chat: Any) -> None:
    @tool
    def weather(city: str) -> str:
        """Tells the weather of a city."""
        return city

    choice = {"type": "function", "function": {"name": "weather"}}
    called = chat.bind_tools([weather], tool_choice=choice).invoke("What is the weather in Paris?")
    assert called.tool_calls[0]["name"] == "weather"
    assert isinstance(called.tool_calls[0]["args"]["city"], str)

    class City(BaseModel, extra="forbid"):
        """A city."""

        name: str = Field(max_length=20)

    found = chat.with_structured_output(City).invoke("What is the capital of France?")
    assert isinstance(found, City)
    assert found.name
    json.dumps(found.model_dump())


def test_embeddings() -> None:
    made = LlamaCppEmbeddings(model_path=PATH, n_ctx=256, n_threads=1, verbose=False)
    one = made.embed_query("Hello")
    several = made.embed_documents(["Hello", "world"])
    assert len(one) == len(several[0]) == 576
    assert one == pytest.approx(several[0], abs=1e-3)
    made.client.close()
