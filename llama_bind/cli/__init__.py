"""The command ``llama-bind``: one module for each subcommand, imported when it is asked for.

Not for: what the subcommands do, nor for use as a library (`llama_bind` is).
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from llama_bind.cli.parser import Parser
from llama_bind.errors import LlamaBindError
from llama_bind.options import nearest
from llama_bind.version import __version__

__all__ = ["COMMANDS", "command_module", "command_parser", "main"]

COMMANDS = {
    "run": "Chat with a model in the terminal.",
    "complete": "Continue a text.",
    "serve": "Serve a model over HTTP, as OpenAI's API.",
    "demo": "Have the default model tell a joke.",
    "pull": "Fetch a model.",
    "list": "List the models on this machine.",
    "info": "Show the metadata and tensors of a model file.",
    "tokenize": "Show the tokens of a text.",
    "doctor": "Show the installation: libraries, CPU, devices, and what is missing.",
}
"""Command -> what it does in one line. Its module is ``llama_bind.cli.command_NAME``."""

PROGRAM = "llama-bind"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit status: 0, 1 for an error, 2 for a wrong call, 130 for Ctrl-C.

    Args:
        argv: The arguments without the program's name; None: those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        if debug:
            raise
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone (`llama-bind complete ... | head`): nothing more can or need be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LlamaBindError, OSError) as error:
        if debug:
            raise
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 1


def _dispatch(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a substitute instead of an end of the program.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = _main_parser()
    name = arguments[0] if arguments else "--help"
    if name not in COMMANDS:
        if not name.startswith("-"):
            close = nearest(name, COMMANDS)
            hint = f"did you mean {close!r}?" if close else "`llama-bind --help` lists the commands"
            return parser.fail(f"there is no command {name!r}; {hint}")
        parser.parse_args([name])  # --help and --version end here, anything else is refused
        return parser.fail("name a command")
    parsed = command_parser(name).parse_args(arguments[1:])
    status: int = command_module(name).execute(parsed)
    return status


def command_module(name: str) -> ModuleType:
    """The module of a command: it has ``add_arguments(parser)`` and ``execute(arguments) -> int``."""
    return importlib.import_module(f"llama_bind.cli.command_{name}")


def command_parser(name: str) -> Parser:
    """The parser of a command's arguments."""
    module = command_module(name)
    parser = Parser(prog=f"{PROGRAM} {name}", description=(module.__doc__ or "").split("\n\n")[0])
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="Show where an error comes from.")
    return parser


def _main_parser() -> Parser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, line in COMMANDS.items()]
    parser = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} COMMAND [options]",
        description="Run GGUF models with llama.cpp.",
        epilog="\n".join(["commands:", *lines, "", f"`{PROGRAM} COMMAND --help` shows the options of one."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser
