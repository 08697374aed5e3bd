"""What comes in at the Responses API: items, messages out of them, options, the store."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import ResponseItem
from openai.types.responses.response import Response

from llama_bind.errors import InputError
from llama_bind.server.errors import ApiError
from llama_bind.server.responses.items import opened, read_items, references, sealed
from llama_bind.server.responses.messages import chat_messages, shortened
from llama_bind.server.responses.request import read_request, retold
from llama_bind.server.responses.store import Record, Store
from tests.responses import typed


def messages(given: Any, instructions: str | None = None) -> list[Any]:
    return chat_messages(read_items(given), instructions)


def refusal(function: Any, *args: Any, **keywords: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        function(*args, **keywords)
    assert caught.value.status == 400
    return caught.value


USER = {"role": "user", "content": "Hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "2"}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Two", "annotations": []}]}
THOUGHT = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}

# -- items -------------------------------------------------------------------------------------------------------


def test_items_are_what_the_client_lists() -> None:
    items = read_items([
        USER,
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}]},
        THOUGHT, SAID, CALL, RESULT,
        {**RESULT, "output": [{"type": "input_text", "text": "2"}]},
        {"role": "assistant", "content": "Yes", "phase": "final_answer"},
        {**SAID, "content": [{"type": "refusal", "refusal": "No"}]},
    ])  # fmt: skip
    for item in items:
        typed(item, ResponseItem)
    assert len({item["id"] for item in items}) == len(items)
    assert [item["id"].split("_")[0] for item in items[3:7]] == ["rs", "msg", "fc", "fco"]
    assert read_items([{**USER, "id": "msg_own"}])[0]["id"] == "msg_own"
    assert read_items("Hi")[0]["content"] == [{"type": "input_text", "text": "Hi"}]


def test_references() -> None:
    stored = read_items([SAID])[0]
    given = [{"type": "item_reference", "id": stored["id"]}, USER, {"id": stored["id"]}]
    assert references(given) == [stored["id"]] * 2
    assert references("text") == []
    found = read_items(given, {stored["id"]: stored}.get)
    assert found[0] is stored
    assert found[2] is stored
    error = refusal(read_items, given)
    assert (error.code, error.param) == ("item_not_found", "input[0]")


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ("text", "input[0]"),
        (None, "input[0]"),
        ({"type": "computer_call"}, "input[0]"),
        ({"type": ["message"]}, "input[0]"),
        ({"role": "tool", "content": "x"}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": 5}, "input[0].content"),
        ({"role": "user", "content": [5]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}, "input[0].content[0]"),
        ({**SAID, "status": "done"}, "input[0].status"),
        ({**CALL, "arguments": {}}, "input[0].arguments"),
        ({**CALL, "name": None}, "input[0].name"),
        ({**RESULT, "call_id": 1}, "input[0].call_id"),
        ({**RESULT, "output": None}, "input[0].output"),
        ({**RESULT, "output": {}}, "input[0].output"),
        ({**THOUGHT, "content": "hm"}, "input[0].content"),
        ({**THOUGHT, "summary": [{"type": "summary_text"}]}, "input[0].summary[0].text"),
        ({"type": "item_reference"}, "input[0].id"),
    ],
)
def test_items_that_are_wrong(item: Any, param: str) -> None:
    error = refusal(read_items, [item])
    assert error.param == param
    assert param in error.message


# -- messages ----------------------------------------------------------------------------------------------------


def test_what_a_model_wrote_in_one_go_is_one_message() -> None:
    assert messages([USER, THOUGHT, SAID, CALL, {**CALL, "call_id": "c2"}, RESULT, {**RESULT, "call_id": "c2"}]) == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant", "content": "Two", "reasoning_content": "hm",
            "tool_calls": [TOOL_CALL, {**TOOL_CALL, "id": "c2"}],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "2"},
        {"role": "tool", "tool_call_id": "c2", "name": "add", "content": "2"},
    ]  # fmt: skip


def test_messages_that_stay_apart() -> None:
    roles: list[Any] = [
        ([SAID, SAID], ["Two", "Two"]),
        ([SAID, THOUGHT, SAID], ["Two", "Two"]),
        ([CALL, SAID], ["Two"]),
        ([SAID, CALL, SAID], [[{"type": "text", "text": "Two"}] * 2]),
        ([THOUGHT, THOUGHT, SAID], ["Two"]),
        ([THOUGHT], [None]),
    ]
    for given, contents in roles:
        assert [m["content"] for m in messages([USER, *given])[1:]] == contents, given
    assert messages([USER, THOUGHT, THOUGHT])[1]["reasoning_content"] == "hm\nhm"


def test_contents() -> None:
    image = {"type": "input_image", "image_url": "http://x/y.png"}
    audio = {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}
    (message,) = messages([{"role": "user", "content": [{"type": "input_text", "text": "See"}, image, audio]}])
    assert message["content"] == [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "auto"}},
        audio,
    ]
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert messages([CALL, {**RESULT, "output": parts}])[1]["content"] == [
        {"type": "text", "text": "a"}, {"type": "text", "text": "b"},
    ]  # fmt: skip


def test_instructions_and_system_messages_are_one() -> None:
    told = {"role": "developer", "content": "Be kind."}
    assert messages("Hi", "Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert messages([told, USER], "Be brief.")[0] == {"role": "system", "content": "Be brief.\n\nBe kind."}
    assert messages([told, USER])[0] == {"role": "developer", "content": "Be kind."}
    assert [m["role"] for m in messages([USER, told], "Be brief.")] == ["system", "user", "developer"]
    assert messages([], "Say something.") == [{"role": "system", "content": "Say something."}]


def test_conversations_that_are_none() -> None:
    assert refusal(messages, []).param == "input"
    error = refusal(messages, [USER, RESULT])
    assert "'c1'" in error.message


def test_reasoning_comes_back() -> None:
    def reasoning(**item: Any) -> Any:
        return messages([USER, {"type": "reasoning", "summary": [], **item}, SAID])[1].get("reasoning_content")

    summary = [{"type": "summary_text", "text": "short"}]
    assert reasoning(encrypted_content=sealed("dœep")) == "dœep"
    assert reasoning(encrypted_content="gAAAA", summary=summary) == "short"
    assert reasoning(encrypted_content="gAAAA") is None
    assert reasoning(content=THOUGHT["content"], summary=summary, encrypted_content=sealed("x")) == "hm"
    assert opened(sealed("")) == ""
    assert opened("llama_bind.1.!!") is None
    assert opened("llama_bind.1./w==") is None


def test_old_turns_are_left_out() -> None:
    told = {"role": "system", "content": "s"}
    turns = [{"role": role, "content": f"{n}"} for n in range(5) for role in ("user", "assistant")]
    conversation = [told, *turns]
    for most in range(1, 12):
        calls: list[int] = []

        def fits(shorter: list[Any], most: int = most, calls: list[int] = calls) -> bool:
            calls.append(len(shorter))
            return len(shorter) <= most

        found = shortened(conversation, fits)
        assert len(calls) <= 3
        if most < 3:
            assert found is None
        else:
            assert found is not None
            assert found == [told, *turns[len(turns) - (len(found) - 1) :]]
            assert len(found) == min(most - (most % 2 == 0), 9), "no more is left out than must be"
    assert shortened([told], lambda _: True) is None
    assert shortened([USER], lambda _: True) is None


# -- options -----------------------------------------------------------------------------------------------------


def test_options_of_a_chat_completion() -> None:
    asked = read_request({
        "max_output_tokens": 9, "temperature": 0.5, "top_k": 3, "safety_identifier": "me", "top_logprobs": 2,
        "reasoning": {"effort": "low", "summary": "auto"}, "parallel_tool_calls": False,
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": False}},
        "stream": True, "metadata": {"a": "b"}, "include": ["reasoning.encrypted_content"], "truncation": "auto",
    })  # fmt: skip
    assert asked.options == {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_k": 3,
        "user": "me",
        "logprobs": True,
        "top_logprobs": 2,
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": False},
        },
    }
    assert (asked.store, asked.background, asked.seal, asked.truncate) == (True, False, True, True)
    assert asked.told["reasoning"] == {"effort": "low", "summary": None}
    assert asked.told["metadata"] == {"a": "b"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"instructions": "Be brief.", "user": "me", "previous_response_id": "resp_1", "metadata": {"a": "b"}},
        {"tools": [{"type": "function", "name": "f", "parameters": None, "strict": None}], "tool_choice": "required"},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "function", "name": "f"}},
        {"tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]}},
        {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}},
        {"max_tool_calls": 3, "prompt_cache_key": "k", "safety_identifier": "s", "truncation": "auto", "store": False},
        {"background": True, "service_tier": "auto", "reasoning": {"effort": "none"}, "top_logprobs": 3},
    ],
)
def test_what_is_given_back_has_the_clients_types(body: Any) -> None:
    told = read_request(body).told
    whole = {"id": "r", "object": "response", "created_at": 1, "model": "m", "output": [], **told}
    typed(whole, Response)


def test_defaults() -> None:
    asked = read_request({"tool_choice": "auto"})
    assert asked.options == {}
    assert asked.told["text"] == {"format": {"type": "text"}, "verbosity": "medium"}
    assert read_request({"max_tokens": 3}).options == {"max_tokens": 3}
    assert read_request({"include": ["message.output_text.logprobs"]}).options == {"logprobs": True}
    nested = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    assert read_request({"text": {"format": nested}}).told["text"]["format"]["schema"] == {"type": "object"}
    assert read_request({"tool_choice": "required"}).options == {"tool_choice": "required"}, "the library refuses it"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools", "'web_search'"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools", "'custom'"),
        ({"tools": [{"type": "function"}]}, "tools", "tools[0].name"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice", "'file_search'"),
        ({"tool_choice": {"type": "function"}}, "tool_choice", "name"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice", "list"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp"}]}}, "tool_choice", "'mcp'"),
        ({"tool_choice": "any"}, "tool_choice", "required"),
        ({"tool_choice": {}}, "tool_choice", "required"),
        ({"text": {"format": "json"}}, "text.format.type", "json_schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "json_schema"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema", "Schema"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort", "text"),
        ({"conversation": "conv_1"}, "conversation", "previous_response_id"),
        ({"prompt": {"id": "p"}}, "prompt", "instructions"),
        ({"context_management": [{"type": "compaction"}]}, "context_management", "truncation"),
        ({"background": True, "store": False}, "background", "stored"),
    ],
)
def test_what_there_is_not_here(body: Any, param: str, words: str) -> None:
    error = refusal(read_request, body)
    assert error.param == param
    assert words in error.message


def test_a_server_that_keeps_nothing() -> None:
    assert read_request({}, can_store=False).told["store"] is False
    assert refusal(read_request, {"store": True}, can_store=False).param == "store"
    assert refusal(read_request, {"background": True}, can_store=False).param == "background"


def test_errors_name_the_fields_that_clients_know() -> None:
    assert retold(InputError("too few", param="max_tokens")).param == "max_output_tokens"
    assert retold(InputError("wrong", param="temperature")).param == "temperature"


# -- the store ---------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Running:
    done = False


def record(name: str, owner: str | None = None, *, size: int = 0, job: Any = None) -> Record:
    response = {"id": name, "output": [{"id": f"out_{name}"}]}
    return Record(response, owner, [{"id": "in_0"}, {"id": f"in_{name}"}], size, 1, job)


def names(store: Store) -> list[str]:
    return [name for name in "abcdef" if store.get(None, name) is not None]


def test_the_oldest_go_when_there_are_too_many() -> None:
    store = Store(2, 1000, 100)
    for name in "abc":
        store.put(record(name), 10)
    assert names(store) == ["b", "c"]
    assert store.size == 20
    assert store.item(None, "out_a") is None
    assert store.item(None, "in_b") == {"id": "in_b"}
    assert store.item(None, "in_0") is None, "an item of an earlier response"


def test_the_oldest_go_when_they_are_too_much() -> None:
    store = Store(10, 100, 100)
    for name in "abc":
        store.put(record(name, size=30), 10)
    assert names(store) == ["b", "c"]
    store.put(record("d", size=90), 20)
    assert names(store) == [], "one that is too large by itself is not kept"
    assert store.size == 0


def test_age() -> None:
    clock = Clock()
    store = Store(10, 1000, 100, clock)
    store.put(record("a"), 1)
    clock.now = 60
    store.put(record("b"), 1)
    clock.now = 101
    assert names(store) == ["b"]
    assert store.item(None, "in_a") is None
    clock.now = 161
    assert names(store) == []
    assert len(store) == 0


def test_what_is_another_keys_is_not_there() -> None:
    store = Store(10, 1000, 100)
    store.put(record("a", "key-1"), 1)
    assert store.get("key-2", "a") is None
    assert store.get(None, "a") is None
    assert store.item("key-2", "out_a") is None
    found = store.get("key-1", "a")
    assert found is not None
    assert store.item("key-1", "out_a") == {"id": "out_a"}
    store.remove(found)
    store.remove(found)
    assert store.get("key-1", "a") is None
    assert (store.size, len(store)) == (0, 0)


def test_what_is_being_generated_stays() -> None:
    clock = Clock()
    store = Store(2, 1000, 100, clock)
    job: Any = Running()
    running = record("a", job=job)
    store.put(running, 0)
    clock.now = 200
    store.put(record("b"), 1)
    store.put(record("c"), 1)
    assert names(store) == ["a", "c"]
    assert store.item(None, "out_a") is None, "not before it is finished"
    other: Any = Running()
    store.put(record("d", job=other), 1)
    assert names(store) == ["a", "d"]
    with pytest.raises(ApiError) as caught:
        store.put(record("e", job=Running()), 1)
    assert caught.value.status == 429
    job.done = True
    store.finished(running, 50)
    assert names(store) == ["d"], "it was made long ago"
    store.finished(running, 50)
    assert store.size == 1
