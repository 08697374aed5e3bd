"""Reads docstrings in the three common styles: what a function does, and what its arguments are.

Google ("Args:"), numpy ("Parameters" underlined) and Sphinx (":param x:"); what fits none of them is summary only.
Not for: types that a docstring names (annotations say them), or sections about results and errors.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable

__all__ = ["Docstring", "read_docstring"]

_ARGUMENTS = ("args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "attributes", "fields")
_OTHERS = (
    *("returns", "return", "yields", "yield", "raises", "raise", "except", "exceptions", "warns", "receives"),
    *("example", "examples", "note", "notes", "see also", "references", "warning", "warnings", "todo", "methods"),
    "other parameters",
)
_ENTRY = re.compile(r"^\*{0,2}(?P<name>[^\W\d]\w*)\s*(?:\((?P<kind>.*?)\))?\s*:(?:\s+|$)(?P<text>.*)$")
_NUMPY_ENTRY = re.compile(r"^(?P<names>\*{0,2}[^\W\d]\w*(?:\s*,\s*\*{0,2}[^\W\d]\w*)*)\s*(?::.*)?$")
_SPHINX = re.compile(r"^:(?P<field>[a-z]+)(?:\s+(?P<subject>[^:]*))?:\s*(?P<text>.*)$")


@dataclasses.dataclass(frozen=True)
class Docstring:
    """What a docstring says. `text` is all that stands before its sections; `arguments` maps names to descriptions."""

    text: str = ""
    arguments: dict[str, str] = dataclasses.field(default_factory=dict)


def read_docstring(doc: str | None) -> Docstring:
    """Read a docstring as it stands in the source; None reads as an empty one. Never fails."""
    lines = inspect.cleandoc(doc or "").splitlines()
    arguments: dict[str, list[str]] = {}
    kept: list[str] = []
    at, seen = 0, False
    while at < len(lines):
        style = _section(lines, at)
        if style is not None:
            name, start = style
            end = _section_end(lines, start)
            if name in _ARGUMENTS:
                entries = _numpy if start - at == 2 else _google
                entries(lines[start:end], arguments)
            seen, at = True, end
        elif (field := _SPHINX.match(lines[at])) is not None:
            end = _field_end(lines, at)
            _sphinx(field, lines[at + 1 : end], arguments)
            seen, at = True, end
        else:
            if not seen:
                kept.append(lines[at])
            at += 1
    return Docstring(_paragraphs(kept), {name: _one_line(text) for name, text in arguments.items() if _one_line(text)})


def _section(lines: list[str], at: int) -> tuple[str, int] | None:
    """(name in lower case, first line of its text), where a section begins at this line."""
    line = lines[at]
    if line[:1].isspace() or not line:
        return None
    name = line.rstrip().removesuffix(":").lower()
    if name not in _ARGUMENTS and name not in _OTHERS:
        return None
    if at + 1 < len(lines) and re.fullmatch(r"[-=]{3,}\s*", lines[at + 1]):
        return name, at + 2
    return (name, at + 1) if line.rstrip().endswith(":") else None


def _section_end(lines: list[str], start: int) -> int:
    """Google's sections end where a line is not indented, numpy's where another one begins."""
    google = re.fullmatch(r"[-=]{3,}\s*", lines[start - 1]) is None
    google = google and start > 1  # below the first line nothing is known of the indent
    for at in range(start, len(lines)):
        line = lines[at]
        if line.strip() and (_section(lines, at) or _SPHINX.match(line) or (google and not line[:1].isspace())):
            return at
    return len(lines)


def _field_end(lines: list[str], at: int) -> int:
    for end in range(at + 1, len(lines)):
        if not lines[end].strip() or not lines[end][:1].isspace():
            return end
    return len(lines)


def _google(lines: list[str], found: dict[str, list[str]]) -> None:
    """``name (type): text``; deeper lines go on."""
    depth = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    current: list[str] | None = None
    for line in lines:
        entry = _ENTRY.match(line[depth:]) if line[depth:][:1].strip() else None
        if entry is not None:
            current = found.setdefault(entry["name"], [])
            current.append(entry["text"])
        elif current is not None:
            current.append(line.strip())


def _numpy(lines: list[str], found: dict[str, list[str]]) -> None:
    """``name : type`` and then the text, indented; several names may share one text."""
    current: list[list[str]] = []
    for line in lines:
        entry = _NUMPY_ENTRY.match(line) if line[:1].strip() else None
        if entry is not None:
            current = [found.setdefault(name.strip().lstrip("*"), []) for name in entry["names"].split(",")]
        else:
            for texts in current:
                texts.append(line.strip())


def _sphinx(field: re.Match[str], more: list[str], found: dict[str, list[str]]) -> None:
    """``:param type name: text``; indented lines go on."""
    subject = (field["subject"] or "").split()
    if field["field"] in ("param", "parameter", "arg", "argument", "key", "keyword", "ivar", "var") and subject:
        found.setdefault(subject[-1].lstrip("*"), []).extend([field["text"], *(line.strip() for line in more)])


def _paragraphs(lines: list[str]) -> str:
    """Line breaks within a paragraph are those of the source file; lists and code keep theirs."""
    result: list[str] = []
    for line in lines:
        joins = result and result[-1] and line[:1].isalnum() and not re.match(r"\d+[.)]\s", line)
        if joins and not result[-1][:1].isspace():
            result[-1] += " " + line.rstrip()
        else:
            result.append(line.rstrip())
    return "\n".join(result).strip()


def _one_line(texts: Iterable[str]) -> str:
    return " ".join(" ".join(texts).split())
