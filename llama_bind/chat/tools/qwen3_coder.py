"""Qwen3-Coder, Qwen3.5, Nemotron 3 Nano, StepFun 3.5: ``<tool_call>`` around ``<function=..>`` and ``<parameter=..>``;
Seed-OSS with tags of its own.

Not for: Qwen 2.5 and Qwen3, which write JSON (``hermes.py``).
"""

from __future__ import annotations

from llama_bind.chat.tools.tagged import TaggedFormat, TagSyntax

__all__ = ["CODER", "FORMAT", "SEED"]


def _is_qwen(template: str) -> bool:
    return all(text in template for text in ("<tool_call>", "<function=", "<parameter="))


def _detect(template: str) -> bool:
    return _is_qwen(template) and "<think>" in template


def _detect_coder(template: str) -> bool:
    return _is_qwen(template) and "<think>" not in template


def _detect_seed(template: str) -> bool:
    return "<seed:tool_call>" in template


QWEN = TagSyntax("<tool_call>", "</tool_call>")

FORMAT = TaggedFormat("qwen3_xml", QWEN, _detect, ends_reasoning=("<tool_call>",))
"""Models that think."""

CODER = TaggedFormat("qwen3_coder", QWEN, _detect_coder, bare_function=True)
"""Models that do not, and often forget the opening tag."""

SEED = TaggedFormat("seed_oss", TagSyntax("<seed:tool_call>", "</seed:tool_call>", block=False), _detect_seed)
