"""The engine on the default model: sharing, texts apart from others, deadlines, a cache that outlives the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_bind import Llama
from llama_bind.hub import resolve_model

DOCUMENT = "The lighthouse stands on a rock in the north of the bay. It was built by two brothers long ago. " * 12
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 16}


def text_of(result: Any) -> str:
    return str(result["choices"][0]["text"])


def cached(result: Any) -> int:
    return int(result["usage"]["prompt_tokens_details"]["cached_tokens"])


@pytest.fixture(scope="module")
def llm() -> Iterator[Llama]:
    with Llama(resolve_model("smollm2-135m-instruct"), n_ctx=1024, n_seq_max=4, kv_unified=False, n_threads=1) as made:
        yield made


def test_one_document_and_many_questions_is_computed_once(llm: Llama) -> None:
    llm.reset()
    before = llm.stats.prompt_tokens
    results: dict[int, Any] = {}

    def ask(i: int) -> None:
        results[i] = llm(f"{DOCUMENT}\nQuestion {i}: who built the lighthouse?", **GREEDY)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    n = len(llm.tokenize(DOCUMENT.encode()))
    assert sorted(cached(r) >= n - 2 for r in results.values()) == [False] + [True] * 7
    assert llm.stats.prompt_tokens - before < n + 8 * 20


def test_a_reproducible_text_does_not_depend_on_what_else_runs(llm: Llama) -> None:
    options: dict[str, Any] = {"seed": 11, "temperature": 1.0, "max_tokens": 24, "reproducible": True}
    want = text_of(llm(DOCUMENT[:400], **options))
    streams = [llm("Once upon a time", max_tokens=200, ignore_eos=True, stream=True) for _ in range(3)]
    for stream in streams:
        next(stream)
    assert text_of(llm(DOCUMENT[:400], **options)) == want
    for stream in streams:
        stream.close()
    llm.reset()
    assert text_of(llm(DOCUMENT[:400], **options)) == want


def test_a_deadline_stops_a_long_prompt(llm: Llama) -> None:
    started = time.perf_counter()
    result = llm("word " * 900, max_tokens=1, timeout=0.1)
    assert result["choices"][0]["finish_reason"] == "deadline"
    assert time.perf_counter() - started < 5.0
    assert text_of(llm("One, two, three,", **GREEDY))


def test_files_of_an_earlier_object_save_computing(tmp_path: Path) -> None:
    path = resolve_model("smollm2-135m-instruct")
    options: dict[str, Any] = {"n_ctx": 1024, "n_threads": 1, "cache_dir": str(tmp_path)}
    with Llama(path, **options) as first:
        want = text_of(first(DOCUMENT, **GREEDY))
    with Llama(path, **options) as second:
        result = second(DOCUMENT, **GREEDY)
        assert text_of(result) == want
        assert cached(result) > 100
        assert second.stats.disk_hits == 1
