"""List the models on this machine: in the cache folder, in installed packages, in Hugging Face's cache.

Not for: what a file holds (``info``).
"""

from __future__ import annotations

import argparse

from llama_bind import hub
from llama_bind.cli.console import print_json, print_table
from llama_bind.hub.progress import human_size

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--known", action="store_true", help="List the names that `llama-bind pull` knows instead.")
    parser.add_argument("--json", action="store_true", help="Write JSON.")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.known:
        return _known(arguments.json)
    models = hub.cached_models()
    if arguments.json:
        print_json([{"name": m.name, "size": m.size, "source": m.source, "path": str(m.path)} for m in models])
    elif models:
        print_table(
            ("NAME", "SIZE", "IN", "PATH"), ((m.name, human_size(m.size), m.source, m.path) for m in models), right=(1,)
        )
    else:
        print(f"No models in {hub.cache_folder()}; `llama-bind pull {hub.DEFAULT_MODEL}` fetches one.")
    return 0


def _known(as_json: bool) -> int:
    if as_json:
        print_json(
            [
                {"name": m.name, "aliases": m.aliases, "size": m.size, "license": m.license, "sha256": m.sha256}
                for m in hub.KNOWN_MODELS
            ]
        )
    else:
        rows = ((m.name, ", ".join(m.aliases), human_size(m.size), m.license) for m in hub.KNOWN_MODELS)
        print_table(("NAME", "ALSO", "SIZE", "LICENSE"), rows, right=(2,))
    return 0
