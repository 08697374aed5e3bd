"""Makes ``llama_bind/_kwargs.py``: the keyword arguments of calls as TypedDicts, from ``params.py``.

Type checkers cannot derive a TypedDict from a dataclass; this keeps one definition all the same.

Not for: writing files (``python -m codegen`` does).
"""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import Any

from llama_bind import params
from llama_bind.options import options_of

TARGET = Path(__file__).resolve().parent.parent / "llama_bind" / "_kwargs.py"

HEAD = '''"""Keyword arguments of `Llama` and its calls, written by ``python -m codegen``: do not edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from typing_extensions import TypedDict

from llama_bind.params import AdapterSpec, TensorBufferOverride

__all__ = ["BeamKwargs", "ChatKwargs", "CompletionKwargs", "InfillKwargs", "LlamaKwargs", "ToolRunKwargs"]
'''

GROUPS: tuple[tuple[str, str, tuple[type[Any], ...], frozenset[str]], ...] = (
    ("LlamaKwargs", "Options of `Llama`.", (params.ModelParams, params.ContextParams, params.LlamaParams), frozenset()),
    (
        "CompletionKwargs",
        "Options of `Llama.create_completion`, besides stream.",
        (params.SamplingParams, params.RequestParams),
        frozenset({"stream"}),
    ),
    (
        "ChatKwargs",
        "Options of `Llama.create_chat_completion`, besides stream.",
        (params.SamplingParams, params.RequestParams, params.ChatParams),
        frozenset({"stream", "echo", "suffix"}),
    ),
    (
        "InfillKwargs",
        "Options of `Llama.create_infill`, besides stream.",
        (params.InfillParams, params.SamplingParams, params.RequestParams),
        frozenset({"stream", "echo", "suffix"}),
    ),
    ("VectorKwargs", "Options of `Llama.embed`, `create_embedding` and `rerank`.", (params.VectorParams,), frozenset()),
    ("BeamKwargs", "Options of `Llama.beam_search`.", (params.BeamParams,), frozenset()),
    (
        "ToolRunKwargs",
        "Options of `Llama.run_tools` and `Llama.stream_tools`, besides tools.",
        (params.ToolRunParams, params.SamplingParams, params.RequestParams, params.ChatParams),
        frozenset({"stream", "echo", "suffix", "n", "best_of", "tools", "functions", "function_call"}),
    ),
)


def generate() -> str:
    """The whole module as text."""
    return HEAD + "".join(_group(*group) for group in GROUPS)


def _group(name: str, doc: str, classes: tuple[type[Any], ...], without: frozenset[str]) -> str:
    lines = ["", "", f"class {name}(TypedDict, total=False):", f'    """{doc}"""', ""]
    for cls in classes:
        docs = options_of(cls)
        for field in dataclasses.fields(cls):
            if field.name not in without:
                lines.append(f"    {field.name}: {_optional(str(field.type))}")
                lines += _doc(docs[field.name].doc)
    return "\n".join(lines) + "\n"


def _optional(kind: str) -> str:
    """None always stands for the default."""
    return kind if kind == "Any" or "None" in kind.split(" | ") else f"{kind} | None"


def _doc(text: str) -> list[str]:
    one = f'    """{text}"""'
    if len(one) <= 120 and not text.endswith('"'):
        return [one]
    wrapped = textwrap.wrap(text, 112)
    return [f'    """{wrapped[0]}', *(f"    {line}" for line in wrapped[1:]), '    """']
