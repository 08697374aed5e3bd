"""The limit on reasoning, against llama.cpp's own cases (``tests/test-reasoning-budget.cpp``), read in place."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llama_bind.errors import GrammarError
from llama_bind.structured.matcher import Compiler, Limited
from llama_bind.structured.needles import Piece
from llama_bind.structured.spec import Spec, ThinkingBudget
from llama_bind.structured.thinking import Budget, BudgetState
from tests.vectors import LLAMA_CPP
from tests.vocabularies import Tiny

SOURCE = LLAMA_CPP / "tests" / "test-reasoning-budget.cpp"
TINY = Tiny()
COMPILER = Compiler(TINY.vocabulary)


def cases() -> list[dict[str, Any]]:
    """The blocks of ``main`` that call ``test_reasoning_budget``."""
    found = []
    block = re.compile(r"\n    \{\n(.*?)\n    \}\n", re.DOTALL)
    for body in block.findall(SOURCE.read_text(encoding="utf-8")):
        if "test_reasoning_budget(" not in body:
            continue
        values = {name: numbers(value) for name, value in re.findall(r"> (\w+) = (\{.*?\});", body)}
        call = re.search(r'test_reasoning_budget\("(.*?)", (.*)\);', re.sub(r"//[^\n]*", "", body), re.DOTALL)
        assert call is not None
        arguments = [a.strip() for a in re.split(r",(?![^{]*\})", call.group(2))]
        _, start, end, _, budget, state, first, last = arguments
        lists = [values[a.strip("{}")] if a.startswith("{") else values[a] for a in (start, end)]
        wrapped = [[v] if v and isinstance(v[0], int) else v for v in lists]
        found.append(
            {
                "name": call.group(1), "sequence": values["sequence"], "start": wrapped[0], "end": wrapped[1],
                "forced": values["forced"], "budget": int(budget), "state": state.removeprefix("REASONING_BUDGET_"),
                "first": None if first == "SIZE_MAX" else int(first),
                "last": None if last == "SIZE_MAX" else int(last),
            }
        )  # fmt: skip
    return found


def numbers(text: str) -> Any:
    return eval(text.replace("{", "[").replace("}", "]"))  # digits, commas and braces only


def name_of(token: int) -> bytes:
    return b"<%d>" % token


def texts(sequences: list[list[int]]) -> tuple[bytes, ...]:
    return tuple(b"".join(map(name_of, sequence)) for sequence in sequences)


def test_all_cases_are_found() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    assert len(cases()) == len(re.findall(r"// Test \d+:", source)) >= 8


@pytest.mark.parametrize("case", cases(), ids=lambda c: c["name"])
def test_cases_of_llama_cpp(case: dict[str, Any]) -> None:
    openings, ends = texts(case["start"]), texts(case["end"])
    opened = case["state"] in ("COUNTING", "FORCING")
    budget = Budget(case["budget"], openings, ends, tuple(case["forced"]), opened)
    assert not opened or budget.state.name == ("FORCING" if case["budget"] <= 0 else case["state"])
    forcing = []
    for place, token in enumerate(case["sequence"]):
        if budget.forced:
            forcing.append(place)
            assert budget.forced[0] == case["forced"][len(forcing) - 1]
        elif forcing:
            break
        budget.accept(Piece(token, name_of(token)))
    assert (forcing[0] if forcing else None) == case["first"]
    assert (forcing[-1] if forcing else None) == case["last"]


def test_the_end_may_be_longer_than_another_that_ends_with_it() -> None:
    budget = Budget(5, (b"<100>",), texts([[104], [103, 104]]), (102,), False)
    for token in (100, 103):
        budget.accept(Piece(token, name_of(token)))
    assert budget.left == 4
    budget.accept(Piece(104, name_of(104)))
    assert budget.state is BudgetState.DONE


def test_a_character_is_not_torn() -> None:
    budget = Budget(2, (), (b"</think>",), (7,), True)
    for piece in (b"a", "é".encode()[:1]):
        budget.accept(Piece(0, piece))
    assert budget.state is BudgetState.WAITING
    assert not budget.forced
    budget.accept(Piece(0, "é".encode()[1:]))
    assert budget.forced == (7,)


def test_four_bytes_one_by_one() -> None:
    budget = Budget(1, (), (b"</think>",), (7,), True)
    states = []
    for byte in "😀".encode():
        budget.accept(Piece(0, bytes([byte])))
        states.append(budget.state)
    assert states == [BudgetState.WAITING] * 3 + [BudgetState.FORCING]


# -- with a vocabulary --------------------------------------------------------------------------------------------


def limited(tokens: int, **options: Any) -> Limited:
    made = COMPILER.make(Spec(thinking=ThinkingBudget(tokens, **options), kind="thinking"))
    assert isinstance(made, Limited)
    return made


def follow(constraint: Limited, tokens: list[int]) -> list[int]:
    """What is written when the model wants `tokens`."""
    written = []
    for token in tokens:
        forced = constraint.forced()
        taken = forced[0] if forced else token
        assert constraint.allows(taken)
        assert constraint.refused()[taken] == False  # noqa: E712
        constraint.accept(taken)
        written.append(taken)
    return written


def test_the_end_is_forced_when_the_tokens_are_used_up() -> None:
    constraint = limited(3, closing="STOP</think>")
    assert not constraint.active
    hello = TINY.id("hello")
    written = follow(constraint, [hello] * 7)
    assert written == [hello] * 3 + [TINY.id("STOP"), TINY.id("</think>")] + [hello] * 2
    assert not constraint.finished


def test_nothing_else_is_allowed_while_it_is_forced() -> None:
    constraint = limited(0, closing="</think>")
    assert constraint.active
    assert [t for t in range(TINY.vocabulary.n_tokens) if constraint.allows(t)] == [TINY.id("</think>")]
    assert constraint.refused().sum() == TINY.vocabulary.n_tokens - 1
    assert constraint.fitting([TINY.id("</think>"), 97]) == 1
    assert constraint.fitting([97]) == 0


def test_a_block_that_ends_by_itself() -> None:
    constraint = limited(5, closing="\n</think>\n")
    written = follow(constraint, [TINY.id("hello"), TINY.id("</"), TINY.id("think"), ord(">"), *[97] * 9])
    assert written[-9:] == [97] * 9


def test_another_end_than_what_is_forced() -> None:
    constraint = limited(3, closing="STOP</think>", end="</think>")
    assert follow(constraint, [97, TINY.id("</think>"), *[97] * 9])[2:] == [97] * 9


def test_a_block_that_the_model_opens() -> None:
    constraint = limited(2, closing="</think>", opening="<think>")
    assert follow(constraint, [97, 97, 97, TINY.think, 97, 97, 97])[3:] == [TINY.think, 97, 97, TINY.id("</think>")]
    again = limited(1, closing="</think>", opening="<think>", opened=True)
    written = follow(again, [97, 97, 98, *b"<think>", 97, 97])
    assert written == [97, TINY.id("</think>"), 98, *b"<think>", 97, TINY.id("</think>")]


def test_guesses_end_where_the_tokens_are_used_up() -> None:
    assert limited(3, closing="</think>").fitting([97] * 9) == 3


def test_the_grammar_holds_after_the_forced_end() -> None:
    spec = Spec(lark='start: "yes" | "no"', after=("</think>",), thinking=ThinkingBudget(2, "</think>"))
    constraint = COMPILER.make(spec)
    assert isinstance(constraint, Limited)
    follow(constraint, [97, 97, 97])
    assert not constraint.allows(97)
    assert constraint.allows(TINY.id("yes"))
    constraint.accept(TINY.id("yes"))
    assert constraint.finished


def test_a_budget_needs_an_end() -> None:
    with pytest.raises(GrammarError, match="ends it"):
        limited(3, closing="\n")
