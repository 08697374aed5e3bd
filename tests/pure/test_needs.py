"""What a model will take, told from its file: the arithmetic. That it is right is tested with contexts (native)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llama_bind.core.gguf_reader import read_gguf
from llama_bind.core.needs import MemoryNeeds, check_memory, memory_needs
from llama_bind.errors import ContextError, InputError, ModelNotFoundError, ModelTooLargeError
from llama_bind.params import ContextParams, ModelParams
from tests.tiny_gguf import (
    TinyModel,
    tiny_llama,
    write_tiny_bert,
    write_tiny_llama,
    write_tiny_mamba,
    write_tiny_shards,
)

GIB = 2**30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("needs")


@pytest.fixture(scope="module")
def llama(folder: Path) -> Path:
    return write_tiny_llama(folder / "llama.gguf", n_layer=4, n_head=4, n_head_kv=2, n_embd=64)


def needs(path: Path, *, free: int | None = 64 * GIB, gpu: bool = False, **options: Any) -> MemoryNeeds:
    of_model = {k: options.pop(k) for k in list(options) if k in ModelParams.__dataclass_fields__}
    return memory_needs(path, ModelParams(**of_model), ContextParams(**options), free=free, gpu=gpu)


ROW = 4 * (32 + 32) * 2  # layers, K and V of two heads of 16, f16


def test_weights_are_those_of_the_file(llama: Path) -> None:
    assert needs(llama).weights == read_gguf(llama).n_bytes


def test_the_cache_grows_with_texts_and_tokens(llama: Path) -> None:
    def cells(**options: Any) -> tuple[int, float]:
        made = needs(llama, **options)
        return made.n_streams, made.cache / (ROW + 56)

    assert cells(n_ctx=512, n_seq_max=1) == (1, 512)
    assert cells(n_ctx=500, n_seq_max=1) == (1, 512), "rounded up"
    assert cells(n_ctx=512, n_seq_max=8) == (8, 8 * 512), "a cache for each where there is room"
    assert cells(n_ctx=512, n_seq_max=8, kv_unified=True) == (1, 512)
    assert cells(n_ctx=512) == (1, 512), "one for all four where nothing was said"
    assert cells(n_ctx=512, n_seq_max=8, free=512 * 1024) == (1, 512), "one for all where memory is short"
    assert cells(n_ctx=0, n_seq_max=2)[1] == 2 * 512, "the model's own"
    assert cells(n_seq_max=2)[1] == 2 * 512


def test_types_of_the_cache(llama: Path) -> None:
    full = needs(llama, n_ctx=512, type_k="f32", type_v="f32").cache
    half = needs(llama, n_ctx=512, type_k="q8_0", type_v="q8_0").cache
    overhead = 56 * 512
    assert full - overhead == 2 * ROW * 512
    assert half - overhead == ROW * 512 * 34 // 64
    assert needs(llama, n_ctx=512, type_k=8, type_v=8).cache == half
    with pytest.raises(InputError):
        needs(llama, type_k="q2_K")


def test_an_unset_context_shrinks_where_memory_is_short(folder: Path) -> None:
    path = write_tiny_llama(folder / "long.gguf", n_ctx_train=8192)
    assert needs(path, n_seq_max=1).n_ctx_seq == 8192
    assert needs(path, n_seq_max=1, free=2**20).n_ctx_seq < 2048
    assert needs(path, n_seq_max=1, free=2**20, n_ctx=8192).n_ctx_seq == 8192


def test_what_goes_to_a_gpu_does_not_count_here(llama: Path) -> None:
    host = needs(llama, n_ctx=512)
    assert needs(llama, n_ctx=512, gpu=True, n_gpu_layers=0) == host
    assert needs(llama, n_ctx=512, gpu=True, devices=()) == host
    every = needs(llama, n_ctx=512, gpu=True)
    assert (
        needs(llama, n_ctx=512, gpu=True, n_gpu_layers=-1) == every == needs(llama, n_ctx=512, gpu=True, n_gpu_layers=9)
    )
    assert every.weights == next(t.n_bytes for t in read_gguf(llama).tensors.values() if t.name == "token_embd.weight")
    assert every.cache == 56 * 512
    assert every.weights + every.device > host.weights
    some = needs(llama, n_ctx=512, gpu=True, n_gpu_layers=3)  # the output and two layers
    assert some.cache == 56 * 512 + ROW * 512 // 2
    assert every.weights < some.weights < host.weights
    kept = needs(llama, n_ctx=512, gpu=True, n_gpu_layers=3, offload_kqv=False)
    assert kept.cache == host.cache
    forced = needs(llama, n_ctx=512, gpu=True, tensor_buft_overrides=(("blk", "CPU"),))
    assert every.weights < forced.weights < host.weights


def test_layers_that_differ(folder: Path) -> None:
    made: TinyModel = tiny_llama(n_layer=2, n_head=2, n_head_kv=1)
    single = needs(made.save(folder / "single.gguf"), n_ctx=256, n_seq_max=1)
    wide = tiny_llama(n_layer=2, n_head=2, n_head_kv=2)
    for part in ("attn_k", "attn_v"):
        made.tensors[f"blk.1.{part}.weight"] = wide.tensors[f"blk.1.{part}.weight"]
    both = needs(made.save(folder / "both.gguf"), n_ctx=256, n_seq_max=1)
    overhead = 56 * 256
    assert (both.cache - overhead) * 2 == (single.cache - overhead) * 3, "read from the shapes of the tensors"


def test_sliding_windows(folder: Path) -> None:
    made = tiny_llama(n_layer=4, n_ctx_train=8192)
    made.metadata |= {"llama.attention.sliding_window": 512, "llama.attention.sliding_window_pattern": 2}
    path = made.save(folder / "window.gguf")
    full = needs(path, n_ctx=8192, n_seq_max=1)
    cut = needs(path, n_ctx=8192, n_seq_max=1, swa_full=False)
    overhead = 56 * 8192
    rows = (full.cache - overhead) // 8192 // 4
    assert cut.cache - overhead == rows * 2 * (8192 + 1024), "two layers keep the window and a micro-batch"


def test_recurrent_models_and_encoders(folder: Path) -> None:
    mamba = write_tiny_mamba(folder / "mamba.gguf")
    one, four = (needs(mamba, n_ctx=512, n_seq_max=n) for n in (1, 4))
    assert one.cache > 56 * 512
    assert four.n_streams == 4
    assert four.cache == 4 * one.cache, "a state for each text"
    longer = needs(mamba, n_ctx=1024, n_seq_max=1)
    assert longer.cache - 56 * 1024 == one.cache - 56 * 512, "of one size however long it is"
    bert = needs(write_tiny_bert(folder / "bert.gguf"), n_ctx=256, embedding=True)
    assert bert.cache == 56 * 256
    assert bert.n_seq_max == 64


def test_shards_are_added_up(folder: Path) -> None:
    shards = write_tiny_shards(folder / "sharded.gguf")
    assert needs(shards[0]).weights == sum(read_gguf(shard).n_bytes for shard in shards)


def test_what_is_too_much_is_refused(llama: Path) -> None:
    made = needs(llama, n_ctx=512)
    check_memory("x/llama.gguf", made, made.total)
    check_memory("x/llama.gguf", made, None)
    with pytest.raises(
        ModelTooLargeError, match=r"^llama\.gguf needs about .* are free: .*check_memory=False"
    ) as caught:
        check_memory("x/llama.gguf", made, made.total - 1)
    assert (caught.value.needed, caught.value.available) == (made.total, made.total - 1)
    assert caught.value.path == "x/llama.gguf"
    with pytest.raises(ContextError, match=r"n_ctx=512 .* are free; choose a smaller n_ctx"):
        check_memory("x", made, made.cache - 1)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        needs(tmp_path / "missing.gguf")
