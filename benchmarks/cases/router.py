"""The output router's CPU time for one token: text, reasoning and tool calls told apart while they come.

Method: an answer of 10,000 pieces of four characters is fed to a router in the format of Hermes and Qwen, with
reasoning on; CPU time of the thread, per piece. The figure is an answer as models give it: a thought, some text, two
calls. Beside it stand the kinds of text alone, and the dearest that is known: nothing but beginnings of tags.
"""

from __future__ import annotations

import json
import time

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

__all__ = ["BENCHMARKS"]

N_PIECES = 10_000
PIECE = 4
"""Characters: what a token has in English, about."""
WORDS = "the quick brown fox jumps over [the] lazy {dog} and 3 < 4 \n"


def _filled(text: str, pieces: int) -> str:
    size = pieces * PIECE
    return (text * (size // len(text) + 1))[:size]


def answers() -> dict[str, str]:
    """Answers by kind, each of about `N_PIECES` pieces."""
    call = '<tool_call>\n{{"name": "write", "arguments": {{"text": {}}}}}\n</tool_call>\n'
    words = _filled(WORDS, N_PIECES)
    part = _filled(WORDS, N_PIECES // 4)
    quoted = json.dumps(part)
    return {
        "an answer": f"<think>{part}</think>\n\n{part}\n{call.format(quoted)}{call.format(quoted)}",
        "text": words,
        "reasoning": f"<think>{words}",
        "arguments": call.format(json.dumps(words)),
        "rows of short calls": _filled(call.format('"x"'), N_PIECES),
        "beginnings of tags": _filled("<tool_call", N_PIECES),
    }


def _cost(text: str) -> float:
    """Microseconds of CPU time per piece."""
    from llama_bind.chat.reasoning import Reasoning
    from llama_bind.chat.router import Router
    from llama_bind.chat.tools.base import Tool
    from llama_bind.chat.tools.registry import get_format

    parameters = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    router = Router(get_format("hermes"), (Tool("write", parameters),), reasoning=Reasoning("<think>", "</think>"))
    pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    start = time.thread_time()
    for piece in pieces:
        router.feed(piece)
    router.finish()
    return (time.thread_time() - start) * 1e6 / len(pieces)


def whole(settings: Settings) -> Measurement:  # noqa: ARG001
    costs = {kind: min(_cost(text) for _ in range(3)) for kind, text in answers().items()}
    return Measurement(costs.pop("an answer"), {f"{kind}, us": cost for kind, cost in costs.items()})


BENCHMARKS = (
    Benchmark("router", "CPU time of the output router per token", "us", whole, goal=Goal("value", 5.0)),
)  # fmt: skip
