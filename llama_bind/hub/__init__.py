"""Finding, verifying and caching model files.

`resolve_model` turns a path or a known name into a file, `from_pretrained` fetches from a Hugging Face repository,
`cached_models` says what is here already. Nothing is read or touched at import. Not for: loading models.
"""

from __future__ import annotations

from llama_bind.hub.cache import CachedModel, cache_folder, cached_models
from llama_bind.hub.catalog import DEFAULT_MODEL, KNOWN_MODELS, KnownModel, find_known
from llama_bind.hub.named import resolve_model, verify_model
from llama_bind.hub.repository import from_pretrained

__all__ = [
    "DEFAULT_MODEL",
    "KNOWN_MODELS",
    "CachedModel",
    "KnownModel",
    "cache_folder",
    "cached_models",
    "find_known",
    "from_pretrained",
    "resolve_model",
    "verify_model",
]
