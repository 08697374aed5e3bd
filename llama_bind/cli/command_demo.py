"""Have the default model tell a joke, streamed, with the tokens per second at the end.

Not for: anything else; it shows that the installation works.
"""

from __future__ import annotations

import argparse

from llama_bind.cli.models import add_model_option, open_model
from llama_bind.cli.options import add_options, collect
from llama_bind.cli.streams import Figures, read_text, write_text
from llama_bind.params import SamplingParams

__all__ = ["add_arguments", "execute"]

QUESTION = "Tell me a joke about computers."
EXAMPLES = (
    ("Tell me a joke.", "Why did the scarecrow win an award? Because he was outstanding in his field!"),
    ("Tell me another one.", "Why don't scientists trust atoms? Because they make up everything!"),
)
"""What was said before: the default model is very small, and has to be shown what a joke is."""
DEFAULTS = {"max_tokens": 128, "temperature": 0.6}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_model_option(parser)
    add_options(parser, (SamplingParams,))


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    options = {**DEFAULTS, **collect(arguments, (SamplingParams,))}
    messages = [
        {"role": role, "content": text}
        for pair in (*EXAMPLES, (QUESTION,))
        for role, text in zip(("user", "assistant"), pair, strict=False)
    ]
    figures = Figures()
    with open_model(arguments) as llm:
        print(f"> {QUESTION}\n", flush=True)
        write_text(read_text(llm.create_chat_completion(messages, stream=True, **options), figures))
    print(f"\n\n{figures}")
    return 0
