"""Serve a model over HTTP, as OpenAI's API: completions, chat, embeddings, ranks, tokens, metrics.

`python -m llama_bind.server` is the same. An option is taken from the command line, else from the environment, else
from the configuration file. Not for: chatting in the terminal (``run``).
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from llama_bind.cli.models import MODEL_HELP
from llama_bind.cli.options import TITLES, add_options, collect
from llama_bind.errors import UnsupportedError
from llama_bind.params import ChatParams, RequestParams, SamplingParams
from llama_bind.server.config_file import read_config
from llama_bind.server.params import ServerParams
from llama_bind.server.settings import DEFAULTS, LOAD, NOT_A_DEFAULT, Settings

__all__ = ["CLASSES", "WITHOUT", "add_arguments", "execute", "settings_of"]

CLASSES: tuple[type[Any], ...] = (ServerParams, *LOAD, SamplingParams, RequestParams, ChatParams)
WITHOUT = NOT_A_DEFAULT - {"seed"} | {"vocab_only", "logits_all", "no_perf"}
TITLES_HERE = {
    **TITLES,
    ServerParams: "server",
    ChatParams: "chats",
}
CONFIG = "LLAMA_BIND_CONFIG"
MODEL = "LLAMA_BIND_MODEL"
NEEDED = ("fastapi", "uvicorn", "pydantic", "prometheus_client")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("given_model", nargs="?", metavar="MODEL", help="The same as --model.")
    parser.add_argument("-m", "--model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--config", metavar="FILE", help="Options by name, in TOML, JSON or YAML; `model` among them.")
    add_options(parser, CLASSES, WITHOUT, titles=TITLES_HERE, every=True, defaults=DEFAULTS)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    settings = settings_of(arguments)
    try:
        from llama_bind.server.run import run
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        raise UnsupportedError(f'the server needs {error.name}: pip install "llama-bind[server]"') from error
    return run(settings)


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings that arguments, environment and configuration file make together."""
    path = arguments.config or os.environ.get(CONFIG)
    given = {} if not path else read_config(path)
    model = arguments.model or arguments.given_model or os.environ.get(MODEL) or given.pop("model", None)
    given.pop("model", None)
    return Settings.of(model, **{**given, **collect(arguments, CLASSES, WITHOUT, every=True)})
