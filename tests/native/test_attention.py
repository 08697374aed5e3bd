"""The package's own attention (native/attention) against the same in double precision."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize

from llama_bind.lib import ggml_alloc_h, ggml_backend_h, ggml_cpu_h, ggml_h
from tests.ggml_ops import extra_type, read, run_with_avx2, tensors, write

F16, F32, BF16, Q8_0 = (GGMLQuantizationType[name] for name in ("F16", "F32", "BF16", "Q8_0"))


@pytest.fixture(autouse=True)
def _offered() -> None:
    extra_type("CPU_ATTENTION", "lb_attention_register")


@dataclasses.dataclass
class Case:
    """Queries, keys, values ([texts, heads, tokens, width]), what may be seen ([texts, tokens, keys]), and options."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    mask: np.ndarray | None
    kind: GGMLQuantizationType = F16
    max_bias: float = 0.0
    cap: float = 0.0
    sinks: np.ndarray | None = None

    @property
    def scale(self) -> float:
        return 1 / math.sqrt(self.q.shape[-1])

    def tokens(self, which: slice) -> Case:
        """The same for some of the tokens."""
        mask = None if self.mask is None else self.mask[:, which]
        return dataclasses.replace(self, q=self.q[:, :, which], mask=mask)

    def texts(self, which: slice) -> Case:
        """The same for some of the texts."""
        mask = None if self.mask is None else self.mask[which]
        return dataclasses.replace(self, q=self.q[which], k=self.k[which], v=self.v[which], mask=mask)


def example(
    texts: int = 1,
    heads: tuple[int, int] = (9, 3),
    tokens: int = 1,
    keys: int = 300,
    width: tuple[int, int] = (64, 64),
    kind: GGMLQuantizationType = F16,
    seen: float = 0.8,
) -> Case:
    """Each token sees so many of the keys, by chance, but the last ones of the first text and all of the last key."""
    random = np.random.default_rng(heads[0] * keys + tokens)
    q = random.normal(0, 1.5, (texts, heads[0], tokens, width[0])).astype(np.float32)
    k = random.normal(0.1, 1, (texts, heads[1], keys, width[0])).astype(np.float32)
    v = random.normal(0.2, 1, (texts, heads[1], keys, width[1])).astype(np.float32)
    mask = np.where(random.random((texts, tokens, keys)) < seen, 0, -np.inf).astype(np.float16)
    mask[0, :, keys * 2 // 3 :] = -np.inf  # tiles that nobody sees
    mask[:, :, 0] = 0
    k, v = (dequantize(quantize(x, kind), kind).astype(np.float32) for x in (k, v))
    return Case(q, k, v, mask, kind)


def attend(case: Case, threads: int = 1, every: int = 1) -> np.ndarray:
    """By ggml: [texts, tokens, heads, width]. ``every`` > 1: keys and values lie so far apart in memory."""
    texts, heads, tokens, wide_q = case.q.shape
    _, kv_heads, keys, wide_v = case.v.shape
    shapes = [(wide_q, tokens, heads, texts)] + ([] if case.sinks is None else [(heads,)])
    with tensors(*shapes) as (context, (q, *sinks)):
        held = [
            ggml_h.ggml_new_tensor_4d(context, int(case.kind), width, kv_heads * every, keys, texts)
            for width in (wide_q, wide_v)
        ]
        steps = [x.contents.nb for x in held]
        k, v = (
            ggml_h.ggml_view_4d(context, x, width, keys, kv_heads, texts, nb[2], nb[1], nb[3], 0)
            for x, width, nb in zip(held, (wide_q, wide_v), steps, strict=True)
        )
        mask = None
        if case.mask is not None:
            mask = ggml_h.ggml_new_tensor_4d(context, int(F16), keys, tokens, 1, texts)
        out = ggml_h.ggml_flash_attn_ext(context, q, k, v, mask, case.scale, case.max_bias, case.cap)
        if sinks:
            ggml_h.ggml_flash_attn_ext_add_sinks(out, sinks[0])
        graph = ggml_h.ggml_new_graph(context)
        ggml_h.ggml_build_forward_expand(graph, out)
        cpu = ggml_backend_h.ggml_backend_init_by_type(ggml_backend_h.GGML_BACKEND_DEVICE_TYPE_CPU, None)
        memory = ggml_alloc_h.ggml_backend_alloc_ctx_tensors(context, cpu)
        try:
            write(q, case.q)
            for x, data in zip(held, (case.k, case.v), strict=True):
                spread = np.full((texts, keys, kv_heads * every, data.shape[-1]), 1e4, np.float32)
                spread[:, :, :kv_heads] = data.transpose(0, 2, 1, 3)
                write(x, quantize(spread, case.kind))
            if case.mask is not None:
                write(mask, case.mask)
            if case.sinks is not None:
                write(sinks[0], case.sinks.astype(np.float32))
            ggml_cpu_h.ggml_backend_cpu_set_n_threads(cpu, threads)
            assert ggml_backend_h.ggml_backend_graph_compute(cpu, graph) == ggml_h.GGML_STATUS_SUCCESS
            return read(out, texts * tokens * heads * wide_v * 4).view(np.float32).reshape(texts, tokens, heads, wide_v)
        finally:
            ggml_backend_h.ggml_backend_buffer_free(memory)
            ggml_backend_h.ggml_backend_free(cpu)


def exact(case: Case) -> np.ndarray:
    """The definition, in double precision."""
    heads, group = case.q.shape[1], case.q.shape[1] // case.k.shape[1]
    k, v = (np.repeat(x.astype(np.float64), group, axis=1) for x in (case.k, case.v))
    scores = np.einsum("thqd,thkd->thqk", case.q.astype(np.float64), k) * case.scale
    if case.cap:
        scores = case.cap * np.tanh(scores / case.cap)
    if case.mask is not None:
        power = 2 ** int(np.log2(heads))
        slopes = [
            2 ** (-case.max_bias * (h + 1) / power)
            if h < power
            else 2 ** (-case.max_bias / 2 * (2 * (h - power) + 1) / power)
            for h in range(heads)
        ]
        scores += np.array(slopes)[:, None, None] * case.mask.astype(np.float64)[:, None]
    if case.sinks is not None:
        sinks = np.broadcast_to(case.sinks.astype(np.float64)[None, :, None, None], (*scores.shape[:3], 1))
        scores = np.concatenate([scores, sinks], axis=-1)
    top = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isinf(top), 0, top))
    total = weights.sum(-1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)[..., : k.shape[2]]
    return np.asarray(np.einsum("thqk,thkd->tqhd", weights, v))


def check(case: Case, **how: int) -> None:
    wanted = exact(case)
    for threads in (1, 2, 3):
        np.testing.assert_allclose(attend(case, threads, **how), wanted, rtol=1e-4, atol=5e-6)


@pytest.mark.parametrize("keys", [1, 63, 64, 65, 256, 1100])
@pytest.mark.parametrize("tokens", [1, 2, 15, 16, 17, 70])
def test_it_is_that_of_double_precision(tokens: int, keys: int) -> None:
    check(example(tokens=tokens, keys=keys))


@pytest.mark.parametrize("heads", [(1, 1), (4, 4), (8, 1), (14, 2), (64, 1), (128, 2)])
@pytest.mark.parametrize("tokens", [1, 5])
def test_any_number_of_heads(heads: tuple[int, int], tokens: int) -> None:
    check(example(heads=heads, tokens=tokens, keys=600))


@pytest.mark.parametrize("width", [(16, 16), (80, 80), (128, 128), (256, 256), (192, 128), (576, 512)])
def test_any_width(width: tuple[int, int]) -> None:
    check(example(width=width, tokens=3, keys=200))


@pytest.mark.parametrize("kind", [F16, F32, BF16, Q8_0])
@pytest.mark.parametrize("texts", [1, 4])
def test_any_type_of_cache_and_number_of_texts(kind: GGMLQuantizationType, texts: int) -> None:
    for tokens in (1, 20):
        check(example(kind=kind, texts=texts, tokens=tokens, keys=130))
        check(example(kind=kind, texts=texts, tokens=tokens, keys=130), every=3)


def test_what_sees_nothing_is_zero() -> None:
    case = example(tokens=4, keys=700)
    assert case.mask is not None
    case.mask[0, 2] = -np.inf
    check(case)
    assert not attend(case)[0, 2].any()


def test_without_a_mask() -> None:
    check(dataclasses.replace(example(tokens=7, keys=150), mask=None))


def test_slopes_caps_and_sinks() -> None:
    case = example(heads=(12, 4), tokens=9, keys=530)
    assert case.mask is not None
    distance = np.arange(530) - 529
    sloped = dataclasses.replace(case, mask=(case.mask + distance).astype(np.float16), max_bias=8.0)
    check(sloped)
    check(dataclasses.replace(case, cap=2.0))
    check(dataclasses.replace(case, q=case.q * 40, cap=30.0))
    sinks = np.linspace(-40, 40, 12)
    check(dataclasses.replace(case, sinks=sinks))
    case.mask[:] = -np.inf
    check(dataclasses.replace(case, sinks=sinks))


def test_great_scores() -> None:
    case = example(tokens=3, keys=700)
    check(dataclasses.replace(case, q=case.q * 60))


@pytest.mark.parametrize("texts", [1, 3])
def test_a_token_does_not_depend_on_those_beside_it(texts: int) -> None:
    case = example(texts=texts, tokens=40, keys=1100, seen=0.02)  # tiles that some see
    alone = [attend(case.tokens(slice(i, i + 1))) for i in range(40)]
    for count in (2, 5, 17, 40):
        together = attend(case.tokens(slice(0, count)), threads=2)
        assert together.tobytes() == np.concatenate(alone[:count], axis=1).tobytes()
    for text in range(texts):
        one = attend(case.texts(slice(text, text + 1)), threads=3)
        assert one.tobytes() == np.concatenate(alone, axis=1)[text : text + 1].tobytes()


@pytest.mark.parametrize("hurt", ["k", "v"])
@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_what_is_no_number_stays_with_those_who_see_it(hurt: str, what: float) -> None:
    case = example(tokens=5, keys=200)
    assert case.mask is not None
    case.mask[0, :, 70:80] = -np.inf
    wanted = exact(case)
    case.mask[0, 3, 75] = 0
    getattr(case, hurt)[0, :, 72:77] = what
    with np.errstate(invalid="ignore"):
        got = attend(case, 2)
    assert not np.isfinite(got[0, 3]).all()
    others = [0, 1, 2, 4]
    np.testing.assert_allclose(got[0, others], wanted[0, others], rtol=1e-4, atol=5e-6)


def test_it_makes_no_difference_where_the_keys_lie() -> None:
    case = example(tokens=3, keys=150, seen=1.0)
    assert case.mask is not None
    case.mask[:] = 0
    wanted = attend(case)
    for offset in (1, 37, 64, 200):
        k, v = (np.pad(x, ((0, 0), (0, 0), (offset, 400 - offset - 150), (0, 0))) for x in (case.k, case.v))
        mask = np.pad(case.mask, ((0, 0), (0, 0), (offset, 400 - offset - 150)), constant_values=-np.inf)
        assert attend(dataclasses.replace(case, k=k, v=v, mask=mask)).tobytes() == wanted.tobytes()


def test_with_the_instructions_of_older_processors(tmp_path: Path) -> None:
    """The same with AVX2 alone: most processors have no AVX-512."""
    assert "39 passed" in run_with_avx2(tmp_path, __file__, "double or beside or slopes")


def test_it_can_be_turned_off() -> None:
    code = "from tests.ggml_ops import extra_names; print(extra_names())"
    for value, wanted in (("0", False), ("1", True)):
        environment = {**os.environ, "LLAMA_BIND_ATTENTION": value}
        names = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert ("CPU_ATTENTION" in names) is wanted
