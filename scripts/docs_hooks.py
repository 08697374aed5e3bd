"""For mkdocs: files of the repository's root as pages of the site, and links to files that are no pages.

The pages are written to be read in the repository, where ``../CHANGELOG.md`` leads somewhere. Not for: their contents.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

__all__ = ["linked", "on_files", "on_page_markdown"]

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}
"""File of the root -> page of the site."""
_LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside of docs."""
    file: Any = importlib.import_module("mkdocs.structure.files").File  # only where the site is built
    for name, page in PAGES.items():
        if page != "index.md":
            text = (ROOT / name).read_text(encoding="utf-8")
            files.append(file.generated(config, page, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that lead somewhere on the site."""
    return linked(markdown, Path(page.file.src_uri).name)


def linked(markdown: str, page: str) -> str:
    """`markdown` with links to files of the root as links to their pages; what is no page is named without a link."""
    at_root = page in PAGES.values() and page != "index.md"

    def target(match: re.Match[str]) -> str:
        text, path, anchor = match[1], match[2], match[3] or ""
        if "://" in path:
            return match[0]
        plain = path.removeprefix("../")
        if plain in PAGES and (at_root or path.startswith("../")):
            return f"[{text}]({PAGES[plain]}{anchor})"
        if path.startswith("../") or (at_root and not (ROOT / "docs" / plain).is_file()):
            return text if "`" in text else f"`{plain}`" if text == plain else f"{text} (`{plain}`)"
        return match[0]

    return _LINK.sub(target, markdown)
