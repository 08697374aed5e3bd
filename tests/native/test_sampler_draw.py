"""The shorter way through a chain against the whole chain, which llama.cpp runs over all tokens."""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.core.context import Context
from llama_bind.core.handle import Handle
from llama_bind.core.model import Model
from llama_bind.core.sampler import Sampler
from llama_bind.core.sampler_chain import Stage
from llama_bind.core.sampler_draw import GREEDY, MAX_TOP_K, Drawer, chain_struct
from llama_bind.errors import ClosedError, InputError, NativeAbortError
from llama_bind.lib import guard_h, llama_h
from llama_bind.params import ModelParams, SamplingParams
from tests.core_helpers import filled, make_context, shared_model
from tests.vectors import LLAMA_CPP

Logits = npt.NDArray[np.float32]


@functools.cache
def gpt2() -> Model:
    """50257 tokens without weights."""
    return Model.load(LLAMA_CPP / "models" / "ggml-vocab-gpt-2.gguf", ModelParams(vocab_only=True))


def create(seed: int, model: Model | None = None, **options: Any) -> Sampler:
    return Sampler.create((model or gpt2()).vocab, SamplingParams(**options), n_ctx=256, seed=seed)


class Pair:
    """Two samplers of the same options and seed: one draws as it likes, the other over all tokens."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.fast, self.whole = create(seed, **options), create(seed, **options)
        self.whole._struct.top_k = 0

    @property
    def is_short(self) -> bool:
        return bool(self.fast._struct.top_k != 0)

    def draw(self, row: Logits) -> tuple[int, int]:
        return self.fast.sample_array(row), self.whole.sample_array(row)

    def accept(self, tokens: list[int]) -> None:
        self.fast.accept_prompt(tokens)
        self.whole.accept_prompt(tokens)

    def check(self, rows: list[Logits]) -> None:
        for row in rows:
            before = row.copy()
            fast, whole = self.draw(row)
            assert fast == whole
            np.testing.assert_array_equal(row, before)
        # Whatever the draws left behind, generators included, shows in draws that follow over the whole list.
        self.fast._struct.top_k = 0
        flat = np.linspace(-2, 2, len(rows[0])).astype(np.float32)
        for _ in range(3):
            fast, whole = self.draw(flat)
            assert fast == whole


def row_of(rng: np.random.Generator, kind: str) -> Logits:
    n = gpt2().vocab.n_tokens
    row: Logits = (rng.standard_normal(n) * rng.choice([0.01, 1, 4, 30])).astype(np.float32)
    if kind == "equal at the top":
        best = np.argsort(row)[-rng.integers(2, 400) :]
        row[best] = np.round(row[best] * 8) / 8
    elif kind == "few values":
        row = np.round(row).astype(np.float32)
    elif kind == "all equal":
        row[:] = rng.standard_normal()
    elif kind == "mostly minus infinity":
        row[rng.random(n) < rng.choice([0.5, 0.99, 0.9999])] = -np.inf
    elif kind == "infinities":
        row[rng.integers(0, n, 3)] = [np.inf, -np.inf, np.inf]
    elif kind == "nan":
        row[rng.integers(0, rng.choice([40, n]), rng.integers(1, 5))] = np.nan
    elif kind == "huge":
        row *= np.float32(10.0 ** rng.integers(3, 36))
    elif kind == "zeros of both signs":
        row = np.abs(row) * -1
        row[rng.integers(0, n, 60)] = rng.choice([0.0, -0.0], 60)
    elif kind == "best in one place":
        start = rng.integers(0, n - 500)
        row[start : start + 500] += 200
    elif kind == "best at the end":
        row[-rng.integers(1, 60) :] += 50
    elif kind == "rising":
        row.sort()
    elif kind == "falling":
        row = -np.sort(row)
    return row


KINDS = [
    "ordinary", "equal at the top", "few values", "all equal", "mostly minus infinity", "infinities", "nan", "huge",
    "zeros of both signs", "best in one place", "best at the end", "rising", "falling",
]  # fmt: skip

SHORT: dict[str, Any] = {
    "top_k": st.sampled_from([1, 2, 3, 20, 40, 64, 127, 128, 129, 200, MAX_TOP_K]),
    "top_p": st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]),
    "min_p": st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    "typical_p": st.sampled_from([1.0, 0.9, 0.3]),
    "temperature": st.sampled_from([0.1, 0.8, 1.0, 2.0]),
    "dynatemp_range": st.sampled_from([0.0, 0.5]),
    "xtc_probability": st.sampled_from([0.0, 0.5]),
    "min_keep": st.sampled_from([0, 1, 5]),
    "ignore_eos": st.booleans(),
    "logit_bias": st.none() | st.dictionaries(st.integers(0, 50256), st.sampled_from([-100.0, -1.5, 0.25, 100.0])),
}


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries({}, optional=SHORT), st.integers(0, 2**32 - 2), st.lists(st.sampled_from(KINDS), max_size=5)
)
def test_the_short_way_gives_the_chains_tokens(options: dict[str, Any], seed: int, kinds: list[str]) -> None:
    rng = np.random.default_rng(seed)
    pair = Pair(seed, **options)
    assert pair.is_short
    pair.check([row_of(rng, kind) for kind in ["ordinary", *kinds]])


PENALTIES: dict[str, Any] = {
    **SHORT,
    "repeat_penalty": st.sampled_from([0.5, 1.0, 1.1, 1.5, 1e6]),
    "frequency_penalty": st.sampled_from([-2.0, 0.0, 0.3]),
    "presence_penalty": st.sampled_from([-5.0, 0.0, 0.7]),
    "penalty_last_n": st.sampled_from([1, 2, 64, 200, -1]),
    "temperature": st.sampled_from([0.0, 0.8, 2.0]),
}


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries({}, optional=PENALTIES),
    st.integers(0, 2**32 - 2),
    st.lists(st.sampled_from(KINDS), max_size=5),
)
def test_penalties_on_the_short_way(options: dict[str, Any], seed: int, kinds: list[str]) -> None:
    rng = np.random.default_rng(seed)
    pair = Pair(seed, **options)
    greedy_behind_others = options.get("temperature") == 0 and {"typical_p", "xtc_probability"} & options.keys()
    assert pair.is_short or greedy_behind_others
    rows = [row_of(rng, kind) for kind in ["ordinary", "ordinary", *kinds]]
    ranked = np.argsort(rows[0])
    seen = [ranked[-rng.integers(1, 80) :], ranked[-3:], ranked[-9:], rng.integers(0, len(ranked), rng.integers(0, 90))]
    pair.accept(np.concatenate(seen).tolist()[-rng.integers(1, 200) :])
    pair.check([*rows, rows[0], rows[0]])


def test_a_history_goes_with_clones_and_ends_with_a_reset() -> None:
    rng = np.random.default_rng(4)
    rows = [row_of(rng, "ordinary") for _ in range(8)]
    options: dict[str, Any] = {"repeat_penalty": 1.4, "penalty_last_n": 5, "temperature": 0.3}
    pair = Pair(3, **options)
    fresh = [create(3, **options).sample_array(row) for row in rows]
    first = [pair.draw(rows[0])[0] for _ in range(7)]
    assert len(set(first)) > 3
    twins = pair.fast.clone(), pair.whole.clone()
    twins[1]._struct.top_k = 0
    for row in [rows[0], rows[0], *rows]:
        assert twins[0].sample_array(row) == twins[1].sample_array(row)
    pair.check([rows[0], *rows])
    pair = Pair(3, **options)
    pair.accept([int(np.argmax(rows[0]))] * 5)
    pair.fast.reset()
    assert list(pair.fast._struct.history[:5]) == [-1] * 5
    assert pair.fast.sample_array(rows[0]) == fresh[0]
    pair.fast.accept(17)
    assert 17 in pair.fast._struct.history[:5]


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(["penalties", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature", "dry"]), st.integers(0, 99)
)
def test_any_order_of_samplers(names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {"typical_p": 0.9, "xtc_probability": 0.5, "repeat_penalty": 1.3, "dry_multiplier": 0.8}
    pair = Pair(seed, samplers=names[: rng.integers(1, 9)], **options)
    pair.check([row_of(rng, kind) for kind in rng.choice(KINDS, 4)])


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_with_and_without_biases(kind: str) -> None:
    rng = np.random.default_rng(5)
    for bias in (None, {7: -100.0, 11: 3.5, 50256: 100.0}, dict.fromkeys(range(300), -np.inf)):
        pair = Pair(1, temperature=0.0, logit_bias=bias, ignore_eos=bias is None)
        assert pair.fast._struct.top_k == GREEDY
        pair.check([row_of(rng, kind) for _ in range(5)])


def test_what_takes_the_short_way() -> None:
    def short(**options: Any) -> int:
        return int(create(1, **options)._struct.top_k)

    assert short() == 40
    assert short(top_k=256) == 256
    assert short(ignore_eos=True, logit_bias={3: 1.0}) == 40
    assert short(top_p=1.0, samplers=["top_p", "dry", "top_k", "temperature"]) == 40
    assert short(adaptive_target=0.3, samplers=["top_k", "adaptive_p"]) == 40
    assert short(temperature=0) == short(temperature=0, ignore_eos=True) == GREEDY
    assert short(top_k=257) == short(top_k=0) == 0
    assert short(repeat_penalty=1.1) == short(frequency_penalty=0.1) == short(presence_penalty=-1) == 40
    assert short(repeat_penalty=1.1, temperature=0) == 1
    assert short(repeat_penalty=1.1, penalty_last_n=2000) == short(repeat_penalty=1.1, dry_multiplier=1.0) == 0
    assert short(samplers=["temperature", "penalties", "top_k"], repeat_penalty=1.1) == 0
    assert short(dry_multiplier=0.5) == short(top_n_sigma=1.0) == short(mirostat_mode=2) == 0
    assert short(samplers=["temperature", "top_k"]) == short(samplers=["min_p", "top_k"]) == 0
    assert short(repeat_penalty=1.1, penalty_last_n=0) == 40
    assert short(samplers=["top_k", "penalties"], repeat_penalty=1.1) == 40
    # 0.5 and a little: as a C float it is 0.5, at which XTC is still on.
    assert short(samplers=["xtc", "top_k"], xtc_probability=0.1, xtc_threshold=0.5000000001) == 0
    assert short(samplers=["xtc", "top_k"], xtc_probability=0.1, xtc_threshold=0.51) == 40


@pytest.mark.parametrize("options", [{}, {"top_k": 256}, {"repeat_penalty": 1.1}, {"logit_bias": {5: -3.0}}])
def test_the_short_way_is_really_taken(options: dict[str, Any]) -> None:
    """With a rest that begins behind every sampler nothing chooses a token; only the short way looks at that."""
    sampler = create(1, **options)
    sampler.accept_prompt([3, 4, 5])
    sampler._struct.rest = 99
    row = row_of(np.random.default_rng(1), "ordinary")
    with pytest.raises(NativeAbortError, match="chose no token"):
        sampler.sample_array(row)
    row[:] = 1.0  # equal logits: the whole chain
    assert sampler.sample_array(row) >= 0


def test_tiny_vocabularies_and_large_k() -> None:
    rng = np.random.default_rng(3)
    n = shared_model().vocab.n_tokens
    for top_k in (1, 2, 15, 16, 17, 40, 256):
        fast, whole = (create(4, shared_model(), top_k=top_k) for _ in range(2))
        whole._struct.top_k = 0
        for _ in range(50):
            row = rng.standard_normal(n).astype(np.float32)
            assert fast.sample_array(row) == whole.sample_array(row)


def draw_row(row: Logits, sampler: Sampler) -> int:
    """The C function itself, which knows no vocabulary."""
    address = row.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return guard_h.lb_draw_row(address, len(row), ctypes.byref(sampler._struct))


def test_a_row_of_any_length() -> None:
    rng = np.random.default_rng(8)
    best, some = create(1, top_k=1), create(1, top_k=40, top_p=1.0, min_p=0.0, temperature=100.0)
    for n in [*range(1, 70), 1000, 1023, 1025, 16383, 16400, 99_991, 262_144, 300_007]:
        row = rng.permutation(n).astype(np.float32) * np.float32(100 / n)
        assert draw_row(row, best) == int(np.argmax(row))
        if n > 41:
            drawn = {draw_row(row, some) for _ in range(30)}
            assert len(drawn) > 3
            assert drawn <= set(np.argsort(row)[-40:].tolist())


def test_a_bias_for_a_token_that_does_not_exist_changes_nothing() -> None:
    row = row_of(np.random.default_rng(1), "ordinary")[:1000].copy()
    before = row.copy()
    sampler = create(1, top_k=5, logit_bias={3: 1.0, 5000: 2.0})
    assert draw_row(row, sampler) == -1
    assert b"does not exist" in (guard_h.lb_last_error() or b"")
    np.testing.assert_array_equal(row, before)


def test_clones_and_resets_draw_alike() -> None:
    rng = np.random.default_rng(2)
    rows = [row_of(rng, "ordinary") for _ in range(6)]
    sampler = create(9)
    first = [sampler.sample_array(row) for row in rows[:3]]
    twin = sampler.clone()
    rest = [sampler.sample_array(row) for row in rows[3:]]
    assert [twin.sample_array(row) for row in rows[3:]] == rest
    assert twin.native_chain != sampler.native_chain
    sampler.reset()
    assert [sampler.sample_array(row) for row in rows] == first + rest


def test_a_chain_keeps_its_biases() -> None:
    array = (llama_h.llama_logit_bias * 1)()
    struct = chain_struct([Stage("logit_bias", (10, 1, array)), Stage("top_k", (3,)), Stage("dist", (1,))], 4096)
    assert (struct.top_k, struct.rest, struct.n_biases) == (3, 2, 1)
    assert ctypes.addressof(struct.biases.contents) == ctypes.addressof(array)


# -- many sequences at once -----------------------------------------------------------------------------------------


def many(n: int = 8) -> Context:
    context = make_context(n_seq_max=n)
    batch = filled(context, [5, 6, 7])
    batch.clear()
    for seq in range(n):
        context.memory.seq_cp(0, seq, -1, -1) if seq else None
        batch.append(10 + seq, 3, seq, True)
    context.decode(batch)
    return context


OPTIONS: list[dict[str, Any]] = [
    {}, {"temperature": 0.0}, {"top_k": 0}, {"temperature": 2.0, "ignore_eos": True}, {"repeat_penalty": 1.5},
    {"mirostat_mode": 2}, {"temperature": 0.0, "logit_bias": {3: 100.0}}, {"top_k": 3, "xtc_probability": 0.5},
]  # fmt: skip


def test_many_draws_are_as_one_after_the_other() -> None:
    context = many()
    together = [create(i, shared_model(), **options) for i, options in enumerate(OPTIONS)]
    alone = [create(i, shared_model(), **options) for i, options in enumerate(OPTIONS)]
    drawer = Drawer(context, 8)
    order = list(range(8))
    for turn in range(20):
        rotated = order[turn % 8 :] + order[: turn % 8]
        rotated = rotated[: 1 + turn % 8]
        got = drawer.draw([together[i] for i in rotated], rotated)
        assert got == [alone[i].sample(context, i) for i in rotated]
    assert drawer.draw([], []) == []


def test_one_that_fails_stops_no_other() -> None:
    context = many()
    want = [create(i, shared_model(), temperature=2.0).sample(context, i) for i in range(8)]
    for broken in ([0], [3], [7], [2, 3], list(range(8))):
        samplers = [create(i, shared_model(), temperature=2.0) for i in range(8)]
        for i in broken:
            samplers[i]._struct.top_k, samplers[i]._struct.rest = 2, 99
        got = Drawer(context, 8).draw(samplers, list(range(8)))
        for i in range(8):
            if i in broken:
                assert isinstance(got[i], NativeAbortError)
                assert "chose no token" in str(got[i])
            else:
                assert got[i] == want[i]


def test_an_output_that_is_not_there_is_that_ones_error() -> None:
    context = many(2)
    got = Drawer(context, 3).draw([create(i, shared_model()) for i in range(3)], [0, 77, 1])
    assert isinstance(got[0], int)
    assert isinstance(got[1], NativeAbortError)
    assert "no logits" in str(got[1])
    assert isinstance(got[2], int)


def test_a_drawer_checks_what_it_gets() -> None:
    context = many(2)
    one, two = (create(i, shared_model()) for i in range(2))
    drawer = Drawer(context, 1)
    with pytest.raises(InputError):
        drawer.draw([one, two], [0, 1])
    with pytest.raises(InputError):
        drawer.draw([one], [0, 1])
    live = Handle.live()["Sampler"]
    two.close()
    with pytest.raises(ClosedError):
        drawer.draw([two], [0])
    with pytest.raises(ClosedError):
        Drawer(context, 2).draw([one, two], [0, 1])
    assert isinstance(drawer.draw([one], [0])[0], int)
    one.close()
    assert Handle.live().get("Sampler", 0) == live - 2


def test_a_sampler_closed_from_another_thread_is_freed_after_the_draw() -> None:
    context = many(2)
    for _ in range(30):
        samplers = [create(i, shared_model()) for i in range(2)]
        drawer = Drawer(context, 2)
        closing = threading.Thread(target=samplers[1].close)
        closing.start()
        try:
            while len(drawer.draw(samplers, [0, 1])) == 2:
                pass
        except ClosedError:
            pass
        closing.join(10)
        samplers[0].close()
        assert samplers[0]._resource.pins == samplers[1]._resource.pins == 0


def test_a_seen_token_whose_logit_is_no_number() -> None:
    """llama.cpp's sorting begins with the first tokens, so a NaN among them changes what it finds."""
    for token in (0, 3, 20):
        pair = Pair(5, repeat_penalty=1.2, temperature=3.0, min_p=0.0, top_p=1.0)
        row = row_of(np.random.default_rng(6), "ordinary")
        row[token] = np.nan
        pair.accept([token, 11, 12])
        pair.check([row] * 40)
