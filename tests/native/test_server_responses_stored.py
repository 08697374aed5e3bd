"""Stored responses, conversations that go on from them, and the background, with the official client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseItem

from tests.responses import checked, typed
from tests.responses_http import GREEDY, chat_text, connected, llm, raw
from tests.servers import app_of, error_of, events_of, get, listening, post


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with connected() as made:
        yield made


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


def test_the_end_of_the_server_ends_what_is_in_the_background() -> None:
    app = app_of(llm())
    with listening(app) as port, openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client:
        made = client.responses.create(model="tiny", input="Hello", max_output_tokens=3500, background=True, **GREEDY)
        assert made.status == "queued"
    record = app.state.responses.store.get(None, made.id)
    assert record.response["status"] == "cancelled"
    assert not record.running


def test_what_is_in_the_background_counts_for_its_key() -> None:
    app = app_of(llm(), key_concurrency=1)
    with (
        listening(app) as port,
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client,
    ):
        asked: Any = {"model": "tiny", "input": "Hello", **GREEDY}
        made = client.responses.create(max_output_tokens=3500, background=True, **asked)
        with pytest.raises(openai.RateLimitError):
            client.responses.create(max_output_tokens=1, **asked)
        assert client.responses.cancel(made.id).status == "cancelled"
        assert client.responses.create(max_output_tokens=1, **asked).status == "incomplete"
