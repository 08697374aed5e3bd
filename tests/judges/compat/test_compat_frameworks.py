"""Frameworks that stand on llama-cpp-python, on the default model, over `import llama_cpp`."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Literal

import llama_bind

llama_bind.install_as_llama_cpp()

import llama_cpp  # noqa: E402  # the alias
from pydantic import BaseModel, ConfigDict, Field  # noqa: E402

from llama_bind.hub import resolve_model  # noqa: E402
from tests.judges.conftest import MODEL  # noqa: E402

PATH = str(resolve_model(MODEL))
PROMPT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
MESSAGES: Any = [{"role": "user", "content": "What is the capital of France?"}]


class City(BaseModel):
    """A city."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=20)


@functools.cache
def model() -> Any:
    return llama_cpp.Llama(model_path=PATH, n_ctx=1024, n_threads=1, verbose=False)


def test_llama_index() -> None:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.llama_cpp import LlamaCPP

    made = LlamaCPP(
        model_path=PATH,
        temperature=0.0,
        max_new_tokens=16,
        context_window=1024,
        model_kwargs={"n_threads": 1},
        generate_kwargs={},
        messages_to_prompt=lambda messages: (
            f"<|im_start|>user\n{messages[-1].content}<|im_end|>\n<|im_start|>assistant\n"
        ),
        completion_to_prompt=lambda text: f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n",
        verbose=False,
    )
    whole = made.complete("What is the capital of France?").text
    assert "Paris" in whole
    assert list(made.stream_complete("What is the capital of France?"))[-1].text == whole
    assert "Paris" in str(
        made.chat([ChatMessage(role="user", content="What is the capital of France?")]).message.content
    )


def test_guidance() -> None:
    from guidance import gen, models, select

    lm = models.LlamaCpp(PATH, n_ctx=1024, n_threads=1, echo=False)
    lm += "Question: What is the capital of France?\nAnswer: " + gen("answer", max_tokens=8, temperature=0.0)
    assert "Paris" in lm["answer"]
    lm += "\nIs that in Europe? " + select(["yes", "no"], name="choice")
    assert lm["choice"] in ("yes", "no")


def test_outlines() -> None:
    import outlines

    made = outlines.from_llamacpp(model())
    assert made(PROMPT, Literal["Paris", "Rome"], backend="llguidance") in ("Paris", "Rome")
    assert City.model_validate_json(made("A city as JSON: ", City, backend="llguidance", max_tokens=60)).name


def test_llguidance() -> None:
    import llguidance
    import llguidance.llamacpp

    vocab = llama_cpp.llama_model_get_vocab(model().model)
    tokenizer = llguidance.llamacpp.lltokenizer_from_vocab(vocab)
    tokens = tokenizer.tokenize_str("Hello world")
    assert tokens == model().tokenize(b"Hello world", add_bos=False)


def test_lm_format_enforcer() -> None:
    from lmformatenforcer import JsonSchemaParser
    from lmformatenforcer.integrations.llamacpp import build_llamacpp_logits_processor

    processor = build_llamacpp_logits_processor(model(), JsonSchemaParser(City.model_json_schema()))
    processors = llama_cpp.LogitsProcessorList([processor])
    result = model()("A city as JSON: ", logits_processor=processors, max_tokens=60, temperature=0.0)
    assert City.model_validate_json(result["choices"][0]["text"]).name


def test_haystack() -> None:
    from haystack.dataclasses import ChatMessage
    from haystack_integrations.components.generators.llama_cpp import LlamaCppChatGenerator

    options: dict[str, Any] = {"model_kwargs": {"n_threads": 1, "verbose": False}}
    chat = LlamaCppChatGenerator(model=PATH, n_ctx=512, n_batch=128, **options)
    chat.warm_up()
    message = ChatMessage.from_user("What is the capital of France?")
    said: list[str] = []
    for callback in (None, lambda chunk: said.append(chunk.content)):
        found = chat.run(
            messages=[message], generation_kwargs={"max_tokens": 16, "temperature": 0.0}, streaming_callback=callback
        )
        assert found["replies"][0].text
    assert "".join(said) == found["replies"][0].text


def test_instructor_on_the_object() -> None:
    import instructor

    create = instructor.patch(create=model().create_chat_completion_openai_v1, mode=instructor.Mode.JSON_SCHEMA)
    found = create(messages=MESSAGES, response_model=City, max_tokens=60)
    assert isinstance(found, City)


def test_llm_gguf() -> None:
    import llm_gguf

    made = llm_gguf.GgufChatModel("test/model", PATH, n_ctx=128)
    conversation = made.conversation()
    assert "Paris" in conversation.prompt("What is the capital of France?").text()
    assert conversation.prompt("And of Italy?").text()
    vectors = list(llm_gguf.GgufEmbeddingModel("test/embedding", PATH).embed_multi(["a", "b"]))
    assert [len(vector) for vector in vectors] == [576, 576]


def test_autogen() -> None:
    from autogen_core.models import UserMessage
    from autogen_ext.models.llama_cpp import LlamaCppChatCompletionClient

    async def work() -> None:
        client = LlamaCppChatCompletionClient(model_path=PATH, n_ctx=512, n_threads=1, verbose=False)
        message = UserMessage(content="What is the capital of France?", source="user")
        found = await client.create([message], extra_create_args={"max_tokens": 16, "temperature": 0.0})
        assert found.content
        assert found.usage.completion_tokens == 16
        assert client.count_tokens([message]) > 5
        await client.close()

    asyncio.run(asyncio.wait_for(work(), 120))
