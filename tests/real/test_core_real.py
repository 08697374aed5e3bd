"""The default model, where size and speed are real."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.model import Model
from llama_bind.errors import DecodeAbortedError
from llama_bind.params import ContextParams, ModelParams

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    with Model.load(cache / "llama_bind" / NAME) as loaded:
        yield loaded


def test_greedy_text(model: Model) -> None:
    context = Context.create(model, ContextParams(n_ctx=256))
    vocab = model.vocab
    tokens = vocab.tokenize("The capital of France is")
    batch = Batch(64)
    batch.extend(tokens, 0, output_last=True)
    answer = []
    for pos in range(len(tokens), len(tokens) + 4):
        context.decode(batch)
        answer.append(int(context.logits().argmax()))
        batch.clear()
        batch.append(answer[-1], pos, output=True)
    assert vocab.detokenize(answer).decode().startswith(" Paris")


def log_probabilities(path: Path, text: str, use_extra_bufts: bool) -> np.ndarray:
    """Of every token after each one of the text: (tokens, vocabulary)."""
    with Model.load(path, ModelParams(use_extra_bufts=use_extra_bufts)) as model:
        context = Context.create(model, ContextParams(n_ctx=512, n_threads=1))
        tokens = model.vocab.tokenize(text)
        batch = Batch(512)
        for pos, token in enumerate(tokens):
            batch.append(token, pos, output=True)
        context.decode(batch)
        logits = np.stack([context.logits(i) for i in range(len(tokens))]).astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))


def test_our_layout_of_weights_and_ggmls_give_the_same_probabilities(model: Model) -> None:
    text = Path(__file__).read_text()[:1200]
    ours, theirs = (log_probabilities(Path(model.path), text, extra) for extra in (True, False))
    # Either is 0.004 from the model in 32-bit floats: activations are rounded to 8 bits in both.
    divergence = (np.exp(theirs) * (theirs - ours)).sum(-1)
    assert divergence.mean() < 0.01
    assert divergence.max() < 0.2
    assert (ours.argmax(-1) == theirs.argmax(-1)).mean() > 0.93


def test_default_context_fits_an_ordinary_chat(model: Model) -> None:
    context = Context.create(model)
    assert 512 <= context.n_ctx <= 8192
    assert context.n_threads >= 1


def test_abort_in_the_middle_of_a_prompt(model: Model) -> None:
    context = Context.create(model, ContextParams(n_ctx=4096, n_batch=4096, n_ubatch=4096))
    batch = Batch(4096)
    batch.extend([5] * 4000, 0, output_last=True)
    timer = threading.Timer(0.2, context.request_abort)
    timer.start()
    with pytest.raises(DecodeAbortedError):
        context.decode(batch)
    asked = time.monotonic()
    timer.join()
    assert time.monotonic() - asked < 2
    context.clear_abort()
    context.memory.clear()
    batch.clear()
    batch.append(5, 0, output=True)
    context.decode(batch)
    assert np.isfinite(context.logits()).all()


def test_python_around_a_decode_step_is_a_few_microseconds(model: Model) -> None:
    """Everything but the native calls: filling, checking, taking the right to call, and finding the logits."""
    context = Context.create(model, ContextParams(n_ctx=256))
    batch = Batch(8)
    batch.append(5, 0, output=True)
    context.decode(batch)
    context.logits()
    best = float("inf")
    gc.disable()
    try:
        for _ in range(30):
            start = time.perf_counter()
            for _ in range(100):
                batch.clear()
                batch.append(5, 1, output=True)
                context._check(batch)
                with context._use():
                    pass
                context.logits(-1)
            best = min(best, (time.perf_counter() - start) / 100)
    finally:
        gc.enable()
    assert best < 30e-6
