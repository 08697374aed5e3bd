"""The files of the chat page as answers: their types, their fingerprints, and what a browser may do with them.

The page is source as it is served, without a build step, and needs nothing from elsewhere. Not for: what it does (see
``page/``), or routes (``routes.page``).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from importlib import resources

__all__ = ["HEADERS", "INDEX", "PREFIX", "PageFile", "page_files", "page_paths"]

INDEX = "index.html"
PREFIX = "/page/"
"""Where the files lie that the page names; the page itself is ``/``."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # kept, and asked for again by its fingerprint: a new version is there at once
}
"""What every file is sent with. Nothing but the page's own files runs, and no text can become markup."""


@dataclasses.dataclass(frozen=True)
class PageFile:
    """One file. `etag`: its fingerprint, quoted as the header wants it."""

    content: bytes
    media_type: str
    etag: str


@functools.cache
def page_files() -> Mapping[str, PageFile]:
    """The files by their names, read once."""
    found = {}
    for entry in (resources.files("llama_bind.server") / "page").iterdir():
        media_type = TYPES.get("." + entry.name.rpartition(".")[2])
        if media_type is not None:
            content = entry.read_bytes()
            found[entry.name] = PageFile(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


def page_paths() -> frozenset[str]:
    """The paths that the page is made of: they hold nothing secret, and are open where keys are set."""
    return frozenset({"/", *(PREFIX + name for name in page_files() if name != INDEX)})
