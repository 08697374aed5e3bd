from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.engine.loop import Engine
from llama_bind.engine.request import Request
from llama_bind.engine.speculative import DraftLength, PromptLookup
from llama_bind.errors import TokenError
from llama_bind.values import FinishEvent, PieceEvent
from tests.fakes import EOG, N_VOCAB, FakeContext, FakeRunner


def ids(*tokens: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.array(tokens, np.int32)


def test_lookup_finds_what_followed_the_longest_run_latest() -> None:
    lookup = PromptLookup(max_ngram_size=2, num_pred_tokens=3)
    assert lookup(ids(1, 2, 3, 4, 5, 9, 1, 2)).tolist() == [3, 4, 5]
    assert lookup(ids(1, 2, 7, 1, 2, 8, 1, 2)).tolist() == [8, 1, 2]
    assert lookup(ids(5, 2, 7, 1, 2)).tolist() == [7, 1, 2]  # only a run of one is there
    assert lookup(ids(1, 2, 3)).tolist() == []
    assert lookup(ids(1)).tolist() == []
    assert lookup(ids()).tolist() == []


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 4), st.integers(1, 6))
def test_lookup_agrees_with_a_plain_search(tokens: list[int], size: int, count: int) -> None:
    def plain() -> list[int]:
        for n in range(min(size, len(tokens) - 1), 0, -1):
            for start in range(len(tokens) - n - 1, -1, -1):
                if tokens[start : start + n] == tokens[-n:]:
                    return tokens[start + n : start + n + count]
        return []

    assert PromptLookup(size, count)(ids(*tokens)).tolist() == plain()


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 5)])
def test_lookup_refuses_sizes_that_make_no_sense(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PromptLookup(*sizes)


def test_draft_length_grows_with_success_and_pauses_after_failures() -> None:
    length = DraftLength(most=8)
    assert length.next() == 4
    length.result(4, 4)
    assert length.next() == 8
    length.result(8, 8)
    assert length.next() == 8
    length.result(8, 0)
    length.result(4, 0)
    assert [length.next() for _ in range(5)] == [0, 0, 0, 0, 2]
    length.result(2, 1)
    assert length.next() == 1


def run(proposer: Any, **options: Any) -> tuple[str, FinishEvent, Engine, FakeRunner]:
    runner = FakeRunner(FakeContext(n_ctx=256, n_batch=16))
    engine = Engine(runner)  # type: ignore[arg-type]
    events = list(engine.submit(Request(prompt=[1, 2], proposer=proposer, **options)))
    engine.close()
    assert isinstance(events[-1], FinishEvent)
    return "".join(e.text for e in events if isinstance(e, PieceEvent)), events[-1], engine, runner


def test_right_guesses_save_steps_and_change_nothing() -> None:
    def count_on(tokens: Any) -> Any:
        return np.arange(tokens[-1] + 1, tokens[-1] + 21) % N_VOCAB

    plain = run(None, max_tokens=40)
    fast = run(count_on, max_tokens=40)
    assert fast[0] == plain[0]
    assert fast[1].usage == plain[1].usage
    assert len(fast[3].plans) < len(plain[3].plans) / 3
    assert fast[2].stats.accepted_tokens > 30
    assert fast[3].context.memory.slots[0] == list(range(1, 42))


def test_wrong_guesses_are_taken_back() -> None:
    plain, wrong = run(None, max_tokens=12), run(lambda _: [5, 5, 5], max_tokens=12)
    assert wrong[0] == plain[0]
    assert wrong[3].context.memory.slots[0] == plain[3].context.memory.slots[0]
    half = run(lambda t: [t[-1] + 1, 999], max_tokens=12)
    assert half[0] == plain[0]


def test_a_stop_inside_right_guesses_ends_there() -> None:
    text, finish, engine, runner = run(lambda t: range(t[-1] + 1, t[-1] + 9), stop=("7",))
    assert (text, finish.reason) == (" 3 4 5 6 ", "stop")
    assert runner.context.memory.slots[0] == [1, 2, 3, 4, 5, 6, 7][: len(runner.context.memory.slots[0])]
    assert engine.stats.generated_tokens == 5


def test_the_end_of_text_inside_guesses_ends_there() -> None:
    text, finish, _, _ = run(lambda t: [(t[-1] + i) % N_VOCAB for i in range(1, 9)], stop_token_ids=frozenset({6, EOG}))
    assert (text, finish.reason) == (" 3 4 5", "stop")


def test_guesses_never_pass_the_limit() -> None:
    for limit in range(1, 9):
        _, finish, _, _ = run(lambda t: range(t[-1] + 1, t[-1] + 20), max_tokens=limit)
        assert finish.usage.completion_tokens == limit
    _, finish, _, _ = run(lambda t: range(t[-1] + 1, t[-1] + 20))
    assert finish.usage.completion_tokens == 255


@pytest.mark.parametrize("guess", [[N_VOCAB], [-1]])
def test_guesses_outside_the_vocabulary_end_the_request(guess: list[int]) -> None:
    with pytest.raises(TokenError):
        run(lambda _: guess, max_tokens=5)


def test_a_proposer_that_raises_ends_its_request() -> None:
    def broken(_: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        run(broken, max_tokens=5)
