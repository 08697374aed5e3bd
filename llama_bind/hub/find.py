"""From what a person types to a model file. Not for: fetching itself (``named``, ``repository``)."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["find_model"]


def find_model(text: str | None) -> Path:
    """The file that `text` means: a path that exists, a known name, a name that ``list`` shows, or a repository.

    None is the default model.

    Raises:
        ModelNotFoundError, DownloadError, UnsupportedError: there is none, or it cannot be fetched.
    """
    from llama_bind import hub

    if text is None:
        return hub.resolve_model(hub.DEFAULT_MODEL)
    if Path(text).exists():
        return Path(text)
    if text.lower().endswith(".gguf"):
        # Never asked of the network: most often this is a path with a slip in it.
        listed = [model.path for model in hub.cached_models() if model.name == text]
        return listed[0] if listed else hub.resolve_model(text)
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+(:[\w.-]+)?", text):
        return hub.from_pretrained(text)
    return hub.resolve_model(text)
