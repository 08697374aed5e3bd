"""Texts of a schema's grammar, written byte by byte at random. Not for: how a model writes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from llama_bind.structured.schema import compile_schema
from llama_bind.structured.schema_empty import byte_tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher

END = 256
_CLOSING = b'"}]'
_COMMON = b"abcxyzABC0123456789 -_./:@"


def matcher_of(schema: Any, **options: Any) -> LLMatcher:
    """llguidance's matcher of a schema's grammar, over single bytes."""
    from llguidance import LLMatcher, LLParserLimits

    compiled = compile_schema(schema, **options)
    text = f"{compiled.rules}start: {compiled.start}\n"
    limits = LLParserLimits(max_items_in_row=10_000, step_max_items=1_000_000)
    matcher = LLMatcher(byte_tokenizer(), LLMatcher.grammar_from_lark(text), log_level=0, limits=limits)
    assert not matcher.is_error(), matcher.get_error()[:2000] + text[:4000]
    return matcher


def accepts(matcher: LLMatcher, text: str) -> bool:
    """Whether the grammar has this whole text."""
    matcher.reset()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()


def walk(matcher: LLMatcher, chance: random.Random, soon: int = 60, most: int = 3000) -> str | None:
    """A text of the grammar; None where it is not done after `most` bytes. After `soon` it hurries."""
    matcher.reset()
    written = bytearray()
    while len(written) < most:
        mask = matcher.compute_bitmask()
        assert not matcher.is_error(), (written, matcher.get_error()[:500])
        allowed = [byte for byte in range(256) if mask[byte // 8] >> byte % 8 & 1]
        if matcher.is_accepting() and (not allowed or chance.random() < 0.3 or len(written) > soon):
            return written.decode()
        assert allowed, f"no way on after {bytes(written)!r}"
        byte = _chosen(allowed, chance, len(written) > soon)
        assert matcher.consume_token(byte)
        written.append(byte)
    return None


def _chosen(allowed: list[int], chance: random.Random, hurry: bool) -> int:
    for preferred, likely in ((_CLOSING, 0.9 if hurry else 0.15), (_COMMON, 0.8)):
        among = [byte for byte in allowed if byte in preferred]
        if among and chance.random() < likely:
            return chance.choice(among)
    return chance.choice(allowed)
