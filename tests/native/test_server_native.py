"""llama-server's and llama-cpp-python's own endpoints on tiny models: fields, forms of prompts, limits, streams."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from llama_bind import Llama
from tests.llamas import shared, tiny
from tests.servers import GREEDY, app_of, error_of, get, post

PROMPT = {"prompt": "Hello", "n_predict": 6, **GREEDY}
FIELDS = {
    "index", "content", "tokens", "id_slot", "stop", "model", "tokens_predicted", "tokens_evaluated",
    "generation_settings", "prompt", "has_new_line", "truncated", "stop_type", "stopping_word", "tokens_cached",
    "timings",
}  # fmt: skip


def llm() -> Llama:
    return shared(n_seq_max=4)


@functools.cache
def fillers() -> FastAPI:
    return app_of(tiny(file={"fim": True, "fim_repo": True}))


def complete(**more: Any) -> Any:
    answer = post("/completion", {**PROMPT, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def chunks_of(answer: httpx.Response) -> list[Any]:
    """The objects of a stream of llama-server's, which has no [DONE] at its end."""
    assert answer.status_code == 200, answer.text
    *blocks, rest = answer.text.split("\n\n")
    assert rest == ""
    assert all(block.startswith("data: ") for block in blocks)
    return [json.loads(block[6:]) for block in blocks]


# -- texts -------------------------------------------------------------------------------------------------------


def test_a_completion_has_llama_servers_fields() -> None:
    body = complete(return_tokens=True)
    own = llm()("Hello", max_tokens=6, **GREEDY)
    assert set(body) == FIELDS
    assert body["content"] == own["choices"][0]["text"]
    assert llm().detokenize(body["tokens"]).decode("utf-8", "replace") == body["content"]
    assert (body["stop"], body["stop_type"], body["stopping_word"], body["truncated"]) == (True, "limit", "", False)
    assert (body["tokens_predicted"], body["tokens_evaluated"]) == (6, len(llm().tokenize("Hello")))
    assert body["timings"]["predicted_n"] == 6
    assert body["timings"]["prompt_n"] + body["timings"]["cache_n"] == body["tokens_evaluated"]
    assert body["prompt"].endswith("Hello")
    assert complete()["tokens"] == []


def test_settings_are_told_as_they_were_used() -> None:
    settings = complete(seed=7, top_k=5, stop=["x", ""], repeat_last_n=9, n_keep=-1)["generation_settings"]
    assert (settings["seed"], settings["top_k"], settings["stop"], settings["repeat_last_n"]) == (7, 5, ["x"], 9)
    assert (settings["n_predict"], settings["temperature"], settings["mirostat"]) == (6, 0, 0)
    assert all(entry["bias"] is None for entry in settings["logit_bias"])
    assert {entry["token"] for entry in settings["logit_bias"]} == set(llm().model.vocab.eog_tokens)
    assert complete(ignore_eos=False)["generation_settings"]["logit_bias"] == []


def test_prompts_in_llama_servers_forms() -> None:
    ids = llm().tokenize("Hello")
    text = complete()["content"]
    for prompt in (ids, {"prompt_string": "Hello"}, ["Hello"], [ids], [{"prompt_string": "Hello"}]):
        assert complete(prompt=prompt)["content"] == text, prompt
    mixed = complete(prompt=["Hello", *llm().tokenize(" world", add_bos=False)])
    assert mixed["prompt"] == complete(prompt="Hello world")["prompt"]
    several = complete(prompt=["Hello", ids, {"prompt_string": "in"}], n_cmpl=2)
    assert [one["index"] for one in several] == list(range(6))
    assert [one["content"] for one in several][:4] == [text] * 4


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ([], "invalid_value"),
        ([[1.5]], "invalid_value"),
        ([1, "x", None], "invalid_value"),
        ([10**6], "invalid_token"),
        ({"text": "x"}, "invalid_value"),
        ({"prompt_string": "x", "multimodal_data": ["AAAA"]}, "unsupported"),
        (["x"] * 200, "limit_exceeded"),
        ("x" * 2000, "context_length_exceeded"),
    ],
)
def test_prompts_that_are_none(prompt: Any, code: str) -> None:
    error = error_of(post("/completion", {**PROMPT, "prompt": prompt}), 400)
    assert error["code"] == code


def test_biases_as_pairs_and_by_text() -> None:
    word = llm().tokenize("he", add_bos=False)
    assert len(word) == 1
    wanted = "he" * 6
    for bias in ([[word[0], 100]], [["he", 100]], {"he": 100}, {str(word[0]): 100}):
        assert complete(logit_bias=bias)["content"] == wanted, bias
    others = [[token, False] for token in range(llm().n_vocab()) if token != word[0]]
    assert complete(logit_bias=others)["content"] == wanted
    for bad in ([1], [[1, "x"]], [[1, True]], [[None, 1]]):
        assert error_of(post("/completion", {**PROMPT, "logit_bias": bad}), 400)["param"] == "logit_bias"


def test_samplers_by_letters() -> None:
    settings = complete(samplers="kt")["generation_settings"]
    assert settings["samplers"] == ["top_k", "temperature"]
    assert error_of(post("/completion", {**PROMPT, "samplers": "k?"}), 400)["param"] == "samplers"


def test_probabilities_of_the_model() -> None:
    body = complete(n_probs=3)
    assert len(body["completion_probabilities"]) == 6
    for entry in body["completion_probabilities"]:
        assert len(entry["top_logprobs"]) == 3
        assert entry["logprob"] == entry["top_logprobs"][0]["logprob"] <= 0  # greedy
        assert entry["id"] == entry["top_logprobs"][0]["id"]
        assert bytes(entry["bytes"]).decode("utf-8", "replace") == entry["token"]
    assert error_of(post("/completion", {**PROMPT, "n_probs": 1000}), 400)["code"] == "limit_exceeded"


def test_probabilities_after_the_samplers() -> None:
    body = complete(n_probs=4, post_sampling_probs=True, temperature=0.9, top_k=3, top_p=1, min_p=0, seed=3)
    plain = complete(temperature=0.9, top_k=3, top_p=1, min_p=0, seed=3)
    assert body["content"] == plain["content"], "asking for them must not change the draw"
    first = complete(n_probs=3, temperature=0.9, top_k=3, top_p=1, min_p=0, seed=3)["completion_probabilities"][0]
    for entry in body["completion_probabilities"]:
        probs = [other["prob"] for other in entry["top_probs"]]
        assert len(probs) == 3, "top_k left no more"
        assert math.isclose(sum(probs), 1, abs_tol=1e-6)
        assert probs == sorted(probs, reverse=True)
        assert entry["prob"] in probs
    # The same three tokens, divided by the temperature and scaled to one.
    logits = np.array([other["logprob"] for other in first["top_logprobs"]]) / 0.9
    expected = np.exp(logits) / np.exp(logits).sum()
    got = [other["prob"] for other in body["completion_probabilities"][0]["top_probs"]]
    assert np.allclose(got, expected, atol=1e-4)
    greedy = complete(n_probs=4, post_sampling_probs=True)["completion_probabilities"]
    assert all(entry["prob"] == 1 and len(entry["top_probs"]) == 1 for entry in greedy)
    held = complete(n_probs=2, post_sampling_probs=True, grammar='root ::= "on" | "in"', temperature=1, seed=1)
    assert held["content"] in ("on", "in")
    assert all(0 < entry["prob"] <= 1 for entry in held["completion_probabilities"])


def test_fields_can_be_chosen() -> None:
    body = complete(response_fields=["content", "generation_settings/n_predict", "nothing/here", "prompt"])
    assert set(body) == {"content", "generation_settings/n_predict", "prompt"}
    assert body["generation_settings/n_predict"] == 6


def test_why_a_text_ended() -> None:
    text = complete()["content"]
    word = complete(stop=[text[2:4]])
    assert (word["stop_type"], word["stopping_word"], word["content"]) == ("word", text[2:4], text[:2])
    end = next(iter(llm().model.vocab.eog_tokens))
    assert complete(logit_bias=[[end, 1000]], ignore_eos=False)["stop_type"] == "eos"
    whole = complete(n_predict=-1)
    assert (whole["stop_type"], whole["truncated"]) == ("limit", True)
    assert whole["tokens_predicted"] + whole["tokens_evaluated"] == llm().n_ctx() + 1
    assert complete(n_predict=0)["tokens_predicted"] == 0


def test_a_line_that_is_indented_too_little_ends_the_text() -> None:
    grammar = 'root ::= "a\\n    in\\n  on the world"'
    body = {**PROMPT, "grammar": grammar, "n_indent": 4, "n_predict": 40}
    assert complete(**body)["content"] == "a\n    in\n  "
    chunks = chunks_of(post("/completion", {**body, "stream": True}))
    assert "".join(chunk["content"] for chunk in chunks) == "a\n    in\n  "
    assert (chunks[-1]["stop_type"], chunks[-1]["has_new_line"]) == ("limit", True)
    assert complete(**{**body, "n_indent": 2})["content"] == "a\n    in\n  on the world"


def test_a_line_break_after_the_time_ends_the_text() -> None:
    body = {"grammar": 'root ::= ("a" | "\\n")+', "n_predict": 200, "temperature": 1.0, "seed": 1}
    whole = complete(**body)["content"]
    cut = complete(**body, t_max_predict_ms=1)["content"]
    assert whole.startswith(cut)
    assert len(cut) < len(whole)
    assert cut.endswith("\n")
    assert complete(**body, t_max_predict_ms=10**6)["content"] == whole


def test_the_cache_can_be_left_alone() -> None:
    app = app_of(tiny())
    prompt = "the world in " * 12
    for cache, cached in ((True, False), (True, True), (False, False)):
        timings = post("/completion", {**PROMPT, "prompt": prompt, "cache_prompt": cache}, app=app).json()["timings"]
        assert (timings["cache_n"] > 0) is cached
    chat = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 1}
    for cache, cached in ((True, False), (True, True), (False, False)):
        usage = post("/v1/chat/completions", {**chat, "cache_prompt": cache}, app=app).json()["usage"]
        assert (usage["prompt_tokens_details"]["cached_tokens"] > 0) is cached


def test_a_slot_is_accepted_and_an_adapter_is_not() -> None:
    assert complete(id_slot=3)["id_slot"] == -1
    assert error_of(post("/completion", {**PROMPT, "lora": [{"id": 0, "scale": 1}]}), 400)["code"] == "unsupported"


def test_an_empty_grammar_is_none() -> None:
    assert complete(grammar="")["content"] == complete()["content"]
    assert complete(json_schema={"const": 1}, n_predict=20)["content"] == "1"


# -- streams -----------------------------------------------------------------------------------------------------


def test_a_stream_gives_the_same_text() -> None:
    *pieces, last = chunks_of(post("/completion", {**PROMPT, "stream": True, "n_probs": 2}))
    assert "".join(piece["content"] for piece in pieces) == complete()["content"]
    assert all(piece["stop"] is False and "timings" not in piece for piece in pieces)
    assert [token for piece in pieces for token in piece["tokens"]] == complete(return_tokens=True)["tokens"]
    assert all(len(p["completion_probabilities"]) == len(p["tokens"]) for p in pieces if p["tokens"])
    assert set(last) == FIELDS
    assert (last["content"], last["tokens"], last["stop"]) == ("", [], True)


def test_a_stream_of_several_prompts() -> None:
    body = {**PROMPT, "prompt": ["Hello", "in"], "n_cmpl": 2}
    chunks = chunks_of(post("/completion", {**body, "stream": True}))
    texts = [""] * 4
    for chunk in chunks:
        texts[chunk["index"]] += chunk["content"]
    assert texts == [one["content"] for one in complete(**body)]
    assert sorted(chunk["index"] for chunk in chunks if chunk["stop"]) == [0, 1, 2, 3]


def test_errors_before_and_in_a_stream_are_told() -> None:
    assert error_of(post("/completion", {**PROMPT, "stream": True, "prompt": "x" * 2000}), 400)
    assert error_of(post("/completion", {**PROMPT, "stream": True, "temperature": -1}), 400)["param"] == "temperature"


@functools.cache
def small_batches() -> FastAPI:
    return app_of(tiny(n_batch=8, n_seq_max=2))


@pytest.mark.parametrize("path", ["/completion", "/v1/completions", "/v1/chat/completions"])
def test_progress_of_a_prompt_and_timings_so_far(path: str) -> None:
    text = f"{path[1:]} the world in the world on the world"
    body = {"prompt": text, "max_tokens": 3, "stream": True, **GREEDY}
    if path == "/v1/chat/completions":
        body["messages"] = [{"role": "user", "content": text}]
    answer = post(path, {**body, "return_progress": True, "timings_per_token": True}, app=small_batches())
    blocks = [block[6:] for block in answer.text.split("\n\n") if block.startswith("data: {")]
    chunks = [json.loads(block) for block in blocks]
    progress = [chunk["prompt_progress"] for chunk in chunks if "prompt_progress" in chunk]
    assert len(progress) > 2, "the prompt is computed in parts"
    assert progress[0]["processed"] == progress[0]["cache"]
    assert progress[0]["time_ms"] == 0
    assert progress[-1]["processed"] == progress[-1]["total"]
    assert [p["processed"] for p in progress] == sorted({p["processed"] for p in progress})
    timed = [chunk["timings"] for chunk in chunks if "timings" in chunk]
    assert timed[0]["prompt_n"] == timed[0]["prompt_ms"] == timed[0]["predicted_n"] == 0
    assert [t["predicted_n"] for t in timed] == sorted(t["predicted_n"] for t in timed)
    assert timed[-1]["predicted_n"] == 3
    assert all(value >= 0 for t in timed for value in t.values())
    again = post(path, {**body, "return_progress": True}, app=small_batches()).text
    first = next(json.loads(b[6:]) for b in again.split("\n\n") if "prompt_progress" in b)["prompt_progress"]
    assert first["cache"] == first["processed"] > 0
    plain = post(path, body, app=small_batches()).text
    assert "prompt_progress" not in plain


def test_reports_come_out_of_a_process_of_its_own() -> None:
    with tiny(engine_process=True, n_batch=8) as own:
        body = {**PROMPT, "prompt": "the world in " * 12, "n_probs": 2, "post_sampling_probs": True, "temperature": 1}
        answer = post("/completion", {**body, "stream": True, "return_progress": True}, app=app_of(own))
        chunks = chunks_of(answer)
    progress = [chunk["prompt_progress"]["processed"] for chunk in chunks if "prompt_progress" in chunk]
    assert len(progress) > 2
    assert progress == sorted(progress)
    probs = [entry for chunk in chunks for entry in chunk.get("completion_probabilities", ())]
    assert len(probs) == 6
    assert all(0 < entry["prob"] <= 1 for entry in probs)


# -- gaps --------------------------------------------------------------------------------------------------------


def test_a_gap_is_filled() -> None:
    body = {"input_prefix": "def f(", "input_suffix": "return 1", "prompt": "a", "n_predict": 4, **GREEDY}
    answer = post("/infill", {**body, "input_extra": [{"filename": "x.py", "text": "on"}]}, app=fillers())
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert set(found) == FIELDS
    assert found["tokens_predicted"] == 4
    for part in ("<|repo_name|>", "x.py", "<|fim_prefix|>def f(", "<|fim_suffix|>return 1", "<|fim_middle|>"):
        assert part in found["prompt"]
    streamed = chunks_of(post("/infill", {**body, "stream": True}, app=fillers()))
    assert streamed[-1]["stop"] is True


@pytest.mark.parametrize(
    "extra", [[{}], [{"filename": "ok"}], [{"filename": 1, "text": "x"}], [{"filename": "x", "text": 1}], ["x"], {}]
)
def test_files_that_are_none(extra: Any) -> None:
    body = {"input_prefix": "a", "input_suffix": "b", "input_extra": extra}
    assert error_of(post("/infill", body, app=fillers()), 400)["param"] == "input_extra"


def test_gaps_need_both_sides_and_a_model_for_them() -> None:
    missing = error_of(post("/infill", {"input_prefix": "a"}, app=fillers()), 400)
    assert (missing["code"], missing["param"]) == ("missing_required_parameter", "input_suffix")
    assert error_of(post("/infill", {"input_prefix": "a", "input_suffix": "b"}), 400)["code"] == "unsupported"


# -- vectors and tokens ------------------------------------------------------------------------------------------


@functools.cache
def embedder(pooling: str = "mean") -> FastAPI:
    return app_of(shared("bert", embedding=True, pooling_type=pooling))


def test_vectors_in_llama_servers_shape() -> None:
    both = post("/embedding", {"content": ["the world", "in"]}, app=embedder()).json()
    openai = post("/v1/embeddings", {"input": ["the world", "in"]}, app=embedder()).json()["data"]
    for one, other in zip(both, openai, strict=True):
        assert set(one) == {"index", "embedding"}
        assert one["index"] == other["index"]
        assert np.allclose(one["embedding"], [other["embedding"]], atol=1e-6)
    same = post("/embeddings", {"content": ["the world", "in"]}, app=embedder()).json()
    assert same == both, "a field of llama-server's gives its shape"
    assert post("/embeddings", {"input": "in"}, app=embedder()).json()["object"] == "list"
    raw = np.array(
        post("/embedding", {"content": "in", "embd_normalize": -1}, app=embedder()).json()[0]["embedding"][0]
    )
    for norm, length in ((1, np.abs(raw).sum()), (2, np.linalg.norm(raw)), (3, (np.abs(raw) ** 3).sum() ** (1 / 3))):
        body = {"content": "in", "embd_normalize": norm}
        scaled = post("/embedding", body, app=embedder()).json()[0]["embedding"][0]
        assert np.allclose(scaled, raw / length, atol=1e-6)
    most = post("/embedding", {"content": "in", "embd_normalize": 0}, app=embedder()).json()[0]["embedding"][0]
    assert np.abs(most).max() == pytest.approx(32760)


def test_a_vector_for_each_token() -> None:
    found = post("/embeddings", {"input": "the world"}, app=embedder("none")).json()
    assert len(found[0]["embedding"]) > 2
    assert not np.isclose(np.linalg.norm(found[0]["embedding"], axis=1), 1).any()


def test_texts_to_embed_in_llama_servers_forms() -> None:
    def vectors(given: Any) -> list[Any]:
        answer = post("/v1/embeddings", {"input": given}, app=embedder())
        assert answer.status_code == 200, answer.text
        return [entry["embedding"] for entry in answer.json()["data"]]

    text = vectors("the world")[0]
    parts = {"content": [{"type": "text", "text": "the "}, {"type": "text", "text": "world"}]}
    assert np.allclose(vectors(parts), [text], atol=1e-6)
    assert np.allclose(vectors(["the world", {"prompt_string": "the world"}, parts]), [text] * 3, atol=1e-6)
    assert len(vectors([12, 34, "the", 56])) == 1
    assert len(vectors([[12, 34], [12, "the", 34]])) == 2
    wrong: list[Any] = [{"content": "x"}, {"content": [{"type": "unknown"}]}, {"content": []}, [1.5], [{}]]
    for bad in wrong:
        assert error_of(post("/v1/embeddings", {"input": bad}, app=embedder()), 400)["param"] in ("input", None), bad
    image = {"content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
    assert error_of(post("/v1/embeddings", {"input": image}, app=embedder()), 400)["code"] == "unsupported"


def test_tokens_as_llama_cpp_python_has_them() -> None:
    ids = llm().tokenize("Hello <|im_end|>", special=True)
    assert post("/extras/tokenize", {"input": "Hello <|im_end|>"}).json() == {"tokens": ids}
    assert post("/extras/tokenize/count", {"input": "Hello <|im_end|>"}).json() == {"count": len(ids)}
    text = llm().detokenize(ids).decode()
    assert post("/extras/detokenize", {"tokens": ids}).json() == {"text": text}
    assert error_of(post("/extras/tokenize", {}), 400)["param"] == "input"
    assert error_of(post("/extras/detokenize", {"tokens": [10**6]}), 400)["code"] == "invalid_token"


def test_tokens_of_messages_and_the_prompt_of_a_chat() -> None:
    chat = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, **GREEDY}
    answer = post("/v1/chat/completions", {**chat, "verbose": True}).json()
    assert answer["__verbose"]["prompt"] == post("/apply-template", chat).json()["prompt"]
    count = post("/v1/chat/completions/input_tokens", chat).json()
    assert count == {"object": "response.input_tokens", "input_tokens": answer["usage"]["prompt_tokens"]}
    assert "__verbose" not in post("/v1/chat/completions", chat).json()
    both = {**chat, "add_generation_prompt": True, "continue_final_message": True}
    assert error_of(post("/v1/chat/completions", both), 400)["param"] == "continue_final_message"


def test_texts_and_ids_to_tokens() -> None:
    first = llm().tokenize("Hello")
    found = post("/tokenize", {"content": ["Hello", 7, "in"], "add_special": True}).json()["tokens"]
    assert found == [*first, 7, *llm().tokenize("in", add_bos=False)]


def test_paths_can_be_closed() -> None:
    app = app_of(closed_paths=["/slots", "/metrics"])
    assert error_of(get("/slots", app=app), 501)["code"] == "closed"
    assert error_of(get("/metrics", app=app), 501)
    assert get("/props", app=app).status_code == 200
