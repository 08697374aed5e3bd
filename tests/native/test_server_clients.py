"""The official ``openai`` client for Python against the server, over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.llamas import shared
from tests.servers import app_of, listening

HELLO: Any = [{"role": "user", "content": "Hello"}]
EXTRA = {"ignore_eos": True}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with (
        listening(app_of(api_key=["secret"])) as port,
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret", max_retries=0, timeout=60) as made,
    ):
        yield made


def test_chat(client: openai.OpenAI) -> None:
    made = client.chat.completions.create(
        model="tiny", messages=HELLO, max_completion_tokens=6, temperature=0, logprobs=True, top_logprobs=2, n=2,
        extra_body=EXTRA,
    )  # fmt: skip
    own: Any = shared(n_seq_max=4).create_chat_completion(HELLO, max_tokens=6, temperature=0, ignore_eos=True)
    assert [c.message.content for c in made.choices] == [own["choices"][0]["message"]["content"]] * 2
    assert made.choices[0].finish_reason == "length"
    assert made.choices[0].logprobs is not None
    assert made.choices[0].logprobs.content is not None
    assert len(made.choices[0].logprobs.content) == 6
    assert made.usage is not None
    assert made.usage.completion_tokens == 12
    assert made.usage.prompt_tokens_details is not None
    assert made.system_fingerprint is not None
    assert made._request_id is not None
    assert made._request_id.startswith("req_")


def test_chat_stream(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=6, temperature=0, extra_body=EXTRA
    ).choices[0].message.content  # fmt: skip
    stream = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=6, temperature=0, stream=True,
        stream_options={"include_usage": True}, extra_body=EXTRA,
    )  # fmt: skip
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6
    end = {str(shared(n_seq_max=4).token_eos()): 100}
    with client.chat.completions.stream(model="tiny", messages=HELLO, logit_bias=end, temperature=0) as helper:
        assert helper.get_final_completion().choices[0].finish_reason == "stop"


def test_completions(client: openai.OpenAI) -> None:
    made = client.completions.create(
        model="tiny", prompt=["Hello", "in"], max_tokens=4, temperature=0, logprobs=1, echo=True, extra_body=EXTRA
    )
    assert [c.index for c in made.choices] == [0, 1]
    assert made.choices[0].text.startswith("Hello")
    assert made.choices[0].logprobs is not None
    assert made.choices[0].logprobs.tokens
    stream = client.completions.create(
        model="tiny", prompt="Hello", max_tokens=4, temperature=0, stream=True, extra_body=EXTRA
    )
    assert "Hello" + "".join(c.choices[0].text for c in stream) == made.choices[0].text


def test_embeddings() -> None:
    bert = shared("bert", embedding=True)
    with (
        listening(app_of(bert)) as port,
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client,
    ):
        made = client.embeddings.create(model="tiny", input=["hello", "you"], dimensions=8)  # base64 on the wire
        plain = client.embeddings.create(model="tiny", input=["hello", "you"], dimensions=8, encoding_format="float")
    assert [len(d.embedding) for d in made.data] == [8, 8]
    for one, two in zip(made.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(two.embedding, abs=1e-6)
    assert made.usage.prompt_tokens > 0


def test_models(client: openai.OpenAI) -> None:
    assert [m.id for m in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "llama_bind"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("other")
    assert caught.value.code == "model_not_found"


def test_errors_are_of_the_clients_classes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=HELLO, temperature=-1)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt="x" * 10_000)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError), client.chat.completions.stream(model="tiny", messages=[]):
        pass
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


def test_leaving_a_stream_and_going_on(client: openai.OpenAI) -> None:
    for _ in range(3):
        stream = client.completions.create(model="tiny", prompt="Hello", max_tokens=200, stream=True, extra_body=EXTRA)
        next(iter(stream))
        stream.close()
    assert client.completions.create(model="tiny", prompt="Hello", max_tokens=1).choices


def test_the_asynchronous_client() -> None:
    async def work(port: int) -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:

            async def one() -> str:
                stream = await client.chat.completions.create(
                    model="tiny", messages=HELLO, max_tokens=6, temperature=0, stream=True, extra_body=EXTRA
                )
                return "".join([c.choices[0].delta.content or "" async for c in stream])

            return list(await asyncio.gather(*(one() for _ in range(12))))

    with listening(app_of()) as port:
        texts = asyncio.run(work(port))
    assert len(set(texts)) == 1
    assert texts[0]
