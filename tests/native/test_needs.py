"""What a model is said to take, held against what llama.cpp says that it allocates; and refusals before a load."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llama_bind import Llama
from llama_bind.core import cpu
from llama_bind.core.context_params import native_context_params
from llama_bind.core.layout import with_layout
from llama_bind.core.log import capture_log
from llama_bind.core.needs import MemoryNeeds, memory_needs
from llama_bind.errors import ContextError, ModelTooLargeError
from llama_bind.params import ContextParams, ModelParams
from tests.core_helpers import model_file, shard_files, shared_model
from tests.llamas import tiny

MIB = 2**20
_BUFFER = re.compile(r".*?(KV|RS|compute|output|model) buffer size = +([0-9.]+) MiB")


def allocated(path: Any, **options: Any) -> tuple[dict[str, float], Llama]:
    """MiB by kind, as the log has them while a `Llama` is made."""
    found = dict.fromkeys(("KV", "RS", "compute", "output", "model"), 0.0)
    with capture_log() as lines:
        llm = Llama(path, n_threads=1, use_mmap=False, **options)
    for line in lines:
        match = _BUFFER.match(line.text)
        if match:
            found[match[1]] += float(match[2])
    return found, llm


KINDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("llama", {"n_ctx_train": 4096}, {"n_ctx": 4096, "n_seq_max": 1}),
    ("llama", {"n_ctx_train": 4096}, {"n_ctx": 1000, "n_seq_max": 8}),
    ("llama", {"n_ctx_train": 4096}, {"n_ctx": 2048, "n_seq_max": 8, "kv_unified": True}),
    ("llama", {"n_ctx_train": 4096}, {}),
    ("llama", {"n_ctx_train": 8192, "n_layer": 5, "n_head": 4, "n_head_kv": 1}, {"type_k": "f32", "type_v": "f32"}),
    ("llama", {"n_ctx_train": 4096, "n_embd": 128}, {"n_ctx": 4096, "type_k": "q8_0", "type_v": "q8_0"}),
    ("llama", {"n_ctx_train": 4096, "n_vocab": 50_000}, {"n_ctx": 2048}),
    ("llama", {"n_ctx_train": 4096, "n_ff": 4096}, {"n_ctx": 2048, "n_ubatch": 128}),
    ("llama", {"n_ctx_train": 4096, "n_expert": 4}, {"n_ctx": 2048}),
    ("llama", {"n_ctx_train": 4096}, {"n_ctx": 4096, "n_seq_max": 1, "flash_attn": False}),
    ("mamba", {}, {"n_ctx": 1024, "n_seq_max": 4}),
    ("bert", {}, {"n_ctx": 256, "embedding": True}),
]


@pytest.mark.parametrize(("kind", "file", "options"), KINDS)
def test_the_numbers_are_those_of_llama_cpp(kind: str, file: dict[str, Any], options: dict[str, Any]) -> None:
    path = model_file(kind, **file)
    said: MemoryNeeds = memory_needs(path, ModelParams(), ContextParams(**options), free=cpu.available_memory())
    real, llm = allocated(path, **options)
    context = llm._session.started.engine._worker.runner.context  # type: ignore[union-attr]
    assert said.n_seq_max == context.n_seq_max
    assert said.n_ctx_seq * said.n_streams == context.n_ctx
    cells = 56 * said.n_ctx_seq * said.n_streams
    assert (said.cache - cells) / MIB == pytest.approx(real["KV"] + real["RS"], abs=0.02)
    assert said.weights / MIB == pytest.approx(real["model"], rel=0.02, abs=0.02)
    computing = real["compute"] + real["output"]
    assert 0.8 * computing - 1 < said.compute / MIB < 1.3 * computing + 1
    llm.close()


@pytest.mark.parametrize("free", [None, 10, 40, 60, 100, 127, 130, 1000])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("llama", {}), ("llama", {"n_seq_max": 8}), ("llama", {"n_seq_max": 1}),
        ("llama", {"n_ctx": 0, "n_seq_max": 8}), ("llama", {"n_ctx": 5000, "n_seq_max": 8}),
        ("llama", {"n_seq_max": 8, "kv_unified": False}),
        ("llama", {"n_seq_max": 8, "kv_unified": True, "type_k": "f32"}), ("mamba", {"n_seq_max": 8}), ("mamba", {}),
    ],
)  # fmt: skip
def test_the_layout_is_the_one_that_is_made(
    monkeypatch: pytest.MonkeyPatch, kind: str, options: dict[str, Any], free: int | None
) -> None:
    """What is decided by the memory that is free (MiB) is decided here as it is when the context is made."""
    there = None if free is None else free * MIB
    monkeypatch.setattr(cpu, "available_memory", lambda: there)
    model = shared_model(kind, **({"n_ctx_train": 8192} if kind == "llama" else {}))
    struct = native_context_params(model, with_layout(model, ContextParams(**options)))
    said = memory_needs(model.path, ModelParams(), ContextParams(**options), free=there)
    assert said.n_seq_max == struct.n_seq_max
    assert said.n_streams == (1 if struct.kv_unified else struct.n_seq_max)
    assert said.n_ctx_seq * said.n_streams == pytest.approx(struct.n_ctx, abs=256 * said.n_streams)


def test_shards() -> None:
    real, llm = allocated(shard_files()[0], n_ctx=256)
    said = memory_needs(shard_files()[0], ModelParams(), ContextParams(n_ctx=256))
    assert said.weights / MIB == pytest.approx(real["model"], rel=0.02, abs=0.02)
    llm.close()


@pytest.mark.parametrize("own_process", [False, True])
def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, own_process: bool
) -> None:
    monkeypatch.setattr(cpu, "available_memory", lambda: 200_000)
    shares: list[float] = []
    with pytest.raises(ModelTooLargeError, match="n_ctx") as caught:
        tiny(engine_process=own_process, progress_callback=shares.append)
    assert caught.value.available == 200_000 < caught.value.needed
    assert shares == []
    with pytest.raises(ContextError, match="n_ctx"):
        tiny(n_ctx=100_000, file={"n_ctx_train": 100_000})


def test_one_that_is_wanted_anyway_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "available_memory", lambda: 200_000)
    with tiny(check_memory=False) as llm:
        assert len(list(llm("x", max_tokens=1, stream=True))) > 0


def test_a_vocabulary_needs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "available_memory", lambda: 1000)
    with tiny(vocab_only=True) as llm:
        assert llm.tokenize("x")
