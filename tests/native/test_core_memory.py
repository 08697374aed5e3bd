from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from llama_bind.core.batch import Batch
from llama_bind.errors import InputError, UnsupportedError
from tests.core_helpers import filled, make_context, shared_model


def test_positions_after_each_operation() -> None:
    memory = (context := make_context(n_seq_max=3, kv_unified=True)).memory
    assert memory is context.memory
    assert (memory.seq_pos_min(0), memory.seq_pos_max(0)) == (-1, -1)
    filled(context, [5, 6, 7, 8])
    assert (memory.seq_pos_min(0), memory.seq_pos_max(0)) == (0, 3)
    memory.seq_cp(0, 1, 0, 2)
    assert memory.seq_pos_max(1) == 1
    assert memory.seq_rm(0, 2, -1)
    assert memory.seq_pos_max(0) == 1
    memory.seq_add(0, 0, -1, 5)  # a cell that is shared moves for both
    assert (memory.seq_pos_min(0), memory.seq_pos_max(1)) == (5, 6)
    memory.seq_keep(0)
    assert memory.seq_pos_max(1) == -1
    memory.seq_div(0, 0, -1, 5)
    assert (memory.seq_pos_min(0), memory.seq_pos_max(0)) == (1, 1)
    memory.clear()
    assert memory.seq_pos_max(0) == -1


def test_a_copied_prefix_continues_like_the_original() -> None:
    context = make_context(n_seq_max=2, kv_unified=True)
    filled(context, [5, 6, 7])
    context.memory.seq_cp(0, 1)
    rows = []
    for seq_id in (0, 1):
        batch = Batch(1)
        batch.append(9, 3, seq_id, output=True)
        context.decode(batch)
        rows.append(context.logits().copy())
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-3, atol=1e-3)


def test_separate_caches_copy_whole_sequences_only() -> None:
    context = make_context(n_seq_max=2, kv_unified=False, n_ctx=512)
    filled(context, [5, 6, 7, 8])
    for p0, p1 in ((1, -1), (0, 2), (2, 3)):
        with pytest.raises(UnsupportedError, match="unified"):
            context.memory.seq_cp(0, 1, p0, p1)
    context.memory.seq_cp(0, 1, 0, 4)
    assert context.memory.seq_pos_max(1) == 3
    batch = Batch(1)
    batch.append(9, 4, 1, output=True)
    context.decode(batch)


BAD_SEQUENCES = [-2, 2, 256, 10**9, -(2**31), 2**40, 1.0, None, "0"]


@pytest.mark.parametrize("seq_id", BAD_SEQUENCES)
def test_sequence_ids_out_of_range(seq_id: Any) -> None:
    memory = make_context(n_seq_max=2).memory
    calls: list[Callable[[], Any]] = [
        lambda: memory.seq_rm(seq_id),
        lambda: memory.seq_cp(seq_id, 0),
        lambda: memory.seq_cp(0, seq_id),
        lambda: memory.seq_keep(seq_id),
        lambda: memory.seq_add(seq_id, 0, -1, 1),
        lambda: memory.seq_div(seq_id, 0, -1, 2),
        lambda: memory.seq_pos_min(seq_id),
        lambda: memory.seq_pos_max(seq_id),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 1.5, None])
def test_positions_out_of_range(value: Any) -> None:
    memory = make_context().memory
    calls: list[Callable[[], Any]] = [
        lambda: memory.seq_rm(0, value, -1),
        lambda: memory.seq_rm(0, 0, value),
        lambda: memory.seq_cp(0, 0, value, -1),
        lambda: memory.seq_add(0, 0, -1, value),
        lambda: memory.seq_div(0, 0, -1, value),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()


def test_positions_cannot_leave_32_bits_nor_be_divided_by_zero() -> None:
    context = make_context()
    filled(context)
    with pytest.raises(InputError):
        context.memory.seq_add(0, 0, -1, 2**31 - 2)
    for divisor in (0, -1, -(2**31)):
        with pytest.raises(InputError):
            context.memory.seq_div(0, 0, -1, divisor)
    context.memory.seq_add(0, 0, -1, -(2**31))
    assert context.memory.seq_pos_max(0) == -1


def test_removing_from_all_sequences() -> None:
    context = make_context(n_seq_max=2)
    filled(context, seq_id=0)
    filled(context, seq_id=1)
    assert context.memory.seq_rm(-1, 2, -1)
    assert context.memory.seq_pos_max(0) == context.memory.seq_pos_max(1) == 1


def test_shifting_needs_a_memory_that_can() -> None:
    assert make_context().memory.can_shift
    assert not make_context(type_k="bf16").memory.can_shift
    with pytest.raises(UnsupportedError):
        make_context(type_k="bf16").memory.seq_div(0, 0, -1, 2)
    memory = make_context(shared_model("bert"), embedding=True).memory
    assert not memory.can_shift
    with pytest.raises(UnsupportedError):
        memory.seq_add(0, 0, -1, 1)


@pytest.mark.parametrize(("n_embd", "can"), [(64, False), (128, True)])
def test_shifting_a_quantized_cache(n_embd: int, can: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model(n_embd=n_embd)  # two heads
    context = make_context(model, type_k="q8_0")
    assert context.memory.can_shift is can
    if can:
        filled(context)
        context.memory.seq_add(0, 0, -1, 3)
        batch = Batch(1)
        batch.append(9, 7, output=True)
        context.decode(batch)
        monkeypatch.setenv("LLAMA_ATTN_ROT_DISABLE", "1")
        assert not make_context(model, type_k="q8_0").memory.can_shift


def test_memory_keeps_its_context() -> None:
    memory = make_context().memory
    assert memory.seq_pos_max(0) == -1
