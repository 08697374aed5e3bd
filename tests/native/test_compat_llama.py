"""`llama_cpp.Llama` as programs use it: defaults, results, errors, computing by hand."""

from __future__ import annotations

import ctypes
import functools
import gc
import itertools
import json
import pickle
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llama_bind
from llama_bind import compat
from llama_bind.compat import loading
from llama_bind.compat.llama import Llama
from llama_bind.compat.llama_chat_format import (
    ChatFormatterResponse,
    LlamaChatCompletionHandlerNotFoundException,
    LlamaChatCompletionHandlerRegistry,
    get_chat_completion_handler,
    register_chat_format,
)
from llama_bind.compat.llama_speculative import LlamaPromptLookupDecoding
from llama_bind.compat.llama_tokenizer import BaseLlamaTokenizer, LlamaTokenizer
from llama_bind.core.handle import Handle
from llama_bind.errors import InputError, StateError, UnsupportedError
from llama_bind.results import token_text
from tests.core_helpers import model_file
from tests.llamas import TEMPLATE

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
MESSAGES = [{"role": "user", "content": "Hi"}]


def make(kind: str = "llama", **options: Any) -> Llama:
    changes = {"chat_template": TEMPLATE} if kind == "llama" else {}
    return Llama(model_path=str(model_file(kind, **changes)), **{"n_ctx": 256, "n_threads": 1, "seed": 1, **options})


@functools.cache
def shared() -> Llama:
    """One that tests share, do not close and leave without a handler."""
    return make()


def text_of(result: Any) -> str:
    return str(result["choices"][0]["text"])


# -- completions


def test_it_is_a_llama_of_both_kinds() -> None:
    llm = shared()
    assert isinstance(llm, llama_bind.Llama)
    assert isinstance(llm, compat.Llama)
    assert repr(llm).startswith("Llama('")
    assert (llm.n_ctx(), llm.n_batch, llm.context_params.n_ctx, llm.context_params.n_batch) == (256, 256, 256, 256)
    assert llm.n_vocab() == llm._n_vocab == llm.scores.shape[1]
    assert llm.metadata["general.architecture"] == "llama"
    assert (llm.n_threads, llm.last_n_tokens_size, llm.lora_path, llm.verbose) == (1, 64, None, False)
    assert llm.model_params.vocab_only is False
    with pytest.raises(AttributeError, match="nothing"):
        _ = llm.nothing


def test_a_completion_has_16_tokens_and_the_originals_shape() -> None:
    result = shared()("Hello", **GREEDY)
    assert result["object"] == "text_completion"
    assert result["choices"][0]["finish_reason"] == "length"
    assert result["usage"]["completion_tokens"] == 16
    json.dumps(result)
    assert text_of(shared().create_completion("Hello", None, 4, 0.0, ignore_eos=True)) == text_of(
        shared()(prompt="Hello", max_tokens=4, **GREEDY)
    )


@pytest.mark.parametrize("limit", [None, 0, -1])
def test_no_limit_fills_the_context(limit: int | None) -> None:
    result = shared()("Hello", max_tokens=limit, **GREEDY)
    assert result["usage"]["total_tokens"] >= 255


def test_token_ids_echo_stop_and_streams() -> None:
    llm = shared()
    tokens = llm.tokenize(b"Hello")
    whole = text_of(llm(tokens, max_tokens=8, **GREEDY))
    assert text_of(llm("Hello", max_tokens=8, echo=True, **GREEDY)) == "Hello" + whole
    chunks = list(llm("Hello", max_tokens=8, stream=True, **GREEDY))
    assert "".join(text_of(chunk) for chunk in chunks) == whole
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert text_of(llm("Hello", max_tokens=8, stop=[], stopping_criteria=None, **GREEDY)) == whole


def test_log_probabilities_need_no_preparation() -> None:
    found = shared()("Hello", max_tokens=3, logprobs=2, **GREEDY)["choices"][0]["logprobs"]
    assert len(found["tokens"]) == len(found["token_logprobs"]) == 3
    assert len(found["top_logprobs"][0]) >= 2


def test_too_long_prompts_say_so_in_the_known_words() -> None:
    with pytest.raises(ValueError, match=r"Requested tokens \(\d+\) exceed context window of 256") as caught:
        shared()("word " * 600)
    assert re.search(r"Requested tokens \((\d+)\) exceed context window of (\d+)", str(caught.value))


def test_unknown_keywords_of_calls_are_type_errors() -> None:
    with pytest.raises(TypeError, match=r"'temprature'.*'temperature'"):
        shared()("Hello", temprature=1)


def test_files_that_are_not_there_are_value_errors() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.gguf"):
        Llama("nowhere.gguf")
    with pytest.raises(ValueError, match="n_ctx"):
        make(n_ctx=2**30)


def test_foreign_arguments_of_the_constructor_are_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_warned", set())
    given: dict[str, Any] = {"n_parts": -1, "f16_kv": True, "lora_base": None, "logits_all": False, "use_mlock": False,
                             "last_n_tokens_size": 32, "verbose": False, "framework_thing": 3}  # fmt: skip
    with pytest.warns(UserWarning, match="framework_thing") as caught, make(**given) as llm:
        assert llm.last_n_tokens_size == 32
    assert [str(w.message).split("'")[1] for w in caught] == ["framework_thing"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(**given).close()


def test_processors_and_criteria_see_what_the_original_shows() -> None:
    llm = shared()
    prompt = llm.tokenize(b"Hello")
    seen: list[tuple[Any, Any]] = []

    def only_seven(input_ids: Any, scores: Any) -> Any:
        seen.append((input_ids.dtype, scores.shape))
        scores[:] = -np.inf  # in place, as some libraries do
        scores[7] = 0
        return scores

    result = llm(prompt, max_tokens=5, logits_processor=compat.LogitsProcessorList([only_seven]), temperature=1.0)
    assert seen[0] == (np.intc, (llm.n_vocab(),))
    assert result["usage"]["completion_tokens"] == 5

    def three(input_ids: Any, _logits: Any) -> bool:
        return len(input_ids) >= len(prompt) + 3

    stopped = llm(prompt, max_tokens=9, stopping_criteria=compat.StoppingCriteriaList([three]), **GREEDY)
    assert stopped["usage"]["completion_tokens"] == 3
    assert stopped["choices"][0]["finish_reason"] == "stop"


def test_biases_and_processors_hold_together() -> None:
    llm = shared()
    result = llm(
        "Hello",
        max_tokens=3,
        temperature=0,
        logit_bias={"7": 100.0},
        logits_processor=compat.LogitsProcessorList([lambda _, s: s]),
        logprobs=0,
    )
    assert result["choices"][0]["logprobs"]["tokens"] == [llm.detokenize([7]).decode()] * 3


def test_grammars() -> None:
    llm = shared()
    grammar = compat.LlamaGrammar.from_string('root ::= "yes" | "no"', verbose=False)
    assert text_of(llm("Is it? ", grammar=grammar, temperature=1.0)) in ("yes", "no")
    schema = compat.LlamaGrammar.from_json_schema('{"enum": ["a"]}')
    assert json.loads(text_of(llm("x", grammar=schema))) == "a"


def test_seeds() -> None:
    llm = make(seed=0)
    first = text_of(llm("Hello", max_tokens=8, seed=5))
    assert text_of(llm("Hello", max_tokens=8, seed=5)) == first
    llm.set_seed(7)
    drawn = [text_of(llm("Hello", max_tokens=8)) for _ in range(2)]
    llm.set_seed(7)
    assert [text_of(llm("Hello", max_tokens=8)) for _ in range(2)] == drawn
    llm.close()


def test_threads_may_call_it_at_once() -> None:
    llm, found = shared(), [""] * 4
    wanted = text_of(llm("Hello", max_tokens=12, **GREEDY))

    def work(index: int) -> None:
        found[index] = text_of(llm("Hello", max_tokens=12, **GREEDY))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [wanted] * 4


def test_infill_both_ways_round() -> None:
    path = str(model_file("llama", fim=True))
    with Llama(path, n_ctx=256, n_threads=1) as plain, Llama(path, n_ctx=256, n_threads=1, spm_infill=True) as turned:
        assert not plain.spm_infill
        assert turned.spm_infill
        for llm in (plain, turned):
            result = llm.create_completion("def f(", suffix=")", max_tokens=4, **GREEDY)
            assert result["usage"]["completion_tokens"] == 4
    with pytest.raises(ValueError, match="suffix"):
        shared()("a", suffix="b")


def test_guesses_change_nothing() -> None:
    wanted = text_of(shared()("Hello", max_tokens=24, **GREEDY))
    with make(draft_model=LlamaPromptLookupDecoding(num_pred_tokens=4)) as llm:
        assert isinstance(llm.draft_model, LlamaPromptLookupDecoding)
        assert text_of(llm("Hello", max_tokens=24, **GREEDY)) == wanted


# -- chat


def test_chats_have_the_originals_shape() -> None:
    llm = shared()
    answer = llm.create_chat_completion(MESSAGES, max_tokens=6, **GREEDY)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["role"] == "assistant"
    chunks = list(llm.create_chat_completion(messages=MESSAGES, max_tokens=6, stream=True, **GREEDY))
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert said == answer["choices"][0]["message"]["content"]
    assert llm.chat_format == "chat_template.default"


def test_answers_as_objects_of_openai() -> None:
    llm = shared()
    answer = llm.create_chat_completion_openai_v1(messages=MESSAGES, max_tokens=4, **GREEDY)
    assert type(answer).__module__.startswith("openai.")
    assert answer.choices[0].message.role == "assistant"
    chunks = list(llm.create_chat_completion_openai_v1(messages=MESSAGES, max_tokens=4, stream=True, **GREEDY))
    assert chunks[-1].choices[0].finish_reason == "length"


@pytest.fixture
def handled() -> Iterator[Llama]:
    with make() as llm:
        yield llm


def test_handlers_get_everything(handled: Llama) -> None:
    seen: dict[str, Any] = {}

    def handler(*, llama: Any, messages: Any, temperature: float, tfs_z: float, stream: bool, **rest: Any) -> Any:
        seen.update(llama=llama, messages=messages, temperature=temperature, tfs_z=tfs_z, stream=stream, **rest)
        return llama.create_completion("Hello", max_tokens=2, **GREEDY)

    handled.chat_handler = handler
    answer = handled.create_chat_completion(MESSAGES, max_tokens=9)
    assert answer["object"] == "text_completion"
    assert (seen["llama"], seen["temperature"], seen["max_tokens"], seen["top_k"]) == (handled, 0.2, 9, 40)
    assert {"functions", "tools", "tool_choice", "response_format", "logit_bias", "grammar"} <= seen.keys()


def test_formats_by_name_and_registered_ones(handled: Llama) -> None:
    @register_chat_format("test-format")
    def formatter(*, messages: Any, **_options: Any) -> Any:
        return ChatFormatterResponse(f"ask {messages[-1]['content']} answer", stop=["zzz"])

    try:
        handled.chat_format = "test-format"
        wanted = text_of(handled(handled.tokenize(b"ask Hi answer", special=True), max_tokens=5, **GREEDY))
        del wanted  # what the handler adds (temperature 0.2) is its own: the shape counts
        answer = handled.create_chat_completion(MESSAGES, max_tokens=5)
        assert answer["usage"]["prompt_tokens"] == len(handled.tokenize(b"ask Hi answer", special=True))
        assert answer["choices"][0]["message"]["role"] == "assistant"
    finally:
        LlamaChatCompletionHandlerRegistry().unregister_chat_handler("test-format")
    with pytest.raises(LlamaChatCompletionHandlerNotFoundException, match="test-format"):
        handled.create_chat_completion(MESSAGES)
    handled.chat_format = "vicuna"
    vicuna = handled.create_chat_completion(MESSAGES, max_tokens=3, **GREEDY)
    again = get_chat_completion_handler("vicuna")(llama=handled, messages=MESSAGES, max_tokens=3, **GREEDY)
    assert vicuna["usage"] == {**again["usage"], "prompt_tokens_details": vicuna["usage"]["prompt_tokens_details"]}
    with make(chat_format="vicuna") as loaded:
        assert loaded.create_chat_completion(MESSAGES, max_tokens=3, **GREEDY)["choices"] == vicuna["choices"]


@pytest.mark.parametrize("name", ["chatml-function-calling", "functionary-v2"])
def test_formats_for_tools(name: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    choice = {"type": "function", "function": {"name": "f"}}
    with make(chat_format=name, n_ctx=1024) as llm:
        answer = llm.create_chat_completion(MESSAGES, tools=[tool], tool_choice=choice, max_tokens=64)
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f"


# -- embeddings


def test_embeddings_are_lists() -> None:
    with make("bert", embedding=True) as llm:
        one = llm.embed("hello world")
        assert isinstance(one, list)
        assert isinstance(one[0], float)
        several, count = llm.embed(["hello", "world"], normalize=True, return_count=True)
        assert len(several) == 2
        assert count > 2
        assert np.linalg.norm(several[0]) == pytest.approx(1, abs=1e-5)
        response = llm.create_embedding(["hello", "world"], model="m")
        assert response["model"] == "m"
        assert response["data"][1]["index"] == 1
        json.dumps(response)
        assert llm.create_embedding("hello " * 2000)["usage"]["prompt_tokens"] <= 256  # cut, as there
    with pytest.raises(ValueError, match="embedding=True"):
        shared().embed("x")


# -- tokens


def test_pieces_put_together_give_the_text() -> None:
    llm = shared()
    text = "Hello wörld, again".encode()
    tokens = llm.tokenize(text)
    assert llm.detokenize(tokens) == text
    single = b"".join(llm.detokenize([token]) for token in llm.tokenize(text, add_bos=False))
    assert single.lstrip() == text
    assert llm.tokenizer().decode(tokens) == text.decode()
    assert isinstance(llm.tokenizer_, LlamaTokenizer)
    assert llm.tokenize("Hello") == llm.tokenize(b"Hello")


def test_a_vocabulary_alone() -> None:
    tokenizer = LlamaTokenizer.from_ggml_file(str(model_file()))
    assert tokenizer.decode(tokenizer.encode("Hello")) == "Hello"


def test_a_tokenizer_in_the_models_place() -> None:
    class Fixed(BaseLlamaTokenizer):
        def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
            del add_bos, special
            return [5] * len(text)

        def detokenize(self, tokens: Any, prev_tokens: Any = None, special: bool = False) -> bytes:
            del prev_tokens, special
            return b"x" * len(tokens)

    with make(tokenizer=Fixed()) as llm:
        assert llm.tokenize(b"abc") == [5, 5, 5]
        assert llm.detokenize([1, 2]) == b"xx"
        assert llm("abcd", max_tokens=1)["usage"]["prompt_tokens"] == 4


# -- computing by hand


def test_steps_give_what_completions_give() -> None:
    llm = make()
    prompt = llm.tokenize(b"Hello")
    steps = list(itertools.islice(llm.generate(prompt, temp=0.0), 10))
    assert llm.n_tokens == len(prompt) + 9
    assert llm._input_ids.tolist() == [*prompt, *steps[:-1]]
    llm.reset()
    assert llm.n_tokens == 0
    llm.eval(prompt)
    assert llm.sample(temp=0.0) == steps[0]
    assert llm.sample(temp=0.0, logits_processor=compat.LogitsProcessorList([lambda _, s: -s])) != steps[0]
    assert list(llm.eval_tokens) == prompt
    ends = llm.model  # addresses are numbers
    assert isinstance(ends, int)
    assert isinstance(llm.ctx, int)
    result = llm(prompt, max_tokens=10, logprobs=0, temperature=0)
    pieces = [llm.detokenize([token]) for token in steps]
    drawn = [token_text(piece) for piece in pieces[: result["usage"]["completion_tokens"]]]
    assert result["choices"][0]["logprobs"]["tokens"] == drawn
    llm.close()


def test_generating_takes_what_is_sent() -> None:
    llm = make()
    prompt = llm.tokenize(b"Hello")
    texts = llm.generate(prompt, temp=0.0)
    first = next(texts)
    texts.send([9, 10])
    assert llm._input_ids.tolist() == [*prompt, first, 9, 10]
    texts.close()
    stopping = compat.StoppingCriteriaList([lambda ids, _: len(ids) >= len(prompt) + 2])
    assert len(list(llm.generate(prompt, temp=0.0, stopping_criteria=stopping))) == 2
    llm.close()


def test_a_known_beginning_is_not_computed_again() -> None:
    llm = make()
    prompt = llm.tokenize(b"Hello there, you")
    fresh = list(itertools.islice(llm.generate(prompt, temp=0.0), 4))
    for other in (prompt, [*prompt[:-1], 11], prompt):
        again = list(itertools.islice(llm.generate(other, temp=0.0), 4))
        if other == prompt:
            assert again == fresh
    llm.n_tokens = 3
    assert llm.n_tokens == 3
    with pytest.raises(InputError, match="eval"):
        llm.sample()
    llm.close()


def test_scores_with_logits_all() -> None:
    with make(logits_all=True) as llm:
        prompt = llm.tokenize(b"Hello there")
        llm.eval(prompt)
        assert llm._scores.shape == (len(prompt), llm.n_vocab())
        assert np.abs(llm._scores).sum(axis=1).min() > 0
        assert llm.sample(temp=0.0, idx=0) == int(np.argmax(llm.scores[0]))
        assert len(llm.eval_logits) == len(prompt)
        probabilities = Llama.logits_to_logprobs(llm.scores[0])
        assert np.exp(probabilities).sum() == pytest.approx(1, abs=1e-4)


def test_more_than_the_context_is_refused() -> None:
    llm = make()
    with pytest.raises(ValueError, match=r"Requested tokens \(300\) exceed context window of 256"):
        llm.eval([5] * 300)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        llm.eval([10**6])
    llm.close()


def test_a_recurrent_model_goes_by_hand_too() -> None:
    with make("mamba") as llm:
        prompt = llm.tokenize(b"Hello") or [1, 2, 3]
        fresh = list(itertools.islice(llm.generate(prompt, temp=0.0), 4))
        assert list(itertools.islice(llm.generate(prompt, temp=0.0), 4)) == fresh


def test_the_c_api_on_its_context() -> None:
    llm = make()
    low = compat.llama_cpp
    prompt = llm.tokenize(b"Hello")
    llm.eval(prompt)
    wanted = llm.sample(temp=0.0)
    low.llama_memory_seq_rm(low.llama_get_memory(llm.ctx), -1, 0, -1)
    batch = low.llama_batch_init(llm.n_batch, 0, 1)
    batch.n_tokens = len(prompt)
    for i, token in enumerate(prompt):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, i == len(prompt) - 1
        batch.seq_id[i][0] = 0
    assert low.llama_decode(llm.ctx, batch) == 0
    row = ctypes.cast(low.llama_get_logits(llm.ctx), ctypes.POINTER(ctypes.c_float * llm.n_vocab())).contents
    assert int(np.argmax(np.array(row))) == wanted
    low.llama_batch_free(batch)
    vocab = low.llama_model_get_vocab(llm.model)
    assert low.llama_vocab_n_tokens(vocab) == llm.n_vocab()
    assert ctypes.cast(low._lib.llama_tokenize, ctypes.c_void_p).value
    assert low.LLAMA_MAX_DEVICES >= 1
    override = low.llama_model_kv_override()
    override.value.val_i64 = 5
    assert override.val_i64 == 5
    llm.close()


# -- states


def test_states_of_completions_and_of_steps() -> None:
    llm = make()
    text = text_of(llm("Hello", max_tokens=6, **GREEDY))
    known = llm.n_tokens
    assert known > 5
    state = llm.save_state()
    assert (state.n_tokens, state.llama_state_size) == (known, len(state.llama_state))
    assert pickle.loads(pickle.dumps(state)).n_tokens == known
    llm("Something else entirely", max_tokens=6, **GREEDY)
    llm.load_state(state)
    assert text_of(llm("Hello", max_tokens=6, **GREEDY)) == text
    llm.load_state(state)
    llm.eval([7])  # goes on from the completion
    assert llm.n_tokens == known + 1
    by_hand = llm.save_state()
    drawn = llm.sample(temp=0.0)
    llm.reset()
    llm.load_state(by_hand)
    assert llm.n_tokens == known + 1
    llm.n_tokens = known
    llm.eval([7])
    assert llm.sample(temp=0.0) == drawn
    with pytest.raises(StateError, match="save_state"):
        llm.load_state(b"nothing")  # type: ignore[arg-type]
    llm.close()


def test_states_restore_the_seed() -> None:
    llm = make()
    llm.set_seed(1337)
    state = llm.save_state()
    first = text_of(llm("Hello", max_tokens=8, temperature=1.0))
    llm.load_state(state)
    assert text_of(llm("Hello", max_tokens=8, temperature=1.0)) == first
    llm.close()


def test_caches_can_be_set() -> None:
    with make() as llm:
        llm.set_cache(compat.LlamaRAMCache(capacity_bytes=1 << 20))
        assert isinstance(llm.cache, compat.LlamaCache)
        llm("Hello", max_tokens=2)
        llm.set_cache(None)


def test_copies_by_pickle_have_its_arguments() -> None:
    with make(chat_format="vicuna", logits_all=True, last_n_tokens_size=8) as llm:
        copy = pickle.loads(pickle.dumps(llm))
    assert (copy.chat_format, copy.n_ctx(), copy.last_n_tokens_size) == ("vicuna", 256, 8)
    copy.close()


def test_by_hand_needs_weights() -> None:
    with Llama(str(model_file()), vocab_only=True) as llm:
        assert llm.detokenize(llm.tokenize(b"Hello")) == b"Hello"
        with pytest.raises(UnsupportedError, match="vocab_only"):
            llm.eval([1])


def test_the_vocabulary_that_its_own_tests_use() -> None:
    path = Path(__file__).parents[2] / "vendor" / "llama.cpp" / "models" / "ggml-vocab-llama-spm.gguf"
    with Llama(model_path=str(path), vocab_only=True, verbose=False) as llm:
        text = b"Hello World"
        assert llm.tokenize(text) == [1, 15043, 2787]
        assert llm.detokenize([1, 15043, 2787]) == text
        bare = llm.tokenize(text, add_bos=False)
        assert bare == [15043, 2787]
        assert llm.detokenize(bare) == b" Hello World"  # pieces: the space of the first token shows without BOS
        assert b"".join(llm.detokenize([token]) for token in bare) == b" Hello World"
        marked = b"Hello World</s>"
        assert llm.tokenize(marked) == [1, 15043, 2787, 829, 29879, 29958]
        assert llm.tokenize(marked, special=True) == [1, 15043, 2787, llm.token_eos()]
        assert llm.tokenize(b"", add_bos=True, special=True) == [llm.token_bos()]
        assert llm.detokenize([llm.token_bos()]) == b""


def test_what_is_dropped_is_freed() -> None:
    gc.collect()
    before = Handle.live().get("Model", 0)
    llm = make()
    llm("Hello", max_tokens=2)
    llm.eval([5])
    llm.create_chat_completion(MESSAGES, max_tokens=2)
    assert Handle.live()["Model"] == before + 1
    del llm
    gc.collect()
    assert Handle.live().get("Model", 0) == before
