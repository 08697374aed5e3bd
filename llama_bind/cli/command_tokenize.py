"""Show the tokens of a text: ids and pieces.

Not for: whole corpora; the text and its tokens are held in memory.
"""

from __future__ import annotations

import argparse

from llama_bind.cli.command_complete import read_argument
from llama_bind.cli.console import print_json, print_table, visible
from llama_bind.cli.models import add_model_option, open_model

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("text", nargs="?", metavar="TEXT", help="The text; - reads standard input.")
    add_model_option(parser)
    parser.add_argument("--ids", action="store_true", help="Write only the ids, in one line.")
    parser.add_argument("--json", action="store_true", help="Write JSON.")
    parser.add_argument("--special", action="store_true", help="Take names of control tokens in the text as those.")
    parser.add_argument(
        "--bos", action=argparse.BooleanOptionalAction, default=True, help="Add the special tokens that begin a text."
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    text = read_argument(arguments.text, "text")
    with open_model(arguments, vocab_only=True) as llm:
        ids = llm.tokenize(text, add_bos=arguments.bos, special=arguments.special)
        pieces = [llm.model.vocab.token_to_piece(token, special=True) for token in ids]
    shown = [piece.decode("utf-8", "backslashreplace") for piece in pieces]
    if arguments.json:
        print_json([{"id": token, "piece": piece} for token, piece in zip(ids, shown, strict=True)])
    elif arguments.ids:
        print(*ids)
    else:
        print_table(("ID", "PIECE"), ((i, visible(repr(p)[1:-1])) for i, p in zip(ids, shown, strict=True)), right=(0,))
    return 0
