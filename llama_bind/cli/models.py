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

if TYPE_CHECKING:
    from llama_bind.llama import Llama

__all__ = ["MODEL_HELP", "add_model_option", "find_model", "open_model"]

MODEL_HELP = (
    "A GGUF file, a known name, or a Hugging Face repository as owner/name, owner/name:Q4_K_M or owner/name/file.gguf. "
    f"Unset: {hub.DEFAULT_MODEL}, which is fetched once."
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
    match = re.fullmatch(r"(?P<repository>[\w.-]+/[\w.-]+?)(?P<quantization>:[\w.-]+)?(?P<file>/.+\.gguf)?", text)
    if match is None or (text.lower().endswith(".gguf") and match["file"] is None) or text.startswith("."):
        return hub.resolve_model(text)
    repository = match["repository"] + (match["quantization"] or "")
    return hub.from_pretrained(repository, match["file"][1:] if match["file"] else None)


def open_model(arguments: argparse.Namespace, **more: Any) -> Llama:
    """Load the model that was asked for, with the options that were given; `more` are defaults under those."""
    path = find_model(arguments.model)
    from llama_bind.llama import Llama

    options: dict[str, Any] = {**more, **collect(arguments, LOAD)}
    return Llama(path, **options)
