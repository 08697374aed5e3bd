from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.engine.guessing import Guesser, Wanted
from llama_bind.engine.loop import Engine
from llama_bind.engine.request import Request
from llama_bind.engine.sequence import Sequence as Seq
from llama_bind.engine.speculative import MOST_GUESSES, DraftLength, LookupIndex, PromptLookup, most_guesses
from llama_bind.errors import TokenError
from llama_bind.values import FinishEvent, PieceEvent
from tests.fakes import EOG, N_VOCAB, FakeContext, FakeRunner


def ids(*tokens: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.array(tokens, np.int32)


def test_lookup_finds_what_followed_the_longest_run_latest() -> None:
    lookup = PromptLookup(max_ngram_size=2, num_pred_tokens=3, min_ngram_size=1)
    assert lookup(ids(1, 2, 3, 4, 5, 9, 1, 2)).tolist() == [3, 4, 5]
    assert lookup(ids(1, 2, 7, 1, 2, 8, 1, 2)).tolist() == [8, 1, 2]
    assert lookup(ids(5, 2, 7, 1, 2)).tolist() == [7, 1, 2]  # only a run of one is there
    assert PromptLookup(2, 3)(ids(5, 2, 7, 1, 2)).tolist() == []
    assert lookup(ids(1, 2, 3)).tolist() == []
    assert lookup(ids(1)).tolist() == []
    assert lookup(ids()).tolist() == []


def plain_search(tokens: list[int], longest: int, shortest: int, count: int) -> list[int]:
    for n in range(min(longest, len(tokens) - 1), shortest - 1, -1):
        for start in range(len(tokens) - n - 1, -1, -1):
            if tokens[start : start + n] == tokens[-n:]:
                return tokens[start + n : start + n + count]
    return []


sizes = st.tuples(st.integers(1, 4), st.integers(1, 4)).map(lambda pair: (max(pair), min(pair)))


@given(st.lists(st.integers(0, 3), max_size=40), sizes, st.integers(1, 6))
def test_lookup_agrees_with_a_plain_search(tokens: list[int], size: tuple[int, int], count: int) -> None:
    assert PromptLookup(size[0], count, size[1])(ids(*tokens)).tolist() == plain_search(tokens, *size, count)


@given(st.lists(st.lists(st.integers(0, 2), max_size=9), max_size=8), sizes, st.integers(0, 30))
def test_an_index_that_follows_a_text_finds_what_a_plain_search_finds(
    parts: list[list[int]], size: tuple[int, int], cut: int
) -> None:
    index, tokens = LookupIndex(PromptLookup(size[0], 5, size[1])), list[int]()
    for number, part in enumerate(parts):
        tokens = [*tokens, *part] if number != 4 else tokens[: min(cut, len(tokens))]  # shifted out of the context
        now = ids(*tokens)
        index.update(now)
        index.update(now)
        want = plain_search(tokens, *size, 5)
        assert index.guess(now, 5).tolist() == want
        assert index.guess(now, 2).tolist() == want[:2]
        if want:
            place, run = index._found, index.match(now)
            assert tokens[place - run : place] == tokens[len(tokens) - run :]
            assert run == 64 or run == place or tokens[place - run - 1] != tokens[-run - 1]
            assert [index.finds(now, least) for least in (run, run + 1)] == [True, False]
        else:
            assert not index.finds(now, 1)


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 5), (3, 5, 4), (3, 5, 0)])
def test_lookup_refuses_sizes_that_make_no_sense(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PromptLookup(*sizes)


def test_draft_length_grows_while_guesses_hold_and_falls_to_what_held() -> None:
    length, n, seen = DraftLength(most=8), 10, []
    for _ in range(4):
        seen.append(length.allowed(n))
        length.result(seen[-1], seen[-1])
        n += seen[-1] + 1
    assert seen == [3, 6, 8, 8]
    length.result(8, 5)
    assert length.allowed(n) == 5
    length.result(5, 0)
    assert length.allowed(n) == 2
    assert DraftLength(most=1).allowed(5) == 1


def test_asking_twice_changes_nothing() -> None:
    once, twice = DraftLength(), DraftLength()
    for n in range(5, 100):
        twice.allowed(n)
        assert once.allowed(n) == twice.allowed(n)
        if once.allowed(n):
            once.result(once.allowed(n), 0)
            twice.result(twice.allowed(n), 0)


def test_a_text_that_cannot_be_guessed_loses_little() -> None:
    """Checking a guess takes half a token's time on a CPU: after a few at the start, 1.5 percent."""
    length, guessed = DraftLength(), 0
    for n in range(1000):
        if most := length.allowed(n):
            length.result(most, 0)
            guessed += most
    assert 8 < guessed <= 8 + 0.03 * 1000
    assert length.least_match == 32


def test_credit_comes_back_when_guesses_hold_again() -> None:
    length = DraftLength()
    length.result(8, 0)
    assert length.allowed(0) == 0
    assert length.allowed(40) == 1
    n = 41
    for _ in range(8):
        if most := length.allowed(n):
            length.result(most, most)
            n += most
        n += 1
    assert length.allowed(n) == MOST_GUESSES
    assert length.least_match == 1


@given(st.integers(1, 300), st.integers(1, 4096), st.integers(0, 31))
def test_the_most_falls_as_the_batch_fills(n_decoding: int, budget: int, most: int) -> None:
    found = most_guesses(n_decoding, budget, most)
    assert 0 <= found <= most
    assert found == 0 or n_decoding * (1 + found) <= budget
    assert found >= most_guesses(n_decoding + 1, budget, most)


def test_a_full_batch_leaves_no_guesses() -> None:
    assert [most_guesses(n, 2048, 16) for n in (1, 2, 4, 8, 16, 17, 64)] == [16, 15, 7, 3, 1, 0, 0]
    assert most_guesses(1, 4, 16) == 3


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


class CountingDrafter:
    """Right about every sequence of the fake model, for all of them in one call."""

    def __init__(self) -> None:
        self.calls: list[list[Wanted]] = []

    def propose(self, wanted: Sequence[Wanted]) -> dict[int, tuple[int, ...]]:
        self.calls.append(list(wanted))
        return {w.slot: tuple(int(w.tokens[-1] + 1 + i) % N_VOCAB for i in range(w.most)) for w in wanted}


def test_a_drafter_serves_all_sequences_at_once() -> None:
    runner, drafter = FakeRunner(FakeContext(n_ctx=256, n_batch=32, n_seq_max=4)), CountingDrafter()
    engine = Engine(runner, drafter=drafter)  # type: ignore[arg-type]
    runner.hold.set()
    handles = [engine.submit(Request(prompt=[10 * i, 10 * i + 1], max_tokens=30)) for i in range(1, 4)]
    plain = engine.submit(Request(prompt=[60, 61], max_tokens=30, n_draft=0))
    runner.hold.clear()
    runner.release.set()
    for start, handle in zip((12, 22, 32, 62), [*handles, plain], strict=True):
        text = "".join(e.text for e in handle if isinstance(e, PieceEvent))
        assert text.split() == [str(t) for t in range(start, start + 30)]
    engine.close()
    assert max(len(call) for call in drafter.calls) == 3
    for call in drafter.calls:
        assert len(call) * (1 + max(w.most for w in call)) <= 32
    assert engine.stats.accepted_tokens > 60


def test_no_guesses_for_what_is_to_be_reproducible_or_has_n_draft_0() -> None:
    def never(_: Any) -> Any:
        raise AssertionError("asked")

    for options in ({"n_draft": 0}, {"reproducible": True}):
        assert run(never, max_tokens=5, **options)[1].usage.completion_tokens == 5
    _, _, engine, _ = run(lambda t: range(t[-1] + 1, t[-1] + 30), max_tokens=60, n_draft=2)
    assert engine.stats.accepted_tokens == engine.stats.drafted_tokens
    _, _, _, runner = run(lambda t: range(t[-1] + 1, t[-1] + 30), max_tokens=60, n_draft=2)
    assert max(count for plan in runner.plans for _, _, count in plan) == 3


def test_a_lookup_is_wanted_only_where_something_is_found() -> None:
    def sequence(*tokens: int) -> Seq:
        made = Seq(Request(prompt=tokens, proposer=PromptLookup()), 0, 0.0, limit=100)
        made.append(9)
        made.n_computed = made.n_tokens - 1
        return made

    guesser = Guesser(N_VOCAB, 64)
    found, new = sequence(8, 9, 5, 6, 8), sequence(1, 2, 3, 4)
    assert [guesser.wants(s) for s in (found, new)] == [True, False]
    assert guesser.propose([found, new]) == []
    assert (found.draft, new.draft) == ((5, 6, 8), ())
    found.draft_length.result(8, 0)  # a run of two is too short after that
    assert not guesser.wants(found)
    assert guesser.propose([found]) == []
    assert found.draft == ()


def test_a_subclass_that_guesses_otherwise_is_asked() -> None:
    class Mine(PromptLookup):
        def __call__(self, input_ids: Any, /, **_options: Any) -> Any:
            return ids(int(input_ids[-1]) + 1)

    assert run(Mine(), max_tokens=20)[2].stats.accepted_tokens > 5
