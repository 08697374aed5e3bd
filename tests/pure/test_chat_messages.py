from __future__ import annotations

from typing import Any

import pytest

from llama_bind.chat import messages as module
from llama_bind.chat.messages import check_messages, roles_of, template_messages, without_system
from llama_bind.chat.traced import Traced
from llama_bind.errors import MessageError, TextEncodingError, UnsupportedError

USER = {"role": "user", "content": "hi"}


def call(arguments: Any) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}


@pytest.mark.parametrize(
    ("messages", "index", "words"),
    [
        ([], None, "empty"),
        ("hello", None, "list of dicts"),
        (USER, None, "list of dicts"),
        (None, None, "None"),
        ([USER, "x"], 1, "must be a dict, not str"),
        ([{"content": "x"}], 0, "role None"),
        ([USER, {"role": "wizard", "content": "x"}], 1, "system, developer, user, assistant, tool, function"),
        ([{"role": ["user"], "content": "x"}], 0, "role"),
        ([{"role": "user"}], 0, "no content"),
        ([{"role": "user", "content": 5}], 0, "not int"),
        ([{"role": "user", "content": b"x"}], 0, "not bytes"),
        ([{"role": "user", "content": [5]}], 0, "content[0]"),
        ([{"role": "user", "content": [{"type": "smell"}]}], 0, "'smell'"),
        ([{"role": "user", "content": [{"type": "text"}]}], 0, "content[0].text"),
        ([USER, {"role": "assistant", "tool_calls": "x"}], 1, "must be a list"),
        ([USER, {"role": "assistant", "tool_calls": [{}]}], 1, "tool_calls[0]"),
        ([{"role": "tool", "content": "x", "tool_call_id": 5}], 0, "tool_call_id"),
        ([{"role": "user", "content": "x", "name": 5}], 0, "name"),
    ],
)
def test_wrong_shapes(messages: Any, index: int | None, words: str) -> None:
    with pytest.raises(MessageError) as info:
        check_messages(messages)
    assert info.value.index == index
    assert info.value.param == "messages"
    assert words in str(info.value)


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "video_url", "file"])
def test_media_are_refused_by_name(kind: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"messages\[0\].content\[1\] is of type '{kind}'"):
        check_messages([{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": kind, kind: {}}]}])


def test_a_lone_surrogate() -> None:
    with pytest.raises(TextEncodingError, match=r"messages\[0\]"):
        check_messages([{"role": "user", "content": "a\ud800"}])


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHARS", 10)
    monkeypatch.setattr(module, "MAX_MESSAGES", 3)
    with pytest.raises(MessageError, match="11 characters"):
        check_messages(
            [{"role": "user", "content": "x" * 6}, {"role": "user", "content": [{"type": "text", "text": "x" * 5}]}]
        )
    with pytest.raises(MessageError, match="more than 3"):
        check_messages([USER] * 4)


def test_the_arguments_stay_as_they_were() -> None:
    given = [{"role": "assistant", "content": None, "tool_calls": [call('{"a": 1}')]}]
    template_messages(check_messages(given))
    assert given == [{"role": "assistant", "content": None, "tool_calls": [call('{"a": 1}')]}]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ('{"a": [1]}', {"a": [1]}),
        ("not json", "not json"),
        ("[1]", "[1]"),
        ({"a": 1}, {"a": 1}),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_arguments_of_tool_calls_become_values(arguments: Any, value: Any) -> None:
    shaped = template_messages(check_messages([{"role": "assistant", "tool_calls": [call(arguments)]}]))
    assert shaped[0]["tool_calls"][0]["function"]["arguments"] == value
    assert shaped[0]["content"] == ""


def test_parts_become_one_text_or_stay_parts() -> None:
    checked = check_messages([{"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}])
    assert template_messages(checked)[0]["content"] == "a\nb"
    assert template_messages(checked, parts=True)[0]["content"] == [{"type": "text", "text": "a\nb"}]


def test_roles_are_text_of_the_template() -> None:
    checked = check_messages([{"role": "developer", "content": "x"}])
    for known, role in ((False, "system"), (True, "developer")):
        shaped = template_messages(checked, developer=known)[0]["role"]
        assert shaped == role
        assert isinstance(shaped, Traced)
        assert all(shaped.mask)


def test_roles_that_a_template_names() -> None:
    roles = roles_of("{% if message.role == 'control' or role == \"<|im_end|>\" %}")
    assert "control" in roles
    assert "<|im_end|>" not in roles
    assert check_messages([{"role": "control", "content": "x"}], roles=roles)


def test_a_system_message_moves_into_the_user_s() -> None:
    def shaped(*conversation: tuple[str, str]) -> list[tuple[str, str]]:
        checked = check_messages([{"role": role, "content": text} for role, text in conversation])
        return [(m["role"], m["content"]) for m in without_system(template_messages(checked))]

    assert shaped(("system", "S"), ("user", "U"), ("user", "V")) == [("user", "S\nU"), ("user", "V")]
    assert shaped(("system", "S"), ("assistant", "A")) == [("user", "S"), ("assistant", "A")]
    assert shaped(("user", "U")) == [("user", "U")]


def test_other_keys_pass_through() -> None:
    checked = check_messages(
        [{"role": "assistant", "content": "x", "reasoning_content": "r", "tool_calls": [], "name": None}]
    )
    assert checked == [{"role": "assistant", "content": "x", "reasoning_content": "r"}]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("rain", "rain"),
        ({"sky": "grün"}, '{"sky": "grün"}'),
        (["a", 1], '["a", 1]'),
        ([], "[]"),
        (5, "5"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ([{"type": "text", "text": "rain"}], "rain"),
        ([{"type": "unknown"}], '[{"type": "unknown"}]'),
    ],
)
def test_results_of_tools_need_not_be_text(content: Any, text: str) -> None:
    for role in ("tool", "function"):
        checked = check_messages([{"role": role, "content": content}])
        assert template_messages(checked)[0]["content"] == text


@pytest.mark.parametrize("content", [{1, 2}, object(), b"x"])
def test_results_that_are_no_json(content: Any) -> None:
    with pytest.raises(MessageError, match="cannot be written as JSON"):
        check_messages([{"role": "tool", "content": content}])


def test_results_must_have_a_content() -> None:
    with pytest.raises(MessageError, match="no content"):
        check_messages([{"role": "tool"}])


def test_the_older_form_of_calls() -> None:
    checked = check_messages(
        [
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
            {"role": "function", "name": "f", "content": "x"},
        ]
    )
    call, result = template_messages(checked)
    assert call["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}
    assert "function_call" not in call
    assert result["role"] == "tool"
    assert result["tool_call_id"] == call["tool_calls"][0]["id"]
    with pytest.raises(MessageError, match="function_call must look like"):
        check_messages([{"role": "assistant", "function_call": "f"}])


@pytest.mark.parametrize("arguments", [5, ["a"], b"x"])
def test_arguments_of_calls_are_text_or_a_dict(arguments: Any) -> None:
    with pytest.raises(MessageError, match=r"tool_calls\[0\].function.arguments must be"):
        check_messages([{"role": "assistant", "tool_calls": [call(arguments)]}])


def test_arguments_as_text() -> None:
    for given in ({"a": "ü"}, '{"a": "ü"}'):
        shaped = template_messages(
            check_messages([{"role": "assistant", "tool_calls": [call(given)]}]), arguments_as_text=True
        )
        assert shaped[0]["tool_calls"][0]["function"]["arguments"] == '{"a": "ü"}'
    nothing: Any
    for nothing in (None, "", {}):
        shaped = template_messages(check_messages([{"role": "assistant", "tool_calls": [call(nothing)]}]))
        assert shaped[0]["tool_calls"][0]["function"]["arguments"] == {}


def test_ids_of_calls_and_results() -> None:
    function = {"name": "f", "arguments": "{}"}
    calls = [
        {"function": function},
        {"function": {**function, "name": "g"}},
        {"id": "call_abcdefghijkl", "function": function},
    ]
    conversation: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "name": "g", "content": "x"},
        {"role": "tool", "content": "x"},
        {"role": "tool", "tool_call_id": "call_abcdefghijkl", "content": "x"},
    ]
    shaped = template_messages(check_messages(conversation))
    assert [one["id"] for one in shaped[0]["tool_calls"]] == ["call00000", "call00001", "call_abcdefghijkl"]
    assert [(m["name"], m["tool_call_id"]) for m in shaped[1:]] == [
        ("g", "call00001"), ("f", "call00000"), ("f", "call_abcdefghijkl")
    ]  # fmt: skip
    short = template_messages(check_messages(conversation), short_ids=True)
    assert [len(one["id"]) for one in short[0]["tool_calls"]] == [9, 9, 9]
    assert short[3]["tool_call_id"] == short[0]["tool_calls"][2]["id"] != "call_abcdefghijkl"


def test_reasoning_under_every_name() -> None:
    for key in ("reasoning_content", "reasoning"):
        checked = check_messages([{"role": "assistant", "content": "x", key: "r"}])
        assert template_messages(checked, reasoning_names=["thinking"])[0].items() >= {
            "reasoning_content": "r", "thinking": "r"
        }.items()  # fmt: skip
