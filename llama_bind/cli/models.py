"""The model that a command works on: from what the user typed to a file, and to a loaded `Llama`.

Not for: fetching itself (``hub``).
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_bind import hub
from llama_bind.cli.options import LOAD, collect
from llama_bind.hub.progress import progress_bar

if TYPE_CHECKING:
    from llama_bind.llama import Llama

SLOW_TO_LOAD = 500_000_000
"""Bytes from which on a bar is drawn while a model loads; smaller ones are there before it could be read."""

__all__ = ["MODEL_HELP", "add_model_option", "find_model", "open_model"]

MODEL_HELP = (
    "A GGUF file, a known name, a name that `llama-bind list` shows, or a Hugging Face repository as owner/name or "
    f"owner/name:Q4_K_M. Unset: {hub.DEFAULT_MODEL}, which is fetched once."
)


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Add ``-m MODEL``."""
    parser.add_argument("-m", "--model", metavar="MODEL", help=MODEL_HELP)


def find_model(text: str | None) -> Path:
    """The file that `text` means: a path that exists, a known name, a name that ``list`` shows, or a repository.

    Raises:
        ModelNotFoundError, DownloadError, UnsupportedError: there is none, or it cannot be fetched.
    """
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


def open_model(arguments: argparse.Namespace, **more: Any) -> Llama:
    """Load the model that was asked for, with the options that were given; `more` are defaults under those."""
    path = find_model(arguments.model)
    from llama_bind.llama import Llama

    options: dict[str, Any] = {**more, **collect(arguments, LOAD)}
    size = path.stat().st_size if path.is_file() else 0
    with progress_bar(f"loading {path.name}", size, enabled=size >= SLOW_TO_LOAD) as update:
        return Llama(path, **{"progress_callback": lambda share: update(int(share * size)), **options})
