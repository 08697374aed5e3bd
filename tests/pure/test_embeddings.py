from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.embeddings import (
    FAIR_KEY,
    EmbeddingCall,
    EmbeddingReader,
    Truncate,
    in_windows,
    shortened,
    special_ends,
)
from llama_bind.engine.request import Request
from llama_bind.errors import ContextOverflowError, InputError
from llama_bind.rerank import RerankCall

VOCAB: Any = SimpleNamespace(n_tokens=100, bos=1, eos=2, sep=3, add_bos=True, add_eos=True, add_sep=False)


class Words:
    """Each letter is a token; BOS before, EOS behind."""

    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        assert add_special
        assert parse_special
        return [1, *(ord(letter) - ord("a") + 10 for letter in text), 2]

    def without_double_bos(self, tokens: list[int]) -> list[int]:
        return tokens


def reader(**changes: Any) -> EmbeddingReader:
    return EmbeddingReader(**{"vocab": VOCAB, "prompts": Words(), "pooling": "mean", "width": 8, "limit": 6, **changes})


@given(
    n=st.integers(1, 40),
    limit=st.integers(1, 40),
    truncate=st.sampled_from([True, "end", "start", "middle"]),
    n_start=st.integers(0, 1),
    n_end=st.integers(0, 1),
)
def test_what_is_left_of_a_text(n: int, limit: int, truncate: Truncate, n_start: int, n_end: int) -> None:
    tokens = list(range(n))
    left = shortened(tokens, limit, truncate, n_start, n_end)
    assert len(left) == min(n, limit)
    assert left == sorted(set(left)), "in order, none twice"
    if limit > n_start + n_end and n > n_start + n_end:
        assert not n_start or left[0] == 0
        assert not n_end or left[-1] == n - 1


def test_which_part_is_left() -> None:
    tokens = list(range(10))
    assert shortened(tokens, 4, True) == shortened(tokens, 4, "end") == [0, 1, 2, 3]
    assert shortened(tokens, 4, "start") == [6, 7, 8, 9]
    assert shortened(tokens, 5, "middle") == [0, 1, 2, 8, 9]
    assert shortened(tokens, 5, "start", 1, 1) == [0, 6, 7, 8, 9]
    assert shortened(tokens, 5, "end", 1, 1) == [0, 1, 2, 3, 9]
    assert shortened(tokens, 2, "end", 1, 1) == [0, 1], "no room for more than the special tokens"


def test_special_tokens_at_the_ends() -> None:
    assert special_ends([1, 5, 2], VOCAB) == (1, 1)
    assert special_ends([5, 6], VOCAB) == (0, 0)
    assert special_ends([1], VOCAB) == (1, 0)
    assert special_ends([], VOCAB) == (0, 0)
    assert special_ends([1, 5, 3], VOCAB) == (1, 0), "a SEP that the vocabulary does not add is text"


def test_texts_become_requests() -> None:
    texts: list[Any] = ["ab", [1, 50, 2], np.array([7])]
    call = reader().read(texts)
    assert [list(r.prompt) for r in call.requests] == [[1, 10, 11, 2], [1, 50, 2], [7]]
    assert all((r.kind, r.pooling, r.key) == ("embed", "mean", FAIR_KEY) for r in call.requests)
    assert not call.one
    assert reader().read("ab").one
    assert reader().read([5, 6]).one
    assert reader().read([]).requests == []
    with pytest.raises(ContextOverflowError) as caught:
        reader().read("abcdef")
    assert (caught.value.requested, caught.value.limit) == (8, 6)
    (request,) = reader().read("abcdef", truncate="start").requests
    assert list(request.prompt) == [1, 12, 13, 14, 15, 2]


def test_text_and_ids_do_not_mix_in_one_text() -> None:
    for given_ in ([5, "a"], ["a", 5], [["a"]], [5.0], [True, False], [None], 3, object(), {5: 6}):
        with pytest.raises(InputError):
            reader().read(given_)  # type: ignore[arg-type]


def call_of(*lengths: int, **options: Any) -> EmbeddingCall:
    requests = [Request(prompt=[5] * n, kind="embed") for n in lengths]
    return EmbeddingCall(
        **{
            "requests": requests,
            "one": False,
            "normalize": False,
            "dimensions": None,
            "encoding_format": "float",
            **options,
        }
    )


def test_the_shape_of_results() -> None:
    rows = [np.array([3, 4, 12], np.float32), np.zeros(3, np.float32)]
    response = call_of(3, 4).response(rows, "m")
    assert response["data"][0] == {"object": "embedding", "index": 0, "embedding": [3.0, 4.0, 12.0]}
    assert response["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    unit = call_of(3, 4, normalize=True).vectors(rows)
    assert math.isclose(float(np.linalg.norm(unit[0])), 1, abs_tol=1e-6)
    assert unit[1].tolist() == [0, 0, 0]
    np.testing.assert_allclose(call_of(3, 4, dimensions=2).vectors(rows)[0], [0.6, 0.8], rtol=1e-6)
    packed = call_of(1, encoding_format="base64").response([np.array([1.5], np.float32)], "m")
    assert packed["data"][0]["embedding"] == "AADAPw=="


def test_ranks_in_order_of_their_scores() -> None:
    requests = [Request(prompt=[5] * n, kind="embed", pooling="rank") for n in (1, 2, 3)]
    scores = [np.array([s, 9], np.float32) for s in (0.5, 2.0, 0.5)]
    response = RerankCall(requests, ["a", "b", "c"], 2, True).response(scores, "m")
    assert response == {
        "model": "m",
        "object": "list",
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
        "results": [
            {"index": 1, "relevance_score": 2.0, "document": {"text": "b"}},
            {"index": 0, "relevance_score": 0.5, "document": {"text": "a"}},
        ],
    }


def test_windows() -> None:
    assert [list(w) for w in in_windows([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
    assert [list(w) for w in in_windows([1, 2, 3], None)] == [[1, 2, 3]]
    assert list(in_windows([], None)) == list(in_windows([], 3)) == []
