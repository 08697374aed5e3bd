"""LlamaIndex in this process: the language model and the embedding, with LlamaIndex's own parts around them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, ThinkingBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_bind import Llama
from llama_bind.errors import InputError, UnknownOptionError, UnsupportedError
from llama_bind.hub import resolve_model
from llama_bind.integrations.llama_index import LlamaBind, LlamaBindEmbedding
from tests.judges.conftest import MODEL
from tests.judges.wanted import Person

QUESTION = ChatMessage(role="user", content="What is the capital of France?")
BEGINNING = "The capital of France is"


class Place(BaseModel, extra="forbid"):
    """Where."""

    city: Literal["Paris", "Rome"]


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


TOOL = FunctionTool.from_defaults(weather, fn_schema=Place)


@functools.cache
def default() -> Llama:
    """The default model, for texts and embeddings, loaded once for all tests."""
    return Llama(resolve_model(MODEL), n_ctx=2048, n_threads=1, n_seq_max=8, embedding=True)


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    default().close()


def model(**options: Any) -> LlamaBind:
    return LlamaBind(llm=default(), **{"temperature": 0, "max_tokens": 16, **options})


def test_the_text_is_that_of_the_model_itself() -> None:
    own: Any = default().create_completion(BEGINNING, temperature=0, max_tokens=16)
    assert model().complete(BEGINNING).text == own["choices"][0]["text"]
    assert "".join(piece.delta or "" for piece in model().stream_complete(BEGINNING)) == own["choices"][0]["text"]
    said: Any = default().create_chat_completion(
        [{"role": "user", "content": QUESTION.content}], temperature=0, max_tokens=16
    )
    text = said["choices"][0]["message"]["content"]
    assert model().chat([QUESTION]).message.content == text
    pieces = list(model().stream_chat([QUESTION]))
    assert pieces[-1].message.content == text
    assert "".join(piece.delta or "" for piece in pieces) == text


def test_tasks() -> None:
    async def work() -> list[str]:
        llm = model()
        several = await asyncio.gather(*(llm.achat([QUESTION]) for _ in range(8)))
        pieces = [piece.delta or "" async for piece in await llm.astream_chat([QUESTION])]
        return [*(str(answer.message.content) for answer in several), "".join(pieces)]

    assert set(asyncio.run(work())) == {model().chat([QUESTION]).message.content}

    async def texts() -> list[str]:
        llm = model()
        pieces = [piece.delta or "" async for piece in await llm.astream_complete(BEGINNING)]
        return [(await llm.acomplete(BEGINNING)).text, "".join(pieces)]

    assert asyncio.run(texts()) == [model().complete(BEGINNING).text] * 2


def test_it_loads_a_model_and_says_what_it_is() -> None:
    llm = LlamaBind(model=MODEL, n_ctx=256, n_threads=1, max_tokens=4)
    with llm.llm:
        assert llm.metadata.context_window == 256
        assert llm.metadata.num_output == 4
        assert llm.metadata.is_function_calling_model
        assert llm.metadata.model_name == MODEL
        assert "temperature" not in llm.to_dict()["options"]


def test_prompts_of_the_callers_own() -> None:
    llm = model(completion_to_prompt=lambda text: f"Q: {text}\nA:")
    own: Any = default().create_completion("Q: Is water wet?\nA:", temperature=0, max_tokens=16)
    assert llm.complete("Is water wet?").text == own["choices"][0]["text"]
    assert llm.complete("Q: Is water wet?\nA:", formatted=True).text == own["choices"][0]["text"]
    assert llm.predict(PromptTemplate("What is the capital of {country}?"), country="France")


def test_functions_there_and_back() -> None:
    llm = model(max_tokens=100)
    answer = llm.chat_with_tools([TOOL], user_msg="What is the weather in Paris?", tool_required=True)
    (call,) = llm.get_tool_calls_from_response(answer)
    assert call.tool_name == "weather"
    assert call.tool_kwargs["city"] in ("Paris", "Rome")
    result = ChatMessage(role=MessageRole.TOOL, content="sunny", additional_kwargs={"tool_call_id": call.tool_id})
    history = [ChatMessage(role="user", content="What is the weather in Paris?"), answer.message, result]
    assert llm.chat(history).message.content
    streamed = list(llm.stream_chat_with_tools([TOOL], user_msg="What is the weather in Paris?", tool_required=True))
    (again,) = llm.get_tool_calls_from_response(streamed[-1])
    assert again.tool_kwargs == call.tool_kwargs
    made = asyncio.run(llm.apredict_and_call([TOOL], user_msg="What is the weather in Rome?", tool_required=True))
    assert made.sources[0].content.startswith("sunny in ")


def test_values() -> None:
    prompt = PromptTemplate("Invent a person from {country}.")
    assert isinstance(model(max_tokens=100).structured_predict(Person, prompt, country="Peru"), Person)
    made = model(max_tokens=100).as_structured_llm(Person).chat([ChatMessage(role="user", content="Invent a person.")])
    assert isinstance(made.raw, Person)
    chosen = model().chat([QUESTION], choice=["Paris", "Rome"]).message.content
    assert chosen in ("Paris", "Rome")


def test_messages_of_every_kind() -> None:
    thought = ChatMessage(
        role="assistant", blocks=[ThinkingBlock(content="Hm."), *ChatMessage(content="Paris.").blocks]
    )
    assert model().chat([ChatMessage(role="system", content="Be brief."), QUESTION, thought, QUESTION]).message.content
    with pytest.raises(UnsupportedError, match="ImageBlock"):
        model().chat([ChatMessage(role="user", blocks=[ImageBlock(url="https://example.com/a.png")])])


def test_what_is_refused() -> None:
    with pytest.raises(UnknownOptionError, match="did you mean 'temperature'"):
        model(temperatur=0)
    with pytest.raises(InputError, match="n_ctx"):
        model(n_ctx=512)
    with pytest.raises(InputError, match="calls no function"):
        model().get_tool_calls_from_response(model().chat([QUESTION]))
    cut = model(max_tokens=12).chat_with_tools([TOOL], user_msg="Weather?", tool_required=True)
    with pytest.raises(InputError, match="cut off"):
        model().get_tool_calls_from_response(cut)


def test_embeddings_and_an_index_over_them() -> None:
    made = LlamaBindEmbedding(llm=default())
    vectors = np.array(made.get_text_embedding_batch(["How do I bake bread?", "The moon is far."] * 6))
    assert vectors.shape == (12, 576)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert asyncio.run(made.aget_query_embedding("The moon is far.")) == pytest.approx(vectors[1].tolist(), abs=1e-3)
    marked = LlamaBindEmbedding(llm=default(), query_prefix="query: ", text_prefix="passage: ")
    assert marked.get_query_embedding("moon") == pytest.approx(made.get_text_embedding("query: moon"), abs=1e-3)
    assert marked.get_text_embedding("moon") == pytest.approx(made.get_text_embedding("passage: moon"), abs=1e-3)
    texts = ["Bread is baked in an oven at 230 degrees.", "The moon is far away from the earth."]
    Settings.llm = model()
    index = VectorStoreIndex.from_documents([Document(text=text) for text in texts], embed_model=made)
    answer = index.as_query_engine(similarity_top_k=1, llm=model()).query("How hot is the oven for bread?")
    assert answer.source_nodes[0].get_content() in texts
    assert str(answer)
