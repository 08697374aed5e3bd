"""Requests of Anthropic's Messages API become messages and options of a chat; what cannot be read says where it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llama_bind.server.anthropic.messages import read_messages
from llama_bind.server.anthropic.request import read_request
from llama_bind.server.body import _read
from llama_bind.server.errors import ApiError
from llama_bind.server.schemas.base import fields_of
from llama_bind.server.schemas.messages import OPTIONS, WITHOUT, CountRequest, MessagesRequest

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"location": "Paris"}}
SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def result(content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}


def body(**given: Any) -> dict[str, Any]:
    return {"max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}], **given}


def options(**given: Any) -> dict[str, Any]:
    return read_request(body(**given)).options


# -- messages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["Hello", [text("Hello")], [{**text("Hello"), "cache_control": {"type": "x"}}]])
def test_a_text_is_short_for_a_block_of_it(content: Any) -> None:
    assert read_messages(None, [{"role": "user", "content": content}]) == [{"role": "user", "content": "Hello"}]


def test_the_system_prompt_comes_first() -> None:
    said = [{"role": "user", "content": "Hello"}]
    assert read_messages("Be brief.", said)[0] == {"role": "system", "content": "Be brief."}
    assert read_messages([text("Be brief."), text("Be kind.")], said)[0]["content"] == [
        text("Be brief."),
        text("Be kind."),
    ]
    nothing: list[Any] = [None, "", []]
    for system in nothing:
        assert read_messages(system, said) == said


def test_the_stamp_of_a_client_does_not_make_every_prompt_a_new_one() -> None:
    head = "x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch="
    one, two = (read_messages([text(f"{head}{stamp};"), text("Be brief.")], []) for stamp in ("a5145", "ef01a"))
    assert one == two
    assert one[0]["content"][0]["text"] == f"{head}00000;"
    other = "Say cch=a5145; x-anthropic-billing-header: cch=a5145;"
    assert read_messages(other, [])[0]["content"] == other
    assert read_messages(None, [{"role": "user", "content": f"{head}a5145;"}])[0]["content"].endswith("a5145;")


def test_turns_of_one_role_are_one() -> None:
    said = [user(text("a")), {"role": "user", "content": "b"}, assistant(text("c")), assistant(text("d")), user()]
    assert read_messages(None, said) == [
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
        {"role": "user", "content": ""},
    ]


def test_the_system_may_speak_later() -> None:
    later = {"type": "mid_conv_system", "content": [text("Now in French.")]}
    told = [{"role": "user", "content": "a"}, {"role": "system", "content": "Now in French."}]
    assert read_messages(None, [user(text("a"), later)]) == told
    assert read_messages(None, [user(text("a")), {"role": "system", "content": "Now in French."}]) == told
    assert [m["role"] for m in read_messages("x", [{"role": "system", "content": "y"}, user(text("a"))])] == [
        "system",
        "user",
    ]


def test_calls_and_their_results() -> None:
    said = [user(text("Weather?")), assistant(text("I look."), USE), user(text("Here:"), result("Sunny, 25°C"))]
    assert read_messages(None, said) == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": {"location": "Paris"}},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Sunny, 25°C"},
        {"role": "user", "content": "Here:"},
    ]
    only_a_call = read_messages(None, [assistant(USE)])[0]
    assert only_a_call["content"] == ""
    assert len(only_a_call["tool_calls"]) == 1


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (result("Sunny"), "Sunny"),
        (result([text("Sunny"), text("25°C")]), "Sunny\n25°C"),
        (result([]), ""),
        (result(None), ""),
        ({"type": "tool_result", "tool_use_id": "toolu_1"}, ""),
        (result("City not found", is_error=True), "Error: City not found"),
        (result([text("City not found")], is_error=True), "Error: City not found"),
        (result("Error: no city", is_error=True), "Error: no city"),
        (result("fine", is_error=False), "fine"),
        (result("fine", is_error=None), "fine"),
        (
            result([{"type": "search_result", "title": "T", "source": "http://x", "content": [text("found")]}]),
            "T\nhttp://x\nfound",
        ),
    ],
)
def test_results_as_text(block: dict[str, Any], content: str) -> None:
    assert read_messages(None, [assistant(USE), user(block)])[1]["content"] == content


def test_documents_that_are_text() -> None:
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    parts = {"type": "document", "source": {"type": "content", "content": [text("one"), text("two")]}, "title": "T"}
    whole = {"type": "document", "source": {"type": "content", "content": "all"}, "title": "T", "context": "C"}
    said = read_messages(None, [user(plain, parts, whole)])[0]["content"]
    assert [part["text"] for part in said] == ["words", "T\none\ntwo", "T\nC\nall"]


def test_thoughts_go_back_to_the_model_and_secret_ones_do_not() -> None:
    thought = {"type": "thinking", "thinking": "First look.", "signature": "abc"}
    again = {"type": "thinking", "thinking": "Then answer.", "signature": ""}
    hidden = {"type": "thinking", "thinking": "", "signature": "abc"}
    secret = {"type": "redacted_thinking", "data": "xyz"}
    told = read_messages(None, [assistant(thought, secret, again, hidden, text("Sunny"))])[0]
    assert told == {"role": "assistant", "content": "Sunny", "reasoning_content": "First look.\nThen answer."}
    assert read_messages(None, [assistant(secret, hidden)])[0] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    ("messages", "where", "code"),
    [
        (["x"], "messages.0:", "invalid_type"),
        ([{}], "messages.0.role:", "missing_required_parameter"),
        ([{"role": 5, "content": "x"}], "messages.0.role:", "invalid_type"),
        ([{"role": "tool", "content": "x"}], "messages.0.role:", "invalid_value"),
        ([{"role": "user"}], "messages.0.content:", "missing_required_parameter"),
        ([{"role": "user", "content": 5}], "messages.0.content:", "invalid_type"),
        ([{"role": "user", "content": {"type": "text"}}], "messages.0.content:", "invalid_type"),
        ([user("x")], "messages.0.content.0:", "invalid_type"),
        ([user({})], "messages.0.content.0.type:", "missing_required_parameter"),
        ([user({"type": ["text"]})], "messages.0.content.0.type:", "invalid_type"),
        ([user({"type": "text"})], "messages.0.content.0.text:", "missing_required_parameter"),
        ([user({"type": "text", "text": 5})], "messages.0.content.0.text:", "invalid_type"),
        ([user({"type": "poem" * 100, "text": "x"})], "messages.0.content.0:", "invalid_value"),
        ([user(text("a"), PNG)], "messages.0.content.1:", "unsupported"),
        ([assistant(USE), user(result([text("a"), PNG]))], "messages.1.content.0.content.1:", "unsupported"),
        ([user({"type": "thinking", "thinking": "x"})], "messages.0.content.0:", "invalid_value"),
        ([user(USE)], "messages.0.content.0:", "invalid_value"),
        ([assistant(result("x"))], "messages.0.content.0:", "invalid_value"),
        ([assistant({**USE, "input": "x"})], "messages.0.content.0.input:", "invalid_type"),
        ([assistant({**USE, "input": None})], "messages.0.content.0.input:", "invalid_type"),
        ([assistant({**USE, "id": None})], "messages.0.content.0.id:", "missing_required_parameter"),
        ([assistant({**USE, "name": 1})], "messages.0.content.0.name:", "invalid_type"),
        ([user(result("x", is_error="yes"))], "messages.0.content.0.is_error:", "invalid_type"),
        ([user({"type": "tool_result"})], "messages.0.content.0.tool_use_id:", "missing_required_parameter"),
        ([user({"type": "document"})], "messages.0.content.0.source:", "invalid_type"),
        ([user({"type": "document", "source": {"type": "base64"}})], "messages.0.content.0.source:", "unsupported"),
        ([user({"type": "document", "source": {"type": "url"}})], "messages.0.content.0.source:", "unsupported"),
        ([user({"type": "search_result"})], "messages.0.content.0.title:", "missing_required_parameter"),
        ([user({"type": "mid_conv_system"})], "messages.0.content.0.content:", "invalid_type"),
        ([assistant({"type": "server_tool_use"})], "messages.0.content.0:", "unsupported"),
        ([assistant({"type": "web_search_tool_result"})], "messages.0.content.0:", "unsupported"),
        ([user({"type": "container_upload"})], "messages.0.content.0:", "unsupported"),
    ],
)
def test_what_cannot_be_read_says_where_it_is(messages: list[Any], where: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_messages(None, messages)
    assert caught.value.message.startswith(where)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, "messages")
    assert len(caught.value.message) < 300


def test_images_are_refused_in_plain_words() -> None:
    with pytest.raises(ApiError, match="image input is not supported"):
        read_messages(None, [user(PNG)])
    with pytest.raises(ApiError, match=r"system\.1: image input is not supported"):
        read_messages([text("a"), PNG], [])


# -- tools -------------------------------------------------------------------------------------------------------


def test_tools() -> None:
    assert options(tools=[TOOL, {"name": "now", "input_schema": {"type": "object"}, "type": "custom", "strict": True}])[
        "tools"
    ] == [
        {
            "type": "function",
            "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA},
        },
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}, "strict": True}},
    ]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "get_weather"},
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        ),
        (
            {"type": "any", "disable_parallel_tool_use": True},
            {"tool_choice": "required", "parallel_tool_calls": False},
        ),
        ({"type": "auto", "disable_parallel_tool_use": False}, {"tool_choice": "auto"}),
    ],
)
def test_choices_among_tools(choice: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = options(tools=[TOOL], tool_choice=choice)
    assert {k: v for k, v in found.items() if k in ("tool_choice", "parallel_tool_calls")} == wanted


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tools": ["x"]}, "tools.0: must be an object"),
        ({"tools": [TOOL, {"name": "x"}]}, "tools.1.input_schema: is missing"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name: is missing"),
        ({"tools": [{**TOOL, "input_schema": "x"}]}, "tools.0.input_schema: must be an object"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0: tools of type 'web_search"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "declare a function of your own"),
        ({"tools": [{"type": "computer_20250124", "name": "computer"}]}, "Anthropic's own"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "Anthropic's own"),
        ({"tools": [{**TOOL, "type": 5}]}, "tools.0: tools of type '5'"),
        ({"mcp_servers": [{"url": "http://x"}]}, "mcp_servers: this server calls no others"),
        ({"thread": {"type": "create"}}, "thread: this server holds no conversations"),
        ({"compaction": {"type": "x"}}, "compaction: this server makes no summaries"),
        ({"tools": [TOOL], "tool_choice": {}}, "tool_choice.type: is missing"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.type: must be one of"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name: is missing"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": 1}},
            "tool_choice.disable_parallel_tool_use: must be true or false",
        ),
        ({"stop_sequences": ["a", ""]}, "stop_sequences.1: must not be empty"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id: must be a string"),
        ({"output_config": {"format": "json"}}, "output_config.format: must be an object"),
        ({"output_config": {"format": {"type": "text"}}}, "output_config.format.type: must be json_schema"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema: must be an object"),
        ({"output_format": {"type": "json_schema", "schema": 1}}, "output_format.schema: must be an object"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort: must be one of"),
        ({"thinking": {}}, "thinking.type: is missing"),
        ({"thinking": {"type": "on"}}, "thinking.type: must be one of"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens: is missing"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens: must be a whole number"),
        ({"thinking": {"type": "enabled", "budget_tokens": True}}, "thinking.budget_tokens: must be a whole number"),
        ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "thinking.budget_tokens: must be less than max"),
        ({"thinking": {"type": "adaptive", "display": "x"}}, "thinking.display: must be"),
    ],
)
def test_what_is_not_to_be_had(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_request(body(**given))
    assert words in caught.value.message
    assert caught.value.param == list(given)[-1]


# -- other options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"enable_thinking": False}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 50}},
            {"enable_thinking": True, "reasoning_budget": 50},
        ),
        ({"thinking": {"type": "adaptive"}}, {"enable_thinking": True}),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
            {"enable_thinking": True, "reasoning_effort": "low"},
        ),
        ({"output_config": {"effort": "low"}}, {"enable_thinking": False}),
        ({"enable_thinking": True}, {}),
        ({"reasoning_budget": 5}, {}),
        ({"chat_template_kwargs": {"enable_thinking": True}}, {}),
        ({"chat_template_kwargs": {"x": 1}}, {"enable_thinking": False}),
    ],
)
def test_thinking(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert options(**given) == wanted


def test_thinking_between_tools_only() -> None:
    def thinks(*messages: dict[str, Any]) -> bool:
        asked = body(messages=[user(text("Weather?")), *messages], thinking={"type": "between_tools"})
        return bool(read_request(asked).options["enable_thinking"])

    assert not thinks()
    assert thinks(assistant(USE), user(result("Sunny")))
    assert thinks(assistant(USE), user(result("Sunny"), text("So?")))
    assert not thinks(assistant(USE), user(result("Sunny")), assistant(text("Sunny.")), user(text("And now?")))


def test_thoughts_that_are_not_to_be_shown() -> None:
    def shown(**display: Any) -> bool:
        return read_request(body(thinking={"type": "adaptive", **display})).show_thinking

    assert shown()
    assert shown(display="summarized")
    assert shown(display=None)
    assert not shown(display="omitted")


def test_the_rest() -> None:
    found = options(
        stop_sequences=["END"], metadata={"user_id": "u1"}, cache_control={"type": "ephemeral"}, service_tier="auto",
        container=None, tools=None, thinking=None, mcp_servers=[],
    )  # fmt: skip
    assert found == {"stop": ["END"], "user": "u1", "enable_thinking": False}
    form = {"type": "json_schema", "schema": SCHEMA}
    wanted = {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA, "strict": True}}
    assert options(output_config={"format": form})["response_format"] == wanted
    assert options(output_format=form)["response_format"] == wanted
    assert "response_format" not in options(output_config={"format": None})


# -- the wire ----------------------------------------------------------------------------------------------------


def wire(schema: Any = MessagesRequest, **given: Any) -> dict[str, Any]:
    return _read(json.dumps(given).encode(), schema).value


def test_what_must_be_there() -> None:
    for missing in ("max_tokens", "messages"):
        with pytest.raises(ApiError, match=f"{missing} is missing"):
            wire(**{k: v for k, v in body().items() if k != missing})
    assert wire(CountRequest, messages=[])["messages"] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", -1), ("max_tokens", "5"), ("max_tokens", None), ("messages", "x"), ("messages", ["x"]),
        ("messages", {}), ("system", 5), ("system", ["x"]), ("stop_sequences", "x"), ("stop_sequences", [1]),
        ("temperature", "hot"), ("top_k", 1.5), ("top_p", 2), ("stream", 1), ("tools", {}), ("tool_choice", "auto"),
        ("thinking", True), ("metadata", "x"), ("output_config", []), ("model", 5), ("min_p", "x"),
    ],
)  # fmt: skip
def test_wrong_types(field: str, value: Any) -> None:
    with pytest.raises(ApiError) as caught:
        wire(**{**body(), field: value})
    assert (caught.value.status, caught.value.param) == (400, field)


def test_names_that_are_known() -> None:
    theirs = {
        "model", "messages", "max_tokens", "system", "metadata", "stop_sequences", "stream", "temperature", "top_k",
        "top_p", "tools", "tool_choice", "thinking", "output_config", "output_format", "cache_control", "container",
        "context_management", "inference_geo", "mcp_servers", "service_tier", "speed", "betas", "user_profile_id",
        "thread", "compaction", "diagnostics", "billing_policy", "fallbacks", "fallback_credit_token", "workspace_id",
    }  # fmt: skip
    assert theirs <= fields_of(MessagesRequest)
    assert {"min_p", "seed", "grammar", "chat_template_kwargs", "timeout", "cache_salt"} <= OPTIONS
    assert not OPTIONS & WITHOUT
    told = _read(json.dumps({**body(), "stop_sequence": ["x"], "top_kk": 1}).encode(), MessagesRequest).headers
    assert "did you mean stop_sequences" in told["X-Llama-Bind-Warning"]
    assert _read(json.dumps({**body(), "service_tier": "auto"}).encode(), MessagesRequest).headers == {}
