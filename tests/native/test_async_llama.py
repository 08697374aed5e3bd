from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import numpy as np
import pytest

from llama_bind import AsyncLlama, Llama
from llama_bind.errors import ClosedError, ContextOverflowError, InputError, UnknownOptionError
from tests.core_helpers import model_file
from tests.llamas import TEMPLATE, shared, tiny

T = TypeVar("T")
GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 60))


def text_of(result: Any) -> str:
    return str(result["choices"][0]["text"])


async def eventually(check: Any) -> None:
    for _ in range(500):
        if check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within 5 s")


def test_the_two_facades_have_the_same_calls() -> None:
    def public(cls: type) -> dict[str, Any]:
        return {n: getattr(cls, n) for n in dir(cls) if not n.startswith("_")}

    sync, asynchronous = public(Llama), public(AsyncLlama)
    assert asynchronous.keys() - sync.keys() == {"load", "of"}
    assert sync.keys() <= asynchronous.keys()
    for name, method in sync.items():
        if inspect.isfunction(method):
            ours, theirs = inspect.signature(method), inspect.signature(asynchronous[name])
            assert list(ours.parameters.values()) == list(theirs.parameters.values()), name


def test_completions_chats_and_embeddings_equal_the_synchronous_ones() -> None:
    llm = shared()
    both = AsyncLlama.of(llm)
    messages = [{"role": "user", "content": "Hi"}]

    async def work() -> None:
        got = await both("Hello", max_tokens=8, **GREEDY)
        assert text_of(got) == text_of(llm("Hello", max_tokens=8, **GREEDY))
        chat = await both.create_chat_completion(messages, max_tokens=8, **GREEDY)
        assert chat["choices"] == llm.create_chat_completion(messages, max_tokens=8, **GREEDY)["choices"]
        echoed = await both("Hello", max_tokens=2, echo=True, logprobs=1, **GREEDY)
        assert echoed["choices"] == llm("Hello", max_tokens=2, echo=True, logprobs=1, **GREEDY)["choices"]
        many = await both.generate_many(["Hello", "There"], max_tokens=4, **GREEDY)
        assert [text_of(r) for r in many] == [text_of(llm(p, max_tokens=4, **GREEDY)) for p in ("Hello", "There")]
        assert both.tokenize("abc") == llm.tokenize("abc")
        assert both.n_ctx() == llm.n_ctx()

    run(work())


def test_streams() -> None:
    both = AsyncLlama.of(shared())

    async def work() -> None:
        whole = text_of(await both("Hello", max_tokens=12, **GREEDY))
        options: dict[str, Any] = {"stream_options": {"include_usage": True}, **GREEDY}
        chunks = [c async for c in await both("Hello", max_tokens=12, stream=True, **options)]
        assert "".join(c["choices"][0]["text"] for c in chunks if c["choices"]) == whole
        assert chunks[-1]["usage"]["completion_tokens"] == 12
        parts = [
            c
            async for c in await both.create_chat_completion(
                [{"role": "user", "content": "Hi"}], stream=True, max_tokens=3, **GREEDY
            )
        ]
        assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
        assert parts[-1]["choices"][0]["finish_reason"] == "length"

    run(work())


def test_hundreds_of_tasks_and_threads_on_one_engine() -> None:
    with tiny(n_seq_max=4, n_ctx=1024) as llm:
        both = AsyncLlama.of(llm)
        want = {i: text_of(llm(f"Prompt {i}", max_tokens=4, **GREEDY)) for i in range(10)}
        threads_got: dict[int, str] = {}

        def in_thread(i: int) -> None:
            threads_got[i] = text_of(llm(f"Prompt {i}", max_tokens=4, **GREEDY))

        threads = [threading.Thread(target=in_thread, args=(i,)) for i in range(10)]

        async def work() -> list[str]:
            for thread in threads:
                thread.start()
            results = await asyncio.gather(*(both(f"Prompt {i % 10}", max_tokens=4, **GREEDY) for i in range(200)))
            return [text_of(r) for r in results]

        got = run(work())
        for thread in threads:
            thread.join(30)
        assert got == [want[i % 10] for i in range(200)]
        assert threads_got == want


def test_cancelling_a_task_frees_the_engine() -> None:
    with tiny(n_ctx=8192, file={"n_ctx_train": 8192}) as llm:
        both = AsyncLlama.of(llm)

        async def work() -> None:
            task = asyncio.create_task(both("Hello", **GREEDY))
            await eventually(lambda: llm.engine.stats.running == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await eventually(lambda: llm.engine.stats.running == 0)
            assert llm.engine.stats.cancelled == 1
            assert text_of(await both("Hello", max_tokens=2, **GREEDY))

        run(work())


@pytest.mark.parametrize("how", ["close", "drop", "never started", "leave"])
def test_leaving_a_stream_cancels_it(how: str) -> None:
    with tiny(n_ctx=8192, file={"n_ctx_train": 8192}) as llm:
        both = AsyncLlama.of(llm)

        async def work() -> None:
            stream = await both("Hello", stream=True, **GREEDY)
            if how == "leave":
                async with stream:
                    async for _ in stream:
                        break
            elif how != "never started":
                await anext(aiter(stream))
            if how == "close":
                await stream.aclose()
                with pytest.raises(StopAsyncIteration):
                    await anext(aiter(stream))
            del stream
            gc.collect()
            await eventually(lambda: llm.engine.stats.running + llm.engine.stats.waiting == 0)
            assert llm.engine.stats.cancelled == 1

        run(work())


def test_the_event_loop_is_never_blocked() -> None:
    both = AsyncLlama.of(shared())

    async def work() -> float:
        longest = 0.0
        task = asyncio.create_task(both("Hello " * 30, max_tokens=150, **GREEDY))
        while not task.done():
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - started)
        await task
        return longest

    assert run(work()) < 2


def test_errors_come_to_the_awaiting_task() -> None:
    both: Any = AsyncLlama.of(shared())

    def broken(_ids: Any, _scores: Any) -> Any:
        raise KeyError("mine")

    async def work() -> None:
        with pytest.raises(UnknownOptionError):
            await both("Hello", temprature=1)
        with pytest.raises(InputError):
            await both("Hello", temperature=-1)
        with pytest.raises(ContextOverflowError):
            await both("word " * 1000)
        with pytest.raises(KeyError):
            await both("Hello", max_tokens=3, logits_processor=broken)

    run(work())


def test_loading_and_closing_without_blocking() -> None:
    async def work() -> None:
        async with await AsyncLlama.load(model_file("llama", chat_template=TEMPLATE), n_ctx=256, n_threads=1) as llm:
            assert text_of(await llm("Hello", max_tokens=2, **GREEDY))
            state = await llm.save_state()
            await llm.reset()
            await llm.load_state(state)
        with pytest.raises(ClosedError):
            await llm("Hello")

    run(work())


def test_closing_ends_waiting_tasks() -> None:
    async def work() -> None:
        llm = await AsyncLlama.load(model_file("llama", n_ctx_train=8192), n_ctx=8192, n_threads=1, n_seq_max=1)
        tasks = [asyncio.create_task(llm("Hello", **GREEDY)) for _ in range(5)]
        await eventually(lambda: llm.engine.stats.running == 1)
        await llm.close()
        assert {type(r) for r in await asyncio.gather(*tasks, return_exceptions=True)} == {ClosedError}

    run(work())


def test_embeddings() -> None:
    with tiny("bert", embedding=True, n_ctx=0) as llm:
        both = AsyncLlama.of(llm)

        async def work() -> None:
            one = await both.embed("hello world")
            np.testing.assert_allclose(one, llm.embed("hello world"), atol=1e-5)
            several = await both.embed(["hello", "world"], normalize=True)
            assert [round(float(np.linalg.norm(v)), 4) for v in several] == [1.0, 1.0]
            response = await both.create_embedding(["hello", "world"])
            assert len(response["data"]) == 2

        run(work())
