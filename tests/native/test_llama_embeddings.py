from __future__ import annotations

import asyncio
import base64
import functools
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from llama_bind import AsyncLlama, Llama
from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.model import Model
from llama_bind.errors import ClosedError, ContextOverflowError, DecodeError, InputError, TokenError, UnsupportedError
from llama_bind.params import ContextParams
from tests.core_helpers import FOLDER, model_file
from tests.llamas import TEMPLATE, shared, tiny
from tests.tiny_gguf import tiny_llama

Floats = npt.NDArray[np.float32]
TOKENS = [5 + i % 90 for i in range(400)]
PLAIN: dict[str, Any] = {"flash_attn": False}
"""Flash attention computes a text in tiles, and other chunks give other rounding (about 0.004 here)."""


def computed_at_once(model: Model, tokens: list[int], pooling: str, **options: Any) -> Floats:
    """llama.cpp's own pooling of a text in one micro-batch; rows without pooling."""
    params = ContextParams(
        embedding=True, pooling_type=pooling, n_ctx=512, n_batch=512, n_ubatch=512, n_threads=1, **PLAIN, **options
    )
    context = Context.create(model, params)
    batch = Batch(512)
    batch.extend(tokens, 0, 0)
    batch.logits[: len(tokens)] = 1
    context.decode(batch)
    result = context.embedding_rows(len(tokens)) if pooling == "none" else context.embeddings_seq(0)
    context.close()
    return result


@functools.cache
def embedder(kind: str, pooling: str = "mean", **options: Any) -> Llama:
    """Small batches, so that a text of 100 tokens takes many."""
    given = {"n_ctx": 512, "n_batch": 64, "n_ubatch": 32, **PLAIN, **options}
    return tiny(kind, embedding=True, pooling_type=pooling, **given)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "none"])
@pytest.mark.parametrize("kind", ["llama", "bert", "mamba"])
def test_pooling_is_llama_cpps_for_texts_of_any_length(kind: str, pooling: str) -> None:
    llm = embedder(kind, pooling)
    for length in (1, 2, 31, 32, 33, 64, 65, 200, 400):
        got = llm.embed(TOKENS[:length])
        assert got.dtype == np.float32
        assert got.shape == ((length, llm.n_embd()) if pooling == "none" else (llm.n_embd(),))
        np.testing.assert_allclose(
            got, computed_at_once(llm.model, TOKENS[:length], pooling), rtol=1e-4, atol=1e-5, err_msg=f"{length}"
        )


@pytest.mark.parametrize("unified", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_texts_of_all_lengths_at_once(pooling: str, unified: bool) -> None:
    llm = embedder("llama", pooling, n_seq_max=8, kv_unified=unified)
    texts = [TOKENS[i : i + 1 + 37 * i % 300] for i in range(40)]
    for got, tokens in zip(llm.embed(texts), texts, strict=True):
        want = computed_at_once(llm.model, tokens, pooling)
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_a_shared_cache_that_is_too_small_for_all_texts() -> None:
    llm = embedder("llama", "mean", n_seq_max=6, n_ctx=512, kv_unified=True)
    texts = [TOKENS[i : i + 300] for i in range(12)]
    for got, tokens in zip(llm.embed(texts), texts, strict=True):
        np.testing.assert_allclose(got, computed_at_once(llm.model, tokens, "mean"), rtol=1e-3, atol=1e-4)


def test_an_encoder_computes_many_texts_in_one_step() -> None:
    llm = embedder("bert", "mean", n_seq_max=16, kv_unified=True, n_ctx=512)
    texts = [TOKENS[i : i + 1 + i] for i in range(32)]
    before = llm.engine.stats.steps
    vectors = llm.embed(texts)
    assert llm.engine.stats.steps - before <= 6
    for got, tokens in zip(vectors, texts, strict=True):
        np.testing.assert_allclose(got, computed_at_once(llm.model, tokens, "mean"), rtol=1e-3, atol=1e-4)


def test_an_encoder_takes_many_texts_at_once_by_itself() -> None:
    with tiny("bert", embedding=True, n_ctx=None, n_batch=4096, **PLAIN) as llm:
        assert llm.engine.limits[1] == 512, "n_ctx is the length of each text"
        context = llm.engine.call(lambda runner: runner.context)  # type: ignore[union-attr]
        assert (context.n_ctx, context.n_seq_max, context.n_batch) == (512, 64, 4096)
        before = llm.engine.stats.steps
        llm.embed([TOKENS[i : i + 60] for i in range(64)])
        assert llm.engine.stats.steps - before <= 4, "no cells limit it: there is no memory"


def test_a_decoder_whose_tokens_see_the_whole_text() -> None:
    with tiny(embedding=True, pooling_type="mean", attention_type="non_causal", n_ctx=512, **PLAIN) as llm:
        want = computed_at_once(llm.model, TOKENS[:200], "mean", attention_type="non_causal")
        np.testing.assert_allclose(llm.embed(TOKENS[:200]), want, rtol=1e-4, atol=1e-5)
        other = computed_at_once(llm.model, TOKENS[:200], "mean")
        assert np.abs(want - other).max() > 0.01, "or the test sees nothing"
        texts = [TOKENS[:n] for n in (3, 50, 20, 31)]
        for got, tokens in zip(llm.embed(texts), texts, strict=True):
            want = computed_at_once(llm.model, tokens, "mean", attention_type="non_causal")
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)
    with pytest.raises(UnsupportedError, match="kv_unified=True"):
        tiny("bert", embedding=True, kv_unified=False, n_seq_max=4)


def test_the_models_own_pooling_counts_else_the_mean() -> None:
    given: dict[str, Any] = {"embedding": True, "n_ctx": 0, **PLAIN}
    with tiny("bert", file={"pooling_type": 2}, **given) as own, tiny(**given) as other:
        np.testing.assert_allclose(own.embed(TOKENS[:9]), computed_at_once(own.model, TOKENS[:9], "cls"), atol=1e-5)
        want = computed_at_once(other.model, TOKENS[:9], "mean")
        np.testing.assert_allclose(other.embed(TOKENS[:9]), want, atol=1e-5)
    with pytest.raises(UnsupportedError, match="pooling type 9"):
        tiny("bert", file={"pooling_type": 9}, embedding=True, n_ctx=0, check_model=False)


# -- input -------------------------------------------------------------------------------------------------------------


def test_forms_of_input() -> None:
    llm = embedder("llama")
    one = llm.embed("hello world")
    ids = llm.tokenize("hello world", special=True)
    singles: list[Any] = [ids, tuple(ids), np.array(ids), np.array(ids, np.int64), b"hello world"]
    for single in singles:
        np.testing.assert_array_equal(llm.embed(single), one)
    lists: list[Any] = [["hello world"], [ids], [np.array(ids)], np.array([ids]), ("hello world",), [b"hello world"]]
    for several in lists:
        vectors = llm.embed(several)
        assert isinstance(vectors, list)
        np.testing.assert_array_equal(vectors[0], one)
    mixed = llm.embed(["hello world", ids])
    np.testing.assert_array_equal(mixed[0], mixed[1])
    assert llm.embed([]) == []
    assert llm.create_embedding([])["data"] == []


@pytest.mark.parametrize("given", [None, 5, {"a": 1}, [None], [True], ["x", 5], [[1.5]], [["x"]], [[[1]]], iter(["x"])])
def test_what_is_no_text(given: Any) -> None:
    with pytest.raises(InputError) as caught:
        embedder("llama").embed(given)
    assert caught.value.param == "input"


@pytest.mark.parametrize("given", [[10**6], [-1], [[5], [2**40]]])
def test_token_ids_outside_the_vocabulary(given: Any) -> None:
    with pytest.raises(TokenError) as caught:
        embedder("llama").embed(given)
    assert caught.value.param == "input"


def test_texts_without_tokens() -> None:
    for empty in ("", [""], ["x", ""], [[5], []], [""] * 10_000):
        with pytest.raises(InputError, match="no tokens"):
            embedder("llama").embed(empty)
    with pytest.raises(InputError, match="text 1 to embed has no tokens"):
        embedder("llama").embed(["x", ""])
    llm = embedder("bert", n_seq_max=64, kv_unified=True, n_ctx=512)  # it adds tokens of its own
    vectors = llm.embed([""] * 2000)
    assert len(vectors) == 2000
    want = llm.embed("")
    assert np.isfinite(want).all()
    assert all(np.allclose(v, want, atol=1e-5) for v in vectors)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_text_that_is_too_long(kind: str) -> None:
    llm = embedder(kind)
    limit = llm.engine.limits[1]
    assert limit == 512
    long = [5 + i % 90 for i in range(2 * limit)]
    for given in (long, [[5], long], llm.detokenize(long)):
        with pytest.raises(ContextOverflowError, match=r"exceed context window of 512; .*truncate=True"):
            llm.embed(given)
    end = llm.embed(long[:limit])
    for truncate in (True, "end"):
        np.testing.assert_array_equal(llm.embed(long, truncate=truncate), end)
    np.testing.assert_array_equal(llm.embed(long, truncate="start"), llm.embed(long[-limit:]))
    middle = long[: limit // 2] + long[-limit // 2 :]
    np.testing.assert_array_equal(llm.embed(long, truncate="middle"), llm.embed(middle))
    assert llm.create_embedding([long, [5]], truncate=True)["usage"]["prompt_tokens"] == limit + 1
    np.testing.assert_array_equal(llm.embed(long[:limit], truncate=True), end)
    with pytest.raises(InputError, match="truncate"):
        llm.embed("x", truncate="both")  # type: ignore[call-overload]


def test_special_tokens_around_a_text_stay() -> None:
    llm = embedder("bert")
    text = "hello world " * 600
    for truncate in ("end", "start", "middle"):
        (request,) = llm._session.embeddings.read(text, truncate=truncate).requests
        assert len(request.prompt) == 512
        assert (request.prompt[0], request.prompt[-1]) == (2, 3)  # CLS and SEP
        assert set(request.prompt[1:-1]).isdisjoint({2, 3})


def test_it_needs_the_option_and_an_open_model() -> None:
    with pytest.raises(UnsupportedError, match="embedding=True"):
        shared().embed("x")
    with tiny(embedding=True, vocab_only=True) as llm, pytest.raises(UnsupportedError, match="vocab_only"):
        llm.embed("x")
    closed = tiny(embedding=True)
    closed.close()
    with pytest.raises(ClosedError):
        closed.embed("x")


# -- output ------------------------------------------------------------------------------------------------------------


def test_normalized_vectors_and_openais_shape() -> None:
    llm = embedder("llama")
    plain, unit = llm.embed("hello world"), llm.embed("hello world", normalize=True)
    assert np.linalg.norm(plain) != pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain), rtol=1e-5)
    response = llm.create_embedding(["hello world", "the cat"], normalize=True, model="mine")
    assert response["model"] == "mine"
    assert [(d["object"], d["index"]) for d in response["data"]] == [("embedding", 0), ("embedding", 1)]
    np.testing.assert_allclose(np.array(response["data"][0]["embedding"], np.float32), unit, rtol=1e-6)
    n_tokens = sum(len(llm.tokenize(text, special=True)) for text in ("hello world", "the cat"))
    assert response["usage"] == {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    json.dumps(response)
    assert len(llm.create_embedding("hello")["data"]) == 1


def test_dimensions() -> None:
    llm = embedder("llama")
    whole = llm.embed("hello world")
    (entry,) = llm.create_embedding("hello world", dimensions=8)["data"]
    cut = np.array(entry["embedding"])
    assert np.linalg.norm(cut) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(cut, whole[:8] / np.linalg.norm(whole[:8]), rtol=1e-5)
    for dimensions in (0, -1, llm.n_embd() + 1, 2.0, True, "8"):
        with pytest.raises(InputError, match=f"from 1 to {llm.n_embd()}") as caught:
            llm.create_embedding("x", dimensions=dimensions)  # type: ignore[arg-type]
        assert caught.value.param == "dimensions"
    rows = embedder("llama", "none").create_embedding([5, 6, 7], dimensions=4)["data"][0]["embedding"]
    assert np.array(rows).shape == (3, 4)
    np.testing.assert_allclose(np.linalg.norm(np.array(rows), axis=-1), 1, atol=1e-5)


def test_base64() -> None:
    llm = embedder("llama")
    (entry,) = llm.create_embedding("hello world", encoding_format="base64")["data"]
    assert isinstance(entry["embedding"], str)
    decoded = np.frombuffer(base64.b64decode(entry["embedding"]), "<f4")
    np.testing.assert_array_equal(decoded, llm.embed("hello world"))
    with pytest.raises(InputError, match="encoding_format"):
        llm.create_embedding("x", encoding_format="hex")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one for each token"):
        embedder("llama", "none").create_embedding("x", encoding_format="base64")


def test_numbers_that_are_none_end_one_request() -> None:
    model = tiny_llama(chat_template=TEMPLATE)
    model.tensors["token_embd.weight"][7] = np.nan
    path = model.save(FOLDER / "nan-token.gguf")
    with Llama(path, embedding=True, n_ctx=256, n_threads=1) as llm:
        want = llm.embed([5, 6])
        with pytest.raises(DecodeError, match="finite"):
            llm.embed([5, 7, 6])
        np.testing.assert_array_equal(llm.embed([5, 6]), want)


# -- beside other work -------------------------------------------------------------------------------------------------


def generating_embedder(**options: Any) -> Llama:
    return tiny(embedding=True, n_ctx=4 * 256, n_batch=64, n_ubatch=64, n_seq_max=4, **PLAIN, **options)


def test_texts_completions_and_chats_from_many_threads() -> None:
    with generating_embedder() as llm:
        texts = [TOKENS[i : i + 150] for i in range(6)]
        vectors = llm.embed(texts)
        said = llm("Hello", max_tokens=16, temperature=0, ignore_eos=True)["choices"][0]["text"]
        messages = [{"role": "user", "content": "Hi"}]
        answer = llm.create_chat_completion(messages, max_tokens=8, temperature=0, ignore_eos=True)["choices"]
        errors: list[BaseException] = []
        done: list[str] = []

        def work(kind: int) -> None:
            try:
                for _ in range(3):
                    if kind % 3 == 0:
                        for got, want in zip(llm.embed(texts), vectors, strict=True):
                            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)
                    elif kind % 3 == 1:
                        got_text = llm("Hello", max_tokens=16, temperature=0, ignore_eos=True)["choices"][0]["text"]
                        assert got_text == said
                    else:
                        got_chat = llm.create_chat_completion(messages, max_tokens=8, temperature=0, ignore_eos=True)
                        assert got_chat["choices"] == answer
                    done.append("x")
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        assert not errors, errors[0]
        assert len(done) == 36


def test_a_text_that_is_written_goes_on_while_others_are_embedded_and_the_other_way_round() -> None:
    with generating_embedder() as llm:
        stream = llm("Hello", max_tokens=200, temperature=0, ignore_eos=True, stream=True)
        next(stream)
        started = llm.engine.stats.finished
        llm.embed([TOKENS[i : i + 100] for i in range(20)])
        assert llm.engine.stats.finished - started == 20, "the text was still being written"
        assert len(list(stream)) > 1


def test_hundreds_of_texts_do_not_keep_others_waiting() -> None:
    with generating_embedder() as llm:
        texts = [TOKENS[:60]] * 600
        embedding = threading.Thread(target=lambda: llm.embed(texts))
        embedding.start()
        while llm.engine.stats.requests < 600:
            time.sleep(0.002)
        llm("Hello", max_tokens=4, temperature=0, ignore_eos=True)
        left = 600 + 1 - llm.engine.stats.finished
        embedding.join(90)
        assert not embedding.is_alive()
        assert left > 300, "it was not served last"


def test_a_list_longer_than_the_queue() -> None:
    with generating_embedder(max_queue=2) as llm:
        texts = [TOKENS[i : i + 20] for i in range(50)]
        vectors = llm.embed(texts)
        assert len(vectors) == 50
        np.testing.assert_allclose(vectors[49], llm.embed(texts[49]), rtol=1e-3, atol=1e-4)


def test_leaving_early_cancels_what_is_left() -> None:
    with generating_embedder() as llm:
        both = AsyncLlama.of(llm)

        async def work() -> None:
            task = asyncio.create_task(both.embed([TOKENS[:200]] * 2000))
            while llm.engine.stats.finished < 3:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(both.embed([5, 6]), 10)

        asyncio.run(asyncio.wait_for(work(), 60))
        assert llm.engine.stats.cancelled > 1000


def test_one_bad_text_cancels_none_of_another_call() -> None:
    model = tiny_llama(chat_template=TEMPLATE)
    model.tensors["token_embd.weight"][7] = np.nan
    path = model.save(FOLDER / "nan-token-2.gguf")
    with Llama(path, embedding=True, n_ctx=4 * 256, n_seq_max=4, n_threads=1, **PLAIN) as llm:
        results: list[Any] = []
        good = threading.Thread(target=lambda: results.extend(llm.embed([[5, 6, 8]] * 100)))
        good.start()
        for _ in range(5):
            with pytest.raises(DecodeError, match="finite"):
                llm.embed([[5, 7]] * 3)
        good.join(60)
        assert len(results) == 100
        assert all(np.isfinite(vector).all() for vector in results)


def test_the_engine_in_its_own_process_embeds_too() -> None:
    path = model_file("bert")
    with Llama(path, embedding=True, n_ctx=0, n_threads=1, engine_process=True) as far:
        with Llama(path, embedding=True, n_ctx=0, n_threads=1) as near:
            np.testing.assert_allclose(far.embed("hello world"), near.embed("hello world"), atol=1e-5)
        with pytest.raises(UnsupportedError, match="rank"):
            far.rerank("x", ["y"])


def test_the_list_of_models_that_see_whole_texts_is_llama_cpps() -> None:
    from llama_bind.core.context_params import _NON_CAUSAL

    sources = (Path(__file__).resolve().parents[2] / "vendor" / "llama.cpp" / "src" / "models").glob("*.cpp")
    found = {path.stem for path in sources if "hparams.causal_attn = false" in path.read_text(encoding="utf-8")}
    assert found == _NON_CAUSAL
