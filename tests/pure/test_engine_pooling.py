from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.engine.pooling import Pool, PoolingKind, needs_all_rows, normalized

Floats = npt.NDArray[np.float32]

ROWS: Floats = np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)
WANT: dict[PoolingKind, Floats] = {"none": ROWS, "mean": ROWS.mean(axis=0), "cls": ROWS[0], "last": ROWS[-1]}


@given(kind=st.sampled_from(sorted(WANT)), cuts=st.sets(st.integers(1, 39)))
def test_chunks_of_any_size_give_what_the_whole_gives(kind: PoolingKind, cuts: set[int]) -> None:
    pool = Pool(kind, len(ROWS))
    ends = [*sorted(cuts), len(ROWS)]
    for start, end in zip([0, *ends], ends, strict=False):
        pool.add(start, ROWS[start:end])
    assert pool.result().dtype == np.float32
    np.testing.assert_allclose(pool.result(), WANT[kind], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", sorted(WANT))
def test_a_text_that_starts_over_is_not_counted_twice(kind: PoolingKind) -> None:
    pool = Pool(kind, len(ROWS))
    pool.add(0, ROWS[:25] + 9)
    pool.add(0, ROWS[:30])
    pool.add(30, ROWS[30:])
    np.testing.assert_allclose(pool.result(), WANT[kind], rtol=1e-6, atol=1e-7)


def test_rows_that_are_given_are_copied() -> None:
    rows = ROWS.copy()
    for kind in sorted(WANT):
        pool = Pool(kind, len(rows))
        pool.add(0, rows)
        before = pool.result().copy()
        rows += 1
        np.testing.assert_array_equal(pool.result(), before)


def test_the_mean_of_many_rows_loses_nothing() -> None:
    pool = Pool("mean", 1_000_000)
    for start in range(0, 1_000_000, 100_000):
        pool.add(start, np.full((100_000, 1), 0.1, np.float32))
    assert pool.result()[0] == np.float32(0.1)


def test_the_last_row_is_enough_for_last() -> None:
    pool = Pool("last", 40)
    pool.add(39, ROWS[39:])
    np.testing.assert_array_equal(pool.result(), ROWS[39])
    assert [k for k in ("none", "mean", "cls", "last", "rank") if needs_all_rows(k)] == ["none", "mean", "cls"]


def test_missing_rows_are_an_error() -> None:
    for kind in ("none", "mean", "cls"):
        pool = Pool(kind, 40)
        pool.add(0, ROWS[:10])
        with pytest.raises(ValueError, match="do not follow 10 of 40"):
            pool.add(11, ROWS[11:20])
        with pytest.raises(ValueError, match="10 of 40 rows"):
            pool.result()
    with pytest.raises(ValueError, match="do not follow"):
        Pool("mean", 39).add(0, ROWS)
    partial = Pool("last", 40)
    partial.add(0, ROWS[:10])
    with pytest.raises(ValueError, match="10 of 40 rows"):
        partial.result()


@pytest.mark.parametrize("kind", ["rank", "median"])
def test_what_cannot_be_pooled_here(kind: PoolingKind) -> None:
    with pytest.raises(ValueError, match=kind):
        Pool(kind, 3)


def test_normalized() -> None:
    np.testing.assert_allclose(np.linalg.norm(normalized(ROWS), axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(normalized(np.zeros(4, np.float32)), np.zeros(4))
    large = normalized(np.full(4, 3e38, np.float32))
    np.testing.assert_allclose(large, 0.5)
    assert large.dtype == np.float32
