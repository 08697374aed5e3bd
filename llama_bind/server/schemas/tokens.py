"""The bodies of POST /tokenize, /detokenize and /apply-template, as llama-server has them. Not for: their answers."""

from __future__ import annotations

from pydantic import Field

from llama_bind.server.schemas.base import schema
from llama_bind.server.schemas.chat import ChatRequest

__all__ = ["DetokenizeRequest", "InputRequest", "TemplateRequest", "TokenizeRequest"]

TokenizeRequest = schema(
    "TokenizeRequest",
    "A text to divide into tokens.",
    {
        "content": (str | list[str | int], Field(description="The text, or a list of texts and token ids.")),
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

InputRequest = schema(
    "InputRequest",
    "A text to divide into tokens, as llama-cpp-python has it.",
    {
        "input": (str, Field(description="The text.")),
        "model": (str | None, Field(None, description="Which model; may be left out while one is served.")),
    },
)

TemplateRequest = ChatRequest
"""The options that have to do with the prompt count, the others change nothing."""
