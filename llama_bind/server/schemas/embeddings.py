"""The bodies of POST /v1/embeddings and /v1/rerank. Not for: their answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from llama_bind.params import VectorParams
from llama_bind.server.schemas.base import option_fields, schema

__all__ = ["EMBEDDING_OPTIONS", "RERANK_OPTIONS", "VECTOR_FIELDS", "EmbeddingRequest", "RerankRequest"]

_MODEL = (str | None, Field(None, description="Which model; may be left out while one is served."))
_TRUNCATE = (
    bool | Literal["end", "start", "middle"] | None,
    Field(None, description="What to leave out of a text that is too long: nothing (false: an error), or where."),
)

VECTOR_FIELDS = {
    **option_fields((VectorParams,)),
    "user": (
        str | None,
        Field(None, description="Who asks: those that wait take turns. Where there are keys it is the key."),
    ),
}
"""What requests for embeddings and ranks say of their place in the queue and their time."""

EMBEDDING_OPTIONS = frozenset({"dimensions", "encoding_format", "normalize", "truncate", *VECTOR_FIELDS})
"""What `create_embedding` takes from a body besides the texts."""

EmbeddingRequest = schema(
    "EmbeddingRequest",
    "Texts to embed.",
    {
        "model": _MODEL,
        "input": (
            str | list[Any] | dict[str, Any],
            Field(description="A text, its token ids, or a list of those; also as llama-server's prompts."),
        ),
        "dimensions": (int | None, Field(None, description="Cut vectors to so many numbers, and scale them to 1.")),
        "encoding_format": (Literal["float", "base64"] | None, Field(None, description="How vectors are written.")),
        "normalize": (bool | None, Field(None, description="Scale vectors to length 1; default true.")),
        "truncate": _TRUNCATE,
        **VECTOR_FIELDS,
    },
)

RERANK_OPTIONS = frozenset({"top_n", "return_documents", "truncate", *VECTOR_FIELDS})
"""What `rerank` takes from a body besides query and documents."""

RerankRequest = schema(
    "RerankRequest",
    "Documents to rank for a query. With `texts` in place of `documents` the answer is a plain list.",
    {
        "model": _MODEL,
        "query": (str, Field(description="What is looked for.")),
        "documents": (
            list[str | dict[str, Any]] | None,
            Field(None, description="Texts, or objects with a text."),
        ),
        "texts": (list[str] | None, Field(None, description="The same, as Text Embeddings Inference has it.")),
        "top_n": (int | None, Field(None, description="Give so many of the best.")),
        "return_documents": (bool | None, Field(None, description="Give the texts back.")),
        "return_text": (bool | None, Field(None, description="With `texts`: give them back.")),
        "truncate": _TRUNCATE,
        **VECTOR_FIELDS,
    },
)
