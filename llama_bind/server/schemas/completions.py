"""The body of POST /v1/completions. Not for: its answer (``llama_bind.types.Completion``)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from llama_bind.params import RequestParams, SamplingParams
from llama_bind.server.schemas.base import option_fields, option_names, schema

__all__ = ["OPTIONS", "CompletionRequest"]

CLASSES = (SamplingParams, RequestParams)
WITHOUT = frozenset({"model"})
OPTIONS = option_names(CLASSES, WITHOUT)
"""What `create_completion` takes from a body."""

CompletionRequest = schema(
    "CompletionRequest",
    "A text to continue, and how. Fields that are not known are ignored.",
    {
        "model": (str | None, Field(None, description="Which model; may be left out while one is served.")),
        "prompt": (
            str | list[Any],
            Field(description="A text, its token ids, or a list of texts or of lists of token ids."),
        ),
        **option_fields(CLASSES, WITHOUT),
    },
)
