"""Which terminals of a grammar match nothing at all: asked of llguidance, on a vocabulary of single bytes.

Not for: rules, whose emptiness follows from that of terminals (``schema_grammar.py``).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llama_bind.structured.schema_document import Beyond

if TYPE_CHECKING:
    from llguidance import LLTokenizer

__all__ = ["empty_terminals"]

_END = 256


class _Bytes:
    """A vocabulary in llguidance's terms: a token for each byte."""

    eos_token_id = _END
    bos_token_id = None
    tokens: tuple[bytes, ...] = (*(bytes((byte,)) for byte in range(256)), b"")
    special_token_ids: tuple[int, ...] = (_END,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


@functools.cache
def byte_tokenizer() -> LLTokenizer:
    """The tokenizer of single bytes, as llguidance has it; 256 is the end."""
    from llguidance import LLTokenizer, TokenizerWrapper

    wrapped: Any = TokenizerWrapper(_Bytes())
    return LLTokenizer(wrapped, n_vocab=257, eos_token=_END, slices=[])


def empty_terminals(terminals: Mapping[str, str]) -> set[str]:
    """The names of those (name -> definition in Lark) that match no text.

    Raises:
        Beyond: they are too much for llguidance.
    """
    from llguidance import LLMatcher

    if not terminals:
        return set()
    # Every terminal behind a number of its own: one grammar for all, and one step to each.
    rules = [f'"{at:04}" {name}' for at, name in enumerate(terminals)]
    text = "start: " + " | ".join(rules) + "\n" + "".join(f"{name}: {text}\n" for name, text in terminals.items())
    first = LLMatcher(byte_tokenizer(), LLMatcher.grammar_from_lark(text), log_level=0)
    empty = set()
    for at, name in enumerate(terminals):
        matcher = first.deep_copy()
        number = list(f"{at:04}".encode())
        if not matcher.is_error() and matcher.try_consume_tokens(number) == len(number):
            mask = matcher.compute_bitmask()
            if matcher.is_accepting() or any(mask[: _END // 8]):
                continue
        if matcher.is_error() and "NoExtension" not in matcher.get_error():
            words = matcher.get_error().split("\n")[0][:200]
            raise Beyond("pattern", None, f"the patterns are too much for a grammar ({words})")
        empty.add(name)
    return empty
