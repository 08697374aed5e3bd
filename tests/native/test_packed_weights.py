"""The package's own layout of weights (native/packed) against the same product in double precision."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from llama_bind.lib import _loader, ggml_alloc_h, ggml_backend_h, ggml_cpu_h, ggml_h
from tests.ggml_ops import extra_type, read, run_with_avx2, tensors, write

TYPES = [GGMLQuantizationType[name] for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")]
NOT_WITH_VNNI = [GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q4_K]
"""ggml has kernels for AVX-512 for these."""


def packed_type() -> int:
    return extra_type("CPU_PACKED", "lb_packed_register")


def skip_unless_packed(kind: GGMLQuantizationType) -> None:
    packed_type()
    module = ctypes.CDLL(_loader.backend_module_path("CPU"))
    if kind in NOT_WITH_VNNI and module.ggml_cpu_has_avx512_vnni():
        pytest.skip(f"ggml's layout of {kind.name} is used here")


def multiply(
    kind: GGMLQuantizationType, weights: np.ndarray, x: np.ndarray, threads: int = 1, every: int = 1
) -> np.ndarray:
    """``x @ weights.T`` by ggml with packed weights; ``every`` > 1: from rows that lie so far apart in memory."""
    skip_unless_packed(kind)
    rows, width = x.shape[-2:]
    outer = x.shape[:-2][::-1]
    with tensors((width * every, rows, *outer)) as (context, (source,)):
        w = ggml_h.ggml_new_tensor_2d(context, int(kind), width, weights.shape[0])
        in_weights = ggml_backend_h.ggml_backend_buft_alloc_buffer(
            packed_type(), ggml_backend_h.ggml_backend_buft_get_alloc_size(packed_type(), w)
        )
        cpu = ggml_backend_h.ggml_backend_init_by_type(ggml_backend_h.GGML_BACKEND_DEVICE_TYPE_CPU, None)
        ggml_backend_h.ggml_backend_tensor_alloc(in_weights, w, ggml_backend_h.ggml_backend_buffer_get_base(in_weights))
        ne2, ne3 = (*outer, 1, 1)[:2]
        steps = source.contents.nb
        view = ggml_h.ggml_view_4d(context, source, width, rows, ne2, ne3, steps[1], steps[2], steps[3], 0)
        product = ggml_h.ggml_mul_mat(context, w, source if every == 1 else view)
        graph = ggml_h.ggml_new_graph(context)
        ggml_h.ggml_build_forward_expand(graph, product)
        rest = ggml_alloc_h.ggml_backend_alloc_ctx_tensors(context, cpu)
        try:
            write(w, weights)
            spread = np.full((*x.shape[:-1], width * every), np.nan, np.float32)
            spread[..., :width] = x
            write(source, spread)
            ggml_cpu_h.ggml_backend_cpu_set_n_threads(cpu, threads)
            assert ggml_backend_h.ggml_backend_supports_op(cpu, product)
            assert ggml_backend_h.ggml_backend_graph_compute(cpu, graph) == ggml_h.GGML_STATUS_SUCCESS
            assert read(w, weights.nbytes).tobytes() == weights.tobytes()
            shape = (*x.shape[:-1], weights.shape[0])
            return np.asarray(read(product, int(np.prod(shape)) * 4).view(np.float32).reshape(shape))
        finally:
            ggml_backend_h.ggml_backend_buffer_free(rest)
            ggml_backend_h.ggml_backend_free(cpu)
            ggml_backend_h.ggml_backend_buffer_free(in_weights)


def quantized(values: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """Rows of weights as ggml quantizes them, bytes of shape (rows, bytes of a row)."""
    values = np.ascontiguousarray(values, np.float32)
    rows, width = values.shape
    data = np.empty((rows, ggml_h.ggml_row_size(int(kind), width)), np.uint8)
    source = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    written = ggml_h.ggml_quantize_chunk(int(kind), source, data.ctypes.data, 0, rows, width, None)
    assert written == data.nbytes
    return data


def example(kind: GGMLQuantizationType, rows: int, blocks: int, *texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of so many rows and of so many blocks of their type, and activations."""
    width = blocks * GGML_QUANT_SIZES[kind][0]
    random = np.random.default_rng(rows * width)
    weights = quantized(random.normal(0.01, 0.05, (rows, width)), kind)
    return weights, random.normal(0.1, 1, (*texts, width)).astype(np.float32)


def exact(kind: GGMLQuantizationType, weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The product in double precision, with activations rounded to 8 bits as ggml rounds them."""
    blocks = x.astype(np.float32).reshape(*x.shape[:-1], -1, 32)
    top = np.abs(blocks).max(-1, keepdims=True)
    inverse = np.divide(np.float32(127), top, out=np.zeros_like(top), where=top > 0)
    rounded = np.rint(blocks * inverse) * (top / np.float32(127)).astype(np.float64)
    return np.asarray(rounded.reshape(x.shape) @ dequantize(weights, kind).astype(np.float64).T)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("rows", "blocks"), [(16, 1), (48, 18), (192, 2), (32, 256)])
@pytest.mark.parametrize("texts", [1, 2, 4, 5, 16, 17, 31, 100])
def test_a_product_is_that_of_double_precision(kind: GGMLQuantizationType, rows: int, blocks: int, texts: int) -> None:
    weights, x = example(kind, rows, blocks, texts)
    wanted = exact(kind, weights, x)
    for threads in (1, 2, 3):
        got = multiply(kind, weights, x, threads)
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5 * x.shape[-1] ** 0.5)


@pytest.mark.parametrize("kind", TYPES)
def test_a_text_does_not_depend_on_those_beside_it(kind: GGMLQuantizationType) -> None:
    weights, x = example(kind, 64, 10, 40)
    alone = np.concatenate([multiply(kind, weights, row[None]) for row in x])
    for texts in range(1, 41):
        assert multiply(kind, weights, x[:texts], threads=2).tobytes() == alone[:texts].tobytes()


@pytest.mark.parametrize("kind", TYPES)
def test_many_turns_over_the_weights(kind: GGMLQuantizationType) -> None:
    weights, x = example(kind, 32, 128, 130)  # more activations than are worked on in one turn
    np.testing.assert_allclose(multiply(kind, weights, x, 2), exact(kind, weights, x), rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("kind", TYPES)
def test_more_dimensions_and_rows_that_lie_apart(kind: GGMLQuantizationType) -> None:
    weights, x = example(kind, 48, 3, 2, 3, 7)
    for every in (1, 3):
        np.testing.assert_allclose(multiply(kind, weights, x, 2, every), exact(kind, weights, x), rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("kind", TYPES)
def test_extreme_values(kind: GGMLQuantizationType) -> None:
    weights, x = example(kind, 16, 4, 6)
    x[0] = 0
    x[1] = 1e-30
    x[2] *= 1e18
    x[3, 5] = 3e4
    x[4] = -x[4]
    weights[3] = quantized(np.full((1, x.shape[-1]), -7.5), kind)
    weights[4] = quantized(np.zeros((1, x.shape[-1])), kind)
    wanted = exact(kind, weights, x)
    for i, (row, want) in enumerate(zip(multiply(kind, weights, x, 2), wanted, strict=True)):
        assert np.isfinite(row).all(), i
        np.testing.assert_allclose(row, want, rtol=2e-5, atol=3e-6 * np.abs(x[i]).max() * x.shape[-1])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("value", [-1, 1])
def test_the_largest_sums_do_not_wrap(kind: GGMLQuantizationType, value: int) -> None:
    weights = quantized(np.full((16, 4096), value), kind)
    got = multiply(kind, weights, np.ones((1, 4096), np.float32))
    np.testing.assert_allclose(got, 4096 * value, rtol=3e-3)


@pytest.mark.parametrize("kind", TYPES)
def test_every_byte_of_a_weight_counts(kind: GGMLQuantizationType) -> None:
    """Bytes at random: scales, minimums and values that quantizing seldom or never makes."""
    random = np.random.default_rng(int(kind))
    weights, x = example(kind, 16, 4, 3)
    weights = random.integers(0, 256, weights.shape, np.uint8)
    halves = {"Q4_0": (0,), "Q5_0": (0,), "Q8_0": (0,), "Q6_K": (208,)}.get(kind.name, (0, 2))
    blocks = weights.reshape(16, 4, -1)  # a view: changing it changes the weights
    for at in halves:  # half floats, which could be infinite else
        scale = random.normal(0, 0.1, (16, 4, 1)).astype(np.float16)
        blocks[..., at : at + 2] = scale.view(np.uint8)
    wanted = exact(kind, weights, x)
    np.testing.assert_allclose(multiply(kind, weights, x), wanted, rtol=2e-5, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", TYPES)
def test_parts_of_packed_weights_can_be_read_back(kind: GGMLQuantizationType) -> None:
    skip_unless_packed(kind)
    weights, _ = example(kind, 32, 2, 1)
    with tensors() as (context, _):
        w = ggml_h.ggml_new_tensor_2d(context, int(kind), 2 * GGML_QUANT_SIZES[kind][0], 32)
        buffer = ggml_backend_h.ggml_backend_buft_alloc_buffer(packed_type(), weights.nbytes)
        try:
            ggml_backend_h.ggml_backend_tensor_alloc(buffer, w, ggml_backend_h.ggml_backend_buffer_get_base(buffer))
            write(w, weights)
            assert read(w, 100, offset=37).tobytes() == weights.tobytes()[37:137]
        finally:
            ggml_backend_h.ggml_backend_buffer_free(buffer)


def test_with_the_instructions_of_older_processors(tmp_path: Path) -> None:
    """The same with AVX2 alone: most processors have no AVX-512."""
    assert " passed" in run_with_avx2(tmp_path, __file__, "double or beside or turns or wrap or byte")


def test_it_can_be_turned_off() -> None:
    packed_type()
    code = "from tests.ggml_ops import extra_names; print(extra_names())"
    for value, wanted in (("0", False), ("1", True)):
        environment = {**os.environ, "LLAMA_BIND_PACKED": value}
        names = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert ("CPU_PACKED" in names) is wanted
