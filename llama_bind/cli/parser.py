"""An argument parser whose errors are one line that names the nearest option.

Not for: options of models and sampling (``options.py`` adds them).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from llama_bind.options import nearest

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` without abbreviations; underscores in option names count as hyphens."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_args(  # type: ignore[override]  # the overloads of the base class add nothing here
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse all arguments; ends the program with status 2 when one is wrong."""
        given = [_hyphens(a) for a in (sys.argv[1:] if args is None else args)]
        parsed, rest = self.parse_known_args(given, namespace)
        for argument in rest:
            name = argument.partition("=")[0]
            if name.startswith("-"):
                self.error(f"there is no option {name}{self._hint(name)}")
        if rest:
            self.error(f"unexpected argument {rest[0]!r}; quote a text that has spaces")
        return parsed

    def _hint(self, name: str) -> str:
        # Without the leading hyphens, which all options share, the likeness is that of the words.
        known = [option.lstrip("-") for option in self._option_string_actions if option.startswith("--")]
        close = nearest(name.lstrip("-"), known)
        return f"; did you mean --{close}?" if close else f"; `{self.prog} --help` lists them"

    def fail(self, message: str) -> int:
        """Write one line to standard error and give the exit status of a wrong call."""
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        return 2

    def error(self, message: str) -> NoReturn:
        """End the program with one line and status 2."""
        self.exit(self.fail(message))


def _hyphens(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value
