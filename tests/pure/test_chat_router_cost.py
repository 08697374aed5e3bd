"""What reading costs: the same for every token, however long the output, and whatever a model does."""

from __future__ import annotations

import json
import time

import pytest

from llama_bind.chat.reasoning import Reasoning
from llama_bind.chat.router import Router
from llama_bind.chat.tools.registry import get_format
from tests.routing import tool

TOOLS = (tool("write", ["text"], text="string", n="integer"),)
WORDS = "the quick brown fox <b>jumps</b> over [the] lazy {dog} \n"
PIECE = 4
"""Characters of a token, more or less."""


def outputs(size: int) -> dict[str, tuple[str, str]]:
    """Outputs of about `size` characters: (format, text)."""
    text = (WORDS * (size // len(WORDS) + 1))[:size]
    quoted = json.dumps(text)
    call = '<tool_call>\n{"name": "%s", "arguments": {"text": "x"}}\n</tool_call>\n'
    return {
        "text": ("hermes", text),
        "reasoning": ("hermes", f"<think>{text}"),
        "arguments": ("hermes", f'<tool_call>\n{{"name": "write", "arguments": {{"text": {quoted}}}}}\n</tool_call>'),
        "tagged arguments": ("qwen3_coder", f"<tool_call>\n<function=write>\n<parameter=text>\n{text}\n</parameter>\n"),
        "held arguments": ("mistral_nemo", f'[TOOL_CALLS][{{"name": "write", "arguments": {{"text": {quoted}}}}}]'),
        "bare call": ("hermes", f'{{"name": "write", "arguments": {{"text": {quoted}}}}}'),
        "bare call that does not fit": ("hermes", f'{{"name": "write", "arguments": {{"n": {quoted}}}}}'),
        "calls": ("hermes", call % "write" * (size // 70)),
        "calls of nobody": ("hermes", call % "nobody" * (size // 70)),
        "blanks": ("hermes", " " * size),
        "blanks in thought": ("hermes", "<think>" + " " * size),
        "beginnings of tags": ("hermes", "<tool_call" * (size // 10)),
        "tags in thought": ("qwen3_xml", "<think>" + "<tool_call>" * (size // 11)),
        "ends of values that are none": (
            "qwen3_coder",
            "<tool_call>\n<function=write>\n<parameter=text>\n" + "</parameter>x" * (size // 13),
        ),
        "escapes": ("hermes", '<tool_call>{"name": "write", "arguments": {"text": "' + "\\n" * (size // 2)),
        "fences": ("hermes", "```\n" * (size // 4)),
    }


def cost(form: str, text: str, piece: int) -> float:
    """CPU seconds of reading."""
    router = Router(get_format(form), TOOLS, reasoning=Reasoning("<think>", "</think>"))
    parts = [text[at : at + piece] for at in range(0, len(text), piece)]
    start = time.thread_time()
    for part in parts:
        router.feed(part)
    router.finish()
    return time.thread_time() - start


@pytest.mark.parametrize("kind", outputs(100))
@pytest.mark.parametrize("piece", [PIECE, 1_000_000], ids=["tokens", "whole"])
def test_cost_is_linear_in_the_output(kind: str, piece: int) -> None:
    def measured(size: int) -> float:
        form, text = outputs(size)[kind]
        return min(cost(form, text, piece) for _ in range(3))

    # Twelve times the text; were it quadratic, 144 times the cost. Below a millisecond the clock tells nothing.
    assert measured(240_000) < 36 * max(measured(20_000), 1e-3)


@pytest.mark.parametrize("kind", ["text", "reasoning", "arguments", "tagged arguments"])
def test_a_token_costs_microseconds(kind: str) -> None:
    form, text = outputs(40_000)[kind]
    best = min(cost(form, text, PIECE) for _ in range(5))
    # Measured: 1 to 4 microseconds. The bound leaves room for slow machines.
    assert best / (len(text) / PIECE) < 25e-6


def test_a_megabyte_of_anything_comes_to_an_end() -> None:
    for form, text in outputs(1_000_000).values():
        assert cost(form, text, 1_000_000) < 30
