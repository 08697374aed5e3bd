"""llama.cpp's expectations of chat output, all of them, against our reading: whole, by character, in random pieces."""

from __future__ import annotations

import functools

import pytest

from llama_bind.chat.tools.registry import find_format
from tests.vectors.chat_cases import ChatCase, chat_cases
from tests.vectors.chat_known import KNOWN
from tests.vectors.chat_run import Answer, Call, differences, run_case

FAMILIES = {
    "apertus", "apriel", "command_r", "command_r_plus", "deepseek", "deepseek_r1", "dsml", "dsml_v4", "firefunction",
    "functionary_v3.1", "functionary_v3.2", "gemma4", "generic", "gigachat", "gigachat_v3.1", "glm", "glm_lines",
    "gpt_oss", "granite", "hermes", "kimi_k2", "kimi_k3", "lfm2", "llama3", "minicpm", "minimax_m2", "minimax_m3",
    "mistral", "mistral_nemo", "mistral_small", "muse", "nemotron", "qwen3_coder", "qwen3_xml", "seed_oss",
}  # fmt: skip
"""Formats that have cases. The generic one reads templates that know of no tools: their cases are text and thoughts."""


@functools.cache
def cases() -> dict[str, ChatCase]:
    return {case.name: case for case in chat_cases()}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_passes_and_what_does_not(family: str) -> None:
    own = [case for case in cases().values() if find_format(case.source).name == family]
    assert own
    failures = {case.name: found for case in own if (found := run_case(case))}
    unknown = {name: found for name, found in failures.items() if name not in KNOWN}
    assert not unknown
    passed = {case.name for case in own} - failures.keys()
    assert not passed & KNOWN.keys()  # passes now: take it off the list


def test_every_family_is_named_and_most_cases_pass() -> None:
    assert {find_format(case.source).name for case in cases().values()} == FAMILIES
    assert KNOWN.keys() <= cases().keys()
    assert all(KNOWN.values())
    assert len(KNOWN) <= 0.05 * len(cases())


CASE = ChatCase(
    line=1,
    template="none",
    text="",
    content="Hello",
    reasoning="hm",
    calls=(("f", '{"a": 1, "b": "x y"}', "7"),),
)


def answer(arguments: str = '{"a":1,"b":"x y"}', call_id: str = "7") -> Answer:
    return Answer(content="Hello\n", reasoning="hm", calls=[Call("f", call_id, arguments, ended=True)])


def test_the_comparison_lets_pass_what_is_equal_only() -> None:
    assert differences(CASE, answer()) == []
    assert differences(CASE, answer('{"b": "x y", "a": 1}'))
    assert differences(CASE, answer('{"a": 1, "b": "xy"}'))
    assert differences(CASE, answer('{"a": 1, "b": "x y"'))
    assert differences(CASE, answer(call_id="8"))
    assert differences(CASE, Answer("Hello", "hm"))
    assert differences(CASE, Answer("Hell", "hm", answer().calls))
    assert differences(CASE, Answer("Hello", "h", answer().calls))


def test_cut_arguments_are_compared_as_text() -> None:
    cut = ChatCase(line=1, template="none", text="", calls=(("f", '{"a": "x y', ""),), partial=True)

    def same(arguments: str) -> bool:
        return not differences(cut, Answer(calls=[Call("f", "any", arguments)]))

    assert same('{"a": "x y')
    assert same('{"a":"x y')
    assert not same('{"a": "xy')
    assert not same('{"a": "x y"')
    assert not same('{"a":')
