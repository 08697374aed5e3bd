"""GigaChat 3 and 3.1: a marker, then the call as a JSON object; nothing ends it but the end of the answer.

Not for: families with a closing tag (``tagged_json.py`` and those who use it).
"""

from __future__ import annotations

from llama_bind.chat.tools.tagged_json import TaggedJsonFormat

__all__ = ["FORMAT", "V31"]

FUNCTION_CALL = "<|message_sep|>\n\nfunction call<|role_sep|>\n"


def _detect(template: str) -> bool:
    return "<|role_sep|>" in template and "function call" in template and not _detect_v31(template)


def _detect_v31(template: str) -> bool:
    return "<|function_call|>" in template


FORMAT = TaggedJsonFormat("gigachat", FUNCTION_CALL, "", _detect)
V31 = TaggedJsonFormat("gigachat_v3.1", "<|function_call|>", "", _detect_v31)
