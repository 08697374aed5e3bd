"""What the formats of Command R, Apertus, Granite, Phi, Nemotron, Gemma and Solar read."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from llama_bind.chat.tools.base import ChannelOutputParser, Tool
from llama_bind.chat.tools.framed import FramedParser
from llama_bind.chat.tools.generic import FORMAT as GENERIC
from llama_bind.chat.tools.registry import find_format, get_format
from tests.routing import tool
from tests.vectors import LLAMA_CPP
from tests.vectors.chat_run import Answer

WEATHER = tool("get_weather", ["city"], city="string", days="integer")
ADD = tool("add", ["a", "b"], a="number", b="number")
NOW = Tool("now", {})
TOOLS = (WEATHER, ADD, NOW)
PARIS = ("get_weather", {"city": "Paris"})
SUM = ("add", {"a": 1, "b": 2.5})

Q = '<|"|>'
GEMMA = "<|tool_call>call:{}<tool_call|>"
SOLAR = "<|tool_call:begin|>{}<|tool_call:name|>{}<|tool_call:args|>{}<|tool_call:end|>"

CASES: list[tuple[str, str, str, list[tuple[str, Any]]]] = [
    # format, output, text, calls
    (
        "command_r",
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", "parameters": {"city": "Paris"}},\n'
        '    {"tool_call_id": "1", "tool_name": "now", "parameters": {}}\n]<|END_ACTION|>',
        "",
        [PARIS, ("now", {})],
    ),
    ("command_r", "<|START_RESPONSE|>Hi <b>.\n<|END_RESPONSE|>", "Hi <b>.\n", []),
    ("command_r", "\n<|START_TEXT|>Hi<|END_TEXT|><|END_OF_TURN_TOKEN|>\n", "Hi", []),
    ("command_r", "Hi<|END_TEXT|>", "Hi<|END_TEXT|>", []),
    (
        "command_r",
        '<|START_TEXT|>Wait.<|END_TEXT|><|START_ACTION|>[{"tool_name": "now", "parameters": {}}]<|END_ACTION|>',
        "Wait.",
        [("now", {})],
    ),
    (
        "command_r",
        '<|START_ACTION|>[{"tool_name": "other", "parameters": {}}]<|END_ACTION|>',
        '<|START_ACTION|>[{"tool_name": "other", "parameters": {}}]<|END_ACTION|>',
        [],
    ),
    (
        "command_r_plus",
        'Action: ```json\n[\n    {\n        "tool_name": "add",\n        "parameters": {"a": 1, "b": 2.5}\n    }\n]```',
        "",
        [SUM],
    ),
    ("command_r_plus", "Action: none needed.", "Action: none needed.", []),
    (
        "command_r_plus",
        'Action:```json\n[{"tool_name": "directly-answer", "parameters": {}}]```',
        'Action:```json\n[{"tool_name": "directly-answer", "parameters": {}}]```',
        [],
    ),
    (
        "apertus",
        '<|tools_prefix|>[{"get_weather": {"city": "Paris"}}, {"now": {}}]<|tools_suffix|>',
        "",
        [PARIS, ("now", {})],
    ),
    ("apertus", 'Look: <|tools_prefix|>[{"other": {}}]', 'Look: <|tools_prefix|>[{"other": {}}]', []),
    ("apertus", "<|tools_prefix|>[{5: {}}]", "<|tools_prefix|>[{5: {}}]", []),
    ("apertus", '<|tools_prefix|>[{"now": 5}]', '<|tools_prefix|>[{"now": 5}]', []),
    (
        "granite",
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}, {"name": "now"}]',
        "",
        [PARIS, ("now", {})],
    ),
    ("granite", "<response>Hi</response> there</response>\n", "Hi</response> there", []),
    ("granite", "Use <response>, then </response>", "Use <response>, then </response>", []),
    ("granite", "<response", "<response", []),
    ("phi", '<|tool_call|>[{"name": "now", "arguments": {}}]<|/tool_call|>', "", [("now", {})]),
    ("phi", 'functools[{"name": "get_weather", "arguments": {"city": "Paris"}}]', "", [PARIS]),
    ("nemotron", '<TOOLCALL>[{"name": "add", "arguments": {"a": 1, "b": 2.5}}]</TOOLCALL>\n', "", [SUM]),
    ("gemma4", GEMMA.format(f"get_weather{{city:{Q}Paris{Q}}}"), "", [PARIS]),
    ("gemma4", "Hi. " + GEMMA.format("add{a:1,b:2.5}") + GEMMA.format("now{}"), "Hi. ", [SUM, ("now", {})]),
    (
        "gemma4",
        GEMMA.format(f'now{{ l: [1, {Q}a,b]{Q} , {{{Q}k v{Q}:null}}], "j": "x\\n", t:true, w:some words}}'),
        "",
        [("now", {"l": [1, "a,b]", {"k v": None}], "j": "x\n", "t": True, "w": "some words"})],
    ),
    ("gemma4", GEMMA.format(f'now{{q:{Q}a "b" \\ {{}}{Q}}}'), "", [("now", {"q": 'a "b" \\ {}'})]),
    ("gemma4", GEMMA.format("other{}"), GEMMA.format("other{}"), []),
    ("gemma4", "a<channel|>b<|channel>thought\n<channel|>c<|channel>", "abc", []),
    (
        "function_gemma",
        "<start_function_call>call:get_weather{city:<escape>Paris<escape>}<end_function_call>",
        "",
        [PARIS],
    ),
    (
        "solar",
        "<|content|>Hi<|end|><|begin|>assistant<|tool_calls|>"
        + SOLAR.format("x1", "add", '{"a": 1, "b": 2.5}')
        + "<|calls|>",
        "Hi",
        [SUM],
    ),
    (
        "solar",
        "<|tool_calls|>" + SOLAR.format("1", "now", "{}") + SOLAR.format("2", "now", "{}"),
        "",
        [("now", {})] * 2,
    ),
    ("solar", "plain text", "plain text", []),
]


def read(name: str, pieces: list[str], *, tools: tuple[Tool, ...] = TOOLS, opened: str = "") -> Answer:
    form = get_format(name)
    parser = form.parser(tools)
    if form.reads_reasoning:
        cast(ChannelOutputParser, parser).begin(opened)
    answer = Answer()
    for piece in pieces:
        answer.take(parser.feed(piece))
    answer.take(parser.finish())
    return answer


def calls_of(answer: Answer) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in answer.calls]


@pytest.mark.parametrize(("name", "output", "text", "calls"), CASES, ids=lambda value: str(value)[:30])
def test_what_is_read(name: str, output: str, text: str, calls: list[tuple[str, Any]]) -> None:
    whole = read(name, [output])
    assert (whole.content, calls_of(whole)) == (text, calls)
    assert all(call.ended for call in whole.calls)
    single = read(name, list(output))
    assert (single.content, calls_of(single)) == (text, calls)


@pytest.mark.parametrize(("name", "output", "text", "calls"), CASES, ids=lambda value: str(value)[:30])
def test_an_output_may_end_anywhere(name: str, output: str, text: str, calls: list[tuple[str, Any]]) -> None:
    del text
    for end in range(len(output)):
        cut = read(name, [output[:end]])
        assert [call.name for call in cut.calls] == [name for name, _ in calls][: len(cut.calls)]
        assert all(call.ended for call in cut.calls[:-1])


def test_ids_that_the_model_gives() -> None:
    output = "<|tool_calls|>" + SOLAR.format("x1", "now", "{}")
    assert read("solar", [output]).calls[0].id == "x1"
    action = '<|START_ACTION|>[{"tool_call_id": "7", "tool_name": "now", "parameters": {}}]<|END_ACTION|>'
    assert read("command_r", [action]).calls[0].id == "7"


def test_reasoning_in_channels() -> None:
    answer = read("solar", ["hm<|end|><|begin|>assistant<|content|>Hi<|end|>"], opened="<|begin|>assistant<|think|>")
    assert (answer.reasoning, answer.content) == ("hm", "Hi")
    answer = read("gemma4", ["Hi<|channel>thought\nhm<channel|>!"])
    assert (answer.reasoning, answer.content) == ("hm", "Hi!")


def test_without_tools_the_marks_of_answers_are_taken_off_all_the_same() -> None:
    assert read("command_r", ["<|START_TEXT|>Hi<|END_TEXT|>"], tools=()).content == "Hi"
    assert (
        read("gemma4", ["<|channel>", "<|channel>thought", "<channel|>Hi <", "<channel|>"], tools=()).content == "Hi <"
    )
    assert read("gemma4", ['{"name": "now"}'], tools=()).content == '{"name": "now"}'
    call = GEMMA.format("now{}")
    assert read("gemma4", [call], tools=()).content == call


def test_white_space_behind_a_frame_is_not_kept_for_ever() -> None:
    parser = FramedParser(GENERIC.parser(()), ["<a>"], ["</a>"])
    answer = Answer()
    answer.take(parser.feed("<a>x</a>"))
    for _ in range(20):
        answer.take(parser.feed(" " * 100))
    answer.take(parser.finish())
    assert answer.content == "x</a>" + " " * 2000
    assert not parser.done


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("CohereForAI-c4ai-command-r7b-12-2024-tool_use", "command_r"),
        ("Cohere2MoE", "command_r"),
        ("CohereForAI-c4ai-command-r-plus-tool_use", "command_r_plus"),
        ("Apertus-8B-Instruct", "apertus"),
        ("ibm-granite-granite-3.3-2B-Instruct", "granite"),
        ("ibm-granite-granite-4.0", "hermes"),
        ("NVIDIA-Nemotron-Nano-v2", "nemotron"),
        ("google-gemma-4-31B-it", "gemma4"),
        ("google-gemma-4-31B-it-interleaved", "gemma4"),
        ("google-gemma-2-2b-it", "generic"),
        ("upstage-Solar-Open-100B", "solar"),
        ("tencent-Hy3", "hunyuan"),
    ],
)
def test_which_template_has_which(template: str, name: str) -> None:
    source = (LLAMA_CPP / "models" / "templates" / f"{template}.jinja").read_text(encoding="utf-8")
    assert find_format(source).name == name


def test_templates_that_are_not_vendored() -> None:
    assert find_format("{{ '<|tool|>' + message['tools'] + '<|/tool|>' }}").name == "phi"
    assert find_format("<start_function_call>call: <escape>").name == "function_gemma"
