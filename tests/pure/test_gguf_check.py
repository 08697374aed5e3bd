from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as TensorType

from codegen import model_facts
from llama_bind.core.gguf_check import check_model_file, shard_paths
from llama_bind.errors import ModelFormatError, ModelNotFoundError
from tests.gguf_mutate import RawGguf
from tests.tiny_gguf import (
    tiny_llama,
    tiny_mamba,
    write_tiny_bert,
    write_tiny_llama,
    write_tiny_lora,
    write_tiny_mamba,
    write_tiny_shards,
)

ROOT = Path(__file__).resolve().parents[2]
VOCABS = sorted((ROOT / "vendor/llama.cpp/models").glob("*.gguf"))
TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"


def reason_of(path: Any, **options: Any) -> str:
    with pytest.raises(ModelFormatError) as info:
        check_model_file(path, **options)
    assert info.value.path
    assert info.value.reason in str(info.value)
    return info.value.reason


@pytest.mark.parametrize("path", VOCABS, ids=lambda p: p.stem)
def test_every_vendored_vocabulary_passes(path: Path) -> None:
    summary = check_model_file(path, vocab_only=True)
    assert summary.n_vocab > 20000
    assert "no tensors" in reason_of(path) or "there is no" in reason_of(path)


def test_the_vocabularies_are_there() -> None:
    assert len(VOCABS) > 15


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tokenizer": "spm", "fim": True, "tensor_type": TensorType.F16},
        {"tokenizer": "ugm"},
        {"tokenizer": "rwkv"},
        {"n_embd": 64, "tensor_type": TensorType.Q8_0, "tied": True, "n_head_kv": 1, "n_vocab": 400},
        {"n_expert": 4},
        {"chat_template": "{{ messages }}"},
        {"metadata": {"llama.attention.head_count": [2, 2], "llama.feed_forward_length": [64, 64]}},
        {"metadata": {"llama.ssm.conv_kernel": 0, "llama.wkv.head_size": 0}},
        {"metadata": {"tokenizer.ggml.padding_token_id": 2**32 - 1}},
        {"metadata": {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}},
    ],
)
def test_sound_llamas_pass(tmp_path: Path, options: dict[str, Any]) -> None:
    summary = check_model_file(write_tiny_llama(tmp_path / "m.gguf", **options))
    assert summary.architecture == "llama"
    assert (summary.n_layer, summary.n_ctx_train) == (2, 512)
    assert summary.n_vocab == len(summary.file.get(TOKENS))


def test_other_sound_models_pass(tmp_path: Path) -> None:
    assert check_model_file(write_tiny_bert(tmp_path / "b.gguf")).architecture == "bert"
    assert check_model_file(write_tiny_bert(tmp_path / "r.gguf", pooling_type=4)).n_embd == 32
    assert check_model_file(write_tiny_mamba(tmp_path / "m.gguf")).n_params > 30000


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"general.architecture": None}, "no general.architecture"),
        ({"general.architecture": "lama"}, "unknown to llama.cpp"),
        ({"general.architecture": "clip"}, "mmproj"),
        ({"general.architecture": 7}, "not a string"),
        ({"llama.context_length": 0}, "llama.context_length is 0"),
        ({"llama.context_length": 2**31}, "outside"),
        ({"llama.embedding_length": 0}, "llama.embedding_length is 0"),
        ({"llama.embedding_length": None}, "no llama.embedding_length"),
        ({"llama.embedding_length": 1}, "less than one number"),
        ({"llama.embedding_length": "32"}, "not an integer"),
        ({"llama.embedding_length": [32]}, "is an array"),
        ({"llama.block_count": 0}, "outside of 1 to 512"),
        ({"llama.block_count": 513}, "outside of 1 to 512"),
        ({"llama.feed_forward_length": [64]}, "1 items for 2 layers"),
        ({"llama.feed_forward_length": [0.5, 0.5]}, "not an array of integers"),
        ({"llama.attention.head_count": 3}, "not a multiple"),
        ({"llama.attention.head_count_kv": 4}, "not a multiple"),
        ({"llama.attention.key_length": 0}, "outside of 1"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "is nan"),
        ({"llama.attention.layer_norm_rms_epsilon": -1.0}, "outside of 0"),
        ({"llama.rope.dimension_count": 15}, "odd"),
        ({"llama.rope.freq_base": 0.0}, "freq_base is 0"),
        ({"llama.rope.freq_base": float("inf")}, "is inf"),
        ({"llama.rope.scaling.type": "magic"}, "not one of"),
        ({"llama.rope.dimension_sections": [9, 9, 0, 0]}, "more than the 16 numbers"),
        ({"llama.logit_scale": float("nan")}, "not a number"),
        ({"llama.expert_count": 2000}, "outside of 0 to 1024"),
        ({"llama.expert_count": 4}, "0 of 4 experts"),
        ({"llama.expert_used_count": 1}, "1 of 0 experts"),
        ({"llama.expert_group_count": 2}, "expert_group_count is 2"),
        ({"llama.expert_gating_func": 99}, "outside of 0 to 4"),
        ({"llama.pooling_type": 9}, "pooling_type is 9"),
        ({"general.type": "adapter"}, "lora_path"),
        ({"tokenizer.ggml.model": None}, "no tokenizer.ggml.model"),
        ({"tokenizer.ggml.model": "magic"}, "unknown to llama.cpp"),
        ({"tokenizer.ggml.model": "none", "llama.vocab_size": 2**31}, "outside"),
        ({"tokenizer.ggml.pre": "magic"}, "unknown to llama.cpp"),
        ({"tokenizer.ggml.merges": None}, "no merges"),
        ({"tokenizer.ggml.merges": [1, 2]}, "not an array of str"),
        ({TOKENS: None}, "vocabulary is missing"),
        ({TOKENS: "a"}, "not an array of str"),
        ({TOKENS: [1, 2]}, "not an array of str"),
        ({TOKENS: ["a", "b", "a"]}, "tokens 0 and 2"),
        ({TOKENS: ["[EMPTY_1]", ""]}, "tokens 0 and 1"),
        ({TYPES: [1, 1]}, "2 items for 287 tokens"),
        ({TYPES: [1.0] * 287}, "not an array of i32"),
        ({TYPES: [6] * 287}, "marked as a byte"),
        ({"tokenizer.ggml.scores": [1.0]}, "1 items for 287 tokens"),
        ({"tokenizer.ggml.scores": [float("nan")] * 287}, "not numbers"),
        (
            {"tokenizer.ggml.pre": "glm4", "tokenizer.ggml.bos_token_id": 999, "tokenizer.ggml.add_bos_token": True},
            "a bos token",
        ),
    ],
)
def test_bad_metadata_is_named(tmp_path: Path, metadata: dict[str, Any], reason: str) -> None:
    assert reason in reason_of(write_tiny_llama(tmp_path / "m.gguf", metadata=metadata))


def test_a_byte_missing_from_spm_is_named_but_no_bytes_at_all_pass(tmp_path: Path) -> None:
    model = tiny_llama(tokenizer="spm")
    tokens = model.metadata[TOKENS]
    tokens[tokens.index("<0x0A>")] = "<0xZZ>"
    assert "marked as a byte" in reason_of(model.save(tmp_path / "a.gguf"))
    model.metadata[TYPES] = [1] * len(tokens)
    assert "<0x0A> is missing" in reason_of(model.save(tmp_path / "b.gguf"))
    model.metadata[TOKENS] = [f"word{i}" if t.startswith("<0x") else t for i, t in enumerate(tokens)]
    check_model_file(model.save(tmp_path / "c.gguf"))


def test_an_rwkv_trie_that_would_never_end(tmp_path: Path) -> None:
    model = tiny_llama(tokenizer="rwkv")
    tokens = model.metadata[TOKENS]
    tokens[tokens.index("\\x68")] = "other"  # the h of "hello"
    assert "0x68 starts tokens" in reason_of(model.save(tmp_path / "m.gguf"))


def test_a_broken_normalizer(tmp_path: Path) -> None:
    model = tiny_llama(tokenizer="ugm")
    model.metadata["tokenizer.ggml.precompiled_charsmap"] = np.array([255, 255, 0, 0, 0, 0], np.uint8)
    assert "its table claims 65535" in reason_of(model.save(tmp_path / "m.gguf"))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("blk.0.attn_norm.weight", np.float16),
        ("blk.1.ffn_up.weight", np.int32),
        ("token_embd.weight", np.int64),
        ("output_norm.weight", np.float64),
        ("blk.0.attn_q.weight", np.int8),
    ],
)
def test_types_nothing_can_be_computed_with(tmp_path: Path, name: str, dtype: type[Any]) -> None:
    model = tiny_llama()
    model.tensors[name] = model.tensors[name].astype(dtype)
    assert name in reason_of(model.save(tmp_path / "m.gguf"))


def test_integers_pass_where_llama_cpp_does_not_know_the_tensor(tmp_path: Path) -> None:
    model = tiny_llama()
    model.tensors["of.another.kind"] = np.zeros(4, np.int32)
    check_model_file(model.save(tmp_path / "m.gguf"))


def test_sizes_that_recurrent_models_divide_by(tmp_path: Path) -> None:
    model = tiny_mamba()
    model.metadata["mamba.ssm.time_step_rank"] = 0
    assert "time_step_rank is 0" in reason_of(model.save(tmp_path / "m.gguf"))


def test_overrides_come_before_the_check(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "m.gguf", metadata={"llama.context_length": 0})
    assert check_model_file(path, kv_overrides={"llama.context_length": 128}).n_ctx_train == 128
    good = write_tiny_llama(tmp_path / "g.gguf")
    assert "block_count is 0" in reason_of(good, kv_overrides={"llama.block_count": 0})


def test_an_adapter_is_not_a_model(tmp_path: Path) -> None:
    assert "lora_path" in reason_of(write_tiny_lora(tmp_path / "lora.gguf"))


def test_shards(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "m.gguf")
    assert len(shards) == 3
    summary = check_model_file(shards[0])
    assert summary.paths == tuple(str(s) for s in shards)
    assert check_model_file(shards).n_params == summary.n_params
    whole = check_model_file(write_tiny_llama(tmp_path / "whole.gguf"))
    assert (whole.n_params, whole.n_tensors) == (summary.n_params, summary.n_tensors)


def test_wrong_shards(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "m.gguf")
    assert "where shard 0 of 3 is due" in reason_of(shards[1])
    assert "2 shards were given" in reason_of(shards[:2])
    assert "where shard 1 of 3 is due" in reason_of([shards[0], shards[2], shards[1]])
    renamed = shutil.copy(shards[0], tmp_path / "other.gguf")
    assert "is not named like" in reason_of(renamed)
    shards[1].unlink()
    assert "shard 2 of 3 is missing" in reason_of(shards[0])
    with pytest.raises(ModelNotFoundError, match="list of shards is empty"):
        check_model_file([])


def test_tensors_in_two_shards_or_in_none(tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "m.gguf")

    def edit(i: int, change: Callable[[RawGguf], Any]) -> None:
        raw = RawGguf.parse(shards[i].read_bytes())
        change(raw)
        shards[i].write_bytes(raw.to_bytes())

    first = RawGguf.parse(shards[0].read_bytes()).tensors[0][0]
    edit(2, lambda raw: raw.tensors[0].__setitem__(0, first))
    assert "is in two shards" in reason_of(shards[0])
    edit(2, lambda raw: raw.tensors.pop())
    assert "split.tensors.count" in reason_of(shards[0])


def test_names_of_shards() -> None:
    assert shard_paths("a/m-00001-of-00002.gguf", 2) == ["a/m-00001-of-00002.gguf", "a/m-00002-of-00002.gguf"]


def test_the_facts_are_those_of_the_vendored_sources() -> None:
    assert model_facts.TARGET.read_text(encoding="utf-8") == model_facts.generate()
