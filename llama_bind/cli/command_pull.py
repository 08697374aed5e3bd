"""Fetch a model by its known name or from a Hugging Face repository, and print where it lies.

Not for: loading it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from llama_bind import hub
from llama_bind.cli.models import find_model
from llama_bind.errors import InputError

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "name",
        metavar="NAME",
        help="A known name (`llama-bind list --known`), or a Hugging Face repository as owner/name or "
        "owner/name:Q4_K_M. Access tokens are taken from where huggingface_hub keeps them.",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="A file of the repository, or a pattern: '*q8_0.gguf'.")
    parser.add_argument("--revision", metavar="NAME", help="A branch, tag or commit of the repository.")
    parser.add_argument("--local-dir", metavar="FOLDER", help="Lay the file down here instead of in the cache.")
    parser.add_argument("--also", metavar="FILE", action="append", default=[], help="Fetch this file as well.")
    parser.add_argument("--offline", action="store_true", help="Use no network: only find what is here already.")
    parser.add_argument("--verify", action="store_true", help="Check the sha256 of a known model that is here.")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    known = hub.find_known(arguments.name)
    if known is not None and arguments.file is None:
        path = hub.resolve_model(arguments.name)
        if arguments.verify:
            hub.verify_model(known, path)
    elif arguments.verify:
        raise InputError("--verify works on known models; what comes from a repository is always checked")
    elif "/" not in arguments.name:
        path = find_model(arguments.name)  # says what names there are
    else:
        path = hub.from_pretrained(
            arguments.name,
            arguments.file,
            revision=arguments.revision,
            local_dir=None if arguments.local_dir is None else Path(arguments.local_dir),
            additional_files=arguments.also,
            local_files_only=arguments.offline,
        )
    print(path)
    return 0
