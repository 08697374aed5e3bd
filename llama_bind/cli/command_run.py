"""Chat with a model in the terminal: answers are streamed, /help lists the commands, Ctrl-C stops an answer.

Without a terminal each line of standard input is one message. Not for: single texts (``complete``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from llama_bind.cli.conversation import Conversation, Quit
from llama_bind.cli.models import MODEL_HELP, open_model
from llama_bind.cli.options import CALL, LOAD, NOT_IN_CHAT, add_options, collect
from llama_bind.cli.streams import write_text
from llama_bind.errors import ContextOverflowError, LlamaBindError

__all__ = ["add_arguments", "chat", "execute"]

PROMPT, CONTINUED = "> ", "... "
FENCE = '"""'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--system", metavar="TEXT", help="The system prompt.")
    parser.add_argument("--stats", action="store_true", help="Show tokens per second after each answer.")
    add_options(parser, (*CALL, *LOAD), NOT_IN_CHAT)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    options = collect(arguments, CALL)
    # A fixed seed is the model's: each answer then has its own, and the whole conversation can be repeated.
    options.pop("seed", None)
    with open_model(arguments) as llm:
        return chat(Conversation(llm, arguments.system, options), show_stats=arguments.stats)


def chat(conversation: Conversation, *, show_stats: bool = False) -> int:
    """Read and answer until the input ends; the exit status: 1 when a line of a script failed, else 0."""
    interactive = sys.stdin.isatty()
    status = 0
    if interactive:
        _enable_editing()
        print("/help lists the commands, Ctrl-D ends.")
    while True:
        try:
            message = _read_message(interactive)
        except EOFError:
            if interactive:
                print()
            return status
        except KeyboardInterrupt:
            if not interactive:
                raise
            print()  # as in a shell: the line is dropped
            continue
        try:
            if message.strip():
                _answer(conversation, message, show_stats)
        except Quit:
            return status
        except KeyboardInterrupt:
            if not interactive:
                raise
            print("\n[stopped]")
        except LlamaBindError as error:
            hint = "; /reset forgets the conversation" if isinstance(error, ContextOverflowError) else ""
            print(f"error: {error}{hint}", file=sys.stderr)
            status = 0 if interactive else 1


def _answer(conversation: Conversation, message: str, show_stats: bool) -> None:
    if message.startswith("/"):
        result = conversation.command(message)
        if isinstance(result, str):
            print(result)
            return
    else:
        result = conversation.ask(message)
    _show(result)
    if show_stats:
        print(f"[{conversation.figures}]", file=sys.stderr)


def _show(pieces: Iterator[str]) -> None:
    try:
        write_text(pieces)
    finally:
        # Ctrl-C may have hit between two pieces: closing keeps what was answered and cancels the request.
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
    print(flush=True)


def _read_message(interactive: bool) -> str:
    """One line, or the lines between two fences."""
    line = _read_line(PROMPT, interactive)
    if not line.startswith(FENCE):
        return line
    lines = [line[len(FENCE) :]]
    while not lines[-1].rstrip().endswith(FENCE):
        lines.append(_read_line(CONTINUED, interactive))
    lines[-1] = lines[-1].rstrip()[: -len(FENCE)]
    return "\n".join(lines).strip("\n")


def _read_line(prompt: str, interactive: bool) -> str:
    if interactive:
        return input(prompt)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _enable_editing() -> None:
    """Importing readline gives `input` line editing and a history of this session, where Python has it."""
    try:
        import readline  # noqa: F401
    except ImportError:
        return  # Windows: the console edits lines by itself
