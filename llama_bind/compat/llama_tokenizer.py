"""Tokenizers that `Llama` takes in the model's place, and the model's own as an object.

Not for: chat templates.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.errors import UnsupportedError

if TYPE_CHECKING:
    from llama_bind.core.vocab import Vocab

__all__ = ["BaseLlamaTokenizer", "LlamaHFTokenizer", "LlamaTokenizer", "pieces_of"]


class BaseLlamaTokenizer(abc.ABC):
    """What a tokenizer can do; bytes are UTF-8."""

    @abc.abstractmethod
    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """Token ids of a text; `special` reads the names of control tokens as those."""

    @abc.abstractmethod
    def detokenize(
        self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False
    ) -> bytes:
        """The bytes of tokens that come after `prev_tokens`; `special` shows control tokens."""


def pieces_of(vocab: Vocab, tokens: Sequence[int], special: bool = False) -> bytes:
    """The pieces of tokens one after the other, so that texts taken apart into tokens can be put together again.

    A space that the tokenizer put before the text goes where BOS stands first: there the text begins.
    """
    given = list(tokens)
    text = b"".join(vocab.token_to_piece(token, special) for token in given)
    begins = bool(given) and vocab.bos is not None and given[0] == vocab.bos
    return text[1:] if begins and text.startswith(b" ") else text


class LlamaTokenizer(BaseLlamaTokenizer):
    """The tokenizer of a loaded model.

    Args:
        llama: A `Llama`.
    """

    def __init__(self, llama: Any) -> None:
        self._vocab = llama._session.vocab  # not the object itself, which holds this one

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """See the base class."""
        return list(self._vocab.tokenize(text, add_bos, special))

    def detokenize(
        self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False
    ) -> bytes:
        """See the base class; `prev_tokens` changes nothing, as pieces do not depend on what is before them."""
        del prev_tokens
        return pieces_of(self._vocab, tokens, special)

    def encode(self, text: str, add_bos: bool = True, special: bool = True) -> list[int]:
        """Token ids of a text."""
        return self.tokenize(text.encode("utf-8", "ignore"), add_bos, special)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without what is not valid UTF-8."""
        return self.detokenize(tokens).decode("utf-8", "ignore")

    @classmethod
    def from_ggml_file(cls, path: str) -> LlamaTokenizer:
        """The tokenizer of a model file, without its weights."""
        from llama_bind.compat.llama import Llama

        return cls(Llama(path, vocab_only=True))


class LlamaHFTokenizer(BaseLlamaTokenizer):
    """A tokenizer of Hugging Face's transformers.

    Args:
        hf_tokenizer: An object with ``encode`` and ``decode``.
    """

    def __init__(self, hf_tokenizer: Any) -> None:
        self.hf_tokenizer = hf_tokenizer

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """See the base class; whether BOS comes first is the tokenizer's own affair, with `special`."""
        del add_bos
        found: list[int] = self.hf_tokenizer.encode(text.decode("utf-8", "ignore"), add_special_tokens=special)
        return found

    def detokenize(
        self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False
    ) -> bytes:
        """See the base class."""
        before = list(prev_tokens or ())
        start = len(self._text(before, special)) if before else 0
        return self._text([*before, *tokens], special)[start:]

    def _text(self, tokens: list[int], special: bool) -> bytes:
        text: str = self.hf_tokenizer.decode(tokens, skip_special_tokens=not special)
        return text.encode("utf-8", "ignore")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str) -> LlamaHFTokenizer:
        """Load with ``transformers.AutoTokenizer``.

        Raises:
            UnsupportedError: transformers is not installed.
        """
        try:
            from transformers import AutoTokenizer  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise UnsupportedError("LlamaHFTokenizer needs transformers: pip install transformers") from error
        return cls(AutoTokenizer.from_pretrained(pretrained_model_name_or_path))
