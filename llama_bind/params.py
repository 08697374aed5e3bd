"""The options of models, contexts, sampling and requests: the one definition that everything else is derived from.

Frozen dataclasses; a value of None means "decide for me" and the doc says how. Those of sampling, single requests and
chats are written here, the others come from ``load_params.py`` and ``task_params.py``. Not for: reading the environment
or files, or turning options into C structs (that is ``core``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_bind.load_params import (
    CACHE_TYPES,
    MAX_DRAFT,
    AdapterSpec,
    ContextParams,
    LlamaParams,
    ModelParams,
    TensorBufferOverride,
)
from llama_bind.options import option
from llama_bind.task_params import BeamParams, InfillParams, ReportParams, ToolRunParams, VectorParams

__all__ = [
    "CACHE_TYPES",
    "DEFAULT_SAMPLERS",
    "MAX_DRAFT",
    "SAMPLERS",
    "AdapterSpec",
    "BeamParams",
    "ChatParams",
    "ContextParams",
    "InfillParams",
    "LlamaParams",
    "ModelParams",
    "RequestParams",
    "SamplingParams",
    "TensorBufferOverride",
    "ToolRunParams",
    "VectorParams",
]

SAMPLERS = (
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typical_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
    "infill",
    "adaptive_p",
)
"""Names that `SamplingParams.samplers` may hold. Logit bias and grammar come first, the final draw last, always."""

DEFAULT_SAMPLERS = (
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typical_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
)
"""llama.cpp's default order (common/common.h)."""


@dataclasses.dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen: every sampler of llama.cpp's chain, and its order.

    Defaults are llama.cpp's own (common/common.h); a model file may carry recommended ones, which `Llama` then uses
    for what the caller leaves unset.
    """

    temperature: float = option(0.8, "0 takes the likeliest token; higher is more random.", low=0, high=100)
    top_k: int = option(40, "Keep the k likeliest tokens; 0 or less: all.", high=2**31 - 1)
    top_p: float = option(
        0.95, "Keep the likeliest tokens that together reach this probability; 1: all.", low=0, high=1
    )
    min_p: float = option(
        0.05, "Drop tokens below this share of the likeliest one's probability; 0: none.", low=0, high=1
    )
    typical_p: float = option(1.0, "Locally typical sampling; 1: off.", low=0, high=1)
    top_n_sigma: float = option(
        -1.0, "Keep logits within n standard deviations of the highest; 0 or less: off.", high=1e6
    )
    xtc_probability: float = option(
        0.0, "Chance to drop all but the least likely of the tokens above xtc_threshold; 0: off.", low=0, high=1
    )
    xtc_threshold: float = option(0.1, "Threshold of XTC; above 0.5 it is off.", low=0, high=1)
    min_keep: int = option(0, "Least tokens that top_p, min_p, typical_p and XTC leave.", low=0, high=2**31 - 1)
    dynatemp_range: float = option(0.0, "Dynamic temperature: temperature plus or minus this; 0: off.", low=0, high=100)
    dynatemp_exponent: float = option(1.0, "Dynamic temperature: exponent of the normalized entropy.", low=0, high=100)
    repeat_penalty: float = option(1.0, "Divides the logits of tokens seen lately; 1: off.", above=0, high=1e6)
    frequency_penalty: float = option(
        0.0, "Lowers logits by this for each time a token was seen lately.", low=-100, high=100
    )
    presence_penalty: float = option(0.0, "Lowers logits by this for tokens seen lately.", low=-100, high=100)
    penalty_last_n: int = option(
        64, "How many last tokens the penalties look at; 0: off, -1: the context.", low=-1, high=2**31 - 1
    )
    dry_multiplier: float = option(0.0, "Strength of DRY (against repeated runs of tokens); 0: off.", low=0, high=1e6)
    dry_base: float = option(1.75, "Base of DRY's exponential penalty.", low=0, high=1e6)
    dry_allowed_length: int = option(2, "Longest repetition that DRY leaves alone, in tokens.", low=0, high=2**31 - 1)
    dry_penalty_last_n: int = option(
        -1, "How many last tokens DRY looks at; 0: off, -1: the context.", low=-1, high=2**31 - 1
    )
    dry_sequence_breakers: Sequence[str] = option(("\n", ":", '"', "*"), "Strings at which DRY starts anew.")
    mirostat_mode: int = option(0, "Mirostat: 0 off, 1 or 2; it replaces the other truncations.", choices=(0, 1, 2))
    mirostat_tau: float = option(5.0, "Mirostat's target entropy.", low=0, high=1e6)
    mirostat_eta: float = option(0.1, "Mirostat's learning rate.", low=0, high=1e6)
    adaptive_target: float = option(
        -1.0, "adaptive-p's target probability (used when samplers has adaptive_p); below 0: off.", low=-1, high=1
    )
    adaptive_decay: float = option(0.9, "adaptive-p's decay.", low=0, high=0.99)
    samplers: Sequence[str] = option(DEFAULT_SAMPLERS, "Samplers and their order: " + ", ".join(SAMPLERS) + ".")
    seed: int | None = option(
        None, "Seed of the draw, modulo 2**32. Unset: real entropy; the result says which was used."
    )
    logit_bias: Mapping[int, float] | Mapping[str, float] | None = option(
        None, "Added to the logits of token ids; -100 or less as good as bans, 100 as good as forces.", cli=False
    )
    ignore_eos: bool = option(False, "Never choose a token that ends the generation.")
    grammar: Any = option(None, "A GBNF grammar (text or `LlamaGrammar`) that the output must follow.")
    grammar_backend: str = option(
        "llguidance",
        "What runs grammar: llguidance, or llama.cpp (its own sampler).",
        choices=("llguidance", "llama.cpp"),
    )


@dataclasses.dataclass(frozen=True)
class RequestParams(ReportParams):
    """What one completion asks for besides sampling."""

    max_tokens: int | None = option(
        None, "Most tokens to generate. Unset or below 0: until the model stops or the context ends."
    )
    stop: str | Sequence[str] | None = option(None, "Strings that end the text; they are not part of it.")
    stop_token_ids: Sequence[int] | None = option(
        None, "Token ids that end the text like the model's own end.", cli=False
    )
    min_tokens: int = option(
        0,
        "Tokens to generate before one that ends the text (the model's own end, stop_token_ids) may be chosen; stop "
        "strings still end it.",
        low=0,
        high=2**31 - 1,
    )
    bad_words: Sequence[str | Sequence[int]] | None = option(
        None,
        "Words that must not appear: strings, each also as it is written after a space, or lists of token ids.",
        cli=False,
    )
    regex: str | None = option(None, "A pattern (as of Rust's regex crate) that the whole output must match.")
    choice: Sequence[str] | None = option(None, "Texts of which the output must be one.", cli=False)
    lark: str | None = option(None, "A grammar in llguidance's dialect of Lark that the output must follow.")
    response_format: Any = option(
        None, "Form of the output: OpenAI's json_object or json_schema, or a type, parsed into it.", cli=False
    )
    json_schema: Any = option(None, "A JSON Schema (or its text, or a type) that the output must meet.", cli=False)
    strict: bool = option(True, "Refuse schemas that cannot be enforced whole; else check the output.", cli=False)
    json_whitespace: str = option(
        "fixed", "In JSON of a schema: a space after , and : (fixed), none (compact), or any (free).", cli=False,
        choices=("fixed", "compact", "free"),
    )  # fmt: skip
    schema_formats: str = option(
        "known", "Formats of strings to enforce: known ones, none (ignore), or all (required).", cli=False,
        choices=("known", "ignore", "required"),
    )  # fmt: skip
    schema_members: str = option(
        "named", "Where a schema names members and is silent about others: only those (named), or others too (any).",
        cli=False, choices=("named", "any"),
    )  # fmt: skip
    allowed_token_ids: Sequence[int] | None = option(
        None, "The only tokens that may be chosen; those that end the text too only if listed.", cli=False
    )
    logprobs: int | bool | None = option(
        None, "Give the log probabilities of the tokens, and of this many alternatives.", cli=False
    )
    echo: bool = option(False, "Give the prompt back before the text.")
    suffix: str | None = option(
        None, "Text after the gap: the model fills in between (needs a fill-in-the-middle model)."
    )
    stream: bool = option(False, "Give the text piece by piece.")
    stream_options: Mapping[str, Any] | None = option(
        None, "{'include_usage': True} ends a stream with the usage.", cli=False
    )
    n: int = option(1, "Number of completions.", low=1, high=128)
    best_of: int | None = option(
        None,
        "Generate so many completions and give the n whose tokens are likeliest on average, best first; not streamed.",
        low=1,
        high=128,
        cli=False,
    )
    priority: int = option(0, "Higher goes first.", low=-1000, high=1000)
    user: str | None = option(
        None, "Who asks: requests of several users that wait take turns, by the tokens that each was served.", cli=False
    )
    cache_salt: str | None = option(
        None,
        "What was computed is shared only between requests of the same salt; no time betrays another's prompt.",
        cli=False,
    )
    queue_timeout: float | None = option(
        None, 'Seconds in which the request must start; else it ends with finish reason "deadline".', above=0, high=1e8
    )
    first_token_timeout: float | None = option(
        None,
        'Seconds in which the first token must come; else it ends with finish reason "deadline".',
        above=0,
        high=1e8,
    )
    timeout: float | None = option(
        None, 'Seconds after which the text ends as it is, with finish reason "deadline".', above=0, high=1e8
    )
    reproducible: bool = option(
        False,
        "Compute the text apart from all others: what else runs cannot change it. Slower; needs kv_unified=False where "
        "n_seq_max is above 1.",
    )
    context_overflow: str = option(
        "error",
        "Where a prompt is longer than the context: error; stop (finish reason length, no text); truncate its middle. "
        "shift does that too, and when the text fills the context it drops the older half of it and goes on.",
        choices=("error", "stop", "truncate", "shift"),
    )
    n_keep: int = option(
        0, "Tokens at the start of the prompt that truncate and shift leave alone.", low=0, high=2**31 - 1
    )
    logits_processor: Callable[[Any, Any], Any] | Sequence[Callable[[Any, Any], Any]] | None = option(
        None, "Functions (input_ids, scores) -> scores over the raw logits.", cli=False
    )
    stopping_criteria: Callable[[Any, Any], bool] | Sequence[Callable[[Any, Any], bool]] | None = option(
        None, "Functions (input_ids, scores) -> bool; True ends the text.", cli=False
    )
    n_draft: int | None = option(
        None,
        "Most tokens guessed at once (see draft_model); 0: none. Unset: draft_max. Without a draft_model a number "
        "turns prompt lookup on.",
        low=0,
        high=MAX_DRAFT,
    )
    model: str | None = option(None, "The name that the result carries as its model.", cli=False)


@dataclasses.dataclass(frozen=True)
class ChatParams:
    """What a chat completion asks for besides sampling and `RequestParams`."""

    top_logprobs: int | None = option(None, "With logprobs: alternatives for each token.", low=0, high=1000, cli=False)
    chat_template_kwargs: Mapping[str, Any] | None = option(None, "Values for the chat template.", cli=False)
    add_generation_prompt: bool = option(True, "Open the assistant's turn after the messages.")
    continue_final_message: bool | None = option(
        None,
        "Continue the last message instead of opening a turn. Unset: where it is the assistant's, without tool calls.",
    )
    chat_template: str | None = option(
        None,
        "A template for this request: Jinja text, or the name of one of the model's further templates. Unset: "
        '"tool_use" where there is one and tools are given, else the usual one.',
        cli=False,
    )
    documents: Sequence[Mapping[str, Any] | str] | None = option(
        None, "Texts to answer from, for templates that show documents: dicts with title and text.", cli=False
    )
    tools: Sequence[Mapping[str, Any]] | None = option(
        None, "Functions that the model may call, in OpenAI's shape.", cli=False
    )
    tool_choice: str | Mapping[str, Any] | None = option(
        None,
        'Which tools are called: "none", "auto" (the default), "required", one by name, or some (allowed_tools).',
        cli=False,
    )
    parallel_tool_calls: bool | None = option(
        None,
        "Whether one answer may hold several calls. Unset: where the template can show them, and no function is named.",
        cli=False,
    )
    functions: Sequence[Mapping[str, Any]] | None = option(None, "Older form of tools.", cli=False)
    function_call: str | Mapping[str, Any] | None = option(None, "Older form of tool_choice.", cli=False)
    enable_thinking: bool | None = option(
        None,
        "Whether the model thinks before it answers. Where its template cannot be told, the prompt opens and closes "
        "its thoughts. Unset: as the template does.",
    )
    reasoning_effort: str | None = option(
        None,
        "How hard to think, for templates that can be told; none turns thinking off, anything else on.",
        choices=("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    )
    reasoning_budget: int | None = option(
        None, "Most tokens of thoughts; then they are closed and the answer begins. 0 turns thinking off.", low=0
    )
    reasoning_format: str = option(
        "auto",
        "Thoughts come apart as reasoning_content (auto, deepseek), stay in the text with their tags (none), or stay "
        "there when the answer is streamed (deepseek-legacy).",
        choices=("auto", "none", "deepseek", "deepseek-legacy"),
    )
