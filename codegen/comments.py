"""Comments of a C header as documentation of what they stand next to.

libclang attaches only doxygen comments; these headers mostly use plain ones, so the text is read here: the comment
lines directly above a declaration, and the one behind it together with its continuation lines in the same column.
"""

from __future__ import annotations

import re
from pathlib import Path


class Comments:
    """The comments of one file."""

    def __init__(self, path: Path) -> None:
        self._lines = path.read_text(encoding="utf-8").splitlines()
        self._is_comment = self._mark()
        self._used: set[int] = set()

    def of(self, first: int, last: int) -> str:
        """The documentation of a declaration on lines ``first`` to ``last`` (from 1), trailing comment included."""
        above: list[str] = []
        line = first - 1
        while line >= 1 and self._is_comment[line] and line not in self._used:
            above.insert(0, self._lines[line - 1])
            line -= 1
        return clean([*above, *self._behind(last)])

    def _behind(self, line: int) -> list[str]:
        text = self._lines[line - 1]
        found = re.search(r"[;,{})\w]\s*(//.*|/\*.*\*/\s*)$", text)
        if not found:
            return []
        column = found.start(1)
        comment = [text[column:]]
        while line < len(self._lines):
            following = self._lines[line]
            # Two columns of tolerance: continuation lines are not always aligned exactly.
            indent = len(following) - len(following.lstrip())
            if not following.lstrip().startswith("//") or abs(indent - column) > 2:
                break
            comment.append(following)
            line += 1
            self._used.add(line)
        return comment

    def _mark(self) -> list[bool]:
        """Which lines (from 1) hold only comment."""
        marks = [False]
        inside = False
        for text in self._lines:
            bare = text.strip()
            if inside:
                marks.append(True)
                inside = "*/" not in bare
            elif bare.startswith("/*"):
                inside = "*/" not in bare
                marks.append(inside or bare.endswith("*/"))
            else:
                marks.append(bare.startswith("//"))
        return marks


def clean(lines: list[str]) -> str:
    """Comment lines without their markers, notes to upstream's authors, and common indentation."""
    result: list[str] = []
    for line in lines:
        text = re.sub(r"^\s*(///?<?|/\*+<?|\*(?!/))", "", line)
        text = re.sub(r"\*/\s*$", "", text).rstrip()
        text = re.sub(r"^ ?@details\s+", " ", text)
        text = re.sub(r"(?i)\s*(//\s*)?\btodo\b.*$", "", text)
        result.append(text)
    indents = [len(text) - len(text.lstrip()) for text in result if text.strip()]
    common = min(indents, default=0)
    result = [text[common:] for text in result]
    while result and not re.search(r"\w", result[0]):
        result.pop(0)
    while result and not re.search(r"\w", result[-1]):
        result.pop()
    return "\n".join(result).strip()
