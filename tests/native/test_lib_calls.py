"""Calls through the mirror: structs by value, resolving at first call, threads, deprecation, quiet backend loading."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import timeit
from pathlib import Path
from typing import Any

import pytest

from llama_bind.lib import _loader, ggml_backend_h, ggml_h, gguf_h, llama_h, mtmd_h, resolve, retype

ROOT = Path(__file__).resolve().parents[2]


def child(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_structs_come_back_by_value_with_llama_cpps_defaults() -> None:
    model = llama_h.llama_model_default_params()
    assert (model.n_gpu_layers, model.use_extra_bufts, model.vocab_only) == (-1, True, False)
    assert model.split_mode == llama_h.LLAMA_SPLIT_MODE_LAYER
    context = llama_h.llama_context_default_params()
    assert (context.n_ctx, context.n_seq_max, context.type_k) == (512, 1, ggml_h.GGML_TYPE_F16)
    assert context.rope_scaling_type == llama_h.LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED
    assert context.yarn_ext_factor == -1.0
    assert llama_h.llama_sampler_chain_default_params().no_perf is True
    assert llama_h.llama_model_quantize_default_params().quantize_output_tensor is True
    assert mtmd_h.mtmd_context_params_default().media_marker == mtmd_h.mtmd_default_marker()
    assert "n_ctx=512" in repr(context)


def test_structs_go_in_by_value() -> None:
    chain = llama_h.llama_sampler_chain_init(llama_h.llama_sampler_chain_params(no_perf=False))
    try:
        llama_h.llama_sampler_chain_add(chain, llama_h.llama_sampler_init_top_k(7))
        llama_h.llama_sampler_chain_add(chain, llama_h.llama_sampler_init_dist(1234))
        assert llama_h.llama_sampler_chain_n(chain) == 2
        assert llama_h.llama_sampler_get_seed(llama_h.llama_sampler_chain_get(chain, 1)) == 1234
        token = llama_h.llama_token_data
        data = (token * 3)(token(5, 1.0, 0.0), token(6, 3.0, 0.0), token(7, 2.0, 0.0))
        row = llama_h.llama_token_data_array(data, 3, -1, False)
        greedy = llama_h.llama_sampler_init_greedy()
        llama_h.llama_sampler_apply(greedy, row)
        assert data[row.selected].id == 6
        llama_h.llama_sampler_free(greedy)
    finally:
        llama_h.llama_sampler_free(chain)


def test_a_batch_is_made_filled_and_freed() -> None:
    batch = llama_h.llama_batch_init(8, 0, 2)
    try:
        assert not batch.embd
        for index in range(8):
            batch.token[index] = index
            batch.seq_id[index][1] = 9
        assert [batch.token[index] for index in range(8)] == list(range(8))
    finally:
        llama_h.llama_batch_free(batch)


def test_text_constants_and_opaque_handles() -> None:
    empty = gguf_h.gguf_init_empty()
    assert isinstance(empty, int)
    gguf_h.gguf_set_val_u32(empty, b"some.key", 77)
    gguf_h.gguf_set_val_str(empty, b"some.text", "grüß".encode())
    assert gguf_h.gguf_get_val_u32(empty, gguf_h.gguf_find_key(empty, b"some.key")) == 77
    assert gguf_h.gguf_get_val_str(empty, 1) == "grüß".encode()
    assert gguf_h.gguf_find_key(ctypes.c_void_p(empty), b"nothing") == -1
    gguf_h.gguf_free(empty)


def test_ggml_computes_a_product() -> None:
    from llama_bind.lib import ggml_alloc_h, ggml_cpu_h

    cpu = ggml_cpu_h.ggml_backend_cpu_init()
    context = ggml_h.ggml_init(ggml_h.ggml_init_params(1 << 20, None, True))
    a = ggml_h.ggml_new_tensor_2d(context, ggml_h.ggml_type.GGML_TYPE_F32, 2, 2)
    b = ggml_h.ggml_new_tensor_2d(context, ggml_h.GGML_TYPE_F32, 2, 1)
    product = ggml_h.ggml_mul_mat(context, a, b)
    graph = ggml_h.ggml_new_graph(context)
    ggml_h.ggml_build_forward_expand(graph, product)
    buffer = ggml_alloc_h.ggml_backend_alloc_ctx_tensors(context, cpu)
    for tensor, numbers in ((a, (1, 2, 3, 4)), (b, (10, 20))):
        values = (ctypes.c_float * len(numbers))(*numbers)
        ggml_backend_h.ggml_backend_tensor_set(tensor, values, 0, ctypes.sizeof(values))
    assert ggml_backend_h.ggml_backend_graph_compute(cpu, graph) == ggml_h.GGML_STATUS_SUCCESS
    out = (ctypes.c_float * 2)()
    ggml_backend_h.ggml_backend_tensor_get(product, out, 0, ctypes.sizeof(out))
    assert list(out) == [50.0, 110.0]
    assert list(product.contents.ne) == [2, 1, 1, 1]
    ggml_backend_h.ggml_backend_buffer_free(buffer)
    ggml_h.ggml_free(context)
    ggml_backend_h.ggml_backend_free(cpu)


def test_the_first_call_puts_the_raw_function_in_its_place() -> None:
    done = child(
        "from llama_bind.lib import llama_h as L\n"
        "from llama_bind.lib.llama_h import llama_max_devices\n"
        "stub = L.llama_max_devices\n"
        "first = stub()\n"
        "raw = L.llama_max_devices\n"
        "assert raw is not stub and type(raw).__name__ == '_FuncPtr', raw\n"
        "assert raw() == first == llama_max_devices() == stub()\n"
        "assert L.llama_max_devices is raw\n"
        "from llama_bind.lib import resolve\n"
        "assert resolve(stub) is raw and resolve(raw) is raw\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_name_that_was_replaced_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = getattr(llama_h.llama_supports_mmap, "_stub", llama_h.llama_supports_mmap)
    monkeypatch.setattr(llama_h, "llama_supports_mmap", lambda: "mine")
    assert stub() in (True, False)
    assert vars(llama_h)["llama_supports_mmap"]() == "mine"


def test_many_threads_may_make_the_first_call() -> None:
    code = (
        "import threading\n"
        "from llama_bind.lib import llama_h as L\n"
        "barrier, results = threading.Barrier(16), []\n"
        "def work():\n"
        "    barrier.wait()\n"
        "    results.append((L.llama_max_devices(), L.llama_context_default_params().n_ctx))\n"
        "threads = [threading.Thread(target=work) for _ in range(16)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert len(results) == 16 and len(set(results)) == 1, results\n"
    )
    done = child(code)
    assert done.returncode == 0, done.stderr


def test_loading_the_backends_prints_nothing_and_keeps_the_log_callback() -> None:
    done = child(
        "from llama_bind.lib import llama_h as L, ggml_h, ggml_backend_h, load_backends\n"
        "L.llama_backend_init()\n"
        "load_backends()\n"
        "assert ggml_backend_h.ggml_backend_dev_count() >= 1\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = child(
        "from llama_bind.lib import llama_h as L, ggml_h\n"
        "lines = []\n"
        "@ggml_h.ggml_log_callback\n"
        "def log(level, text, data): lines.append(text)\n"
        "L.llama_log_set(log, None)\n"
        "L.llama_backend_init()\n"
        "assert any(b'loaded CPU backend' in line for line in lines), lines\n"
        "L.llama_log_set(None, None)\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_deprecated_functions_warn_once() -> None:
    done = child(
        "import warnings\n"
        "from llama_bind.lib import llama_h as L\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    for _ in range(3): L.llama_load_model_from_file(b'/no/such', L.llama_model_default_params())\n"
        "assert [str(w.message) for w in seen] == "
        "['llama_load_model_from_file is deprecated: use llama_model_load_from_file instead'], seen\n"
        "assert seen[0].category is DeprecationWarning and seen[0].filename == '<string>'\n"
    )
    assert done.returncode == 0, done.stderr


def test_retype_gives_other_conversions_for_the_same_symbol() -> None:
    plain = resolve(ggml_h.ggml_type_name)
    address = retype(ggml_h.ggml_type_name, restype=ctypes.c_void_p)
    assert plain(0) == b"f32"
    assert ctypes.string_at(address(0)) == b"f32"
    assert plain.restype is ctypes.c_char_p
    loose = retype(ggml_h.ggml_type_name, argtypes=[ctypes.c_int64])
    assert loose(0) == b"f32"


def test_wrong_arguments_are_python_errors() -> None:
    with pytest.raises(ctypes.ArgumentError):
        llama_h.llama_tokenize(None, "not bytes", 1, None, 0, False, False)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        llama_h.llama_n_ctx()  # type: ignore[call-arg]


def test_python_callbacks_reach_c_and_none_is_null() -> None:
    lines: list[tuple[int, bytes | None]] = []
    before, data = ggml_h.ggml_log_callback(), ctypes.c_void_p()
    llama_h.llama_log_get(before, ctypes.pointer(data))
    callback = ggml_h.ggml_log_callback(lambda level, text, _: lines.append((level, text)))
    llama_h.llama_log_set(callback, None)
    try:
        assert llama_h.llama_model_load_from_file(b"/no/such/file", llama_h.llama_model_default_params()) is None
    finally:
        llama_h.llama_log_set(before, data)
    assert any(b"/no/such/file" in (text or b"") for level, text in lines if level == ggml_h.GGML_LOG_LEVEL_ERROR)


def test_a_callback_field_may_be_empty() -> None:
    params = llama_h.llama_context_default_params()
    assert not params.abort_callback
    assert not ggml_h.ggml_abort_callback.from_param(None)
    with pytest.raises(TypeError):
        ggml_h.ggml_abort_callback.from_param("text")


def test_a_call_costs_no_more_than_ctypes() -> None:
    """The raw function sits in the module: looking it up there is all that is added to ctypes' own cost."""
    llama_h.llama_time_us()
    plain: Any = ctypes.CDLL(str(_loader.open_library("llama")._name)).llama_time_us
    plain.restype, plain.argtypes = ctypes.c_int64, []
    ours = min(timeit.repeat(lambda: llama_h.llama_time_us(), number=20000, repeat=5))
    bare = min(timeit.repeat(lambda: plain(), number=20000, repeat=5))
    assert ours < bare * 1.5 + 0.002


def test_opening_the_backends_leaves_the_environment_as_it_was() -> None:
    for change in ("", "os.environ['GOMP_SPINCOUNT'] = '77'", "os.environ['OMP_WAIT_POLICY'] = 'ACTIVE'"):
        done = child(
            f"import os; {change}\nfrom llama_bind.lib import load_backends\n"
            "before = dict(os.environ); load_backends(); print(before == dict(os.environ))"
        )
        assert done.stdout.strip() == "True", done.stderr
