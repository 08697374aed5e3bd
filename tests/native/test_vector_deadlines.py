"""Embeddings and ranks that must be there in time: one call, one deadline, nothing left over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from llama_bind import AsyncLlama, Llama
from llama_bind.errors import DeadlineError, InputError, UnknownOptionError
from tests.llamas import shared, tiny
from tests.rerankers import bert_reranker
from tests.servers import app_of, error_of, post

TOKENS = [5 + i % 90 for i in range(400)]
LONG = [TOKENS] * 1000
SOON = 0.05


def embedder(kind: str = "llama", **options: Any) -> Llama:
    return tiny(kind, embedding=True, **{"n_ctx": 512, **options})


def rested(llm: Llama) -> None:
    """Whatever the call left behind has gone, and the next one is computed."""
    until = time.monotonic() + 20
    while llm.engine.stats.running or llm.engine.stats.waiting:
        assert time.monotonic() < until, "texts of a call that is over still run"
        time.sleep(0.005)
    assert llm.embed([5, 6, 7]).shape == (llm.n_embd(),)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_call_ends_at_its_deadline(kind: str) -> None:
    with embedder(kind) as llm:
        began = time.monotonic()
        with pytest.raises(DeadlineError, match="of 1000 texts") as caught:
            llm.embed(LONG, timeout=SOON)
        assert time.monotonic() - began < 10
        assert caught.value.total == 1000
        assert 0 <= caught.value.computed < 1000
        assert isinstance(caught.value, TimeoutError)
        assert llm.engine.stats.deadlines >= 1
        rested(llm)


def test_a_text_that_is_being_computed_is_stopped() -> None:
    """One text of one step; without a deadline it takes far longer."""
    wide = {"n_embd": 256, "n_ff": 1024, "n_layer": 3, "n_ctx_train": 4096}
    with embedder(n_ctx=4096, n_batch=4096, n_ubatch=4096, n_seq_max=1, file=wide) as llm:
        text = [5 + i % 90 for i in range(4000)]
        began = time.process_time()
        with pytest.raises(DeadlineError, match="0 of 1 text "):
            llm.embed(text, timeout=SOON)
        stopped = time.process_time() - began
        began = time.process_time()
        llm.embed(text)
        assert stopped < (time.process_time() - began) / 2


def test_the_time_is_that_of_the_whole_call() -> None:
    """A short queue makes it a call of many parts, none of which takes as long as the call may."""
    with embedder(max_queue=2, n_seq_max=2) as llm:
        with pytest.raises(DeadlineError) as caught:
            llm.embed(LONG, timeout=0.3)
        assert caught.value.computed > 4, "several parts came in time"
        rested(llm)


def test_a_deadline_that_is_kept_changes_nothing() -> None:
    llm = shared(embedding=True)
    assert (llm.embed(TOKENS[:50], timeout=60, queue_timeout=60) == llm.embed(TOKENS[:50])).all()
    assert llm.create_embedding("hello", timeout=60)["data"]


def test_the_queue_counts_until_the_first_text_starts() -> None:
    with embedder(n_seq_max=1, n_ctx=4096, file={"n_ctx_train": 4096}) as llm:
        assert len(llm.embed([TOKENS] * 60, queue_timeout=0.1)) == 60, "the others may wait for the first"
        stream = llm("x", max_tokens=4000, stream=True, temperature=0, ignore_eos=True)
        next(stream)
        with pytest.raises(DeadlineError, match="0 of 2 texts"):
            llm.embed([TOKENS, TOKENS], queue_timeout=SOON)
        stream.close()
        rested(llm)


def test_ranks_have_deadlines_too() -> None:
    documents = ["word " * 60] * 2000
    with Llama(bert_reranker(), embedding=True, pooling_type="rank", n_threads=1) as llm:
        with pytest.raises(DeadlineError, match="of 2000 texts"):
            llm.rerank("hello", documents, timeout=SOON)
        assert llm.rerank("hello", documents[:2], timeout=60, queue_timeout=60)["results"]

        async def work() -> None:
            with pytest.raises(DeadlineError):
                await AsyncLlama.of(llm).rerank("hello", documents, timeout=SOON)

        asyncio.run(asyncio.wait_for(work(), 60))


@pytest.mark.parametrize("process", [False, True])
def test_asynchronous_calls_end_at_their_deadline_and_others_go_on(process: bool) -> None:
    with embedder(engine_process=process, n_seq_max=2) as llm:
        both = AsyncLlama.of(llm)

        async def work() -> None:
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda: both.embed(LONG, timeout=SOON),
                lambda: both.create_embedding(LONG, timeout=SOON),
                lambda: both.create_embedding(LONG, queue_timeout=1e-4, user="somebody else"),
            ]
            other = asyncio.create_task(both.embed([TOKENS] * 20))
            for call in calls[:2]:
                with pytest.raises(DeadlineError):
                    await call()
            assert len(await other) == 20

        asyncio.run(asyncio.wait_for(work(), 60))
        rested(llm)


@pytest.mark.parametrize("name", ["timeout", "queue_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), "5", True])
def test_times_that_are_none(name: str, value: Any) -> None:
    options: Any = {name: value}
    with pytest.raises(InputError) as caught:
        shared("bert", embedding=True).embed("hello", **options)
    assert caught.value.param == name


def test_options_that_are_none() -> None:
    options: Any = {"time_out": 5}
    with pytest.raises(UnknownOptionError, match="timeout"):
        shared("bert", embedding=True).create_embedding("hello", **options)


# -- the server --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": LONG[:200]}), ("/embedding", {"content": LONG[:100]}),
        ("/embeddings", {"input": LONG[:200]}),
    ],
)  # fmt: skip
def test_a_request_ends_at_its_deadline(path: str, body: dict[str, Any]) -> None:
    app = app_of(shared(embedding=True, n_ctx=512), max_inputs=5000)
    answer = post(path, {**body, "timeout": 0.001}, app=app)
    error = error_of(answer, 504)
    assert (error["code"], error["param"]) == ("deadline_exceeded", None)
    assert "retry-after" in answer.headers
    assert error_of(post(path, {**body, "timeout": -1}, app=app), 400)["param"] == "timeout"
    assert error_of(post(path, {**body, "queue_timeout": "x"}, app=app), 400)["param"] == "queue_timeout"
    assert error_of(post(path, {**body, "priority": 1}, app=app), 400)["code"] == "limit_exceeded"
    short = {name: [TOKENS[:5]] for name in body}
    assert post(path, {**short, "timeout": 60, "queue_timeout": 60}, app=app).status_code == 200


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embedding"])
def test_the_servers_time_cannot_be_stretched(path: str) -> None:
    app = app_of(shared(embedding=True, n_ctx=512), max_inputs=5000, timeout=0.001)
    body = {"input": LONG[:200]}
    assert error_of(post(path, body, app=app), 504)
    assert error_of(post(path, {**body, "timeout": 1000}, app=app), 504)


def test_a_request_for_ranks_ends_at_its_deadline() -> None:
    with Llama(bert_reranker(), embedding=True, pooling_type="rank", n_threads=1) as llm:
        app = app_of(llm)
        body = {"query": "hello", "documents": ["word " * 60] * 1000}
        assert error_of(post("/v1/rerank", {**body, "timeout": 0.001}, app=app), 504)["code"] == "deadline_exceeded"
        short = {**body, "documents": ["a", "b"], "timeout": 60, "queue_timeout": 60, "priority": -1}
        assert len(post("/v1/rerank", short, app=app).json()["results"]) == 2
