"""`Llama` and `AsyncLlama` with the engine in a process of its own: the same results, and crashes that end little."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_bind import AsyncLlama, Llama
from llama_bind.engine.process import EngineProcess
from llama_bind.errors import (
    ClosedError,
    ContextError,
    ContextOverflowError,
    EngineCrashedError,
    InputError,
    LlamaBindError,
    ModelFormatError,
    ModelNotFoundError,
    StateError,
    UnsupportedError,
)
from tests.core_helpers import model_file
from tests.llamas import tiny

GREEDY: dict[str, Any] = {"temperature": 0.0}
SECONDS = 30
N_CTX = 16384
LONG = 15_000
"""Tokens of a text that is still being written when a test ends it, however busy the machine."""


def of_two(**options: Any) -> Llama:
    return tiny(n_seq_max=2, n_ctx=N_CTX, file={"n_ctx_train": N_CTX}, **options)


@pytest.fixture(scope="module")
def far() -> Iterator[Llama]:
    """One that tests may crash but do not close."""
    with of_two(engine_process=True) as llm:
        yield llm


@functools.cache
def near() -> Llama:
    return of_two()


def engine_of(llm: Llama | AsyncLlama) -> EngineProcess:
    engine = llm.engine
    assert isinstance(engine, EngineProcess)
    return engine


def pid_of(llm: Llama | AsyncLlama) -> int:
    end = time.monotonic() + SECONDS
    while (pid := engine_of(llm).process_id) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    return pid


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def text_of(result: Any) -> str:
    text: str = result["choices"][0]["text"]
    return text


def only_even(_ids: Any, scores: Any) -> Any:
    """A logits processor that the other process can import."""
    scores[1::2] = -np.inf
    return scores


def after_three(ids: Any, _scores: Any) -> bool:
    return len(ids) >= 5


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"logprobs": 2},
        {"echo": True, "logprobs": 1},
        {"n": 2},
        {"seed": 7, "temperature": 1.0},
        {"grammar": 'root ::= [a-c]+'},
        {"logits_processor": only_even},
        {"stop": ["a"], "logit_bias": {5: 2.0}},
        {"min_tokens": 3, "bad_words": ["b"]},
    ],
    ids=lambda options: ",".join(options) or "plain",
)  # fmt: skip
def test_the_same_completions(far: Llama, options: dict[str, Any]) -> None:
    given = {**GREEDY, "max_tokens": 6, "seed": 1, **options}
    assert far("Hello", **given)["choices"] == near()("Hello", **given)["choices"]


def test_streams_chats_and_lists(far: Llama) -> None:
    chunks = list(far("Hello", max_tokens=6, stream=True, **GREEDY))
    assert "".join(text_of(chunk) for chunk in chunks) == text_of(near()("Hello", max_tokens=6, **GREEDY))
    messages = [{"role": "user", "content": "Hi"}]
    answers = [llm.create_chat_completion(messages, max_tokens=5, **GREEDY) for llm in (far, near())]
    assert answers[0]["choices"] == answers[1]["choices"]
    prompts = [f"Text {i}" for i in range(6)]
    assert [text_of(r) for r in far.generate_many(prompts, max_tokens=4, **GREEDY)] == [
        text_of(near()(prompt, max_tokens=4, **GREEDY)) for prompt in prompts
    ]


def test_what_is_known_of_the_model(far: Llama) -> None:
    other = near()
    assert (far.n_ctx(), far.n_vocab(), far.n_embd()) == (other.n_ctx(), other.n_vocab(), other.n_embd())
    assert far.metadata == other.metadata
    assert far.model.facts() == other.model.facts()
    assert far.tokenize("Hello world") == other.tokenize("Hello world")
    assert far.model.params.vocab_only


def test_embeddings() -> None:
    with tiny("bert", engine_process=True, embedding=True) as far:
        there, here = far.embed(["one text", "another"]), tiny("bert", embedding=True).embed(["one text", "another"])
        for a, b in zip(there, here, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_states_cross(far: Llama) -> None:
    far("Hello there", max_tokens=4, **GREEDY)
    state = far.save_state()
    far.reset()
    far.load_state(state)
    usage = far("Hello there", max_tokens=4, **GREEDY)["usage"]
    assert usage is not None
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0
    with pytest.raises(StateError):
        far.load_state(type(state)(state.tokens, b"nonsense"))


def test_a_stopping_criterion_of_a_module_runs_there(far: Llama) -> None:
    result = far([5, 6], max_tokens=20, stopping_criteria=after_three, **GREEDY)
    assert result["usage"] is not None
    assert result["usage"]["completion_tokens"] <= 4


def test_functions_that_cannot_cross_are_refused(far: Llama) -> None:
    with pytest.raises(UnsupportedError, match="engine_process"):
        far("Hello", logits_processor=lambda _ids, scores: scores)
    with pytest.raises(InputError, match="abort_callback"):
        tiny(engine_process=True, abort_callback=lambda: False)


def test_errors_of_loading_are_the_same(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(model_file("llama").read_bytes()[:-20_000])
    cases: list[tuple[type[LlamaBindError], Any, dict[str, Any]]] = [
        (ModelNotFoundError, "nowhere.gguf", {}),
        (ModelFormatError, damaged, {}),
        (ContextError, model_file("llama"), {"type_v": "q8_0", "flash_attn": False}),
        (ModelNotFoundError, model_file("llama"), {"lora_path": "nowhere.gguf"}),
    ]
    for kind, path, options in cases:
        messages = []
        for engine_process in (False, True):
            with pytest.raises(kind) as caught:
                Llama(path, engine_process=engine_process, n_ctx=256, n_threads=1, **options)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


def test_progress_of_loading_is_told() -> None:
    shares: list[float] = []
    tiny(engine_process=True, progress_callback=shares.append).close()
    assert shares[-1] == 1.0


def test_a_prompt_that_does_not_fit(far: Llama) -> None:
    with pytest.raises(ContextOverflowError):
        far([5] * (N_CTX + 500))


def test_pickled_like_any_other(far: Llama) -> None:
    with pickle.loads(pickle.dumps(far)) as copy:
        assert text_of(copy("Hello", max_tokens=3, **GREEDY)) == text_of(far("Hello", max_tokens=3, **GREEDY))
        assert pid_of(copy) != pid_of(far)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_killed_under_load(far: Llama, number: signal.Signals) -> None:
    expected = {f"Text {i}": text_of(near()(f"Text {i}", max_tokens=4, **GREEDY)) for i in range(12)}
    streams = [far(f"Story {i}", max_tokens=LONG, stream=True, ignore_eos=True) for i in range(2)]
    for stream in streams:
        next(stream)  # both sequences run
    got: dict[str, str] = {}

    def ask(prompt: str) -> None:
        got[prompt] = text_of(far(prompt, max_tokens=4, **GREEDY))

    threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in expected]
    for thread in threads:
        thread.start()
    while engine_of(far)._supervisor.unfinished < 14:
        time.sleep(0.005)
    os.kill(pid_of(far), number)
    for stream in streams:
        # Writing down where an abort happened may itself crash.
        names = "SIGABRT|SIGSEGV" if number == signal.SIGABRT else number.name
        with pytest.raises(EngineCrashedError, match=names):
            list(stream)
    for thread in threads:
        thread.join(SECONDS)
    assert got == expected


def test_async_calls_and_crashes(far: Llama) -> None:
    async def scenario() -> list[str]:
        llm = AsyncLlama.of(far)
        stream = await llm("Story", max_tokens=LONG, stream=True, ignore_eos=True)
        other = await llm("Another", max_tokens=LONG, stream=True, ignore_eos=True)
        await anext(stream)
        await anext(other)
        waiting = [asyncio.create_task(llm(f"Text {i}", max_tokens=4, **GREEDY)) for i in range(20)]
        while engine_of(llm)._supervisor.unfinished < 22:
            await asyncio.sleep(0.005)
        os.kill(pid_of(llm), signal.SIGKILL)
        for one in (stream, other):
            with pytest.raises(EngineCrashedError):
                async for _ in one:
                    pass
        return [text_of(result) for result in await asyncio.gather(*waiting)]

    texts = asyncio.run(asyncio.wait_for(scenario(), SECONDS))
    assert texts == [text_of(near()(f"Text {i}", max_tokens=4, **GREEDY)) for i in range(20)]


def test_closing_a_stream_cancels_there(far: Llama) -> None:
    stream = far("Story", max_tokens=LONG, stream=True, ignore_eos=True)
    next(stream)
    cancelled = far.engine.stats.cancelled
    stream.close()
    end = time.monotonic() + SECONDS
    while far.engine.stats.cancelled == cancelled:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_close_and_drop_end_the_process() -> None:
    llm = tiny(engine_process=True)
    pid = pid_of(llm)
    llm.close()
    llm.close()
    assert is_gone(pid)
    with pytest.raises(ClosedError):
        llm("Hello")
    llm = tiny(engine_process=True)
    pid, thread = pid_of(llm), engine_of(llm)._supervisor.thread
    del llm
    gc.collect()
    thread.join(SECONDS)
    assert is_gone(pid)
