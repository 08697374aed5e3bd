"""GBNF on llguidance and on llama.cpp's own engine: random grammars, random texts, the same tokens allowed."""

from __future__ import annotations

import random
import re
import time

import pytest

from llama_bind.core.sampler import Sampler
from llama_bind.core.vocab import Vocab
from llama_bind.demands import constraints_of
from llama_bind.errors import GrammarError
from llama_bind.params import SamplingParams
from llama_bind.structured import gbnf
from llama_bind.structured.gbnf_lark import gbnf_spec
from llama_bind.structured.matcher import Compiler
from tests.core_helpers import shared_model
from tests.gbnf_fuzz import mutate
from tests.vectors import grammars

ATOMS = ('"a"', '"the "', '"in"', "[a-d]", "[^a-y\\n]", ".", '"é"', "[é-ü]", "x", "y", "root", '""', "[01]", '"hello"')


def random_grammar(rng: random.Random) -> str:
    """Three rules that may name each other; some are refused."""

    def expression(depth: int) -> str:
        parts = []
        for _ in range(rng.randint(1, 3)):
            inner = depth and rng.random() < 0.3
            part = f"({expression(depth - 1)})" if inner else rng.choice(ATOMS)
            once = inner or part in ("root", "x", "y", '""')  # repeated, they take llama.cpp exponential time
            parts.append(part + rng.choice(("", "?") if once else ("", "", "", "*", "+", "?", "{2}", "{0,2}", "{2,}")))
        return " ".join(parts) + (f" | {expression(depth - 1)}" if depth and rng.random() < 0.4 else "")

    return "\n".join(f"{name} ::= {expression(2)}" for name in ("root", "x", "y"))


ODD = re.compile(rb"[\xc0\xc1\xe0\xed\xf0\xf4-\xff]")
"""Bytes that may begin what is no character (too long, a surrogate, too high): llama.cpp takes that, we do not."""


def comparable(vocab: Vocab) -> list[int]:
    """Tokens without control tokens, whose texts llama.cpp takes for text, and without `ODD` ones."""
    control = set(vocab.control_tokens()) - vocab.eog_tokens
    return [t for t in range(vocab.n_tokens) if t not in control and not ODD.search(vocab.token_to_piece(t, True))]


def compare(text: str, vocab: Vocab, compiler: Compiler, rng: random.Random) -> int:
    """Walk both engines along what they allow; gives how many tokens were taken."""

    def token_of(name: str) -> int | None:
        found = vocab.tokenize(name, False, True)
        return found[0] if len(found) == 1 else None

    parsed, tokens = gbnf.parse(text), comparable(vocab)
    sampler = Sampler.create(vocab, SamplingParams(grammar=text, samplers=()), n_ctx=64, seed=1)
    try:
        constraint = compiler.make(gbnf_spec(parsed, token_of, vocab.n_tokens))
    except GrammarError:  # it matches nothing: llama.cpp takes it, and stands still at once
        assert not any(sampler.allows(token) for token in tokens), text
        return 0
    for count in range(12):
        before = time.thread_time()
        allowed = [token for token in tokens if sampler.allows(token)]
        if time.thread_time() - before > 0.3:  # of an ambiguous grammar: from here on it doubles with every token
            return count
        found = [token for token in tokens if constraint.allows(token)]
        assert found == allowed, (text, count, [vocab.token_to_piece(t, True) for t in set(found) ^ set(allowed)])
        left = [token for token in allowed if token not in vocab.eog_tokens]
        if not left:
            return count
        if not constraint.forced():  # else the mask has what is forced and nothing else
            refused = constraint.refused()
            assert [token for token in tokens if not refused[token]] == allowed, (text, count)
        token = rng.choice(left)
        sampler.accept(token)
        constraint.accept(token)
    return 12


@pytest.mark.parametrize("seed", range(4))
def test_both_engines_allow_the_same_tokens(seed: int) -> None:
    vocab = shared_model().vocab
    compiler, rng = constraints_of(vocab), random.Random(seed)
    texts = [case.text for case in grammars.matched() if "<[" not in case.text]
    compared = taken = 0
    while compared < 40:
        text = random_grammar(rng) if rng.random() < 0.7 else mutate(rng, rng.choice(texts))
        try:
            gbnf.parse(text)
            taken += compare(text, vocab, compiler, rng)
        except GrammarError:
            continue
        compared += 1
    assert taken > 80
