"""The documents, and the code blocks in them, read with a Markdown parser."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]


JUDGED = frozenset({"docs/integrations.md"})
"""Pages whose Python blocks import frameworks of others: ``tests/judges`` runs them."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced code block. `line` is the number of its first line of code in `page`, counted from 1."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def pages() -> list[Path]:
    """The documents whose code blocks are tested."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a document, wherever they are nested. Indented ones without a fence have the language
    "indented".
    """
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        if token.type not in ("fence", "code_block"):
            continue
        assert token.map is not None
        language = token.info.strip() if token.type == "fence" else "indented"
        yield Block(page, token.map[0] + (2 if token.type == "fence" else 1), language, token.content)


def name_of(page: Path) -> str:
    """A document's path in the project."""
    return page.relative_to(ROOT).as_posix()
