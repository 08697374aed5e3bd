"""The parts of `llama_bind.compat` that need no model."""

from __future__ import annotations

import logging
import pickle
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from llama_bind.compat import calling, chat_handlers, hub_arguments, llama_types, loading
from llama_bind.compat import llama_chat_format as formats
from llama_bind.compat._utils import Singleton, suppress_stdout_stderr
from llama_bind.compat.llama_cache import BaseLlamaCache, LlamaCache, LlamaDiskCache, LlamaRAMCache
from llama_bind.compat.llama_grammar import JSON_ARR_GBNF, JSON_GBNF, LIST_GBNF, LlamaGrammar, json_schema_to_gbnf
from llama_bind.compat.llama_speculative import LlamaDraftModel, LlamaPromptLookupDecoding
from llama_bind.compat.llama_tokenizer import LlamaHFTokenizer
from llama_bind.compat.processors import (
    LogitsProcessorList,
    MinTokensLogitsProcessor,
    StoppingCriteriaList,
    as_functions,
)
from llama_bind.compat.server import settings as server
from llama_bind.compat.server.__main__ import settings_of
from llama_bind.compat.server.app import create_app
from llama_bind.engine.speculative import PromptLookup
from llama_bind.errors import GrammarError, InputError, TemplateError, UnknownOptionError, UnsupportedError
from llama_bind.params import SamplingParams

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def forget_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_warned", set())


# -- arguments


def test_arguments_that_only_the_original_knows_are_named_once() -> None:
    with pytest.warns(UserWarning, match="'lora_base' does nothing in llama_bind; adapters are applied to any model"):
        found = loading.read_arguments({"lora_base": "base.gguf", "n_ctx": 64})
    assert found.options == {"n_ctx": 64}
    assert found.unknown == ("lora_base",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loading.read_arguments({"lora_base": "base.gguf"}).unknown == ("lora_base",)


def test_foreign_keywords_are_left_out_with_a_hint() -> None:
    with pytest.warns(UserWarning, match="'n_cxt' does nothing in llama_bind; did you mean 'n_ctx'"):
        loading.read_arguments({"n_cxt": 64})
    with pytest.warns(UserWarning, match="'some_framework_thing' does nothing in llama_bind$"):
        loading.read_arguments({"some_framework_thing": object()})


def test_values_that_say_as_usual_are_not_mentioned() -> None:
    usual = {"n_parts": -1, "f16_kv": True, "lora_base": None, "device": None, "seed": None, "n_threads": None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loading.read_arguments(usual).options == {}


def test_chat_formats_are_sorted_by_who_sees_to_them() -> None:
    assert loading.read_arguments({"chat_format": "chatml-function-calling"}).options == {"chat_format": "chatml"}
    own = loading.read_arguments({"chat_format": "mine", "chat_handler": print, "spm_infill": True})
    assert (own.options, own.chat_format, own.chat_handler, own.spm_infill) == ({}, "mine", print, True)


@pytest.mark.parametrize("limit", [0, -1, None])
def test_no_limit_of_tokens(limit: int | None) -> None:
    assert calling.completion_options({"max_tokens": limit})["max_tokens"] is None


def test_a_temperature_below_zero_draws_from_all_tokens() -> None:
    options = calling.completion_options({"temperature": -1.0, "top_k": 40})
    assert (options["temperature"], options["top_k"], options["top_p"], options["min_p"]) == (1.0, 0, 1.0, 0.0)


def test_tail_free_sampling_is_named_once_where_it_is_used() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "tfs_z" not in calling.completion_options({"tfs_z": 1.0})
    with pytest.warns(UserWarning, match="'tfs_z' does nothing"):
        assert "tfs_z" not in calling.completion_options({"tfs_z": 0.5})


def test_chat_options_know_the_older_forms_of_logprobs() -> None:
    assert calling.chat_options({"logprobs": 3, "top_logprobs": 2})["logprobs"] is True
    assert calling.chat_options({"top_logprobs": 2})["top_logprobs"] is None
    assert calling.chat_options({"logit_bias": {"5": 1}})["logit_bias"] == {5: 1.0}


def test_options_of_sampling_by_hand() -> None:
    params = calling.stepping_params(SamplingParams(), {"temp": 0.0, "top_k": 1, "grammar": None, "penalize_nl": True})
    assert (params.temperature, params.top_k, params.grammar_backend) == (0.0, 1, "llama.cpp")
    with pytest.warns(UserWarning, match="'penalize_nl' does nothing"):
        calling.stepping_params(SamplingParams(), {"penalize_nl": False})


def test_hub_arguments() -> None:
    assert hub_arguments.read(None, None, None, None) == {}
    assert hub_arguments.read({"revision": "x"}, ["a"], "dir", None) == {
        "additional_files": ["a"], "local_dir": "dir", "revision": "x",
    }  # fmt: skip


# -- functions over logits


def test_lists_of_functions() -> None:
    ids, scores = np.array([1, 2], np.intc), np.zeros(4, np.single)

    def add(_ids: Any, row: Any) -> Any:
        row[:] += 1  # in place
        return row

    assert LogitsProcessorList([add, add])(ids, scores).tolist() == [2.0] * 4
    assert StoppingCriteriaList([lambda i, _: len(i) > 5, lambda i, _: len(i) == 2])(ids, scores) is True
    assert StoppingCriteriaList()(ids, scores) is False


def test_a_list_with_a_call_of_its_own_is_one_function() -> None:
    class Own(LogitsProcessorList):
        def __call__(self, _ids: Any, scores: Any) -> Any:
            return scores

    own = Own([lambda _, s: s])
    assert as_functions(own) == [own]
    plain = LogitsProcessorList([lambda _, s: s])
    assert as_functions(plain) == list(plain)
    assert as_functions(None) is None


def test_min_tokens_processor() -> None:
    processor = MinTokensLogitsProcessor(2, 3)
    assert processor(np.arange(5, dtype=np.intc), np.zeros(4, np.single))[3] == -np.inf
    assert processor(np.arange(6, dtype=np.intc), np.zeros(4, np.single))[3] == -np.inf
    assert processor(np.arange(7, dtype=np.intc), np.zeros(4, np.single))[3] == 0


# -- grammars, caches, guesses, tokenizers


def test_grammars_take_verbose_and_are_checked(tmp_path: Path) -> None:
    grammar = LlamaGrammar.from_string('root ::= "a"', verbose=False)
    assert (grammar._grammar, grammar._root) == ('root ::= "a"', "root")
    assert LlamaGrammar(_grammar='root ::= "a"') == grammar
    assert pickle.loads(pickle.dumps(grammar)) == grammar
    (tmp_path / "g.gbnf").write_text('root ::= "b"', encoding="utf-8")
    made = LlamaGrammar.from_file(tmp_path / "g.gbnf", False)
    assert isinstance(made, LlamaGrammar)
    assert made.text == 'root ::= "b"'
    with pytest.raises(GrammarError, match="line 1"):
        LlamaGrammar.from_string("root ::= (")
    with pytest.raises(GrammarError, match="from_string"):
        LlamaGrammar()


def test_grammars_of_schemas() -> None:
    made = LlamaGrammar.from_json_schema('{"type": "integer"}', verbose=False)
    assert isinstance(made, LlamaGrammar)
    assert made.spec is not None
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(UnsupportedError, match="from_json_schema"):
        json_schema_to_gbnf("{}")


@pytest.mark.parametrize("text", [JSON_GBNF, JSON_ARR_GBNF, LIST_GBNF])
def test_samples_of_grammars_are_grammars(text: str) -> None:
    assert LlamaGrammar.from_string(text).root == "root"


def test_caches_are_this_librarys() -> None:
    assert LlamaCache is LlamaRAMCache
    assert isinstance(LlamaRAMCache(), BaseLlamaCache)
    assert issubclass(LlamaDiskCache, BaseLlamaCache)
    assert LlamaRAMCache(capacity_bytes=5).capacity_bytes == 5


def test_prompt_lookup_is_a_draft_model_and_takes_the_short_way() -> None:
    lookup = LlamaPromptLookupDecoding(num_pred_tokens=3)
    assert isinstance(lookup, LlamaDraftModel)
    assert type(lookup).__call__ is PromptLookup.__call__  # what the engine asks before it keeps an index
    assert lookup(np.array([1, 2, 3, 4, 1, 2], np.int32)).tolist() == [3, 4, 1]
    find = LlamaPromptLookupDecoding.find_candidate_pred_tokens
    assert find(np.array([1, 2, 3, 1]), 2, 2).tolist() == [2, 3]
    assert find(np.array([1, 2, 3]), 2, 2).tolist() == []


def test_a_foreign_tokenizer() -> None:
    class Words:
        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            return [int(add_special_tokens), *(len(word) for word in text.split())]

        def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
            return " ".join("x" * t for t in tokens if t or not skip_special_tokens)

    tokenizer = LlamaHFTokenizer(Words())
    assert tokenizer.tokenize("ab cdé".encode(), special=False) == [0, 2, 3]
    assert tokenizer.detokenize([2, 3]) == b"xx xxx"
    assert tokenizer.detokenize([3], prev_tokens=[2]) == b" xxx"


# -- chat formats


def test_named_formats_are_functions() -> None:
    made = formats.format_chatml(HELLO)
    assert made.prompt == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert made.stop == ["<|im_end|>"]
    mistral = formats.format_mistral_instruct(messages=HELLO)
    assert ("" if mistral.added_special else "<s>") + mistral.prompt == "<s>[INST] Hello [/INST]"
    with pytest.raises(AttributeError):
        _ = formats.format_nothing


def test_jinja_formatter() -> None:
    template = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}"
    formatter = formats.Jinja2ChatFormatter(template, "</s>", "<s>", stop_token_ids=[7])
    made = formatter(messages=HELLO, tools=None)
    assert made.prompt == "<s>user:Hello</s>"
    assert made.added_special
    assert made.stop == ["</s>"]
    assert made.stopping_criteria(np.array([1, 7]), np.zeros(1))
    assert not made.stopping_criteria(np.array([7, 1]), np.zeros(1))
    with pytest.raises(TemplateError, match="no"):
        formats.Jinja2ChatFormatter("{{ raise_exception('no') }}", "", "")(messages=HELLO)


def test_formatter_of_a_tokenizer_config() -> None:
    config = {"chat_template": "{{ messages[0].content }}{{ eos_token }}", "bos_token": "<s>", "eos_token": "</s>"}
    assert formats.hf_tokenizer_config_to_chat_formatter(config)(messages=HELLO).prompt == "Hello</s>"
    with pytest.raises(InputError, match="bos_token"):
        formats.hf_tokenizer_config_to_chat_formatter({**config, "bos_token": {}})


def test_formats_are_guessed_by_what_templates_write() -> None:
    guess = formats.guess_chat_format_from_gguf_metadata
    assert guess({}) is None
    assert guess({"tokenizer.chat_template": "{{ messages[0].content }}"}) is None
    assert guess({"tokenizer.chat_template": "{% nonsense"}) is None
    for name in ("chatml", "llama-3"):
        constant = {"chatml": "CHATML_CHAT_TEMPLATE", "llama-3": "LLAMA3_INSTRUCT_CHAT_TEMPLATE"}[name]
        assert guess({"tokenizer.chat_template": getattr(formats, constant)}) == name


def test_handlers_are_registered_by_name() -> None:
    @formats.register_chat_completion_handler("test-handler")
    def handler(**options: Any) -> Any:
        return options

    try:
        assert formats.get_chat_completion_handler("test-handler") is handler
        assert chat_handlers.registered("test-handler") is handler
        with pytest.raises(InputError, match="is there already"):
            formats.register_chat_completion_handler("test-handler")(handler)
    finally:
        registry = formats.LlamaChatCompletionHandlerRegistry()
        assert registry is formats.LlamaChatCompletionHandlerRegistry()
        registry.unregister_chat_handler("test-handler")
    with pytest.raises(formats.LlamaChatCompletionHandlerNotFoundException, match="Invalid chat handler: test-handler"):
        formats.get_chat_completion_handler("test-handler")
    with pytest.raises(InputError, match="no chat format"):
        registry.unregister_chat_handler("test-handler")
    with pytest.raises(InputError, match="is there already"):
        formats.register_chat_completion_handler("chatml")(handler)


class Echo:
    """In place of a `Llama`: completes with a fixed text and keeps what it was asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: dict[str, Any] = {}

    def tokenize(self, text: bytes, add_bos: bool, special: bool) -> list[int]:
        return [int(add_bos), int(special), *text]

    def create_completion(self, prompt: Any, **options: Any) -> Any:
        self.asked = {"prompt": prompt, **options}
        logprobs = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"b": -2.0}], "text_offset": [0]}
        choice = {"text": self.text, "index": 0, "finish_reason": "stop", "logprobs": logprobs}
        base = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}
        if not options.get("stream"):
            return {**base, "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        last = {**choice, "text": "", "logprobs": None}
        return iter([{**base, "choices": [{**choice, "finish_reason": None}]}, {**base, "choices": [last]}])


def handler_of_messages() -> Any:
    def formatter(*, messages: Any, **_options: Any) -> Any:
        return formats.ChatFormatterResponse(messages[-1]["content"], stop="END")

    return formats.chat_formatter_to_chat_completion_handler(formatter)


def test_a_formatter_becomes_a_handler() -> None:
    llama = Echo("Hi")
    answer = handler_of_messages()(llama=llama, messages=HELLO, stop=["X"], logprobs=True, top_logprobs=2, max_tokens=3)
    assert llama.asked["prompt"] == [1, 1, *b"Hello"]
    assert (llama.asked["stop"], llama.asked["logprobs"], llama.asked["max_tokens"]) == (["X", "END"], 2, 3)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Hi"}
    assert answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"] == -2.0
    chunks = list(handler_of_messages()(llama=llama, messages=HELLO, stream=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "Hi"}, {}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_handler_holds_a_forced_tool_to_its_schema() -> None:
    llama = Echo('{"a": 1}')
    function = {"name": "f", "parameters": {"type": "object"}}
    options = {"tools": [{"type": "function", "function": function}], "messages": HELLO}
    choice = {"type": "function", "function": {"name": "f"}}
    answer = handler_of_messages()(llama=llama, tool_choice=choice, **options)
    assert llama.asked["json_schema"] == {"type": "object"}
    call = answer["choices"][0]["message"]["tool_calls"][0]
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    chunks = list(handler_of_messages()(llama=llama, tool_choice=choice, stream=True, **options))
    calls = [c["choices"][0]["delta"].get("tool_calls") for c in chunks]
    assert "".join(c[0]["function"]["arguments"] for c in calls if c) == '{"a": 1}'
    with pytest.raises(InputError, match="Tool choice 'g' not found in tools"):
        handler_of_messages()(llama=llama, tool_choice={"type": "function", "function": {"name": "g"}}, **options)


@pytest.mark.parametrize("name", ["Llava15ChatHandler", "Qwen25VLChatHandler", "MTMDChatHandler", "Llama3VisionAlpha"])
def test_handlers_for_images_say_that_there_are_none(name: str) -> None:
    handler = getattr(formats, name)
    with pytest.raises(UnsupportedError, match="images"):
        handler(clip_model_path="mmproj.gguf")
    with pytest.raises(UnsupportedError, match="images"):
        handler.from_pretrained(repo_id="a/b", filename="c")


def test_types_are_what_they_are_called() -> None:
    message: Any = llama_types.ChatCompletionRequestUserMessage(role="user", content="x")
    assert message == {"role": "user", "content": "x"}
    assert llama_types.CreateCompletionResponse is llama_types.Completion


def test_small_helpers(capsys: pytest.CaptureFixture[str]) -> None:
    class One(Singleton):
        pass

    assert One() is One()
    with suppress_stdout_stderr(disable=False):
        print("nothing")
    with suppress_stdout_stderr():
        print("something")
    assert capsys.readouterr().out == "something\n"


# -- the server's settings


def test_flags_of_the_original() -> None:
    argv = ["--model", "m.gguf", "--n_ctx", "2048", "--verbose", "False", "--chat_format", "chatml", "--port", "0",
            "--model_alias", "gpt", "--n_threads", "-1", "--kv_overrides", "a.b=int:3", "c=bool:true"]  # fmt: skip
    made = settings_of(argv)
    assert (made.model, made.names, made.server.port) == ("m.gguf", ("gpt",), 0)
    assert (made.load["n_ctx"], made.load["chat_format"], made.load["verbose"]) == (2048, "chatml", False)
    assert made.load["kv_overrides"] == {"a.b": 3, "c": True}
    assert "n_threads" not in made.load


def test_flags_of_ours_are_taken_too() -> None:
    made = settings_of(["--model=m.gguf", "--max-queue", "7", "--cache", "--cache_size", "100", "--draft_model",
                        "prompt-lookup-decoding", "--api_key", "k"])  # fmt: skip
    assert made.load["max_queue"] == 7
    assert (made.load["cache_ram_bytes"], made.load["draft_model"], made.load["draft_max"]) == (
        100,
        "prompt-lookup",
        10,
    )
    assert made.server.api_key == ("k",)


def test_flags_that_do_nothing_are_named_and_wrong_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="'interrupt_requests' does nothing"):
        settings_of(["--model", "m.gguf", "--interrupt_requests", "True"])
    with pytest.raises(InputError, match="n_ctx"):
        settings_of(["--n_ctx", "many"])
    with pytest.raises(SystemExit):
        settings_of(["--no_such_flag", "1"])
    assert "no_such_flag" in capsys.readouterr().err.replace("-", "_")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N_CTX", "128")
    monkeypatch.setenv("MODEL", "m.gguf")
    made = server.Settings(n_batch=16)
    assert (made.n_ctx, made.model, made.n_batch, made.seed) == (128, "m.gguf", 16, None)
    assert server.ModelSettings.model_validate(made).model_dump() == {"n_batch": 16, "n_ctx": 128, "model": "m.gguf"}
    with pytest.raises(UnknownOptionError, match="n_ctx"):
        server.Settings(n_cxt=1)
    monkeypatch.setenv("N_CTX", "lots")
    with pytest.raises(InputError, match="n_ctx"):
        server.Settings()


def test_a_configuration_file_with_models(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(
        '{"host": "0.0.0.0", "port": 0, "models": [{"model": "a.gguf", "model_alias": "a", "n_ctx": 64},'
        ' {"model": "b.gguf", "model_alias": "b"}]}',
        encoding="utf-8",
    )
    made = settings_of(["--config_file", str(path)])
    assert made.server.host == "0.0.0.0"
    assert [one.names for one in made.models] == [("a",), ("b",)]
    assert made.models[0].load["n_ctx"] == 64
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="lists no models"):
        settings_of(["--config_file", str(path)])


def test_an_application_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONFIG_FILE", raising=False)
    app = create_app(server.Settings(model="m.gguf", n_ctx=64))
    assert app.state.settings.load["n_ctx"] == 64
    with pytest.raises(InputError, match="provided together"):
        create_app(server_settings=cast(Any, server.ServerSettings()))


def test_a_handler_of_both_loggers_gets_a_line_once() -> None:
    from llama_bind.compat._logger import logger

    seen: list[str] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    shared, own = Seen(), Seen()
    ours = logging.getLogger("llama_bind")
    try:
        logger.addHandler(own)
        ours.warning("one")
        assert seen == ["one"]
        ours.addHandler(shared)
        logger.addHandler(shared)
        logger.removeHandler(own)
        ours.warning("two")
        assert seen == ["one", "two"]
        logger.setLevel(logging.ERROR)
        ours.removeHandler(shared)
        ours.warning("three")
        assert seen == ["one", "two"], "its own level holds"
    finally:
        logger.setLevel(logging.NOTSET)
        for handler in (shared, own):
            logger.removeHandler(handler)
            ours.removeHandler(handler)
