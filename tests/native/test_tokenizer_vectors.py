"""Tokenizing exactly as llama.cpp does: every vocabulary that comes with vectors, read in place.

The files are those of llama.cpp's own ``tests/test-tokenizer-0.cpp``: ``.inp`` holds texts, ``.out`` the ids of each,
without special tokens added or parsed.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from llama_bind.core.model import Model
from llama_bind.core.vocab import Vocab
from llama_bind.params import ModelParams
from llama_bind.text.detokenizer import Utf8Decoder

MODELS = Path(__file__).parents[2] / "vendor" / "llama.cpp" / "models"
NAMES = sorted(path.name.removesuffix(".gguf.inp") for path in MODELS.glob("*.gguf.inp"))
SEPARATOR = "\n__ggml_vocab_test__\n"


@lru_cache(maxsize=1)
def vocab(name: str) -> Vocab:
    return Model.load(MODELS / f"{name}.gguf", ModelParams(vocab_only=True)).vocab


def cases(name: str) -> list[tuple[str, list[int]]]:
    texts = (MODELS / f"{name}.gguf.inp").read_bytes().decode("utf-8").split(SEPARATOR)
    lines = (MODELS / f"{name}.gguf.out").read_text(encoding="utf-8").split("\n")
    if texts[-1] == "":
        texts.pop()
    while len(lines) > len(texts) and not lines[-1].strip():
        lines.pop()
    assert len(texts) == len(lines)
    return [(text, [int(number) for number in line.split()]) for text, line in zip(texts, lines, strict=True)]


def test_all_vectors_are_there() -> None:
    assert len(NAMES) == 15
    assert sum(len(cases(name)) for name in NAMES) == 694


@pytest.mark.parametrize("name", NAMES)
def test_vectors(name: str) -> None:
    wrong = [
        (text, ids, got)
        for text, ids in cases(name)
        if (got := list(vocab(name).tokenize(text, add_special=False, parse_special=False))) != ids
    ]
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_bytes_tokenize_as_text_does(name: str) -> None:
    for text, ids in cases(name):
        assert list(vocab(name).tokenize(text.encode(), add_special=False)) == ids


@pytest.mark.parametrize("name", [name for name in NAMES if "bert" not in name])
def test_text_comes_back_token_by_token(name: str) -> None:
    """The pieces, decoded as a stream, are the text; SentencePiece vocabularies put a space before it."""
    for text, ids in cases(name):
        decoder = Utf8Decoder()
        parts = [decoder.push(vocab(name).token_to_piece(token)) for token in ids]
        prefix = " " if vocab(name).type == "spm" and text else ""
        assert "".join(parts) + decoder.flush() == prefix + text
        assert decoder.pending == b""
        assert "\ufffd" not in "".join(parts)


@pytest.mark.parametrize("name", [name for name in NAMES if "bert" not in name])
def test_detokenize_gives_the_text(name: str) -> None:
    """But for the space before a "?", which many vocabularies are configured to take out."""
    for text, ids in cases(name):
        assert vocab(name).detokenize(ids).decode() in (text, text.replace(" ?", "?"))


def test_a_vocabulary_that_normalizes_keeps_its_words() -> None:
    words = [vocab("ggml-vocab-bert-bge").detokenize(ids).decode() for _, ids in cases("ggml-vocab-bert-bge")]
    assert all(text.casefold() == text for text in words)
    assert "hello world" in [text.strip() for text in words]
