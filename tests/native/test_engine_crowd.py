"""Many callers of every kind on one engine at once, and requests that ask for what they should not."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from llama_bind import AsyncLlama, Llama
from llama_bind.errors import InputError
from tests.llamas import tiny

GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 12}
MESSAGES = [{"role": "user", "content": "Hello world"}]


def text_of(result: Any) -> str:
    return str(result["choices"][0]["text"])


def work(llm: Llama, i: int) -> Any:
    """One of six kinds of calls."""
    prompt = f"{i % 7} hello the world"
    kind = i % 6
    if kind == 0:
        return text_of(llm(prompt, **GREEDY))
    if kind == 1:
        return "".join(text_of(chunk) for chunk in llm(prompt, stream=True, **GREEDY))
    if kind == 2:
        return llm.create_chat_completion(MESSAGES, **GREEDY)["choices"][0]["message"]["content"]
    if kind == 3:
        return [float(x) for x in llm.embed(prompt)[:4]]
    if kind == 4:  # leaves early
        stream = llm(prompt, stream=True, temperature=0.0, max_tokens=200)
        next(stream)
        stream.close()
        return "left"
    return text_of(llm(prompt, temperature=1.0, seed=i, max_tokens=12, user=f"user {i % 3}", priority=i % 2))


def same(got: Any, want: Any) -> bool:
    return bool(got == pytest.approx(want, rel=1e-3, abs=1e-4)) if isinstance(want, list) else got == want


def test_64_threads_and_a_hundred_tasks_share_an_engine() -> None:
    with tiny(n_ctx=256, n_seq_max=8, kv_unified=False, embedding=True) as llm:
        want = {i: work(llm, i) for i in range(84)}
        texts = [want[k] for k in (0, 36, 30, 24, 18, 12, 6)]  # of prompts 0 to 6
        wrong: list[Any] = []

        def thread(i: int) -> None:
            for k in (i, (i * 5 + 1) % 84):
                got = work(llm, k)
                if not same(got, want[k]):
                    wrong.append((k, got, want[k]))

        async def tasks() -> None:
            both = AsyncLlama.of(llm)

            async def one(i: int) -> None:
                prompt = f"{i % 7} hello the world"
                if i % 3 == 0:
                    got = text_of(await both(prompt, **GREEDY))
                elif i % 3 == 1:
                    got = "".join([text_of(c) async for c in await both(prompt, stream=True, **GREEDY)])
                else:
                    stream = await both(prompt, stream=True, temperature=0.0, max_tokens=200)
                    async for _ in stream:
                        break
                    await stream.aclose()
                    return
                if got != texts[i % 7]:
                    wrong.append((i, got, texts[i % 7]))

            await asyncio.gather(*(one(i) for i in range(100)))

        threads = [threading.Thread(target=thread, args=(i,)) for i in range(64)]
        for t in threads:
            t.start()
        asyncio.run(asyncio.wait_for(tasks(), 120))
        for t in threads:
            t.join(120)
            assert not t.is_alive()
        # Rounding depends on what is computed together, so a random text may take another way now and then.
        assert len(wrong) <= 6, wrong
        stats = llm.engine.stats
        assert (stats.failed, stats.running, stats.waiting) == (0, 0, 0)
        assert stats.cancelled > 20


def test_more_texts_than_sequences() -> None:
    with tiny(n_seq_max=2, kv_unified=False) as llm:
        result = llm("Hello", n=9, seed=3, temperature=1.0, max_tokens=5)
        assert [c["index"] for c in result["choices"]] == list(range(9))
        assert len({c["text"] for c in result["choices"]}) > 4
        assert llm.engine.stats.prompt_tokens < 2 * len(llm.tokenize(b"Hello")) + 9


@pytest.mark.parametrize("name", ["timeout", "queue_timeout", "first_token_timeout"])
@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_deadline_in_the_past_is_refused(name: str, seconds: float) -> None:
    options: dict[str, Any] = {name: seconds}
    with tiny() as llm, pytest.raises(InputError) as caught:
        llm("Hello", **options)
    assert caught.value.param == name


def test_a_deadline_ends_a_text_with_what_there_is() -> None:
    with tiny(n_ctx=8192, file={"n_ctx_train": 8192}) as llm:
        result = llm("Hello", temperature=0.0, timeout=0.3)
        assert result["choices"][0]["finish_reason"] == "deadline"
        assert result["choices"][0]["text"]


def test_salts_of_any_size_keep_prompts_apart() -> None:
    prompt = "hello the world " * 8
    with tiny(n_seq_max=2) as llm:
        salts = ("x" * 2**20, "y" * 2**20, "x" * 2**20)
        results: list[Any] = [llm(prompt, cache_salt=salt, **GREEDY) for salt in salts]
        cached = [r["usage"]["prompt_tokens_details"]["cached_tokens"] for r in results]
        assert cached[:2] == [0, 0]
        assert cached[2] > 20


def waiting(llm: Llama, count: int) -> None:
    """Return when so many requests wait."""
    deadline = time.monotonic() + 60
    while llm.engine.stats.waiting < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_users_take_turns() -> None:
    """One sends twenty requests, then another sends one: it does not wait for the twenty."""
    with tiny(n_seq_max=1) as llm:
        done: list[str] = []
        lock = threading.Lock()

        def call(user: str) -> None:
            llm("Hello", user=user, temperature=0.0, max_tokens=20)
            with lock:
                done.append(user)

        # It must not end before all others wait.
        endless: dict[str, Any] = {"max_tokens": 10**6, "ignore_eos": True, "context_overflow": "shift"}
        running = llm("Hello", stream=True, temperature=0.0, **endless)
        next(running)
        threads = [threading.Thread(target=call, args=("many",)) for _ in range(20)]
        for t in threads:
            t.start()
        waiting(llm, 20)
        threads.append(threading.Thread(target=call, args=("few",)))
        threads[-1].start()
        waiting(llm, 21)
        running.close()
        for t in threads:
            t.join(60)
        assert done.index("few") <= 2
