from __future__ import annotations

import asyncio
import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from llama_bind import AsyncLlama, Beam, Llama
from llama_bind.core.batch import Batch
from llama_bind.errors import ContextOverflowError, InputError, UnknownOptionError, UnsupportedError
from tests import llamas
from tests.beams import Model, plain_search
from tests.core_helpers import make_context, model_file, shared_model
from tests.tiny_gguf import write_tiny_llama

# With flash attention on the CPU, logits of these models differ by 1e-2 with the cells that a text lies in.
shared = functools.partial(llamas.shared, flash_attn=False)
tiny = functools.partial(llamas.tiny, flash_attn=False)

Doubles = npt.NDArray[np.float64]


def model_of(prompt: list[int]) -> Model:
    """The tiny model's log probabilities, each text computed whole and alone; the prompt stands for the first token."""
    context = make_context(shared_model("llama", chat_template=llamas.TEMPLATE), flash_attn=False)
    batch = Batch(64)

    @functools.cache
    def logprobs(tokens: tuple[int, ...]) -> Doubles:
        context.memory.clear()
        batch.clear()
        batch.extend([*prompt, *tokens[1:]], 0, 0, output_last=True)
        context.decode(batch)
        logits = context.logits(-1).astype(np.float64)
        found: Doubles = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        return found

    return logprobs


@pytest.mark.parametrize(("width", "penalty"), [(1, 1.0), (2, 0.0), (4, 1.0), (5, 2.0), (3, -1.0)])
def test_the_beams_are_those_of_a_search_told_plainly(width: int, penalty: float) -> None:
    llm = shared()
    prompt = llm.tokenize("Hello", True, True)
    ends = set(llm.model.vocab.eog_tokens)
    model = model_of(prompt)
    got = llm.beam_search(prompt, beam_width=width, max_tokens=6, length_penalty=penalty)
    assert [b.tokens for b in got] == plain_search(model, width, 6, penalty, ends)
    for beam in got:
        total = sum(float(model((0, *beam.tokens[:i]))[t]) for i, t in enumerate(beam.tokens))
        assert beam.logprob == pytest.approx(total, abs=1e-3)
        assert beam.score == pytest.approx(total / len(beam.tokens) ** penalty, abs=1e-3)
        shown = beam.tokens[:-1] if beam.tokens[-1] in ends else beam.tokens
        assert beam.text == b"".join(map(llm.model.vocab.token_to_piece, shown)).decode("utf-8", "replace")
        assert beam.finish_reason == ("stop" if beam.tokens[-1] in ends else "length")


def test_the_best_texts_of_two_tokens_are_those_that_trying_all_of_them_finds() -> None:
    llm = shared()
    prompt = llm.tokenize("Hello", True, True)
    ends = llm.model.vocab.eog_tokens
    model = model_of(prompt)
    first = model((0,))
    everything: list[tuple[tuple[int, ...], float]] = []
    for token in range(llm.n_vocab()):
        if token in ends:
            everything.append(((token,), float(first[token])))
        else:
            after = model((0, token))
            everything += [((token, t), (float(first[token]) + float(after[t])) / 2) for t in range(len(after))]
    everything.sort(key=lambda found: -found[1])
    got = llm.beam_search(prompt, beam_width=200, max_tokens=2)
    assert [b.tokens for b in got[:40]] == [tokens for tokens, _ in everything[:40]]
    assert [b.score for b in got[:40]] == pytest.approx([score for _, score in everything[:40]], abs=1e-3)


def test_a_text_whose_likeliest_token_ends_it(tmp_path: Path) -> None:
    llm = shared()
    likeliest = llm.beam_search("Hello", beam_width=1, max_tokens=1)[0].tokens[0]
    changed = {"tokenizer.ggml.eos_token_id": likeliest}
    with Llama(write_tiny_llama(tmp_path / "model.gguf", metadata=changed), n_ctx=256, n_threads=1) as ending:
        (beam,) = ending.beam_search("Hello", beam_width=1, max_tokens=5, length_penalty=0.0)
        assert (beam.tokens, beam.text, beam.finish_reason) == ((likeliest,), "", "stop")
        assert all(likeliest not in b.tokens for b in ending.beam_search("Hello", max_tokens=3, ignore_eos=True))


def test_a_beam_of_one_is_greedy() -> None:
    llm = shared()
    (beam,) = llm.beam_search("Hello", beam_width=1, max_tokens=8, ignore_eos=True)
    text = llm("Hello", temperature=0, max_tokens=8, ignore_eos=True)["choices"][0]["text"]
    assert (beam.text, beam.finish_reason, len(beam.tokens)) == (text, "length", 8)


def test_ends_are_the_models_own_and_the_callers() -> None:
    llm = shared()
    ends = llm.model.vocab.eog_tokens
    likeliest = llm.beam_search("Hello", beam_width=1, max_tokens=1, ignore_eos=True)[0].tokens[0]
    found = llm.beam_search("Hello", beam_width=4, max_tokens=5, stop_token_ids=[likeliest], length_penalty=0.0)
    assert any(b.tokens == (likeliest,) and b.text == "" and b.finish_reason == "stop" for b in found)
    assert not any(likeliest in b.tokens[:-1] for b in found)
    for beam in llm.beam_search("Hello", beam_width=8, max_tokens=5, stop_token_ids=[likeliest], ignore_eos=True):
        assert not {likeliest, *ends} & set(beam.tokens)
        assert beam.finish_reason == "length"


def test_it_is_deterministic_with_others_running_and_in_any_number_of_sequences() -> None:
    options: dict[str, Any] = {"beam_width": 3, "max_tokens": 6}
    want = [b.tokens for b in shared().beam_search("Hello", **options)]
    with tiny(n_seq_max=4, n_ctx=1024) as llm, ThreadPoolExecutor(6) as pool:
        others = [pool.submit(llm, "Once", max_tokens=30, seed=i) for i in range(3)]
        searches = [pool.submit(llm.beam_search, "Hello", **options) for _ in range(3)]
        assert [[b.tokens for b in s.result(60)] for s in searches] == [want] * 3
        assert all(o.result(60)["choices"] for o in others)


def test_the_asynchronous_search_equals_the_synchronous_one() -> None:
    llm = shared()

    async def work() -> list[Beam]:
        return await AsyncLlama.of(llm).beam_search("Hello", beam_width=3, max_tokens=4)

    got = asyncio.run(asyncio.wait_for(work(), 60))
    want = llm.beam_search("Hello", beam_width=3, max_tokens=4)
    assert [(b.tokens, b.text) for b in got] == [(b.tokens, b.text) for b in want]


def test_a_context_that_is_nearly_full_bounds_the_texts() -> None:
    llm = shared()
    prompt = list(itertools.islice(itertools.cycle(llm.tokenize("a b c", False)), llm.n_ctx() - 2))
    (beam,) = llm.beam_search(prompt, beam_width=1, max_tokens=50, ignore_eos=True)
    assert len(beam.tokens) == 3
    with pytest.raises(ContextOverflowError):
        llm.beam_search([*prompt, *prompt])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beam_width": 0}, "at least 1"),
        ({"beam_width": 1000}, "at most 256"),
        ({"max_tokens": 0}, "at least 1"),
        ({"length_penalty": 11}, "at most 10"),
        ({"stop_token_ids": "x"}, "list of token ids"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        shared().beam_search("Hello", **options)


def test_unknown_options_and_models_without_weights_are_refused() -> None:
    with pytest.raises(UnknownOptionError, match="beam_width"):
        shared().beam_search("Hello", beam_with=3)  # type: ignore[call-arg]
    with Llama(model_file(), vocab_only=True) as llm, pytest.raises(UnsupportedError):
        llm.beam_search("Hello")
