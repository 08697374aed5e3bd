"""Which request is in which slot: in Python, and as llama-server's /slots tells it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from llama_bind.engine.slots import SlotState
from llama_bind.errors import InputError
from llama_bind.params import SamplingParams
from llama_bind.server.native.slots import slot_entries
from tests.llamas import shared, tiny
from tests.servers import GREEDY, app_of, error_of, get, listening, post

LONG: dict[str, Any] = {"n_ctx": 4096, "n_seq_max": 3, "kv_unified": True, "file": {"n_ctx_train": 4096}}
TOKENS = [5 + i % 90 for i in range(400)]


def until(found: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
    return value


@pytest.mark.parametrize("process", [False, True])
def test_what_runs_is_told(process: bool) -> None:
    with tiny(engine_process=process, **LONG) as llm:
        assert llm.slots == []
        named: dict[str, Any] = {"request_id": "mine", "seed": 7, "temperature": 0.5, "ignore_eos": True}
        first = llm("one two", max_tokens=3000, stream=True, **named)
        second = llm("three", max_tokens=-1, stream=True, **GREEDY)
        next(first), next(second)
        one, two = until(lambda: llm.slots if len(llm.slots) == 2 else None)
        if one.request_id is None:
            one, two = two, one
        assert (one.request_id, two.request_id) == ("mine", None)
        assert {one.id, two.id} < {0, 1, 2}
        assert two.number == one.number + 1
        assert (one.kind, one.seed, one.sampling.temperature, one.max_tokens) == ("generate", 7, 0.5, 3000)
        assert (two.max_tokens, two.stream, two.drafts) == (None, True, False)
        assert one.prompt_tokens == len(llm.tokenize("one two", add_bos=True))
        assert one.prompt_computed + one.cached_tokens == one.prompt_tokens
        before = one.generated_tokens
        until(lambda: any(s.request_id == "mine" and s.generated_tokens > before for s in llm.slots))
        first.close()
        until(lambda: [s.request_id for s in llm.slots] == [None])
        second.close()
        until(lambda: llm.slots == [])


def test_texts_to_embed_are_told_too() -> None:
    with tiny(embedding=True, n_ctx=512) as llm:
        thread = threading.Thread(target=llm.embed, args=([TOKENS] * 400,), kwargs={"request_id": "vectors"})
        thread.start()
        state = until(lambda: next(iter(llm.slots), None))
        thread.join(60)
        assert not thread.is_alive()
        assert (state.request_id, state.kind, state.stream) == ("vectors", "embed", False)


@pytest.mark.parametrize("name", ["x" * 257, 5])
def test_a_name_is_a_short_text(name: Any) -> None:
    with pytest.raises(InputError) as caught:
        shared()("x", max_tokens=1, request_id=name)
    assert caught.value.param == "request_id"


# -- the server --------------------------------------------------------------------------------------------------

FIELDS = {
    "id", "n_ctx", "speculative", "is_processing", "id_task", "request_id", "n_prompt_tokens",
    "n_prompt_tokens_processed", "n_prompt_tokens_cache", "params", "next_token",
}  # fmt: skip


def busy(app: Any) -> list[dict[str, Any]]:
    return [slot for slot in get("/slots", app=app).json() if slot["is_processing"]]


def test_slots_over_http() -> None:
    with contextlib.ExitStack() as stack:
        llm = stack.enter_context(tiny(**LONG))
        app = app_of(llm)
        port = stack.enter_context(listening(app))
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
        ids = []
        for path, body in (
            ("/v1/completions", {"prompt": "one two", "max_tokens": 3000}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}], "top_k": 7}),
            ("/completion", {"prompt": "three", "n_predict": 2500, "request_id": "of the client"}),
        ):
            answer = stack.enter_context(client.stream("POST", path, json={**body, **GREEDY, "stream": True}))
            assert answer.status_code == 200
            ids.append(answer.headers["x-request-id"])
        until(lambda: len(busy(app)) == 3)
        found = {slot["request_id"]: slot for slot in busy(app)}
        text, chat, native = (found[name] for name in (ids[0], ids[1], "of the client"))
        assert all(set(slot) == FIELDS for slot in (text, chat, native))
        assert sorted(slot["id"] for slot in found.values()) == [0, 1, 2]
        assert len({slot["id_task"] for slot in found.values()}) == 3
        assert (text["params"]["n_predict"], chat["params"]["n_predict"], native["params"]["max_tokens"]) == (
            3000, -1, 2500,
        )  # fmt: skip
        assert (chat["params"]["top_k"], chat["params"]["temperature"], chat["params"]["stream"]) == (7, 0, True)
        (state,) = text["next_token"]
        assert state["has_next_token"]
        assert state["n_remain"] + state["n_decoded"] == 3000
        assert chat["next_token"][0]["n_remain"] == -1
        assert text["n_ctx"] == llm.n_ctx()
        assert error_of(get("/slots", app=app, params={"fail_on_no_slot": "1"}), 503)["code"] == "no_slot"


def test_slots_that_are_free_and_a_name_that_is_none() -> None:
    app = app_of()
    assert get("/slots", app=app).json() == [
        {"id": i, "n_ctx": shared(n_seq_max=4).n_ctx(), "speculative": False, "is_processing": False} for i in range(4)
    ]
    body = {"prompt": "x", "max_tokens": 1}
    assert error_of(post("/v1/completions", {**body, "request_id": "x" * 257}, app=app), 400)["param"] == "request_id"
    assert error_of(post("/v1/completions", {**body, "request_id": 5}, app=app), 400)["param"] == "request_id"


def test_a_draft_model_is_told() -> None:
    with tiny(draft_model="prompt-lookup") as llm:
        assert all(slot["speculative"] for slot in get("/slots", app=app_of(llm)).json())


def test_a_text_to_embed_has_no_sampling() -> None:
    state = SlotState(1, 9, "x", "embed", 30, 0, 20, 0, SamplingParams(), 0, None, 0, stream=False, drafts=False)
    free, taken = slot_entries([state], 2, 512, speculative=False)
    assert not free["is_processing"]
    assert taken == {
        "id": 1, "n_ctx": 512, "speculative": False, "is_processing": True, "id_task": 9, "request_id": "x",
        "n_prompt_tokens": 30, "n_prompt_tokens_processed": 20, "n_prompt_tokens_cache": 0,
    }  # fmt: skip
