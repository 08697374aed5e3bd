"""LlamaIndex's ``OpenAILike``, ``OpenAI`` and their embeddings against the server."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import numpy as np
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from tests.judges.wanted import Person

QUESTION = "What is the capital of France?"
BEGINNING = "The capital of France is"


def like(api: str, **options: Any) -> OpenAILike:
    given = {"temperature": 0, "max_tokens": 16, "max_retries": 0, "context_window": 2048, **options}
    return OpenAILike(model="any", api_base=api, api_key="none", **given)


def chatting(api: str, **options: Any) -> OpenAILike:
    return like(api, is_chat_model=True, is_function_calling_model=True, **options)


def openai(api: str, **options: Any) -> OpenAI:
    """The class wants to know its model: any name that it knows will do, since one model is served."""
    return OpenAI(
        model="gpt-4o-mini",
        api_base=api,
        api_key="none",
        **{"temperature": 0, "max_tokens": 16, "max_retries": 0, **options},
    )


def test_completions(api: str) -> None:
    llm = like(api, is_chat_model=False)
    whole = llm.complete(BEGINNING)
    assert whole.text.strip().startswith("Paris")
    pieces = list(llm.stream_complete(BEGINNING))
    assert len(pieces) > 2
    assert pieces[-1].text == whole.text
    assert "".join(piece.delta or "" for piece in pieces) == whole.text

    async def work() -> list[str]:
        fresh = like(api, is_chat_model=False)
        streamed = [piece.delta or "" async for piece in await fresh.astream_complete(BEGINNING)]
        return [(await fresh.acomplete(BEGINNING)).text, "".join(streamed)]

    assert asyncio.run(work()) == [whole.text] * 2


@pytest.mark.parametrize("make", [chatting, openai])
def test_chats(api: str, make: Any) -> None:
    llm = make(api)
    messages = [
        ChatMessage(role="system", content="You answer in a few words."),
        ChatMessage(role="user", content=QUESTION),
    ]
    whole = llm.chat(messages).message.content
    assert whole
    pieces = list(llm.stream_chat(messages))
    assert "".join(piece.delta or "" for piece in pieces) == whole
    assert llm.complete(QUESTION).text, "a completion is a chat of one message"

    async def work() -> list[str]:
        fresh = make(api)
        several = await asyncio.gather(*(fresh.achat(messages) for _ in range(8)))
        streamed = [piece.delta or "" async for piece in await fresh.astream_chat(messages)]
        return [*(str(answer.message.content) for answer in several), "".join(streamed)]

    assert set(asyncio.run(work())) == {whole}


def test_chats_as_prompts_of_the_callers_own(api: str) -> None:
    """`messages_to_prompt` and `completion_to_prompt`, as people have them for models without a template."""
    llm = like(
        api,
        is_chat_model=False,
        messages_to_prompt=lambda messages: "".join(f"{m.role.value}: {m.content}\n" for m in messages) + "assistant:",
        completion_to_prompt=lambda text: f"user: {text}\nassistant:",
    )
    assert llm.chat([ChatMessage(role="user", content=QUESTION)]).message.content
    assert llm.complete(QUESTION).text


class Place(BaseModel, extra="forbid"):
    """Where."""

    city: Literal["Paris", "Rome"]


@pytest.mark.parametrize("make", [chatting, openai])
def test_tools(api: str, make: Any) -> None:
    asked: list[str] = []

    def weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return f"sunny in {city}"

    llm = make(api, max_tokens=100)
    tool = FunctionTool.from_defaults(fn=weather, fn_schema=Place)
    answer = llm.chat_with_tools([tool], user_msg="What is the weather in Paris?", tool_required=True)
    (call,) = llm.get_tool_calls_from_response(answer)
    assert call.tool_name == "weather"
    assert call.tool_kwargs["city"] in ("Paris", "Rome")
    made = llm.predict_and_call([tool], user_msg="What is the weather in Paris?", tool_required=True)
    assert made.sources[0].content.startswith("sunny in ")
    assert asked


def test_structured_output(api: str) -> None:
    llm = chatting(api, max_tokens=100).as_structured_llm(Person)
    made = llm.chat([ChatMessage(role="user", content="Invent a person.")]).raw
    assert isinstance(made, Person)


def test_embeddings(api: str) -> None:
    for made in (
        OpenAILikeEmbedding(model_name="any", api_base=api, api_key="none", embed_batch_size=8, max_retries=0),
        OpenAIEmbedding(api_base=api, api_key="none", max_retries=0),
    ):
        vectors = np.array(made.get_text_embedding_batch(["How do I bake bread?", "The moon is far."] * 6))
        assert vectors.shape == (12, 576)
        assert made.get_query_embedding("The moon is far.") == pytest.approx(vectors[1].tolist(), abs=1e-3)
        again = asyncio.run(made.aget_text_embedding("The moon is far."))
        assert again == pytest.approx(vectors[1].tolist(), abs=1e-3)
