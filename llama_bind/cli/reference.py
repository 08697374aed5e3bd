"""Writes the reference of the command line as Markdown: ``python -m codegen``.

From the parsers themselves, so it cannot say anything else than the program does.
Not for: ``--help``, which is argparse's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from llama_bind.cli import COMMANDS, command_module, command_parser
from llama_bind.cli.options import TITLES
from llama_bind.cli.parser import Parser

__all__ = ["markdown"]

_SHARED = frozenset(TITLES.values())

_INTRODUCTION = """\
# The command line

`llama-bind` comes with the package; `python -m llama_bind` is the same. The extra `llama-bind[cli]` adds colour and
progress bars, `llama-bind[hub]` fetching from Hugging Face; everything else works without them.

```sh
llama-bind run                                # chat with the default model, which is fetched once
llama-bind run model.gguf --system "Be brief" --temperature 0.2
echo "Once upon a time" | llama-bind complete -n 64
llama-bind pull owner/name:Q4_K_M             # a Hugging Face repository
llama-bind doctor                             # what is installed, what is missing
```

The exit status is 0, 1 for an error, 2 for a wrong call, 130 after Ctrl-C. An error is one line on standard error;
`--debug` shows where it comes from.

Options of models, contexts and sampling have the names of the Python keyword arguments, with hyphens or underscores.
Each can also come from the environment: `LLAMA_BIND_N_CTX=4096` is `--n-ctx 4096`; the command line wins.

This page is written by `python -m codegen`.
"""

_SHARED_OPTIONS = """\
## Options of `run`, `complete` and `serve`

`demo` takes those of sampling. `serve` takes those of sampling and generation as defaults for requests that do not say;
some of its defaults are others (see [server](server.md)).
"""


def markdown() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    parts += [_command(name) for name in COMMANDS]
    parts.append(_SHARED_OPTIONS)
    groups = [g for g in command_parser("complete")._action_groups if g.title in _SHARED]
    parts += [f"### {group.title}\n\n{_rows(group._group_actions)}" for group in groups]
    return "\n".join(parts)


def _command(name: str) -> str:
    parser = command_parser(name)
    details = " ".join((command_module(name).__doc__ or "").split()).replace("``", "`")
    lines = [f"## llama-bind {name}", "", details, ""]
    lines += ["```", f"llama-bind {name} {_usage(parser)}".rstrip(), "```", ""]
    own = [a for g in parser._action_groups if g.title not in _SHARED for a in g._group_actions]
    return "\n".join([*lines, _rows(own)])


def _rows(actions: Sequence[argparse.Action]) -> str:
    rows = [_row(action) for action in actions if action.dest != "help"]
    return "\n".join(["| | |", "|---|---|", *rows, ""])


def _usage(parser: Parser) -> str:
    names = [str(a.metavar) if a.nargs != "?" else f"[{a.metavar}]" for a in parser._actions if not a.option_strings]
    return " ".join([*names, "[options]"])


def _row(action: argparse.Action) -> str:
    if action.option_strings:
        value = "" if action.nargs == 0 or action.metavar is None else f" {action.metavar}"
        written = ", ".join(f"`{option}{value}`" for option in action.option_strings)
    else:
        written = f"`{action.metavar}`"
    words = (action.help or "").replace("%%", "%").replace("|", "\\|").replace("*", "\\*")
    return f"| {written} | {words} |"


if __name__ == "__main__":
    print(markdown(), end="")
