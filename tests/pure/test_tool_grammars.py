"""Grammars of all tool formats: whatever they let a model write, the format's own parser reads as valid calls."""

from __future__ import annotations

import json
from typing import Any, cast

import jsonschema
import pytest

from llama_bind.chat.events import OutputEvent, TextDelta
from llama_bind.chat.tools.base import ChannelOutputParser, Tool, ToolFormat
from llama_bind.chat.tools.registry import get_format, names
from tests.tool_walks import TOOLS, Walker
from tests.vectors.chat_run import Answer

FORMATS = names()
OPENED = {"kimi_k3": '<|open|>message role="assistant"<|sep|><|open|>think<|sep|>'}
"""What the prompt has written of the answer."""
BEFORE = {"gpt_oss": "<|channel|>commentary ", "muse": " "}
"""What the model has written when a trigger appears."""
TALK = ("kimi_k3",)
"""Formats in which something may be said before a required call."""


def read(form: ToolFormat, text: str, tools: tuple[Tool, ...] = TOOLS, opened: str = "") -> Answer:
    parser = form.parser(tools)
    if form.reads_reasoning:
        cast(ChannelOutputParser, parser).begin(opened)
    answer = Answer()
    events: list[OutputEvent] = [*parser.feed(text), *parser.finish()]
    answer.take(events)
    return answer


def check(answer: Answer, text: str, *, talk: bool) -> None:
    schemas: dict[str, Any] = {tool.name: tool.parameters for tool in TOOLS}
    assert answer.calls, text
    assert talk or not answer.content.strip(), text
    for call in answer.calls:
        assert call.ended, text
        jsonschema.validate(json.loads(call.arguments), schemas[call.name])


@pytest.mark.parametrize("control", [True, False], ids=["control tokens", "plain text"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_a_grammar_allows_is_read_as_calls_with_valid_arguments(name: str, control: bool) -> None:
    form = get_format(name)
    walker = Walker(form, control)
    complete = 0
    for required in (True, False):
        for parallel in (True, False):
            grammar = form.grammar(TOOLS, required=required, parallel=parallel)
            for seed in range(4):
                text, whole = walker.walk(grammar, seed)
                before = "" if required else BEFORE.get(name, "")
                answer = read(form, before + text, opened=OPENED.get(name, "") if required else "")
                if whole:
                    complete += 1
                    check(answer, text, talk=required and name in TALK)
                    assert parallel or len(answer.calls) == 1, text
                else:
                    assert {call.name for call in answer.calls} <= {tool.name for tool in TOOLS}
    assert complete >= 8


@pytest.mark.parametrize("name", FORMATS)
def test_a_trigger_begins_what_the_grammar_allows(name: str) -> None:
    form = get_format(name)
    grammar = form.grammar(TOOLS, required=False, parallel=True)
    assert grammar.triggers
    assert not form.grammar(TOOLS, required=True, parallel=True).triggers
    for control in (True, False):
        walker = Walker(form, control)
        for seed in range(3):
            text, _ = walker.walk(grammar, seed)
            assert text.startswith(grammar.triggers), (text, grammar.triggers)


@pytest.mark.parametrize("name", [name for name in FORMATS if not get_format(name).reads_reasoning])
def test_calls_of_tools_that_are_not_declared_come_back_as_text(name: str) -> None:
    form = get_format(name)
    walker = Walker(form, control=True)
    grammar = form.grammar(TOOLS, required=False, parallel=True)
    for seed in range(3):
        text, _ = walker.walk(grammar, seed)
        answer = read(form, f"Well. {text}", tools=(Tool("something_else"),))
        assert not answer.calls
        assert answer.content == f"Well. {text}"


@pytest.mark.parametrize("name", FORMATS)
def test_an_output_may_be_cut_anywhere_and_in_any_pieces(name: str) -> None:
    form = get_format(name)
    text, _ = Walker(form, control=True).walk(form.grammar(TOOLS, required=False, parallel=True), 1)
    text = f"{BEFORE.get(name, '')}{text} and so on"
    whole = read(form, text)
    assert whole.calls
    parser, pieces = form.parser(TOOLS), Answer()
    if form.reads_reasoning:
        cast(ChannelOutputParser, parser).begin("")
    for character in text:
        pieces.take(parser.feed(character))
    pieces.take(parser.finish())
    assert pieces.without_ids() == whole.without_ids()
    for end in range(1, len(text), 11):
        cut = read(form, text[:end])
        assert len(cut.calls) <= len(whole.calls)
        for part, full in zip(cut.calls, whole.calls, strict=False):
            assert part.name == full.name
            # Where a list is cut whose strings contain what ends it, nobody can tell.
            assert part.name == "nested.call" or full.arguments.startswith(part.arguments.rstrip('"')[:-1])


def test_text_that_only_looks_like_calls_stays_text() -> None:
    for name in FORMATS:
        form = get_format(name)
        if form.reads_reasoning:
            continue
        triggers = form.grammar(TOOLS, required=False, parallel=True).triggers
        for mark in (mark for mark in triggers if mark in form.markers):
            text = f"One writes {mark} there, and {mark[:-1]} is only half of it. {mark}"
            parser = form.parser(TOOLS)
            events = [*parser.feed(text), *parser.finish()]
            assert "".join(cast(TextDelta, event).text for event in events) == text, name
