"""One output told apart into reasoning, text and calls, in pieces of any size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.chat.fences import Unfence
from llama_bind.chat.reasoning import REASONING, Reasoning, find_reasoning
from llama_bind.chat.router import Router
from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.registry import get_format
from tests.routing import Read, merged, pieces, read, tool, whole
from tests.vectors import LLAMA_CPP

THINK = Reasoning("<think>", "</think>")
TOOLS = (tool("add", ["a"], a="integer"), Tool("now", {}))
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
XML = "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
SUM = [("add", '{"a": 1}')]


def route(output: str, form: str = "", **options: Any) -> Read:
    options.setdefault("reasoning", THINK)
    tools = TOOLS if form else ()
    return whole(lambda: Router(get_format(form) if form else None, tools, **options), output)


CASES: list[tuple[str, dict[str, Any], str, str]] = [
    # output, options, text, reasoning
    ("Hello.\n", {}, "Hello.\n", ""),
    ("<think>\nHm.\n\nSo:\n</think>\n\nHello.\n", {}, "Hello.\n", "Hm.\n\nSo:"),
    ("  <think>Hm.</think>Hello.", {}, "Hello.", "Hm."),
    ("Hm.\n</think>\n\nHello.", {"opened": "<think>\n"}, "Hello.", "Hm."),
    ("Hm", {"opened": "<think>\n"}, "", "Hm"),
    ("<think>Hm. </thin", {}, "", "Hm. </thin"),
    ("<think>\n\n</think>\n\nHello.", {}, "Hello.", ""),
    ("</think>Hello.", {"opened": "<think>"}, "Hello.", ""),
    ("</think>\n\nHello.", {}, "Hello.", ""),
    ("<think>", {}, "", ""),
    ("<thi", {}, "<thi", ""),
    ("<thinking> is no tag", {}, "<thinking> is no tag", ""),
    ("In HTML <think> is no tag.</think>", {}, "In HTML <think> is no tag.</think>", ""),
    ("<think>a < b <b>c</b></think>d", {}, "d", "a < b <b>c</b>"),
    ("<think>Hm.</think>\nHello.", {"reasoning": None}, "<think>Hm.</think>\nHello.", ""),
    # Left in the text, as it came; what the prompt has opened is put before it.
    ("<think>\nHm.\n</think>\n\nHello.", {"reasoning_format": "none"}, "<think>\nHm.\n</think>\n\nHello.", ""),
    ("Hm.\n</think>\n\nHi", {"reasoning_format": "none", "opened": "<think>\n"}, "<think>\nHm.\n</think>\n\nHi", ""),
    ("<think>Hm.</think>Hi", {"reasoning_format": "deepseek"}, "Hi", "Hm."),
    ("<think>Hm.</think>Hi", {"reasoning_format": "deepseek-legacy"}, "Hi", "Hm."),
    ("<think>Hm.</think>Hi", {"reasoning_format": "deepseek-legacy", "streaming": True}, "<think>Hm.</think>Hi", ""),
    # A sentence of the reasoning that the prompt begins.
    ("Hm.\nEND\nHi", {"reasoning": Reasoning("My steps:\n", "END", spoken=True), "opened": "My steps:\n"}, "Hi",
     "My steps:\nHm."),
    ('```json\n{"a": 1}\n```\n', {"json_text": True}, '{"a": 1}', ""),
    ('<think>Hm.</think>```json\n{"a": 1}\n```', {"json_text": True}, '{"a": 1}', "Hm."),
]  # fmt: skip


@pytest.mark.parametrize(("output", "options", "text", "reasoning"), CASES)
def test_reasoning_is_told_from_text(output: str, options: dict[str, Any], text: str, reasoning: str) -> None:
    assert route(output, **options).short() == (text, reasoning, [])


@pytest.mark.parametrize("known", REASONING, ids=lambda known: known.opening.strip())
def test_the_tags_of_every_family(known: Reasoning) -> None:
    output = f"{known.opening}Hm.{known.closing}Hello."
    assert route(output, reasoning=known).short() == ("Hello.", "Hm.", [])


CALLS: list[tuple[str, str, dict[str, Any], str, str, list[tuple[str, str]]]] = [
    ("hermes", f"<think>Hm.</think>\n\n{CALL}", {}, "", "Hm.", SUM),
    ("hermes", f"<think>Hm.</think>\n\nWait.\n{CALL}", {}, "Wait.\n", "Hm.", SUM),
    ("hermes", f"{CALL}\n<think>Hm.</think>", {}, "\n<think>Hm.</think>", "", SUM),
    # What is thought about is no call where models close their thoughts, and one where they forget to.
    ("hermes", f"<think>I write {CALL} then</think>\n\n{CALL}", {}, "", f"I write {CALL} then", SUM),
    ("qwen3_xml", f"<think>I add.\n{XML}", {}, "", "I add.", SUM),
    ("qwen3_xml", XML, {"opened": "<think>\n"}, "", "", SUM),
    ("qwen3_xml", f"Then <tool_call> is written.\n</think>\n\n{XML}", {"opened": "<think>"}, "",
     "Then <tool_call> is written.", SUM),
    ("qwen3_xml", "<think>a <tool_call>", {}, "", "a <tool_call>", []),
    ("qwen3_xml", "<think>a <tool_call> <tool_call>\n<function=ad", {}, "",
     "a <tool_call> <tool_call>\n<function=ad", []),
    ("qwen3_xml", f"<think>a <tool_call> {XML}", {}, "", "a <tool_call>", SUM),
    ("qwen3_xml", f"<think>I add.\n{XML}", {"reasoning_format": "none"}, "<think>I add.\n", "", SUM),
    ("hermes", '<think>Hm.</think>{"name": "add", "arguments": {"a": 1}}', {}, "", "Hm.", SUM),
]  # fmt: skip


@pytest.mark.parametrize(("form", "output", "options", "text", "reasoning", "calls"), CALLS)
def test_calls_beside_reasoning(
    form: str, output: str, options: dict[str, Any], text: str, reasoning: str, calls: list[tuple[str, str]]
) -> None:
    assert route(output, form, **options).short() == (text, reasoning, calls)


def test_events_come_in_the_order_of_the_output() -> None:
    assert route(f"<think>a</think>b{CALL}\n{CALL}c", "hermes").order == "rtcct"


def test_one_call_is_enough_where_no_more_are_wanted() -> None:
    router = Router(get_format("hermes"), TOOLS, parallel=False)
    events = [event for letter in f"a{CALL[:-2]}" for event in router.feed(letter)]
    assert router.done
    assert [*router.feed("> and more" + CALL), *router.finish()] == []
    assert merged(events).short() == ("a", "", SUM)
    assert not Router(get_format("hermes"), TOOLS).done
    assert not Router().done


def test_nothing_waits_that_begins_no_tag() -> None:
    router = Router(get_format("hermes"), TOOLS, reasoning=THINK)
    assert [event[0] for event in router.feed("Hello")] == ["Hello"]
    assert [event[0] for event in router.feed(", <b>you</b> <tool")] == [", <b>you</b> "]
    assert "".join(str(event[0]) for event in router.feed("box>")) == "<toolbox>"
    router = Router(reasoning=THINK)
    assert [event[0] for event in router.feed("<think>Let me think ")] == ["Let me think"]
    assert [event[0] for event in router.feed("of 1 < 2")] == [" of 1 < 2"]


BITS = st.sampled_from([
    "<think>", "</think>", "<tool_call>", "</tool_call>", '{"name": "add", ', '"arguments": {"a": 1}}', XML, CALL, " ",
    "\n", "text", "<", "</", "{", "```json\n", "```", "<function=", "add", ">", "é",
])  # fmt: skip


@pytest.mark.parametrize("form", ["", "hermes", "qwen3_xml", "mistral"])
@settings(max_examples=250, deadline=None)
@given(
    bits=st.lists(BITS, max_size=20),
    cuts=st.sets(st.integers(1, 300)),
    style=st.sampled_from(["auto", "none"]),
    opened=st.sampled_from(["", "<think>\n"]),
    json_text=st.booleans(),
)
def test_any_output_reads_the_same_in_any_pieces(
    form: str, bits: list[str], cuts: set[int], style: Any, opened: str, json_text: bool
) -> None:
    output = "".join(bits)
    tools = TOOLS if form else ()

    def make() -> Router:
        return Router(get_format(form) if form else None, tools, reasoning=THINK, reasoning_format=style,
                      opened=opened, json_text=json_text)  # fmt: skip

    found = whole(make, output, cuts)
    if not found.calls and style == "none" and not json_text:
        assert found.text == opened + output
    if not found.calls:
        # No letter is lost but those of the tags.
        letters = "".join(output.split())
        kept = "".join((found.reasoning + found.text).split())
        for tag in ("<think>", "</think>", "```json", "```"):
            letters, kept = letters.replace(tag, ""), kept.replace(tag, "")
        assert kept == letters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```json\n[1]\n```", "[1]"),
        ("\n ```\n[1]```  \n", "[1]"),
        ('"42"\n', '"42"\n'),
        ("```json\n[1]", "[1]"),
        ("```python\n[1]\n```", "```python\n[1]\n```"),
        ('```json\n"``` in it"\n```', '"``` in it"'),
        ("```json\n1\n````", "1\n````"),
        ("  ", "  "),
        ("``", "``"),
        ("", ""),
    ],
)
def test_a_fence_around_the_whole_answer_is_taken_off(text: str, expected: str) -> None:
    for cuts in (set(), set(range(1, 30)), {3, 9, 12}):
        unfence = Unfence()
        assert "".join([unfence.feed(part) for part in pieces(text, cuts)] + [unfence.finish()]) == expected


@pytest.mark.parametrize(
    ("template", "opening"),
    [
        ("Qwen-QwQ-32B", "<think>"),
        ("ByteDance-Seed-OSS", "<seed:think>"),
        ("mistralai-Ministral-3-14B-Reasoning-2512", "[THINK]"),
        ("CohereForAI-c4ai-command-r7b-12-2024-tool_use", "<|START_THINKING|>"),
        ("Qwen-Qwen2.5-7B-Instruct", None),
        ("google-gemma-2-2b-it", None),
    ],
)
def test_the_tags_are_found_in_the_template(template: str, opening: str | None) -> None:
    found = find_reasoning((LLAMA_CPP / "models" / "templates" / f"{template}.jinja").read_text(encoding="utf-8"))
    assert (found and found.opening) == opening


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [
        ("<|im_start|>assistant\n<think>\n", "<think>\n"),
        ("<think>", "<think>"),
        ("<think>\n\n</think>\n\n", ""),
        ("Use <think> tags.\n<|im_start|>assistant\n", ""),
        ("", ""),
    ],
)
def test_whether_the_prompt_opens_the_reasoning(prompt: str, opened: str) -> None:
    assert THINK.opened_by(prompt) == opened


def test_an_output_may_end_before_it_begins() -> None:
    for form in ("hermes", "qwen3_xml"):
        assert read(Router(get_format(form), TOOLS, reasoning=THINK), []) == []
        assert read(Router(get_format(form), TOOLS, reasoning=THINK), ["", ""]) == []
