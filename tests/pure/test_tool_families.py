"""What families write besides what llama.cpp's cases show: other spellings, forgotten marks, odd values."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from llama_bind.chat.tools.base import ChannelOutputParser, Tool
from llama_bind.chat.tools.registry import find_format, get_format
from tests.vectors.chat_cases import TEMPLATES
from tests.vectors.chat_run import Answer

TOOLS = (
    Tool("get", {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}}),
    Tool("any", {"type": "object", "properties": {"x": {}}}),
    Tool("tree", {"type": "object", "properties": {"x": {"type": "object"}, "list": {"type": "array"}}}),
)
BAR = "\uff5c"
CALLS, CALLS_END = f"<{BAR}tool▁calls▁begin{BAR}>", f"<{BAR}tool▁calls▁end{BAR}>"
CALL, CALL_END, SEP = f"<{BAR}tool▁call▁begin{BAR}>", f"<{BAR}tool▁call▁end{BAR}>", f"<{BAR}tool▁sep{BAR}>"
NS = "]<]minimax[>["
Made = list[tuple[str, dict[str, Any]]]


def read(name: str, text: str, opened: str = "", *, parallel: bool = True, tools: tuple[Tool, ...] = TOOLS) -> Answer:
    form = get_format(name)
    parser, answer = form.parser(tools, parallel=parallel), Answer()
    if form.reads_reasoning:
        cast(ChannelOutputParser, parser).begin(opened)
    for character in text:
        answer.take(parser.feed(character))
    answer.take(parser.finish())
    return answer


def calls(answer: Answer) -> Made:
    return [(call.name, json.loads(call.arguments)) for call in answer.calls if call.ended]


ONE: Made = [("get", {"city": "Rome"})]

READ: list[tuple[str, str, str, Made]] = [
    # Distilled models forget the mark of the single call, and write the name as V3.1 does.
    ("deepseek_r1", f'{CALLS}function{SEP}get\n```json\n{{"city": "Rome"}}\n```{CALLS_END}', "", ONE),
    ("deepseek_r1", f'{CALL}get{SEP}{{"city": "Rome"}}{CALL_END}', "", ONE),
    ("deepseek", f'Well.{CALLS}{CALL}get{SEP}{{"city": "Rome"}}', "Well.", ONE),
    ("deepseek", f'{CALLS}{CALL}get{SEP}{{}}{CALL_END}\n{CALL}any{SEP}{{"x": 1}}{CALL_END}{CALLS_END} Done.', " Done.",
     [("get", {}), ("any", {"x": 1})]),
    ("dsml", f'<{BAR}DSML{BAR}function_calls>\n<{BAR}DSML{BAR}invoke name="any">\n<{BAR}DSML{BAR}parameter name="x" '
     f'string="true">5</{BAR}DSML{BAR}parameter>\n</{BAR}DSML{BAR}invoke>\n</{BAR}DSML{BAR}function_calls>', "",
     [("any", {"x": "5"})]),
    ("dsml", f'<{BAR}DSML{BAR}function_calls>\n<{BAR}DSML{BAR}invoke name="any">\n<{BAR}DSML{BAR}parameter name="x" '
     f'string="false">5</{BAR}DSML{BAR}parameter>\n</{BAR}DSML{BAR}invoke>\n</{BAR}DSML{BAR}function_calls>', "",
     [("any", {"x": 5})]),
    ("glm", '<tool_call>{"name": "get", "arguments": {"city": "Rome"}}</tool_call>', "", ONE),
    ("glm", "<tool_call>get<arg_key>city</arg_key><arg_value>\nRome\n</arg_value></tool_call>", "",
     [("get", {"city": "\nRome\n"})]),
    ("glm", "<tool_call>get<arg_key>n</arg_key><arg_value>2</arg_value><tool_call>get</tool_call>", "",
     [("get", {"n": 2}), ("get", {})]),
    ("hunyuan", "<tool_calls:opensource>\n<tool_call:opensource>get<tool_sep:opensource>\n<arg_key:opensource>city"
     "</arg_key:opensource>\n<arg_value:opensource>Rome</arg_value:opensource>\n</tool_call:opensource>\n"
     "</tool_calls:opensource>", "", ONE),
    ("kimi_k2", '<|tool_call_begin|>get:3<|tool_call_argument_begin|>{"city": "Rome"}<|tool_call_end|>', "", ONE),
    ("minimax_m1", '<tool_calls>\n{"name": "get", "arguments": {"city": "Rome"}}\n{"name": "get", "arguments": {}}\n'
     "</tool_calls>", "", [*ONE, ("get", {})]),
    ("minimax_m1", '<tool_calls>[{"name": "get", "arguments": {"city": "Rome"}}]</tool_calls>', "", ONE),
    ("minimax_m2", '<minimax:tool_call>\n<invoke name="get">\n<parameter name="city">Rome</parameter>\n</invoke>\n'
     '<invoke name="any">\n<parameter name="x">[1]</parameter>\n</invoke>\n</minimax:tool_call>', "",
     [*ONE, ("any", {"x": [1]})]),
    ("minimax_m3", f'{NS}<tool_call>\n{NS}<invoke name="tree">{NS}<x>{NS}<a>{NS}<b>1{NS}</b>{NS}</a>{NS}</x>{NS}<list>'
     f"{NS}<item>2{NS}</item>{NS}<item>three{NS}</item>{NS}</list>{NS}</invoke>\n{NS}</tool_call>", "",
     [("tree", {"x": {"a": {"b": 1}}, "list": [2, "three"]})]),
    ("minimax_m3", f'{NS}<tool_call>\n{NS}<invoke name="tree">{NS}<x>{{"a": 1}}{NS}</x>'
     f"{NS}<list>{NS}</list>{NS}</invoke>", "", [("tree", {"x": {"a": 1}, "list": []})]),
    ("lfm2", "<|tool_call_start|>[any(x={'a': (1, -2.5e3), \"b\": 'it\\'s', 3: None}), get()]<|tool_call_end|>", "",
     [("any", {"x": {"a": [1, -2500.0], "b": "it's", "3": None}}), ("get", {})]),
    ("lfm2", '<|tool_call_start|>[get(city="""a "quoted" \\u00e9\\x41\\ud83d\\ude00""")]<|tool_call_end|>', "",
     [("get", {"city": 'a "quoted" éA😀'})]),
    ("lfm2", '<|tool_call_start|>[{"name": "get", "arguments": {"city": "Rome"}}]<|tool_call_end|> ok', " ok", ONE),
    ("functionary_v3.1", 'Hm <function=get>{"city": "Rome"}</function>', "Hm", ONE),
    ("functionary_v3.2", 'all\nWell.>>>get\n{"city": "Rome"}>>>any\n{"x": 1}', "Well.", [*ONE, ("any", {"x": 1})]),
    ("functionary_v3.2", "allright\nso be it", "allright\nso be it", []),
    ("gpt_oss", "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary "
     'to=functions.get <|constrain|>json<|message|>{"city": "Rome"}<|call|><|start|>assistant to=any<|channel|>'
     'commentary json<|message|>{"x": 1}<|call|>', "I look.", [*ONE, ("any", {"x": 1})]),
    ("gpt_oss", "Just text, and <|channel|> in it.", "Just text, and <|channel|> in it.", []),
    ("muse", ' to=get<|message|><atem:function_calls>\n<atem:invoke name="get">\n<atem:parameter name="city">Rome'
     '</atem:parameter>\n</atem:invoke>\n<atem:invoke name="any">\n</atem:invoke>\n</atem:function_calls><|eot|>', "",
     [*ONE, ("any", {})]),
    ("muse", "Hello", "Hello", []),
    ("gigachat_v3.1", 'Yes.<|function_call|>{"name": "get", "arguments": {"city": "Rome"}}', "Yes.", ONE),
    ("minicpm", '<function name="get"><param name="city"><![CDATA[a]]b</param>]]></param><param name="n">3</param>'
     "</function>", "", [("get", {"city": "a]]b</param>", "n": 3})]),
    ("kimi_k3", '<|open|>call tool="any" index="1"<|sep|><|open|>argument key="x" type="string"<|sep|>7'
     "<|close|>argument<|sep|><|close|>call<|sep|>", "", [("any", {"x": "7"})]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "content", "made"), READ, ids=[f"{row[0]}-{n}" for n, row in enumerate(READ)])
def test_it_is_read(name: str, text: str, content: str, made: Made) -> None:
    answer = read(name, text)
    assert calls(answer) == made
    assert answer.content.strip() == content.strip()
    assert len(answer.calls) == len(made)


def test_one_call_is_enough_where_no_more_are_wanted() -> None:
    for name, text, _, made in READ:
        if len(made) > 1:
            assert calls(read(name, text, parallel=False)) == made[:1], name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("deepseek", f'{CALLS}{CALL}get{SEP}{{"city": "Rome"}}{CALL_END}'),
        ("kimi_k2", '<|tool_call_begin|>get:3<|tool_call_argument_begin|>{"city": "Rome"}<|tool_call_end|>'),
        ("hermes", '<tool_call>{"name": "get", "arguments": {"city": "Rome"}}'),
    ],
)
def test_where_nothing_closes_the_calls_white_space_belongs_to_the_text(name: str, text: str) -> None:
    answer = read(name, f"{text}\n\n Done.")
    assert (calls(answer), answer.content) == (ONE, "\n\n Done.")


@pytest.mark.parametrize(
    ("name", "text", "content"),
    [
        ("gpt_oss", "<|channel|>commentary to=functions.other<|message|>{}<|call|>", "{}"),
        ("gpt_oss", "<|channel|>commentary to=functions.get<|message|>no json<|call|>", "no json"),
        ("muse", " to=other<|message|>something<|eot|>", "something"),
        ("kimi_k3", '<|open|>call tool="other" index="1"<|sep|>x', '<|open|>call tool="other" index="1"<|sep|>x'),
    ],
)
def test_what_channels_say_to_nobody_is_text(name: str, text: str, content: str) -> None:
    answer = read(name, text)
    assert (answer.content, answer.calls, answer.reasoning) == (content, [], "")


def test_channels_go_on_where_the_prompt_ends() -> None:
    final = read("gpt_oss", "lo.<|return|>", "<|start|>assistant<|channel|>final<|message|>Hel")
    thought = read("gpt_oss", "m<|end|><|start|>assistant<|channel|>final<|message|>Yes",
                   "<|start|>assistant<|channel|>analysis<|message|>h")  # fmt: skip
    assert (final.content, final.reasoning) == ("lo.", "")
    assert (thought.content, thought.reasoning) == ("Yes", "m")
    opened = '<|open|>message role="assistant"<|sep|><|open|>think<|sep|>'
    kimi = read("kimi_k3", "so<|close|>think<|sep|><|open|>response<|sep|>Yes<|close|>response<|sep|>", opened)
    assert (kimi.content, kimi.reasoning) == ("Yes", "so")


def test_thoughts_in_channels_may_stay_in_the_text() -> None:
    parser = cast(ChannelOutputParser, get_format("gpt_oss").parser(TOOLS))
    parser.begin("<|start|>assistant", inline=True)
    answer = Answer()
    text = "<|channel|>analysis<|message|>hm<|end|>"
    answer.take([*parser.feed(f"{text}<|start|>assistant<|channel|>final<|message|>Yes"), *parser.finish()])
    assert (answer.content, answer.reasoning) == (f"{text}Yes", "")


def test_a_cut_call_delivers_what_there_is() -> None:
    for name, text, arguments in (
        ("deepseek", f'{CALLS}{CALL}get{SEP}{{"city": "Ro', '{"city": "Ro'),
        ("glm", "<tool_call>get<arg_key>city</arg_key><arg_value>Ro</arg_v", '{"city": "Ro'),
        ("lfm2", '<|tool_call_start|>[get(city="Ro', '{"city": "Ro'),
        ("minimax_m3", f'{NS}<tool_call>\n{NS}<invoke name="get">{NS}<city>Ro{NS}</ci', '{"city": "Ro'),
        ("gpt_oss", '<|channel|>commentary to=functions.get<|message|>{"city": "Ro', '{"city": "Ro'),
    ):
        (call,) = read(name, text).calls
        assert (call.name, call.arguments, call.ended) == ("get", arguments, False), name


def test_every_vendored_template_finds_its_format() -> None:
    generic = {
        path.stem for path in TEMPLATES.glob("*.jinja") if find_format(path.read_text("utf-8")).name == "generic"
    }
    assert generic == {
        "google-gemma-2-2b-it", "HuggingFaceTB-SmolLM3-3B", "llama-cpp-rwkv-world", "microsoft-Phi-3.5-mini-instruct",
    }  # fmt: skip
    assert find_format((TEMPLATES / "tencent-Hy3.jinja").read_text("utf-8")).name == "hunyuan"
    assert find_format((TEMPLATES / "MiniMax-M1.jinja").read_text("utf-8")).name == "minimax_m1"
