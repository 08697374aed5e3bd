"""The load of ``soak``: what clients of all kinds do, well and badly, each with what must come back.

Not for: running it for a time, or watching the server (``soak``).
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

__all__ = ["ACTIONS", "Load", "UnexpectedError"]

WORDS = ("river", "stone", "lantern", "market", "winter", "garden", "engine", "letter", "harbour", "mirror", "copper")
SHARED = "You are a helpful and brief assistant. " * 8
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
WRONG: list[tuple[str, Any, int]] = [
    ("/v1/completions", {"prompt": 5}, 400),
    ("/v1/completions", {"prompt": "x", "n": 10**6}, 400),
    ("/v1/completions", {"prompt": "word " * 50_000}, 400),
    ("/v1/completions", {"prompt": "x", "grammar": "root ::= ("}, 400),
    ("/v1/chat/completions", {"messages": []}, 400),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "temperature": -1, "stream": True}, 400),
    (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "x"}], "json_schema": {"type": "nothing"}, "stream": True},
        400,
    ),
    ("/v1/chat/completions", b"{", 400),
    ("/v1/chat/completions", b"\xff", 400),
    ("/v1/completions", b'{"prompt": "' + b"x" * 40_000_000 + b'"}', 413),
    ("/nothing", {}, 404),
    ("/v1/models", {}, 405),
]


class UnexpectedError(Exception):
    """An answer that is not what it must be."""


class Load:
    """One client's way of asking.

    Args:
        client: Asks.
        rng: Chooses.
        embeds: Whether the model makes embeddings.
    """

    def __init__(self, client: httpx.AsyncClient, rng: random.Random, embeds: bool) -> None:
        self.client = client
        self.rng = rng
        self.embeds = embeds
        self.done: collections.Counter[str] = collections.Counter()

    async def act(self) -> None:
        """Do something by chance.

        Raises:
            UnexpectedError: the server did not do what it must.
        """
        name = self.rng.choices(list(ACTIONS), [weight for weight, _ in ACTIONS.values()])[0]
        if name == "embeddings" and not self.embeds:
            name = "tokens"
        try:
            await ACTIONS[name][1](self)
        except httpx.HTTPError as error:
            raise UnexpectedError(f"{name}: {type(error).__name__}: {error}") from error
        except UnexpectedError as error:
            raise UnexpectedError(f"{name}: {error}") from error
        self.done[name] += 1

    # -- bodies ----------------------------------------------------------------------------------------------------

    def prompt(self, words: int = 12) -> str:
        return " ".join(self.rng.choice(WORDS) for _ in range(words))

    def chat(self, **more: Any) -> dict[str, Any]:
        system = [{"role": "system", "content": SHARED}] if self.rng.random() < 0.5 else []
        messages = [*system, {"role": "user", "content": f"Tell me of the {self.prompt()}."}]
        return {"messages": messages, "max_tokens": self.rng.randint(1, 24), "temperature": 0.8, **more}

    async def post(self, path: str, body: Any, status: int = 200) -> Any:
        sent = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = await self.client.post(path, **sent)
        if answer.status_code != status:
            raise UnexpectedError(f"{path}: {answer.status_code} in place of {status}: {answer.text[:300]}")
        return answer.json()

    async def stream(self, path: str, body: Any, most: int | None = None) -> list[Any]:
        """The chunks of a stream, or as many as `most` of them; then the client leaves."""
        chunks: list[Any] = []
        async with self.client.stream("POST", path, json={**body, "stream": True}) as answer:
            if answer.status_code != 200:
                raise UnexpectedError(f"{path}: {answer.status_code}: {(await answer.aread())[:300]!r}")
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    return chunks
                if line.startswith("data: "):
                    chunks.append(json.loads(line[6:]))
                    if "error" in chunks[-1]:
                        raise UnexpectedError(f"{path}: an error in the stream: {line[:300]}")
                if len(chunks) == most:
                    return chunks
        raise UnexpectedError(f"{path}: the stream ended without its end")

    # -- clients that behave ---------------------------------------------------------------------------------------

    async def chats(self) -> None:
        made = await self.post("/v1/chat/completions", self.chat(n=self.rng.choice([1, 1, 1, 3])))
        if not all(choice["finish_reason"] in ("stop", "length") for choice in made["choices"]):
            raise UnexpectedError(f"ends of a chat: {made['choices']}")

    async def streams(self) -> None:
        chunks = await self.stream("/v1/chat/completions", self.chat(stream_options={"include_usage": True}))
        if chunks[-1].get("usage") is None or chunks[-2]["choices"][0]["finish_reason"] is None:
            raise UnexpectedError("a stream without its end or its usage")

    async def completions(self) -> None:
        prompts = [self.prompt() for _ in range(self.rng.randint(1, 3))]
        body = {"prompt": prompts, "max_tokens": 8, "logprobs": self.rng.choice([None, 2])}
        made = await self.post("/v1/completions", body)
        if len(made["choices"]) != len(prompts):
            raise UnexpectedError(f"{len(made['choices'])} texts for {len(prompts)} prompts")

    async def schemas(self) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}
        chunks = await self.stream("/v1/chat/completions", self.chat(response_format=form, max_tokens=60))
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        if chunks[-1]["choices"][0]["finish_reason"] == "stop" and not set(json.loads(text)) == {"name", "age"}:
            raise UnexpectedError(f"an answer that is not of its schema: {text}")

    async def embeddings(self) -> None:
        texts = [self.prompt(self.rng.randint(1, 40)) for _ in range(self.rng.randint(1, 8))]
        made = await self.post("/v1/embeddings", {"input": texts})
        if len(made["data"]) != len(texts):
            raise UnexpectedError(f"{len(made['data'])} vectors for {len(texts)} texts")

    async def tokens(self) -> None:
        text = self.prompt(self.rng.choice([5, 50, 20_000]))
        ids = (await self.post("/tokenize", {"content": text}))["tokens"]
        if (await self.post("/detokenize", {"tokens": ids}))["content"].strip() != text:
            raise UnexpectedError("a text is another one after /tokenize and /detokenize")

    async def looks(self) -> None:
        for path in ("/health", "/metrics", "/slots", "/v1/models", "/props"):
            answer = await self.client.get(path)
            if answer.status_code != 200:
                raise UnexpectedError(f"{path}: {answer.status_code}")

    # -- clients that do not ---------------------------------------------------------------------------------------

    async def deadlines(self) -> None:
        await self.stream("/v1/completions", {"prompt": self.prompt(), "max_tokens": 200, "timeout": 0.05})

    async def leaves_in_stream(self) -> None:
        body = self.chat(max_tokens=400, ignore_eos=True, n=self.rng.choice([1, 2]))
        await self.stream("/v1/chat/completions", body, most=self.rng.randint(1, 12))

    async def leaves_in_prompt(self) -> None:
        body = {"prompt": self.prompt(300), "max_tokens": 100, "ignore_eos": True, "stream": self.rng.random() < 0.5}
        asking = asyncio.ensure_future(self.client.post("/v1/completions", json=body))
        await asyncio.sleep(self.rng.uniform(0.0, 0.1))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    async def leaves_in_body(self) -> None:
        place = urllib.parse.urlsplit(str(self.client.base_url))
        _, writer = await asyncio.open_connection(place.hostname, place.port)
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 5000\r\n\r\n"
        writer.write(head.encode() + b'{"prompt": "' + b"x" * self.rng.randint(0, 4000))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def errors(self) -> None:
        path, body, status = self.rng.choice(WRONG)
        told = await self.post(path, body, status)
        if set(told["error"]) < {"message", "type", "param", "code"}:
            raise UnexpectedError(f"{path}: an error of another shape: {told}")


ACTIONS: dict[str, tuple[int, Callable[[Load], Awaitable[None]]]] = {
    "chats": (3, Load.chats),
    "streams": (4, Load.streams),
    "completions": (2, Load.completions),
    "schemas": (2, Load.schemas),
    "embeddings": (2, Load.embeddings),
    "tokens": (1, Load.tokens),
    "looks": (1, Load.looks),
    "deadlines": (1, Load.deadlines),
    "leaves in stream": (3, Load.leaves_in_stream),
    "leaves in prompt": (2, Load.leaves_in_prompt),
    "leaves in body": (1, Load.leaves_in_body),
    "errors": (3, Load.errors),
}
"""How often in comparison, and what."""
