"""Checks of a model's vocabulary: the part of a GGUF file which llama.cpp takes on trust until a text needs it.

Each rule stands for an assertion, an exception or an endless loop in ``src/llama-vocab.cpp``, at load or at the first
text which meets the damage. Damage that llama.cpp handles (special ids out of range fall back to a default, merges
that match nothing) passes. Not for: judging how well a tokenizer works.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from llama_bind.core.gguf_facts import PRE_TOKENIZERS, TOKENIZER_MODELS
from llama_bind.core.gguf_reader import GGUFArray, ValueType
from llama_bind.core.gguf_view import ModelView

__all__ = ["check_vocab"]

NO_VOCAB = frozenset({"no_vocab", "none"})
MAX_TOKENS = 2**24  # the largest vocabularies have some 260 000
_PREFIX = "tokenizer.ggml."
_TYPE_UNKNOWN, _TYPE_BYTE = 2, 6  # llama_token_type
_BYTE_TOKEN = re.compile(rb"<0x[0-9A-Fa-f]{2}>")
_SPM_STYLE = frozenset({"llama", "t5", "plamo2"})


@dataclass(frozen=True)
class _Defaults:
    """What ``llama_vocab::impl::load`` sets before it reads the file; None is LLAMA_TOKEN_NULL."""

    bos: int | None
    eos: int | None
    sep: int | None = None
    add_bos: bool = False
    add_eos: bool = False
    add_sep: bool = False


_DEFAULTS = {
    "llama": _Defaults(1, 2, add_bos=True),
    "bert": _Defaults(101, None, 102, add_bos=True, add_sep=True),
    "gpt2": _Defaults(11, 11),
    "hybriddna": _Defaults(11, 11),
    "whitespace": _Defaults(11, 11),
    "t5": _Defaults(None, 1, add_eos=True),
    "rwkv": _Defaults(None, None),
    "plamo2": _Defaults(1, 2),
    "gemma4": _Defaults(None, None, add_bos=True),
}
_PRE_ADD_BOS = frozenset(
    {
        "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano",
        "tekken", "chameleon", "gemma4", "granite-embed-multi-311m",
    }
)  # fmt: skip
_PRE_NO_BOS = frozenset({"chatglm-bpe", "glm4", "glm5"})


def check_vocab(view: ModelView) -> int:
    """Check everything below ``tokenizer.``; returns the number of tokens. Raises `ModelFormatError`."""
    model = view.text(_PREFIX + "model", required=True)
    if model not in TOKENIZER_MODELS:
        view.fail(f"the tokenizer {model!r} (tokenizer.ggml.model) is unknown to llama.cpp")
    if model in NO_VOCAB:
        return view.integer(f"{view.arch}.vocab_size", low=0, high=MAX_TOKENS) or 0
    tokens = _tokens(view)
    kinds = _token_types(view, len(tokens))
    _scores(view, len(tokens))
    pre = _pre_tokenizer(view, model)
    _special_ids(view, model, pre, len(tokens))
    if model in _SPM_STYLE or kinds is not None:
        _byte_tokens(view, model, tokens, kinds)
    if model == "rwkv":
        _rwkv(view, tokens)
    if model == "t5":
        _charsmap(view)
    return len(tokens)


def _array(view: ModelView, name: str, types: tuple[int, ...], *, required: bool = False) -> GGUFArray | None:
    key = _PREFIX + name
    value = view.file.get(key)
    if value is None:
        if required:
            view.fail(f"the vocabulary is missing: there is no {key}")
        return None
    if not isinstance(value, GGUFArray) or value.item_type not in types:
        wanted = " or ".join(ValueType.NAMES[t] for t in types)
        view.fail(f"{key} is {value!r}, not an array of {wanted}"[:200])
    return value


def _tokens(view: ModelView) -> list[bytes]:
    array = _array(view, "tokens", (ValueType.STRING,), required=True)
    assert array is not None
    if not 0 < len(array) <= MAX_TOKENS:
        view.fail(f"the vocabulary has {len(array)} tokens")
    tokens = array.raw_strings()
    if b"" in tokens:  # llama.cpp gives empty tokens a name
        tokens = [t or b"[EMPTY_%d]" % i for i, t in enumerate(tokens)]
    if len(set(tokens)) != len(tokens):
        seen: dict[bytes, int] = {}
        for i, token in enumerate(tokens):
            first = seen.setdefault(token, i)
            if first != i:
                view.fail(f"tokens {first} and {i} of the vocabulary are the same text {token[:60]!r}")
    _array(view, "merges", (ValueType.STRING,))
    return tokens


def _token_types(view: ModelView, n: int) -> np.ndarray[tuple[int], np.dtype[np.int32]] | None:
    array = _array(view, "token_type", (ValueType.INT32,))
    if array is None:
        return None
    if len(array) < n:
        view.fail(f"tokenizer.ggml.token_type has {len(array)} items for {n} tokens")
    return array.numpy()[:n]


def _scores(view: ModelView, n: int) -> None:
    array = _array(view, "scores", (ValueType.FLOAT32, ValueType.INT32))
    if array is None:
        return
    if len(array) < n:
        view.fail(f"tokenizer.ggml.scores has {len(array)} items for {n} tokens")
    if array.item_type == ValueType.FLOAT32 and np.isnan(array.numpy()).any():
        view.fail("tokenizer.ggml.scores holds values that are not numbers")


def _pre_tokenizer(view: ModelView, model: str) -> str:
    pre = view.text(_PREFIX + "pre") or ""
    if model == "gemma4":
        return "gemma4"
    if model in ("gpt2", "hybriddna", "whitespace"):
        if pre and pre not in PRE_TOKENIZERS:
            view.fail(f"the pre-tokenizer {pre!r} (tokenizer.ggml.pre) is unknown to llama.cpp")
        if pre != "kimi-k2" and view.file.get(_PREFIX + "merges") is None:
            view.fail("the vocabulary has no merges (tokenizer.ggml.merges)")
    return pre


def _special_ids(view: ModelView, model: str, pre: str, n: int) -> None:
    """A token that is to be added to every text has to exist: llama.cpp asserts it when the first text comes."""
    if model not in _DEFAULTS:
        return
    default = _DEFAULTS[model]
    bos = None if pre in _PRE_NO_BOS else default.bos
    add_bos = default.add_bos or (model == "gpt2" and pre in _PRE_ADD_BOS)
    always = pre in ("gemma4", "granite-embed-multi-311m") or model == "bert"
    for name, fallback, added, forced in (
        ("bos", bos, add_bos, always),
        ("eos", default.eos, default.add_eos, False),
        ("seperator", default.sep, default.add_sep, model == "bert"),
    ):
        flag = view.boolean(f"{_PREFIX}add_{'sep' if name == 'seperator' else name}_token")
        if not (forced or (added if flag is None else flag)):
            continue
        own = view.integer(f"{_PREFIX}{name}_token_id")
        exists = (own is not None and 0 <= own < n) or (fallback is not None and fallback < n)
        if not exists and (name != "seperator" or model == "bert"):
            view.fail(f"every text is to get a {name} token but {_PREFIX}{name}_token_id names none of the {n} tokens")


def _byte_tokens(
    view: ModelView, model: str, tokens: list[bytes], kinds: np.ndarray[tuple[int], np.dtype[np.int32]] | None
) -> None:
    """Bytes that are no token are looked up as ``<0xXX>``; some but not all of the 256 means damage."""
    marked = [] if kinds is None else np.flatnonzero(kinds == _TYPE_BYTE).tolist()
    for i in marked:
        if not _BYTE_TOKEN.fullmatch(tokens[i]):
            view.fail(f"token {i} is marked as a byte but is {tokens[i][:60]!r}, not <0x00> to <0xFF>")
    if marked and model in ("bert", "rwkv"):
        view.fail(f"token {marked[0]} is marked as a byte, which the tokenizer {model!r} does not have")
    if model not in _SPM_STYLE:
        return
    known = set(tokens)
    missing = [b for b in range(256) if b"<0x%02X>" % b not in known and (model == "plamo2" or bytes([b]) not in known)]
    if missing and (len(missing) < 128 or marked or model == "plamo2"):
        view.fail(f"the byte token <0x{missing[0]:02X}> is missing from the vocabulary ({len(missing)} of 256 are)")


def _rwkv(view: ModelView, tokens: list[bytes]) -> None:
    """The longest-match search never ends on a byte which starts tokens but is none itself."""
    texts = {_unescape_rwkv(t) for t in tokens}
    starts = {t[0] for t in texts if t}
    single = {t[0] for t in texts if len(t) == 1}
    if starts - single:
        view.fail(f"the byte 0x{min(starts - single):02X} starts tokens of the vocabulary but has no token of its own")
    if 10 not in single:
        view.fail("the vocabulary has no token for a new line")


def _unescape_rwkv(token: bytes) -> bytes:
    """As ``llama_unescape_rwkv_token`` reads a token."""
    out, i = bytearray(), 0
    plain = {ord("t"): 9, ord("n"): 10, ord("r"): 13}
    while i < len(token):
        c = token[i]
        i += 1
        if c != 92 or i == len(token):
            if c != 92:
                out.append(c)
            continue
        c = token[i]
        i += 1
        if c == ord("x"):
            if i + 2 > len(token):
                break
            digits = [d - 87 if d >= 97 else d - 48 for d in token[i : i + 2]]
            out.append((digits[0] * 16 + digits[1]) % 256)
            i += 2
        else:
            out.append(plain.get(c, c))
    return bytes(out)


def _charsmap(view: ModelView) -> None:
    """The normalizer of T5: a table of 32-bit nodes, then zero-terminated replacements."""
    array = _array(view, "precompiled_charsmap", (ValueType.UINT8, ValueType.INT8))
    if array is None:
        return
    blob = array.numpy().tobytes()
    size = int.from_bytes(blob[:4], "little")
    if len(blob) < 4 or size + 4 >= len(blob) or size % 4:
        view.fail(f"tokenizer.ggml.precompiled_charsmap has {len(blob)} bytes, its table claims {size}")
    if blob[-1] != 0:
        view.fail("tokenizer.ggml.precompiled_charsmap does not end in a zero byte")
