"""Granite 3, Phi 4 mini and Nemotron Nano 2: all calls as one JSON array behind a mark.

Granite 3.3 may put its answer between ``<response>`` tags when it thinks. Not for: Granite 4, which writes as Hermes
does (``hermes.py``), or Nemotron 3 (``qwen3_coder.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.chat.tools.base import OutputParser, Tool
from llama_bind.chat.tools.framed import FramedParser
from llama_bind.chat.tools.tagged_json import TaggedJsonFormat

__all__ = ["GRANITE", "NEMOTRON", "PHI", "GraniteFormat"]


class GraniteFormat(TaggedJsonFormat):
    """A `ToolFormat`."""

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return FramedParser(super().parser(tools, parallel=parallel), ("<response>",), ("</response>",))


def _is_granite(template: str) -> bool:
    return "<|tool_call|>" in template and "<|start_of_role|>" in template


def _is_phi(template: str) -> bool:
    return "<|tool|>" in template and "<|/tool|>" in template


def _is_nemotron(template: str) -> bool:
    return "<TOOLCALL>" in template


GRANITE = GraniteFormat("granite", "<|tool_call|>", "", _is_granite, array=True)

PHI = TaggedJsonFormat("phi", "<|tool_call|>", "<|/tool_call|>", _is_phi, array=True, more_openings=("functools",))

NEMOTRON = TaggedJsonFormat("nemotron", "<TOOLCALL>", "</TOOLCALL>", _is_nemotron, array=True)
