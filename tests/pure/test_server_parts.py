"""The parts of the server that need no model: errors, schemas, bodies, merging, pages."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import pytest

from llama_bind import errors
from llama_bind.engine.stats import EngineStats
from llama_bind.options import option, options_of
from llama_bind.params import ChatParams, RequestParams, SamplingParams
from llama_bind.server.body import _read
from llama_bind.server.errors import TABLE, ApiError, api_error
from llama_bind.server.gate import Traffic
from llama_bind.server.metrics import page
from llama_bind.server.schemas.base import option_fields, schema
from llama_bind.server.schemas.chat import OPTIONS as CHAT_OPTIONS
from llama_bind.server.schemas.completions import OPTIONS, CompletionRequest
from llama_bind.server.service import Service
from llama_bind.server.settings import Settings
from llama_bind.server.several import joined, merged


def test_every_error_has_a_row() -> None:
    classes = {getattr(errors, name) for name in errors.__all__}
    assert set(TABLE) == classes, "give each class of errors.py a row in llama_bind/server/errors.py"


def test_clients_mistakes_are_told_and_the_servers_are_not() -> None:
    for cls, row in TABLE.items():
        if issubclass(cls, errors.InputError):
            assert row.status == 400
        if row.status >= 500:
            assert row.words, "what went wrong here is for the log"
    told = api_error(errors.InputError("temperature must be a number", param="temperature")).body()["error"]
    assert told == {
        "message": "temperature must be a number",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "invalid_value",
    }
    secret = "/home/x/model.gguf: secret"
    for error in (errors.ModelLoadError(secret), errors.NativeAbortError(secret), RuntimeError(secret)):
        assert "secret" not in json.dumps(api_error(error).body())
        assert api_error(error).status == 500


def test_an_error_that_is_not_in_the_table_has_its_nearest_base() -> None:
    class NewError(errors.GrammarError):
        pass

    assert api_error(NewError("x")).code == "invalid_grammar"


def test_overflow_says_the_counts() -> None:
    told = api_error(errors.ContextOverflowError(100, 64)).body()["error"]
    assert (told["code"], told["n_prompt_tokens"], told["n_ctx"]) == ("context_length_exceeded", 100, 64)


# -- schemas -----------------------------------------------------------------------------------------------------


def test_every_option_of_a_call_is_a_field_or_only_for_python() -> None:
    python_only = {"logits_processor", "stopping_criteria"}
    plain = {n for cls in (SamplingParams, RequestParams) for n in options_of(cls)}
    assert plain - OPTIONS == python_only | {"model"}
    chat = plain | set(options_of(ChatParams))
    assert not chat - CHAT_OPTIONS - python_only - {"model", "echo", "suffix"}


def read(value: Any) -> dict[str, Any]:
    return _read(json.dumps(value).encode(), CompletionRequest).value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"), ("temperature", -1), ("temperature", True), ("temperature", [1]), ("top_k", 1.5),
        ("max_tokens", "5"), ("n", 0), ("n", -1), ("n", True), ("n", 10**30), ("stop", 5), ("stop", [5]),
        ("stream", "yes"), ("stream", 1), ("logprobs", "all"), ("logit_bias", [1]), ("logit_bias", {"1": "x"}),
        ("grammar", {"root": 1}), ("stream_options", 3), ("user", 5), ("context_overflow", "ignore"),
        ("samplers", "top_k"), ("bad_words", "x"), ("stop_token_ids", ["x"]), ("echo", "true"),
        ("timeout", 0), ("priority", 10**6), ("mirostat_mode", 7), ("response_format", "json"),
        ("response_format", "os.PathLike"), ("response_format", ["x"]), ("json_schema", 5), ("json_schema", ["x"]),
    ],
)  # fmt: skip
def test_wrong_types_and_numbers(field: str, value: Any) -> None:
    with pytest.raises(ApiError) as caught:
        read({"prompt": "x", field: value})
    assert (caught.value.status, caught.value.param) == (400, field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 1), ("temperature", None), ("top_k", -1), ("max_tokens", -1), ("stop", "a"), ("stop", ["a"]),
        ("logprobs", 3), ("logprobs", True), ("logit_bias", {"1": -100}), ("stop_token_ids", [1]),
        ("bad_words", ["a", [1, 2]]), ("stream_options", {"include_usage": True}), ("whatever", {"deep": [1]}),
    ],
)  # fmt: skip
def test_right_ones(field: str, value: Any) -> None:
    assert read({"prompt": "x", field: value})[field] == value


def test_other_names_of_options() -> None:
    assert read({"prompt": "x", "max_completion_tokens": 5, "repeat_last_n": 3}) == {
        "prompt": "x",
        "max_tokens": 5,
        "penalty_last_n": 3,
    }
    assert read({"prompt": "x", "max_completion_tokens": 5, "max_tokens": 4})["max_tokens"] == 4


def test_missing_and_slips() -> None:
    with pytest.raises(ApiError, match="prompt is missing") as caught:
        read({})
    assert caught.value.code == "missing_required_parameter"
    body = _read(b'{"prompt": "x", "temprature": 1, "store": true, "zzz": 1, "a\\r\\nX: 1": 2}', CompletionRequest)
    assert body.headers == {"X-Llama-Bind-Warning": "unknown field temprature, did you mean temperature?"}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b'{"prompt": "x", "temperature": NaN}', "NaN is no JSON number"),
        (b'{"prompt": "x", "temperature": -Infinity}', "no JSON number"),
        (b'{"prompt": "x", "temperature": 1e999}', "too large"),
        (b'{"prompt": "x", "n": ' + b"9" * 5000 + b"}", "can be used"),
        (b'{"prompt": "\xff\xfe"}', "not UTF-8"),
        ('{"prompt": "x"}'.encode("utf-16"), "not UTF-8"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_bodies_that_are_no_json(raw: bytes, words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        _read(raw, CompletionRequest)
    assert caught.value.status == 400
    assert len(caught.value.message) < 200


def test_kinds_of_annotations() -> None:
    made = schema("Made", "x", option_fields((SamplingParams,))).model_json_schema()["properties"]
    assert {"type": "number", "minimum": 0, "maximum": 100}.items() <= made["temperature"]["anyOf"][0].items()
    assert made["samplers"]["anyOf"][0] == {"type": "array", "items": {"type": "string"}}
    assert made["grammar"]["anyOf"][0] == {"type": "string"}
    assert made["mirostat_mode"]["anyOf"][0]["enum"] == [0, 1, 2]


@dataclasses.dataclass(frozen=True)
class Odd:
    anything: Any = option(None, "What only Python has.")  # noqa: RUF009
    function: Callable[[int], int] | None = option(None, "The same.")  # noqa: RUF009
    path: PathLike[str] | str = option("x", "A path, or its text.")  # noqa: RUF009
    nested: Sequence[str | Sequence[int]] | None = option(None, "Lists.")
    table: Mapping[str, Sequence[float]] | None = option(None, "A table.")


def test_what_no_client_may_give_is_no_field() -> None:
    fields = schema("OddRequest", "x", option_fields((Odd,))).model_json_schema()["properties"]
    assert fields.keys() == {"path", "nested", "table"}
    assert fields["path"]["anyOf"][0] == {"type": "string"}
    assert fields["nested"]["anyOf"][0]["items"]["anyOf"][1] == {"type": "array", "items": {"type": "integer"}}
    assert fields["table"]["anyOf"][0]["additionalProperties"] == {"type": "array", "items": {"type": "number"}}


# -- several prompts ---------------------------------------------------------------------------------------------


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 1},
    }


def test_results_of_several_prompts() -> None:
    def result(text: str) -> dict[str, Any]:
        choices = [{"text": f"{text}{i}", "index": i} for i in range(2)]
        return {"id": text, "choices": choices, "usage": usage(3, 4), "timings": {}}

    made = joined([result("a"), result("b")])
    assert [(c["index"], c["text"]) for c in made["choices"]] == [(0, "a0"), (1, "a1"), (2, "b0"), (3, "b1")]
    assert made["usage"] == {**usage(6, 8), "prompt_tokens_details": {"cached_tokens": 2}}
    assert made["id"] == "a"
    assert "timings" not in made
    assert "timings" in joined([result("a")])


class Stream:
    def __init__(self, name: str, n: int, fail: bool = False) -> None:
        self.name, self.n, self.fail, self.closed = name, n, fail, False

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        for i in range(self.n):
            await asyncio.sleep(0)
            yield {"id": self.name, "choices": [{"index": i % 2, "text": f"{self.name}{i}"}]}
        if self.fail:
            raise errors.EngineCrashedError(-9)
        yield {"id": self.name, "choices": [], "usage": usage(1, self.n), "timings": {}}

    async def aclose(self) -> None:
        self.closed = True


def test_streams_of_several_prompts() -> None:
    streams = [Stream("a", 4), Stream("b", 300)]

    async def work() -> list[dict[str, Any]]:
        return [chunk async for chunk in merged(streams, 2)]

    chunks = asyncio.run(asyncio.wait_for(work(), 20))
    assert len({chunk["id"] for chunk in chunks}) == 1
    texts = [(c["choices"][0]["index"], c["choices"][0]["text"]) for c in chunks if c["choices"]]
    assert {(0, "a0"), (1, "a1"), (2, "b0"), (3, "b1")} <= set(texts)
    assert len(texts) == 304
    assert chunks[-1]["usage"]["completion_tokens"] == 304
    assert [not c["choices"] for c in chunks].count(True) == 1
    assert all(stream.closed for stream in streams)


def test_one_stream_that_fails_ends_the_others() -> None:
    streams = [Stream("a", 10_000), Stream("b", 2, fail=True)]

    async def work() -> None:
        async for _ in merged(streams, 2):
            pass

    with pytest.raises(errors.EngineCrashedError):
        asyncio.run(asyncio.wait_for(work(), 20))
    assert all(stream.closed for stream in streams)


# -- pages -------------------------------------------------------------------------------------------------------


def test_metrics_have_both_names() -> None:
    stats = EngineStats()
    stats.on_start(0.5)
    stats.on_step(0.1, 3, 2, 1)
    traffic = Traffic()
    traffic.answers["/v1/models", 200] = 7
    text = page([(Service(Settings.of("x.gguf")), stats)], traffic).decode()
    for line in (
        'llama_bind_http_requests_total{path="/v1/models",status="200"} 7.0',
        "llama_bind_ready 0.0",
        "llama_bind_steps_total 1.0",
        'llama_bind_queue_seconds_bucket{le="+Inf"} 1.0',
        "llama_bind_queue_seconds_sum 0.5",
        "llamacpp:n_decode_total 1.0",
        "llamacpp:n_busy_slots_per_decode 2.0",
        "llamacpp:requests_processing 0.0",
    ):
        assert line in text.splitlines()
    assert "# TYPE llama_bind_first_token_seconds histogram" in text
    bare = page([(Service(Settings.of("x.gguf")), None)], Traffic()).decode()
    assert "llama_bind_steps" not in bare


def test_every_counter_is_on_the_page() -> None:
    text = page([(Service(Settings.of("x.gguf")), EngineStats())], Traffic()).decode()
    for name in EngineStats.__dataclass_fields__:
        assert f"llama_bind_{name}" in text


def test_names_of_a_model_say_no_path() -> None:
    assert Service(Settings.of("/secret/place/my-model.gguf")).names == ("my-model",)
    assert Service(Settings.of("owner/repo")).names == ("repo",)
    assert Service(Settings.of()).names == ("smollm2-135m-instruct",)
    assert Service(Settings.of("x.gguf", model_alias=["a", "b"])).names == ("a", "b")


def test_nothing_of_an_app_is_in_a_module() -> None:
    from llama_bind.server.app import create_app

    one, two = create_app(Settings.of("a.gguf")), create_app(Settings.of("b.gguf"))
    assert one.state.service is not two.state.service
    assert one.state.traffic is not two.state.traffic
    assert "app" not in dict(inspect.getmembers(inspect.getmodule(create_app)))
