"""Which tool format a chat template asks for. Modules of formats are imported when their turn comes.

Not for: the formats themselves.
"""

from __future__ import annotations

import functools
import importlib
from typing import NamedTuple, cast

from llama_bind.chat.tools.base import ToolFormat

__all__ = ["FALLBACK", "ROWS", "Row", "find_format", "get_format", "names"]


class Row(NamedTuple):
    """One format.

    Attributes:
        name: Its name.
        module: Module below ``llama_bind.chat.tools`` whose `attribute` is the format.
        needles: All of them are in every template that asks for it; what is cheap to look for before importing.
        attribute: Name of the `ToolFormat` in the module.
    """

    name: str
    module: str
    needles: tuple[str, ...]
    attribute: str = "FORMAT"


ROWS: tuple[Row, ...] = (
    # The more special ones first: what matches first is taken.
    Row("command_r", "command_r", ("<|START_ACTION|>",), "MARKED"),
    Row("command_r_plus", "command_r", ("Action:", "<|CHATBOT_TOKEN|>"), "PLUS"),
    Row("apertus", "apertus", ("<|tools_prefix|>",)),
    Row("granite", "granite", ("<|tool_call|>", "<|start_of_role|>"), "GRANITE"),
    Row("phi", "granite", ("<|tool|>", "<|/tool|>"), "PHI"),
    Row("nemotron", "granite", ("<TOOLCALL>",), "NEMOTRON"),
    Row("gemma4", "gemma", ("<|tool_call>", "call:"), "GEMMA4"),
    Row("function_gemma", "gemma", ("<start_function_call>", "call:"), "FUNCTION"),
    Row("solar", "solar", ("<|tool_call:begin|>",)),
    Row("hunyuan", "glm", ("<tool_sep", "<arg_key"), "HUNYUAN"),
    Row("seed_oss", "qwen3_coder", ("<seed:tool_call>",), "SEED"),
    Row("qwen3_coder", "qwen3_coder", ("<function=", "<parameter="), "CODER"),
    Row("qwen3_xml", "qwen3_coder", ("<function=", "<parameter=", "<think>")),
    Row("mistral_nemo", "mistral", ("[TOOL_CALLS]",), "NEMO"),
    Row("mistral_small", "mistral", ("[TOOL_CALLS]", "[CALL_ID]"), "SMALL"),
    Row("mistral", "mistral", ("[TOOL_CALLS]",)),
    Row("minimax_m1", "minimax", ("<tool_calls>", "<beginning_of_sentence>"), "M1"),
    Row("apriel", "arrays", ("<tool_calls>",), "APRIEL"),
    Row("firefunction", "arrays", ("functools[",), "FIREFUNCTION"),
    Row("deepseek_r1", "deepseek", ("tool▁calls▁begin", "```json"), "FENCED"),
    Row("deepseek", "deepseek", ("tool▁calls▁begin",)),
    Row("dsml", "dsml", ("DSML", "function_calls")),
    Row("dsml_v4", "dsml", ("DSML", "tool_calls"), "V4"),
    Row("minimax_m3", "minimax_m3", ("]<]minimax[>[",)),
    Row("minimax_m2", "minimax", ("minimax:tool_call",)),
    Row("muse", "muse", ("<atem:function_calls>", "<|message|>")),
    Row("minicpm", "minicpm", ('<function name="', '<param name="')),
    Row("gpt_oss", "gpt_oss", ("<|channel|>", "<|message|>")),
    Row("kimi_k3", "kimi_k3", ("<|open|>", "<|close|>", "<|sep|>")),
    Row("kimi_k2", "kimi_k2", ("<|tool_calls_section_begin|>",)),
    Row("glm_lines", "glm", ("<tool_call>", "<arg_key>"), "LINES"),
    Row("glm", "glm", ("<tool_call>", "<arg_key>")),
    Row("lfm2", "lfm2", ("List of tools: ",)),
    Row("functionary_v3.1", "functionary", ("<function=",), "V31"),
    Row("functionary_v3.2", "functionary", (">>>",)),
    Row("gigachat_v3.1", "gigachat", ("<|function_call|>",), "V31"),
    Row("gigachat", "gigachat", ("<|role_sep|>", "function call")),
    Row("hermes", "hermes", ("<tool_call>",)),
    Row("llama3", "llama3", ("<|start_header_id|>", "ipython")),
)

FALLBACK = Row("generic", "generic", ())
"""For templates that know of no tools."""


def _load(row: Row) -> ToolFormat:
    module = importlib.import_module(f"llama_bind.chat.tools.{row.module}")
    return cast(ToolFormat, getattr(module, row.attribute))


@functools.lru_cache(maxsize=64)
def find_format(template: str) -> ToolFormat:
    """The format that a template (its Jinja source) asks for; the generic one where it asks for none."""
    for row in ROWS:
        if all(needle in template for needle in row.needles):
            found = _load(row)
            if found.matches(template):
                return found
    return _load(FALLBACK)


def get_format(name: str) -> ToolFormat:
    """A format by its name.

    Raises:
        KeyError: There is none of this name.
    """
    for row in (*ROWS, FALLBACK):
        if row.name == name:
            return _load(row)
    raise KeyError(name)


def names() -> tuple[str, ...]:
    """All names, in the order in which they are tried."""
    return tuple(row.name for row in (*ROWS, FALLBACK))
