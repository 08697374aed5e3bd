"""Anthropic's API, judged by the official ``anthropic`` client and by what is on the wire."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import anthropic
import httpx
import pydantic
import pytest

from llama_bind import AsyncLlama, Llama
from llama_bind.errors import EngineCrashedError
from llama_bind.server.anthropic.frames import PING
from tests.llamas import shared, tiny
from tests.servers import app_of, events_of, get, listening, post

QWEN3 = Path(__file__).parents[2] / "vendor" / "llama.cpp" / "models" / "templates" / "Qwen-Qwen3-0.6B.jinja"
HELLO: Any = [{"role": "user", "content": "Hello"}]
GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
BODY: dict[str, Any] = {"max_tokens": 6, "messages": HELLO, **GREEDY}
SCHEMA: Any = {
    "type": "object",
    "properties": {"sure": {"const": True}, "word": {"enum": ["yes"]}},
    "required": ["sure", "word"],
    "additionalProperties": False,
}
TOOL: Any = {"name": "answer", "description": "Answers.", "input_schema": SCHEMA}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


def llm() -> Llama:
    return shared(n_seq_max=4)


@functools.cache
def thinker() -> Llama:
    """One with room for tools, whose template thinks, calls, and shows both again."""
    return tiny(n_ctx=4096, n_seq_max=4, chat_template=QWEN3.read_text(encoding="utf-8"), file={"n_ctx_train": 4096})


def client_of(port: int, key: str = "secret") -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=f"http://127.0.0.1:{port}", api_key=key, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def client() -> Iterator[anthropic.Anthropic]:
    with listening(app_of(api_key=["secret"])) as port, client_of(port) as made:
        yield made


@pytest.fixture(scope="module")
def thinking() -> Iterator[anthropic.Anthropic]:
    with listening(app_of(thinker())) as port, client_of(port) as made:
        yield made


def biased(text: str) -> dict[str, Any]:
    """Options under which the model writes nothing but a token."""
    return {"logit_bias": {str(llm().tokenize(text, add_bos=False)[0]): 100}}


# -- messages ----------------------------------------------------------------------------------------------------


def test_a_message_is_what_the_library_answers(client: anthropic.Anthropic) -> None:
    made = client.messages.create(model="claude-x", max_tokens=6, messages=HELLO, extra_body=GREEDY)
    own: Any = llm().create_chat_completion(HELLO, max_tokens=6, temperature=0, ignore_eos=True)
    (block,) = made.content
    assert block.type == "text"
    assert block.text == own["choices"][0]["message"]["content"]
    assert (made.type, made.role, made.model, made.stop_reason) == ("message", "assistant", "claude-x", "max_tokens")
    assert made.stop_sequence is None
    assert made.usage.output_tokens == 6
    assert made.id.startswith("msg_")
    assert made._request_id is not None
    assert made._request_id.startswith("req_")
    assert "timings" not in made.to_dict()


def test_tokens_are_counted_as_they_are_used(client: anthropic.Anthropic) -> None:
    asked: Any = {"model": "m", "messages": HELLO, "system": "Be brief."}
    counted = client.messages.count_tokens(**asked)
    assert counted.to_dict().keys() == {"input_tokens"}
    for salt in ("count-1", "count-1", "count-2"):
        usage = client.messages.create(max_tokens=1, **asked, extra_body={"cache_salt": salt}).usage
        assert usage.cache_creation_input_tokens == 0
        assert usage.cache_read_input_tokens is not None
        assert usage.input_tokens + usage.cache_read_input_tokens == counted.input_tokens
    assert usage.input_tokens == counted.input_tokens, "nothing was in memory under a salt of its own"
    again = client.messages.create(max_tokens=1, **asked, extra_body={"cache_salt": "count-1"}).usage
    assert again.cache_read_input_tokens
    assert client.messages.count_tokens(model="m", messages=HELLO).input_tokens < counted.input_tokens


def test_counting_takes_prompts_of_any_length(client: anthropic.Anthropic) -> None:
    long: Any = [{"role": "user", "content": "Hello " * 2000}]
    assert client.messages.count_tokens(model="m", messages=long).input_tokens > 2000
    with pytest.raises(anthropic.BadRequestError, match="context"):
        client.messages.create(model="m", max_tokens=5, messages=long)


@pytest.mark.parametrize(
    "asked",
    [
        {"system": "Be brief."},
        {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
        {"messages": [*HELLO, {"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "How?"}]},
        {"extra_body": {"top_p": 0.9, "temperature": 0.5, "top_k": 40}},
        {"metadata": {"user_id": "u1"}},
        {"thinking": {"type": "enabled", "budget_tokens": 5}},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"service_tier": "auto"},
        {"extra_body": {"context_management": {"edits": []}, "container": None, "inference_geo": "x"}},
    ],
)
def test_requests_of_every_kind_are_answered(client: anthropic.Anthropic, asked: dict[str, Any]) -> None:
    made: Any = client.messages.create(**{"model": "m", "max_tokens": 8, "messages": HELLO, **asked})
    assert made.type == "message"
    assert made.stop_reason in ("end_turn", "max_tokens")


def test_why_it_ended(client: anthropic.Anthropic) -> None:
    def ended(max_tokens: int = 8, **more: Any) -> Any:
        extra = {name: more.pop(name) for name in ("logit_bias", "ignore_eos") if name in more}
        return client.messages.create(model="m", max_tokens=max_tokens, messages=HELLO, extra_body=extra, **more)

    stopped = ended(stop_sequences=["zzz", "eh"], **biased("he"))
    assert (stopped.stop_reason, stopped.stop_sequence, stopped.content[0].text) == ("stop_sequence", "eh", "h")
    limited = ended(stop_sequences=["zzz"], **biased("he"))
    assert (limited.stop_reason, limited.stop_sequence) == ("max_tokens", None)
    done = ended(logit_bias={str(llm().token_eos()): 100})
    assert (done.stop_reason, done.stop_sequence, done.content) == ("end_turn", None, [])
    full = ended(max_tokens=10_000, ignore_eos=True)
    assert full.stop_reason == "model_context_window_exceeded"
    warmed = ended(max_tokens=0)
    assert (warmed.stop_reason, warmed.usage.output_tokens) == ("max_tokens", 0)


def test_an_answer_that_is_begun(client: anthropic.Anthropic) -> None:
    begun: Any = [*HELLO, {"role": "assistant", "content": "Sure: h"}]
    counted = client.messages.count_tokens(model="m", messages=begun).input_tokens
    whole = llm().create_chat_completion(begun, max_tokens=4, temperature=0, ignore_eos=True)
    made = client.messages.create(model="m", max_tokens=4, messages=begun, extra_body=GREEDY)
    (block,) = made.content
    assert block.type == "text"
    assert block.text == whole["choices"][0]["message"]["content"]
    assert counted == whole["usage"]["prompt_tokens"]
    assert counted > client.messages.count_tokens(model="m", messages=HELLO).input_tokens


def test_answers_of_a_form(client: anthropic.Anthropic) -> None:
    form: Any = {"type": "json_schema", "schema": SCHEMA}
    made = client.messages.create(model="m", max_tokens=60, messages=HELLO, output_config={"format": form})
    assert made.content[0].type == "text"
    assert json.loads(made.content[0].text) == {"sure": True, "word": "yes"}
    assert made.stop_reason == "end_turn"
    older = client.messages.create(model="m", max_tokens=60, messages=HELLO, extra_body={"output_format": form})
    assert older.content == made.content
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(
            model="m", max_tokens=60, messages=HELLO,
            output_config={"format": {"type": "json_schema", "schema": {"type": "nothing"}}},
        )  # fmt: skip


class Answer(pydantic.BaseModel):
    sure: Literal[True]
    word: Literal["yes"]


def test_answers_of_a_python_type(client: anthropic.Anthropic) -> None:
    asked: Any = {"model": "m", "max_tokens": 60, "messages": HELLO, "output_format": Answer}
    wanted = Answer(sure=True, word="yes")
    assert client.messages.parse(**asked).parsed_output == wanted
    with client.messages.stream(**asked) as stream:
        assert stream.get_final_message().parsed_output == wanted
    assert client.messages.count_tokens(model="m", messages=HELLO, output_format=Answer).input_tokens


# -- streams -----------------------------------------------------------------------------------------------------


def test_the_events_of_a_stream() -> None:
    events = events_of(post("/v1/messages", {**BODY, "stream": True}))
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert set(kinds[3:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    message = events[0]["message"]
    assert (message["content"], message["stop_reason"], message["stop_sequence"]) == ([], None, None)
    assert message["usage"]["input_tokens"] > 0
    assert events[2] == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert {event["delta"]["type"] for event in events[3:-3]} == {"text_delta"}
    whole = post("/v1/messages", BODY).json()
    assert "".join(event["delta"]["text"] for event in events[3:-3]) == whole["content"][0]["text"]
    assert events[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert events[-2]["usage"]["output_tokens"] == 6
    assert events[-1] == {"type": "message_stop"}


def test_the_stream_helper(client: anthropic.Anthropic) -> None:
    asked: Any = {"model": "m", "max_tokens": 6, "messages": HELLO, "extra_body": GREEDY}
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        text = "".join(stream.text_stream)
        made = stream.get_final_message()
        assert stream.request_id is not None
    assert [block.to_dict() for block in whole.content] == [{"type": "text", "text": text}]
    assert made.content[0].type == "text"
    assert made.content[0].text == text
    assert (made.stop_reason, made.usage.output_tokens) == ("max_tokens", 6)
    with client.messages.stream(**{**asked, "stop_sequences": ["eh"], "extra_body": biased("he")}) as stream:
        stopped = stream.get_final_message()
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "eh")


def test_a_kept_connection_serves_the_next_request_after_a_stream(client: anthropic.Anthropic) -> None:
    for _ in range(3):
        with client.messages.stream(model="m", max_tokens=3, messages=HELLO) as stream:
            stream.until_done()
        assert client.messages.count_tokens(model="m", messages=HELLO).input_tokens


def test_what_fails_in_a_stream_is_an_event(monkeypatch: pytest.MonkeyPatch, client: anthropic.Anthropic) -> None:
    answer = AsyncLlama._answer

    async def broken(self: AsyncLlama, *args: Any, **options: Any) -> Any:
        stream = await answer(self, *args, **options)

        async def events() -> Any:
            for _ in range(4):
                yield await stream.__anext__()
            await stream.aclose()
            raise EngineCrashedError(-9)

        return events()

    monkeypatch.setattr(AsyncLlama, "_answer", broken)
    response = post("/v1/messages", {**BODY, "stream": True})
    last = events_of(response)[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "overloaded_error")
    assert last["request_id"] == response.headers["request-id"]
    with (
        pytest.raises(anthropic.APIStatusError, match="overloaded_error"),
        client.messages.stream(model="m", max_tokens=6, messages=HELLO, extra_body=GREEDY) as stream,
    ):
        stream.until_done()
    monkeypatch.undo()
    assert client.messages.create(model="m", max_tokens=1, messages=HELLO).usage.output_tokens == 1


def test_pings_while_nothing_comes() -> None:
    with tiny(n_ctx=8192, n_batch=64, n_ubatch=64, file={"n_ctx_train": 8192}) as slow:
        body = {**BODY, "max_tokens": 1, "stream": True, "messages": [{"role": "user", "content": "Hello " * 1000}]}
        response = post("/v1/messages", body, app=app_of(slow, keep_alive_comments=0.02))
    assert response.text.startswith("event: message_start\n")
    assert response.text.count(PING.decode()) > 2
    assert [event["type"] for event in events_of(response)][-1] == "message_stop"


def eventually(check: Callable[[], bool]) -> None:
    for _ in range(1000):
        if check():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 10 s")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_request(stream: bool) -> None:
    before = llm().stats
    data = json.dumps({**BODY, "max_tokens": 240, "stream": stream, "top_k": 0}).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    with listening(app_of()) as port:
        for count in range(1, 5):  # a request may end before it is noticed that nobody waits
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(head.encode() + data)
                eventually(lambda: llm().stats.requests == before.requests + count)  # noqa: B023
        eventually(lambda: llm().stats.running + llm().stats.waiting == 0)
    assert llm().stats.cancelled > before.cancelled


# -- tools -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "answer"}])
def test_a_round_with_a_tool(thinking: anthropic.Anthropic, choice: Any) -> None:
    choice = {**choice, "disable_parallel_tool_use": True}
    asked: Any = {"model": "m", "max_tokens": 100, "messages": HELLO, "tools": [TOOL]}
    made = thinking.messages.create(**asked, tool_choice=choice)
    assert made.stop_reason == "tool_use"
    (call,) = made.content
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("answer", {"sure": True, "word": "yes"})
    assert call.id
    with thinking.messages.stream(**asked, tool_choice=choice) as stream:
        kinds = [event.type for event in stream]
        (streamed,) = stream.get_final_message().content
    assert "input_json" in kinds
    assert streamed.type == "tool_use"
    assert streamed.input == call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "It is so."}
    back = [*HELLO, {"role": "assistant", "content": made.content}, {"role": "user", "content": [result]}]
    after = thinking.messages.create(**{**asked, "messages": back, "max_tokens": 5}, tool_choice={"type": "none"})
    assert after.stop_reason in ("end_turn", "max_tokens")
    failed = [*back[:2], {"role": "user", "content": [{**result, "is_error": True}]}]
    counts = [
        thinking.messages.count_tokens(model="m", messages=said, tools=[TOOL]).input_tokens
        for said in (HELLO, back, failed)
    ]
    assert counts[0] < counts[1] < counts[2]


def test_the_clients_own_loop_of_tools(thinking: anthropic.Anthropic) -> None:
    called = []

    @anthropic.beta_tool
    def answer(word: Literal["yes"]) -> str:
        """Answers.

        Args:
            word: The answer.
        """
        called.append(word)
        return "It is so."

    runner = thinking.beta.messages.tool_runner(
        model="m", max_tokens=200, tools=[answer], messages=HELLO, max_iterations=2,
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )  # fmt: skip
    # It begins with a conversation that the server holds, which this one refuses, and goes on without.
    assert [message.stop_reason for message in runner] == ["tool_use", "tool_use"]
    assert called == ["yes", "yes"]
    sent = list(runner._params["messages"])
    assert [message["role"] for message in sent] == ["user", "assistant", "user", "assistant", "user"]


# What clients declare in earnest: keywords that cannot be enforced, or only tell people something.
RICH: Any = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "A file.", "format": "uri", "minLength": 1},
        "limit": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991, "default": 10},
        "todos": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "properties": {"done": {"type": "boolean"}}, "additionalProperties": False},
        },
        "env": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "string"}},
        "mode": {"anyOf": [{"const": "a"}, {"type": "null"}]},
    },
    "required": ["limit"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("kind", ["auto", "any"])
def test_schemas_as_clients_have_them(thinking: anthropic.Anthropic, kind: Any) -> None:
    tools: Any = [{"name": "mcp__files__Read", "input_schema": RICH, "cache_control": {"type": "ephemeral"}}, TOOL]
    made = thinking.messages.create(
        model="m", max_tokens=40, messages=HELLO, tools=tools, tool_choice={"type": kind}, extra_body={"temperature": 0}
    )
    assert made.usage.output_tokens
    if kind == "any":
        assert made.content[0].type == "tool_use"


def test_several_calls(thinking: anthropic.Anthropic) -> None:
    made = thinking.messages.create(
        model="m",
        max_tokens=200,
        messages=HELLO,
        tools=[TOOL],
        tool_choice={"type": "any"},
        extra_body={"temperature": 0},
    )
    calls = [block for block in made.content if block.type == "tool_use"]
    assert len({call.id for call in calls}) == len(calls) >= 1


def test_results_beside_texts(thinking: anthropic.Anthropic) -> None:
    use = {"type": "tool_use", "id": "tool_1", "name": "answer", "input": {"sure": True}}
    result = {"type": "tool_result", "tool_use_id": "tool_1", "content": [{"type": "text", "text": "Sunny, 25°C"}]}
    said: Any = [
        *HELLO,
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, use]},
        {"role": "user", "content": [{"type": "text", "text": "Here:"}, result]},
    ]
    prompt = thinker()._session
    from llama_bind.server.anthropic.messages import read_messages

    tokens = prompt.chat(read_messages(None, said), {"stream": False}).requests[0].prompt
    text = thinker().detokenize(list(tokens), special=True).decode()
    assert text.index("I look.") < text.index("<tool_call>") < text.index("Sunny, 25°C") < text.index("Here:")
    assert thinking.messages.create(model="m", max_tokens=2, messages=said, tools=[TOOL]).type == "message"
    without: Any = thinking.messages.create(model="m", max_tokens=2, messages=said)
    assert without.type == "message"


# -- thinking ----------------------------------------------------------------------------------------------------


def test_thinking(thinking: anthropic.Anthropic) -> None:
    begun = {"role": "assistant", "content": [{"type": "thinking", "thinking": "So", "signature": ""}]}
    opened: Any = {
        "model": "m", "max_tokens": 20, "messages": [*HELLO, begun],
        "thinking": {"type": "enabled", "budget_tokens": 6}, "extra_body": GREEDY,
    }  # fmt: skip
    made = thinking.messages.create(**opened)
    thought, answer = made.content
    assert thought.type == "thinking"
    assert thought.thinking
    assert thought.signature
    assert answer.type == "text"
    with thinking.messages.stream(**opened) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in made.content]
    assert kinds.index("thinking") < kinds.index("signature") < kinds.index("text")
    hidden = {**opened, "thinking": {"type": "enabled", "budget_tokens": 6, "display": "omitted"}}
    first = thinking.messages.create(**hidden).content[0]
    assert first.type == "thinking"
    assert (first.thinking, bool(first.signature)) == ("", True)


def test_who_does_not_ask_for_thoughts_gets_none(thinking: anthropic.Anthropic) -> None:
    def tokens(**more: Any) -> int:
        return thinking.messages.count_tokens(model="m", messages=HELLO, **more).input_tokens

    assert tokens() == tokens(thinking={"type": "disabled"})
    assert tokens() > tokens(thinking={"type": "enabled", "budget_tokens": 10}), "an empty thought is in the prompt"
    assert tokens(thinking={"type": "adaptive"}) == tokens(extra_body={"enable_thinking": True})


def test_thoughts_of_earlier_answers_reach_the_model(thinking: anthropic.Anthropic) -> None:
    use = {"type": "tool_use", "id": "call_1", "name": "answer", "input": {"sure": True, "word": "yes"}}
    thought = {"type": "thinking", "thinking": "I should look at the layout of the project first.", "signature": "x"}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "main.py"}

    def tokens(*blocks: Any) -> int:
        said: Any = [
            *HELLO,
            {"role": "assistant", "content": list(blocks)},
            {"role": "user", "content": [result]},
        ]
        return thinking.messages.count_tokens(model="m", messages=said, tools=[TOOL]).input_tokens

    assert tokens(thought, use) > tokens(use)
    assert tokens({"type": "redacted_thinking", "data": "x"}, use) == tokens(use)


# -- errors ------------------------------------------------------------------------------------------------------


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer, whose shape is checked."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["error"].keys() == {"type", "message"}
    assert body["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages is empty"),
        ({"messages": "x"}, "messages"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"stop_sequences": [""]}, "stop_sequences.0"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"system": 5}, "system"),
        ({"messages": [{"role": "user", "content": [PNG]}]}, "image input is not supported"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "bash"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "name"),
        ({"tool_choice": {"type": "any"}}, "tool"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "other"),
        ({"thinking": {"type": "enabled", "budget_tokens": 6}}, "max_tokens"),
        ({"messages": [{"role": "user", "content": "x" * 100_000}]}, "context"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"compaction": {}}, "compaction"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_requests(given: dict[str, Any], words: str, stream: bool) -> None:
    body = {k: v for k, v in {**BODY, "stream": stream, **given}.items() if v is not None}
    error = error_of(post("/v1/messages", body), 400)
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]


def test_errors_are_of_the_clients_classes(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as bad:
        client.messages.create(model="m", max_tokens=5, messages=[])
    assert bad.value.request_id is not None
    assert bad.value.type == "invalid_request_error"
    with pytest.raises(anthropic.BadRequestError):
        client.messages.count_tokens(model="m", messages=[])
    with pytest.raises(anthropic.AuthenticationError) as wrong:
        client.with_options(api_key="wrong").messages.create(model="m", max_tokens=5, messages=HELLO)
    assert wrong.value.type == "authentication_error"
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.batches.list()
    assert missing.value.type == "not_found_error"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("other")


def test_keys_come_in_either_header(client: anthropic.Anthropic) -> None:
    with anthropic.Anthropic(base_url=client.base_url, auth_token="secret", max_retries=0) as made:
        assert made.messages.count_tokens(model="m", messages=HELLO).input_tokens


def test_errors_on_the_wire() -> None:
    app = app_of(api_key=["one"], max_body_bytes=4096)
    key = {"x-api-key": "one"}
    assert error_of(post("/v1/messages", BODY, app=app), 401)["type"] == "authentication_error"
    assert error_of(post("/v1/messages/count_tokens", BODY, app=app), 401)["type"] == "authentication_error"
    assert error_of(post("/v1/messages", app=app, headers=key, content=b"{"), 400)["type"] == "invalid_request_error"
    large = post("/v1/messages", app=app, headers=key, content=b"x" * 5000)
    assert error_of(large, 413)["type"] == "request_too_large"
    assert error_of(get("/v1/messages", app=app, headers=key), 405)["type"] == "invalid_request_error"
    assert error_of(get("/v1/messages/nothing", app=app, headers=key), 404)["type"] == "not_found_error"
    versioned = {**key, "anthropic-version": "2023-06-01"}
    assert error_of(get("/v1/nothing", app=app, headers=versioned), 404)["type"] == "not_found_error"
    plain = get("/v1/nothing", app=app, headers=key)
    assert plain.json()["error"]["code"] == "not_found", "others keep OpenAI's shape"
    assert "request-id" not in plain.headers


def test_busy_and_gone() -> None:
    with tiny(n_seq_max=1, max_queue=1, n_ctx=4096, file={"n_ctx_train": 4096}) as busy:
        app = app_of(busy, retry_after=7)
        running = [busy("x", max_tokens=4000, stream=True, temperature=0, ignore_eos=True) for _ in range(2)]
        for stream in (False, True):
            answer = post("/v1/messages", {**BODY, "stream": stream}, app=app)
            assert error_of(answer, 429)["type"] == "rate_limit_error"
            assert answer.headers["retry-after"] == "7"
        for one in running:
            one.close()
    gone = post("/v1/messages", BODY, app=app)
    assert error_of(gone, 503)["type"] == "overloaded_error"
    assert "retry-after" in gone.headers


def test_what_fails_inside_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any, **_options: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(AsyncLlama, "_answer", broken)
    response = post("/v1/messages", BODY)
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "api_error"
    assert "secret" not in response.text


# -- around ------------------------------------------------------------------------------------------------------


def test_models(client: anthropic.Anthropic) -> None:
    page = client.models.list(limit=5)
    assert [model.id for model in page] == ["tiny"]
    assert page.has_more is False
    assert client.models.retrieve("tiny").display_name == "tiny"
    plain = get("/v1/models").json()
    assert plain["object"] == "list"


def test_users_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    submit = llm().engine.submit

    def watch(request: Any, events: Any = None) -> Any:
        seen.append(request.key)
        return submit(request, events)

    monkeypatch.setattr(llm().engine, "submit", watch)
    post("/v1/messages", {**BODY, "metadata": {"user_id": "u1"}})
    post("/v1/messages", BODY)
    assert seen == ["u1", None]


def test_slips_are_told_in_a_header() -> None:
    answer = post("/v1/messages", {**BODY, "stop_sequence": ["x"]})
    assert "did you mean stop_sequences" in answer.headers["x-llama-bind-warning"]


def test_the_beta_side_of_the_client(client: anthropic.Anthropic) -> None:
    made = client.beta.messages.create(
        model="m", max_tokens=3, messages=HELLO, betas=["interleaved-thinking-2025-05-14"], extra_body=GREEDY
    )
    assert made.usage.output_tokens == 3
    assert client.beta.messages.count_tokens(model="m", messages=HELLO).input_tokens


def test_the_asynchronous_client() -> None:
    async def work(port: int) -> list[str]:
        base = f"http://127.0.0.1:{port}"
        async with anthropic.AsyncAnthropic(base_url=base, api_key="none", max_retries=0) as client:

            async def one() -> str:
                asked: Any = {"model": "m", "max_tokens": 6, "messages": HELLO, "extra_body": GREEDY}
                async with client.messages.stream(**asked) as stream:
                    return await stream.get_final_text()

            return list(await asyncio.gather(*(one() for _ in range(8))))

    with listening(app_of()) as port:
        texts = asyncio.run(work(port))
    assert len(set(texts)) == 1
    assert texts[0]
