"""The options of ``params.py`` as command-line flags, derived from the dataclasses: names, words, choices, defaults.

Each can also be set in the environment, as ``LLAMA_BIND_`` and its name in capitals (``LLAMA_BIND_N_CTX=4096``); the
command line wins. Not for: options that only one command has.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_bind.errors import InputError
from llama_bind.options import Option, options_of
from llama_bind.params import ContextParams, LlamaParams, ModelParams, RequestParams, SamplingParams

__all__ = ["CALL", "LOAD", "NOT_IN_CHAT", "TITLES", "Flag", "add_options", "collect", "flags_of"]

LOAD: tuple[type[Any], ...] = (ModelParams, ContextParams, LlamaParams)
"""What a model is loaded with."""
CALL: tuple[type[Any], ...] = (SamplingParams, RequestParams)
"""What one completion is made with."""

NOT_IN_CHAT = frozenset({"echo", "suffix"})
"""Options of plain completions only."""

ENVIRONMENT = "LLAMA_BIND_"

TITLES = {
    ModelParams: "loading the model",
    ContextParams: "context",
    LlamaParams: "model, further",
    SamplingParams: "sampling",
    RequestParams: "generation",
}
"""Headings of the groups of flags."""

_WITHOUT_USE = frozenset(
    ["logits_all", "stream", "n", "priority", "no_perf", "vocab_only", "embedding", "pooling_type", "attention_type"]
)
"""Options that change nothing here (output is always streamed, one text runs at a time) or are for embeddings only."""
_SHORT = {
    "n_ctx": ("-c",),
    "n_threads": ("-t",),
    "n_gpu_layers": ("-ngl",),
    "max_tokens": ("-n",),
    "temperature": ("--temp",),
    "seed": ("-s",),
}
"""Other spellings, those of llama.cpp's own programs."""
_WHOLE = frozenset({"stop", "dry_sequence_breakers"})
"""Lists whose items may contain commas: one item for each use of the flag."""
_FROM_FILE = frozenset({"grammar", "chat_template"})
"""Options whose value is a long text, which ``@FILE`` reads."""
_TRUTH = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


@dataclasses.dataclass(frozen=True)
class Flag:
    """One option on the command line.

    Attributes:
        name: The keyword argument.
        kind: The parts of its annotation without None.
        entry: Its words and limits.
        default: Its default.
    """

    name: str
    kind: frozenset[str]
    entry: Option
    default: Any

    @property
    def string(self) -> str:
        """How it is written: ``--n-ctx``."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether it is written ``--x`` and ``--no-x``, without a value."""
        return self.kind == {"bool"}

    @property
    def is_list(self) -> bool:
        """Whether its value is a list."""
        return any(part.startswith("Sequence[") for part in self.kind)

    @property
    def metavar(self) -> str:
        """What the help shows for the value."""
        words = _words(self.entry)
        if words:
            return "{" + ",".join(words) + "}"
        if self.kind <= {"int"}:
            return "N"
        return "X" if self.kind <= {"float"} or "Sequence[float]" in self.kind else "TEXT"

    @property
    def help(self) -> str:
        """The option's words with its default."""
        text = self.entry.doc
        if self.is_list:
            text += " Repeat it for several." if self.name in _WHOLE else " Separate several with commas."
        if self.name in _FROM_FILE:
            text += " @FILE reads it from a file."
        if self.default is None or self.default in ("", ()):
            return text
        return f"{text} (default: {_shown(self.default)})"

    def parse(self, text: str) -> Any:
        """The value that `text` stands for. Raises `InputError` when it stands for none."""
        if self.entry.choices:
            return self._choice(text)
        if self.is_list:
            items = [_unescape(text)] if self.name in _WHOLE else [t.strip() for t in text.split(",") if t.strip()]
            return tuple(self._number(t, float) for t in items) if "Sequence[float]" in self.kind else tuple(items)
        if self.kind == {"bool"}:
            if text.lower() not in _TRUTH:
                raise InputError(f"{self.name} must be on or off, not {text!r}", param=self.name)
            return _TRUTH[text.lower()]
        if self.kind == {"int"}:
            return self._number(text, int)
        if self.kind == {"float"}:
            return self._number(text, float)
        if "int" in self.kind and text.lstrip("-").isdigit():
            return int(text)
        if self.name in _FROM_FILE and text.startswith("@"):
            return _read(text[1:], self.name)
        return text

    def _number(self, text: str, kind: Callable[[str], Any]) -> Any:
        try:
            return kind(text)
        except ValueError as error:
            wanted = "a whole number" if kind is int else "a number"
            raise InputError(f"{self.name} must be {wanted}, not {text!r}", param=self.name) from error

    def _choice(self, text: str) -> Any:
        for choice in self.entry.choices:
            if text.lower() == str(choice).lower():
                return choice
        if text.lower() in _TRUTH and _TRUTH[text.lower()] in self.entry.choices and "bool" in self.kind:
            return _TRUTH[text.lower()]
        raise InputError(f"{self.name} must be one of {', '.join(_words(self.entry))}, not {text!r}", param=self.name)


def _words(entry: Option) -> list[str]:
    """The choices as people write them: words where there are words, else the numbers."""
    words = [c for c in entry.choices if isinstance(c, str)]
    if words:
        has_truth = any(isinstance(c, bool) for c in entry.choices)
        return [*words, *([] if "on" in words or not has_truth else ["off"])]
    return [str(c) for c in entry.choices]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(repr(v)[1:-1] for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unescape(text: str) -> str:
    r"""``\n``, ``\t`` and ``\\`` as in most languages, since shells make these hard to write."""
    replaced = text.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t")
    return replaced.replace("\0", "\\")


def _read(path: str, name: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name} cannot be read from {path}: {error}", param=name) from error


def flags_of(
    cls: type[Any],
    without: Collection[str] = (),
    *,
    every: bool = False,
    defaults: Mapping[str, Any] | None = None,
) -> list[Flag]:
    """The options of a dataclass that make sense on a command line, less those in `without`.

    Args:
        cls: The dataclass.
        without: Names left out.
        every: Also those that only matter where several texts run or are embedded.
        defaults: Other defaults than the dataclass has.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}
    found = []
    for name, entry in options_of(cls).items():
        if entry.cli and (every or name not in _WITHOUT_USE) and name not in without:
            kind = frozenset(part.strip() for part in str(fields[name].type).split("|")) - {"None"}
            found.append(Flag(name, kind, entry, (defaults or {}).get(name, fields[name].default)))
    return found


def add_options(
    parser: argparse.ArgumentParser,
    classes: Iterable[type[Any]],
    without: Collection[str] = (),
    *,
    titles: Mapping[type[Any], str] = TITLES,
    every: bool = False,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Add a flag for each option of `classes`, in a group for each class; of options with one name, the first.

    `without`, `every`, `defaults`: see `flags_of`.
    """
    added: set[str] = set()
    for cls in classes:
        group = parser.add_argument_group(titles[cls])
        for flag in flags_of(cls, without, every=every, defaults=defaults):
            if flag.name in added:
                continue
            added.add(flag.name)
            keywords: dict[str, Any] = {
                "dest": flag.name,
                "default": argparse.SUPPRESS,
                "help": flag.help.replace("%", "%%"),
            }
            if flag.is_switch:
                # A name that says no already (no_host) has no opposite form.
                negative = flag.name.startswith("no_")
                keywords["action"] = "store_true" if negative else argparse.BooleanOptionalAction
            else:
                keywords["action"] = "extend" if flag.is_list else "store"
                keywords |= {"metavar": flag.metavar, "type": _typed(flag)}
            group.add_argument(flag.string, *_SHORT.get(flag.name, ()), **keywords)


def _typed(flag: Flag) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return flag.parse(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def collect(
    arguments: argparse.Namespace, classes: Sequence[type[Any]], without: Collection[str] = (), *, every: bool = False
) -> dict[str, Any]:
    """The keyword arguments that were given on the command line or, failing that, in the environment."""
    given: dict[str, Any] = {}
    for cls in classes:
        for flag in flags_of(cls, without, every=every):
            if hasattr(arguments, flag.name):
                given[flag.name] = getattr(arguments, flag.name)
            elif os.environ.get(ENVIRONMENT + flag.name.upper()):
                given[flag.name] = flag.parse(os.environ[ENVIRONMENT + flag.name.upper()])
    return given
