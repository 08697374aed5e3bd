"""The vocabulary of a model: text to tokens and back, and what its special tokens are.

Read only, so any thread may use it at any time. Closing the model while another thread tokenizes is safe: the memory
goes back when that call is done.

Not for: streaming text (``text``), or chat markup (``chat``).
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llama_bind.errors import InputError, NativeAbortError, TextEncodingError, TokenError, UnsupportedError
from llama_bind.lib import guard_h, llama_h
from llama_bind.lib._ctypes import resolve
from llama_bind.lib._guard import check_guard

if TYPE_CHECKING:
    from llama_bind.core.model import Model

__all__ = ["Vocab", "vocab_facts"]

_MAX_BYTES = 2**31 - 2
_TYPES = {0: "none", 1: "spm", 2: "bpe", 3: "wpm", 4: "ugm", 5: "rwkv", 6: "plamo2", 7: "test"}

_SPECIAL = (
    *("bos", "eos", "eot", "nl", "pad", "sep", "mask"),
    *("fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep"),
)


class Vocab:
    """The vocabulary of `model` (``llama_vocab``): `Model.vocab`. Keeps the model alive.

    Attributes:
        n_tokens: how many tokens there are; ids are 0 to n_tokens - 1.
        type: none, spm, bpe, wpm, ugm, rwkv, plamo2 or test.
        bos, eos, eot, nl, pad, sep, mask, fim_pre, fim_suf, fim_mid, fim_pad, fim_rep, fim_sep: ids of special tokens,
            None where the model has none. CLS is `bos`.
        add_bos, add_eos, add_sep: what ``add_special`` adds.
    """

    n_tokens: int
    type: str
    bos: int | None
    eos: int | None
    eot: int | None
    nl: int | None
    pad: int | None
    sep: int | None
    mask: int | None
    fim_pre: int | None
    fim_suf: int | None
    fim_mid: int | None
    fim_pad: int | None
    fim_rep: int | None
    fim_sep: int | None
    add_bos: bool
    add_eos: bool
    add_sep: bool
    _pointer: int
    _pieces: dict[bool, list[bytes | None]]
    _lazy: dict[str, Any]

    def __init__(self, model: Model, facts: dict[str, Any]) -> None:
        """`facts` is `vocab_facts`: kept by the model, which must not refer to a vocabulary that refers to it."""
        self._model = model
        self._resource = model._resource
        self.__dict__.update(facts)

    @property
    def cls(self) -> int | None:
        """The classification token: llama.cpp keeps it as BOS."""
        return self.bos

    @property
    def ptr(self) -> int:
        """The address of the ``llama_vocab``; raises `ClosedError` when the model was closed."""
        self._resource.check()
        return self._pointer

    @property
    def _as_parameter_(self) -> int:
        return self.ptr

    def __len__(self) -> int:
        return self.n_tokens

    @property
    def eog_tokens(self) -> frozenset[int]:
        """The tokens that end a generation (EOS, EOT, ...)."""
        found: frozenset[int] | None = self._lazy.get("eog")
        if found is None:
            pointer, is_eog = self.ptr, resolve(llama_h.llama_vocab_is_eog)
            count = 0 if self.type == "none" else self.n_tokens
            found = self._lazy["eog"] = frozenset(token for token in range(count) if is_eog(pointer, token))
        return found

    @property
    def suppress_tokens(self) -> tuple[int, ...]:
        """Tokens that the model's author wants never to be generated (``tokenizer.ggml.suppress_tokens``)."""
        found: tuple[int, ...] | None = self._lazy.get("suppress")
        if found is None:
            count = ctypes.c_int32()
            array = llama_h.llama_vocab_get_suppress_tokens(self.ptr, ctypes.byref(count))
            found = self._lazy["suppress"] = tuple(int(array[i]) for i in range(count.value)) if array else ()
        return found

    def control_tokens(self) -> tuple[int, ...]:
        """The tokens that text becomes only with ``parse_special`` (llama.cpp's control and unknown tokens)."""
        self._need_text()
        found: tuple[int, ...] | None = self._lazy.get("control")
        if found is None:
            pointer, attr = self.ptr, resolve(llama_h.llama_vocab_get_attr)
            wanted = llama_h.LLAMA_TOKEN_ATTR_CONTROL | llama_h.LLAMA_TOKEN_ATTR_UNKNOWN
            found = self._lazy["control"] = tuple(t for t in range(self.n_tokens) if attr(pointer, t) & wanted)
        return found

    def is_eog(self, token: int) -> bool:
        """Whether the token ends a generation."""
        return self._checked(token) in self.eog_tokens

    def is_control(self, token: int) -> bool:
        """Whether the token is markup and not text."""
        self._need_text()
        return bool(llama_h.llama_vocab_is_control(self.ptr, self._checked(token)))

    def attr(self, token: int) -> int:
        """The token's attributes, a sum of ``LLAMA_TOKEN_ATTR_*``."""
        self._need_text()
        return int(llama_h.llama_vocab_get_attr(self.ptr, self._checked(token)))

    def score(self, token: int) -> float:
        """The token's score in the vocabulary."""
        self._need_text()
        return float(llama_h.llama_vocab_get_score(self.ptr, self._checked(token)))

    def text(self, token: int) -> bytes:
        """The token's raw text in the vocabulary, with its markers for spaces and bytes."""
        self._need_text()
        return llama_h.llama_vocab_get_text(self.ptr, self._checked(token)) or b""

    def texts(self) -> list[bytes]:
        """`text` of every token."""
        self._need_text()
        pointer, text = self.ptr, resolve(llama_h.llama_vocab_get_text)
        return [text(pointer, token) or b"" for token in range(self.n_tokens)]

    def tokenize(self, text: str | bytes, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text of any length (``llama_tokenize``).

        Args:
            text: text; bytes are taken as UTF-8.
            add_special: add BOS, EOS or SEP where the model is configured to.
            parse_special: turn the text of special tokens into those tokens. Never for text of unknown origin.

        Raises:
            TextEncodingError: a lone surrogate, or bytes that llama.cpp cannot take.
            UnsupportedError: the model has no vocabulary.
        """
        self._need_text()
        raw = _encode(text)
        capacity = len(raw) + 8
        pointer = self._pin()
        try:
            while True:
                tokens = np.empty(capacity, np.int32)
                array = tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
                count = guard_h.lb_llama_tokenize(
                    pointer, raw, len(raw), array, capacity, bool(add_special), bool(parse_special)
                )
                check_guard()
                if count >= 0:
                    return list(tokens[:count].tolist())
                if count == -(2**31) or -count <= capacity:
                    raise InputError("the text has more tokens than fit in 31 bits", param="text")
                capacity = -count
        except NativeAbortError as error:
            raise TextEncodingError(
                f"llama.cpp cannot tokenize this text: {error.native_message}", param="text"
            ) from error
        finally:
            self._resource.unpin()

    def token_to_piece(self, token: int, special: bool = False, lstrip: int = 0) -> bytes:
        """The bytes that a token stands for, perhaps half a character (``llama_token_to_piece``).

        Args:
            token: token id.
            special: also for control tokens, which are empty otherwise.
            lstrip: leading spaces to leave out, at most.

        Raises:
            TokenError: there is no such token.
        """
        if lstrip == 0:
            try:
                cached = self._pieces[special][token]
            except (IndexError, TypeError):
                cached = None
            if cached is not None and token >= 0:
                return cached
        token = self._checked(token)
        piece = self._piece(token, bool(special), lstrip)
        if lstrip == 0:
            self._pieces[bool(special)][token] = piece
        return piece

    def _piece(self, token: int, special: bool, lstrip: int) -> bytes:
        if self.type == "none":
            return b""
        size = 64
        pointer = self._pin()
        try:
            while True:
                buffer = ctypes.create_string_buffer(size)
                count = guard_h.lb_llama_token_to_piece(
                    pointer, token, buffer, size, max(0, min(int(lstrip), 2**31 - 1)), special
                )
                check_guard()
                if count >= 0:
                    return buffer.raw[:count]
                size = -count
        finally:
            self._resource.unpin()

    def pieces(self) -> list[bytes]:
        """`token_to_piece` of every token in order, control tokens with their text: about a microsecond each."""
        self._need_text()
        found: list[bytes] = []
        size = 256
        buffer = ctypes.create_string_buffer(size)
        to_piece = resolve(llama_h.llama_token_to_piece)
        pointer = self._pin()
        try:
            for token in range(self.n_tokens):
                count = to_piece(pointer, token, buffer, size, 0, True)
                found.append(buffer[:count] if count >= 0 else self._piece(token, True, 0))  # type: ignore[arg-type]
        finally:
            self._resource.unpin()
        return found

    def detokenize(
        self, tokens: Sequence[int] | np.ndarray[Any, Any], remove_special: bool = False, unparse_special: bool = False
    ) -> bytes:
        """The bytes of tokens (``llama_detokenize``), with the spaces at the start that the tokenizer added removed.

        Args:
            tokens: token ids.
            remove_special: leave out BOS and EOS where the model is configured to add them.
            unparse_special: show special tokens.

        Raises:
            TokenError: there is no such token.
        """
        array = self._array(tokens)
        if array.size == 0 or self.type == "none":
            return b""
        size = 8 * array.size + 64
        ids = array.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        pointer = self._pin()
        try:
            while True:
                buffer = ctypes.create_string_buffer(size)
                count = guard_h.lb_llama_detokenize(
                    pointer, ids, array.size, buffer, size, bool(remove_special), bool(unparse_special)
                )
                check_guard()
                if count >= 0:
                    return buffer.raw[:count]
                size = -count
        finally:
            self._resource.unpin()

    def check_tokens(self, tokens: Sequence[int] | np.ndarray[Any, Any], param: str = "tokens") -> None:
        """Raise `TokenError` for the first id that is not in the vocabulary."""
        self._array(tokens, param)

    def _array(self, tokens: Sequence[int] | np.ndarray[Any, Any], param: str = "tokens") -> np.ndarray[Any, Any]:
        try:
            array = np.asarray(tokens if isinstance(tokens, np.ndarray) else list(tokens))
            if array.size and (array.dtype.kind not in "iu" or array.ndim != 1):
                raise TypeError("not a list of whole numbers")
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"tokens must be a list of token ids: {error}", param=param) from error
        wrong = (array < 0) | (array >= self.n_tokens)
        if wrong.any():
            raise TokenError(int(array[wrong][0]), self.n_tokens, param=param)
        return np.ascontiguousarray(array, np.int32)

    def _checked(self, token: int) -> int:
        try:
            number = operator.index(token)
        except TypeError:
            raise InputError(f"a token id is a whole number, not {token!r}", param="token") from None
        if not 0 <= number < self.n_tokens:
            raise TokenError(number, self.n_tokens, param="token")
        return number

    def _pin(self) -> int:
        self._resource.pin()
        return self._pointer

    def _need_text(self) -> None:
        if self.type == "none":
            raise UnsupportedError("this model has no vocabulary: it cannot turn text into tokens")


def vocab_facts(model: int) -> dict[str, Any]:
    """The attributes of a `Vocab` that are read once, from the address of a ``llama_model``."""
    pointer = llama_h.llama_model_get_vocab(model)
    assert pointer is not None  # a loaded model has one
    n_tokens = int(llama_h.llama_vocab_n_tokens(pointer))
    number = int(llama_h.llama_vocab_type(pointer))
    facts: dict[str, Any] = {"_pointer": pointer, "n_tokens": n_tokens, "type": _TYPES.get(number, str(number))}
    for name in _SPECIAL:
        token = int(getattr(llama_h, f"llama_vocab_{name}")(pointer))
        facts[name] = token if 0 <= token < n_tokens else None
    for name in ("add_bos", "add_eos", "add_sep"):
        facts[name] = bool(getattr(llama_h, f"llama_vocab_get_{name}")(pointer))
    facts["_pieces"] = {False: [None] * n_tokens, True: [None] * n_tokens}
    facts["_lazy"] = {}
    return facts


def _encode(text: str | bytes) -> bytes:
    if isinstance(text, str):
        try:
            raw = text.encode()
        except UnicodeEncodeError as error:
            raise TextEncodingError(
                f"the text has a lone surrogate at index {error.start}, which is not a character; "
                "clean it, e.g. with text.encode('utf-8', 'replace').decode()",
                param="text",
            ) from None
    elif isinstance(text, (bytes, bytearray, memoryview)):
        raw = bytes(text)
    else:
        raise InputError(f"text must be str or bytes, not {type(text).__name__}", param="text")
    if len(raw) > _MAX_BYTES:
        raise InputError("a text of more than 2 GB cannot be tokenized at once", param="text")
    return raw
