"""Guesses change how fast a text comes, never the text: tokens, log probabilities and reasons stay what they were."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_bind import Llama, PromptLookup
from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.model import Model
from llama_bind.drafting import Drafting
from llama_bind.engine.draft import DraftModel, check_same_vocabulary
from llama_bind.engine.guessing import Wanted
from llama_bind.errors import (
    DecodeError,
    InputError,
    ModelFormatError,
    ModelNotFoundError,
    NoCellsError,
    UnsupportedError,
)
from llama_bind.params import LlamaParams
from tests.core_helpers import make_context, model_file, shared_model
from tests.llamas import shared, tiny
from tests.tiny_gguf import tiny_bert, tiny_llama, write_tiny_llama

PROMPTS = ("one two three one two three one two", "Hello, world", "a b a b a b a", "The end of the")
CALLS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0},
    {"temperature": 1.3, "seed": 11},
    {"temperature": 1.0, "seed": 5, "min_tokens": 12, "repeat_penalty": 1.2},
    {"temperature": 0.7, "seed": 3, "stop": ["e", "10"], "top_k": 5},
    {"temperature": 0.0, "logit_bias": {2: 6.0}},
    {"temperature": 0.9, "seed": 9, "grammar": "root ::= [a-z ]+"},
    {"temperature": 0.0, "dry_multiplier": 1.0, "frequency_penalty": 0.5},
)


SIZE: dict[str, Any] = {"n_seq_max": 4, "n_ctx": 1024, "type_k": "f32", "type_v": "f32", "flash_attn": False}
"""Four at a time. Full precision, so that batches of different sizes round almost alike."""


def results(llm: Llama, prompts: Sequence[str] = PROMPTS, **more: Any) -> list[Any]:
    """Everything that a caller sees of many calls that run at the same time."""
    work = [(p, {"max_tokens": 24, "logprobs": 2, **call, **more}) for p in prompts for call in CALLS]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda w: llm(w[0], **w[1]), work))
    return [(r["choices"], r["usage"]["completion_tokens"]) for r in done]


def assert_same(found: list[Any], want: list[Any]) -> None:
    assert len(found) == len(want)
    for (choices, count), (wanted, wanted_count) in zip(found, want, strict=True):
        assert count == wanted_count
        for choice, other in zip(choices, wanted, strict=True):
            assert (choice["text"], choice["finish_reason"]) == (other["text"], other["finish_reason"])
            ours, theirs = choice["logprobs"], other["logprobs"]
            assert ours["tokens"] == theirs["tokens"]
            assert [set(t) for t in ours["top_logprobs"]] == [set(t) for t in theirs["top_logprobs"]]
            np.testing.assert_allclose(ours["token_logprobs"], theirs["token_logprobs"], atol=1e-4)


@pytest.fixture(scope="module")
def plain() -> list[Any]:
    with tiny(**SIZE) as llm:
        return results(llm)


def copy_of(**changes: Any) -> str:
    return str(model_file("llama", **changes))


def at_random(seed: int) -> Any:
    source = random.Random(seed)
    return lambda _ids: [source.randrange(287) for _ in range(source.randrange(9))]


def always_wrong(ids: Any) -> Any:
    return [(int(ids[-1]) + 7 * i) % 287 for i in range(1, 20)]


def ends_the_text(_ids: Any) -> Any:
    return [2, 2, 2]


@pytest.mark.parametrize(
    "draft_model",
    [
        PromptLookup(),
        PromptLookup(1, 4, 1),
        "prompt-lookup",
        at_random(1),
        always_wrong,
        ends_the_text,
        copy_of(),
        copy_of(seed=2),
        copy_of(n_layer=1, n_embd=16),
        copy_of(n_vocab=330),
    ],
    ids=["lookup", "lookup-1", "name", "random", "wrong", "ends", "same", "other", "smaller", "larger-vocabulary"],
)
def test_nothing_changes_whoever_guesses(draft_model: Any, plain: list[Any]) -> None:
    with tiny(**SIZE, draft_model=draft_model) as llm:
        assert_same(results(llm), plain)
        some = plain[: len(CALLS)]
        assert_same(results(llm, PROMPTS[:1], n_draft=2), some)
        drafted = llm.engine.stats.drafted_tokens
        assert drafted > 0
        assert_same(results(llm, PROMPTS[:1], n_draft=0), some)
        assert llm.engine.stats.drafted_tokens == drafted


@pytest.mark.parametrize("unified", [False, True])
def test_the_same_model_is_right_most_of_the_time(unified: bool) -> None:
    """All greedy guesses of the same weights hold, for several sequences at once."""
    with tiny(**SIZE, kv_unified=unified, draft_model=copy_of()) as llm:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda p: llm(p, max_tokens=60, temperature=0.0), PROMPTS))
        want = [shared()(p, max_tokens=60, temperature=0.0)["choices"][0]["text"] for p in PROMPTS]
        assert [r["choices"][0]["text"] for r in done] == want
        stats = llm.engine.stats
        assert stats.accepted_tokens > 0.9 * stats.drafted_tokens > 100
        assert stats.steps < 0.6 * stats.generated_tokens


def test_a_request_can_turn_lookup_on(plain: list[Any]) -> None:
    with tiny(**SIZE) as llm:
        assert_same(results(llm, n_draft=8), plain)
        assert llm.engine.stats.accepted_tokens > 0
        before = llm.engine.stats.drafted_tokens
        llm(PROMPTS[0], max_tokens=20)
        assert llm.engine.stats.drafted_tokens == before


def test_candidates_chats_and_streams() -> None:
    chat: Any = [{"role": "user", "content": "one two one two one two"}]
    with tiny(**SIZE, draft_model=copy_of()) as llm, tiny(**SIZE) as other:
        options: dict[str, Any] = {"max_tokens": 30, "seed": 3, "temperature": 1.2}
        for n in (1, 3):
            ours = llm.create_chat_completion(chat, n=n, **options)["choices"]
            assert ours == other.create_chat_completion(chat, n=n, **options)["choices"]
        pieces = "".join(c["choices"][0]["text"] for c in llm("one two one two", stream=True, **options))
        assert pieces == other("one two one two", **options)["choices"][0]["text"]


# -- the draft model by itself --------------------------------------------------------------------------------------


def drafter(target: Context | None = None, **options: Any) -> DraftModel:
    target = target or make_context(n_seq_max=4, n_ctx=1024)
    return DraftModel.load(model_file("llama"), target, **options)


def greedy(tokens: list[int], count: int) -> tuple[int, ...]:
    """What the tiny model says, from an empty context each time."""
    found: list[int] = []
    with make_context() as context:
        for _ in range(count):
            batch = Batch(256)
            batch.extend([*tokens, *found], 0, 0, output_last=True)
            context.decode(batch)
            found.append(int(context.logits().argmax()))
            context.memory.clear()
    return tuple(found)


def want(slot: int, tokens: list[int], most: int = 5) -> Wanted:
    return Wanted(slot, np.array(tokens, np.int32), most)


def test_guesses_follow_the_texts_wherever_they_go() -> None:
    """Slots grow, are cut, change their text and swap it: memory and texts never part."""
    source = random.Random(4)
    with make_context(n_seq_max=4, n_ctx=1024) as target:
        draft = drafter(target)
        texts = {slot: [source.randrange(10, 200) for _ in range(source.randrange(1, 60))] for slot in range(4)}
        for _ in range(25):
            for slot, text in list(texts.items()):
                action = source.randrange(5)
                if action == 0:
                    texts[slot] = text[: source.randrange(1, len(text) + 1)]
                elif action == 1:
                    texts[slot] = [source.randrange(10, 200) for _ in range(source.randrange(1, 80))]
                elif action == 2:
                    texts[slot] = [*texts[source.randrange(4)], 17][-200:]
                else:
                    texts[slot] = [*text, *(source.randrange(10, 200) for _ in range(source.randrange(1, 5)))][-200:]
            asked = [want(slot, texts[slot], source.randrange(1, 6)) for slot in texts if source.random() < 0.7]
            got = draft.propose(asked)
            assert draft.failure is None
            for w in asked:
                assert got[w.slot] == greedy(w.tokens.tolist(), w.most)[: len(got[w.slot])]
                assert len(got[w.slot]) == w.most
        draft.close()


def test_a_long_text_is_caught_up_with_in_parts() -> None:
    with make_context(n_seq_max=2, n_ctx=4096) as target:
        draft = drafter(target)
        text = [10 + i % 150 for i in range(1200)]
        answers = [draft.propose([want(0, text)]) for _ in range(3)]
        assert answers[:2] == [{}, {}]
        assert len(answers[2][0]) == 5
        copied = draft.propose([want(1, [*text[:1100], 9])])  # of the other sequence's memory: nothing is in parts
        assert len(copied[1]) == 5
        draft.close()


def test_texts_that_do_not_fit_have_no_guesses() -> None:
    with make_context(n_seq_max=4, n_ctx=1024) as target:
        draft = drafter(target)
        text = [10 + i % 150 for i in range(256)]
        assert draft.propose([want(0, text)]) == {}
        assert len(draft.propose([want(0, text[:254])])[0]) == 2
        assert draft.propose([want(1, [5, 999_999])]) == {}
        assert draft.failure is None
        draft.close()


def test_unsure_guesses_stop() -> None:
    text = [10, 20, 30, 40]
    lengths = []
    for min_p in (0.0, 0.3, 1.0):
        with make_context(n_seq_max=4, n_ctx=1024) as target:
            draft = drafter(target, min_p=min_p)
            lengths.append(len(draft.propose([want(0, text, 16)]).get(0, ())))
            draft.close()
    assert lengths[0] == 16
    assert lengths[0] > lengths[1] >= lengths[2] == 0


def test_a_full_memory_forgets_those_that_do_not_guess() -> None:
    with make_context(n_seq_max=4, n_ctx=512, kv_unified=True) as target:
        draft = drafter(target)
        text = [10 + i % 150 for i in range(400)]
        assert len(draft.propose([want(0, text)])[0]) == 5
        other = [t + 5 for t in text]
        assert draft.propose([want(1, other)])[1] == tuple(draft.propose([want(1, other)])[1])
        assert draft.propose([want(0, text), want(1, other)]) == {}  # both together are too much
        assert draft.failure is None
        assert len(draft.propose([want(0, text)])[0]) == 5
        draft.close()


def test_a_draft_model_that_fails_is_given_up_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with tiny(n_seq_max=2, n_ctx=512, draft_model=copy_of()) as llm:
        draft = llm.engine._worker.steps.guesser._drafter  # type: ignore[union-attr]
        assert isinstance(draft, DraftModel)
        expected = shared()(PROMPTS[0], max_tokens=40, temperature=0.0)["choices"][0]["text"]

        def broken(_batch: Any) -> None:
            raise DecodeError("no more", code=-3)

        assert llm(PROMPTS[0], max_tokens=40, temperature=0.0)["choices"][0]["text"] == expected
        drafted = llm.engine.stats.drafted_tokens
        monkeypatch.setattr(draft.context, "decode", broken)
        with caplog.at_level(logging.WARNING, "llama_bind"):
            for _ in range(2):
                assert llm(PROMPTS[0], max_tokens=40, temperature=0.0)["choices"][0]["text"] == expected
        warnings = [r for r in caplog.records if "draft model" in r.getMessage()]
        assert len(warnings) == 1
        assert "no more" in warnings[0].getMessage()
        assert llm.engine.stats.drafted_tokens == drafted


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tokenizer": "spm"}, "type is spm, the model's is bpe"),
        ({"n_vocab": 500}, "it has 500 tokens"),
        ({"fim": True}, r"token \d+ is"),
        ({"metadata": (("tokenizer.ggml.add_bos_token", True),)}, "it adds BOS"),
        ({"metadata": (("tokenizer.ggml.add_eos_token", True),)}, "it adds EOS"),
    ],
)
def test_a_draft_model_with_another_vocabulary_is_refused(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    changes = {name: dict(value) if name == "metadata" else value for name, value in changes.items()}
    path = write_tiny_llama(tmp_path / "other.gguf", **changes)
    with pytest.raises(InputError, match=f"another vocabulary.*{why}") as caught:
        tiny(draft_model=str(path))
    assert caught.value.param == "draft_model"
    with pytest.raises(InputError, match="another vocabulary"):
        tiny(draft_model=path)


def test_a_different_bos_that_is_added_is_refused(tmp_path: Path) -> None:
    adds = {"tokenizer.ggml.add_bos_token": True}
    path = write_tiny_llama(tmp_path / "one.gguf", metadata=adds)
    other = write_tiny_llama(tmp_path / "two.gguf", metadata={**adds, "tokenizer.ggml.bos_token_id": 1})
    with pytest.raises(InputError, match="its BOS is token 1, the model's is 0"):
        Llama(path, n_ctx=256, n_threads=1, draft_model=other)


def test_the_first_few_tokens_may_differ(tmp_path: Path) -> None:
    model = tiny_llama()
    model.metadata["tokenizer.ggml.tokens"][0] = "<|start|>"
    path = model.save(tmp_path / "other.gguf")
    with Model.load(path) as other:
        check_same_vocabulary(shared_model().vocab, other.vocab)


def test_models_that_cannot_guess_are_refused(tmp_path: Path) -> None:
    bert = tiny_bert(tokenizer="bpe", metadata={"tokenizer.ggml.token_type_count": 2}).save(tmp_path / "bert.gguf")
    with pytest.raises(InputError, match="reads whole texts"):
        tiny(draft_model=bert)
    with pytest.raises(InputError, match="cannot be cut back"):
        tiny(draft_model=model_file("mamba"))


def test_bad_draft_files_and_options(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        tiny(draft_model=str(tmp_path / "missing.gguf"))
    with pytest.raises(ModelNotFoundError, match="no known model"):
        tiny(draft_model="no-such-name")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(model_file().read_bytes()[:4000])
    with pytest.raises(ModelFormatError):
        tiny(draft_model=damaged)
    bad: list[tuple[str, Any]] = [("draft_max", 0), ("draft_max", 32), ("draft_min_p", 1.5), ("draft_model", 7)]
    for name, value in bad:
        options: dict[str, Any] = {name: value}
        with pytest.raises(InputError) as caught:
            tiny(**options)
        assert caught.value.param == name
    wrong: list[Any] = [-1, 32, True, "4", 1.5]
    for value in wrong:
        with pytest.raises(InputError) as caught:
            shared()("Hello", n_draft=value)
        assert caught.value.param == "n_draft"


def test_memory_that_cannot_be_cut_back_takes_no_guesses() -> None:
    with pytest.raises(UnsupportedError, match="draft_model"):
        tiny("mamba", draft_model="prompt-lookup")
    with tiny("mamba") as llm:
        with pytest.raises(UnsupportedError, match="n_draft"):
            llm("Hello", n_draft=4)
        assert llm("Hello", n_draft=0, max_tokens=3)["choices"][0]["finish_reason"] == "length"


def test_the_same_errors_without_an_engine() -> None:
    drafting = Drafting(LlamaParams(draft_model="prompt-lookup", draft_max=5))
    assert isinstance(drafting.of(None)[0], PromptLookup)
    assert drafting.of(None)[1] == 5
    assert drafting.of(0)[1] == 0
    assert Drafting(LlamaParams()).of(None)[0] is None
    drafting.allow(False)
    with pytest.raises(UnsupportedError, match="n_draft"):
        drafting.of(3)


def test_native_errors_of_the_memory_are_named() -> None:
    """What `DraftModel` relies on: a batch without room raises this, and changes nothing."""
    with make_context(n_ctx=512) as context:
        batch = Batch(600)
        batch.extend([5] * 400, 0, 0, output_last=True)
        context.decode(batch)
        batch.clear()
        batch.extend([5] * 200, 400, 0, output_last=True)
        with pytest.raises(NoCellsError):
            context.decode(batch)
        assert context.memory.seq_pos_max(0) == 399
