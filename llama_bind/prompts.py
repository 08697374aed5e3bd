"""Turns what a caller gives as a prompt into token ids. Not for: chat messages (``chat``), or sampling."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.errors import InputError, TokenError, UnsupportedError

if TYPE_CHECKING:
    from llama_bind.core.vocab import Vocab

__all__ = ["Prompt", "PromptReader"]

Prompt = str | bytes | Sequence[int]
"""Text (bytes are UTF-8), in which names of control tokens count as those tokens, or token ids."""


class PromptReader:
    """Reads prompts with a vocabulary, or with a foreign `tokenizer` object in its place."""

    def __init__(self, vocab: Vocab, tokenizer: Any = None) -> None:
        self._vocab = vocab
        self._tokenizer = tokenizer

    def tokenize(self, text: str | bytes, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of a text."""
        if not isinstance(text, (str, bytes)):
            raise InputError(f"text is a string or bytes, not {type(text).__name__}", param="text")
        if self._tokenizer is None:
            return self._vocab.tokenize(text, add_special, parse_special)
        data = text.encode("utf-8") if isinstance(text, str) else text
        return [int(t) for t in self._tokenizer.tokenize(data, add_special, parse_special)]

    def read(self, prompt: Prompt, suffix: str | None = None) -> list[int]:
        """Token ids of a prompt, at least one; with a suffix, around the gap that the model fills.

        Raises:
            InputError, TokenError, TextEncodingError: not a prompt.
            UnsupportedError: a suffix for a vocabulary without fill-in-the-middle tokens.
        """
        if isinstance(prompt, (str, bytes)):
            tokens = self._read_text(prompt) if suffix is None else self._read_gap(prompt, suffix)
        elif suffix is not None:
            raise InputError("suffix needs a prompt of text, not of token ids", param="suffix")
        else:
            tokens = self._read_ids(prompt)
        return tokens or [self.first()]

    def spellings(self, word: str) -> list[list[int]]:
        """The token ids that a word usually has within a text: as it is written, and after a space.

        Raises:
            InputError, TextEncodingError: not a text.
        """
        found = [self.within(word)]
        if not word[:1].isspace():
            after_space = self.within(" " + word)
            if after_space[-len(found[0]) :] != found[0]:  # else a space token before it, and the word is found in it
                found.append(after_space)
        return found

    def within(self, text: str) -> list[int]:
        """Token ids of a text that others come before."""
        tokens = self.tokenize(text, False, False)
        if b"".join(self._vocab.token_to_piece(token) for token in tokens) == text.encode():
            return tokens
        # A vocabulary that puts a space before every text: one after a line break has none.
        head, both = self.tokenize("\n", False, False), self.tokenize("\n" + text, False, False)
        return both[len(head) :] if both[: len(head)] == head else tokens

    def text(self, prompt: Prompt) -> str:
        """The prompt as text, for echoing it."""
        if isinstance(prompt, str):
            return prompt
        data = prompt if isinstance(prompt, bytes) else self._vocab.detokenize(list(prompt), False, True)
        return data.decode("utf-8", "replace")

    def without_double_bos(self, tokens: list[int]) -> list[int]:
        """A text that begins with BOS itself needs no second one."""
        vocab = self._vocab
        if len(tokens) > 1 and vocab.add_bos and tokens[0] == tokens[1] == vocab.bos:
            return tokens[1:]
        return tokens

    def _read_text(self, prompt: str | bytes) -> list[int]:
        return self.without_double_bos(self.tokenize(prompt, True, True))

    def _read_ids(self, prompt: Sequence[int]) -> list[int]:
        try:
            tokens = [operator.index(t) for t in prompt]
        except TypeError:
            raise InputError("a prompt is a string, bytes, or a list of token ids", param="prompt") from None
        n_vocab = self._vocab.n_tokens
        for token in tokens:
            if not 0 <= token < n_vocab:
                raise TokenError(token, n_vocab, param="prompt")
        return tokens

    def _read_gap(self, prefix: str | bytes, suffix: str) -> list[int]:
        vocab = self._vocab
        if vocab.fim_pre is None or vocab.fim_suf is None or vocab.fim_mid is None:
            raise UnsupportedError("suffix needs a fill-in-the-middle model; this vocabulary has no tokens for it")
        begin = [vocab.bos] if vocab.add_bos and vocab.bos is not None else []
        before, after = self.tokenize(prefix, False, False), self.within(suffix) if suffix else []
        return [*begin, vocab.fim_pre, *before, vocab.fim_suf, *after, vocab.fim_mid]

    def first(self) -> int:
        """What an empty prompt begins with: BOS, else EOS."""
        first = self._vocab.bos if self._vocab.bos is not None else self._vocab.eos
        if first is None:
            raise InputError("the prompt is empty and this vocabulary has no token to begin with", param="prompt")
        return first
