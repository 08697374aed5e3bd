"""What the formats read: calls, text around them, and what is no call and stays text."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.chat.events import ToolCallStart
from llama_bind.chat.tools.base import OutputParser, Tool
from llama_bind.chat.tools.registry import ROWS, find_format, get_format, names
from tests.routing import tool, whole
from tests.vectors import LLAMA_CPP

WEATHER = tool("get_weather", ["city"], city="string", days="integer")
ADD = tool("add", ["a", "b"], a="number", b="number")
NOW = Tool("now", {})
RUN = tool("python", ["code"], code="string")
EDIT = tool("edit", old="string", new="string", lines={"type": "array"}, all="boolean", unit={"enum": ["a", "b"]})
TOOLS = (WEATHER, ADD, NOW, RUN, EDIT)

PARIS = '{"city": "Paris"}'
SUM = '{"a": 1, "b": 2}'


def make(name: str, *, parallel: bool = True) -> Callable[[], OutputParser]:
    form = get_format(name)
    return lambda: form.parser(TOOLS, parallel=parallel)


def tagged(body: str) -> str:
    return f"<tool_call>\n{body}\n</tool_call>"


def call(name: str, arguments: str) -> str:
    return f'{{"name": "{name}", "arguments": {arguments}}}'


XML = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"

CASES: list[tuple[str, str, str, list[tuple[str, str]]]] = [
    # format, output, text, calls
    ("hermes", "Just text.\n\nMore <b>text</b>, [1] and {a}.\n", "Just text.\n\nMore <b>text</b>, [1] and {a}.\n", []),
    ("hermes", tagged(call("get_weather", PARIS)), "", [("get_weather", PARIS)]),
    ("hermes", "Hi.\n" + tagged(call("get_weather", PARIS)) + "\n", "Hi.\n", [("get_weather", PARIS)]),
    (
        "hermes",
        tagged(call("get_weather", PARIS)) + "\n" + tagged(call("add", SUM)) + " Done.",
        " Done.",
        [("get_weather", PARIS), ("add", SUM)],
    ),
    ("hermes", tagged('{"arguments": {"a": 1, "b": 2}, "name": "add"}'), "", [("add", SUM)]),
    ("hermes", tagged('{"id": 7, "name": "add", "extra": [{}], "arguments": {"a": 1, "b": 2}}'), "", [("add", SUM)]),
    ("hermes", tagged('{"type": "function", "function": ' + call("now", "{}") + "}"), "", [("now", "{}")]),
    ("hermes", tagged('{"name": "now"}'), "", [("now", "{}")]),
    ("hermes", tagged(call("now", "null")), "", [("now", "{}")]),
    ("hermes", tagged(call("add", '"{\\"a\\": 1, \\"b\\": 2}"')), "", [("add", SUM)]),
    ("hermes", "<tool_call>" + call("add", SUM)[:-1] + "</tool_call>", "", [("add", SUM)]),
    ("hermes", "<tool_call>" + call("add", SUM) + "}</tool_call>", "", [("add", SUM)]),
    ("hermes", tagged(call("add", SUM))[:-5], "", [("add", SUM)]),
    ("hermes", tagged(f"[{call('add', SUM)}, {call('now', '{}')}]"), "", [("add", SUM), ("now", "{}")]),
    ("hermes", tagged(call("python", '{"code": "a\nb\\d"}')), "", [("python", '{"code": "a\\nb\\\\d"}')]),
    # No calls: unknown name, no JSON, cut before the name is known.
    ("hermes", tagged(call("other", "{}")), tagged(call("other", "{}")), []),
    ("hermes", "Write <tool_call> before it.", "Write <tool_call> before it.", []),
    ("hermes", "<tool_call>\n{nonsense}", "<tool_call>\n{nonsense}", []),
    ("hermes", '<tool_call>\n{"name": "ad', '<tool_call>\n{"name": "ad', []),
    ("hermes", '<tool_call>\n{"name": "add", "x": 1}', '<tool_call>\n{"name": "add", "x": 1}', []),
    ("hermes", tagged(call("add", "[1]")), tagged(call("add", "[1]")), []),
    ("hermes", "a <tool_call> b " + tagged(call("now", "{}")), "a <tool_call> b ", [("now", "{}")]),
    # Cut or broken within: what there is.
    ("hermes", '<tool_call>\n{"name": "add", "arguments": {"a', "", [("add", '{"a')]),
    ("hermes", '<tool_call>\n{"name": "python", "arguments": {"code": "x\\', "", [("python", '{"code": "x\\')]),
    ("hermes", '<tool_call>{"name": "add"', "", [("add", "")]),
    ("hermes", '<tool_call>{"name": "add", "arguments": {"a": oops}}', "oops}}", [("add", '{"a": ')]),
    ("apriel", f"<tool_calls>[{call('add', SUM)}, {call('now', '{}')}]</tool_calls>", "",
     [("add", SUM), ("now", "{}")]),
    ("apriel", f"<tool_calls>[{call('add', SUM)}, ", "", [("add", SUM)]),
    ("apriel", f"<tool_calls>[{call('add', SUM)}, 7]</tool_calls>", ", 7]</tool_calls>", [("add", SUM)]),
    ("firefunction", f" functools[{call('add', SUM)}]", "", [("add", SUM)]),
    ("firefunction", "import functools\n", "import functools\n", []),
    ("qwen3_coder", XML, "", [("get_weather", PARIS)]),
    ("qwen3_coder", "Sure.\n" + XML + "\n" + XML, "Sure.\n", [("get_weather", PARIS)] * 2),
    ("qwen3_coder", XML.removeprefix("<tool_call>\n"), "", [("get_weather", PARIS)]),
    ("qwen3_coder", "#include <functional>\n", "#include <functional>\n", []),
    ("qwen3_coder", "<function=other>\n</function>", "<function=other>\n</function>", []),
    ("qwen3_coder", tagged(call("add", SUM)), "", [("add", SUM)]),
    ("qwen3_coder", tagged("<function=now>\n</function>"), "", [("now", "{}")]),
    ("qwen3_coder", tagged("<function=now>"), "", [("now", "{}")]),
    (
        "qwen3_coder",
        tagged(
            "<function=edit>\n<parameter=old>\n12\n</parameter>\n<parameter=new>\n a </parameter> b\n\n</parameter>\n"
            '<parameter=lines>\n[1, "x"]\n</parameter>\n<parameter=all>\nTrue\n</parameter>\n'
            "<parameter=unit>\na\n</parameter>\n<parameter=more>\n7\n</parameter>\n</function>"
        ),
        "",
        [
            (
                "edit",
                '{"old": "12", "new": " a </parameter> b\\n", "lines": [1, "x"], "all": true, "unit": "a", "more": 7}',
            )
        ],
    ),
    ("qwen3_coder", tagged("<function=edit><parameter=lines>[1, 'x']</parameter></function>"), "",
     [("edit", '{"lines": [1, "x"]}')]),
    ("qwen3_coder", "<tool_call>\n<function=edit>\n<parameter=old>\nab\n<", "", [("edit", '{"old": "ab')]),
    ("qwen3_coder", "<tool_call>\n<function=add>\n<parameter=a>\n1", "", [("add", '{"a": 1')]),
    ("qwen3_coder", "<tool_call>\n<function=add>\n<parame", "", [("add", "")]),
    ("qwen3_coder", tagged("<function=add>oops"), "oops\n</tool_call>", [("add", "")]),
    ("seed_oss", XML.replace("tool_call", "seed:tool_call"), "", [("get_weather", PARIS)]),
    ("seed_oss", "<seed:tool_call><function=edit><parameter=old>a\n</parameter></function></seed:tool_call>", "",
     [("edit", '{"old": "a\\n"}')]),
    ("llama3", '{"name": "add", "parameters": {"a": 1, "b": 2}}', "", [("add", SUM)]),
    ("llama3", '<|python_tag|>{"name": "add", "parameters": {"a": 1, "b": 2}}', "", [("add", SUM)]),
    ("llama3", '<|python_tag|>get_weather.call(city="Paris")', "", [("get_weather", PARIS)]),
    ("llama3", "<|python_tag|>print('x')\n", "", [("python", "{\"code\": \"print('x')\\n\"}")]),
    ("llama3", "<|python_tag|>add.call(open(1))", "<|python_tag|>add.call(open(1))", []),
    ("llama3", '{"name": "add", "parameters": {"a": 1', "", [("add", '{"a": 1')]),
    ("llama3", '{"name": "add"; "parameters"}', '{"name": "add"; "parameters"}', []),
    ("mistral_nemo", f"[TOOL_CALLS][{call('add', SUM)}]", "", [("add", SUM)]),
    ("mistral_nemo", '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1', "", [("add", '{"a": 1')]),
    ("mistral_nemo", "[1] is a footnote", "[1] is a footnote", []),
    ("mistral", f"Hi[TOOL_CALLS]add[ARGS]{SUM}[TOOL_CALLS]now[ARGS]{{}}", "Hi", [("add", SUM), ("now", "{}")]),
    ("mistral", f"[TOOL_CALLS]add{SUM}", "", [("add", SUM)]),
    ("mistral", "[TOOL_CALLS]add[ARGS]7", "7", [("add", "")]),
    ("mistral", f"[TOOL_CALLS]other[ARGS]{SUM}", f"[TOOL_CALLS]other[ARGS]{SUM}", []),
    ("generic", call("add", SUM) + "\n" + call("now", "{}"), "", [("add", SUM), ("now", "{}")]),
    ("generic", "```json\n" + call("add", SUM) + "\n```\nthat was it", "\nthat was it", [("add", SUM)]),
    ("generic", f"[{call('add', SUM)}]", "", [("add", SUM)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "output", "text", "calls"), CASES)
def test_output_is_read(name: str, output: str, text: str, calls: list[tuple[str, str]]) -> None:
    assert whole(make(name), output).short() == (text, "", calls)


@pytest.mark.parametrize(("name", "output"), sorted({(name, output) for name, output, _, _ in CASES}))
@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, 300)))
def test_where_the_pieces_end_does_not_matter(name: str, output: str, cuts: set[int]) -> None:
    whole(make(name), output, cuts)


def test_a_call_that_was_completed_is_ended_and_another_is_not() -> None:
    read = whole(make("hermes"), tagged(call("add", SUM)) + '<tool_call>{"name": "add", "arguments": {"a"')
    assert [item.ended for item in read.calls] == [True, False]


@pytest.mark.parametrize(
    ("name", "output", "id"),
    [
        ("mistral_nemo", '[TOOL_CALLS][{"name": "now", "arguments": {}, "id": "123456789"}]', "123456789"),
        ("mistral_small", "[TOOL_CALLS]now[CALL_ID]123456789[ARGS]{}", "123456789"),
        ("hermes", tagged('{"id": "abc", "name": "now", "arguments": {}}'), "abc"),
        ("hermes", tagged('{"tool_call_id": 3, "name": "now", "arguments": {}}'), "3"),
    ],
)
def test_ids_of_the_model_are_kept(name: str, output: str, id: str) -> None:
    assert [item.id for item in whole(make(name), output).calls] == [id]


def id_of(form: str, output: str) -> str:
    event = get_format(form).parser(TOOLS).feed(output)[0]
    assert isinstance(event, ToolCallStart)
    return event.id


def test_new_ids_are_as_the_templates_want_them() -> None:
    first, second = (id_of("mistral", "[TOOL_CALLS]now[ARGS]{}") for _ in range(2))
    assert first != second
    assert re.fullmatch("[A-Za-z0-9]{9}", first)
    assert re.fullmatch("call_[A-Za-z0-9]{24}", id_of("hermes", tagged(call("now", "{}"))))


@pytest.mark.parametrize("name", names())
def test_one_call_only(name: str) -> None:
    outputs = [output for form, output, _, calls in CASES if form == name and len(calls) > 1]
    for output in outputs:
        parser = make(name, parallel=False)
        read = whole(parser, output)
        assert [item.ended for item in read.calls] == [True]
        assert read.order.count("c") == 1


@pytest.mark.parametrize("name", names())
def test_without_tools_all_is_text(name: str) -> None:
    form = get_format(name)
    for _, output, _, _ in CASES:
        assert whole(lambda: form.parser(()), output).short() == (output, "", [])


def test_arguments_come_as_they_are_written() -> None:
    parser = make("hermes")()
    events = parser.feed('<tool_call>\n{"name": "python", "arguments": {"code": "a')
    assert [event[-1] for event in events] == ["python", '{"code": "a']
    assert [event[-1] for event in parser.feed("bc")] == ["bc"]
    parser = make("qwen3_coder")()
    parser.feed("<tool_call>\n<function=python>\n<parameter=code>\n")
    assert [event[-1] for event in parser.feed('say "x"\n')] == ['say \\"x\\"']
    assert "".join(str(event[-1]) for event in parser.feed("next")) == "\\nnext"


TEMPLATES = {
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen3-Coder": "qwen3_coder",
    "Qwen3.5-4B": "qwen3_xml",
    "ByteDance-Seed-OSS": "seed_oss",
    "meta-llama-Llama-3.1-8B-Instruct": "llama3",
    "meta-llama-Llama-3.2-3B-Instruct": "llama3",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral_nemo",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral_small",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral",
    "unsloth-mistral-Devstral-Small-2507": "mistral",
    "unsloth-Apriel-1.5": "apriel",
    "fireworks-ai-llama-3-firefunction-v2": "firefunction",
    "google-gemma-2-2b-it": "generic",
}


@pytest.mark.parametrize(("template", "name"), TEMPLATES.items())
def test_templates_are_recognized(template: str, name: str) -> None:
    source = (LLAMA_CPP / "models" / "templates" / f"{template}.jinja").read_text(encoding="utf-8")
    assert find_format(source).name == name


def test_every_row_leads_to_the_format_of_its_name() -> None:
    assert [get_format(row.name).name for row in ROWS] == [row.name for row in ROWS]
    with pytest.raises(KeyError):
        get_format("none")
