"""From the arguments of llama-cpp-python's calls to this library's options, where the two differ.

Not for: arguments of the constructor (``loading``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from llama_bind.compat.loading import warn_once
from llama_bind.compat.processors import as_functions
from llama_bind.options import options_of
from llama_bind.params import SamplingParams

__all__ = ["chat_options", "completion_options", "stepping_params"]

_ANY_TOKEN: Mapping[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}
"""A temperature below 0 draws from all tokens as the model sees them."""
_SAMPLING = frozenset(options_of(SamplingParams))


def completion_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `create_completion`; `given` without `self`, with defaults filled in."""
    options = dict(given)
    tfs_z = options.pop("tfs_z", 1.0)
    if tfs_z not in (1.0, None):
        warn_once("tfs_z", "a completion", "llama.cpp has no tail-free sampling any more; use typical_p or min_p")
    limit = options.get("max_tokens")
    if limit is not None and limit <= 0:
        options["max_tokens"] = None
    temperature = options.get("temperature")
    if temperature is not None and temperature < 0:
        options.update(_ANY_TOKEN)
    for name in ("logits_processor", "stopping_criteria"):
        options[name] = as_functions(options.get(name))
    if options.get("logit_bias") is not None:
        options["logit_bias"] = {int(token): float(bias) for token, bias in options["logit_bias"].items()}
    return options


def chat_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `create_chat_completion`."""
    options = completion_options(given)
    logprobs = options.get("logprobs")
    options["logprobs"] = None if logprobs is None else bool(logprobs)
    if not options["logprobs"]:
        options["top_logprobs"] = None
    return options


def stepping_params(defaults: SamplingParams, given: Mapping[str, Any]) -> SamplingParams:
    """How `sample` and `generate` choose a token.

    Args:
        defaults: What stands where an argument is None.
        given: All their arguments by name; those about something else are left alone.
    """
    if given.get("tfs_z", 1.0) not in (1.0, None):
        warn_once("tfs_z", "sample()", "llama.cpp has no tail-free sampling any more; use typical_p or min_p")
    if given.get("penalize_nl", True) not in (True, None):
        warn_once("penalize_nl", "sample()", "newlines are penalized as any token; use logit_bias")
    names = {"temp": "temperature"}
    known = {names.get(name, name): value for name, value in given.items() if value is not None}
    options = {name: value for name, value in known.items() if name in _SAMPLING}
    if options.get("temperature", 0) < 0:
        options.update(_ANY_TOKEN)
    options.setdefault("grammar_backend", "llama.cpp")
    return dataclasses.replace(defaults, **options)
