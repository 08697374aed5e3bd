"""Continue a text with a model and write it to standard output as it is generated.

The prompt is the argument, or standard input where there is none or it is ``-``. Not for: chat (``run``).
"""

from __future__ import annotations

import argparse
import sys

from llama_bind.cli.models import add_model_option, open_model
from llama_bind.cli.options import CALL, LOAD, add_options, collect
from llama_bind.cli.streams import Figures, read_text, write_text
from llama_bind.errors import InputError

__all__ = ["add_arguments", "execute", "read_argument"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="The text to continue; - reads standard input.")
    add_model_option(parser)
    parser.add_argument("--stats", action="store_true", help="Write tokens per second to standard error at the end.")
    add_options(parser, (*CALL, *LOAD))


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    prompt = read_argument(arguments.prompt, "prompt")
    options = collect(arguments, CALL)
    figures = Figures()
    with open_model(arguments) as llm:
        text = write_text(read_text(llm.create_completion(prompt, stream=True, **options), figures))
    if sys.stdout.isatty() and not text.endswith("\n"):
        print()
    if arguments.stats:
        print(figures, file=sys.stderr)
    return 0


def read_argument(given: str | None, what: str) -> str:
    """A text argument, or all of standard input where it is ``-`` or was left out."""
    if given is not None and given != "-":
        return given
    if given is None and sys.stdin.isatty():
        raise InputError(f"give the {what}, or - to read it from standard input", param=what)
    return sys.stdin.read()
