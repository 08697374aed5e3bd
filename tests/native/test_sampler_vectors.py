"""llama.cpp's own sampling tests, read from the vendored tree, over the guarded functions that `Sampler` uses."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from llama_bind.core.model import Model
from llama_bind.core.sampler import Sampler
from llama_bind.core.sampler_native import Candidates, native
from llama_bind.core.vocab import Vocab
from llama_bind.lib._guard import check_guard
from llama_bind.params import ModelParams, SamplingParams
from tests.vectors import LLAMA_CPP, sampling

CASES = sampling.cases()
QUEUES = sampling.queues()
TOLERANCE = 1e-5  # the C test's


@pytest.fixture(scope="module")
def vocab() -> Iterator[Vocab]:
    with Model.load(LLAMA_CPP / "models" / "ggml-vocab-gpt-2.gguf", ModelParams(vocab_only=True)) as model:
        yield model.vocab


def test_the_extractor_finds_all_cases() -> None:
    source = sampling.SOURCE.read_text(encoding="utf-8")
    assert len(CASES) == sum(source.count(f"    test_{kind}({{") for kind in sampling.KINDS) == 41
    assert len(QUEUES) == source.count("    test_sampler_queue(") == 24
    assert {case.kind for case in CASES} == set(sampling.KINDS)


def chain_of(case: sampling.Case, vocab: Vocab) -> list[tuple[str, tuple[Any, ...]]]:
    """The samplers that the C test applies."""
    args, draw = case.args, ("dist", (0,))
    if case.kind in ("temp", "temp_ext", "top_k", "top_n_sigma"):
        return [(case.kind, tuple(args)), draw]
    if case.kind in ("top_p", "min_p"):
        return [(case.kind, (*args, 0)), draw]
    if case.kind == "xtc":
        return [("xtc", (*args, 0, 0))]
    if case.kind == "typical":
        return [("typical", (*args, 0))]
    if case.kind == "penalties":
        return [("penalties", (len(case.probs), len(case.last_tokens), *args)), draw]
    # the C test gives breakers as tokens, the C API as text: these are the texts of the tokens
    texts = [vocab.token_to_piece(breaker[0]) for breaker in args[4]]
    return [("dry", (vocab.ptr, *args[:4], (ctypes.c_char_p * len(texts))(*texts), len(texts))), draw]


@pytest.mark.parametrize("case", CASES, ids=[f"{c.kind}-{i}" for i, c in enumerate(CASES)])
def test_probabilities(case: sampling.Case, vocab: Vocab) -> None:
    functions = native()
    candidates = Candidates(len(case.probs))
    with np.errstate(divide="ignore"):
        candidates.fill(np.log(np.array(case.probs, np.float32)))
    for name, args in chain_of(case, vocab):
        sampler = functions.init[name](*args)
        assert sampler
        for token in case.last_tokens if name in ("penalties", "dry") else []:
            functions.accept(sampler, token)
        functions.apply(sampler, candidates.address)
        check_guard()
        functions.free(sampler)
    left = candidates.left()["p"]
    assert len(left) == len(case.expected)
    assert left == pytest.approx(np.array(case.expected), abs=TOLERANCE)


OPTION = {
    "temp": ("temperature",),
    "temp_ext": ("temperature", "dynatemp_range", "dynatemp_exponent"),
    "top_k": ("top_k",),
    "top_p": ("top_p",),
    "min_p": ("min_p",),
    "xtc": ("xtc_probability", "xtc_threshold"),
    "typical": ("typical_p",),
    "penalties": ("repeat_penalty", "frequency_penalty", "presence_penalty"),
    "dry": ("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n"),
    "top_n_sigma": ("top_n_sigma",),
}
NAME = {"temp": "temperature", "temp_ext": "temperature", "typical": "typical_p"}


@pytest.mark.parametrize("case", CASES, ids=[f"{c.kind}-{i}" for i, c in enumerate(CASES)])
def test_probabilities_by_options(case: sampling.Case, vocab: Vocab) -> None:
    """The same through `Sampler`: the distribution at the start of a real vocabulary, the rest impossible."""
    values = dict(zip(OPTION[case.kind], case.args, strict=False))
    if case.kind == "min_p" and values["min_p"] > 1:
        values["min_p"] = 1.0  # the option's limit, and the same effect
    if case.kind == "penalties":
        values["penalty_last_n"] = len(case.last_tokens)
    if case.kind == "dry":
        values["dry_sequence_breakers"] = [vocab.token_to_piece(b[0]).decode() for b in case.args[4]]
    values.setdefault("temperature", 1.0)
    samplers = [NAME.get(case.kind, case.kind)]
    if case.kind == "typical":  # llama.cpp's entropy is not a number where a token is impossible
        samplers.insert(0, "top_k")
        values["top_k"] = len(case.probs)
    params = SamplingParams(**values, samplers=samplers)
    logits = np.full(vocab.n_tokens, -np.inf, np.float32)
    logits[: len(case.probs)] = np.log(np.array(case.probs, np.float32))
    with Sampler.create(vocab, params, n_ctx=64, seed=0) as sampler:
        sampler.accept_prompt(case.last_tokens)
        probs = sampler.probs(logits)
        token = sampler.sample_array(logits)
    assert probs[len(case.probs) :].max() == 0
    expected = np.array(case.expected)
    if case.kind in ("penalties", "dry"):
        assert probs[: len(expected)] == pytest.approx(expected, abs=TOLERANCE)
    else:  # the C test tells only what is left; after the final draw that adds up to one
        got = np.sort(probs[: len(case.probs)])[-len(expected) :]
        assert got == pytest.approx(np.sort(expected / expected.sum()), abs=2e-5)
    assert probs[token] > 0


def left_after(queue: sampling.Queue) -> Iterator[tuple[str, npt.NDArray[Any], bool]]:
    functions = native()
    candidates = Candidates(queue.n_vocab)
    with np.errstate(divide="ignore"):
        candidates.fill(np.log(np.arange(queue.n_vocab, dtype=np.float32)))
    for letter in queue.samplers:
        name, args = {
            "k": ("top_k", (queue.top_k,)),
            "p": ("top_p", (queue.top_p, 1)),
            "m": ("min_p", (queue.min_p, 1)),
        }[letter]
        for sampler in (functions.init[name](*args), functions.init["dist"](0)):
            functions.apply(sampler, candidates.address)
            check_guard()
            functions.free(sampler)
        yield letter, candidates.left(), candidates.is_sorted()


@pytest.mark.parametrize("queue", QUEUES, ids=lambda q: f"{q.samplers}-{q.top_k}-{q.top_p:.4g}-{q.min_p:.4g}")
def test_queue(queue: sampling.Queue) -> None:
    """What is left is the expected number of tokens, from the highest id down (the C test's arithmetic)."""
    n, lowest, size = queue.n_vocab, 0, queue.n_vocab
    for letter, left, is_sorted in left_after(queue):
        if letter == "k":
            size = min(size, queue.top_k)
            lowest = max(lowest, n - queue.top_k)
            assert is_sorted
        elif letter == "p":
            total = n * (n - 1) // 2 - lowest * (lowest - 1) // 2
            target = math.ceil(np.float32(queue.top_p) * np.float32(total))
            lowest, size, running = n, 0, 0
            while size == 0 or running < target:
                lowest, size = lowest - 1, size + 1
                running += lowest
            if lowest == 1:  # token 0 has probability 0
                lowest, size = 0, size + 1
        else:
            share = np.float32(queue.min_p)
            size = min(max(math.ceil((np.float32(1) - share) * np.float32(n)), 1), len(left))
            lowest = min(max(math.floor(share * np.float32(n)), 1, n - len(left)), n - 1)
        assert len(left) == size
        if is_sorted:
            assert (left["id"][0], left["id"][-1]) == (n - 1, lowest)


def test_a_single_candidate_draws_too() -> None:
    """test_dist_singleton_rng: the random state advances by one draw, whatever the number of candidates."""
    functions = native()
    singleton, control = functions.init["dist"](4242), functions.init["dist"](4242)
    try:
        for sampler, count in ((singleton, 1), (control, 2)):
            few = Candidates(count)
            few.fill(np.zeros(count, np.float32))
            functions.apply(sampler, few.address)
        many = Candidates(256)
        for _ in range(4):
            drawn = []
            for sampler in (singleton, control):
                many.fill(np.zeros(256, np.float32))
                functions.apply(sampler, many.address)
                drawn.append(many.selected())
            assert drawn[0] == drawn[1]
    finally:
        functions.free(singleton)
        functions.free(control)
