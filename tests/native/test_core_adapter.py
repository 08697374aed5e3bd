from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_bind.core.adapter import Adapter
from llama_bind.core.handle import Handle
from llama_bind.core.model import Model
from llama_bind.errors import (
    AdapterError,
    ClosedError,
    InputError,
    LlamaBindError,
    ModelFormatError,
    ModelNotFoundError,
)
from llama_bind.params import ModelParams
from tests.core_helpers import filled, make_context, model_file, shared_model
from tests.tiny_gguf import tiny_lora


def test_scale_and_removal() -> None:
    model = shared_model()
    adapter = Adapter.load(model, model_file("lora"))
    context = make_context(model)

    def logits(*adapters: tuple[Adapter, float]) -> Any:
        context.set_adapters(adapters)
        context.memory.clear()
        filled(context)
        return context.logits().copy()

    plain = logits()
    full, half = logits((adapter, 1.0)), logits((adapter, 0.5))
    assert not np.allclose(plain, full)
    assert not np.allclose(full, half)
    np.testing.assert_array_equal(logits((adapter, 0.0)), plain)
    np.testing.assert_array_equal(logits((adapter, 1.0)), full)
    np.testing.assert_array_equal(logits(), plain)


def test_facts() -> None:
    adapter = Adapter.load(shared_model(), str(model_file("lora")))
    assert adapter.metadata["adapter.type"] == "lora"
    assert adapter.alora_tokens == ()


def test_a_closed_adapter_stays_while_it_is_used() -> None:
    context = make_context()
    adapter = Adapter.load(shared_model(), model_file("lora"))
    context.set_adapters([(adapter, 1.0)])
    count = Handle.live()["Adapter"]
    adapter.close()
    filled(context)
    assert Handle.live()["Adapter"] == count
    with pytest.raises(ClosedError):
        context.set_adapters([(adapter, 1.0)])
    context.memory.clear()
    filled(context)
    context.set_adapters([])
    assert Handle.live().get("Adapter", 0) == count - 1


def test_wrong_uses() -> None:
    context = make_context()
    adapter = Adapter.load(shared_model(), model_file("lora"))
    other = Adapter.load(Model.load(model_file()), model_file("lora"))
    with pytest.raises(AdapterError, match="another model"):
        context.set_adapters([(other, 1.0)])
    with pytest.raises(AdapterError, match="twice"):
        context.set_adapters([(adapter, 1.0), (adapter, 0.5)])
    for scale in (float("nan"), float("inf"), 1e300):
        with pytest.raises(InputError):
            context.set_adapters([(adapter, scale)])
    filled(context)


def test_files_that_are_no_adapter(tmp_path: Path) -> None:
    model = shared_model()
    with pytest.raises(ModelNotFoundError):
        Adapter.load(model, tmp_path / "missing.gguf")
    with pytest.raises(LlamaBindError):
        Adapter.load(model, tmp_path)
    text = tmp_path / "text.gguf"
    text.write_text("not a GGUF at all, just text")
    with pytest.raises(ModelFormatError):
        Adapter.load(model, text)
    with pytest.raises(AdapterError, match="not a LoRA"):
        Adapter.load(model, model_file())
    with pytest.raises(AdapterError, match="mamba"):
        Adapter.load(shared_model("mamba"), model_file("lora"))
    with pytest.raises(AdapterError, match="vocab_only"):
        Adapter.load(Model.load(model_file(), ModelParams(vocab_only=True)), model_file("lora"))


def test_an_adapter_for_another_width() -> None:
    with pytest.raises(AdapterError):
        Adapter.load(shared_model(n_embd=64), model_file("lora"))


def test_broken_adapters(tmp_path: Path) -> None:
    for number, key in enumerate(("adapter.lora.alpha", "adapter.type", "general.type", "general.architecture")):
        lora = tiny_lora()
        lora.metadata[key] = "x" if key == "adapter.lora.alpha" else 3
        with pytest.raises(LlamaBindError):
            Adapter.load(shared_model(), lora.save(tmp_path / f"{number}.gguf"))
    lora = tiny_lora()
    name = next(name for name in lora.tensors if name.endswith(".lora_b"))
    del lora.tensors[name]
    with pytest.raises(AdapterError):
        Adapter.load(shared_model(), lora.save(tmp_path / "missing.gguf"))
    whole = model_file("lora").read_bytes()
    for size in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        cut = tmp_path / f"cut{size}.gguf"
        cut.write_bytes(whole[:size])
        with pytest.raises(LlamaBindError):
            Adapter.load(shared_model(), cut)
