"""Embeddings with the default model, pooled as mean: 64 texts of about 50 tokens (`embed-short`) and 8 of about 1500
(`embed-long`), beside llama-server's /v1/embeddings.

Ours: one `Llama` and one call of `create_embedding` with all texts. Theirs: one request with all texts to llama-server
with ``--embeddings --pooling mean``, 8 slots, and micro-batches large enough for the longest text, which it needs as it
pools within one; and with ``--kv-unified``, as without it texts of different lengths are divided between micro-batches
and their means are wrong. Both normalize and get the vectors as floats, theirs through JSON and loopback. The value is
texts per second; the first round warms up. Both sides show the cosine of their first two texts, which must agree.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.registry import Benchmark, Measurement, Settings

__all__ = ["BENCHMARKS"]

SHORT = (64, 44)
LONG = (8, 1340)
"""Texts, and words in each."""
SLOTS = 8
MICRO_BATCH = 2048
TIMEOUT = 240.0
Ask = Callable[[list[str]], Any]
"""Texts to an answer in OpenAI's shape."""


def texts(count: int, words: int, seed: int) -> list[str]:
    """`count` texts of `words` words, all different."""
    from benchmarks.prompts import shared_prefix_texts

    return [shared_prefix_texts(1, words, 1000 * seed + i)[0].split("\n", 1)[0] for i in range(count)]


def measure(ask: Ask, settings: Settings, size: tuple[int, int]) -> Measurement:
    """Rounds of other texts each."""
    walls: list[float] = []
    for seed in range(settings.inner + 1):
        given = texts(*size, seed)
        start = time.perf_counter()
        answer = ask(given)
        walls.append(time.perf_counter() - start)
    vectors = np.array([entry["embedding"] for entry in answer["data"]])
    if len(vectors) != size[0] or not np.isfinite(vectors).all():
        raise RuntimeError(f"not the work that was asked for: {vectors.shape}")
    n_tokens = float(answer["usage"]["prompt_tokens"])
    cosine = float(vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1]))
    wall = statistics.median(walls[1:])
    extras = {"tokens/s": n_tokens / walls[-1], "tokens a text": n_tokens / size[0], "cosine of two texts": cosine}
    return Measurement(size[0] / wall, extras)


def ours(settings: Settings, size: tuple[int, int]) -> Measurement:
    from benchmarks.cases.sides import open_llama
    from benchmarks.raw import cpu_variant

    with open_llama(settings, embedding=True, pooling_type="mean", n_seq_max=SLOTS, n_ctx=2048) as llm:

        def ask(given: list[str]) -> Any:
            return llm.create_embedding(given, normalize=True)

        measured = measure(ask, settings, size)
        return dataclasses.replace(measured, notes={"cpu backend": cpu_variant()})


def server(settings: Settings, size: tuple[int, int]) -> Measurement:
    from benchmarks.server import LlamaServer

    flags = ("--embeddings", "--pooling", "mean", "-np", str(SLOTS), "-c", str(SLOTS * 2048), "--kv-unified")
    with LlamaServer(dataclasses.replace(settings, n_ubatch=MICRO_BATCH), *flags) as running:

        def ask(given: list[str]) -> Any:
            connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=TIMEOUT)
            try:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/v1/embeddings", json.dumps({"input": given}), headers)
                response = connection.getresponse()
                text = response.read().decode()
                if response.status != 200:
                    raise RuntimeError(f"{response.status} {text[:300]}")
                return json.loads(text)
            finally:
                connection.close()

        measured = measure(ask, settings, size)
    return dataclasses.replace(measured, notes={"cpu backend": running.variant})


def _benchmark(name: str, size: tuple[int, int], tokens: int) -> Benchmark:
    return Benchmark(
        name,
        f"Llama, embeddings of {size[0]} texts of {tokens} tokens, mean; llama-server",
        "texts/s",
        lambda settings: ours(settings, size),
        lambda settings: server(settings, size),
    )


BENCHMARKS = (_benchmark("embed-short", SHORT, 50), _benchmark("embed-long", LONG, 1500))
