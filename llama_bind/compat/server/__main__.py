"""``python -m llama_cpp.server``: llama-cpp-python's flags, and those of ``llama-bind serve``. Not for: importing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from llama_bind.cli import command_parser
from llama_bind.cli.command_serve import CLASSES, WITHOUT
from llama_bind.cli.options import collect
from llama_bind.compat.server.app import read_config_file
from llama_bind.compat.server.settings import MODEL, SERVER, ModelSettings, ServerSettings, read_text, translated
from llama_bind.errors import LlamaBindError
from llama_bind.server.settings import Settings

__all__ = ["main", "settings_of"]


def settings_of(argv: Sequence[str]) -> Settings:
    """The settings that flags, environment and configuration file make together.

    Raises:
        InputError: a value; ends the program for a flag that neither of the two servers has.
    """
    parser = argparse.ArgumentParser(prog="llama_cpp.server", allow_abbrev=False, add_help=False)
    for name in (*SERVER, *MODEL):
        spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*spellings, dest=name, default=argparse.SUPPRESS, nargs="*", metavar="VALUE")
    parser.add_argument("--config_file", "--config-file", dest="config_file")
    known, rest = parser.parse_known_args(list(argv))
    path = os.environ.get("CONFIG_FILE") or vars(known).pop("config_file", None)
    vars(known).pop("config_file", None)
    parsed = command_parser("serve").parse_args(rest)
    further = collect(parsed, CLASSES, WITHOUT, every=True)
    if path:
        server, models = read_config_file(path)
        return translated(server, models, further)
    given = {name: _value(name, texts) for name, texts in vars(known).items()}
    model = ModelSettings(**{name: value for name, value in given.items() if name in MODEL})
    if parsed.model or parsed.given_model:
        model.given.setdefault("model", parsed.model or parsed.given_model)
    return translated(ServerSettings(**{n: v for n, v in given.items() if n in SERVER}), [model], further)


def _value(name: str, texts: Sequence[str]) -> object:
    """``--flag``, ``--flag value`` and ``--flag one two``."""
    kind = SERVER.get(name) or MODEL[name]
    return read_text(name, kind, ",".join(texts) if texts else "true")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end; gives the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        settings = settings_of(arguments)
        from llama_bind.server.run import run

        return run(settings)
    except (LlamaBindError, OSError) as error:
        print(f"llama_cpp.server: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
