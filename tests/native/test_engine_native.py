"""The engine's memory on real contexts: sharing, checkpoints, shifting, running out of cells, apart from others."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from llama_bind import Llama
from llama_bind.core.layout import DEFAULT_N_SEQ_MAX
from llama_bind.engine.keeper import CHECKPOINT_BYTES
from llama_bind.errors import ContextOverflowError, UnsupportedError
from tests.llamas import tiny

GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 24}
LONG = "the world in an hour of the hello world and so on, " * 6


def text_of(result: Any) -> str:
    return str(result["choices"][0]["text"])


def at_once(llm: Llama, prompts: list[str], **options: Any) -> list[Any]:
    results: dict[int, Any] = {}

    def call(i: int) -> None:
        results[i] = llm(prompts[i], **{**GREEDY, **options})

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [results[i] for i in range(len(prompts))]


LAYOUTS = [{"kv_unified": False, "n_seq_max": 4}, {"kv_unified": True, "n_seq_max": 4}, {"n_seq_max": 1}]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["apart", "unified", "one"])
def test_prompts_that_begin_alike_give_the_same_texts_as_alone(layout: dict[str, Any]) -> None:
    prompts = [f"{LONG}{i} hello" for i in range(9)]
    with tiny(n_ctx=1024, file={"n_ctx_train": 2048}, **layout) as llm:
        want = []
        for prompt in prompts:
            llm.reset()
            want.append(text_of(llm(prompt, **GREEDY)))
        llm.reset()
        before = llm.engine.stats.prompt_tokens
        results = at_once(llm, prompts)
        assert [text_of(r) for r in results] == want
        n_prompt = results[0]["usage"]["prompt_tokens"]
        computed = llm.engine.stats.prompt_tokens - before
        assert computed < n_prompt + 9 * 40, "the beginning was computed once"


@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_a_cache_in_host_memory_gives_back_what_slots_lost(kind: str) -> None:
    prompts = [f"{i} {LONG}" for i in range(4)]
    with tiny(kind, n_ctx=1024, n_seq_max=1, cache_ram_bytes=1 << 28, file={"n_ctx_train": 2048}) as llm:
        first = [text_of(llm(p, **GREEDY)) for p in prompts]
        again: list[Any] = [llm(p, **GREEDY) for p in prompts]
        assert [text_of(r) for r in again] == first
        assert all(r["usage"]["prompt_tokens_details"]["cached_tokens"] > 100 for r in again[:3])


def test_memory_that_cannot_be_cut_shares_a_system_prompt_through_checkpoints() -> None:
    assert CHECKPOINT_BYTES > 0
    prompts = [f"{LONG}{i} hello" for i in range(5)]
    with tiny("mamba", n_ctx=1024, n_seq_max=2, file={"n_ctx_train": 2048}) as llm:
        results: list[Any] = [llm(p, **GREEDY) for p in prompts]
        cached = [r["usage"]["prompt_tokens_details"]["cached_tokens"] for r in results]
        assert cached[:2] == [0, 0]
        assert min(cached[2:]) > 100
        with tiny("mamba", n_ctx=1024, n_seq_max=1, file={"n_ctx_train": 2048}) as other:
            assert [text_of(other(p, **GREEDY)) for p in reversed(prompts)] == [text_of(r) for r in reversed(results)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["apart", "unified", "one"])
def test_a_text_that_shifts_is_longer_than_the_context(layout: dict[str, Any]) -> None:
    with tiny(n_ctx=256, **layout) as llm:
        result: Any = llm("Hello", temperature=0.0, max_tokens=700, context_overflow="shift", n_keep=4)
        assert result["usage"]["completion_tokens"] == 700
        assert llm("Hello", temperature=0.0, max_tokens=700)["choices"][0]["finish_reason"] == "length"


def test_overflow_of_the_prompt() -> None:
    with tiny(n_ctx=256) as llm:
        prompt = list(range(10, 40)) * 20
        with pytest.raises(ContextOverflowError):
            llm(prompt)
        assert llm(prompt, context_overflow="stop")["choices"][0] == {
            "text": "",
            "index": 0,
            "logprobs": None,
            "finish_reason": "length",
        }
        for policy in ("truncate", "shift"):
            result: Any = llm(prompt, context_overflow=policy, max_tokens=40, temperature=0.0)
            assert result["usage"]["prompt_tokens"] <= 256
            assert result["usage"]["completion_tokens"] == 40


def assert_same_unless_tied(result: Any, alone: Any) -> None:
    """The tokens are equal, or part where the model finds two as good as equally likely: rounding depends on what is
    computed together."""
    got, want = result["choices"][0]["logprobs"], alone["choices"][0]["logprobs"]
    for token, expected, likely in zip(got["tokens"], want["tokens"], want["top_logprobs"], strict=True):
        if token != expected:
            assert likely[expected] - likely.get(token, -99.0) < 0.1
            return


def test_more_than_the_cells_hold_all_finish_with_the_right_texts() -> None:
    prompts = [f"{i} the hello world in an hour {i}" for i in range(12)]
    options: dict[str, Any] = {**GREEDY, "max_tokens": 60, "logprobs": 5}
    with tiny(n_ctx=256, kv_unified=True, n_seq_max=12) as llm, tiny(n_ctx=256, n_seq_max=1) as alone:
        results = at_once(llm, prompts, **options)
        for prompt, result in zip(prompts, results, strict=True):
            assert result["usage"]["completion_tokens"] == 60
            assert_same_unless_tied(result, alone(prompt, **options))
        assert llm.engine.stats.failed == 0
        assert llm.engine.stats.preemptions > 0


def test_reproducible_texts_do_not_depend_on_what_else_runs() -> None:
    options: dict[str, Any] = {"reproducible": True, "temperature": 1.0, "seed": 5, "max_tokens": 40}
    with tiny(n_ctx=512, kv_unified=False, n_seq_max=4) as llm:
        want = text_of(llm(LONG, **options))
        stop = threading.Event()

        def others() -> None:
            while not stop.is_set():
                llm(LONG[:100], temperature=1.0, max_tokens=10)

        threads = [threading.Thread(target=others) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            assert {text_of(llm(LONG, **options)) for _ in range(5)} == {want}
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
    with tiny(kv_unified=True, n_seq_max=2) as llm, pytest.raises(UnsupportedError, match="kv_unified=False"):
        llm("Hello", reproducible=True)


def test_the_layout_follows_what_is_asked_for() -> None:
    with tiny(n_ctx=512) as llm:
        stats = llm.engine.stats
        assert (llm.n_ctx(), stats.cells_total) == (512, 512), "several texts share the context of one"
        assert DEFAULT_N_SEQ_MAX == 4
    with tiny(n_ctx=512, n_seq_max=3) as llm:
        assert (llm.n_ctx(), llm.engine.stats.cells_total) == (512, 1536), "little memory: each has its own"
    with tiny(n_ctx=512, n_seq_max=3, kv_unified=True) as llm:
        assert (llm.n_ctx(), llm.engine.stats.cells_total) == (512, 512)


def test_log_probabilities_of_a_prompt_come_once_though_it_is_computed_again() -> None:
    options: dict[str, Any] = {"echo": True, "logprobs": 1, "temperature": 0.0, "max_tokens": 60}
    prompts = [f"{i} the hello world in an hour {i}" for i in range(10)]
    with tiny(n_ctx=256, kv_unified=True, n_seq_max=10) as llm:
        results = at_once(llm, prompts, **options)
        assert llm.engine.stats.preemptions > 0
        for prompt, result in zip(prompts, results, strict=True):
            logprobs = result["choices"][0]["logprobs"]
            assert len(logprobs["tokens"]) == len(llm.tokenize(prompt.encode())) + 60
            assert logprobs["token_logprobs"].count(None) == 1
