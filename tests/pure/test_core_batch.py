from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pytest

from llama_bind.core.batch import Batch
from llama_bind.errors import InputError


def test_the_struct_points_into_the_arrays() -> None:
    batch = Batch(4, n_seq_max=2)
    batch.append(11, 3, 1, output=True)
    batch.extend([12, 13], 4, (0, 1), output_last=True)
    struct = batch.struct
    assert struct.n_tokens == len(batch) == batch.n_tokens == 3
    assert struct.token[:3] == [11, 12, 13]
    assert struct.pos[:3] == [3, 4, 5]
    assert struct.n_seq_id[:3] == [1, 2, 2]
    assert [struct.seq_id[i][0] for i in range(3)] == [1, 0, 0]
    assert [struct.seq_id[i][1] for i in (1, 2)] == [1, 1]
    assert struct.logits[:3] == [1, 0, 1]
    assert not struct.embd


def test_arrays_survive_the_batch_and_the_batch_its_arrays() -> None:
    batch = Batch(2)
    struct, tokens = batch.struct, batch.tokens
    batch.append(5, 0)
    del batch
    gc.collect()
    assert tokens[0] == 5
    assert ctypes.cast(struct.token, ctypes.c_void_p).value == tokens.ctypes.data


def test_what_was_there_before_does_not_shine_through() -> None:
    batch = Batch(4, n_seq_max=2)
    batch.extend([1, 2, 3, 4], 0, (0, 1), output_last=True)
    batch.clear()
    batch.extend([7, 8], 9, 1)
    assert batch.logits[:2].tolist() == [0, 0]
    assert batch.n_seq_id[:2].tolist() == [1, 1]
    batch.clear()
    batch.append(1, 0)
    assert batch.logits[0] == 0


def test_extend_takes_arrays_and_nothing() -> None:
    batch = Batch(8)
    assert list(batch.extend(np.array([1, 2], np.int64), 0)) == [0, 1]
    assert list(batch.extend([], 2)) == []
    assert list(batch.extend((3,), 2, output_last=True)) == [2]
    assert batch.tokens[:3].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "act",
    [
        lambda: Batch(0),
        lambda: Batch(-1),
        lambda: Batch(2**40),
        lambda: Batch(1, 0),
        lambda: Batch(1, 257),
        lambda: Batch(1, 1, -1),
        lambda: Batch(1.5),  # type: ignore[arg-type]
        lambda: Batch(2).extend([1, 2, 3], 0),
        lambda: Batch(2).extend([1], 0, (0, 1)),
        lambda: Batch(2).extend([1], 0, ()),
        lambda: Batch(2).extend([1], 2**31 - 1),
        lambda: Batch(2).extend([2**31], 0),
        lambda: Batch(2).extend(np.array([2**31]), 0),
        lambda: Batch(2).extend([1.5], 0),  # type: ignore[list-item]
        lambda: Batch(2).extend([[1], [2]], 0),  # type: ignore[list-item]
        lambda: Batch(2).extend("ab", 0),  # type: ignore[arg-type]
        lambda: Batch(2).append(1.5, 0),  # type: ignore[arg-type]
        lambda: Batch(2).append(2**31, 0),
        lambda: Batch(2).append(0, 2**31),
        lambda: Batch(2).append(0, 0, 2**31),
        lambda: Batch(2, embd=4).append(0, 0),
        lambda: Batch(2, embd=4).extend([0], 0),
        lambda: Batch(2).extend_embeddings(np.zeros((1, 4)), 0),
        lambda: Batch(2, embd=4).extend_embeddings(np.zeros((1, 3)), 0),
        lambda: Batch(2, embd=4).extend_embeddings(np.zeros((3, 4)), 0),
        lambda: Batch(2, embd=4).extend_embeddings(np.zeros((0, 4)), 0),
        lambda: Batch(2, embd=4).extend_embeddings(np.zeros((1, 4)), np.zeros((3, 1))),
    ],
)
def test_what_does_not_fit_is_refused(act: Any) -> None:
    with pytest.raises(InputError):
        act()


def test_a_full_batch_is_refused_and_unchanged() -> None:
    batch = Batch(1)
    batch.append(1, 0)
    with pytest.raises(InputError, match="full"):
        batch.append(2, 1)
    assert batch.n_tokens == 1
    with pytest.raises(InputError):
        batch.n_tokens = 2


def test_embeddings_and_their_positions() -> None:
    batch = Batch(4, embd=3)
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    batch.extend_embeddings(rows, 5, 1, output_last=True)
    assert batch.struct.embd[:6] == [0, 1, 2, 3, 4, 5]
    assert not batch.struct.token
    assert batch.pos[:8].tolist() == [5, 6, 5, 6, 5, 6, 0, 0]
    assert batch.logits[:2].tolist() == [0, 1]
    batch.clear()
    batch.extend_embeddings(rows, [[1, 2], [3, 4], [5, 6], [7, 8]])
    assert batch.pos[:8].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_token_each_of_several_sequences() -> None:
    batch, same = Batch(8, 2), Batch(8, 2)
    for one in (batch, same):
        one.append(9, 9, 3)
    assert batch.extend_each([5, 6, 7], [10, 2, 30], [0, 4, 1]) == range(1, 4)
    for token, pos, seq in ((5, 10, 0), (6, 2, 4), (7, 30, 1)):
        same.append(token, pos, seq, True)
    assert batch.n_tokens == same.n_tokens == 4
    for name in ("tokens", "pos", "n_seq_id", "logits"):
        assert getattr(batch, name)[:4].tolist() == getattr(same, name)[:4].tolist()
    assert batch.seq_ids[:4, 0].tolist() == same.seq_ids[:4, 0].tolist()
    assert batch.extend_each([], [], []) == range(4, 4)
    for wrong in (([1] * 5, [1] * 5, [1] * 5), ([1, 2], [1], [1, 2]), ([2**31], [0], [0]), ([0], [2**40], [0])):
        with pytest.raises(InputError):
            batch.extend_each(*wrong)
    assert batch.n_tokens == 4
    with pytest.raises(InputError, match="extend_embeddings"):
        Batch(2, embd=4).extend_each([1], [0], [0])
