"""The site: links that the repository has, the menu, and the page of errors. `make site` builds it strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llama_bind import errors
from scripts.docs_hooks import linked

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("guide.md", "[Changes](../CHANGELOG.md#a)", "[Changes](changelog.md#a)"),
        ("guide.md", "[Server](server.md#keys)", "[Server](server.md#keys)"),
        ("guide.md", "[`examples`](../examples/README.md)", "`examples`"),
        ("guide.md", "[the examples](../examples)", "the examples (`examples`)"),
        ("guide.md", "[site](https://example.com/../x)", "[site](https://example.com/../x)"),
        ("contributing.md", "[Changes](CHANGELOG.md)", "[Changes](changelog.md)"),
        ("contributing.md", "[Guide](guide.md)", "[Guide](guide.md)"),
        ("contributing.md", "[the tests](tests/pure)", "the tests (`tests/pure`)"),
    ],
)
def test_links_of_the_repository_lead_somewhere_on_the_site(page: str, text: str, expected: str) -> None:
    assert linked(f"See {text}.", page) == f"See {expected}."


def test_every_page_is_in_the_menu() -> None:
    menu = yaml.safe_load((DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = [page for part in menu for pages in part.values() for page in pages]
    assert len(listed) == len(set(listed))
    assert {path.name for path in DOCS.glob("*.md")} | {"contributing.md", "changelog.md"} == set(listed)


def test_every_error_is_explained_once() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip().strip("`") for line in page.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(set(errors.__all__) - {"LlamaBindError"})
