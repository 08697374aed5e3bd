"""Texts held to grammars on tiny models: random weights follow them, together with others and alone, whatever else is
asked for; and they are drawn as llama.cpp draws.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from llama_bind import AsyncLlama, Llama, LlamaGrammar
from llama_bind.errors import GrammarError, InputError
from tests.core_helpers import model_file
from tests.llamas import at_once, shared, tiny

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "n": {"type": "integer", "minimum": 0, "maximum": 999},
        "kind": {"enum": ["first of all", "second"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "n", "kind", "tags"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
}
LARK = f"start: %json {json.dumps(SCHEMA)}"
HELD: list[dict[str, Any]] = [
    {"regex": r"[0-9]{3}-[a-z]{2,5}"},
    {"choice": ["yes", "no", "maybe so", "maybe not"]},
    {"lark": LARK},
    {"grammar": 'root ::= "begin " item+ "end of it"\nitem ::= [a-c] " " | "(" item ")"'},
]


def check(options: dict[str, Any], text: str) -> None:
    """A complete text is what was demanded."""
    if "regex" in options:
        assert re.fullmatch(options["regex"], text), text
    elif "choice" in options:
        assert text in options["choice"]
    elif "lark" in options:
        value = json.loads(text)
        assert list(value) == SCHEMA["required"]
        assert len(value["name"]) <= 6
        assert value["kind"] in ("first of all", "second")
        assert text == json.dumps(value, ensure_ascii=False) or "\\" in text
    else:
        item = re.compile(r"\((?:[a-c] |@)\)|[a-c] ")
        assert text.startswith("begin ")
        assert text.endswith("end of it")
        body = text.removeprefix("begin ").removesuffix("end of it")
        while (shorter := item.sub("@", body)) != body:
            body = shorter
        assert set(body) == {"@"}, text


def choice(llm: Llama, prompt: str = "Hello", **options: Any) -> dict[str, Any]:
    result: Any = llm.create_completion(prompt, **{"max_tokens": 150, **options})
    return dict(result["choices"][0])


def together(llm: Llama, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return at_once(llm, [functools.partial(choice, llm, **call) for call in calls])


@pytest.fixture(scope="module")
def crowd() -> Iterator[Llama]:
    with tiny(n_seq_max=8, n_ctx=8 * 256, kv_unified=False) as llm:
        yield llm


@pytest.mark.parametrize("options", HELD, ids=lambda o: next(iter(o)))
@pytest.mark.parametrize("tokenizer", ["bpe", "spm"])
def test_random_weights_follow(options: dict[str, Any], tokenizer: str) -> None:
    llm = shared(file=None) if tokenizer == "bpe" else _spm()
    complete = 0
    for seed in range(40):
        made = choice(llm, seed=seed, temperature=1.5, **options)
        if made["finish_reason"] == "stop":
            check(options, made["text"])
            complete += 1
    assert complete >= 20  # random weights may go on for long


def _spm() -> Llama:
    if not hasattr(_spm, "llm"):
        _spm.llm = tiny(file={"tokenizer": "spm"})  # type: ignore[attr-defined]
    found: Llama = _spm.llm  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("options", HELD, ids=lambda o: next(iter(o)))
def test_pieces_together_are_the_text(options: dict[str, Any]) -> None:
    llm = shared()
    for seed in range(5):
        whole = choice(llm, seed=seed, **options)
        chunks = list(llm.create_completion("Hello", stream=True, seed=seed, max_tokens=150, **options))
        assert "".join(c["choices"][0]["text"] for c in chunks) == whole["text"]
        assert chunks[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]


def test_together_as_alone(crowd: Llama) -> None:
    calls: list[dict[str, Any]] = [
        {"seed": 3, "temperature": 1.2, **options}
        for options in [
            *HELD,
            {},
            {"temperature": 0.0},
            {"lark": LARK, "repeat_penalty": 1.4},
            {"logprobs": 1, **HELD[0]},
        ]
    ]
    for call in calls:
        call.setdefault("max_tokens", 60)
    alone = [choice(crowd, **call) for call in calls]
    crowded = together(crowd, calls)
    logged, logged_alone = crowded[-1].pop("logprobs"), alone[-1].pop("logprobs")
    assert crowded == alone
    assert logged["tokens"] == logged_alone["tokens"]
    # Computed side by side the sums are rounded otherwise.
    assert logged["token_logprobs"] == pytest.approx(logged_alone["token_logprobs"], abs=1e-4)


def test_back_to_the_queue_and_on_from_there(crowd: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = crowd.engine._worker  # type: ignore[union-attr]
    step, count, one_token = worker.steps.step, itertools.count(), itertools.cycle([True, False])

    def preempting() -> None:
        if worker.scheduler.running and next(count) % 3 == 2:
            worker.runner.clear(worker.scheduler.preempt())
        step()

    monkeypatch.setattr(worker.steps, "step", preempting)
    monkeypatch.setattr(worker.steps, "_nothing_to_do", one_token.__next__)
    for options in [*HELD, {"regex": "[a-z]{40}abcdefghijklmnop[a-z]{40}"}]:
        before = worker.scheduler.preemptions
        made = choice(crowd, seed=3, **options)
        assert worker.scheduler.preemptions > before or "choice" in options
        if made["finish_reason"] == "stop":
            check(options, made["text"])


# -- drawing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {}, {"temperature": 0.0}, {"top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"repeat_penalty": 1.5, "penalty_last_n": 8},
        {"frequency_penalty": 0.7}, {"dry_multiplier": 0.8, "dry_allowed_length": 1}, {"mirostat_mode": 1},
        {"mirostat_mode": 2}, {"xtc_probability": 0.6, "xtc_threshold": 0.05}, {"top_n_sigma": 1.0},
        {"logit_bias": {70: 4.0, 71: -5.0}}, {"samplers": ["top_k", "adaptive_p"], "adaptive_target": 0.4},
        {"typical_p": 0.6}, {"dynatemp_range": 0.5}, {"logprobs": 2}, {"ignore_eos": True},
    ],
    ids=str,
)  # fmt: skip
def test_tokens_are_drawn_as_llama_cpp_draws_them(options: dict[str, Any]) -> None:
    """A grammar without forced tokens gives both backends the same masks, so the same seed gives the same text."""
    llm = shared()
    grammar = "root ::= ([a-h] [a-h ]){5,30}"
    texts = set()
    for seed in range(6):
        given = {"temperature": 1.3, "seed": seed, "grammar": grammar, **options}
        one = choice(llm, **given)
        assert one == choice(llm, **given, grammar_backend="llama.cpp")
        texts.add(one["text"])
    assert len(texts) > 1 or options in ({"temperature": 0.0}, {"mirostat_mode": 1})


def test_the_chain_never_accepts_a_refused_token(monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_bind.core.sampler import Sampler

    accepted: list[int] = []
    real = Sampler._draw
    drawn: list[int] = []

    def draw(self: Sampler, chain: int, row: Any, *, masked: bool = False) -> int:
        drawn.append(real(self, chain, row, masked=masked))
        return drawn[-1]

    monkeypatch.setattr(Sampler, "_draw", draw)
    llm = shared()
    made = choice(llm, seed=1, repeat_penalty=1.8, regex="[xyz]{30}", max_tokens=20)
    tokens = llm.tokenize(made["text"].encode(), False)
    accepted += tokens
    assert len(drawn) > len(tokens)  # some were refused
    assert re.fullmatch("[xyz]+", made["text"])


# -- what must follow ---------------------------------------------------------------------------------------------


def steps_of(llm: Llama) -> tuple[int, int]:
    stats = llm.engine.stats
    return stats.steps, stats.forced_tokens


def test_forced_tokens_take_no_steps_of_their_own() -> None:
    with tiny() as llm:
        result: Any = llm.create_completion("Hello", lark='start: "abcdefgh" /[0-9]/ "ijklmnopqr" /[0-9]/ "."', seed=1)
        steps, forced = steps_of(llm)
        assert re.fullmatch(r"abcdefgh\dijklmnopqr\d\.", result["choices"][0]["text"])
        assert result["choices"][0]["finish_reason"] == "stop"
        count = result["usage"]["completion_tokens"]
        assert count == len(llm.tokenize(result["choices"][0]["text"].encode(), False))
        assert count - forced == 2
        assert steps == 2  # the last character is not computed, nor an end after it


def test_penalties_count_forced_tokens() -> None:
    llm = shared()
    for forced, other in (("a", "b"), ("b", "a")):
        made = choice(llm, lark=f'start: "{forced * 9}" /[ab]/', frequency_penalty=50, temperature=0)
        assert made["text"] == forced * 9 + other


def test_a_text_that_is_all_forced_is_not_computed_at_all() -> None:
    with tiny() as llm:
        result: Any = llm.create_completion("Hello", choice=["certainly"])
        assert result["choices"][0]["text"] == "certainly"
        assert result["choices"][0]["finish_reason"] == "stop"
        assert steps_of(llm) == (0, result["usage"]["completion_tokens"])


def test_a_limit_cuts_forced_tokens() -> None:
    llm = shared()
    whole = choice(llm, choice=["certainly"])["text"]
    count = len(llm.tokenize(b"certainly", False))
    assert count > 3
    for limit in range(1, count + 1):
        made: Any = llm.create_completion("Hello", choice=["certainly"], max_tokens=limit)
        assert made["usage"]["completion_tokens"] == limit
        text, reason = made["choices"][0]["text"], made["choices"][0]["finish_reason"]
        assert whole.startswith(text)
        assert reason == ("stop" if limit == count else "length")


def test_a_limit_at_the_very_end_is_no_cut() -> None:
    llm = shared()
    made: Any = llm.create_completion("Hello", regex="[0-9]{4}x", seed=1, max_tokens=100)
    count = made["usage"]["completion_tokens"]
    again = choice(llm, regex="[0-9]{4}x", seed=1, max_tokens=count)
    assert (again["text"], again["finish_reason"]) == (made["choices"][0]["text"], "stop")


def test_a_stop_string_among_forced_tokens() -> None:
    made = choice(shared(), lark='start: "abc STOP def" /[0-9]/', stop=["STOP"])
    assert (made["text"], made["finish_reason"]) == ("abc ", "stop")


def test_a_stop_token_among_forced_tokens() -> None:
    llm = shared()
    made = choice(llm, lark='start: "abc" /[0-9]/', stop_token_ids=[llm.tokenize(b"c", False)[0]])
    assert made["text"] == "ab"


def test_log_probabilities_change_nothing_and_cover_forced_tokens() -> None:
    llm = shared()
    for options in HELD:
        for seed in range(4):
            plain = choice(llm, seed=seed, **options)
            with_them = choice(llm, seed=seed, logprobs=2, **options)
            assert (with_them["text"], with_them["finish_reason"]) == (plain["text"], plain["finish_reason"])
            found = with_them["logprobs"]
            assert len(found["tokens"]) == len(found["token_logprobs"]) == len(found["top_logprobs"])
            assert all(np.isfinite(p) and p <= 0 for p in found["token_logprobs"])


def test_echo_with_log_probabilities() -> None:
    made = choice(shared(), echo=True, logprobs=1, choice=["certainly"])
    assert made["text"] == "Hellocertainly"
    assert made["logprobs"]["token_logprobs"][0] is None
    assert None not in made["logprobs"]["token_logprobs"][1:]


def test_a_long_forced_text_fills_many_steps() -> None:
    long = "abcdefghij" * 12
    with tiny(n_ctx=256, n_batch=16, n_seq_max=1) as llm:
        made = choice(llm, lark=f'start: /[0-9]/ "{long}" /[0-9]/', seed=2, max_tokens=200)
        assert re.fullmatch(rf"\d{long}\d", made["text"])


def test_the_context_ends_a_forced_text() -> None:
    with tiny(n_ctx=64) as llm:
        made: Any = llm.create_completion("Hello", lark='start: "' + "x" * 300 + '"', max_tokens=None)
        assert made["choices"][0]["finish_reason"] == "length"
        assert set(made["choices"][0]["text"]) == {"x"}


def test_a_context_that_shifts() -> None:
    with tiny(n_ctx=64) as llm:
        pattern = r"([0-9]abcdefghijklm){20}"
        made = choice(llm, regex=pattern, max_tokens=400, context_overflow="shift", seed=3)
        assert re.fullmatch(pattern, made["text"])


# -- with everything else -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("draft", ["prompt-lookup", lambda _ids: [97, 98, 99, 100]], ids=["lookup", "function"])
def test_guesses_change_nothing(draft: Any) -> None:
    with tiny(draft_model=draft) as llm:
        for options in [*HELD, {"regex": "(abcabd|abcabe){20}"}]:
            for seed in range(4):
                given = {"seed": seed, "temperature": 1.2, "max_tokens": 80, **options}
                assert choice(llm, "abcabd abcabe", **given) == choice(llm, "abcabd abcabe", n_draft=0, **given)
        assert llm.engine.stats.drafted_tokens > 0


@pytest.mark.parametrize("unified", [False, True])
def test_guesses_of_a_second_model_change_nothing(unified: bool) -> None:
    """Several texts at once, some held to a form and some free; forced tokens reach the draft model too."""
    free: list[dict[str, Any]] = [{}, {"min_tokens": 5}]
    calls: list[dict[str, Any]] = [
        {"prompt": f"abcabd {seed}", "seed": seed, "temperature": heat, "max_tokens": 60, **options}
        for seed, heat in enumerate((0.0, 1.2))
        for options in [*HELD, *free, {"regex": "(abcabd|abcabe){20}"}]
    ]
    size: dict[str, Any] = {"n_seq_max": 4, "n_ctx": 512, "kv_unified": unified}
    with tiny(**size) as plain:
        wanted = together(plain, calls)
    with tiny(**size, draft_model=str(model_file("llama"))) as llm:
        assert together(llm, calls) == wanted
        assert together(llm, calls) == wanted, "on the prefixes that the first round left"
        stats = llm.engine.stats
        assert stats.accepted_tokens > 20


def test_guesses_that_would_be_refused_are_not_computed() -> None:
    with tiny(draft_model=lambda _ids: [120] * 8) as llm:
        choice(llm, regex="[abc]{20,30}", max_tokens=20)
        assert llm.engine.stats.drafted_tokens == 0


def test_several_candidates() -> None:
    made: Any = shared().create_completion("Hello", n=4, seed=1, temperature=1.5, max_tokens=150, **HELD[0])
    for each in made["choices"]:
        check(HELD[0], each["text"])
    best: Any = shared().create_completion("Hello", n=1, best_of=3, seed=1, max_tokens=150, **HELD[1])
    check(HELD[1], best["choices"][0]["text"])


def test_rules_hold_too() -> None:
    llm = shared()
    for seed in range(5):
        text = choice(llm, regex="[a-f]{2,20}", bad_words=["a", "ab", "b"], seed=seed)["text"]
        assert re.fullmatch("[c-f]{2,20}", text)
        allowed = [*llm.tokenize(b"123", False), *llm.tokenize(b"x", False)]
        made = choice(
            llm, regex="[0-9]+x", allowed_token_ids=[*allowed, *llm.tokenize(b"1", False)], seed=seed, max_tokens=9
        )
        assert re.fullmatch("[123]*x?", made["text"])
        long = choice(llm, regex="[ab]+", min_tokens=30, max_tokens=40, seed=seed)
        assert len(llm.tokenize(long["text"].encode(), False)) <= 40
        assert len(long["text"]) >= 30


def test_rules_that_leave_nothing() -> None:
    with pytest.raises(GrammarError, match="other options ban"):
        choice(shared(), regex="aa[bc]", bad_words=["a"])


def test_a_complete_text_ends_whatever_other_options_say() -> None:
    assert choice(shared(), choice=["yes"], min_tokens=20)["text"] == "yes"
    assert choice(shared(), regex="[ab]{3}", ignore_eos=True)["finish_reason"] == "stop"


def test_functions_of_the_caller_see_every_token() -> None:
    llm = shared()
    seen: list[int] = []

    def prefer_b(ids: Any, scores: Any) -> Any:
        seen.append(len(ids))
        scores[llm.tokenize(b"b", False)[0]] += 50
        return scores

    made = choice(llm, regex="x[abc]{5}y", logits_processor=prefer_b)
    assert made["text"] == "xbbbbby"
    assert len(seen) == len(llm.tokenize(b"xbbbbby", False))
    stopped = choice(llm, lark='start: "abcdefgh" /[0-9]/', stopping_criteria=lambda ids, _: len(ids) >= 8)
    assert stopped["finish_reason"] == "stop"
    assert "abcdefgh".startswith(stopped["text"])


def test_reproducible() -> None:
    with tiny(n_seq_max=4, n_ctx=4 * 256, kv_unified=False) as llm:
        alone = [choice(llm, seed=2, reproducible=True, **options) for options in HELD]
        made = together(llm, [{"seed": 2, "reproducible": True, **options} for options in HELD])
        assert made == alone
        for options, one in zip(HELD, made, strict=True):
            if one["finish_reason"] == "stop":
                check(options, one["text"])


def test_a_memory_that_cannot_be_cut() -> None:
    with tiny("mamba") as llm:
        for seed in range(3):
            check(HELD[0], choice(llm, seed=seed, **HELD[0])["text"])


def test_chat() -> None:
    made: Any = shared().create_chat_completion([{"role": "user", "content": "hi"}], choice=["yes", "no"], seed=1)
    assert made["choices"][0]["message"]["content"] in ("yes", "no")


def test_asyncio() -> None:
    async def main() -> list[Any]:
        llm = AsyncLlama.of(shared())
        return await asyncio.gather(
            *(llm.create_completion("Hello", seed=i, max_tokens=150, **HELD[i % 4]) for i in range(8))
        )

    for i, made in enumerate(asyncio.run(main())):
        if made["choices"][0]["finish_reason"] == "stop":
            check(HELD[i % 4], made["choices"][0]["text"])


def test_an_engine_in_its_own_process() -> None:
    with tiny(engine_process=True) as llm:
        here = shared()
        for options in HELD:
            assert choice(llm, seed=4, **options) == choice(here, seed=4, **options)
        with pytest.raises(GrammarError, match="unclosed"):
            choice(llm, regex="(")
        assert choice(llm, choice=["still there"])["text"] == "still there"


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"regex": "("}, "unclosed"),
        ({"regex": 7}, "str"),
        ({"choice": []}, "at least one"),
        ({"choice": "yes"}, "list"),
        ({"choice": ["a", 1]}, "none"),
        ({"lark": ""}, "empty"),
        ({"lark": "start: nothing"}, "nothing"),
        ({"grammar": 'root ::= "a'}, "line 1"),
        ({"regex": "a", "lark": 'start: "a"'}, "regex and lark"),
        ({"choice": ["a"], "grammar": 'root ::= "a"'}, "choice and grammar"),
        ({"choice": ["a"], "grammar": 'root ::= "a"', "grammar_backend": "llama.cpp"}, "choice and grammar"),
        ({"grammar": 'root ::= "a"', "grammar_backend": "other"}, "grammar_backend"),
        ({"grammar": "root ::= <nosuch>"}, "nosuch"),
        ({"grammar": "root ::= <[99999]>"}, "outside"),
    ],
    ids=str,
)
def test_bad_demands_are_refused_at_once(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        shared().create_completion("Hello", stream=True, **options)


def test_a_grammar_that_becomes_too_much_ends_only_its_own_text(crowd: Llama) -> None:
    explodes = "(((((a{0,99}){0,99}){0,99}){0,99}){0,99}){0,99}b"
    found: list[Any] = [None, None]

    def call(i: int, **options: Any) -> None:
        try:
            found[i] = choice(crowd, **options)
        except Exception as error:
            found[i] = error

    bias = {crowd.tokenize(b"a", False)[0]: 40.0}
    threads = [
        threading.Thread(target=call, args=(0,), kwargs={"regex": explodes, "logit_bias": bias, "max_tokens": 120}),
        threading.Thread(target=call, args=(1,), kwargs={"seed": 1, **HELD[2]}),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert isinstance(found[0], GrammarError)
    assert "too much" in str(found[0])
    assert found[1] == choice(crowd, seed=1, **HELD[2])


def test_llama_cpp_runs_a_grammar_where_asked() -> None:
    grammar = LlamaGrammar.from_string('root ::= "yes" | "no"')
    for backend in ("llguidance", "llama.cpp"):
        assert choice(shared(), grammar=grammar, grammar_backend=backend)["text"] in ("yes", "no")


def test_a_grammar_that_names_tokens() -> None:
    llm = shared()
    a = llm.tokenize(b"a", False)[0]
    assert choice(llm, grammar=f"root ::= <[{a}]> !<[{a}]> <[{a}]>", max_tokens=10)["text"][0] == "a"
