from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_bind.core import state
from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.errors import InputError, LlamaBindError, StateError, TokenError, UnsupportedError
from tests.core_helpers import filled, make_context, shared_model

PROMPT = [5, 6, 7, 8]


def next_logits(context: Context, seq_id: int = 0) -> Any:
    batch = Batch(1)
    batch.append(9, len(PROMPT), seq_id, output=True)
    context.decode(batch)
    return context.logits().copy()


@pytest.fixture(scope="module")
def expected() -> Any:
    context = make_context(n_seq_max=2)
    filled(context, PROMPT)
    return next_logits(context)


def test_a_state_continues_in_another_context(expected: Any) -> None:
    first, second = make_context(n_seq_max=2), make_context(n_seq_max=2)
    filled(first, PROMPT)
    saved = state.save_state(first)
    assert len(saved) == state.state_size(first)
    filled(second, [20, 21])
    state.load_state(second, saved)
    assert second.memory.seq_pos_max(0) == 3
    np.testing.assert_allclose(next_logits(second), expected, rtol=1e-3, atol=1e-3)


def test_a_sequence_continues_under_another_id(expected: Any) -> None:
    first, second = make_context(n_seq_max=2), make_context(n_seq_max=2)
    filled(first, PROMPT)
    saved = state.save_seq_state(first, 0)
    assert len(saved) == state.seq_state_size(first, 0)
    state.load_seq_state(second, bytearray(saved), 1)
    assert second.memory.seq_pos_max(0) == -1
    np.testing.assert_allclose(next_logits(second, 1), expected, rtol=1e-3, atol=1e-3)


def fill(context: Context, seq_id: int, tokens: list[int]) -> None:
    batch = Batch(len(tokens))
    for position, token in enumerate(tokens):
        batch.append(token, position, seq_id, output=position == len(tokens) - 1)
    context.decode(batch)


def after(context: Context, seq_id: int) -> Any:
    batch = Batch(1)
    batch.append(9, context.memory.seq_pos_max(seq_id) + 1, seq_id, output=True)
    context.decode(batch)
    return context.logits().copy()


@pytest.mark.parametrize("kind", ["llama", "mamba"])
@pytest.mark.parametrize("unified", [False, True])
def test_sequences_change_places(kind: str, unified: bool) -> None:
    texts = {0: [5, 6, 7, 8], 1: [11, 12], 3: [20, 21, 22, 23, 24, 25]}
    contexts = [make_context(shared_model(kind), n_seq_max=4, kv_unified=unified) for _ in range(2)]
    for context in contexts:
        for seq_id, tokens in texts.items():
            fill(context, seq_id, tokens)
    moved, stayed = contexts
    state.exchange_seqs(moved, 0, 3)
    state.exchange_seqs(moved, 1, 2)  # which is empty
    assert [moved.memory.seq_pos_max(i) for i in range(4)] == [5, -1, 1, 3]
    for now, before in ((3, 0), (2, 1), (0, 3)):
        np.testing.assert_allclose(after(moved, now), after(stayed, before), rtol=1e-3, atol=1e-3)
    state.exchange_seqs(moved, 1, 1)
    with pytest.raises(InputError, match="seq_id"):
        state.exchange_seqs(moved, 0, 4)


def test_places_of_caches_without_flash_attention_are_changed() -> None:
    context = make_context(n_seq_max=2, kv_unified=False, flash_attn=False)
    fill(context, 0, [5, 6, 7, 8])
    fill(context, 1, [20, 21])
    first = after(context, 0)
    context.memory.seq_rm(0, 4, -1)
    state.exchange_seqs(context, 0, 1)
    np.testing.assert_allclose(after(context, 1), first, rtol=1e-3, atol=1e-3)


def test_recurrent_checkpoints() -> None:
    model = shared_model("mamba")
    context = make_context(model)
    filled(context, PROMPT)
    saved = state.save_seq_state(context, 0, state.PARTIAL_ONLY)
    first = next_logits(context)
    context.memory.seq_rm(0)
    state.load_seq_state(context, saved, 0, state.PARTIAL_ONLY)
    np.testing.assert_allclose(next_logits(context), first, rtol=1e-3, atol=1e-3)


def test_an_empty_context_can_be_saved() -> None:
    context = make_context()
    state.load_state(context, state.save_state(context))
    assert context.memory.seq_pos_max(0) == -1


def test_states_of_others_are_refused() -> None:
    context = make_context()
    filled(context)
    saved = state.save_state(context)
    for other in (
        make_context(shared_model(seed=2, n_layer=1)),
        make_context(type_k="f32"),
        make_context(rope_freq_base=5000.0),
    ):
        with pytest.raises(StateError, match="another model"):
            state.load_state(other, saved)
    with pytest.raises(StateError, match="different things"):
        state.load_seq_state(context, saved, 0)
    with pytest.raises(StateError, match="flags"):
        state.load_seq_state(context, state.save_seq_state(context, 0), 0, state.PARTIAL_ONLY)
    assert context.memory.seq_pos_max(0) == 3  # refused by the header: nothing was touched


def test_a_state_too_large_for_the_context_leaves_it_empty() -> None:
    large, small = make_context(n_ctx=512), make_context(n_ctx=256)
    batch = Batch(400)
    batch.extend([5] * 400, 0)
    large.decode(batch)
    filled(small)
    with pytest.raises(StateError):
        state.load_state(small, state.save_state(large))
    assert small.memory.seq_pos_max(0) == -1
    with pytest.raises(StateError):
        state.load_seq_state(small, state.save_seq_state(large, 0), 0)
    filled(small)


def test_every_damaged_state_is_refused() -> None:
    context = make_context()
    filled(context)
    saved = state.save_state(context)
    rng = random.Random(1)
    for _ in range(200):
        damaged = bytearray(saved)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(damaged)) :]
        else:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        with pytest.raises(StateError):
            state.load_state(context, bytes(damaged))
    for wrong in (b"", b"x" * 1000, saved + b"x"):
        with pytest.raises(StateError):
            state.load_state(context, wrong)
    with pytest.raises(InputError):
        state.load_state(context, "text")  # type: ignore[arg-type]


def test_sequence_ids_and_flags_are_checked() -> None:
    context = make_context()
    for seq_id, flags in ((1, 0), (-1, 0), (None, 0), (0, 2), (0, 4), (0, -1), (0, "x")):
        with pytest.raises(InputError):
            state.save_seq_state(context, seq_id, flags)  # type: ignore[arg-type]
    encoder = make_context(shared_model("bert"), embedding=True)
    with pytest.raises(UnsupportedError):
        state.save_seq_state(encoder, 0)


def test_session_files(tmp_path: Path, expected: Any) -> None:
    context = make_context(n_seq_max=2)
    filled(context, PROMPT)
    state.save_file(context, tmp_path / "all.bin", PROMPT)
    state.save_seq_file(context, tmp_path / "one.bin", 0, PROMPT)
    assert sorted(os.listdir(tmp_path)) == ["all.bin", "one.bin"]
    other = make_context(n_seq_max=2)
    assert state.load_file(other, tmp_path / "all.bin") == PROMPT
    np.testing.assert_allclose(next_logits(other), expected, rtol=1e-3, atol=1e-3)
    assert state.load_seq_file(other, tmp_path / "one.bin", 1) == PROMPT
    np.testing.assert_allclose(next_logits(other, 1), expected, rtol=1e-3, atol=1e-3)


def test_session_files_that_cannot_be(tmp_path: Path) -> None:
    context = make_context()
    filled(context)
    file = tmp_path / "all.bin"
    state.save_file(context, file, PROMPT)
    with pytest.raises(StateError, match="at most 3"):
        state.load_file(context, file, n_token_capacity=3)
    with pytest.raises(StateError, match="kind"):
        state.load_seq_file(context, file, 0)
    with pytest.raises(StateError, match="cannot be read"):
        state.load_file(context, tmp_path / "missing")
    with pytest.raises(StateError, match="cannot be read"):
        state.load_file(context, tmp_path)
    with pytest.raises(StateError, match="cannot be written"):
        state.save_file(context, tmp_path / "no folder" / "x.bin")
    with pytest.raises(TokenError):
        state.save_file(context, file, [-1])
    before = file.read_bytes()
    assert state.load_file(context, file) == PROMPT
    assert file.read_bytes() == before


def test_damaged_session_files_do_not_crash(tmp_path: Path) -> None:
    context = make_context()
    filled(context)
    file = tmp_path / "all.bin"
    state.save_file(context, file, PROMPT)
    good = file.read_bytes()
    rng = random.Random(2)
    refused = 0
    for _ in range(300):
        damaged = bytearray(good)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(damaged)) :]
        else:
            damaged[rng.randrange(min(len(damaged), 200))] = rng.randrange(256)
        file.write_bytes(damaged)
        try:
            state.load_file(context, file)
            filled_after(context)
        except LlamaBindError:
            refused += 1
    assert refused > 100
    file.write_bytes(good)
    assert state.load_file(context, file) == PROMPT


def filled_after(context: Context) -> None:
    context.memory.clear()
    filled(context)
