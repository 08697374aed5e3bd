from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from llama_bind.engine.beam import BeamSearch
from llama_bind.errors import RequestError
from llama_bind.values import Beam, FinishEvent, PieceEvent, Timings, TokenLogprob, Usage
from tests.beams import Model, every_text, plain_search

FINISH = FinishEvent("length", Usage(1, 1), Timings(0, 0, 0, 1, 1), 0)


def model(seed: int, n_vocab: int) -> Model:
    """Log probabilities after any tokens: random, and the same for the same tokens."""

    def logprobs(tokens: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
        logits = np.random.default_rng([seed, *tokens]).normal(0, 2, n_vocab)
        found: np.ndarray[Any, np.dtype[np.float64]] = logits - np.log(np.exp(logits).sum())
        return found

    return logprobs


def entry(token: int, logprob: float) -> TokenLogprob:
    return TokenLogprob(token, b"", float(logprob))


def run(search: BeamSearch, logprobs: Model) -> tuple[list[Beam], int]:
    """The beams, and how many steps it took."""
    steps = 0
    while requests := search.requests():
        steps += 1
        order = list(enumerate(requests))
        random.Random(steps).shuffle(order)  # results come in any order
        for i, request in order:
            assert request.max_tokens == 1
            assert request.buffered
            found = logprobs(tuple(request.prompt))
            best = sorted(range(len(found)), key=lambda t: -found[t])[: request.logprobs]
            top = tuple(entry(t, found[t]) for t in best)
            search.add(i, PieceEvent("x", (0,), (TokenLogprob(0, b"", -1.0, top),)))
            search.add(i, FINISH)
    return search.beams(lambda token: f"{token} ".encode()), steps


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 2.0, -1.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_beam_as_wide_as_the_tree_finds_the_best_texts_of_all(seed: int, penalty: float) -> None:
    n_vocab, most, ends = 4, 4, {1}
    search = BeamSearch([0], width=300, max_tokens=most, length_penalty=penalty, ends=ends)
    got, _ = run(search, model(seed, n_vocab))
    want = every_text(model(seed, n_vocab), n_vocab, ends, most, penalty)
    assert [b.tokens for b in got] == [tokens for tokens, _ in want]
    assert [b.score for b in got] == pytest.approx([score for _, score in want])


@pytest.mark.parametrize("penalty", [0.0, 1.0, 3.0, -2.0])
@pytest.mark.parametrize("seed", range(20))
def test_a_narrow_beam_equals_the_plain_search(seed: int, penalty: float) -> None:
    width, most, ends = 1 + seed % 4, 12, {1, 2}
    search = BeamSearch([0], width=width, max_tokens=most, length_penalty=penalty, ends=ends)
    got, _ = run(search, model(seed, 9))
    assert [b.tokens for b in got] == plain_search(model(seed, 9), width, most, penalty, ends)


def test_it_stops_when_nothing_better_can_come() -> None:
    def ends_at_once(_: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
        found: np.ndarray[Any, np.dtype[np.float64]] = np.log(np.array([0.01, 0.97, 0.02]))
        return found

    beams, steps = run(BeamSearch([0], width=1, max_tokens=50, length_penalty=0.0, ends={1}), ends_at_once)
    assert steps == 1
    assert [(b.tokens, b.finish_reason, b.text) for b in beams] == [((1,), "stop", "")]


def test_what_a_beam_holds() -> None:
    table = {(0,): [0.0, 0.1, 0.9], (0, 2): [0.3, 0.6, 0.1], (0, 0): [1.0, 0.0, 0.0]}

    def logprobs(tokens: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.log(np.maximum(table[tokens], 1e-9))

    beams, _ = run(BeamSearch([0], width=2, max_tokens=2, length_penalty=1.0, ends={1}), logprobs)
    assert [(b.tokens, b.text, b.finish_reason) for b in beams] == [
        ((2, 1), "2 ", "stop"),
        ((2, 0), "2 0 ", "length"),
    ]
    assert [b.logprob for b in beams] == pytest.approx([np.log(0.54), np.log(0.27)])
    assert [b.score for b in beams] == pytest.approx([np.log(0.54) / 2, np.log(0.27) / 2])


def test_banned_tokens_are_never_chosen_and_do_not_count_among_those_looked_at() -> None:
    never = {1, 2, 3, 4}
    search = BeamSearch([0], width=2, max_tokens=3, ends={1}, never=never)
    beams, _ = run(search, model(3, 9))
    assert len(beams) == 2
    assert not never & {t for b in beams for t in b.tokens}
    assert {b.finish_reason for b in beams} == {"length"}


def test_each_step_asks_for_what_it_looks_at() -> None:
    search = BeamSearch([7, 8], width=3, max_tokens=2, ends=set(range(5)), never={11}, priority=4)
    (first,) = search.requests()
    assert list(first.prompt) == [7, 8]
    assert (first.logprobs, first.priority, first.sampling.temperature) == (9, 4, 0.0)


def test_a_step_without_a_token_is_an_error_not_a_shorter_list() -> None:
    search = BeamSearch([0], width=1, max_tokens=2)
    search.requests()
    search.add(0, FINISH)
    with pytest.raises(RequestError, match="without a token"):
        search.requests()
