"""Hermes 2 Pro and 3, Qwen 2.5, Qwen3 and QwQ, Granite 4, Reka, MiMo: ``<tool_call>`` around a JSON object.

Not for: Qwen3-Coder and its successors, which put tags around every argument (``qwen3_coder.py``).
"""

from __future__ import annotations

from llama_bind.chat.tools.tagged_json import TaggedJsonFormat

__all__ = ["FORMAT"]


def _detect(template: str) -> bool:
    return "<tool_call>" in template and "</tool_call>" in template


FORMAT = TaggedJsonFormat(
    name="hermes",
    opening="<tool_call>",
    closing="</tool_call>",
    detect=_detect,
    between="\n",
)
