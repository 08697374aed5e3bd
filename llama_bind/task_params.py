"""The options of calls that stand on others (beam search, filling gaps, runs of tools), of embeddings and ranks, and of
reports. Part of ``params.py``.

Not for: options of models, contexts, sampling and single requests, which are there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_bind.options import option

__all__ = ["BeamParams", "InfillParams", "ReportParams", "ToolRunParams", "VectorParams"]


MOST_LETTERS = 256


def short_name(value: str) -> str | None:
    """What is wrong with a name that others are shown; None: nothing."""
    return None if len(value) <= MOST_LETTERS else f"must have at most {MOST_LETTERS} characters"


@dataclasses.dataclass(frozen=True)
class ReportParams:
    """What one completion says besides its text, and whether it uses what is in memory; part of `RequestParams`."""

    cache_prompt: bool = option(True, "Take what is in memory of the prompt's beginning; else compute all of it.")
    return_progress: bool = option(
        False, "Streams say how far the prompt is: chunks with prompt_progress before the text.", cli=False
    )
    timings_per_token: bool = option(False, "All chunks of a stream carry the timings so far.", cli=False)
    request_id: str | None = option(None, "What `slots` calls it while it runs.", cli=False, check=short_name)
    post_sampling_probs: bool = option(
        False,
        "Log probabilities are those among the tokens that the samplers left, in place of the model's own.",
        cli=False,
    )


@dataclasses.dataclass(frozen=True)
class BeamParams:
    """What a beam search asks for."""

    beam_width: int = option(4, "Texts that are followed at each step, and given at the end.", low=1, high=256)
    max_tokens: int = option(16, "Most tokens to generate.", low=1, high=2**31 - 1)
    length_penalty: float = option(
        1.0,
        "The score is the log probability divided by the number of tokens to this power: above 0 favours long texts.",
        low=-10,
        high=10,
    )
    ignore_eos: bool = option(False, "Never choose a token that ends the text.")
    stop_token_ids: Sequence[int] | None = option(
        None, "Token ids that end the text like the model's own end.", cli=False
    )
    priority: int = option(0, "Higher goes first.", low=-1000, high=1000)


@dataclasses.dataclass(frozen=True)
class InfillParams:
    """What `Llama.create_infill` asks for besides sampling and `RequestParams`."""

    extra: Sequence[Mapping[str, str]] | None = option(
        None,
        "Other files, dicts with filename and text, the most telling one last; the first are left out where not all "
        "fit.",
        cli=False,
    )
    prompt: str = option("", "What the text in the gap begins with; it is not given back.")
    filename: str = option("filename", "Name of the file with the gap, for models that know file names.")
    repository: str = option("myproject", "Name of the project, for models that know such names.")
    spm_infill: bool = option(False, "Suffix before prefix, for models that were trained so.")


@dataclasses.dataclass(frozen=True)
class ToolRunParams:
    """What a run of tools asks for besides the options of its chat completions."""

    max_rounds: int = option(
        8,
        "Rounds of calls. After so many the model answers once more, and must do without tools.",
        low=0,
        high=1_000_000,
    )
    tool_timeout: float | None = option(
        None,
        "Seconds that one call of a function may take; then the model is told so. An async function is cancelled, "
        "another goes on in its thread and nobody waits for it. `FunctionTool` has its own.",
        above=0,
        high=1e8,
    )
    max_parallel_tools: int = option(
        16, "Calls of one answer that run at the same time; 1: one after the other.", low=1, high=1000
    )
    max_result_chars: int | None = option(
        None,
        "Characters of one result that the model gets; the rest is cut with a note. Unset: as many as the context has "
        "tokens, which is about a quarter of it.",
        low=200,
        high=10**9,
    )
    approve: Callable[[Any], Any] | None = option(
        None,
        "Asked before each call, with a `ToolCall`: True runs it; False, or a str that says why, tells the model that "
        "it was not approved. May be async.",
        cli=False,
    )


@dataclasses.dataclass(frozen=True)
class VectorParams:
    """Where a call for embeddings or ranks stands among all that wait, and when it must be done."""

    user: str | None = option(
        None,
        "Who asks: texts of several users that wait take turns, with each other and with what else is asked.",
        cli=False,
    )
    priority: int = option(0, "Higher goes first.", low=-1000, high=1000)
    request_id: str | None = option(None, "What `slots` calls its texts while they run.", cli=False, check=short_name)
    queue_timeout: float | None = option(
        None, "Seconds in which the first text must start; else the call is a DeadlineError.", above=0, high=1e8
    )
    timeout: float | None = option(
        None, "Seconds in which all texts must be computed; else the call is a DeadlineError.", above=0, high=1e8
    )
