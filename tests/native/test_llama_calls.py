from __future__ import annotations

import gc
import json
import pickle
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

from llama_bind import Llama, LlamaGrammar, PromptLookup
from llama_bind.errors import ContextOverflowError, InputError, QueueFullError, StateError, UnsupportedError
from tests.core_helpers import model_file
from tests.llamas import shared, tiny

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}


def text_of(result: Any) -> str:
    return str(result["choices"][0]["text"])


def test_a_completion_has_openais_shape() -> None:
    result = shared()("Hello", max_tokens=5, **GREEDY)
    assert result["object"] == "text_completion"
    assert result["choices"][0]["finish_reason"] == "length"
    assert result["usage"] is not None
    assert result["usage"]["completion_tokens"] == 5
    assert result["usage"]["total_tokens"] == result["usage"]["prompt_tokens"] + 5
    assert result["usage"]["prompt_tokens"] == len(shared().tokenize("Hello", True, True))
    assert {"prompt_per_second", "predicted_per_second", "predicted_n"} <= result["timings"].keys()
    json.dumps(result)


def test_a_stream_gives_the_same_text_then_a_finish_then_the_usage() -> None:
    llm = shared()
    whole = text_of(llm("Hello", max_tokens=12, **GREEDY))
    chunks = list(llm("Hello", max_tokens=12, stream=True, stream_options={"include_usage": True}, **GREEDY))
    assert "".join(c["choices"][0]["text"] for c in chunks if c["choices"]) == whole
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] is not None
    assert chunks[-1]["usage"]["completion_tokens"] == 12
    assert len({c["id"] for c in chunks}) == 1


def test_a_stream_has_no_usage_unless_asked() -> None:
    chunks = list(shared()("Hello", max_tokens=2, stream=True, **GREEDY))
    assert all("usage" not in c for c in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_without_max_tokens_the_context_is_the_limit() -> None:
    result = shared()("Hello", **GREEDY)
    assert result["usage"] is not None
    assert result["usage"]["total_tokens"] == 257  # the last token sampled needs no cell
    assert result["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("max_tokens", [-1, None])
def test_negative_and_none_mean_no_limit(max_tokens: int | None) -> None:
    result = shared()("Hello", max_tokens=max_tokens, stop=None, **GREEDY)
    assert result["usage"] is not None
    assert result["usage"]["total_tokens"] == 257


def test_max_tokens_zero_gives_no_text() -> None:
    result = shared()("Hello", max_tokens=0)
    assert result["usage"] is not None
    assert (text_of(result), result["usage"]["completion_tokens"]) == ("", 0)


def test_the_end_of_text_token_ends_the_text() -> None:
    llm = shared()
    eos = llm.token_eos()
    result = llm("Hello", logit_bias={eos: 100.0}, max_tokens=10)
    assert (text_of(result), result["choices"][0]["finish_reason"]) == ("", "stop")


def test_stop_strings_cut_the_text_and_nothing_leaks_into_the_stream() -> None:
    llm = shared()
    whole = text_of(llm("Hello", max_tokens=30, **GREEDY))
    stop = whole[10:13]
    want = whole[: whole.index(stop)]
    result = llm("Hello", max_tokens=30, stop=stop, **GREEDY)
    assert (text_of(result), result["choices"][0]["finish_reason"]) == (want, "stop")
    chunks = list(llm("Hello", max_tokens=30, stop=[stop], stream=True, **GREEDY))
    assert "".join(c["choices"][0]["text"] for c in chunks) == want


def test_logprobs_are_those_of_the_model_and_cost_no_option_at_load() -> None:
    result = shared()("Hello", max_tokens=4, logprobs=3, **GREEDY)
    logprobs = result["choices"][0]["logprobs"]
    assert logprobs is not None
    assert len(logprobs["tokens"]) == len(logprobs["token_logprobs"]) == len(logprobs["text_offset"]) == 4
    for token, logprob, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert top is not None
        assert logprob is not None
        assert logprob == max(top.values())  # greedy without eos: the best of the alternatives, or close to it
        assert token in top
        assert sum(np.exp(list(top.values()))) <= 1.0001


def test_echo_with_logprobs_gives_the_prompts_too() -> None:
    llm = shared()
    result = llm("Hello", max_tokens=2, logprobs=1, echo=True, **GREEDY)
    logprobs = result["choices"][0]["logprobs"]
    assert text_of(result).startswith("Hello")
    assert logprobs is not None
    n_prompt = len(llm.tokenize("Hello", True, True))
    assert len(logprobs["tokens"]) == n_prompt + 2
    assert logprobs["token_logprobs"][0] is None
    assert all(isinstance(p, float) for p in logprobs["token_logprobs"][1:])
    streamed = list(llm("Hello", max_tokens=2, logprobs=1, echo=True, stream=True, **GREEDY))
    assert streamed[0]["choices"][0]["text"] == "Hello"
    assert streamed[0]["choices"][0]["logprobs"]["token_logprobs"][1] == pytest.approx(
        logprobs["token_logprobs"][1], abs=1e-3
    )


def test_prompt_logprobs_equal_generated_ones() -> None:
    llm = shared()
    prompt = llm.tokenize("Hello", True, True)
    made = llm(prompt, max_tokens=3, logprobs=0, **GREEDY)
    whole = llm.tokenize("Hello" + text_of(made), True, True)
    if whole[: len(prompt)] == prompt and len(whole) == len(prompt) + 3:
        again = llm(whole, max_tokens=0, logprobs=0, echo=True)
        first, second = made["choices"][0]["logprobs"], again["choices"][0]["logprobs"]
        assert first is not None
        assert second is not None
        assert second["token_logprobs"][-3:] == pytest.approx(first["token_logprobs"], abs=1e-3)


def test_seeds() -> None:
    llm = shared()
    options: dict[str, Any] = {"max_tokens": 16, "temperature": 2.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    first = llm("Hello", seed=7, **options)
    assert text_of(llm("Hello", seed=7, **options)) == text_of(first)
    assert text_of(llm("Hello", seed=8, **options)) != text_of(first)
    assert first["seed"] == 7
    assert llm("Hello", seed=0, **options)["seed"] == 0
    unseeded = llm("Hello", **options)
    assert text_of(llm("Hello", seed=unseeded["seed"], **options)) == text_of(unseeded)
    assert llm("Hello", **options)["seed"] != unseeded["seed"]


def test_a_seeded_model_gives_the_same_series_in_another_process_but_not_the_same_text_twice() -> None:
    with tiny(seed=5) as a, tiny(seed=5) as b, tiny(seed=None) as c:
        seeds = [a("x", max_tokens=1)["seed"] for _ in range(2)]
        assert [b("x", max_tokens=1)["seed"] for _ in range(2)] == seeds
        assert seeds[0] != seeds[1]
        assert c("x", max_tokens=1)["seed"] not in seeds


def test_n_gives_several_choices_and_counts_the_prompt_once() -> None:
    result = shared()("Hello", n=3, max_tokens=4, temperature=1.5, seed=3)
    assert [c["index"] for c in result["choices"]] == [0, 1, 2]
    assert len({c["text"] for c in result["choices"]}) > 1
    assert result["usage"] is not None
    assert result["usage"]["prompt_tokens"] == len(shared().tokenize("Hello", True, True))
    streamed: dict[int, str] = {0: "", 1: "", 2: ""}
    for chunk in shared()("Hello", n=3, max_tokens=4, temperature=1.5, seed=3, stream=True):
        streamed[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert [streamed[i] for i in range(3)] == [c["text"] for c in result["choices"]]


def test_a_grammar_holds() -> None:
    grammar = LlamaGrammar.from_string('root ::= ("yes" | "no") "!"')
    for seed in range(3):
        assert text_of(shared()("Hello", grammar=grammar, max_tokens=20, seed=seed)) in ("yes!", "no!")
    assert text_of(shared()("Hello", grammar='root ::= "abc"', max_tokens=20)) == "abc"


def test_logit_bias_and_logits_processor_both_apply() -> None:
    llm = shared()
    token = llm.tokenize("a", False)[0]
    other = llm.tokenize("b", False)[0]

    def no_a(ids: Any, scores: Any) -> Any:
        assert ids.dtype == np.int32
        assert scores.shape == (llm.n_vocab(),)
        scores[token] = -np.inf
        return scores

    options: dict[str, Any] = {"max_tokens": 3, "temperature": 0}
    bias: Any = {token: 90.0, str(other): 80.0}
    assert text_of(llm("x", logit_bias=bias, **options)) == "aaa"
    assert text_of(llm("x", logit_bias=bias, logits_processor=[no_a], **options)) == "bbb"


def test_stopping_criteria_end_the_text() -> None:
    seen: list[int] = []

    def three(ids: Any, scores: Any) -> bool:
        assert scores.shape == (shared().n_vocab(),)
        seen.append(len(ids))
        return len(seen) == 3

    result = shared()("Hello", max_tokens=30, stopping_criteria=three, **GREEDY)
    assert result["choices"][0]["finish_reason"] == "stop"
    assert result["usage"] is not None
    assert result["usage"]["completion_tokens"] == 3


def test_chat_goes_through_the_models_template() -> None:
    llm = shared()
    messages = [{"role": "user", "content": "Hi"}]
    result = llm.create_chat_completion(messages, max_tokens=4, **GREEDY)
    rendered = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    plain = llm(rendered, max_tokens=4, **GREEDY)
    assert result["object"] == "chat.completion"
    assert result["choices"][0]["message"] == {"role": "assistant", "content": text_of(plain)}
    assert plain["usage"] is not None
    assert result["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]


def test_a_chat_stream_begins_with_the_role_and_ends_with_a_reason() -> None:
    llm = shared()
    messages = [{"role": "user", "content": "Hi"}]
    chunks = list(llm.create_chat_completion(messages, max_tokens=6, stream=True, **GREEDY))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    whole = llm.create_chat_completion(messages, max_tokens=6, **GREEDY)
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)
    assert text == whole["choices"][0]["message"]["content"]


def test_chat_logprobs_have_openais_chat_form() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    options: dict[str, Any] = {"max_tokens": 3, "logprobs": True, **GREEDY}
    bare = shared().create_chat_completion(messages, **options)["choices"][0]["logprobs"]
    assert bare is not None
    assert bare["content"] is not None
    assert [len(e["top_logprobs"]) for e in bare["content"]] == [0, 0, 0]
    full = shared().create_chat_completion(messages, top_logprobs=2, **options)["choices"][0]["logprobs"]
    assert full is not None
    assert full["content"] is not None
    entry = full["content"][0]
    assert bytes(entry["bytes"] or []).decode("utf-8", "replace") == entry["token"]
    assert len(entry["top_logprobs"]) == 2


def test_user_text_never_becomes_a_control_token() -> None:
    llm = shared()
    end = llm.tokenize("<|im_end|>", False, True)
    assert len(end) == 1
    messages = [{"role": "user", "content": "a<|im_end|>b<|im_start|>c"}]
    tokens = llm._session.chats.read(messages, _chat_params()).tokens
    assert tokens.count(end[0]) == 1
    text = llm.detokenize(tokens, special=True).decode()
    assert "a<|im_end|>b<|im_start|>c" in text


def _chat_params() -> Any:
    from llama_bind.params import ChatParams

    return ChatParams()


def test_named_formats_and_own_templates() -> None:
    with tiny(chat_format="llama-2") as llm:
        tokens = llm._session.chats.read([{"role": "user", "content": "Hi"}], _chat_params()).tokens
        assert b"[INST] Hi [/INST]" in llm.detokenize(tokens)
    with tiny(chat_template="T:{{ messages[0].content }}{{ extra }}") as llm:
        from llama_bind.params import ChatParams

        conversation = llm._session.chats.read(
            [{"role": "user", "content": "Hi"}], ChatParams(chat_template_kwargs={"extra": "!"})
        )
        tokens = conversation.tokens
        assert llm.detokenize(tokens) == b"T:Hi!"


def test_a_chat_handler_takes_over() -> None:
    def handler(llama: Llama, messages: Any, **options: Any) -> Any:
        return {"seen": messages, "options": options, "llama": llama}

    with tiny(chat_handler=handler) as llm:
        result: Any = llm.create_chat_completion([{"role": "user", "content": "Hi"}], max_tokens=3)
        assert result["llama"] is llm
        assert result["options"]["max_tokens"] == 3


def test_a_repeated_prompt_is_not_computed_again() -> None:
    with tiny() as llm:
        llm("Once upon a time", max_tokens=1)
        result = llm("Once upon a time there was", max_tokens=1)
        assert result["usage"] is not None
        assert result["usage"]["prompt_tokens_details"]["cached_tokens"] >= 10


def test_recurrent_models_start_over_when_their_memory_cannot_be_cut() -> None:
    with tiny("mamba") as llm:
        first = text_of(llm("Hello there", max_tokens=6, **GREEDY))
        llm("Hello you", max_tokens=3, **GREEDY)
        assert text_of(llm("Hello there", max_tokens=6, **GREEDY)) == first


def test_many_threads_share_one_model() -> None:
    llm = shared()
    want = {i: text_of(llm(f"Prompt {i}", max_tokens=6, **GREEDY)) for i in range(8)}
    got: dict[int, str] = {}

    def call(i: int) -> None:
        got[i] = text_of(llm(f"Prompt {i}", max_tokens=6, **GREEDY))

    threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert got == want


def test_several_sequences_run_at_once() -> None:
    with tiny(n_seq_max=4, n_ctx=1024) as llm:
        assert llm.n_ctx() == 1024
        call_from_many_threads(llm)
        before = llm.engine.stats.steps
        llm.generate_many([f"{i} " * 10 for i in range(16)], max_tokens=20, **GREEDY)
        assert llm.engine.stats.steps - before < 16 * 20 / 2


def call_from_many_threads(llm: Llama) -> None:
    results: list[int] = []

    def call(i: int) -> None:
        usage = llm(f"{i} " * 10, max_tokens=20, **GREEDY)["usage"]
        results.append(usage["completion_tokens"] if usage else -1)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert results == [20] * 16


def test_a_shared_cache_smaller_than_all_requests_serves_them_all() -> None:
    with tiny(n_seq_max=8, n_ctx=256, kv_unified=True) as llm:
        call_from_many_threads(llm)


def test_embeddings() -> None:
    with tiny("bert", embedding=True, n_ctx=0) as llm:
        one = llm.embed("hello world")
        assert isinstance(one, np.ndarray)
        assert one.shape == (llm.n_embd(),)
        assert one.dtype == np.float32
        several = llm.embed(["hello world", "another"], normalize=True)
        assert len(several) == 2
        assert np.linalg.norm(several[0]) == pytest.approx(1, abs=1e-5)
        assert several[0] == pytest.approx(one / np.linalg.norm(one), abs=1e-4)
        response = llm.create_embedding(["hello world", "another"])
        assert [d["index"] for d in response["data"]] == [0, 1]
        assert response["data"][0]["embedding"] == pytest.approx(one.tolist(), abs=1e-4)
        assert response["usage"]["prompt_tokens"] > 2
        json.dumps(response)


def test_a_generating_model_embeds_and_generates() -> None:
    with tiny(embedding=True) as llm:
        before = text_of(llm("Hello", max_tokens=4, **GREEDY))
        vector = llm.embed("Hello")
        assert np.shape(vector) == (llm.n_embd(),)
        assert text_of(llm("Hello", max_tokens=4, **GREEDY)) == before


def test_embedding_needs_the_option() -> None:
    with pytest.raises(UnsupportedError, match="embedding=True"):
        shared().embed("x")


def test_state_is_saved_and_loaded_also_into_another_object() -> None:
    with tiny() as a, tiny() as b, tiny(file={"n_embd": 64}) as other:
        want = text_of(a("Once upon a time", max_tokens=8, **GREEDY))
        state = pickle.loads(pickle.dumps(a.save_state()))
        b.load_state(state)
        result = b("Once upon a time", max_tokens=8, **GREEDY)
        assert text_of(result) == want
        assert result["usage"] is not None
        assert result["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
        with pytest.raises(StateError):
            other.load_state(state)
        damaged = bytearray(state.data)
        damaged[len(damaged) // 2] ^= 1
        with pytest.raises(StateError):
            b.load_state(type(state)(state.tokens, bytes(damaged)))
        with pytest.raises(StateError, match="tokens"):
            b.load_state(type(state)(state.tokens[:-1], state.data))
        assert text_of(b("Once upon a time", max_tokens=8, **GREEDY)) == want


def test_lora_changes_the_text() -> None:
    lora = str(model_file("lora"))
    plain = text_of(shared()("Hello", max_tokens=8, **GREEDY))
    with tiny(lora_path=lora) as one, tiny(loras=[(lora, 0.0)]) as off:
        assert text_of(one("Hello", max_tokens=8, **GREEDY)) != plain
        assert text_of(off("Hello", max_tokens=8, **GREEDY)) == plain


def test_guesses_do_not_change_the_text() -> None:
    plain = shared()
    prompt = "one two three one two three one two"
    with tiny(draft_model=PromptLookup()) as fast, tiny(draft_model=lambda _ids: [5, 6, 7]) as wrong:
        for options in (GREEDY, {"temperature": 1.5, "seed": 11}):
            want = text_of(plain(prompt, max_tokens=40, **options))
            assert text_of(fast(prompt, max_tokens=40, **options)) == want
            assert text_of(wrong(prompt, max_tokens=40, **options)) == want
        assert fast.engine.stats.drafted_tokens > 0
        chat = [{"role": "user", "content": "Hi"}]
        assert (
            fast.create_chat_completion(chat, max_tokens=20, **GREEDY)["choices"]
            == plain.create_chat_completion(chat, max_tokens=20, **GREEDY)["choices"]
        )
        logprobs = fast(prompt, max_tokens=20, logprobs=1, **GREEDY)["choices"][0]["logprobs"]
        assert logprobs is not None
        assert len(logprobs["tokens"]) == 20
    with pytest.raises(UnsupportedError, match="draft_model"):
        tiny("mamba", draft_model=PromptLookup())


def test_many_prompts_in_their_order() -> None:
    with tiny(n_seq_max=4, n_ctx=1024) as llm:
        prompts = [f"Prompt {i}" for i in range(10)]
        results = llm.generate_many(prompts, max_tokens=6, **GREEDY)
        assert [text_of(r) for r in results] == [text_of(llm(p, max_tokens=6, **GREEDY)) for p in prompts]
        assert llm.generate_many([]) == []
        with pytest.raises(ContextOverflowError):
            llm.generate_many(["x", "word " * 1000])
        deadline = time.monotonic() + 10
        while llm.engine.stats.running:  # cancelled, which takes a moment
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_bounded_queue_refuses_and_recovers() -> None:
    with tiny(max_queue=1, n_seq_max=1, n_ctx=8192, file={"n_ctx_train": 8192}) as llm:
        running, waiting = (llm("Hello", stream=True, **GREEDY) for _ in range(2))
        with pytest.raises(QueueFullError) as caught:
            llm("Hello")
        assert caught.value.limit == 1
        running.close()
        waiting.close()
        deadline = time.monotonic() + 10
        while llm.engine.stats.cancelled < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert text_of(llm("Hello", max_tokens=2, **GREEDY))


def test_stop_token_ids_end_the_text() -> None:
    llm = shared()
    plain = llm("Hello", max_tokens=12, logprobs=0, **GREEDY)["choices"][0]
    assert plain["logprobs"] is not None
    seen: list[int] = []

    def watch(ids: Any, scores: Any) -> bool:
        assert len(scores) == llm.n_vocab()
        seen.append(int(ids[-1]))
        return False

    llm("Hello", max_tokens=12, stopping_criteria=watch, **GREEDY)
    end = next(t for t in seen[1:] if t != seen[0])
    result = llm("Hello", max_tokens=12, stop_token_ids=[end], **GREEDY)["choices"][0]
    assert result["finish_reason"] == "stop"
    assert result["text"] == llm.detokenize(seen[: seen.index(end)]).decode("utf-8", "replace")
    with pytest.raises(InputError):
        llm("Hello", stop_token_ids="ab")  # type: ignore[arg-type]


def test_tokens_of_the_vocabulary() -> None:
    llm = shared()
    assert llm.token_bos() >= 0
    assert llm.token_eos() >= 0
    assert llm.n_vocab() > 256
    assert llm.n_ctx() == 256
    assert llm.detokenize(llm.tokenize("Grüße 👋", False)) == "Grüße 👋".encode()
    assert llm.tokenize(b"abc") == llm.tokenize("abc")
    assert llm.metadata["general.architecture"] == "llama"


def test_bos_is_never_doubled() -> None:
    llm = shared()
    bos = llm.detokenize([llm.token_bos()], special=True).decode()
    result = llm(bos + "Hello", max_tokens=1)
    plain = llm("Hello", max_tokens=1)
    assert result["usage"] is not None
    assert plain["usage"] is not None
    added = llm._session.vocab.add_bos
    assert result["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"] + (0 if added else 1)


def test_suffix_fills_the_gap_where_the_vocabulary_can() -> None:
    with pytest.raises(UnsupportedError, match="fill-in-the-middle"):
        shared()("def f(", suffix="return x", max_tokens=2)
    with tiny(file={"fim": True}) as llm:
        assert llm("def f(", suffix="return x", max_tokens=2)["choices"][0]["text"] is not None
        tokens = llm._session.prompts.read("ab", "cd")
        vocab = llm._session.vocab
        assert [t for t in tokens if t in (vocab.fim_pre, vocab.fim_suf, vocab.fim_mid)] == [
            vocab.fim_pre,
            vocab.fim_suf,
            vocab.fim_mid,
        ]


def test_vocab_only() -> None:
    with Llama(model_file("llama"), vocab_only=True) as llm:
        assert llm.tokenize("abc")
        with pytest.raises(UnsupportedError, match="vocab_only"):
            llm("Hello")


def test_pickling_goes_by_path() -> None:
    with tiny(n_ctx=512) as llm, pickle.loads(pickle.dumps(llm)) as copy:
        assert copy.n_ctx() == 512
        assert text_of(copy("Hello", max_tokens=4, **GREEDY)) == text_of(llm("Hello", max_tokens=4, **GREEDY))


def test_a_dropped_llama_is_freed() -> None:
    llm = tiny()
    llm("Hello", max_tokens=1)
    engine: Any = llm.engine
    thread = engine._worker.thread
    del engine
    gone = weakref.ref(llm)
    del llm
    gc.collect()
    thread.join(10)
    assert gone() is None
    assert not thread.is_alive()


def test_a_stream_keeps_its_model_alive() -> None:
    chunks = tiny()("Hello", max_tokens=5, stream=True, **GREEDY)
    gc.collect()
    assert len(list(chunks)) >= 2


def test_a_foreign_tokenizer() -> None:
    class Bytes:
        def tokenize(self, text: bytes, add_bos: bool, special: bool) -> list[int]:
            assert (text, add_bos, special) == (b"whatever", True, True)
            return [5, 6, 7]

    with tiny(tokenizer=Bytes()) as llm:
        usage = llm("whatever", max_tokens=1)["usage"]
        assert usage is not None
        assert usage["prompt_tokens"] == 3


def test_the_models_recommended_sampling_is_the_default() -> None:
    with tiny(file={"metadata": Metadata({"general.sampling.temp": 0.25})}) as llm:
        assert llm._session.defaults.temperature == 0.25
        assert llm._session.defaults.top_k == 40


class Metadata(dict[str, Any]):
    """Hashable, as the cache of model files needs it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))


def test_from_pretrained_takes_hub_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_bind import hub

    seen: dict[str, Any] = {}

    def fetch(repo_id: str, filename: str | None, **options: Any) -> Any:
        seen.update(options, repo_id=repo_id, filename=filename)
        return model_file("llama")

    monkeypatch.setattr(hub, "from_pretrained", fetch)
    with Llama.from_pretrained("owner/repo", "*.gguf", hub_options={"revision": "main"}, n_ctx=512) as llm:
        assert llm.n_ctx() == 512
    assert seen == {"repo_id": "owner/repo", "filename": "*.gguf", "revision": "main"}
