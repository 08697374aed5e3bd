"""The Responses API on tiny models over a socket, with the official client: its helpers, and its types."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.llamas import TEMPLATE, tiny
from tests.responses import checked, typed
from tests.responses_http import GREEDY, WIRE, chat_text, connected, llm, raw, streamed
from tests.servers import app_of, error_of, events_of, get, post

THINKING = TEMPLATE + "{# <think> </think> #}"
SCHEMA = {
    "type": "object",
    "properties": {"word": {"enum": ["yes"]}, "sure": {"const": True}},
    "required": ["word", "sure"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "name": "answer", "parameters": SCHEMA, "strict": True}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with connected() as made:
        yield made


# -- answers -----------------------------------------------------------------------------------------------------


def test_a_response(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model="tiny", input="Hello", instructions="Be kind.", max_output_tokens=6, metadata={"a": "b"}, **GREEDY
    )
    typed(made.model_dump(mode="json", exclude_unset=True))
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    assert made.output_text == chat_text(said, max_tokens=6)
    assert made.id.startswith("resp_")
    assert made.output[0].id is not None
    assert made.output[0].id.startswith("msg_")
    assert (made.status, made.model, made.instructions, made.metadata) == ("incomplete", "tiny", "Be kind.", {"a": "b"})
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "max_output_tokens"
    assert made.usage is not None
    assert made.usage.output_tokens == 6
    assert made.usage.total_tokens == made.usage.input_tokens + 6
    assert made.temperature == 0
    assert made.top_p == pytest.approx(0.95)
    assert made.max_output_tokens == 6
    assert made._request_id is not None


def test_inputs_in_all_forms(client: openai.OpenAI) -> None:
    one = client.responses.create(model="x", input="Hello", max_output_tokens=4, **GREEDY).output_text
    parts: Any = [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]
    forms: list[Any] = [[{"role": "user", "content": "Hello"}], [{"type": "message", **parts[0]}], parts]
    for given in forms:
        made = client.responses.create(model="x", input=given, max_output_tokens=4, **GREEDY)
        assert made.output_text == one, given
    assert post("/responses", {"input": "Hello", "max_output_tokens": 1}).status_code == 200
    end = {str(llm().token_eos()): 100}
    ended = client.responses.create(model="x", input="Hello", temperature=0, extra_body={"logit_bias": end})
    assert ended.status == "completed"
    assert ended.output_text == ""


def test_a_stream(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="tiny", input="Hello", max_output_tokens=6, **GREEDY)
    events = streamed(client, input="Hello", max_output_tokens=6, stream_options={"include_obfuscation": True})
    final = checked(events)
    assert typed(final).output_text == whole.output_text
    assert final["status"] == "incomplete"
    assert final["usage"]["output_tokens"] == 6
    assert sum(event["type"] == "response.output_text.delta" for event in events) > 1
    assert events[-1]["timings"]["predicted_n"] == 6


def test_the_clients_own_stream(client: openai.OpenAI) -> None:
    end = {str(llm().token_eos()): 100}
    with client.responses.stream(model="tiny", input="Hello", extra_body={"logit_bias": end}) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.status == "completed"
    with client.responses.stream(model="tiny", input="Hello", extra_body={"regex": "yes|no"}) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text
    assert text in ("yes", "no")


def test_log_probabilities(client: openai.OpenAI) -> None:
    asked: Any = {"input": "Hello", "max_output_tokens": 5, "top_logprobs": 3, **GREEDY}
    made = client.responses.create(model="tiny", include=["message.output_text.logprobs"], **asked)
    part: Any = made.output[0].content[0]
    assert "".join(entry.token for entry in part.logprobs) == part.text
    assert [len(entry.top_logprobs) for entry in part.logprobs] == [3] * 5
    assert all(entry.logprob == pytest.approx(entry.top_logprobs[0].logprob) for entry in part.logprobs)
    events = streamed(client, input="Hello", max_output_tokens=5, top_logprobs=3)
    entries = [entry for event in events if event["type"].endswith("text.delta") for entry in event["logprobs"]]
    assert [e["logprob"] for e in entries] == pytest.approx([e.logprob for e in part.logprobs], abs=1e-3)
    checked(events)


class Answer(BaseModel):
    word: Literal["yes"]
    sure: Literal[True]


def test_parsed_into_a_model(client: openai.OpenAI) -> None:
    asked: Any = {"model": "tiny", "input": "Sure?", "text_format": Answer, "max_output_tokens": 100}
    made = client.responses.parse(temperature=0, **asked)
    assert made.output_parsed == Answer(word="yes", sure=True)
    assert made.status == "completed"
    with client.responses.stream(temperature=0, **asked) as stream:
        assert stream.get_final_response().output_parsed == made.output_parsed


def test_forms(client: openai.OpenAI) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}}
    made = client.responses.create(model="tiny", input="Sure?", text=form, temperature=0, max_output_tokens=100)
    assert json.loads(made.output_text) == {"word": "yes", "sure": True}
    assert made.status == "completed"
    checked(streamed(client, input="Sure?", text=form, max_output_tokens=100))
    wrong: Any = {"format": {**form["format"], "schema": {"type": "nothing"}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="tiny", input="Sure?", text=wrong)
    assert caught.value.param == "text.format"


# -- tools -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "name": "answer"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "answer"}]},
    ],
)
def test_calls_of_tools(client: openai.OpenAI, choice: Any) -> None:
    asked: Any = {"max_output_tokens": 100, "temperature": 0, "tools": [TOOL], "parallel_tool_calls": False}
    made = client.responses.create(model="tiny", input="Sure?", tool_choice=choice, **asked)
    (call,) = made.output
    assert call.type == "function_call"
    assert call.name == "answer"
    assert json.loads(call.arguments) == {"sure": True, "word": "yes"}
    assert made.status == "completed"
    typed(made.model_dump(mode="json", exclude_unset=True))
    events = events_of(
        raw(client, "POST", "responses", json={"input": "Sure?", "tool_choice": choice, **asked, "stream": True})
    )
    final = checked(events)
    assert final["output"][0]["arguments"] == call.arguments
    assert "response.function_call_arguments.delta" in {event["type"] for event in events}


def test_a_round_with_a_tool(client: openai.OpenAI) -> None:
    asked: Any = {"tools": [TOOL], "temperature": 0}
    first = client.responses.create(
        model="tiny", input="Sure?", tool_choice="required", max_output_tokens=100, parallel_tool_calls=False, **asked
    )
    (call,) = first.output
    assert call.type == "function_call"
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    going_on = client.responses.create(
        model="tiny", previous_response_id=first.id, input=[result], max_output_tokens=4, tool_choice="none", **asked
    )
    assert going_on.previous_response_id == first.id
    given: Any = [{"role": "user", "content": "Sure?"}, call.model_dump(), result]
    stateless = client.responses.create(
        model="tiny", input=given, max_output_tokens=4, tool_choice="none", store=False, **asked
    )
    assert stateless.output_text == going_on.output_text
    assert stateless.usage is not None
    assert going_on.usage is not None
    assert stateless.usage.input_tokens == going_on.usage.input_tokens
    with pytest.raises(openai.BadRequestError, match="function_call_output"):
        client.responses.create(model="tiny", input=[result])
    with pytest.raises(openai.BadRequestError, match="'web_search'"):
        client.responses.create(model="tiny", input="x", tools=[{"type": "web_search"}])


# -- reasoning ---------------------------------------------------------------------------------------------------


def test_reasoning() -> None:
    with tiny(n_ctx=1024, file={"n_ctx_train": 1024}, chat_template=THINKING) as thinker:
        thinking = app_of(thinker)
        asked = {"input": "Hello", "choice": ["<think>hello in the</think>you"], "temperature": 0}
        body = {**asked, "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low", "summary": "auto"}}
        made = post("/v1/responses", body, app=thinking).json()
        typed(made)
        thought, said = made["output"]
        assert thought["content"] == [{"type": "reasoning_text", "text": "hello in the"}]
        assert thought["summary"] == []
        assert said["content"][0]["text"] == "you"
        assert 0 < made["usage"]["output_tokens_details"]["reasoning_tokens"] < made["usage"]["output_tokens"]
        assert made["reasoning"] == {"effort": "low", "summary": None}
        events = events_of(post("/v1/responses", {**asked, "stream": True}, app=thinking))
        assert "response.reasoning_text.delta" in {event["type"] for event in events}
        assert checked(events)["output"][0]["content"] == thought["content"]
        del thought["content"]  # what is left is what clients that keep nothing send back
        history = [{"role": "user", "content": "Hello"}, thought, said, {"role": "user", "content": "More"}]
        assert post("/v1/responses", {"input": history, "max_output_tokens": 2}, app=thinking).status_code == 200
        bad = {**asked, "reasoning": {"effort": "very"}}
        assert error_of(post("/v1/responses", bad, app=thinking), 400)["param"] == "reasoning.effort"


# -- limits and errors -------------------------------------------------------------------------------------------


def test_old_turns_are_left_out_where_that_is_asked_for() -> None:
    turns = [{"role": role, "content": f"{n} " + "hello " * 20} for n in range(8) for role in ("user", "assistant")]
    body = {"input": [*turns, {"role": "user", "content": "Hello"}], "instructions": "Be kind.", "max_output_tokens": 4}
    assert error_of(post("/v1/responses", {**body, **WIRE}), 400)["code"] == "context_length_exceeded"
    made = post("/v1/responses", {**body, **WIRE, "truncation": "auto"}).json()
    assert made["status"] == "incomplete"
    assert 100 < made["usage"]["input_tokens"] <= 252
    huge = {"input": "hello " * 300, "truncation": "auto"}
    assert error_of(post("/v1/responses", huge), 400)["code"] == "context_length_exceeded"


def test_counting_tokens(client: openai.OpenAI) -> None:
    asked: Any = {"input": "Hello", "instructions": "Be kind.", "tools": [TOOL]}
    made = client.responses.create(model="tiny", max_output_tokens=1, **asked)
    counted = client.responses.input_tokens.count(model="tiny", **asked)
    assert made.usage is not None
    assert counted.input_tokens == made.usage.input_tokens
    going_on = client.responses.input_tokens.count(model="tiny", input="More", previous_response_id=made.id)
    assert going_on.input_tokens > 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "nothing"}]}, "input[0]"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "temperature": -1}, "temperature"),
        ({"input": "x", "top_logprobs": 21}, "top_logprobs"),
        ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"input": "x", "metadata": {"a": 1}}, "metadata"),
        ({"input": "x", "metadata": {f"k{n}": "" for n in range(17)}}, "metadata"),
        ({"input": "x", "truncation": "middle"}, "truncation"),
        ({"input": "x", "tool_choice": "required"}, "tool_choice"),
        ({"input": "x", "conversation": "c"}, "conversation"),
        ({"input": "x", "previous_response_id": "resp_none"}, "previous_response_id"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_requests_that_are_wrong(body: Any, param: str, stream: bool) -> None:
    assert error_of(post("/v1/responses", {**body, "stream": stream}), 400)["param"] == param


def test_slips_are_told_in_a_header() -> None:
    answer = post(
        "/v1/responses", {"input": "x", "max_output_token": 3, "max_output_tokens": 1, "service_tier": "auto"}
    )
    assert answer.headers["x-llama-bind-warning"] == "unknown field max_output_token, did you mean max_output_tokens?"


def test_a_client_that_leaves_ends_its_request(client: openai.OpenAI) -> None:
    before = llm().stats.cancelled
    stream = client.responses.create(model="tiny", input="Hello", max_output_tokens=3500, stream=True, **GREEDY)
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    stream.close()
    for _ in range(1000):
        if llm().stats.cancelled > before:
            break
        time.sleep(0.01)
    assert llm().stats.cancelled > before


def test_a_failure_in_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_bind.errors import EngineCrashedError
    from llama_bind.server.responses.shape import ResponseShape

    take = ResponseShape.chunks

    def failing(self: Any, index: int, event: Any, *, usage: bool = True) -> Any:
        if len(self._writer.response["output"]) == 1:
            raise EngineCrashedError(9)
        return take(self, index, event, usage=usage)

    monkeypatch.setattr(ResponseShape, "chunks", failing)
    own = app_of()
    events = events_of(post("/v1/responses", {"input": "Hello", "stream": True, **WIRE}, app=own))
    final = checked(events)
    assert events[-2]["type"] == "error"
    assert events[-2]["code"] == "engine_crashed"
    assert (final["status"], final["error"]["code"]) == ("failed", "server_error")
    assert get(f"/v1/responses/{final['id']}", app=own).json() == final
    assert error_of(post("/v1/responses", {"input": "Hello", **WIRE}, app=own), 503)["code"] == "engine_crashed"


def test_the_asynchronous_client(client: openai.OpenAI) -> None:
    async def work() -> list[str]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="secret", max_retries=0) as many:

            async def one() -> str:
                stream = await many.responses.create(
                    model="tiny", input="Hello", max_output_tokens=6, stream=True, **GREEDY
                )
                return "".join([e.delta async for e in stream if e.type == "response.output_text.delta"])

            return list(await asyncio.gather(*(one() for _ in range(12))))

    texts = asyncio.run(work())
    assert len(set(texts)) == 1
    assert texts[0]
