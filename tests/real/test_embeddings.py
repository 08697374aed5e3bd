"""Embeddings of the default model: llama.cpp's own numbers, and texts longer than a batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from llama_bind import Llama
from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.hub import resolve_model
from llama_bind.params import ContextParams

SHORT = ["The cat sat on the mat.", "A dog ran over the field, and nobody knew why.", "Bread is baked from flour."]
LONG = " ".join(SHORT * 10)
THREADS = 1


@pytest.fixture(scope="module")
def llm() -> Iterator[Llama]:
    path = resolve_model("smollm2-135m-instruct")
    with Llama(path, embedding=True, n_ctx=512, n_seq_max=4, n_ubatch=64, n_threads=THREADS) as loaded:
        yield loaded


def native(llm: Llama, tokens: list[int], pooling: str) -> Any:
    n = len(tokens)
    params = ContextParams(
        embedding=True, pooling_type=pooling, n_ctx=512, n_batch=512, n_ubatch=512, n_threads=THREADS
    )
    context = Context.create(llm.model, params)
    batch = Batch(n)
    batch.extend(tokens, 0)
    batch.logits[:n] = 1
    context.decode(batch)
    vector = context.embeddings_seq(0)
    context.close()
    return vector


def cosine(a: Any, b: Any) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_mean_is_llama_cpps(llm: Llama) -> None:
    for text, vector in zip(SHORT, llm.embed(SHORT), strict=True):
        want = native(llm, llm.tokenize(text, special=True), "mean")
        np.testing.assert_allclose(vector, want, rtol=0.05, atol=0.05 * float(np.abs(want).max()))
        assert cosine(vector, want) > 0.999


def test_a_text_in_many_batches_is_the_same_text(llm: Llama) -> None:
    tokens = llm.tokenize(LONG, special=True)
    assert 3 * 64 < len(tokens) <= 512
    assert cosine(llm.embed(LONG), native(llm, tokens, "mean")) > 0.999


def test_texts_and_a_completion_at_once_change_nothing(llm: Llama) -> None:
    want = llm.embed([*SHORT, LONG])
    said = llm("The capital of France is", max_tokens=12, temperature=0)["choices"][0]["text"]
    texts: list[str] = []

    def write() -> None:
        for _ in range(2):
            texts.append(llm("The capital of France is", max_tokens=12, temperature=0)["choices"][0]["text"])

    thread = threading.Thread(target=write)
    thread.start()
    got = llm.embed([*SHORT, LONG])
    thread.join(120)
    assert texts == [said] * 2
    assert "Paris" in said
    for a, b in zip(got, want, strict=True):
        assert cosine(a, b) > 0.999
