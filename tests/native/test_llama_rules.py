from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from llama_bind import AsyncLlama, Llama, PromptLookup
from llama_bind.engine.request import Request
from llama_bind.errors import GrammarError, InputError, TokenError
from llama_bind.params import SamplingParams
from llama_bind.values import FinishEvent
from tests import llamas

# With flash attention on the CPU, logits of these models differ by 1e-2 with the cells that a text lies in.
shared = functools.partial(llamas.shared, flash_attn=False)
tiny = functools.partial(llamas.tiny, flash_attn=False)

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
WILD: dict[str, Any] = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "ignore_eos": True}


def text_of(result: Any) -> str:
    return str(result["choices"][0]["text"])


def ids_of(result: Any, llm: Llama) -> list[int]:
    """The generated token ids, from log probabilities (tokens of the tiny vocabulary have different bytes)."""
    table = {llm.detokenize([t], special=True): t for t in reversed(range(llm.n_vocab()))}
    entries = result["choices"][0]["logprobs"]["content"]
    return [table[bytes(e["bytes"])] for e in entries]


def chat_ids(llm: Llama, **options: Any) -> list[int]:
    """Token ids of an answer; a chat's log probabilities hold the bytes of each token."""
    return ids_of(llm.create_chat_completion([{"role": "user", "content": "Hi"}], logprobs=True, **options), llm)


# -- min_tokens --------------------------------------------------------------------------------------------------------


def test_the_end_cannot_come_before_min_tokens() -> None:
    llm = shared()
    bias: Any = {llm.token_eos(): 100.0}
    for least in (0, 1, 5):
        result = llm("Hello", logit_bias=bias, temperature=0, max_tokens=10, min_tokens=least)
        assert result["choices"][0]["finish_reason"] == "stop"
        assert result["usage"] is not None
        assert result["usage"]["completion_tokens"] == least + 1
    assert len(chat_ids(llm, logit_bias=bias, temperature=0, max_tokens=10, min_tokens=4)) == 4


def test_min_tokens_holds_back_stop_token_ids_but_not_stop_strings() -> None:
    llm = shared()
    ids = chat_ids(llm, max_tokens=12, **GREEDY)
    stop = ids[3]
    first = ids.index(stop)
    assert len(chat_ids(llm, max_tokens=12, stop_token_ids=[stop], **GREEDY)) == first
    held = chat_ids(llm, max_tokens=12, stop_token_ids=[stop], min_tokens=6, **GREEDY)
    assert len(held) >= 6
    assert stop not in held[:6]
    whole = text_of(llm("Hello", max_tokens=12, **GREEDY))
    assert text_of(llm("Hello", max_tokens=12, min_tokens=12, stop=whole[4:6], **GREEDY)) == whole[:4]


def test_a_grammar_that_is_complete_ends_the_text_before_min_tokens() -> None:
    result = shared()("Hello", grammar='root ::= "abc"', max_tokens=20, min_tokens=15, temperature=0)
    assert (text_of(result), result["choices"][0]["finish_reason"]) == ("abc", "stop")


# -- bad_words ---------------------------------------------------------------------------------------------------------


def test_a_banned_token_does_not_appear() -> None:
    llm = shared()
    free = chat_ids(llm, max_tokens=16, **GREEDY)
    banned = [[t] for t in set(free)]
    assert not set(free) & set(chat_ids(llm, max_tokens=16, bad_words=banned, **GREEDY))


def test_of_a_longer_word_only_the_last_token_is_banned_and_only_there() -> None:
    llm = shared()
    free = chat_ids(llm, max_tokens=16, **GREEDY)
    word = free[4:7]
    got = chat_ids(llm, max_tokens=16, bad_words=[word], **GREEDY)
    assert got[:6] == free[:6]
    assert got[6] != free[6]
    assert not any(got[i : i + 3] == word for i in range(len(got)))


def test_strings_are_banned_as_written_and_after_a_space() -> None:
    llm = shared()
    the = llm.tokenize(" the", False)
    assert len(the) == 1
    bias: Any = {the[0]: 100.0}
    assert text_of(llm("x", logit_bias=bias, temperature=0, max_tokens=3)) == " the the the"
    for words in (["the"], [" the"], "the"):
        assert " the" not in text_of(llm("x", logit_bias=bias, temperature=0, max_tokens=3, bad_words=words))
    letters = llm.tokenize("the", False)
    options: dict[str, Any] = {"allowed_token_ids": letters, "max_tokens": 8, **WILD}
    assert len(letters) == 2
    assert "the" in text_of(llm("x", seed=2, **options))
    assert not any("the" in text_of(llm("x", seed=seed, bad_words=["the"], **options)) for seed in range(20))


@pytest.mark.parametrize("tokenizer", ["bpe", "spm", "ugm", "rwkv"])
def test_words_have_the_tokens_that_they_have_within_a_text(tokenizer: str) -> None:
    with tiny(file={"tokenizer": tokenizer}) as llm:
        for word in ("hello", "the", " world", "he", "\u00e9"):
            spellings = llm._session.prompts.spellings(word)
            pieces = [b"".join(llm.model.vocab.token_to_piece(t) for t in s) for s in spellings]
            assert pieces in ([word.encode()], [word.encode(), b" " + word.encode()])
        both = llm._session.prompts.spellings("the")
        assert len(both) == (1 if tokenizer == "rwkv" else 2)  # where a space is a token of its own, one is enough


def test_a_word_that_the_prompt_begins_is_not_completed() -> None:
    llm = shared()
    prompt = llm.tokenize("Hello there", True, True)
    following = first_token(llm, prompt)
    assert first_token(llm, prompt, bad_words=[[prompt[-1], following]]) != following
    assert first_token(llm, prompt, bad_words=[[prompt[-2], following]]) == following


def first_token(llm: Llama, prompt: list[int], **options: Any) -> int:
    """The first token after a prompt."""
    return generated(llm, prompt, max_tokens=1, **{**GREEDY, **options})[0]


def generated(llm: Llama, prompt: Any, **options: Any) -> list[int]:
    """The token ids of a completion."""
    handle = llm.engine.submit(llm._session.completion(prompt, options).requests[0])
    return [t for event in handle if not isinstance(event, FinishEvent) for t in event.tokens]


# -- allowed_token_ids -------------------------------------------------------------------------------------------------


def test_only_allowed_tokens_come_and_the_end_only_if_listed() -> None:
    llm = shared()
    allowed = [*llm.tokenize("a", False), *llm.tokenize("b", False)]
    bias: Any = {llm.token_eos(): 100.0}
    result = llm("x", allowed_token_ids=allowed, max_tokens=20, seed=1, **{**WILD, "ignore_eos": False})
    assert set(text_of(result)) == {"a", "b"}
    assert len(text_of(llm("x", allowed_token_ids=allowed, logit_bias=bias, max_tokens=9))) == 9
    ended = llm("x", allowed_token_ids=[*allowed, llm.token_eos()], logit_bias=bias, max_tokens=9)
    assert (text_of(ended), ended["choices"][0]["finish_reason"]) == ("", "stop")
    assert text_of(llm("x", allowed_token_ids=allowed[:1], max_tokens=4)) == "aaaa"
    array: Any = np.array(allowed[:1])
    assert text_of(llm("x", allowed_token_ids=array, max_tokens=4)) == "aaaa"


SAMPLERS: list[dict[str, Any]] = [
    {"mirostat_mode": 1},
    {"mirostat_mode": 2},
    {"typical_p": 0.5},
    {"top_k": 0},
    {"top_n_sigma": 1.0},
    {"xtc_probability": 1.0},
    {"dry_multiplier": 1.0},
    {"min_keep": 5},
    {"samplers": ["adaptive_p"], "adaptive_target": 0.5},
]


@pytest.mark.parametrize("sampling", SAMPLERS)
def test_every_kind_of_sampling_stays_within_them(sampling: dict[str, Any]) -> None:
    llm = shared()
    allowed = [*llm.tokenize("a", False), *llm.tokenize("b", False), *llm.tokenize("c", False)]
    for seed in range(3):
        result = llm("x", allowed_token_ids=allowed, max_tokens=12, seed=seed, ignore_eos=True, **sampling)
        assert set(text_of(result)) <= set("abc")
        assert len(text_of(result)) == 12


# -- with everything else ----------------------------------------------------------------------------------------------


def rules_of(llm: Llama) -> dict[str, Any]:
    """Options that act all the time."""
    allowed = [t for t in range(llm.n_vocab()) if t % 3 and t not in llm.model.vocab.control_tokens()]
    words = [[t, u] for t in allowed[::4] for u in allowed[:30:3]][:1000]
    return {"allowed_token_ids": allowed, "bad_words": words, "min_tokens": 10}


def by_hand(rules: dict[str, Any], n_prompt: int) -> Any:
    """The same rules as a logits processor."""

    def processor(ids: Any, scores: Any) -> Any:
        keep = scores[rules["allowed_token_ids"]]
        scores[:] = -np.inf
        scores[rules["allowed_token_ids"]] = keep
        scores[[w[-1] for w in rules["bad_words"] if w[0] == ids[-1]]] = -np.inf
        assert len(ids) >= n_prompt
        return scores

    return processor


@pytest.mark.parametrize("options", [GREEDY, {**WILD, "seed": 3}, {"seed": 5, "repeat_penalty": 1.3}])
def test_rules_equal_a_logits_processor_that_does_the_same(options: dict[str, Any]) -> None:
    llm = shared()
    rules = rules_of(llm)
    got = llm("Hello", max_tokens=24, **options, **rules)
    want = llm("Hello", max_tokens=24, logits_processor=by_hand(rules, 1), **options)
    assert text_of(got) == text_of(want)
    assert text_of(got) != text_of(llm("Hello", max_tokens=24, **options))


@pytest.mark.parametrize("options", [GREEDY, {**WILD, "seed": 3}, {"seed": 5, "temperature": 0.1, "logprobs": 2}])
def test_guessing_ahead_does_not_change_the_text(options: dict[str, Any]) -> None:
    llm = shared()
    prompt = llm.tokenize("a b a b a b a b", True, True)
    rules = rules_of(llm)
    free = generated(llm, prompt, max_tokens=40, **options, **rules)
    words = [[free[i], free[i + 1]] for i in range(3, 36, 7)]  # those that would come, in the middle of what is guessed
    rules["bad_words"] = [*rules["bad_words"][:400], *words]
    want = generated(llm, prompt, max_tokens=40, **options, **rules)
    assert want != free

    def three_right_and_one_wrong(ids: Any) -> list[int]:
        following = want[len(ids) - len(prompt) :][:3]
        return [*following, (following[-1] + 1) % llm.n_vocab()] if following else []

    def what_came_without_the_words(ids: Any) -> list[int]:
        return free[len(ids) - len(prompt) :][:4]

    for proposer in (three_right_and_one_wrong, what_came_without_the_words):
        with tiny(draft_model=proposer) as guessing:
            assert generated(guessing, prompt, max_tokens=40, **options, **rules) == want
            assert 0 < guessing.engine.stats.accepted_tokens < guessing.engine.stats.drafted_tokens


def test_guesses_that_hold_count_towards_min_tokens() -> None:
    llm = shared()
    prompt = llm.tokenize("Hello", True, True)
    options: dict[str, Any] = {"max_tokens": 20, "temperature": 0, "logit_bias": {llm.token_eos(): 100.0}}
    want = generated(llm, prompt, min_tokens=7, **options)
    assert len(want) == 7
    with tiny(draft_model=lambda ids: [*want, llm.token_eos(), 5][len(ids) - len(prompt) :][:4]) as guessing:
        assert generated(guessing, prompt, min_tokens=7, **options) == want
        assert guessing.engine.stats.accepted_tokens > 0


def test_log_probabilities_stay_those_of_the_model() -> None:
    llm = shared()
    free = llm("Hello", max_tokens=1, logprobs=5, **GREEDY)["choices"][0]["logprobs"]
    assert free is not None
    banned = first_token(llm, llm.tokenize("Hello", True, True))
    ruled = llm("Hello", max_tokens=1, logprobs=5, bad_words=[[banned]], **GREEDY)["choices"][0]["logprobs"]
    assert ruled is not None
    assert ruled["tokens"] != free["tokens"]
    top = ruled["top_logprobs"][0]
    assert top is not None
    assert free["top_logprobs"][0] is not None
    assert {k: top[k] for k in free["top_logprobs"][0]} == pytest.approx(free["top_logprobs"][0], abs=1e-4)


def test_processors_run_first_and_cannot_bring_a_token_back() -> None:
    llm = shared()
    a, b = llm.tokenize("a", False)[0], llm.tokenize("b", False)[0]
    kept: list[Any] = []

    def prefer_a(_: Any, scores: Any) -> Any:
        scores[a], scores[b] = 1000.0, 900.0
        kept.append(scores)
        return scores

    assert text_of(llm("x", logits_processor=prefer_a, bad_words=[[a]], max_tokens=3, temperature=0)) == "bbb"
    assert all(scores[a] == 1000.0 for scores in kept)  # what a processor keeps is not written to
    seen: list[Any] = []

    def look(_: Any, scores: Any) -> bool:
        seen.append(scores[a])
        return False

    llm("x", logits_processor=prefer_a, stopping_criteria=look, bad_words=[[a]], max_tokens=2, temperature=0)
    assert seen == [-np.inf, -np.inf]


def test_a_grammar_and_rules_hold_together() -> None:
    llm = shared()
    grammar = 'root ::= ("a" | "b" | "c")+'
    a = llm.tokenize("a", False)
    for seed in range(4):
        made = text_of(llm("x", grammar=grammar, bad_words=[a], max_tokens=8, min_tokens=8, seed=seed))
        assert len(made) == 8
        assert set(made) <= {"b", "c"}
    with pytest.raises(GrammarError, match="allow"):
        llm("x", grammar='root ::= "a" "b"', bad_words=[a], max_tokens=8, temperature=0)
    with pytest.raises(GrammarError, match="allow"):
        llm("x", grammar='root ::= "a" "b"', bad_words=[a], max_tokens=8, mirostat_mode=1)
    assert text_of(llm("x", grammar='root ::= "a" "b"', max_tokens=8, temperature=0)) == "ab"


def test_a_masked_token_is_refused_also_where_the_grammar_takes_it() -> None:
    with tiny(file={"tokenizer": "spm"}) as llm:
        last = llm.n_vocab() - 1  # what a draw from nothing but masked tokens gives
        smile = llm.detokenize([last]).decode()
        options: dict[str, Any] = {"grammar": f'root ::= "{smile}"+', "max_tokens": 2, "samplers": []}
        allowed = [last, *llm.tokenize("12", False)]
        assert text_of(llm("x", allowed_token_ids=allowed, **options)) == 2 * smile
        with pytest.raises(GrammarError, match="only tokens that other options ban"):
            llm("x", allowed_token_ids=allowed, bad_words=[[last]], **options)


def test_a_place_with_nothing_left_fails_that_request_alone() -> None:
    with tiny(n_seq_max=2) as llm:
        a = llm.tokenize("a", False)[0]
        other = llm.create_completion("Hello", max_tokens=60, stream=True, **GREEDY)
        first = next(other)["choices"][0]["text"]
        for options in ({"temperature": 0}, {"seed": 1}, {"logprobs": 2}, {"logits_processor": lambda _, s: s}):
            with pytest.raises(InputError, match="no token to choose at this place"):
                llm("x", allowed_token_ids=[a], bad_words=[[a, a]], max_tokens=3, **options)

        def only_a(_: Any, scores: Any) -> Any:
            scores[np.arange(len(scores)) != a] = -np.inf
            return scores

        with pytest.raises(InputError, match="no token to choose at this place"):
            llm("x", logits_processor=only_a, bad_words=[[a]], max_tokens=3)
        assert first + "".join(c["choices"][0]["text"] for c in other) == text_of(llm("Hello", max_tokens=60, **GREEDY))


# -- bad values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"allowed_token_ids": []}, InputError, "allowed_token_ids is empty"),
        ({"allowed_token_ids": [10**6]}, TokenError, "token id 1000000"),
        ({"allowed_token_ids": [-1]}, TokenError, "token id -1"),
        ({"allowed_token_ids": ["a"]}, InputError, "list of token ids"),
        ({"allowed_token_ids": "ab"}, InputError, "list of token ids"),
        ({"allowed_token_ids": 5}, InputError, "list of token ids"),
        ({"allowed_token_ids": {5: 1}}, InputError, "list of token ids"),
        ({"bad_words": [""]}, InputError, "'' has 0"),
        ({"bad_words": [[]]}, InputError, "has 0"),
        ({"bad_words": ["x" * 5000]}, InputError, "1 to 256 tokens"),
        ({"bad_words": ["x"] * 1025}, InputError, "1024 are the most"),
        ({"bad_words": [[10**6]]}, TokenError, "token id 1000000"),
        ({"bad_words": [3]}, InputError, "bad_words"),
        ({"bad_words": [None]}, InputError, "bad_words"),
        ({"bad_words": [b"x"]}, InputError, "bad_words"),
        ({"bad_words": 3}, InputError, "bad_words"),
        ({"bad_words": {"x": 1}}, InputError, "bad_words"),
        ({"bad_words": ["\ud800"]}, InputError, "surrogate"),
        ({"min_tokens": -1}, InputError, "at least 0"),
        ({"min_tokens": 1.5}, InputError, "whole number"),
        ({"min_tokens": 5, "max_tokens": 4}, InputError, "min_tokens .5. is more than max_tokens .4."),
        ({"best_of": 0}, InputError, "at least 1"),
        ({"best_of": 129}, InputError, "at most 128"),
        ({"best_of": 2, "n": 3}, InputError, "best_of .2. is less than n .3."),
        ({"best_of": 2, "stream": True}, InputError, "leave out stream"),
    ],
)
def test_bad_values_are_refused_and_named(options: dict[str, Any], error: type[Exception], words: str) -> None:
    llm = shared()
    with pytest.raises(error, match=words) as caught:
        llm("Hello", **{"max_tokens": 8, **options})
    assert words == "surrogate" or getattr(caught.value, "param", None) in options
    with pytest.raises(error, match=words):
        llm.create_chat_completion([{"role": "user", "content": "Hi"}], **{"max_tokens": 8, **options})


def test_rules_that_leave_nothing_are_refused_before_anything_runs() -> None:
    llm = shared()
    eos = llm.token_eos()
    before = llm.engine.stats.requests
    for options in (
        {"allowed_token_ids": [eos], "min_tokens": 1},
        {"allowed_token_ids": [eos], "ignore_eos": True},
        {"allowed_token_ids": [5], "bad_words": [[5]]},
        {"allowed_token_ids": [5], "logit_bias": {5: -np.inf}},
    ):
        with pytest.raises(InputError):
            llm("Hello", max_tokens=4, **options)
    assert llm.engine.stats.requests == before


def test_options_that_say_nothing_cost_nothing() -> None:
    llm = shared()
    silent: list[dict[str, Any]] = [{"min_tokens": 0}, {"bad_words": []}, {"bad_words": None}]
    for options in silent:
        assert llm._session.completion("x", options).requests[0].rules is None


# -- best_of -----------------------------------------------------------------------------------------------------------


def test_best_of_gives_the_likeliest_of_the_candidates_best_first() -> None:
    llm = shared()
    options: dict[str, Any] = {"max_tokens": 6, "seed": 11, **WILD}
    all_of_them = llm("Hello", n=6, logprobs=0, **options)
    means = [float(np.mean(c["logprobs"]["token_logprobs"])) for c in all_of_them["choices"]]
    order = sorted(range(6), key=lambda i: -means[i])
    best = llm("Hello", n=2, best_of=6, **options)
    assert [c["text"] for c in best["choices"]] == [all_of_them["choices"][i]["text"] for i in order[:2]]
    assert [c["index"] for c in best["choices"]] == [0, 1]
    assert all(c["logprobs"] is None for c in best["choices"])
    assert best["usage"] is not None
    assert all_of_them["usage"] is not None
    assert best["usage"]["completion_tokens"] == 36
    assert best["usage"]["prompt_tokens"] == all_of_them["usage"]["prompt_tokens"]
    assert best["seed"] == 11
    ranked = llm("Hello", n=6, best_of=6, logprobs=1, **options)
    assert [c["text"] for c in ranked["choices"]] == [all_of_them["choices"][i]["text"] for i in order]
    assert ranked["choices"][0]["logprobs"] is not None

    async def the_same() -> Any:
        return await AsyncLlama.of(llm)("Hello", n=2, best_of=6, **options)

    assert asyncio.run(asyncio.wait_for(the_same(), 60))["choices"] == best["choices"]


def test_best_of_in_chat_and_of_one() -> None:
    llm = shared()
    options: dict[str, Any] = {"max_tokens": 6, "seed": 11, **WILD}
    messages = [{"role": "user", "content": "Hi"}]
    everything = llm.create_chat_completion(messages, n=4, logprobs=True, **options)["choices"]
    means = [np.mean([e["logprob"] for e in c["logprobs"]["content"]]) for c in everything]
    best = llm.create_chat_completion(messages, best_of=4, **options)
    assert [c["message"] for c in best["choices"]] == [everything[int(np.argmax(means))]["message"]]
    assert best["usage"]["completion_tokens"] == 24
    assert text_of(llm("Hello", best_of=1, **options)) == text_of(llm("Hello", **options))


def test_the_token_that_ends_a_text_counts_in_its_log_probability() -> None:
    llm = shared()
    eos = llm.token_eos()
    sampling = SamplingParams(temperature=0, logit_bias={eos: 100.0})
    prompt = llm.tokenize("Hello", True, True)
    handle = llm.engine.submit(Request(prompt=prompt, sampling=sampling, max_tokens=5, logprobs=0))
    finish = next(e for e in handle if isinstance(e, FinishEvent))
    scored = llm([*prompt, eos], max_tokens=0, echo=True, logprobs=0)["choices"][0]["logprobs"]
    assert scored is not None
    assert finish.usage.completion_tokens == 1
    assert finish.logprob == pytest.approx(scored["token_logprobs"][-1], abs=1e-3)
    assert finish.mean_logprob == finish.logprob
    plain = llm.engine.submit(Request(prompt=prompt, max_tokens=2))
    assert next(e for e in plain if isinstance(e, FinishEvent)).logprob is None


# -- all at once -------------------------------------------------------------------------------------------------------


def test_requests_of_every_kind_side_by_side_give_what_they_give_alone() -> None:
    with tiny(n_seq_max=4, n_ctx=1024, draft_model=PromptLookup()) as llm:
        eos = llm.token_eos()
        ids = chat_ids(llm, max_tokens=12, **GREEDY)
        rules = rules_of(llm)
        calls: list[dict[str, Any]] = [
            {"n": 3, "seed": 4, "temperature": 0.7},
            {"n": 2, "best_of": 4, "seed": 4, "temperature": 0.7},
            {"min_tokens": 7, "logit_bias": {eos: 100.0}, "temperature": 0},
            {"stop_token_ids": ids[4:6], "min_tokens": 3, **GREEDY},
            {"logprobs": 2, "seed": 9, **rules},
            {"allowed_token_ids": rules["allowed_token_ids"], "n": 2, "seed": 2},
            {"bad_words": ["the", [ids[0]], ids[1:3]], **GREEDY},
            {"grammar": "root ::= [a-f]+", "bad_words": ["ab"], "seed": 8, "max_tokens": 10},
            {"logits_processor": lambda _, s: s, "bad_words": [ids[:1]], **GREEDY},
        ]

        def one(options: dict[str, Any]) -> list[tuple[str, str | None]]:
            made = llm("a b c a b c", **{"max_tokens": 16, **options})
            return [(c["text"], c["finish_reason"]) for c in made["choices"]]

        def beams(width: int) -> list[tuple[int, ...]]:
            return [b.tokens for b in llm.beam_search("a b c", beam_width=width, max_tokens=5)]

        alone = [one(options) for options in calls]
        searched = [beams(width) for width in (1, 3)]
        with ThreadPoolExecutor(12) as pool:
            together = [pool.submit(one, options) for options in calls * 2]
            searches = [pool.submit(beams, width) for width in (1, 3)]
            assert [f.result(120) for f in searches] == searched
            assert [f.result(120) for f in together] == alone * 2
