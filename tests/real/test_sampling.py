"""Sampling from real text: the short way through a chain gives what the whole chain gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.model import Model
from llama_bind.core.sampler import Sampler
from llama_bind.hub.named import resolve_model
from llama_bind.params import ContextParams, ModelParams, SamplingParams

TEXT = (
    "The harbour lay quiet in the early morning, and only the gulls were awake. A fisherman mended his net; he counted "
    '1, 2, 3, 4 and smiled. "Bring me the blue rope," he said to his daughter, who ran along the pier:\n\n'
    "def length(rope):\n    return rope.end - rope.start\n\nNobody else was there, and nobody else was needed."
)


@pytest.fixture(scope="module")
def decoded() -> Iterator[tuple[Context, list[int]]]:
    with Model.load(resolve_model("smollm2-135m-instruct"), ModelParams()) as model:
        context = Context.create(model, ContextParams(n_ctx=256, n_threads=1, n_threads_batch=1))
        tokens = model.vocab.tokenize(TEXT)
        batch = Batch(len(tokens))
        batch.extend(tokens, 0, 0)
        batch.logits[:] = 1
        context.decode(batch)
        yield context, tokens


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.5, "min_p": 0.0},
        {"top_k": 200, "top_p": 1.0, "min_p": 0.0, "temperature": 2.0},
        {"repeat_penalty": 1.1},
        {"frequency_penalty": 0.4, "presence_penalty": 0.3, "penalty_last_n": 200, "ignore_eos": True},
        {"temperature": 0.0, "repeat_penalty": 1.2},
        {"temperature": 0.0, "logit_bias": {28: 5.0, 30: -5.0}},
        {"xtc_probability": 0.5, "typical_p": 0.9, "dynatemp_range": 0.4},
    ],
    ids=str,
)
def test_the_short_way_on_real_logits(decoded: tuple[Context, list[int]], options: dict[str, Any]) -> None:
    context, tokens = decoded
    params = SamplingParams(**options)
    drawn: set[int] = set()
    for seed in range(12):
        fast, whole = (Sampler.create(context.model.vocab, params, n_ctx=256, seed=seed) for _ in range(2))
        assert fast._struct.top_k != 0
        whole._struct.top_k = 0
        for i, token in enumerate(tokens):
            found = fast.sample(context, i)
            assert found == whole.sample(context, i)
            drawn.add(found)
            for sampler in (fast, whole):  # so that penalties see the text, too
                sampler.accept(token)
        fast.close()
        whole.close()
    assert len(drawn) > 20
