from __future__ import annotations

from itertools import combinations, takewhile

import pytest

from benchmarks.prompts import WORDS, distinct_ids, distinct_texts, shared_prefix_texts


def common(texts: list[str]) -> str:
    return "".join(letters[0] for letters in takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False)))


def test_prompts_share_exactly_their_first_words() -> None:
    texts = shared_prefix_texts(16, 400, seed=1)
    shared = common(texts)
    head, _, rest = shared.partition("\n\n")
    assert len(head.split()) == 400
    assert len(rest) < 10
    assert len(set(texts)) == 16
    assert all(f"(request {i})" in text for i, text in enumerate(texts))


def test_another_seed_is_another_shared_text_and_the_same_seed_the_same() -> None:
    first, again, other = (shared_prefix_texts(2, 400, seed) for seed in (1, 1, 2))
    assert first == again
    assert len(common([first[0], other[0]]).split()) < 10


def test_distinct_texts_begin_with_different_words() -> None:
    texts = distinct_texts(16, 64, seed=3)
    assert {len(text.split()) for text in texts} == {64}
    assert len({text.split()[0] for text in texts}) == 16
    assert {word.lower() for text in texts for word in text.split()} <= set(WORDS)


def test_distinct_ids_begin_with_different_ids() -> None:
    known = list(range(100, 200))
    prompts = distinct_ids(32, 150, known, seed=1)
    assert {len(prompt) for prompt in prompts} == {150}
    assert all(a[0] != b[0] for a, b in combinations(prompts, 2))
    assert {token for prompt in prompts for token in prompt} <= set(known)
    assert prompts != distinct_ids(32, 150, known, seed=2)


def test_more_prompts_than_there_are_beginnings_are_refused() -> None:
    with pytest.raises(ValueError, match="ample"):
        distinct_texts(len(WORDS) + 1, 8, seed=1)
    with pytest.raises(ValueError, match="ample"):
        distinct_ids(3, 8, [1, 2], seed=1)
