from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.model import Model
from llama_bind.errors import (
    ContextError,
    DecodeAbortedError,
    DecodeError,
    InputError,
    LlamaBindError,
    NoCellsError,
    TokenError,
    UnsupportedError,
)
from llama_bind.params import ContextParams, ModelParams
from tests.core_helpers import filled, make_context, model_file, shared_model


def greedy(context: Context, prompt: list[int], count: int) -> list[int]:
    batch = Batch(32)
    batch.extend(prompt, 0, 0, output_last=True)
    tokens, pos = [], len(prompt)
    for _ in range(count):
        context.decode(batch)
        tokens.append(int(context.logits().argmax()))
        batch.clear()
        batch.append(tokens[-1], pos, 0, output=True)
        pos += 1
    return tokens


def test_decoding_in_parts_gives_the_same_logits() -> None:
    context = make_context()
    tokens = [5, 6, 7, 8, 9, 10]
    filled(context, tokens)
    whole = context.logits().copy()
    context.memory.clear()
    batch = Batch(8)
    batch.extend(tokens[:4], 0)
    context.decode(batch)
    batch.clear()
    batch.extend(tokens[4:], 4, output_last=True)
    context.decode(batch)
    np.testing.assert_allclose(context.logits(), whole, rtol=1e-3, atol=1e-3)
    assert context.memory.seq_pos_max(0) == 5


def test_greedy_text_is_the_same_twice_and_with_other_threads() -> None:
    assert greedy(make_context(), [5, 6], 12) == greedy(make_context(n_threads=2), [5, 6], 12)


def test_sequences_do_not_see_each_other() -> None:
    alone = make_context()
    filled(alone, [5, 6, 7])
    expected = alone.logits().copy()
    context = make_context(n_seq_max=3)
    batch = Batch(16)
    batch.extend([20, 21, 22, 23], 0, 0)
    batch.extend([5, 6, 7], 0, 2, output_last=True)
    context.decode(batch)
    np.testing.assert_allclose(context.logits(6), expected, rtol=1e-3, atol=1e-3)


def test_logits_by_index_and_from_the_end() -> None:
    context = make_context()
    batch = Batch(8)
    batch.extend([5, 6, 7], 0)
    batch.logits[:3] = [1, 0, 1]
    context.decode(batch)
    np.testing.assert_array_equal(context.logits(2), context.logits(-1))
    np.testing.assert_array_equal(context.logits(0), context.logits(-2))
    for i in (1, 3, -3, 2**31 - 1, -(2**31), 10**12, "0", None):
        with pytest.raises(InputError):
            context.logits(i)  # type: ignore[arg-type]


def test_logits_before_any_decode() -> None:
    with pytest.raises(InputError, match="no logits"):
        make_context().logits()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda b: b.clear(), InputError),
        (lambda b: b.tokens.__setitem__(1, -1), TokenError),
        (lambda b: b.tokens.__setitem__(0, 10**6), TokenError),
        (lambda b: b.pos.__setitem__(0, -1), InputError),
        (lambda b: b.n_seq_id.__setitem__(0, 0), InputError),
        (lambda b: b.n_seq_id.__setitem__(1, -5), InputError),
        (lambda b: b.n_seq_id.__setitem__(1, 3), InputError),
        (lambda b: b.seq_ids.__setitem__((1, 0), 2), InputError),
        (lambda b: b.seq_ids.__setitem__((0, 0), -1), InputError),
        (lambda b: b.pos.__setitem__(1, 50), DecodeError),
        (lambda b: b.pos.__setitem__(0, 7), DecodeError),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_wrong_batch_is_an_error_and_harmless(change: Any, error: type[Exception], count: int) -> None:
    context = make_context(n_seq_max=2)
    filled(context, [9])
    batch = Batch(8, n_seq_max=2)
    batch.extend([5, 6, 7][:count], 1, 0, output_last=True)
    change(batch)
    if count == 1:
        batch.tokens[0], batch.pos[0] = min(batch.tokens[:2], key=lambda t: 0 <= t < 280), min(batch.pos[:2])
        batch.n_seq_id[0] = batch.n_seq_id[:2][np.argmax(batch.n_seq_id[:2] != 1)]
        batch.seq_ids[0] = batch.seq_ids[:2][np.argmax(batch.seq_ids[:2, 0] != 0)]
        if error is DecodeError:
            batch.pos[0] = 77
    with pytest.raises(error):
        context.decode(batch)
    context.memory.clear()
    filled(context)


def test_stale_sequence_ids_past_the_count_do_not_matter() -> None:
    context = make_context(n_seq_max=2)
    batch = Batch(4, n_seq_max=2)
    batch.extend([5, 6], 0, 0, output_last=True)
    batch.seq_ids[:, 1] = 99
    context.decode(batch)


def test_a_batch_longer_than_n_batch() -> None:
    context = make_context(n_batch=8)
    batch = Batch(16)
    batch.extend(range(5, 14), 0)
    with pytest.raises(InputError, match="n_batch is 8"):
        context.decode(batch)


def test_a_full_memory_is_no_cells_and_recoverable() -> None:
    context = make_context(n_ctx=256)
    batch = Batch(256)
    batch.extend([5] * 256, 0)
    context.decode(batch)
    more = Batch(1)
    more.append(5, 256, 0, output=True)
    with pytest.raises(NoCellsError) as caught:
        context.decode(more)
    assert caught.value.code == 1
    assert context.memory.seq_rm(0, 200, -1)
    more.pos[0] = 200
    context.decode(more)


def test_abort_flag() -> None:
    context = make_context()
    context.request_abort()
    assert context.abort_requested
    with pytest.raises(DecodeAbortedError):
        filled(context)
    context.clear_abort()
    filled(context)
    assert context.memory.seq_pos_max(0) == 3


def test_embeddings_of_a_language_model() -> None:
    context = make_context(embedding=True, pooling_type="mean")
    filled(context)
    pooled = context.embeddings_seq(0)
    assert pooled.shape == (shared_model().n_embd_out,)
    assert np.isfinite(pooled).all()
    with pytest.raises(InputError):
        context.embeddings_seq(1)
    with pytest.raises(InputError):
        context.embeddings_seq(-(10**12))


def test_token_embeddings() -> None:
    context = make_context(embedding=True, pooling_type="none")
    filled(context)
    first, last = context.embeddings(0), context.embeddings(-1)
    assert first.shape == last.shape == (shared_model().n_embd_out,)
    assert not np.array_equal(first, last)
    context.memory.clear()
    np.testing.assert_array_equal(last, context.embeddings(3))  # a copy, and nothing was decoded since
    with pytest.raises(InputError):
        context.embeddings(4)


def test_rows_of_embeddings_at_once() -> None:
    context = make_context(embedding=True, pooling_type="none")
    batch = filled_all(context, [5, 6, 7, 8])
    rows = [context.embeddings(i) for i in range(4)]
    for count in (1, 3, 4):
        np.testing.assert_array_equal(context.embedding_rows(count), rows[4 - count :])
    for wrong in (0, -1, 5, 2**31, 10**12, "2", None):
        with pytest.raises(InputError):
            context.embedding_rows(wrong)  # type: ignore[arg-type]
    batch.clear()
    pooled = make_context(embedding=True, pooling_type="mean")
    filled_all(pooled, [5, 6])
    with pytest.raises(InputError, match="pools"):
        pooled.embedding_rows(2)


def filled_all(context: Context, tokens: list[int]) -> Batch:
    batch = Batch(len(tokens))
    batch.extend(tokens, 0)
    batch.logits[: len(tokens)] = 1
    context.decode(batch)
    return batch


def test_no_embeddings_unless_asked_for() -> None:
    context = make_context()
    filled(context)
    with pytest.raises(InputError):
        context.embeddings()
    context.memory.clear()
    context.set_embeddings(True)
    filled(context)
    assert np.isfinite(context.embeddings()).all()


def test_an_encoder_takes_a_whole_text_at_once() -> None:
    model = shared_model("bert")
    context = make_context(model, embedding=True, n_ctx=512, n_ubatch=16, n_batch=16)
    batch = Batch(1024)
    batch.extend([5] * 400, 0, output_last=True)
    context.decode(batch)
    assert context.embeddings_seq(0).shape == (model.n_embd_out,)
    batch.clear()
    batch.extend([5] * 600, 0)
    with pytest.raises(InputError, match="at once"):
        context.decode(batch)
    assert not context.memory.exists
    context.memory.clear()
    assert context.memory.seq_rm(0)
    assert context.memory.seq_pos_max(0) == -1


def test_positions_that_a_model_never_learned() -> None:
    model = shared_model("bert")
    assert model.n_pos_max == 512
    assert shared_model().n_pos_max is None
    context = make_context(model, embedding=True, n_ctx=1024)
    batch = Batch(2)
    for tokens, pos in (([5], 512), ([5, 6], 511)):
        batch.clear()
        batch.extend(tokens, pos)
        with pytest.raises(InputError, match="0 to 511"):
            context.decode(batch)
    batch.clear()
    batch.extend([5, 6], 510)
    context.decode(batch)


def test_rank_pooling_gives_scores() -> None:
    model = shared_model("bert", pooling_type=4)
    context = make_context(model, embedding=True)
    filled(context)
    assert context.embeddings_seq(0).shape == (model.n_cls_out,) == (1,)


def test_encode_needs_an_encoder() -> None:
    context = make_context()
    batch = Batch(2)
    batch.append(5, 0)
    with pytest.raises(UnsupportedError, match="encoder"):
        context.encode(batch)


def test_non_causal_attention_is_limited_to_a_ubatch() -> None:
    context = make_context(n_ubatch=8, n_batch=32)
    context.set_causal_attn(False)
    batch = Batch(16)
    batch.extend([5] * 9, 0)
    with pytest.raises(InputError, match="n_ubatch=8"):
        context.decode(batch)
    context.set_causal_attn(True)
    context.decode(batch)


def test_embedding_input() -> None:
    model = shared_model()
    context = make_context()
    batch = Batch(4, embd=model.n_embd_inp)
    batch.extend_embeddings(np.ones((3, model.n_embd_inp)), 0, output_last=True)
    context.decode(batch)
    assert np.isfinite(context.logits()).all()
    wrong = Batch(4, embd=model.n_embd_inp - 1)
    wrong.extend_embeddings(np.ones((3, model.n_embd_inp - 1)), 3)
    with pytest.raises(InputError, match="wide"):
        context.decode(wrong)


def test_warmup_leaves_an_empty_memory() -> None:
    context = make_context()
    context.warmup()
    assert context.memory.seq_pos_max(0) == -1
    filled(context)
    with pytest.raises(UnsupportedError):
        context.warmup()
    make_context(shared_model("bert"), embedding=True).warmup()
    make_context(shared_model("mamba")).warmup()


def test_threads() -> None:
    context = make_context(n_threads=1)
    context.set_threads(2, 1)
    assert (context.n_threads, context.n_threads_batch) == (2, 1)
    filled(context)
    for bad in (0, -1, 513, 1.5, True, None):
        with pytest.raises(InputError):
            context.set_threads(bad)  # type: ignore[arg-type]


def test_perf_and_description() -> None:
    context = make_context(no_perf=False)
    filled(context)
    assert context.perf(reset=True).n_prompt == 4
    assert context.perf().n_prompt <= 1
    facts = context.describe()
    assert facts["n_ctx"] == context.n_ctx == 256
    assert facts["n_threads"] == 1


def test_control_vector() -> None:
    model = shared_model()
    context = make_context()
    filled(context)
    plain = context.logits().copy()
    context.set_control_vector(np.ones((model.n_layer - 1, model.n_embd)))
    context.memory.clear()
    filled(context)
    assert not np.allclose(plain, context.logits())
    context.set_control_vector(None)
    context.memory.clear()
    filled(context)
    np.testing.assert_array_equal(plain, context.logits())
    for data, start, end in (
        (np.ones(3), 1, None),
        (np.ones((model.n_layer, model.n_embd)), 1, None),
        (np.ones((model.n_layer - 1, model.n_embd)), 0, None),
        (np.ones((model.n_layer - 1, model.n_embd)), 1, 99),
    ):
        with pytest.raises(InputError):
            context.set_control_vector(data, start, end)


# -- options


def test_defaults_decide_themselves() -> None:
    context = Context.create(shared_model())
    assert context.n_ctx == 512  # the model's
    assert context.n_threads >= 1
    assert not context.kv_unified
    separate = Context.create(shared_model(), ContextParams(n_seq_max=4))
    assert (separate.kv_unified, separate.n_ctx, separate.n_ctx_seq) == (False, 2048, 512)
    unified = Context.create(shared_model(), ContextParams(n_seq_max=4, kv_unified=True))
    assert (unified.kv_unified, unified.n_ctx, unified.n_ctx_seq) == (True, 512, 512)
    assert Context.create(shared_model(), ContextParams(n_ctx=0)).n_ctx == 512
    assert Context.create(shared_model(), n_ctx_default=256).n_ctx == 256


@pytest.mark.parametrize(
    "options",
    [
        {"n_ctx": 1},
        {"n_ctx": 1, "n_batch": 1, "n_ubatch": 1, "n_seq_max": 256},
        {"n_batch": 1, "n_ubatch": 512, "n_seq_max": 7},
        {"n_batch": 2**20, "n_ubatch": 1},
        {"n_batch": 7, "n_ubatch": 3},
        {"n_seq_max": 3, "kv_unified": False},
        {"n_threads": 512},
        {"type_k": "q8_0", "type_v": "q8_0"},
        {"type_k": "f32", "type_v": "bf16"},
        {"type_k": 0},
        {"flash_attn": False, "type_k": "q4_0"},
        {"rope_freq_base": 1e30, "rope_freq_scale": 1e-30},
        {"rope_scaling_type": "yarn", "yarn_orig_ctx": 1},
        {"rope_scaling_type": "longrope"},
        {"pooling_type": "cls"},
        {"attention_type": "non_causal"},
        {"n_rs_seq": 64},
        {"swa_full": False},
    ],
)
def test_odd_options_work(options: dict[str, Any]) -> None:
    model = shared_model(n_embd=64)  # heads of 32, as wide as a quantized block
    context = make_context(model, **options)
    assert context.n_batch >= context.n_seq_max
    batch = Batch(1)
    for pos in range(3):
        batch.clear()
        batch.append(5, pos, 0, output=True)
        context.decode(batch)
    assert context.logits().shape == (model.vocab.n_tokens,)


@pytest.mark.parametrize(
    "options",
    [
        {"type_k": "q4_k"},
        {"type_k": 999},
        {"type_v": -1},
        {"type_v": True},
        {"type_k": None},
        {"type_k": 1.5},
        {"type_k": "q8_0"},  # heads of 16
        {"type_v": "q4_0"},
        {"type_v": "q8_0", "flash_attn": False},
        {"n_ctx": 2**31 - 1},
        {"n_ctx": 2**31},
        {"n_ctx": -1},
        {"n_ctx": 1.5},
        {"n_batch": 0},
        {"n_ubatch": 0},
        {"n_seq_max": 0},
        {"n_seq_max": 257},
        {"n_threads": 0},
        {"n_threads": 513},
        {"n_threads_batch": -1},
        {"rope_scaling_type": 17},
        {"pooling_type": "max"},
        {"attention_type": 9},
        {"flash_attn": "maybe"},
        {"rope_freq_base": float("nan")},
        {"rope_freq_base": 1e300},
        {"yarn_ext_factor": float("inf")},
        {"n_rs_seq": -1},
    ],
)
def test_options_that_cannot_be_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises((InputError, ContextError)):
        make_context(shared_model(), **options)


def test_rank_pooling_without_a_head_does_not_crash() -> None:
    try:
        context = make_context(embedding=True, pooling_type="rank")
        filled(context)
    except LlamaBindError:
        pass


def test_no_context_without_weights() -> None:
    model = Model.load(model_file(), ModelParams(vocab_only=True))
    with pytest.raises(ContextError, match="vocab_only"):
        Context.create(model)


def test_recurrent_models() -> None:
    context = make_context(shared_model("mamba"), n_seq_max=2)
    filled(context, [5, 6, 7, 8])
    assert not context.memory.seq_rm(0, 2, -1)
    assert context.memory.seq_rm(0)
    context.memory.seq_cp(0, 1)
    filled(context, [5, 6])
