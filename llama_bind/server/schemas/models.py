"""Bodies of /models/load and /models/unload. Not for: what is listed (``routes.models``)."""

from __future__ import annotations

from pydantic import Field

from llama_bind.server.schemas.base import schema

__all__ = ["ModelRequest"]

ModelRequest = schema(
    "ModelRequest",
    "A model to load or unload.",
    {
        "model": (str, Field(description="One of its names.")),
        "force": (bool | None, Field(None, description="Unload it although requests use it; they end.")),
    },
)
