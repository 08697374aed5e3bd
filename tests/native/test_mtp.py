"""Guesses by a model's own multi-token-prediction layers."""

from __future__ import annotations

import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_bind import Llama
from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.model import Model
from llama_bind.core.nextn import StateBatch, create_nextn_context, send_states, state_of, states_of
from llama_bind.engine.guessing import Wanted
from llama_bind.engine.mtp import MtpDrafter
from llama_bind.errors import ContextError, DecodeError, InputError, UnsupportedError
from llama_bind.params import ContextParams, ModelParams
from tests.core_helpers import FOLDER, make_context, model_file
from tests.llamas import tiny
from tests.tiny_mtp import tiny_mtp, write_tiny_mtp

PROMPTS = ("one two three one two", "Hello, world", "a b a b", "The end of the")
CALLS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0},
    {"temperature": 1.2, "seed": 4},
    {"temperature": 0.9, "seed": 8, "min_tokens": 10, "repeat_penalty": 1.2},
)


@functools.cache
def file_of(kind: str = "exact", n_extra: int = 1) -> Path:
    return write_tiny_mtp(FOLDER / f"mtp-{kind}-{n_extra}.gguf", kind, n_extra)


def opened(kind: str = "exact", n_extra: int = 1, **options: Any) -> Llama:
    precise = {"type_k": "f32", "type_v": "f32", "flash_attn": False}
    return Llama(file_of(kind, n_extra), **{"n_ctx": 1024, "n_seq_max": 4, "n_threads": 1, **precise, **options})


def results(llm: Llama, rounds: int = 2) -> list[Any]:
    """Many calls at the same time, the second round on prefixes that the first one left."""
    found: list[Any] = []
    for _ in range(rounds):
        work = [(p, {"max_tokens": 24, "logprobs": 1, **call}) for p in PROMPTS for call in CALLS]
        with ThreadPoolExecutor(8) as pool:
            found += [r["choices"][0] for r in pool.map(lambda w: llm(w[0], **w[1]), work)]
    return found


@pytest.mark.parametrize("unified", [False, True])
@pytest.mark.parametrize(("kind", "n_extra"), [("exact", 1), ("state", 1), ("random", 1), ("random", 2)])
def test_nothing_changes_and_right_guesses_hold(kind: str, n_extra: int, unified: bool) -> None:
    with opened(kind, n_extra) as plain, opened(kind, n_extra, draft_model="mtp", kv_unified=unified) as llm:
        for ours, theirs in zip(results(llm), results(plain), strict=True):
            assert (ours["text"], ours["finish_reason"]) == (theirs["text"], theirs["finish_reason"])
            assert ours["logprobs"]["tokens"] == theirs["logprobs"]["tokens"]
            np.testing.assert_allclose(
                ours["logprobs"]["token_logprobs"], theirs["logprobs"]["token_logprobs"], atol=1e-4
            )
        stats = llm.engine.stats
        assert stats.drafted_tokens > 50
        if kind == "exact":
            before = stats
            llm(PROMPTS[0], max_tokens=60, temperature=0.0)
            drafted = llm.engine.stats.drafted_tokens - before.drafted_tokens
            held = llm.engine.stats.accepted_tokens - before.accepted_tokens
            assert held == drafted > 40


@pytest.mark.parametrize("kind", ["exact", "state", "random"])
def test_texts_held_to_a_form_are_the_same(kind: str) -> None:
    """Tokens that a form forces come without having been guessed; the layers meet their states all the same."""
    forms: list[dict[str, Any]] = [
        {"regex": "(one two|one three){3,9}"},
        {"choice": ["yes", "no", "maybe not at all"]},
        {"json_schema": {"type": "object", "properties": {"a long name of a member": {"type": "boolean"}}}},
        {},
    ]
    work = [
        (prompt, {"max_tokens": 40, "seed": seed, "temperature": heat, **form})
        for form in forms
        for seed, (prompt, heat) in enumerate(zip(PROMPTS, (0.0, 1.2, 0.9, 0.0), strict=True))
    ]

    def made(llm: Llama) -> list[Any]:
        with ThreadPoolExecutor(8) as pool:
            found = [r["choices"][0] for _ in range(2) for r in pool.map(lambda w: llm(w[0], **w[1]), work)]
        return [(one["text"], one["finish_reason"]) for one in found]

    with opened(kind) as plain, opened(kind, draft_model="mtp") as llm:
        assert made(llm) == made(plain)
        assert llm.engine.stats.drafted_tokens > 20


def test_a_long_prompt_and_a_shift_of_the_context() -> None:
    text = "one two three four five six seven eight nine ten " * 8
    with opened(n_ctx=1024, n_batch=64, draft_model="mtp") as llm, opened(n_ctx=1024, n_batch=64) as plain:
        options: dict[str, Any] = {"max_tokens": 200, "temperature": 0.0, "context_overflow": "shift"}
        assert llm(text, **options)["choices"][0]["text"] == plain(text, **options)["choices"][0]["text"]
        assert llm.engine.stats.accepted_tokens > 50


def test_the_engine_in_a_process_of_its_own() -> None:
    with opened(engine_process=True, draft_model="mtp") as llm, opened() as plain:
        options: dict[str, Any] = {"max_tokens": 30, "temperature": 0.0}
        assert llm(PROMPTS[0], **options)["choices"][0]["text"] == plain(PROMPTS[0], **options)["choices"][0]["text"]
        assert llm.engine.stats.accepted_tokens > 10


# -- the layers by themselves ---------------------------------------------------------------------------------------


@functools.cache
def model_of(kind: str) -> Model:
    return Model.load(file_of(kind), ModelParams(load_mtp=True))


def main_context(kind: str) -> Context:
    context = make_context(model_of(kind), n_seq_max=2, n_ctx=512)
    send_states(context, masked=False)
    return context


class Told:
    """Computes texts on a main context and tells a drafter."""

    def __init__(self, kind: str) -> None:
        self.context = main_context(kind)
        self.drafter = MtpDrafter(self.context)
        self.texts: dict[int, list[int]] = {}

    def compute(self, parts: dict[int, list[int]]) -> dict[int, int]:
        """Append parts of several texts in one decode; gives the likeliest next token of each."""
        from llama_bind.engine.request import Request
        from llama_bind.engine.scheduler import Chunk, StepPlan
        from llama_bind.engine.sequence import Sequence

        batch, chunks, last = Batch(256), [], {}
        for slot, part in parts.items():
            text = self.texts.setdefault(slot, [])
            start = len(text)
            self.texts[slot] = text = [*text, *part]
            sequence = Sequence(Request(prompt=text), 0, 0.0, limit=500)
            sequence.slot = slot
            chunks.append(Chunk(sequence, start, len(part), "last"))
            last[slot] = batch.extend(part, start, slot, output_last=True)[-1]
        self.context.decode(batch)
        self.drafter.observe(StepPlan(tuple(chunks)), self.context)
        assert self.drafter.failure is None
        return {slot: int(self.context.logits(i).argmax()) for slot, i in last.items()}

    def guesses(self, following: dict[int, int], most: int = 4) -> dict[int, tuple[int, ...]]:
        wanted = [Wanted(s, np.array([*self.texts[s], t], np.int32), most) for s, t in following.items()]
        return self.drafter.propose(wanted)

    def cut(self, slot: int, n: int) -> None:
        self.texts[slot] = self.texts[slot][:n]
        self.context.memory.seq_rm(slot, n, -1)


def test_every_token_meets_the_state_before_it() -> None:
    """The layer that looks at the state only says what the main model said there: the token that it is given."""
    told = Told("state")
    following = told.compute({0: [10, 20, 30, 40], 1: [50, 60]})
    for _ in range(4):
        guessed = told.guesses(following)
        assert {slot: tokens[0] for slot, tokens in guessed.items()} == following
        following = told.compute({slot: [token] for slot, token in following.items()})
    told.cut(0, 3)
    again = told.compute({0: [77, 78, 79]})
    assert told.guesses(again)[0][0] == again[0]
    told.context.close()


def test_guesses_go_on_from_guesses() -> None:
    told = Told("exact")
    following = told.compute({0: [10, 20, 30, 40]})
    guessed = told.guesses(following, most=6)[0]
    want = []
    for _ in guessed:
        following = told.compute({0: [following[0]]})
        want.append(following[0])
    assert list(guessed) == want
    assert len(guessed) == 6
    told.context.close()


def by_hand(text: list[int], following: int, most: int) -> list[int]:
    """What the layer guesses, each pair of token and state put in one at a time."""
    context, layers = main_context("random"), create_nextn_context(model_of("random"), ContextParams(n_ctx=512))
    plain, pairs = Batch(1), StateBatch(1, model_of("random").n_embd_out)
    state: Any = np.zeros(model_of("random").n_embd_out, np.float32)
    found: list[int] = []
    for i, token in enumerate([*text, following]):
        pairs.clear()
        pairs.append(token, i, 0, True)
        pairs.states[0] = state
        layers.decode(pairs)
        if i < len(text):
            plain.clear()
            plain.append(token, i, 0, True)
            context.decode(plain)
            state = states_of(context, 1)[0]
    for i in range(most):
        found.append(int(layers.logits().argmax()))
        state = state_of(layers, 0)
        pairs.clear()
        pairs.append(found[-1], len(text) + 1 + i, 0, True)
        pairs.states[0] = state
        layers.decode(pairs)
    layers.close()
    context.close()
    return found


def test_guesses_are_those_of_a_plain_loop() -> None:
    text = [10, 20, 30, 40, 50, 60, 11, 21, 31]
    for parts in ([text], [text[:4], text[4:5], text[5:]]):
        told = Told("random")
        for part in parts:
            following = told.compute({0: part, 1: part[::-1]})
        assert list(told.guesses(following)[0]) == by_hand(text, following[0], 4)
        told.guesses(following, most=9)
        told.compute({0: [99], 1: [98]})  # guesses leave nothing behind
        assert list(told.guesses({0: 97})[0]) == by_hand([*text, 99], 97, 4)
        told.context.close()


def test_what_was_never_seen_has_no_guesses() -> None:
    told = Told("exact")
    following = told.compute({0: [10, 20, 30]})
    told.texts[0] = [10, 20, 31]
    assert told.guesses(following) == {}
    told.texts[1] = [5, 6]
    assert told.guesses({1: 7}) == {}
    assert told.drafter.failure is None
    told.context.close()


def test_the_states_are_those_of_the_batch() -> None:
    with main_context("random") as context:
        batch = Batch(8)
        batch.extend([5, 6, 7], 0, 0, output_last=True)
        context.decode(batch)
        together = states_of(context, 3)
        context.memory.clear()
        for i, token in enumerate([5, 6, 7]):
            batch.clear()
            batch.extend([token], i, 0, output_last=True)
            context.decode(batch)
            np.testing.assert_allclose(states_of(context, 1)[0], together[i], atol=1e-2)
    with make_context() as plain:
        batch.clear()
        batch.extend([5], 0, 0, output_last=True)
        plain.decode(batch)
        with pytest.raises(InputError, match="no hidden states"):
            states_of(plain, 1)


def test_layers_that_fail_are_given_up_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(draft_model="mtp") as llm:
        drafter = llm.engine._worker.steps.guesser._drafter  # type: ignore[union-attr]
        assert isinstance(drafter, MtpDrafter)
        want = llm(PROMPTS[0], max_tokens=30, temperature=0.0)["choices"][0]["text"]
        drafted = llm.engine.stats.drafted_tokens

        def broken(_batch: Any) -> None:
            raise DecodeError("no more", code=-3)

        monkeypatch.setattr(drafter.context, "decode", broken)
        with caplog.at_level(logging.WARNING, "llama_bind"):
            for _ in range(2):
                assert llm(PROMPTS[0], max_tokens=30, temperature=0.0)["choices"][0]["text"] == want
        assert len([r for r in caplog.records if "multi-token" in r.getMessage()]) == 1
        assert llm.engine.stats.drafted_tokens == drafted


# -- what is refused ------------------------------------------------------------------------------------------------


def test_models_without_such_layers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="nextn_predict_layers"):
        tiny(draft_model="mtp")
    with pytest.raises(UnsupportedError, match="cut back"):
        tiny("mamba", draft_model="mtp")
    with pytest.raises(InputError) as caught:
        opened(draft_model="mtp", load_mtp=False)
    assert caught.value.param == "load_mtp"
    model = tiny_mtp()
    for name in [name for name in model.tensors if ".nextn." in name]:
        del model.tensors[name]
    with pytest.raises(ContextError, match="multi-token-prediction"):
        Llama(model.save(tmp_path / "trunk.gguf"), n_ctx=256, n_threads=1, draft_model="mtp")
    with Model.load(model_file(), ModelParams()) as plain, pytest.raises(InputError):
        create_nextn_context(plain, ContextParams(n_ctx=256))
