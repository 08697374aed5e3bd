from __future__ import annotations

import gc
import math
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.handle import Handle
from llama_bind.core.model import Model
from llama_bind.core.sampler import Sampler
from llama_bind.core.vocab import Vocab
from llama_bind.errors import (
    ClosedError,
    ForkedError,
    GrammarError,
    InputError,
    TokenError,
    UnsupportedError,
)
from llama_bind.lib._guard import check_guard
from llama_bind.params import SAMPLERS, ContextParams, ModelParams, SamplingParams
from llama_bind.structured import LlamaGrammar
from tests.tiny_gguf import write_tiny_llama
from tests.vectors import LLAMA_CPP, grammars

Logits = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def vocab() -> Iterator[Vocab]:
    with Model.load(LLAMA_CPP / "models" / "ggml-vocab-gpt-2.gguf", ModelParams(vocab_only=True)) as model:
        yield model.vocab


@pytest.fixture(scope="module")
def logits(vocab: Vocab) -> Logits:
    return (np.random.default_rng(7).standard_normal(vocab.n_tokens) * 3).astype(np.float32)


def create(vocab: Vocab, *, seed: int = 1, **options: Any) -> Sampler:
    return Sampler.create(vocab, SamplingParams(**options), n_ctx=256, seed=seed)


def write(sampler: Sampler, vocab: Vocab, logits: Logits, limit: int = 60) -> bytes:
    """Text until the end, or `limit` tokens."""
    text = b""
    for _ in range(limit):
        token = sampler.sample_array(logits)
        if token in vocab.eog_tokens:
            break
        text += vocab.token_to_piece(token)
    return text


# -- the chain ------------------------------------------------------------------------------------------------------


def test_the_default_chain(vocab: Vocab) -> None:
    names = [name.lstrip("?") for name in create(vocab).names()]
    assert names == [
        "penalties", "dry", "top-n-sigma", "top-k", "typical", "top-p", "min-p", "xtc", "temp-ext", "dist",
    ]  # fmt: skip


ALL: dict[str, Any] = {
    "repeat_penalty": 1.1, "dry_multiplier": 0.8, "top_n_sigma": 2.0, "top_k": 30, "typical_p": 0.9, "top_p": 0.9,
    "min_p": 0.02, "xtc_probability": 0.3, "temperature": 0.7, "dynatemp_range": 0.2, "adaptive_target": 0.4,
}  # fmt: skip


def test_every_sampler_in_the_given_order(vocab: Vocab, logits: Logits) -> None:
    order = ["min_p", "temperature", "top_k", "penalties", "infill", "xtc", "typical_p", "dry", "top_p", "top_n_sigma"]
    assert {*order, "adaptive_p"} == set(SAMPLERS)
    sampler = create(vocab, **ALL, samplers=order, logit_bias={3: 1.0}, grammar="root ::= .*")
    assert sampler.names() == [
        "grammar", "logit-bias", "min-p", "temp-ext", "top-k", "penalties", "infill", "xtc", "typical", "dry", "top-p",
        "top-n-sigma", "dist",
    ]  # fmt: skip
    assert 0 <= sampler.sample_array(logits) < vocab.n_tokens
    assert create(vocab, **ALL, samplers=["min_p", "adaptive_p", "top_k"]).names() == ["min-p", "top-k", "adaptive-p"]


def test_other_spellings(vocab: Vocab) -> None:
    given = ["Top-K", "topp", "typ_p", "typ-p", "nucleus", "temp", "min-p", "topnsigma"]
    names = create(vocab, **ALL, samplers=given).names()
    assert names == ["top-k", "top-p", "typical", "typical", "top-p", "temp-ext", "min-p", "top-n-sigma", "dist"]


@pytest.mark.parametrize("mode", [1, 2])
def test_mirostat_replaces_the_others(vocab: Vocab, logits: Logits, mode: int) -> None:
    sampler = create(vocab, mirostat_mode=mode, logit_bias={5: -100})
    assert sampler.names() == ["logit-bias", "temp", "mirostat" if mode == 1 else "mirostat-v2"]
    assert len({sampler.sample_array(logits) for _ in range(20)}) > 1


@pytest.mark.parametrize("temperature", [0, 0.0, 1e-9])
def test_temperature_0_takes_the_likeliest(vocab: Vocab, logits: Logits, temperature: float) -> None:
    likeliest = int(logits.argmax())
    chains: list[dict[str, Any]] = [
        {},
        {"samplers": []},
        {"mirostat_mode": 2},
        {"samplers": ["temperature"]},
        {"top_k": 0},
    ]
    for options in chains:
        sampler = create(vocab, temperature=temperature, **options)
        assert {sampler.sample_array(logits) for _ in range(3)} == {likeliest}
    assert create(vocab, temperature=0, logit_bias={likeliest: -100}).sample_array(logits) != likeliest


def test_greedy_still_penalizes(vocab: Vocab) -> None:
    logits = np.zeros(vocab.n_tokens, np.float32)
    logits[[10, 11]] = 5.0, 4.0
    sampler = create(vocab, temperature=0, presence_penalty=2.0)
    assert [sampler.sample_array(logits) for _ in range(4)] == [10, 11, 10, 10]
    sampler = create(vocab, temperature=0, presence_penalty=20.0)
    assert [sampler.sample_array(logits) for _ in range(2)] == [10, 11]


def test_a_prompt_counts_for_penalties(vocab: Vocab) -> None:
    logits = np.zeros(vocab.n_tokens, np.float32)
    logits[[10, 11]] = 5.0, 4.0
    sampler = create(vocab, temperature=0, frequency_penalty=2.0, penalty_last_n=4)
    sampler.accept_prompt([10, 10])
    assert sampler.sample_array(logits) == 11
    sampler.accept_prompt(np.arange(20, 60))
    assert sampler.sample_array(logits) == 10
    with pytest.raises(TokenError):
        sampler.accept_prompt([10, vocab.n_tokens])


def test_dry_is_read_once_and_starts_empty() -> None:
    with Model.load(LLAMA_CPP / "models" / "ggml-vocab-gpt-2.gguf", ModelParams(vocab_only=True)) as model:
        before = Handle.live().get("DryTemplate", 0)
        use_dry(model.vocab)
        assert Handle.live()["DryTemplate"] == before + 4
    assert Handle.live().get("DryTemplate", 0) == before


def use_dry(vocab: Vocab) -> None:
    logits = np.zeros(vocab.n_tokens, np.float32)
    logits[[10, 11, 12]] = 5.0, 4.9, 4.8
    options: dict[str, Any] = {"temperature": 0, "dry_multiplier": 3.0, "dry_allowed_length": 1}
    for breakers in (["\n"], ["q"], ["\n"], ["w"], ["e"], ["r"], ["t"], ["\n"]):
        sampler = create(vocab, dry_sequence_breakers=breakers, **options)
        assert sampler.sample_array(logits) == 10
        sampler.accept_prompt([10, 10])
        assert sampler.sample_array(logits) != 10


def test_dynamic_temperature_at_0(vocab: Vocab, logits: Logits) -> None:
    sampler = create(vocab, temperature=0, dynatemp_range=1.5, top_k=0, top_p=1, min_p=0)
    assert len({sampler.sample_array(logits) for _ in range(30)}) > 3


# -- seeds and state ------------------------------------------------------------------------------------------------


def test_seeds(vocab: Vocab, logits: Logits) -> None:
    def tokens(seed: int) -> list[int]:
        sampler = create(vocab, seed=seed)
        return [sampler.sample_array(logits) for _ in range(12)]

    logits = (logits / 3).astype(np.float32)
    assert tokens(0) == tokens(0) == tokens(2**32)
    assert tokens(0) != tokens(1)
    assert tokens(2**32 - 1) == tokens(2**32 - 1)  # llama.cpp's "any seed" is never what it gets
    assert create(vocab, seed=2**32 - 1).seed == 2**32 - 2
    assert create(vocab, seed=-5).seed == 2**32 - 5
    with pytest.raises(TypeError):
        create(vocab, seed="x")  # type: ignore[arg-type]


def test_reset_and_clone(vocab: Vocab, logits: Logits) -> None:
    for options in (
        {},
        {"repeat_penalty": 1.3, "dry_multiplier": 1.0},
        {"mirostat_mode": 2},
        {"grammar": "root ::= .*"},
    ):
        sampler = create(vocab, **options)
        first = [sampler.sample_array(logits) for _ in range(8)]
        twin = sampler.clone()
        ahead = [sampler.sample_array(logits) for _ in range(8)]
        assert [twin.sample_array(logits) for _ in range(8)] == ahead
        sampler.reset()
        assert [sampler.sample_array(logits) for _ in range(16)] == first + ahead


def test_a_clone_after_a_draw_that_was_not_accepted(vocab: Vocab, logits: Logits) -> None:
    """adaptive_p remembers the draw, its clone does not have the probabilities to go with it."""
    sampler = create(vocab, samplers=["adaptive_p"], adaptive_target=0.5, grammar='root ::= "\\x00"')
    with pytest.raises(GrammarError):
        sampler.sample_array(logits)
    twin = sampler.clone()
    native = sampler._native
    for token in range(vocab.n_tokens):  # one of them is the draw
        native.accept(native.get(twin.ptr, 0), token)
    check_guard()


def test_clone_of_a_big_grammar(vocab: Vocab, logits: Logits) -> None:
    sampler = create(vocab, grammar='root ::= "' + "ab" * 15_000 + '"')
    text = write(sampler, vocab, logits, 5)
    twin = sampler.clone()
    assert text + write(twin, vocab, logits, 5) == text + write(sampler, vocab, logits, 5)
    sampler.reset()
    assert write(sampler.clone(), vocab, logits, 5) == text
    assert len(text) >= 5
    assert set(text) == set(b"ab")


def test_probs_leave_the_state_alone(vocab: Vocab, logits: Logits) -> None:
    sampler, other = create(vocab, xtc_probability=0.5), create(vocab, xtc_probability=0.5)
    for _ in range(5):
        probs = sampler.probs(logits)
        assert probs.sum() == pytest.approx(1, abs=1e-4)
        assert probs[sampler.sample_array(logits)] > 0
        other.sample_array(logits)
    assert sampler.sample_array(logits) == other.sample_array(logits)
    assert create(vocab, temperature=0).probs(logits)[logits.argmax()] == 1
    assert create(vocab, top_k=5, top_p=1, min_p=0).apply(logits).shape == (5,)


def test_the_callers_logits_are_not_changed(vocab: Vocab, logits: Logits) -> None:
    before = logits.copy()
    create(vocab, grammar='root ::= "a"', logit_bias={1: 5}).sample_array(logits)
    assert np.array_equal(before, logits)


# -- logit bias -----------------------------------------------------------------------------------------------------


def test_logit_bias(vocab: Vocab, logits: Logits) -> None:
    for bias in ({17: 100}, {"17": 100.0}, {np.int64(17): 100}, {17: "100"}):
        assert create(vocab, logit_bias=bias).sample_array(logits) == 17
    banned = create(vocab, logit_bias={int(t): -math.inf for t in np.argsort(logits)[-50:]}, top_k=1)
    assert banned.sample_array(logits) == np.argsort(logits)[-51]


@pytest.mark.parametrize("token", [-1, 50257, "50257", "-1", 2**70])
def test_logit_bias_of_unknown_tokens(vocab: Vocab, token: int | str) -> None:
    with pytest.raises(TokenError) as caught:
        create(vocab, logit_bias={token: 1.0})
    assert caught.value.param == "logit_bias"
    assert caught.value.n_vocab == 50257


@pytest.mark.parametrize(
    "bias", [{"a": 1}, {1.5: 1}, {True: 1}, {None: 1}, {1: "x"}, {1: None}, {1: math.nan}, {1: math.inf}, {1: 1e40}, 5]
)
def test_bad_logit_bias(vocab: Vocab, bias: Any) -> None:
    with pytest.raises(InputError) as caught:
        create(vocab, logit_bias=bias)
    assert caught.value.param == "logit_bias"


def test_ignore_eos(vocab: Vocab) -> None:
    logits = np.zeros(vocab.n_tokens, np.float32)
    logits[list(vocab.eog_tokens)] = 50
    assert create(vocab, temperature=0).sample_array(logits) in vocab.eog_tokens
    assert create(vocab, temperature=0, ignore_eos=True).sample_array(logits) not in vocab.eog_tokens


# -- bad options ----------------------------------------------------------------------------------------------------

BAD: list[dict[str, Any]] = [
    {"temperature": -1}, {"temperature": math.nan}, {"temperature": math.inf}, {"temperature": "hot"},
    {"top_k": 2**31}, {"top_k": 1.5}, {"top_p": 1.1}, {"top_p": -0.1}, {"min_p": 2}, {"typical_p": -1},
    {"top_n_sigma": math.nan}, {"xtc_probability": 2}, {"xtc_threshold": -1}, {"min_keep": -1},
    {"repeat_penalty": 0}, {"repeat_penalty": -1}, {"repeat_penalty": 1e-45}, {"repeat_penalty": math.nan},
    {"frequency_penalty": math.inf}, {"presence_penalty": math.nan}, {"penalty_last_n": -2},
    {"dry_multiplier": -1}, {"dry_base": -1}, {"dry_allowed_length": -1}, {"dry_penalty_last_n": -2},
    {"dry_sequence_breakers": "abc", "dry_multiplier": 1}, {"dry_sequence_breakers": [""]},
    {"dry_sequence_breakers": ["\0"]}, {"dry_sequence_breakers": ["\ud800"]}, {"dry_sequence_breakers": [5]},
    {"dry_sequence_breakers": ["x" * 41]}, {"dry_sequence_breakers": ["x"] * 65},
    {"mirostat_mode": 3}, {"mirostat_tau": -1}, {"mirostat_eta": math.nan},
    {"adaptive_target": 2}, {"adaptive_decay": 1}, {"dynatemp_range": -1}, {"dynatemp_exponent": math.nan},
    {"samplers": "top_k"}, {"samplers": ["topkk"]}, {"samplers": [5]}, {"samplers": ["top_k"] * 100},
    {"samplers": ["infill"]}, {"samplers": ["top_k", "infill"], "top_k": 0}, {"samplers": ["infill", "top_k"]},
    {"samplers": ["top_k", "infill"], "top_k": 50_000},
]  # fmt: skip


@pytest.mark.parametrize("options", BAD, ids=[str(o)[:50] for o in BAD])
def test_bad_options(vocab: Vocab, options: dict[str, Any]) -> None:
    live = Handle.live()
    with pytest.raises(InputError) as caught:
        create(vocab, **options)
    assert caught.value.param in options
    assert Handle.live() == live


def test_huge_histories_stay_small(vocab: Vocab, logits: Logits) -> None:
    last = 2**31 - 1
    sampler = create(vocab, repeat_penalty=1.1, penalty_last_n=last, dry_multiplier=1, dry_penalty_last_n=last)
    sampler.sample_array(logits)


def test_wrong_shapes(vocab: Vocab) -> None:
    sampler = create(vocab)
    for bad in (np.zeros(5, np.float32), np.zeros((1, vocab.n_tokens), np.float32), np.zeros(0, np.float32)):
        with pytest.raises(InputError, match="shape"):
            sampler.sample_array(bad)
        with pytest.raises(InputError, match="shape"):
            sampler.probs(bad)
    for token in (-1, vocab.n_tokens, 2**40):
        with pytest.raises(TokenError):
            sampler.accept(token)


ODD = {
    "nan": math.nan, "plus": math.inf, "minus": -math.inf, "big": 3e38, "small": -3e38,
}  # fmt: skip
CHAINS: list[dict[str, Any]] = [
    {}, {"temperature": 0}, {"mirostat_mode": 1}, {"mirostat_mode": 2}, {"top_k": 0, "typical_p": 0.5},
    {"samplers": ["top_k", "top_p", "infill"]}, {"samplers": ["min_p", "adaptive_p"], "adaptive_target": 0.3},
    {"top_k": 0, "top_p": 0.5, "min_p": 0.5}, {"top_k": 1000, "top_n_sigma": 1.0, "xtc_probability": 1.0},
    {"dynatemp_range": 0.5}, {"repeat_penalty": 2.0, "dry_multiplier": 2.0}, {"min_keep": 500},
    {"grammar": "root ::= [a-z]*", "repeat_penalty": 1.5},
]  # fmt: skip


@pytest.mark.parametrize("options", CHAINS, ids=str)
@pytest.mark.parametrize("odd", ODD)
def test_odd_logits_do_not_crash(vocab: Vocab, logits: Logits, odd: str, options: dict[str, Any]) -> None:
    sampler = create(vocab, **options)
    every, some = np.full(vocab.n_tokens, ODD[odd], np.float32), logits.copy()
    some[::3] = ODD[odd]
    for row in (every, some, every, some):
        try:
            assert 0 <= sampler.sample_array(row) < vocab.n_tokens
        except GrammarError:
            assert "grammar" in options


# -- grammar --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grammar", ['root ::= "yes" | "no"', LlamaGrammar('r ::= "yes" | "no"', "r")], ids=str)
@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"repeat_penalty": 1.5}, {"mirostat_mode": 2}], ids=str)
def test_grammar(vocab: Vocab, logits: Logits, grammar: Any, options: dict[str, Any]) -> None:
    for seed in range(5):
        assert write(create(vocab, seed=seed, grammar=grammar, **options), vocab, logits) in (b"yes", b"no")


def test_grammar_of_characters_across_tokens(vocab: Vocab) -> None:
    logits = (np.random.default_rng(3).standard_normal(vocab.n_tokens)).astype(np.float32)
    assert write(create(vocab, grammar='root ::= "日本" | "日本語🙂"'), vocab, logits).decode() in ("日本", "日本語🙂")


def test_a_grammar_draws_what_masking_would_draw(context: Context) -> None:
    """Drawing, asking, and drawing again from what is allowed is the masked distribution, not a near one."""
    vocab = context.model.vocab
    logits = np.full(vocab.n_tokens, -np.inf, np.float32)
    a, b, c, d = (vocab.tokenize(letter, add_special=False)[0] for letter in "abcd")
    logits[[a, b, c, d]] = np.log([0.1, 0.3, 0.4, 0.2])
    options: dict[str, Any] = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, "samplers": []}
    masked = create(vocab, grammar="root ::= [ab] | [d]", **options).probs(logits)
    assert masked[[a, b, c, d]] == pytest.approx([1 / 6, 3 / 6, 0, 2 / 6], abs=1e-6)
    count = 3000
    for extra in ({}, {"presence_penalty": 1e-9, "samplers": ["penalties"]}):  # with and without a chain that accepts
        sampler = create(vocab, grammar="root ::= [ab] | [d]", **{**options, **extra})
        drawn: Counter[int] = Counter()
        for seed in range(count):
            with Sampler.create(vocab, sampler.params, n_ctx=64, seed=seed) as one:
                drawn[one.sample_array(logits)] += 1
        for token in (a, b, d):
            expected = count * masked[token]
            assert abs(drawn[token] - expected) < 5 * math.sqrt(expected)
        assert set(drawn) == {a, b, d}


def test_a_grammar_that_no_token_fits(vocab: Vocab, logits: Logits) -> None:
    sampler = create(vocab, grammar='root ::= "a" "\\x00"')
    first = sampler.sample_array(logits)
    assert vocab.token_to_piece(first) == b"a"
    for _ in range(2):
        with pytest.raises(GrammarError, match="allows no usable token"):
            sampler.sample_array(logits)
    sampler.reset()
    assert vocab.token_to_piece(sampler.sample_array(logits)) == b"a"


def test_a_complete_grammar_ends_even_with_ignore_eos(vocab: Vocab, logits: Logits) -> None:
    sampler = create(vocab, grammar='root ::= "ok"', ignore_eos=True)
    assert write(sampler, vocab, logits) == b"ok"
    for _ in range(3):
        assert sampler.sample_array(logits) in vocab.eog_tokens


def test_a_grammar_whose_tokens_are_all_banned(vocab: Vocab, logits: Logits) -> None:
    a = vocab.tokenize("a", add_special=False)[0]
    with pytest.raises(GrammarError, match="allows no usable token"):
        create(vocab, grammar='root ::= "a"', logit_bias={a: -math.inf}).sample_array(logits)


def test_accepting_what_the_grammar_refuses(vocab: Vocab) -> None:
    sampler = create(vocab, grammar='root ::= "ab"')
    a, b = (vocab.tokenize(letter, add_special=False)[0] for letter in "ab")
    eos = vocab.eos
    assert eos is not None
    for token in (b, eos):
        assert not sampler.allows(token)
        with pytest.raises(GrammarError, match="does not fit"):
            sampler.accept(token)
    sampler.accept(a)
    assert not sampler.allows(a)
    assert sampler.allows(b)
    sampler.accept(b)
    sampler.accept(eos)
    sampler.accept(eos)
    with pytest.raises(GrammarError):
        sampler.accept(a)


def test_tokens_named_in_a_grammar(vocab: Vocab, logits: Logits) -> None:
    eos = vocab.eos
    assert write(create(vocab, grammar="root ::= <[500]> !<[501]>"), vocab, logits).startswith(
        vocab.token_to_piece(500)
    )
    assert create(vocab, grammar="root ::= <|endoftext|>").names()[0] == "grammar"
    with pytest.raises(GrammarError, match="allows no usable"):  # it can only end a text
        create(vocab, grammar=f"root ::= <[{eos}]>").sample_array(logits)
    with pytest.raises(GrammarError, match="outside the vocabulary") as caught:
        create(vocab, grammar='root ::= "a" x\nx ::= <[50257]>')
    assert (caught.value.line, caught.value.column) == (2, 7)
    with pytest.raises(GrammarError, match="not one token"):
        create(vocab, grammar="root ::= <no such token>")


@pytest.mark.parametrize(
    "grammar", ["", "root", 'root ::= "a', "root ::= root", 'x ::= "a"', 'root ::= "a"{3,2}', 5, b"x", []]
)
def test_broken_grammars(vocab: Vocab, grammar: Any) -> None:
    live = Handle.live()
    with pytest.raises(GrammarError) as caught:
        create(vocab, grammar=grammar)
    assert caught.value.param == "grammar"
    assert Handle.live() == live


MATCHED = grammars.matched()


def matches(sampler: Sampler, vocab: Vocab, text: grammars.Text) -> bool:
    """Whether the grammar takes a text, byte by byte, and may end there."""
    for part in text:
        tokens = [part] if isinstance(part, int) else vocab.tokenize(part, add_special=False)
        if not isinstance(part, int):  # whole tokens would do; single characters meet more of the grammar's states
            tokens = [t for char in part for t in vocab.tokenize(char, add_special=False)]
        for token in tokens:
            if not sampler.allows(token):
                return False
            sampler.accept(token)
    assert vocab.eos is not None
    return sampler.allows(vocab.eos)


@pytest.mark.parametrize("case", MATCHED, ids=lambda case: case.name)
def test_texts_of_llama_cpps_integration_test(vocab: Vocab, case: grammars.Matched) -> None:
    sampler = create(vocab, grammar=case.text)
    for wanted, texts in ((True, case.passing), (False, case.failing)):
        assert texts
        for text in texts:
            assert matches(sampler, vocab, text) is wanted, text
            sampler.reset()


def test_the_extractor_finds_all_texts() -> None:
    assert sum(len(case.passing) + len(case.failing) for case in MATCHED) >= 136


# -- life -----------------------------------------------------------------------------------------------------------


def test_use_after_close(vocab: Vocab, logits: Logits) -> None:
    sampler = create(vocab, grammar="root ::= .*", repeat_penalty=1.1)
    sampler.close()
    sampler.close()
    for call in (
        lambda: sampler.sample_array(logits), lambda: sampler.accept(1), lambda: sampler.accept_prompt([1]),
        sampler.reset, sampler.clone, sampler.names, lambda: sampler.probs(logits), lambda: sampler.allows(1),
    ):  # fmt: skip
        with pytest.raises(ClosedError):
            call()


def test_closed_with_its_model(logits: Logits) -> None:
    model = Model.load(LLAMA_CPP / "models" / "ggml-vocab-gpt-2.gguf", ModelParams(vocab_only=True))
    sampler = create(model.vocab, grammar="root ::= .*")
    model.close()
    with pytest.raises(ClosedError):
        sampler.sample_array(logits)
    with pytest.raises(ClosedError):
        create(model.vocab)


def test_a_thousand_leave_nothing(vocab: Vocab, logits: Logits) -> None:
    gc.collect()
    before = Handle.live().get("Sampler", 0)
    for index in range(1000):
        sampler = create(vocab, grammar="root ::= [a-z]+" if index % 2 else None)
        if index % 100 == 0:
            sampler.sample_array(logits)
            sampler.clone()
    del sampler
    gc.collect()
    assert Handle.live().get("Sampler", 0) == before


def test_many_threads_on_one_sampler(vocab: Vocab, logits: Logits) -> None:
    sampler = create(vocab, repeat_penalty=1.1, grammar="root ::= [a-z ]*")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(30):
                sampler.sample_array(logits)
                sampler.reset()
        except ClosedError:
            pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    threads[0].join(0.2)
    sampler.close()
    for thread in threads:
        thread.join(60)
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_use_after_fork(vocab: Vocab, logits: Logits) -> None:
    sampler = create(vocab)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sampler.sample_array(logits)
        except ForkedError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    sampler.sample_array(logits)


# -- with a context -------------------------------------------------------------------------------------------------


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with Model.load(write_tiny_llama(tmp_path / "tiny.gguf")) as model:
        context = Context.create(model, ContextParams(n_ctx=128))
        batch = Batch(32)
        batch.extend(model.vocab.tokenize("hello world"), 0, 0, True)
        context.decode(batch)
        yield context


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0}, {"repeat_penalty": 1.3, "top_k": 5}, {"grammar": "root ::= [a-z]*"},
     {"grammar": "root ::= [a-z]*", "repeat_penalty": 1.3}, {"mirostat_mode": 1}],
    ids=str,
)  # fmt: skip
def test_sampling_from_a_context_is_sampling_from_its_logits(context: Context, options: dict[str, Any]) -> None:
    vocab = context.model.vocab
    logits = np.array(context.logits(-1))
    one, other = create(vocab, **options), create(vocab, **options)
    assert [one.sample(context, -1) for _ in range(20)] == [other.sample_array(logits) for _ in range(20)]
    assert np.array_equal(logits, context.logits(-1))


@pytest.mark.parametrize(
    "options", [{}, {"grammar": "root ::= .*"}, {"grammar": "root ::= .*", "repeat_penalty": 2}], ids=str
)
def test_outputs_that_do_not_exist(context: Context, options: dict[str, Any]) -> None:
    sampler = create(context.model.vocab, **options)
    for idx in (0, 5, 1000, -2, -(2**31), 2**31 - 1):
        with pytest.raises(InputError):
            sampler.sample(context, idx)
    assert sampler.sample(context, -1) >= 0


def test_a_closed_context(context: Context) -> None:
    sampler = create(context.model.vocab)
    context.close()
    with pytest.raises(ClosedError):
        sampler.sample(context, -1)


def test_a_context_of_another_vocabulary(context: Context, vocab: Vocab) -> None:
    with pytest.raises(InputError, match="50257 tokens"):
        create(vocab).sample(context, -1)


def test_a_model_without_vocabulary(tmp_path: Path) -> None:
    from tests.tiny_gguf import TinySpec, tiny_llama

    model = tiny_llama(TinySpec())
    count = len(model.metadata["tokenizer.ggml.tokens"])
    for key in [key for key in model.metadata if key.startswith("tokenizer.")]:
        del model.metadata[key]
    model.metadata["tokenizer.ggml.model"] = "no_vocab"
    model.metadata["llama.vocab_size"] = count
    with Model.load(model.save(tmp_path / "none.gguf")) as loaded:
        assert loaded.vocab.type == "none"
        row = np.zeros(loaded.vocab.n_tokens, np.float32)
        assert create(loaded.vocab, ignore_eos=True).sample_array(row) >= 0
        for options in ({"grammar": "root ::= .*"}, {"dry_multiplier": 1.0}, {"samplers": ["top_k", "infill"]}):
            with pytest.raises(UnsupportedError):
                create(loaded.vocab, **options)
