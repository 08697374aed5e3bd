"""Grammars that llama.cpp's parser takes and that its engine does not survive."""

from __future__ import annotations

import time

import pytest

from llama_bind.errors import GrammarError
from llama_bind.structured import gbnf_rules
from llama_bind.structured.gbnf import parse


def chain(count: int, unit: str, last: str) -> str:
    rules = [unit.format(f"r{i}", f"r{i + 1}") for i in range(count)]
    return "\n".join(["root ::= r0", *rules, f"r{count} ::= {last}"])


def test_left_recursion_hidden_behind_empty_rules() -> None:
    with pytest.raises(GrammarError, match="left recursion hidden behind empty rules: root") as caught:
        parse('b ::= ""\na ::= b\nroot ::= a root "x" | "y"')
    assert caught.value.line == 3


def test_hidden_recursion_at_the_end_of_a_rule_is_harmless() -> None:
    assert parse('ws ::= [ ]*\nsp ::= ws\nroot ::= sp root | "x"')


def test_a_rule_that_can_never_begin() -> None:
    with pytest.raises(GrammarError, match="'dead' can never match"):
        parse('root ::= "x" dead\nn ::= m\nm ::= ""\ndead ::= n dead')


def test_exponential_left_recursion_test() -> None:
    text = chain(40, "{0} ::= {1} | {1}", "[x]")
    start = time.perf_counter()
    with pytest.raises(GrammarError, match="too many ways to begin"):
        parse(text)
    assert time.perf_counter() - start < 5
    assert parse(chain(10, "{0} ::= {1} | {1}", "[x]"))


def test_exponential_stacks() -> None:
    text = chain(40, '{0} ::= {1} "a" | {1} "b"', "[x]")
    with pytest.raises(GrammarError, match=r"too many ways to begin|more than 10000 ways"):
        parse(text)
    text = chain(14, '{0} ::= {1} "a" | {1} "b"', "[x]")  # few enough calls of the recursion test, 2**14 stacks
    with pytest.raises(GrammarError, match="more than 10000 ways"):
        parse(text)
    assert parse(chain(10, '{0} ::= {1} "a" | {1} "b"', "[x]"))


def test_stacks_in_the_middle_of_a_rule() -> None:
    with pytest.raises(GrammarError, match="more than 10000 ways"):
        parse("root ::= [a] " + " ".join(["x"] * 50) + "\nx ::= " + " | ".join(f'"{i}"' for i in range(300)) + " | ")


def test_alternates_of_an_enumeration() -> None:
    assert parse("root ::= " + " | ".join(f'"{i}"' for i in range(9_000)))
    with pytest.raises(GrammarError, match="more than 10000 ways"):
        parse("root ::= " + " | ".join(f'"{i}"' for i in range(11_000)))


def test_long_chains() -> None:
    assert parse(chain(gbnf_rules.MAX_LEFT_DEPTH - 10, "{0} ::= {1}", "[x]"))
    with pytest.raises(GrammarError, match="begin with each other in a chain"):
        parse(chain(gbnf_rules.MAX_LEFT_DEPTH + 10, "{0} ::= {1}", "[x]"))
    assert parse(chain(20_000, '{0} ::= "a" {1}', "[x]"))


def test_many_optional_items() -> None:
    assert parse("root ::= " + "[a]? " * 2000)
    with pytest.raises(GrammarError, match="more than 10000 ways"):
        parse("root ::= " + " ".join(["x"] * 200) + "\nx ::= " + "[a] | " * 100)


def test_a_long_cycle_is_found() -> None:
    with pytest.raises(GrammarError, match="left recursion"):
        parse(chain(3000, "{0} ::= {1}", "r0"))
