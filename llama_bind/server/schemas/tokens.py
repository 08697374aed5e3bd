"""The bodies of POST /tokenize, /detokenize and /apply-template, as llama-server has them. Not for: their answers."""

from __future__ import annotations

from pydantic import Field

from llama_bind.server.schemas.base import schema
from llama_bind.server.schemas.chat import ChatRequest

__all__ = ["DetokenizeRequest", "TemplateRequest", "TokenizeRequest"]

TokenizeRequest = schema(
    "TokenizeRequest",
    "A text to divide into tokens.",
    {
        "content": (str, Field(description="The text.")),
        "add_special": (bool | None, Field(None, description="Add the tokens that begin a text; default false.")),
        "parse_special": (
            bool | None,
            Field(None, description="Take names of control tokens as those tokens; default true."),
        ),
        "with_pieces": (bool | None, Field(None, description="Give the text of each token too.")),
    },
)

DetokenizeRequest = schema(
    "DetokenizeRequest", "Tokens to join.", {"tokens": (list[int], Field(description="Token ids."))}
)

TemplateRequest = ChatRequest
"""The options that have to do with the prompt count, the others change nothing."""
