from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.engine.request import Request
from llama_bind.engine.rules import TokenRules, check_left, masking
from llama_bind.engine.sequence import Sequence
from llama_bind.errors import InputError

N = 40
TOKENS = st.integers(0, N - 1)


def ids_of(mask: Any) -> set[int]:
    """The tokens that a mask names."""
    if mask is None:
        return set()
    return set(np.flatnonzero(mask).tolist()) if mask.dtype == np.bool_ else set(mask.tolist())


def banned(rules: TokenRules, before: list[int], n_generated: int) -> set[int]:
    return ids_of(rules.masked(np.array(before, np.int32), n_generated))


def test_without_rules_nothing_is_masked_and_nothing_acts() -> None:
    rules = TokenRules(N, ends=frozenset({1}), never=frozenset({2}))
    assert rules.masked(np.array([3], np.int32), 0) is None
    assert not rules.acts(0)


def test_ends_are_banned_until_there_are_enough_tokens() -> None:
    rules = TokenRules(N, ends=frozenset({1, 7}), min_tokens=2)
    assert [banned(rules, [3], n) for n in range(4)] == [{1, 7}, {1, 7}, set(), set()]
    assert [rules.acts(n) for n in range(4)] == [True, True, False, False]


def test_the_last_token_of_a_word_is_banned_after_the_others() -> None:
    rules = TokenRules(N, bad_words=((5,), (1, 2), (9, 1, 3), (1, 2, 4)))
    assert banned(rules, [0], 0) == {5}
    assert banned(rules, [1], 0) == {5, 2}
    assert banned(rules, [9, 1], 0) == {5, 2, 3}
    assert banned(rules, [1, 2], 0) == {5, 4}
    assert banned(rules, [], 0) == {5}
    assert rules.reach == 2
    assert rules.acts(10**6)


def test_only_allowed_tokens_are_left_and_ends_too_only_if_listed() -> None:
    assert banned(TokenRules(N, ends=frozenset({1}), allowed=frozenset({4, 5})), [0], 9) == set(range(N)) - {4, 5}
    rules = TokenRules(N, ends=frozenset({1}), allowed=frozenset({1, 5}), min_tokens=1)
    assert banned(rules, [0], 0) == set(range(N)) - {5}
    assert banned(rules, [0], 1) == set(range(N)) - {1, 5}


def test_a_word_that_is_completed_leaves_the_lasting_mask_as_it_was() -> None:
    rules = TokenRules(N, allowed=frozenset({4, 5, 6}), bad_words=((4, 5),))
    assert banned(rules, [4], 0) == set(range(N)) - {4, 6}
    assert banned(rules, [6], 0) == set(range(N)) - {4, 5, 6}


@pytest.mark.parametrize(
    ("rules", "param"),
    [
        ({"allowed": frozenset({5}), "bad_words": ((5,),)}, "allowed_token_ids"),
        ({"allowed": frozenset({1}), "ends": frozenset({1}), "min_tokens": 1}, "allowed_token_ids"),
        ({"allowed": frozenset({1}), "never": frozenset({1})}, "allowed_token_ids"),
        ({"bad_words": tuple((t,) for t in range(N))}, "bad_words"),
    ],
)
def test_rules_that_leave_nothing_are_refused(rules: dict[str, Any], param: str) -> None:
    with pytest.raises(InputError, match="leave no token to choose; allow more or ban less") as caught:
        TokenRules(N, **rules)
    assert caught.value.param == param


def test_rules_travel_to_another_process() -> None:
    rules = TokenRules(N, frozenset({1}), 2, ((4,), (1, 2)), frozenset(range(20)))
    copy = pickle.loads(pickle.dumps(rules))
    assert copy == rules
    assert all(banned(copy, before, n) == banned(rules, before, n) for before in ([1], [3]) for n in (0, 5))


@given(
    words=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple), max_size=6).map(tuple),
    allowed=st.none() | st.frozensets(TOKENS, min_size=1),
    never=st.frozensets(TOKENS, max_size=3),
    least=st.integers(0, 3),
    before=st.lists(st.integers(0, 3), max_size=8),
    made=st.integers(0, 5),
)
def test_masks_are_what_the_rules_say(
    words: tuple[tuple[int, ...], ...],
    allowed: frozenset[int] | None,
    never: frozenset[int],
    least: int,
    before: list[int],
    made: int,
) -> None:
    ends = frozenset({1, 30})
    try:
        rules = TokenRules(N, ends, least, words, allowed, never)
    except InputError:
        return
    want = {w[-1] for w in words if before[len(before) - len(w) + 1 :] == list(w[:-1]) and len(w) <= len(before) + 1}
    want |= set(ends) if made < least else set()
    want |= set(range(N)) - allowed if allowed is not None else set()
    got = banned(rules, before, made)
    assert want <= got <= want | never
    assert got == banned(rules, before[-max(rules.reach, 1) :], made), "the last `reach` tokens are enough"
    assert rules.acts(made) or not got


@pytest.mark.parametrize("mask", [np.array([1, 1, 3]), np.array([False, True, False, True])])
def test_masked_logits_are_minus_infinity_within_the_block_and_themselves_after_it(mask: Any) -> None:
    row = np.array([0.5, -1.0, 2.0, 3.0], np.float32)
    before = row.copy()
    with masking(row, mask):
        assert row.tolist() == [0.5, -np.inf, 2.0, -np.inf]
    assert row.tolist() == before.tolist()
    with pytest.raises(ZeroDivisionError), masking(row, mask):
        raise ZeroDivisionError
    assert row.tolist() == before.tolist()


def test_a_row_with_nothing_left_is_an_error_and_is_set_back() -> None:
    row = np.array([1.0, 2.0], np.float32)
    with pytest.raises(InputError, match="no token to choose at this place"), masking(row, np.array([0, 1])):
        raise AssertionError("the block must not run")
    assert row.tolist() == [1.0, 2.0]
    check_left(row)


def test_a_sequence_is_watched_only_while_its_rules_act() -> None:
    sequence = Sequence(Request(prompt=[3], rules=TokenRules(N, frozenset({1}), min_tokens=2)), 0, 0.0, limit=9)
    seen = []
    for token in (5, 6, 7):
        seen.append(sequence.watched)
        sequence.append(token)
    assert seen == [True, True, False]
