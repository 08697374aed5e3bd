"""The Responses API on tiny models over a socket, with the official client: its helpers, and its types."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import openai
import pytest
from openai.types.responses import ResponseItem
from pydantic import BaseModel

from llama_bind import Llama
from tests.llamas import TEMPLATE, tiny
from tests.responses import checked, typed
from tests.servers import app_of, error_of, get, listening, post

GREEDY: Any = {"temperature": 0, "extra_body": {"ignore_eos": True}}
WIRE: Any = {"temperature": 0, "ignore_eos": True}
THINKING = TEMPLATE + "{# <think> </think> #}"
SCHEMA = {
    "type": "object",
    "properties": {"word": {"enum": ["yes"]}, "sure": {"const": True}},
    "required": ["word", "sure"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "name": "answer", "parameters": SCHEMA, "strict": True}


@functools.cache
def llm() -> Llama:
    """One with room for what models are told about tools."""
    return tiny(n_ctx=4096, n_seq_max=4, file={"n_ctx_train": 4096})


@functools.cache
def app() -> Any:
    return app_of(llm(), api_key=["secret", "other"])


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with (
        listening(app()) as port,
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret", max_retries=0, timeout=60) as made,
    ):
        yield made


def raw(client: openai.OpenAI, method: str, path: str, **more: Any) -> httpx.Response:
    """An answer as it comes over the wire."""
    headers = {"Authorization": f"Bearer {client.api_key}"}
    return httpx.request(method, f"{client.base_url}{path}", headers=headers, timeout=60, **more)


def events_of(answer: httpx.Response) -> list[Any]:
    """The events of a stream, which must be well formed, with their names."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *blocks, rest = answer.text.split("\n\n")
    assert rest == ""
    found = []
    for block in blocks:
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def streamed(client: openai.OpenAI, **body: Any) -> list[Any]:
    return events_of(raw(client, "POST", "responses", json={**WIRE, **body, "stream": True}))


def chat_text(messages: Any, **options: Any) -> str:
    """What the library itself says."""
    made: Any = llm().create_chat_completion(messages, temperature=0, ignore_eos=True, **options)
    text: str = made["choices"][0]["message"]["content"]
    return text


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


# -- what is stored ----------------------------------------------------------------------------------------------


def test_a_conversation_that_the_server_keeps(client: openai.OpenAI) -> None:
    asked: Any = {"model": "tiny", "max_output_tokens": 5, **GREEDY}
    first = client.responses.create(input="Hello", instructions="Be kind.", **asked)
    second = client.responses.create(input="More", previous_response_id=first.id, **asked)
    third = client.responses.create(input="And?", previous_response_id=second.id, **asked)
    said: list[Any] = []
    for question, response in (("Hello", first), ("More", second)):
        said += [{"role": "user", "content": question}, {"role": "assistant", "content": response.output_text}]
    assert third.output_text == chat_text([*said, {"role": "user", "content": "And?"}], max_tokens=5)
    assert second.output_text == chat_text([*said[:2], {"role": "user", "content": "More"}], max_tokens=5)
    client.responses.delete(first.id)
    assert (
        client.responses.create(input="And?", previous_response_id=second.id, **asked).output_text == third.output_text
    )
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(input="x", previous_response_id=first.id, **asked)
    assert caught.value.code == "previous_response_not_found"


def test_fetching_listing_and_deleting(client: openai.OpenAI) -> None:
    first = client.responses.create(model="tiny", input="Hello", max_output_tokens=3, **GREEDY)
    made = client.responses.create(
        model="tiny", input="More", previous_response_id=first.id, max_output_tokens=3, **GREEDY
    )
    assert client.responses.retrieve(made.id).model_dump() == made.model_dump()
    listed = client.responses.input_items.list(made.id)
    texts = [item.content[0].text for item in listed]  # type: ignore[union-attr,index]
    assert texts == ["More", first.output_text, "Hello"]
    ids = [item.id for item in client.responses.input_items.list(made.id, order="asc", limit=1)]
    assert len(ids) == 3, "the client turns the pages"
    assert ids == [item.id for item in listed][::-1]
    for item in raw(client, "GET", f"responses/{made.id}/input_items").json()["data"]:
        typed(item, ResponseItem)
    reference: Any = [{"type": "item_reference", "id": ids[1]}, {"role": "user", "content": "More"}]
    again = client.responses.create(
        model="tiny", input=[{"role": "user", "content": "Hello"}, *reference], max_output_tokens=3, **GREEDY
    )
    assert again.output_text == made.output_text
    other = client.with_options(api_key="other")
    for work in (other.responses.retrieve, other.responses.delete, other.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            work(made.id)
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(made.id)


def test_what_is_not_stored(client: openai.OpenAI) -> None:
    made = client.responses.create(model="tiny", input="Hello", max_output_tokens=1, store=False, **GREEDY)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    forgetful = app_of(max_responses=0)
    answer = post("/v1/responses", {"input": "Hello", "max_output_tokens": 1}, app=forgetful).json()
    assert answer["store"] is False
    assert error_of(get(f"/v1/responses/{answer['id']}", app=forgetful), 404)
    assert error_of(post("/v1/responses", {"input": "Hello", "store": True}, app=forgetful), 400)["param"] == "store"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("?stream=true", 400),
        ("/input_items?limit=0", 400),
        ("/input_items?limit=x", 400),
        ("/input_items?limit=1000", 400),
        ("/input_items?order=up", 400),
        ("/input_items?after=msg_none", 400),
    ],
)
def test_questions_about_stored_responses_that_are_wrong(client: openai.OpenAI, path: str, status: int) -> None:
    made = client.responses.create(model="tiny", input="Hello", max_output_tokens=1, **GREEDY)
    error_of(raw(client, "GET", f"responses/{made.id}{path}"), status)
    error_of(raw(client, "POST", f"responses/{made.id}/cancel"), 400)


# -- in the background -------------------------------------------------------------------------------------------


def wait_for(client: openai.OpenAI, name: str) -> Any:
    for _ in range(3000):
        found = client.responses.retrieve(name)
        if found.status not in ("queued", "in_progress"):
            return found
        time.sleep(0.01)
    raise AssertionError("it did not end within 30 s")


def test_in_the_background(client: openai.OpenAI) -> None:
    asked: Any = {"model": "tiny", "input": "Hello", "max_output_tokens": 6, **GREEDY}
    made = client.responses.create(background=True, **asked)
    assert made.status in ("queued", "in_progress")
    typed(made.model_dump(mode="json", exclude_unset=True))
    done = wait_for(client, made.id)
    assert done.output_text == client.responses.create(**asked).output_text
    events = events_of(raw(client, "GET", f"responses/{made.id}?stream=true"))
    assert checked(events) == raw(client, "GET", f"responses/{made.id}").json()
    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    later = events_of(raw(client, "GET", f"responses/{made.id}?stream=true&starting_after=4"))
    assert later == events[5:]
    with client.responses.stream(response_id=made.id, starting_after=4) as stream:
        assert [event.sequence_number for event in stream] == [event["sequence_number"] for event in events[5:]]
    assert client.responses.cancel(made.id).status == "incomplete", "one that has ended stays as it is"
    going_on = client.responses.create(
        model="tiny", input="More", previous_response_id=made.id, max_output_tokens=1, **GREEDY
    )
    assert going_on.status == "incomplete"


def test_a_client_that_leaves_does_not_end_what_is_in_the_background(client: openai.OpenAI) -> None:
    asked: Any = {"model": "tiny", "input": "Hello", "max_output_tokens": 200, "background": True, **GREEDY}
    stream = client.responses.create(stream=True, **asked)
    seen = []
    for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    stream.close()
    name = seen[0].response.id
    last = seen[-1].sequence_number
    with client.responses.retrieve(name, stream=True, starting_after=last) as rest:
        events = list(rest)
    assert [event.sequence_number for event in events] == list(range(last + 1, last + 1 + len(events)))
    assert events[-1].type == "response.incomplete"
    assert wait_for(client, name).usage.output_tokens == 200


def test_cancelling_in_the_background(client: openai.OpenAI) -> None:
    asked: Any = {"model": "tiny", "input": "Hello", "max_output_tokens": 3500, "background": True, **GREEDY}
    made = client.responses.create(**asked)
    for _ in range(1000):
        if client.responses.retrieve(made.id).output:
            break
        time.sleep(0.01)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="tiny", input="x", previous_response_id=made.id)
    assert caught.value.code == "response_not_ready"
    ended = client.responses.cancel(made.id)
    assert ended.status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"
    checked(events_of(raw(client, "GET", f"responses/{made.id}?stream=true")))
    other = client.responses.create(**asked)
    client.responses.delete(other.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(other.id)
    for _ in range(1000):
        if llm().stats.running == 0:
            break
        time.sleep(0.01)
    assert llm().stats.running == 0


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
