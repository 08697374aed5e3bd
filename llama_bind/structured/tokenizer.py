"""llguidance's picture of a model's vocabulary, which every grammar of that model shares.

Made lazily, once: reading the pieces of 49,000 tokens and building a trie of them takes some tenths of a second. Not
for: grammars (``matcher``), or reading a model (whoever makes the `Vocabulary` does).
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llama_bind.errors import UnsupportedError

if TYPE_CHECKING:
    from llguidance import LLTokenizer

__all__ = ["Tokenizer", "Vocabulary"]

_KEPT_TEXTS = 4096
_LONGEST_KEPT = 256
_MARKER = "\n"
"""Stands before a text whose tokens must not begin as a text begins; no vocabulary joins it with what follows."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What must be known of a model's tokens: plain values, and functions that any thread may call.

    Attributes:
        n_tokens: How many there are.
        pieces: Gives the bytes of each token in order; of control tokens the text they are known by.
        control: Tokens that are markup and not text, those that end a generation among them.
        ends: Tokens that end a generation.
        tokenize: Token ids of a text by the model's own rules; with True the texts of control tokens become these.
    """

    n_tokens: int
    pieces: Callable[[], Sequence[bytes]]
    control: frozenset[int]
    ends: frozenset[int]
    tokenize: Callable[[str, bool], list[int]]


class Tokenizer:
    """The lazy `LLTokenizer` of a vocabulary. Any thread may use it.

    Attributes:
        vocabulary: What it is made from.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._lock = threading.Lock()
        self._made: tuple[LLTokenizer, Sequence[bytes]] | None = None
        self._known: Sequence[bytes] = ()
        self._encode = functools.lru_cache(_KEPT_TEXTS)(self._encoded)

    @property
    def native(self) -> LLTokenizer:
        """What llguidance's matchers are made with.

        Raises:
            UnsupportedError: the model has no tokens that stand for text.
        """
        return self._get()[0]

    @property
    def pieces(self) -> Sequence[bytes]:
        """The bytes of each token; see `Vocabulary`."""
        return self._get()[1]

    def _get(self) -> tuple[LLTokenizer, Sequence[bytes]]:
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = self._make()
        return self._made

    def _make(self) -> tuple[LLTokenizer, Sequence[bytes]]:
        from llguidance import LLTokenizer

        vocabulary = self.vocabulary
        pieces = list(vocabulary.pieces())
        if not any(pieces):
            raise UnsupportedError("this model has no vocabulary: grammars and schemas need one")
        ends = sorted(vocabulary.ends) or [len(pieces)]
        tokens = [*pieces, b"<end>"] if not vocabulary.ends else pieces  # llguidance needs one; nobody draws it
        source = _Source(tokens, sorted({*vocabulary.control, *ends}), ends[0], self.encode)
        self._known = pieces
        native = LLTokenizer(source, n_vocab=len(tokens), eos_token=ends)  # type: ignore[arg-type]
        return native, pieces

    def by_text(self, text: str) -> list[int]:
        """The control tokens that are known by this text."""
        wanted, pieces = text.encode(), self.pieces
        return [token for token in sorted(self.vocabulary.control) if pieces[token] == wanted]

    # -- the model's own rules ------------------------------------------------------------------------------------

    def encode(self, text: str | bytes) -> list[int]:
        """Tokens of a text in the middle of another, such that their pieces together are the text."""
        if isinstance(text, bytes):
            text = text.decode()
        return list(self._encode(text) if len(text) <= _LONGEST_KEPT else self._encoded(text))

    def _encoded(self, text: str) -> tuple[int, ...]:
        raw = text.encode()
        for found in (self._plain, self._after_marker):
            tokens = found(text)
            if b"".join(self._known[token] for token in tokens) == raw:
                return tuple(tokens)
        assert self._made is not None  # a tokenizer that changes texts: any tokens of the same bytes will do
        return tuple(self._made[0].greedy_tokenize(text))

    def _plain(self, text: str) -> list[int]:
        return self.vocabulary.tokenize(text, False)

    def _after_marker(self, text: str) -> list[int]:
        """For tokenizers that put a space before a text: what follows a marker, which is then cut off."""
        tokens = self.vocabulary.tokenize(_MARKER + text, False)
        before = b""
        for count, token in enumerate(tokens, 1):
            before += self._known[token]
            if before.endswith(_MARKER.encode()):
                return tokens[count:]
        return tokens


class _Source:
    """What `LLTokenizer` asks of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(
        self, tokens: Sequence[bytes], special: Sequence[int], end: int, encode: Callable[[str | bytes], list[int]]
    ) -> None:
        self.tokens = tokens
        self.special_token_ids = special
        self.eos_token_id = end
        self._encode = encode

    def __call__(self, text: str | bytes) -> list[int]:
        return self._encode(text)
