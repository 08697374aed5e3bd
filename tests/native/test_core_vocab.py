from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_bind.core.model import Model
from llama_bind.core.vocab import Vocab
from llama_bind.errors import InputError, LlamaBindError, TextEncodingError, TokenError
from llama_bind.params import ModelParams
from tests.core_helpers import shared_model

VOCABULARIES = Path(__file__).parents[2] / "vendor/llama.cpp/models"


@pytest.fixture(scope="module", params=["bpe", "spm"])
def vocab(request: pytest.FixtureRequest) -> Vocab:
    return shared_model(tokenizer=request.param).vocab


def test_facts(vocab: Vocab) -> None:
    assert vocab.type in ("bpe", "spm")
    assert len(vocab) == vocab.n_tokens > 250
    assert vocab.eos is not None
    assert vocab.eos in vocab.eog_tokens
    assert vocab.is_eog(vocab.eos)
    assert vocab.is_control(vocab.eos)
    assert vocab.cls == vocab.bos
    assert vocab.fim_pre is None
    assert isinstance(vocab.attr(1), int)
    assert isinstance(vocab.score(1), float)
    assert vocab.suppress_tokens == ()


@pytest.mark.parametrize(
    "text", ["hello world", "", " ", "\n\n", "über 🦙 日本", "a\0b", "x" * 1000, "\r\n\t", "<|im_start|>", "'s 12 34"]
)
def test_text_survives(vocab: Vocab, text: str) -> None:
    tokens = vocab.tokenize(text, add_special=False)
    assert vocab.detokenize(tokens) == text.encode()
    assert tokens == vocab.tokenize(text.encode(), add_special=False)


def test_pieces_make_the_text(vocab: Vocab) -> None:
    text = "hello wörld 🦙"
    pieces = b"".join(vocab.token_to_piece(token) for token in vocab.tokenize(text, add_special=False))
    assert pieces.removeprefix(b" ") == text.encode()


def test_special_tokens_only_on_request(vocab: Vocab) -> None:
    special = vocab.text(vocab.eos or 0).decode()
    assert vocab.tokenize(special, add_special=False, parse_special=True) == [vocab.eos]
    assert vocab.eos not in vocab.tokenize(special, add_special=False)
    eos = vocab.eos or 0
    assert vocab.token_to_piece(eos) == b""
    assert vocab.token_to_piece(eos, special=True) == special.encode()
    assert vocab.detokenize([eos]) == b""
    assert vocab.detokenize([eos], unparse_special=True) == special.encode()


def test_added_tokens(vocab: Vocab) -> None:
    tokens = vocab.tokenize("hello")
    assert (tokens[0] == vocab.bos) == vocab.add_bos
    # A space that the tokenizer added stays when a BOS before it is removed: llama.cpp's rule.
    assert vocab.detokenize(tokens, remove_special=True, unparse_special=True).lstrip() == b"hello"


def test_a_piece_longer_than_any_buffer() -> None:
    vocab = Model.load(VOCABULARIES / "ggml-vocab-llama-bpe.gguf", ModelParams(vocab_only=True)).vocab
    longest = max(range(vocab.n_tokens), key=lambda token: len(vocab.text(token)))
    piece = vocab.token_to_piece(longest)
    assert len(piece) > 64
    assert piece == vocab.detokenize([longest])


def test_lstrip(vocab: Vocab) -> None:
    token = next(t for t in range(vocab.n_tokens) if vocab.token_to_piece(t).startswith(b" ") and t > 3)
    piece = vocab.token_to_piece(token)
    assert vocab.token_to_piece(token, lstrip=1) == piece[1:]
    assert vocab.token_to_piece(token, lstrip=10**20) == piece.lstrip(b" ")
    assert vocab.token_to_piece(token, lstrip=-5) == piece


def test_a_megabyte_of_text(vocab: Vocab) -> None:
    text = "hello world, über 🦙. " * 45000
    tokens = vocab.tokenize(text, add_special=False)
    assert vocab.detokenize(tokens).decode() == text


def test_lone_surrogate_is_refused_where_it_is(vocab: Vocab) -> None:
    with pytest.raises(TextEncodingError, match="index 2"):
        vocab.tokenize("ab\ud800")


BROKEN = (b"\xff\xfe", b"\xc3", b"a\xe2\x82", b"\xf0\x9f\xa6 \x80", bytes(range(256)), b"\xed\xa0\x80")
FILES = sorted(file.name for file in VOCABULARIES.glob("ggml-vocab-*.gguf"))


@pytest.mark.parametrize("name", FILES)
def test_invalid_utf8_does_not_crash(name: str) -> None:
    with Model.load(VOCABULARIES / name, ModelParams(vocab_only=True, check_model=False)) as model:
        for raw in BROKEN:
            try:
                tokens = model.vocab.tokenize(raw)
            except TextEncodingError:
                continue
            assert all(0 <= token < model.vocab.n_tokens for token in tokens)


@pytest.mark.parametrize("token", [-1, 10**6, 2**31, -(2**63), 2**70])
def test_tokens_that_do_not_exist(vocab: Vocab, token: int) -> None:
    calls: list[Callable[[int], Any]] = [
        vocab.token_to_piece,
        vocab.text,
        vocab.score,
        vocab.attr,
        vocab.is_control,
        vocab.is_eog,
        lambda t: vocab.detokenize([1, t]),
        lambda t: vocab.check_tokens([t]),
    ]
    for call in calls:
        with pytest.raises((TokenError, InputError)):
            call(token)
    with pytest.raises(TokenError) as caught:
        vocab.token_to_piece(-1)
    assert (caught.value.token, caught.value.n_vocab) == (-1, vocab.n_tokens)


@pytest.mark.parametrize("wrong", [1.5, "1", None, [1]])
def test_tokens_that_are_no_numbers(vocab: Vocab, wrong: Any) -> None:
    for call in (vocab.token_to_piece, vocab.text, lambda t: vocab.detokenize([t]), lambda t: vocab.check_tokens([t])):
        with pytest.raises(InputError):
            call(wrong)


@pytest.mark.parametrize("wrong", [None, 1, ["a"]])
def test_texts_that_are_no_text(vocab: Vocab, wrong: Any) -> None:
    with pytest.raises(InputError):
        vocab.tokenize(wrong)


def test_detokenize_takes_arrays(vocab: Vocab) -> None:
    tokens = vocab.tokenize("hello world", add_special=False)
    assert vocab.detokenize(np.array(tokens, np.int64)) == b"hello world"
    assert vocab.detokenize(np.array(tokens * 2, np.int32)[::2]) == vocab.detokenize((tokens * 2)[::2])
    assert vocab.detokenize([]) == b""


def test_a_vocabulary_keeps_its_model() -> None:
    vocab = Model.load(VOCABULARIES / "ggml-vocab-gpt-2.gguf", ModelParams(vocab_only=True)).vocab
    assert vocab.tokenize("hello", add_special=False)


def test_many_threads_tokenize() -> None:
    vocab = shared_model().vocab
    text = "hello world " * 50
    expected = vocab.tokenize(text)
    wrong: list[Any] = []

    def work() -> None:
        try:
            for _ in range(50):
                if vocab.tokenize(text) != expected:
                    wrong.append("tokens")
        except LlamaBindError as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
