"""A model that uses Python functions: asks for calls, gets their results, answers.

`Llama.run_tools`, `Llama.stream_tools` and their asynchronous twins are the entry. Not for: declaring functions
(``function_schema``), or how a model writes a call (``chat``).
"""

from __future__ import annotations

from llama_bind.agent.events import RoundEnded, RunFinished, ToolFinished, ToolRunEvent, ToolStarted
from llama_bind.agent.values import Round, ToolCall, ToolOutcome, ToolRun
from llama_bind.chat.events import ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from llama_bind.function_schema import FunctionTool, function_schema

__all__ = [
    "FunctionTool",
    "ReasoningDelta",
    "Round",
    "RoundEnded",
    "RunFinished",
    "TextDelta",
    "ToolCall",
    "ToolCallArguments",
    "ToolCallStart",
    "ToolFinished",
    "ToolOutcome",
    "ToolRun",
    "ToolRunEvent",
    "ToolStarted",
    "function_schema",
]
