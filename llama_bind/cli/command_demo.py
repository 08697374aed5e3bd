"""Have the default model tell a joke, streamed, with the tokens per second at the end.

Not for: anything else; it shows that the installation works.
"""

from __future__ import annotations

import argparse
import sys

from llama_bind.cli.models import add_model_option, open_model
from llama_bind.cli.options import add_options, collect
from llama_bind.cli.streams import Figures, read_text, write_text
from llama_bind.params import SamplingParams

__all__ = ["add_arguments", "execute"]

QUESTION = "Tell me a short joke."
MAX_TOKENS = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_model_option(parser)
    add_options(parser, (SamplingParams,))


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    options = {"max_tokens": MAX_TOKENS, **collect(arguments, (SamplingParams,))}
    figures = Figures()
    with open_model(arguments) as llm:
        print(f"> {QUESTION}\n", flush=True)
        chunks = llm.create_chat_completion([{"role": "user", "content": QUESTION}], stream=True, **options)
        write_text(read_text(chunks, figures))
    print(f"\n\n{figures}")
    sys.stdout.flush()
    return 0
