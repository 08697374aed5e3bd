from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_bind.core import devices
from llama_bind.core.backend import numa_init
from llama_bind.core.model import Model
from llama_bind.core.model_params import native_model_params
from llama_bind.errors import (
    InputError,
    ModelFormatError,
    ModelLoadError,
    ModelNotFoundError,
    UnsupportedError,
)
from llama_bind.params import ModelParams, TensorBufferOverride
from tests.core_helpers import filled, make_context, model_file, run_child, shard_files, shared_model
from tests.tiny_gguf import CHATML_TEMPLATE, tiny_llama


def test_facts() -> None:
    model = shared_model()
    assert (model.n_embd, model.n_layer, model.n_head, model.n_head_kv, model.n_ctx_train) == (32, 2, 2, 2, 512)
    assert model.n_embd_inp == model.n_embd_out == 32
    assert model.arch == "llama"
    assert model.metadata["general.name"] == "tiny llama"
    assert model.has_decoder
    others = (model.has_encoder, model.is_recurrent, model.is_hybrid, model.is_diffusion, model.is_mrope)
    assert not any(others)
    assert model.decoder_start_token is None
    assert model.n_params > 0
    assert model.size > 4 * 32 * 32
    assert "F32" in model.desc
    assert model.ftype_name
    assert model.path == str(model_file())
    assert shared_model("mamba").is_recurrent


def test_metadata_of_any_length(tmp_path: Path) -> None:
    tiny = tiny_llama()
    long = "ü" * 100_000
    tiny.metadata["general.description"] = long
    model = Model.load(tiny.save(tmp_path / "long.gguf"))
    assert model.metadata["general.description"] == long


def test_chat_template() -> None:
    assert shared_model().chat_template() is None
    assert shared_model(chat_template=CHATML_TEMPLATE).chat_template() == CHATML_TEMPLATE
    assert shared_model(chat_template=CHATML_TEMPLATE).chat_template("no such") is None


def test_sampling_defaults(tmp_path: Path) -> None:
    assert shared_model().sampling_defaults() == {}
    tiny = tiny_llama()
    tiny.metadata.update(
        {
            "general.sampling.temp": 0.25,
            "general.sampling.top_k": 7,
            "general.sampling.penalty_repeat": 1.5,
            "general.sampling.sequence": "top_k;typ_p;unknown;temperature",
        }
    )
    found = Model.load(tiny.save(tmp_path / "s.gguf")).sampling_defaults()
    assert found == {
        "temperature": 0.25,
        "top_k": 7,
        "repeat_penalty": 1.5,
        "samplers": ("top_k", "typical_p", "temperature"),
    }


def test_class_labels() -> None:
    model = shared_model("bert", pooling_type=4)
    assert model.n_cls_out == 1
    assert model.cls_label(0) is None
    for index in (-1, 1, 2**40, "0"):
        with pytest.raises(InputError):
            model.cls_label(index)  # type: ignore[arg-type]


def test_shards_by_the_first_or_by_all() -> None:
    shards = shard_files()
    assert len(shards) > 1
    by_first, by_all = Model.load(shards[0]), Model.load(list(shards))
    assert by_first.n_params == by_all.n_params
    filled(make_context(by_all))
    assert pickle.loads(pickle.dumps(by_all)).paths == tuple(map(str, shards))


def test_pickling_by_path_and_options() -> None:
    model = Model.load(model_file(), ModelParams(use_mmap=False, progress_callback=lambda _share: True))
    again = pickle.loads(pickle.dumps(model))
    assert again.path == model.path
    assert again.params == ModelParams(use_mmap=False)


def test_files_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        Model.load(tmp_path / "missing.gguf")
    text = tmp_path / "text.gguf"
    text.write_text("this is a text file and not a model")
    with pytest.raises(ModelFormatError):
        Model.load(text)
    with pytest.raises((ModelNotFoundError, ModelFormatError)):
        Model.load(tmp_path)
    with pytest.raises(InputError):
        Model.load("a\0b")
    with pytest.raises(InputError):
        Model.load([])
    with pytest.raises(InputError):
        Model.load(3)  # type: ignore[arg-type]


def test_llama_cpps_own_words_are_in_the_error(tmp_path: Path) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("this is a text file and not a model")
    with pytest.raises(ModelLoadError, match="magic") as caught:
        Model.load(text, ModelParams(check_model=False))
    assert caught.value.path == str(text)
    assert caught.value.log


@pytest.mark.skipif(sys.platform == "win32", reason="such a name cannot exist there")
def test_a_path_that_is_not_unicode(tmp_path: Path) -> None:
    odd = tmp_path / "m\udcff ü.gguf"
    odd.write_bytes(model_file().read_bytes())
    assert Model.load(odd).n_layer == 2


# -- options


def test_every_override_type() -> None:
    overrides = {"llama.context_length": 128, "llama.rope.freq_base": 500.0, "tokenizer.ggml.add_bos_token": True}
    model = Model.load(model_file(), ModelParams(kv_overrides=overrides))
    assert model.n_ctx_train == 128
    assert model.vocab.add_bos
    struct = native_model_params(
        ModelParams(kv_overrides={"a": 1, "b": 2.5, "c": True, "d": "x", "e": -(2**63)})
    ).struct
    entries = [struct.kv_overrides[i] for i in range(6)]
    assert [entry.tag for entry in entries] == [0, 1, 2, 3, 0, 0]
    assert (entries[0].val_i64, entries[1].val_f64, entries[2].val_bool, entries[3].val_str) == (1, 2.5, True, b"x")
    assert entries[4].val_i64 == -(2**63)
    assert entries[5].key == b""


@pytest.mark.parametrize(
    "overrides",
    [
        {"k" * 128: 1},
        {"": 1},
        {"a\0b": 1},
        {"a": "v" * 128},
        {"a": "v\0"},
        {"a": 2**63},
        {"a": None},
        {"a": [1]},
        {1: 1},
        {"a\ud800": 1},
        [("a", 1)],
    ],
)
def test_overrides_that_cannot_be(overrides: Any) -> None:
    with pytest.raises(InputError) as caught:
        native_model_params(ModelParams(kv_overrides=overrides))
    assert caught.value.param == "kv_overrides"


@pytest.mark.parametrize(
    "options",
    [
        {"devices": ["no such device"]},
        {"devices": "CPU"},
        {"devices": ["CPU", "CPU"]},
        {"tensor_split": [1.0] * 10_000},
        {"tensor_split": [float("nan")]},
        {"tensor_split": [-1.0]},
        {"tensor_split": ["a"]},
        {"tensor_split": "1,2"},
        {"tensor_buft_overrides": [("(", "CPU")]},
        {"tensor_buft_overrides": [("", "CPU")]},
        {"tensor_buft_overrides": [("a", "no such type")]},
        {"tensor_buft_overrides": ["abc"]},
        {"tensor_buft_overrides": [("a", "CPU", 1)]},
        {"tensor_buft_overrides": [(None, "CPU")]},
        {"split_mode": "diagonal"},
        {"split_mode": 9},
        {"n_gpu_layers": -2},
        {"main_gpu": -1},
        {"use_direct_io": True, "use_mlock": True},
        {"lazy_mode": "perhaps"},
        {"rpc_servers": ["nowhere"]},
        {"rpc_servers": ["host:0"]},
        {"progress_callback": "f"},
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Model.load(model_file(), ModelParams(**options))


def test_an_unknown_device_names_the_known() -> None:
    with pytest.raises(InputError, match="CPU"):
        devices.find_devices(["GPU17"])


@pytest.mark.parametrize(
    "options",
    [
        {"devices": ()},
        {"devices": ["cpu"]},
        {"n_gpu_layers": 0},
        {"n_gpu_layers": -1},
        {"n_gpu_layers": 2**40},
        {"use_mmap": False},
        {"use_mlock": True},
        {"use_mmap": False, "use_mlock": True},
        {"use_direct_io": True},
        {"check_tensors": True},
        {"use_extra_bufts": False},
        {"no_host": True},
        {"lazy_mode": "on"},
        {"lazy_mode": "off"},
        {"split_mode": "row"},
        {"split_mode": "none"},
        {"tensor_split": [1, 0.5]},
        {"tensor_buft_overrides": [TensorBufferOverride("ffn", "CPU"), ("attn", "cpu")]},
        {"load_mtp": True},
        {"load_mtp": False},
    ],
)
def test_options_that_load(options: dict[str, Any]) -> None:
    model = Model.load(model_file(), ModelParams(**options))
    filled(make_context(model))


def test_gpu_layers_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_bind.core.model_params.has_gpu", lambda: True)
    assert native_model_params(ModelParams()).struct.n_gpu_layers == -1
    assert native_model_params(ModelParams(devices=())).struct.n_gpu_layers == 0
    assert native_model_params(ModelParams(n_gpu_layers=3)).struct.n_gpu_layers == 3
    monkeypatch.setattr("llama_bind.core.model_params.has_gpu", lambda: False)
    assert native_model_params(ModelParams()).struct.n_gpu_layers == 0
    with pytest.raises(UnsupportedError):
        native_model_params(ModelParams(split_mode="tensor"))


def test_load_modes() -> None:
    def mode(**options: Any) -> int:
        return int(native_model_params(ModelParams(**options)).struct.load_mode)

    assert mode() == 1
    assert mode(use_mmap=False) == 0
    assert mode(use_mlock=True) == 3
    assert mode(use_mmap=False, use_mlock=True) == 2
    assert mode(use_direct_io=True) == 4


# -- devices and the backend


def test_devices_and_system_info() -> None:
    found = devices.devices()
    cpu = next(device for device in found if device.type == "cpu")
    assert cpu.memory_total > 0
    assert cpu.backend == "CPU"
    assert "CPU" in devices.buffer_types()
    info = devices.system_info()
    assert info["version"]
    assert "CPU" in info["features"]
    assert "CPU" in info["backends"]
    assert info["max_devices"] >= 1


def test_an_rpc_server_that_is_not_there() -> None:
    child = run_child(
        """
        from llama_bind.errors import UnsupportedError
        try:
            Model.load(model_file(), ModelParams(rpc_servers=["127.0.0.1:1"]))
        except UnsupportedError as error:
            print(error)
        """
    )
    assert child.returncode == 0, child.stderr
    assert "127.0.0.1:1" in child.stdout


def test_numa_once() -> None:
    child = run_child(
        """
        from llama_bind.core.backend import numa_init
        from llama_bind.errors import InputError
        numa_init(False)
        numa_init("distribute")
        numa_init(True)
        try:
            numa_init("isolate")
        except InputError:
            print("refused")
        """
    )
    assert (child.returncode, child.stdout.strip()) == (0, "refused"), child.stderr
    for wrong in ("everywhere", 9, None, 1.5):
        with pytest.raises(InputError):
            numa_init(wrong)  # type: ignore[arg-type]


def test_nothing_is_loaded_at_import() -> None:
    child = run_child(
        """
        import sys
        import llama_bind.core.model, llama_bind.core.context, llama_bind.core.state, llama_bind.core.adapter
        from llama_bind.lib import _loader
        print(_loader._libraries)
        """
    )
    assert (child.returncode, child.stdout.strip()) == (0, "{}"), child.stderr
