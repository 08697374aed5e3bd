"""Apriel and FireFunction: all calls as one JSON array, in tags or behind a word.

Not for: one object between tags (``hermes.py``).
"""

from __future__ import annotations

from llama_bind.chat.tools.tagged_json import TaggedJsonFormat

__all__ = ["APRIEL", "FIREFUNCTION"]


def _is_apriel(template: str) -> bool:
    return "<tool_calls>[" in template


def _is_firefunction(template: str) -> bool:
    return "functools[" in template


APRIEL = TaggedJsonFormat("apriel", "<tool_calls>", "</tool_calls>", _is_apriel, array=True)

FIREFUNCTION = TaggedJsonFormat("firefunction", "functools", "", _is_firefunction, array=True)
