"""The bodies of llama-server's own endpoints: /completion, /infill, /embedding. Not for: their answers (``native``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from llama_bind.params import RequestParams, SamplingParams
from llama_bind.server.schemas.base import option_fields, option_names, schema
from llama_bind.server.schemas.embeddings import VECTOR_FIELDS

__all__ = ["INFILL_OPTIONS", "OPTIONS", "NativeEmbeddingRequest", "NativeInfillRequest", "NativeRequest"]

CLASSES = (SamplingParams, RequestParams)
WITHOUT = frozenset({"model", "echo", "suffix", "best_of", "stream_options"})
OPTIONS = option_names(CLASSES, WITHOUT)
"""What `create_completion` takes from a body, once it is translated."""
INFILL_OPTIONS = OPTIONS | {"extra", "prompt"}
"""What `create_infill` takes."""

_MODEL = (str | None, Field(None, description="Which model; may be left out while one is served."))
_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]

_FIELDS: dict[str, Any] = {
    **option_fields(CLASSES, WITHOUT),
    "model": _MODEL,
    "logit_bias": (
        list[Any] | dict[str, Any] | None,
        Field(None, description="Pairs, or an object: tokens by id or text, and their biases; false bans."),
    ),
    "samplers": (
        list[str] | str | None,
        Field(None, description="Samplers and their order, by names, or as a text with a letter for each."),
    ),
    "n_keep": (
        Annotated[int, Field(ge=-1, le=2**31 - 1)] | None,
        Field(None, description="Tokens at the start that truncate and shift leave alone; -1: all of the prompt."),
    ),
    "n_probs": (_Count | None, Field(None, description="Give so many of the likeliest tokens for each token.")),
    "return_tokens": (bool | None, Field(None, description="Give the token ids of the text.")),
    "response_fields": (
        list[str] | None,
        Field(None, description="Give these fields only; a/b is b in a."),
    ),
    "n_indent": (
        _Count | None,
        Field(None, description="A line after the first that is indented less ends the text."),
    ),
    "t_max_predict_ms": (
        Annotated[int, Field(ge=-1, le=2**53)] | None,
        Field(None, description="Milliseconds from the first token after which a line break ends the text."),
    ),
    "id_slot": (int | None, Field(None, description="Changes nothing: any slot serves any prompt here.")),
    "lora": (list[Any] | None, Field(None, description="Refused: adapters are chosen when the model is loaded.")),
}

NativeRequest = schema(
    "NativeCompletionRequest",
    "A text to continue, as llama-server has it. Fields that are not known are ignored.",
    {
        **_FIELDS,
        "prompt": (
            str | list[Any] | dict[str, Any],
            Field(description="A text, token ids, both in one list, an object with prompt_string, or a list of these."),
        ),
    },
)

NativeInfillRequest = schema(
    "NativeInfillRequest",
    "A gap to fill, as llama-server has it. Fields that are not known are ignored.",
    {
        **_FIELDS,
        "input_prefix": (str, Field(description="What comes before the gap.")),
        "input_suffix": (str, Field(description="What comes after it.")),
        "input_extra": (
            list[dict[str, Any]] | None,
            Field(None, description="Other files: objects with filename and text."),
        ),
        "prompt": (str | None, Field(None, description="What the text in the gap begins with.")),
    },
)

NativeEmbeddingRequest = schema(
    "NativeEmbeddingRequest",
    "Texts to embed, as llama-server has it.",
    {
        "model": _MODEL,
        "content": (Any, Field(None, description="What is embedded, in the forms of a prompt.")),
        "input": (Any, Field(None, description="The same.")),
        "embd_normalize": (
            Annotated[int, Field(ge=-1, le=64)] | None,
            Field(None, description="How vectors are scaled: -1 not, 0 to 32760 at most, 1 taxicab, 2 euclidean, p."),
        ),
        "encoding_format": (Literal["float", "base64"] | None, Field(None, description="Of an OpenAI answer only.")),
        **VECTOR_FIELDS,
    },
)
