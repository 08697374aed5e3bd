"""Outputs of all tool formats that went wrong: nothing raises, nothing is lost, pieces make no difference."""

from __future__ import annotations

import random
import time
from typing import cast

import pytest

from llama_bind.chat.tools.base import ChannelOutputParser, OutputParser, Tool, ToolFormat
from llama_bind.chat.tools.registry import get_format, names
from tests.tool_walks import TOOLS, Walker
from tests.vectors.chat_run import Answer

FORMATS = names()
BEFORE = {"gpt_oss": "<|channel|>commentary ", "muse": " "}
DROPS = ("command_r", "command_r_plus")
"""Formats that leave out markers around the answer."""


def parser_of(form: ToolFormat, tools: tuple[Tool, ...] = TOOLS) -> OutputParser:
    parser = form.parser(tools)
    if form.reads_reasoning:
        cast(ChannelOutputParser, parser).begin("")
    return parser


def read(form: ToolFormat, pieces: list[str]) -> Answer:
    parser, answer = parser_of(form), Answer()
    for piece in pieces:
        answer.take(parser.feed(piece))
    answer.take(parser.finish())
    return answer


def broken(text: str, rng: random.Random) -> str:
    """A few things in it changed."""
    for _ in range(rng.randrange(1, 4)):
        at, size = rng.randrange(len(text)), rng.choice((1, 1, 2, 8, 30))
        text = rng.choice(
            (
                text[:at] + text[at + size :],
                text[: at + size] + text[at:],
                text[:at] + rng.choice('"{}[]<>|,:\\\n x') + text[at:],
                text[:at],
            )
        )
        text = text or "x"
    return text


@pytest.mark.parametrize("name", FORMATS)
def test_broken_outputs_raise_nothing_and_lose_nothing(name: str) -> None:
    form = get_format(name)
    walker, rng = Walker(form, control=True), random.Random(name)
    for seed in range(4):
        text, _ = walker.walk(form.grammar(TOOLS, required=False, parallel=True), seed)
        for _ in range(12):
            wrong = BEFORE.get(name, "") + broken(text, rng)
            whole = read(form, [wrong])
            cut, at = [], 0
            while at < len(wrong):
                size = rng.choice((1, 2, 3, 7, 25))
                cut.append(wrong[at : at + size])
                at += size
            assert read(form, cut).without_ids() == whole.without_ids(), wrong
            assert read(form, list(wrong)).without_ids() == whole.without_ids(), wrong
            if (
                not whole.calls
                and not form.reads_reasoning
                and name not in DROPS
                and not name.startswith("functionary")
            ):
                assert whole.content == wrong


@pytest.mark.parametrize("name", FORMATS)
def test_the_cost_of_a_token_does_not_grow_with_the_answer(name: str) -> None:
    """CPU time of an answer of text, and of one whose argument is long, four times as long each."""
    form = get_format(name)
    text, _ = Walker(form, control=True).walk(form.grammar(TOOLS[:1], required=False, parallel=False), 3)
    text = BEFORE.get(name, "") + text
    (call,) = read(form, [text]).calls
    value = call.arguments.split(":", 1)[1].strip().removeprefix('"')[:6]
    at = text.find(value) if value.isalnum() else text.rfind("city") + 4
    assert at > 0

    def spent(size: int) -> float:
        best = 9.0
        for _ in range(3):
            talk, call = parser_of(form), parser_of(form)
            call.feed(text[:at])
            begin = time.thread_time()
            for _ in range(size):
                talk.feed("word ")
                call.feed("word ")
            best = min(best, time.thread_time() - begin)
        return best

    spent(100)
    assert spent(8000) < 12 * spent(2000) + 0.002
