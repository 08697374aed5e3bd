"""The model that a command works on, loaded as the user asked.

Not for: finding its file (``hub``).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from llama_bind import hub
from llama_bind.cli.options import LOAD, collect
from llama_bind.hub.find import find_model
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


def open_model(arguments: argparse.Namespace, **more: Any) -> Llama:
    """Load the model that was asked for, with the options that were given; `more` are defaults under those."""
    path = find_model(arguments.model)
    from llama_bind.llama import Llama

    options: dict[str, Any] = {**more, **collect(arguments, LOAD)}
    size = path.stat().st_size if path.is_file() else 0
    with progress_bar(f"loading {path.name}", size, enabled=size >= SLOW_TO_LOAD) as update:
        return Llama(path, **{"progress_callback": lambda share: update(int(share * size)), **options})
