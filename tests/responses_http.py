"""A server of the Responses API on a tiny model, asked by the official client and by hand."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import httpx
import openai

from llama_bind import Llama
from tests.llamas import tiny
from tests.servers import app_of, events_of, listening

GREEDY: Any = {"temperature": 0, "extra_body": {"ignore_eos": True}}
WIRE: Any = {"temperature": 0, "ignore_eos": True}


@functools.cache
def llm() -> Llama:
    """One with room for what models are told about tools."""
    return tiny(n_ctx=4096, n_seq_max=4, file={"n_ctx_train": 4096})


@contextlib.contextmanager
def connected() -> Iterator[openai.OpenAI]:
    """The official client of a server on loopback."""
    with (
        listening(app_of(llm(), api_key=["secret", "other"])) as port,
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret", max_retries=0, timeout=60) as made,
    ):
        yield made


def raw(client: openai.OpenAI, method: str, path: str, **more: Any) -> httpx.Response:
    """An answer as it comes over the wire."""
    headers = {"Authorization": f"Bearer {client.api_key}"}
    return httpx.request(method, f"{client.base_url}{path}", headers=headers, timeout=60, **more)


def streamed(client: openai.OpenAI, **body: Any) -> list[Any]:
    return events_of(raw(client, "POST", "responses", json={**WIRE, **body, "stream": True}))


def chat_text(messages: Any, **options: Any) -> str:
    """What the library itself says."""
    made: Any = llm().create_chat_completion(messages, temperature=0, ignore_eos=True, **options)
    text: str = made["choices"][0]["message"]["content"]
    return text
