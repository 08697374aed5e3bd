"""Grammars that hold from a text on: however that text is cut into tokens, what follows it follows the grammar."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator

import numpy as np
import pytest

from llama_bind.errors import GrammarError
from llama_bind.structured.matcher import Compiler
from llama_bind.structured.phases import Phased
from llama_bind.structured.spec import Spec
from tests.vocabularies import Tiny

TINY = Tiny()
COMPILER = Compiler(TINY.vocabulary)
CALL = Spec(lark='start: mark "{" /[0-9]+/ "}"', markers=(("mark", "<tool_call>"),), triggers=("<tool_call>",))
SPECIAL = Spec(lark='start: mark "{" /[0-9]+/ "}"', markers=(("mark", "<call>"),), triggers=("<call>",))
AFTER = Spec(lark='start: "yes" | "no"', after=("</think>",))


def make(spec: Spec) -> Phased:
    made = COMPILER.make(spec)
    assert isinstance(made, Phased)
    return made


def splits(text: str) -> Iterator[list[int]]:
    """All ways to write a text with the tokens of the vocabulary."""
    raw = text.encode()
    if not raw:
        yield []
    for token, piece in enumerate(TINY.pieces):
        if piece and raw.startswith(piece):
            for rest in splits(raw[len(piece) :].decode()):
                yield [token, *rest]


def accepted(spec: Spec, tokens: list[int]) -> int:
    """How many of the tokens may be written."""
    constraint = make(spec)
    for count, token in enumerate(tokens):
        allowed = constraint.allows(token)
        assert constraint.refused()[token] != allowed, TINY.pieces[token]
        if not allowed:
            return count
        constraint.accept(token)
    return len(tokens)


def test_anything_may_be_written_before_a_trigger() -> None:
    constraint = make(CALL)
    for token in TINY.tokenize("hello <tool world", True):
        assert constraint.allows(token)
        constraint.accept(token)
    assert constraint.allows(TINY.end)
    assert constraint.allows(TINY.call)
    assert not constraint.forced()
    assert not constraint.finished


def test_a_trigger_is_seen_however_it_is_cut_into_tokens() -> None:
    ways = list(splits("x<tool_call>{"))
    assert len(ways) > 4
    for way in ways:
        constraint = make(CALL)
        for token in way:
            assert constraint.allows(token), way
            constraint.accept(token)
        assert constraint.allows(ord("1"))
        assert not constraint.allows(TINY.id("hello"))
        assert not constraint.allows(TINY.end)
        assert constraint.refused()[TINY.id("hello")]


def test_a_token_that_completes_a_trigger_and_breaks_the_grammar_is_refused() -> None:
    for way in splits("<tool_call>["):
        assert accepted(CALL, way) == len(way) - 1, way


def test_a_control_token_is_a_trigger_too() -> None:
    constraint = make(SPECIAL)
    for token in [TINY.id("hello"), TINY.call]:
        assert constraint.allows(token)
        constraint.accept(token)
    assert list(constraint.forced()) == [ord("{")]
    assert accepted(SPECIAL, [*b"<call>", ord("{"), ord("1")]) == 8
    assert accepted(SPECIAL, [*b"<call>", ord("x")]) == 6


def test_a_control_token_whose_text_the_grammar_has_as_text() -> None:
    spec = Spec(lark='start: "<call>" "{" /[0-9]+/ "}"', triggers=("<call>",))
    assert accepted(spec, [TINY.call, ord("{"), ord("1"), ord("}")]) == 4


def test_after_a_match_the_text_is_free_until_the_next_trigger() -> None:
    tokens = TINY.tokenize("hello<tool_call>{12} world<tool_call>{123}", False)
    assert accepted(CALL, [*tokens, TINY.end]) == len(tokens) + 1
    assert accepted(CALL, [*tokens, *b"<tool_call>", ord("x")]) == len(tokens) + 11


def test_a_grammar_that_may_go_on_does_or_leaves() -> None:
    spec = Spec(lark='start: ("<call>" /[0-9]+/)+', triggers=("<call>",))
    assert accepted(spec, [*b"<call>1<call>2", TINY.end]) == 15
    assert accepted(spec, [*b"<call>1 hello <call>2<call>x"]) == 27
    assert not make(spec).finished


def test_where_once_is_enough_the_output_ends_with_the_first_match() -> None:
    once = dataclasses.replace(CALL, once=True)
    tokens = TINY.tokenize("hello<tool_call>{12}", False)
    assert accepted(once, [*tokens, TINY.end]) == len(tokens) + 1
    for more in (b" ", b"<tool_call>{1}", b"}"):
        assert accepted(once, [*tokens, *more]) == len(tokens), more
    constraint = make(once)
    for token in tokens:
        assert not constraint.finished
        constraint.accept(token)
    assert constraint.finished
    assert not constraint.forced()
    assert constraint.fitting([ord("x")]) == 0


def test_once_leaves_a_grammar_that_may_go_on_the_choice_to_end() -> None:
    spec = Spec(lark='start: "<call>" /[0-9]+/', triggers=("<call>",), once=True)
    assert accepted(spec, [*b"<call>12", TINY.end]) == 9
    assert accepted(spec, [*b"<call>12 "]) == 8


def test_of_several_texts_before_it_any_makes_the_grammar_hold() -> None:
    spec = Spec(lark='start: "yes" | "no"', after=("final>", "json>"))
    for text in ("final>", "x json>"):
        assert accepted(spec, [*text.encode(), *b"yes", TINY.end]) == len(text) + 4
        assert accepted(spec, [*text.encode(), ord("x")]) == len(text)
    assert accepted(spec, [*b"other>x", TINY.end]) == 7, "there is no end before the answer"


def test_of_two_triggers_the_first_to_appear_counts() -> None:
    spec = Spec(lark='start: "[a]" "1" | "[b]" "2"', triggers=("[a]", "[b]"))
    assert accepted(spec, list(b"x[b]2[a]1")) == 9
    assert accepted(spec, list(b"x[b]1")) == 4


def test_the_grammar_holds_after_a_text() -> None:
    assert accepted(AFTER, [TINY.id("hello"), *b"no</think>"]) == 11
    for start in ([TINY.id("</think>")], [*b"</think>"], [TINY.id("</"), TINY.id("think"), ord(">")]):
        assert accepted(AFTER, [*start, TINY.id("yes"), TINY.end]) == len(start) + 2
        assert accepted(AFTER, [*start, TINY.id("hello")]) == len(start)
        assert accepted(AFTER, [*start, *b"\n\n", TINY.id("no"), TINY.end]) == len(start) + 4
        assert accepted(AFTER, [*start, *b"\n" * 40]) == len(start) + 16


def test_blanks_may_come_with_the_end_of_that_text() -> None:
    assert accepted(AFTER, [TINY.id("</"), TINY.id("think"), TINY.id(">\n\n"), TINY.id("yes")]) == 4


def test_a_text_that_is_not_closed_cannot_end() -> None:
    assert accepted(AFTER, [TINY.id("hello"), TINY.end]) == 1


def test_it_is_finished_after_the_match() -> None:
    constraint = make(AFTER)
    for token in (TINY.id("</think>"), TINY.id("yes")):
        assert not constraint.finished
        constraint.accept(token)
    assert constraint.finished
    assert constraint.allows(TINY.end)
    assert not constraint.allows(TINY.id("yes"))


def test_triggers_count_only_after_the_text_before_them() -> None:
    spec = Spec(lark='start: "[a]" "1"', triggers=("[a]",), after=("</think>",))
    assert accepted(spec, [*b"[a]x", TINY.id("</think>"), *b"[a]1"]) == 9
    assert accepted(spec, [*b"[a]x", TINY.id("</think>"), *b"[a]2"]) == 8
    assert accepted(spec, [TINY.end]) == 1  # a call may be made, none must be


def test_guesses_are_cut_where_the_phase_may_change() -> None:
    constraint = make(CALL)
    assert constraint.fitting([TINY.id("hello"), *b"<tool_call>[["]) == 11
    assert constraint.fitting([TINY.id("hello"), TINY.end, TINY.id("hello")]) == 1
    for token in b"<tool_call>":
        constraint.accept(token)
    assert constraint.fitting([*b"{1}", TINY.id("hello")]) <= 3
    assert constraint.fitting([TINY.id("hello")]) == 0


def test_a_token_that_does_not_fit_is_an_error() -> None:
    constraint = make(CALL)
    for token in b"<tool_call>":
        constraint.accept(token)
    with pytest.raises(GrammarError):
        constraint.accept(TINY.id("hello"))


def test_random_texts_follow_the_grammar_wherever_it_is_triggered() -> None:
    rng = random.Random(5)
    words = [TINY.id(w) for w in ("<tool", "_call>", "_call>{", "_call>[", "x<tool", "12", "hello")] + [*b"<_>{}"]
    for _ in range(100):
        constraint, text = make(CALL), b""
        for _ in range(60):
            token = rng.choice(words)
            if not constraint.allows(token):
                left = np.flatnonzero(~constraint.refused()).tolist()
                token = rng.choice([t for t in left if t not in TINY.vocabulary.ends] or left)
            if token in TINY.vocabulary.ends:
                break
            constraint.accept(token)
            text += TINY.pieces[token]
        for part, last in zip(text.split(b"<tool_call>")[1:], itertools.count()):
            body = part.split(b"}")[0] + (b"}" if b"}" in part else b"")
            digits = body.removeprefix(b"{").removesuffix(b"}")
            assert body == b"" or body.startswith(b"{"), (text, last)
            assert digits == b"" or digits.isdigit(), (text, last)
