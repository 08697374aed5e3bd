"""Who is let in, what a request may ask for, and bad input: each an error in OpenAI's shape, and nothing breaks."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_bind.server.settings import Settings
from tests.llamas import shared, tiny
from tests.servers import GREEDY, app_of, ask, error_of, get, post

HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, **GREEDY}


# -- keys --------------------------------------------------------------------------------------------------------


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("two\n# three\n")
    app = app_of(api_key=["one"], api_key_file=str(tmp_path / "keys"))
    for headers in (bearer("one"), bearer("two"), {"X-Api-Key": "one"}, {"authorization": "bearer one"}):
        assert get("/v1/models", app=app, headers=headers).status_code == 200
    for wrong in ({}, bearer(""), bearer("three"), bearer("onetwo"), {"Authorization": "Basic one"}, {"X-Api-Key": ""}):
        answer = get("/v1/models", app=app, headers=wrong)
        error = error_of(answer, 401)
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "one" not in answer.text
    for path in ("/metrics", "/props", "/slots", "/docs", "/openapi.json", "/nothing"):
        assert get(path, app=app).status_code == 401, path
    assert post("/health", app=app).status_code == 401
    assert get("/health", app=app).status_code == get("/v1/health", app=app).status_code == 200
    assert get("/docs", app=app, headers=bearer("two")).status_code == 200


def test_docs_for_everybody_where_that_is_wanted() -> None:
    app = app_of(api_key=["one"], public_docs=True)
    assert get("/docs", app=app).status_code == get("/openapi.json", app=app).status_code == 200
    assert get("/metrics", app=app).status_code == 401


def test_a_wrong_key_is_told_before_the_body_is_looked_at() -> None:
    app = app_of(api_key=["one"])
    assert post("/v1/chat/completions", app=app, content=b"not json").status_code == 401
    assert error_of(post("/v1/chat/completions", app=app, content=b"not json", headers=bearer("one")), 400)


def test_keys_take_turns_and_may_be_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = shared(n_seq_max=4)
    seen: list[tuple[str | None, bytes]] = []
    submit = llm.engine.submit

    def watch(request: Any, events: Any = None) -> Any:
        seen.append((request.key, request.salt))
        return submit(request, events)

    monkeypatch.setattr(llm.engine, "submit", watch)
    body = {**HELLO, "user": "somebody"}
    post("/v1/chat/completions", body)
    for isolate in (False, True):
        app = app_of(api_key=["one", "two"], isolate_keys=isolate)
        for key in ("one", "two"):
            post("/v1/chat/completions", {**body, "cache_salt": "s"}, app=app, headers=bearer(key))
    keys, salts = zip(*seen, strict=True)
    assert keys[0] == "somebody"
    assert len({*keys[1:3]}) == 2
    assert keys[1:3] == keys[3:5], "the user of a body does not count where there are keys"
    assert salts[1] == salts[2] != salts[3] != salts[4]


# -- hosts, origins ----------------------------------------------------------------------------------------------


def test_hosts() -> None:
    def status(asked: str, **settings: Any) -> int:
        return get("/health", app=app_of(**settings), headers={"Host": asked}).status_code

    for host in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"):
        assert status(host) == 200
    for host in ("evil.example", "localhost.evil.example:8000", "", "127.0.0.1.evil.example"):
        assert status(host) == 400
    assert status("evil.example", host="0.0.0.0") == 200
    ours: dict[str, Any] = {"trusted_hosts": ["api.example.com", "*.example.org"]}
    assert status("api.example.com:443", **ours) == status("a.example.org", **ours) == 200
    assert status("example.org", **ours) == status("localhost", **ours) == status("xexample.org", **ours) == 400
    error = error_of(get("/health", headers={"Host": "evil.example"}), 400)
    assert "trusted_hosts" in error["message"]


def test_no_origin_unless_asked_for() -> None:
    headers = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in get("/health", headers=headers).headers
    assert ask("OPTIONS", "/v1/chat/completions", headers=headers).status_code == 405
    app = app_of(cors_origins=["https://page.example"], api_key=["one"])
    answer = ask("OPTIONS", "/v1/chat/completions", app=app, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    other = ask("OPTIONS", "/v1/chat/completions", app=app, headers={**headers, "Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    refused = get("/v1/models", app=app, headers={"Origin": "https://page.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://page.example", "so that the page sees the error"


# -- limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"n": 17}, "n"), ({"best_of": 100}, "best_of"), ({"logprobs": 21}, "logprobs"), ({"priority": 1}, "priority"),
        ({"prompt": ["x"] * 129}, "prompt"), ({"n": 10**9}, "n"), ({"n": 10**100}, "n"),
    ],
)  # fmt: skip
def test_limits(given: dict[str, Any], param: str) -> None:
    assert error_of(post("/v1/completions", {"prompt": "x", "max_tokens": 1, **given}), 400)["param"] == param


def test_limits_can_be_moved() -> None:
    app = app_of(max_n=2, max_priority=5, max_logprobs=0, max_prompts=1, max_inputs=1)
    body = {"prompt": "x", "max_tokens": 1}
    assert post("/v1/completions", {**body, "priority": 5, "n": 2}, app=app).status_code == 200
    for given in ({"n": 3}, {"logprobs": 1}, {"prompt": ["x", "y"]}, {"priority": 6}):
        assert error_of(post("/v1/completions", {**body, **given}, app=app), 400)["code"] == "limit_exceeded"
    chat = {**HELLO, "logprobs": True, "top_logprobs": 1}
    assert error_of(post("/v1/chat/completions", chat, app=app), 400)["param"] == "top_logprobs"


def test_defaults_of_requests_and_time_that_cannot_be_stretched() -> None:
    app = app_of(max_tokens=3, timeout=0.001, temperature=0.0)
    choice = post("/v1/completions", {"prompt": "x"}, app=app).json()["choices"][0]
    assert choice["finish_reason"] in ("length", "deadline")
    longer = {"prompt": "x", "max_tokens": 200, "timeout": 1000, "n": 4, **GREEDY}
    choices = post("/v1/completions", longer, app=app).json()["choices"]
    assert choices[-1]["finish_reason"] == "deadline"
    body = {"prompt": "x", "ignore_eos": True}
    assert post("/v1/completions", body, app=app_of(max_tokens=3)).json()["usage"]["completion_tokens"] == 3
    body["max_tokens"] = 5
    assert post("/v1/completions", body, app=app_of(max_tokens=3)).json()["usage"]["completion_tokens"] == 5


def test_a_full_queue_says_when_to_come_back() -> None:
    with tiny(n_seq_max=1, max_queue=1, n_ctx=4096, file={"n_ctx_train": 4096}) as llm:
        app = app_of(llm, retry_after=7)
        running = [llm("x", max_tokens=4000, stream=True, **GREEDY) for _ in range(2)]
        answer = post("/v1/completions", {"prompt": "x", "max_tokens": 1}, app=app)
        error = error_of(answer, 429)
        assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
        assert answer.headers["retry-after"] == "7"
        streamed = post("/v1/chat/completions", {**HELLO, "stream": True}, app=app)
        assert error_of(streamed, 429), "before a stream has begun the status tells"
        busy = get("/slots", app=app, params={"fail_on_no_slot": "1"})
        assert error_of(busy, 503)["code"] == "no_slot"
        several = post("/v1/completions", {"prompt": ["x"] * 8, "max_tokens": 1}, app=app)
        assert error_of(several, 429)
        for stream in running:
            stream.close()
        deadline = time.monotonic() + 20
        while (answer := post("/v1/completions", {"prompt": "x", "max_tokens": 1}, app=app)).status_code == 429:
            assert time.monotonic() < deadline, "what was cancelled leaves the queue with the next step"
        assert answer.status_code == 200


def test_after_the_end_of_the_model() -> None:
    with tiny() as llm:
        app = app_of(llm)
    answer = post("/v1/completions", {"prompt": "x"}, app=app)
    assert error_of(answer, 503)["code"] == "shutting_down"
    assert "retry-after" in answer.headers
    assert get("/metrics", app=app).status_code == 200
    assert get("/slots", app=app).status_code == 503


# -- bad input ---------------------------------------------------------------------------------------------------

BAD: list[tuple[str, dict[str, Any], str | None]] = [
    ("completions", {}, "prompt"),
    ("completions", {"prompt": None}, "prompt"),
    ("completions", {"prompt": 5}, "prompt"),
    ("completions", {"prompt": []}, "prompt"),
    ("completions", {"prompt": ["x", 5]}, "prompt"),
    ("completions", {"prompt": [1.5]}, "prompt"),
    ("completions", {"prompt": [True]}, "prompt"),
    ("completions", {"prompt": [-1]}, "prompt"),
    ("completions", {"prompt": [10**9]}, "prompt"),
    ("completions", {"prompt": [10**30]}, "prompt"),
    ("completions", {"prompt": [[1], [10**9]]}, "prompt"),
    ("completions", {"prompt": "x", "best_of": 1, "n": 2}, "best_of"),
    ("completions", {"prompt": "x", "best_of": 2, "stream": True}, "best_of"),
    ("completions", {"prompt": "x", "grammar": "root ::= ("}, "grammar"),
    ("completions", {"prompt": "x", "stop": [""]}, "stop"),
    ("completions", {"prompt": "x", "logit_bias": {"x": 1}}, "logit_bias"),
    ("completions", {"prompt": "x", "logit_bias": {"999999999": 1}}, "logit_bias"),
    ("completions", {"prompt": "x", "allowed_token_ids": [10**30]}, None),
    ("completions", {"prompt": "x", "allowed_token_ids": []}, None),
    ("completions", {"prompt": "x", "bad_words": [[10**30]]}, None),
    ("completions", {"prompt": "x", "samplers": ["magic"]}, "samplers"),
    ("completions", {"prompt": "x", "min_tokens": 5, "max_tokens": 2}, "min_tokens"),
    ("completions", {"prompt": "x", "logprobs": -1}, "logprobs"),
    ("completions", {"prompt": "x", "model": 5}, "model"),
    ("completions", {"prompt": "x" * 100_000}, None),
    ("completions", {"prompt": [5] * 100_000}, None),
    ("chat/completions", {}, "messages"),
    ("chat/completions", {"messages": []}, "messages"),
    ("chat/completions", {"messages": "x"}, "messages"),
    ("chat/completions", {"messages": ["x"]}, "messages"),
    ("chat/completions", {"messages": [{}]}, "messages"),
    ("chat/completions", {"messages": [{"role": 5, "content": "x"}]}, "messages"),
    ("chat/completions", {"messages": [{"role": "user", "content": 5}]}, "messages"),
    ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "messages"),
    ("chat/completions", {**HELLO, "logprobs": 5}, "logprobs"),
    ("chat/completions", {**HELLO, "top_logprobs": 5}, "top_logprobs"),
    ("chat/completions", {**HELLO, "chat_template_kwargs": [1]}, "chat_template_kwargs"),
    ("chat/completions", {"messages": [{"role": "user", "content": "x" * 100_000}]}, None),
]


@pytest.mark.parametrize(("path", "body", "param"), BAD, ids=[json.dumps(b)[:60] for _, b, _ in BAD])
@pytest.mark.parametrize("stream", [False, True])
def test_bad_input(path: str, body: dict[str, Any], param: str | None, stream: bool) -> None:
    answer = post(f"/v1/{path}", {**body, "stream": stream} if stream else body, timeout=30)
    error = error_of(answer, 400)
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"] == param, error
    assert len(answer.content) < 2000
    assert "Traceback" not in answer.text
    assert post("/v1/completions", {"prompt": "x", "max_tokens": 1}).status_code == 200


def test_a_prompt_that_is_too_long_says_so() -> None:
    error = error_of(post("/v1/completions", {"prompt": [5] * 100_000}), 400)
    assert (error["code"], error["n_prompt_tokens"], error["n_ctx"]) == ("context_length_exceeded", 100_000, 256)


def test_content_types_do_not_matter() -> None:
    raw = json.dumps({"prompt": "x", "max_tokens": 1}).encode()
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", ""):
        assert post("/v1/completions", content=raw, headers={"Content-Type": kind}).status_code == 200
    assert error_of(post("/v1/completions", content=b"\xff\xfe"), 400)["code"] == "invalid_utf8"
    assert error_of(post("/v1/completions", content=b""), 400)["code"] == "invalid_json"


def test_a_large_body_is_parsed_beside_the_streams() -> None:
    body = json.dumps({"content": "a b " * 500_000}).encode()
    threads = threading.active_count()
    answer = post("/tokenize", content=body)
    assert answer.status_code == 200
    assert len(answer.json()["tokens"]) >= 500_000
    assert threading.active_count() < threads + 20


def test_a_name_in_a_header_is_no_place_for_text() -> None:
    answer = post("/v1/completions", {"prompt": "x", "max_tokens": 1, "max_token\r\nX-Evil": 1, "max_tokenß": 2})
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers
    assert "x-llama-bind-warning" not in answer.headers
    odd = get("/v1/models/%0d%0aX-Evil:%201")
    assert odd.status_code == 404
    assert "x-evil" not in odd.headers


def test_what_fails_inside_is_a_500_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of()
    service = app.state.service

    class Broken:
        model_path = "tiny"

        def create_completion(self, *_args: Any, **_kwargs: Any) -> Any:
            raise RuntimeError("secret")

    monkeypatch.setattr(service, "llm", Broken())
    answer = post("/v1/completions", {"prompt": "x"}, app=app)
    assert error_of(answer, 500)["code"] == "internal_error"
    assert "secret" not in answer.text


def test_settings_of_a_server_for_one_that_is_loaded() -> None:
    answer: httpx.Response = get("/v1/models", app=app_of())
    assert answer.json()["data"][0]["id"] == Settings.of("tiny").model
