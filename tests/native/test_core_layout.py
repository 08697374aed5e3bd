"""How much context each text gets when nothing was asked for, by the memory that is free."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llama_bind.core import cpu, layout
from llama_bind.params import ContextParams

CELL = 2 * 3 * 64 * 2 * 30
"""Bytes for one token: K and V of 3 heads of width 64 in f16, 30 layers."""


def model(n_ctx_train: int = 8192) -> Any:
    def meta_int(name: str) -> int | None:
        return {"attention.key_length": 64, "attention.value_length": 64, "attention.head_count_kv": 3}.get(name)

    return SimpleNamespace(
        meta_int=meta_int, n_ctx_train=n_ctx_train, n_head=9, n_head_kv=3, n_embd=576, n_layer=30, n_swa=0,
        is_recurrent=False, is_hybrid=False,
    )  # fmt: skip


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_(cells_per_text: float | None) -> None:
        value = None if cells_per_text is None else int(cells_per_text * 16 * CELL * layout.MEMORY_SHARE)
        monkeypatch.setattr(cpu, "available_memory", lambda: value)

    return set_


@pytest.mark.parametrize(
    ("cells", "asked", "per_text"),
    [
        (8192, None, 8192),
        (None, None, 8192),
        (8191, None, 4096),  # less than the model's own, so that each still has its stream
        (4096, None, 4096),
        (4095, None, None),
        (4096, 4096, 4096),
        (4095, 4096, None),  # what was asked for is not made smaller
        (8191, 0, None),
        (8192, 0, 8192),
    ],
)
def test_streams_of_their_own_while_they_are_long_enough(
    free: Any, cells: float | None, asked: int | None, per_text: int | None
) -> None:
    free(cells)
    made = layout.with_layout(model(), ContextParams(n_seq_max=16, n_ctx=asked))
    if per_text is None:
        assert made.kv_unified is True
        assert made.n_ctx == (8192 if asked == 0 else asked)
    else:
        assert (made.kv_unified, made.n_ctx) == (False, 16 * per_text)


def test_a_model_of_short_texts_gets_its_own_length(free: Any) -> None:
    free(2048)
    made = layout.with_layout(model(n_ctx_train=2048), ContextParams(n_seq_max=16))
    assert (made.kv_unified, made.n_ctx) == (False, 16 * 2048)


def test_one_cache_where_the_number_of_texts_was_not_asked_for(free: Any) -> None:
    free(1e6)
    made = layout.with_layout(model(), ContextParams())
    assert (made.kv_unified, made.n_seq_max, made.n_ctx) == (True, layout.DEFAULT_N_SEQ_MAX, None)


def test_what_was_asked_for_is_kept(free: Any) -> None:
    free(16)
    made = layout.with_layout(model(), ContextParams(n_seq_max=16, kv_unified=False, n_ctx=512))
    assert (made.kv_unified, made.n_ctx) == (False, 16 * 512)
