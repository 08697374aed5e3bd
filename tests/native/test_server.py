"""The endpoints on tiny models: fields, shapes, equality with `Llama`'s own results."""

from __future__ import annotations

import base64
import functools
import json
from typing import Any

import httpx
import numpy as np
import pytest

from llama_bind import Llama
from llama_bind.server.service import Service
from llama_bind.server.settings import Settings
from tests.core_helpers import model_file
from tests.llamas import shared, tiny
from tests.rerankers import bert_reranker
from tests.servers import GREEDY, app_of, ask, error_of, get, post

HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 6, **GREEDY}


def llm() -> Llama:
    return shared(n_seq_max=4)


def events(response: httpx.Response) -> list[Any]:
    """The chunks of a stream, which must be well formed and end with [DONE]."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *blocks, rest = response.text.split("\n\n")
    assert rest == ""
    assert blocks[-1] == "data: [DONE]"
    assert all(block.startswith("data: ") for block in blocks)
    return [json.loads(block[6:]) for block in blocks[:-1]]


# -- completions -------------------------------------------------------------------------------------------------


def test_a_completion_is_that_of_the_library() -> None:
    options = {"max_tokens": 8, "logprobs": 2, "echo": True, "seed": 7, **GREEDY}
    answer = post("/v1/completions", {"prompt": "Hello", **options})
    assert answer.status_code == 200
    body = answer.json()
    assert body["choices"] == json.loads(json.dumps(llm()("Hello", **options)["choices"]))
    assert body["object"] == "text_completion"
    assert body["usage"]["completion_tokens"] == 8
    assert body["seed"] == 7
    assert body["model"] == "tiny"
    assert body["system_fingerprint"].startswith("b")
    assert answer.headers["x-request-id"].startswith("req_")


def test_paths_without_a_prefix() -> None:
    assert post("/completions", {"prompt": "x", "max_tokens": 1}).status_code == 200
    assert post("/chat/completions", HELLO).status_code == 200
    assert get("/models").json() == get("/v1/models").json()


def test_prompts_in_all_forms() -> None:
    ids = llm().tokenize("Hello")
    one = post("/v1/completions", {"prompt": "Hello", "max_tokens": 4, **GREEDY}).json()["choices"][0]["text"]
    for prompt in (ids, ["Hello"], [ids]):
        body = post("/v1/completions", {"prompt": prompt, "max_tokens": 4, **GREEDY}).json()
        assert [c["text"] for c in body["choices"]] == [one], prompt
    body = post("/v1/completions", {"prompt": ["Hello", ids, "in"], "max_tokens": 4, "n": 2, **GREEDY}).json()
    assert [c["index"] for c in body["choices"]] == list(range(6))
    assert [c["text"] for c in body["choices"]][:4] == [one] * 4
    assert body["usage"]["completion_tokens"] == 24
    assert body["usage"]["prompt_tokens"] == 2 * len(ids) + len(llm().tokenize("in"))


def test_best_of_and_scores_of_a_prompt() -> None:
    body = post("/v1/completions", {"prompt": "x", "max_tokens": 4, "n": 2, "best_of": 4, "seed": 1}).json()
    assert len(body["choices"]) == 2
    assert body["usage"]["completion_tokens"] > 8
    scored = {"prompt": "Hello", "max_tokens": 0, "echo": True, "logprobs": 1}
    choice = post("/v1/completions", scored).json()["choices"][0]
    assert choice["text"] == "Hello"
    assert choice["logprobs"]["token_logprobs"][0] is None
    assert all(value < 0 for value in choice["logprobs"]["token_logprobs"][1:])


def test_a_gap_between_prompt_and_suffix() -> None:
    body = {"prompt": "def f(", "suffix": "return 1", "max_tokens": 3, **GREEDY}
    assert error_of(post("/v1/completions", body), 400)["code"] == "unsupported"
    with tiny(file={"fim": True}) as filler:
        assert post("/v1/completions", body, app=app_of(filler)).json()["usage"]["completion_tokens"] == 3


def test_a_stream_gives_the_same_text() -> None:
    body = {"prompt": "Hello", "max_tokens": 8, **GREEDY}
    whole = post("/v1/completions", body).json()
    chunks = events(post("/v1/completions", {**body, "stream": True}))
    assert "".join(c["choices"][0]["text"] for c in chunks) == whole["choices"][0]["text"]
    assert [c["choices"][0]["finish_reason"] for c in chunks][-2:] == [None, "length"]
    assert {c["object"] for c in chunks} == {"text_completion"}
    assert len({c["id"] for c in chunks}) == 1
    assert all("usage" not in c for c in chunks)
    chunks = events(post("/v1/completions", {**body, "stream": True, "stream_options": {"include_usage": True}}))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_a_stream_of_several_prompts() -> None:
    body = {"prompt": ["Hello", "in"], "n": 2, "max_tokens": 5, "logprobs": 1, **GREEDY}
    whole = post("/v1/completions", body).json()
    chunks = events(post("/v1/completions", {**body, "stream": True, "stream_options": {"include_usage": True}}))
    texts = [""] * 4
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [c["text"] for c in whole["choices"]]
    usage = {k: v for k, v in chunks[-1]["usage"].items() if k != "prompt_tokens_details"}
    assert usage == {k: v for k, v in whole["usage"].items() if k != "prompt_tokens_details"}


# -- chat --------------------------------------------------------------------------------------------------------


def test_a_chat_is_that_of_the_library() -> None:
    body = post("/v1/chat/completions", {**HELLO, "logprobs": True, "top_logprobs": 2, "model": "gpt-4o"}).json()
    own: Any = llm().create_chat_completion(logprobs=True, top_logprobs=2, **HELLO)
    got, wanted = body["choices"][0], own["choices"][0]
    assert got["message"] == wanted["message"]
    assert [e["bytes"] for e in got["logprobs"]["content"]] == [e["bytes"] for e in wanted["logprobs"]["content"]]
    for mine, theirs in zip(got["logprobs"]["content"], wanted["logprobs"]["content"], strict=True):
        assert mine["logprob"] == pytest.approx(theirs["logprob"], abs=1e-3)
        assert len(mine["top_logprobs"]) == 2
    assert body["object"] == "chat.completion"
    assert body["model"] == "gpt-4o"


def test_a_chat_stream() -> None:
    whole = post("/v1/chat/completions", HELLO).json()["choices"][0]["message"]["content"]
    chunks = events(post("/v1/chat/completions", {**HELLO, "stream": True, "stream_options": {"include_usage": True}}))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == whole
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 6
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}


def test_options_of_every_kind_arrive() -> None:
    told = {**HELLO, "logit_bias": {str(llm().tokenize("he", add_bos=False)[0]): 100}, "max_completion_tokens": 3}
    del told["max_tokens"]
    body = post("/v1/chat/completions", told).json()
    assert body["choices"][0]["message"]["content"] == "hehehe"
    stopped = post("/v1/chat/completions", {**told, "stop": ["eh"]}).json()["choices"][0]
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("h", "stop")
    assert (
        post("/v1/chat/completions", {**HELLO, "grammar": 'root ::= "yes"'})
        .json()["choices"][0]["message"]["content"]
        .startswith("yes")
    )
    assert len(post("/v1/chat/completions", {**HELLO, "n": 3}).json()["choices"]) == 3


SCHEMA = {
    "type": "object",
    "properties": {"sure": {"const": True}, "word": {"enum": ["yes"]}},
    "required": ["sure", "word"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"choice": ["maybe"]}, "maybe"),
        ({"regex": "ab{3}c"}, "abbbc"),
        ({"json_schema": SCHEMA}, '{"sure": true, "word": "yes"}'),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": SCHEMA},
                }
            },
            '{"sure": true, "word": "yes"}',
        ),
    ],
)
def test_answers_of_a_form(given: dict[str, Any], text: str) -> None:
    asked = {"messages": HELLO["messages"], "max_tokens": 60, **given}
    choice = post("/v1/chat/completions", asked).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")
    chunks = events(post("/v1/chat/completions", {**asked, "stream": True}))
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == text
    assert post("/v1/completions", {"prompt": "x", "max_tokens": 60, **given}).json()["choices"][0]["text"] == text


def test_a_form_that_cannot_be_held_is_refused() -> None:
    wrong = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "nothing"}}}
    error = error_of(post("/v1/chat/completions", {**HELLO, "response_format": wrong, "stream": True}), 400)
    assert (error["code"], error["param"]) == ("invalid_schema", "response_format")


TOOL = {"type": "function", "function": {"name": "answer", "parameters": SCHEMA}}


@functools.cache
def roomy() -> Llama:
    """One with room for what models are told about tools."""
    return tiny(n_ctx=4096, file={"n_ctx_train": 4096})


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "answer"}}])
def test_calls_of_tools(choice: Any) -> None:
    asked = {**HELLO, "max_tokens": 100, "tools": [TOOL], "tool_choice": choice, "parallel_tool_calls": False}
    del asked["ignore_eos"]
    app = app_of(roomy())
    made = post("/v1/chat/completions", asked, app=app).json()["choices"][0]
    assert made["finish_reason"] in ("tool_calls", "stop")
    (call,) = made["message"]["tool_calls"]
    assert call["function"]["name"] == "answer"
    assert json.loads(call["function"]["arguments"]) == {"sure": True, "word": "yes"}
    chunks = events(post("/v1/chat/completions", {**asked, "stream": True}, app=app))
    deltas = [d for c in chunks for d in c["choices"][0]["delta"].get("tool_calls", ())]
    assert deltas[0]["function"]["name"] == "answer"
    assert "".join(d["function"]["arguments"] for d in deltas) == call["function"]["arguments"]
    bad = {**asked, "tools": [{"type": "function"}]}
    assert error_of(post("/v1/chat/completions", bad, app=app), 400)["param"] == "tools"


def test_slips_are_told_in_a_header() -> None:
    answer = post("/v1/chat/completions", {**HELLO, "max_token": 3, "metadata": {}})
    assert answer.headers["x-llama-bind-warning"] == "unknown field max_token, did you mean max_tokens?"
    streamed = post("/v1/chat/completions", {**HELLO, "max_token": 3, "stream": True})
    assert "max_token" in streamed.headers["x-llama-bind-warning"]


# -- embeddings, ranks -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedder() -> Any:
    app = app_of(shared("bert", embedding=True))

    def embed(**body: Any) -> Any:
        return post("/v1/embeddings", body, app=app)

    return embed


def test_embeddings(embedder: Any) -> None:
    bert = shared("bert", embedding=True)
    body = embedder(input=["hello", "you"]).json()
    assert [d["index"] for d in body["data"]] == [0, 1]
    got = np.array([d["embedding"] for d in body["data"]])
    assert np.allclose(got, bert.embed(["hello", "you"], normalize=True), atol=1e-6)
    assert np.allclose(np.linalg.norm(got, axis=1), 1)
    ids = bert.tokenize("hello")
    one = embedder(input=ids).json()["data"][0]["embedding"]
    assert np.allclose(one, got[0])
    assert np.allclose(embedder(input=[ids, ids]).json()["data"][1]["embedding"], got[0])
    coded = embedder(input="hello", encoding_format="base64").json()["data"][0]["embedding"]
    assert np.allclose(np.frombuffer(base64.b64decode(coded), "<f4"), got[0])
    cut = embedder(input="hello", dimensions=8).json()["data"][0]["embedding"]
    assert len(cut) == 8
    assert np.linalg.norm(cut) == pytest.approx(1)
    raw = embedder(input="hello", normalize=False).json()["data"][0]["embedding"]
    assert np.linalg.norm(raw) != pytest.approx(1, abs=1e-3)
    assert body["usage"]["prompt_tokens"] == len(ids) + len(bert.tokenize("you"))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"), ({"input": []}, "input"), ({"input": {}}, "input"), ({"input": [1.5]}, "input"),
        ({"input": [True]}, "input"), ({"input": ["x", 1.5]}, "input"), ({"input": [10**9]}, "input"), ({}, "input"),
        ({"input": "x", "dimensions": 0}, "dimensions"), ({"input": "x", "dimensions": 10**9}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"), ({"input": "x", "truncate": 1}, "truncate"),
        ({"input": ["x"] * 2049}, "input"),
    ],
)  # fmt: skip
def test_embeddings_refused(embedder: Any, body: dict[str, Any], param: str) -> None:
    assert error_of(embedder(**body), 400)["param"] == param


def test_embeddings_need_a_model_for_them() -> None:
    assert error_of(post("/v1/embeddings", {"input": "x"}), 400)["code"] == "unsupported"


def test_a_model_that_embeds_is_loaded_for_it() -> None:
    import asyncio

    async def loaded(path: Any, **settings: Any) -> bool:
        service = Service(Settings.of(path, engine_process=False, n_ctx=64, n_threads=1, **settings))
        await service.load()
        options = service.ready()._session.context_params
        await service.close()
        return options.embedding

    assert asyncio.run(loaded(model_file("bert"))) is True
    assert asyncio.run(loaded(model_file("llama"))) is False
    assert asyncio.run(loaded(model_file("llama"), embedding=True)) is True


def test_ranks() -> None:
    options: dict[str, Any] = {"n_ctx": 128, "n_threads": 1, "embedding": True, "pooling_type": "rank"}
    with Llama(bert_reranker(), **options) as ranker:
        app = app_of(ranker)
        asked = {"query": "hello", "documents": ["you", {"text": "the world"}, "in"]}
        own: Any = ranker.rerank("hello", ["you", "the world", "in"])
        for path in ("/v1/rerank", "/rerank", "/reranking", "/v1/reranking"):
            assert post(path, asked, app=app).json()["results"] == own["results"]
        best = post("/v1/rerank", {**asked, "top_n": 1, "return_documents": True}, app=app).json()["results"]
        assert len(best) == 1
        assert best[0]["document"]["text"] in ("you", "the world", "in")
        plain = post("/rerank", {"query": "hello", "texts": ["you", "in"], "return_text": True}, app=app).json()
        assert {(r["index"], r["text"]) for r in plain} == {(0, "you"), (1, "in")}
        assert error_of(post("/rerank", {"query": "x"}, app=app), 400)["param"] == "documents"
        assert error_of(post("/rerank", {**asked, "top_n": 0}, app=app), 400)["param"] == "top_n"
    assert error_of(post("/rerank", asked), 400)["code"] == "unsupported"


# -- tokens ------------------------------------------------------------------------------------------------------


def test_tokens_and_back() -> None:
    text = "hello <|im_start|> ünï 😀"
    ids = post("/tokenize", {"content": text}).json()["tokens"]
    assert ids == llm().tokenize(text, add_bos=False, special=True)
    assert post("/detokenize", {"tokens": ids}).json()["content"] == text
    plain = post("/tokenize", {"content": text, "parse_special": False}).json()["tokens"]
    assert len(plain) > len(ids)
    pieces = post("/tokenize", {"content": text, "with_pieces": True}).json()["tokens"]
    assert [p["id"] for p in pieces] == ids
    data = b"".join(p["piece"].encode() if isinstance(p["piece"], str) else bytes(p["piece"]) for p in pieces)
    assert data.decode() == text
    assert any(isinstance(p["piece"], list) for p in pieces), "some are no whole characters"
    with_start = post("/tokenize", {"content": "x", "add_special": True}).json()["tokens"]
    assert with_start == llm().tokenize("x", add_bos=True, special=True)
    assert error_of(post("/detokenize", {"tokens": [10**6]}), 400)["code"] == "invalid_token"


def test_a_template_applied() -> None:
    body = post("/apply-template", {"messages": [{"role": "user", "content": "a <|im_end|> b"}]}).json()
    assert body["prompt"] == "<|im_start|>user\na <|im_end|> b<|im_end|>\n<|im_start|>assistant\n"
    wrong = error_of(post("/apply-template", {"messages": [{"role": "user"}]}), 400)
    assert wrong["param"] == "messages"


# -- models, status, docs ----------------------------------------------------------------------------------------


def test_models() -> None:
    data = get("/v1/models").json()["data"]
    assert [m["id"] for m in data] == ["tiny"]
    assert data[0]["meta"]["n_vocab"] == llm().n_vocab()
    assert get("/v1/models/tiny").json()["id"] == "tiny"
    assert error_of(get("/v1/models/other/one"), 404)["code"] == "model_not_found"
    named = app_of(model_alias=["a", "org/b"])
    assert get("/v1/models", app=named).json()["data"][0]["aliases"] == ["a", "org/b"]
    assert get("/v1/models/org/b", app=named).json()["id"] == "org/b"


def test_status() -> None:
    assert get("/health").json() == get("/v1/health").json() == {"status": "ok"}
    slots = get("/slots").json()
    assert [s["id"] for s in slots] == [0, 1, 2, 3]
    assert slots[0]["n_ctx"] == llm().n_ctx()
    assert get("/slots", params={"fail_on_no_slot": "1"}).status_code == 200
    props = get("/props").json()
    assert props["total_slots"] == 4
    assert props["model_path"].endswith(".gguf")
    assert "/" not in props["model_path"]
    assert props["default_generation_settings"]["params"]["top_k"] == 40
    text = get("/metrics").text
    assert "llamacpp:tokens_predicted_total" in text
    assert 'path="/v1/models/{name:path}",status="404"' in text


def test_docs() -> None:
    description = get("/openapi.json").json()
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/health"} <= set(description["paths"])
    assert "/completions" not in description["paths"]
    schema = description["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    assert schema["schema"]["properties"]["temperature"]["description"]
    page = get("/docs")
    assert "<code>max_tokens</code>" in page.text
    assert "http" not in page.text.replace("https", "http").split("<style>")[0], "nothing is fetched from elsewhere"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_before_the_model_is_there() -> None:
    from llama_bind.server.app import create_app

    app = create_app(Settings.of("missing.gguf"))
    answer = get("/health", app=app)
    assert (answer.status_code, answer.json()["status"]) == (503, "loading model")
    error = post("/v1/chat/completions", HELLO, app=app)
    assert error_of(error, 503)["code"] == "model_loading"
    assert error.headers["retry-after"] == "2"
    card = get("/v1/models", app=app).json()["data"][0]
    assert (card["id"], card["aliases"], card["meta"]) == ("missing", ["missing"], None)
    assert get("/slots", app=app).status_code == 503
    assert get("/metrics", app=app).status_code == 200


def test_nothing_there_and_wrong_methods() -> None:
    assert error_of(get("/nothing"), 404)["code"] == "not_found"
    answer = get("/v1/completions")
    assert error_of(answer, 405)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"
    assert error_of(ask("DELETE", "/v1/models/tiny"), 405)["type"] == "invalid_request_error"
