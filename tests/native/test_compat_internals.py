"""Models, contexts, batches and samplers made by hand from C structs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from llama_bind.compat import _internals as internals
from llama_bind.compat import llama_cpp as low
from llama_bind.compat.llama_grammar import LlamaGrammar
from llama_bind.errors import DecodeError, GrammarError, UnsupportedError
from tests.core_helpers import model_file


@pytest.fixture(scope="module")
def model() -> Iterator[internals.LlamaModel]:
    made = internals.LlamaModel(path_model=str(model_file()), params=internals.LlamaModel.default_params())
    yield made
    made.close()
    assert made.model is None


@pytest.fixture
def context(model: internals.LlamaModel) -> Iterator[internals.LlamaContext]:
    params = internals.LlamaContext.default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 64
    params.n_threads = params.n_threads_batch = 1
    made = internals.LlamaContext(model=model, params=params)
    yield made
    made.close()
    assert made.ctx is None


def test_facts_of_a_model(model: internals.LlamaModel) -> None:
    assert model.n_vocab() == low.llama_vocab_n_tokens(model.vocab)
    assert model.token_bos() == low.llama_vocab_bos(model.vocab)
    assert model.metadata()["general.architecture"] == "llama"
    assert model.desc()
    assert model.token_get_text(model.token_bos())
    tokens = model.tokenize(b"Hello", True, True)
    assert model.detokenize(tokens) == b"Hello"
    assert model.token_to_piece(tokens[-1]) in b"Hello"


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        internals.LlamaModel(path_model="nowhere.gguf", params=internals.LlamaModel.default_params())


def test_a_loop_of_steps(model: internals.LlamaModel, context: internals.LlamaContext) -> None:
    tokens = model.tokenize(b"Hello there", True, True)
    batch = internals.LlamaBatch(n_tokens=16, embd=0, n_seq_max=1)
    sampler = internals.LlamaSampler()
    sampler.add_penalties(model.n_vocab(), 64, 1.0, 0.0, 0.0)
    sampler.add_logit_bias(model.n_vocab(), {5: -100.0})
    sampler.add_top_k(50)
    sampler.add_typical(1.0)
    sampler.add_top_p(0.9, 1)
    sampler.add_min_p(0.01)
    sampler.add_temp(0.8)
    sampler.add_dist(1337)
    assert sampler.get_seed() == 1337
    drawn, n_past = [], 0
    for _ in range(4):
        batch.set_batch(tokens, n_past, logits_all=False)
        context.decode(batch)
        n_past += len(tokens)
        tokens = [sampler.sample(context, -1)]
        drawn += tokens
    assert len(drawn) == 4
    assert 5 not in drawn
    assert context.kv_cache_seq_rm(-1, 2, -1)
    context.kv_cache_clear()
    batch.close()
    batch.close()
    twin = sampler.clone()
    twin.reset()
    sampler.close()
    assert twin.get_seed() == 1337


def test_a_function_among_the_samplers(model: internals.LlamaModel, context: internals.LlamaContext) -> None:
    def only_nine(candidates: object) -> None:
        array = candidates.contents  # type: ignore[attr-defined]
        for i in range(array.size):
            array.data[i].logit = 0.0 if array.data[i].id == 9 else -1000.0

    batch = internals.LlamaBatch(n_tokens=8, embd=0, n_seq_max=1)
    batch.set_batch(model.tokenize(b"Hi", True, True), 0, False)
    context.decode(batch)
    sampler = internals.LlamaSampler()
    sampler.add_custom(only_nine)
    sampler.add_greedy()
    assert sampler.sample(context) == 9
    with pytest.raises(UnsupportedError, match="cannot be cloned"):
        sampler.clone()
    sampler.close()


def test_a_grammar_that_cannot_run(model: internals.LlamaModel) -> None:
    sampler = internals.LlamaSampler()
    sampler.add_grammar(model, LlamaGrammar.from_string('root ::= "a"'))
    with pytest.raises(GrammarError):
        sampler.add_grammar(model, LlamaGrammar.from_json_schema('{"type": "integer"}'))
    with pytest.warns(DeprecationWarning, match="add_softmax"):
        sampler.add_softmax()


def test_batches_that_do_not_fit(context: internals.LlamaContext) -> None:
    batch = internals.LlamaBatch(n_tokens=4, embd=0, n_seq_max=1)
    with pytest.raises(DecodeError, match="do not fit"):
        batch.set_batch([1] * 5, 0, False)
    batch.reset()
    with pytest.raises(DecodeError, match="llama_decode returned"):
        context.decode(batch)


def test_small_values() -> None:
    array = internals.LlamaTokenDataArray(n_vocab=3)
    array.copy_logits(np.array([1, 2, 3], np.single))
    assert [array.candidates.data[i].logit for i in range(array.candidates.size)] == [1.0, 2.0, 3.0]
    assert internals.normalize_embedding([3.0, 4.0]) == [0.6, 0.8]
    assert internals.normalize_embedding([0.0]) == [0.0]
    seen = internals.LlamaSamplingContext()
    seen.accept(None, 5, True)  # type: ignore[arg-type]
    assert (seen.last(), seen.cp().prev) == (5, [5])
    with pytest.raises(UnsupportedError, match="LlamaSampler"):
        seen.sample(None)  # type: ignore[arg-type]
