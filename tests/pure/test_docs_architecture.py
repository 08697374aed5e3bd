"""The documents agree with the package: options, links, names of modules, errors and the pin."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from codegen import options_page
from llama_bind import errors
from llama_bind.lib import _pin
from llama_bind.version import __version__
from tests.docs.pages import ROOT, name_of, pages

ALL = [*pages(), ROOT / "CHANGELOG.md"]
MODULE = re.compile(r"`((?:[a-z0-9_]+/)*[a-z0-9_]+\.py)`")


def test_every_option_is_on_the_page() -> None:
    from llama_bind.options import options_of

    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    for _, _, classes in options_page.SECTIONS:
        for cls in classes:
            for name in options_of(cls):
                assert f"| `{name}` |" in text


def test_the_architecture_names_every_module_once() -> None:
    """And no module that is not there."""
    package = ROOT / "llama_bind"
    there = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    named = sorted(name for row in rows for name in MODULE.findall(row.split(" | ")[0]))
    assert not set(there) - set(named), f"no row in docs/architecture.md: {sorted(set(there) - set(named))}"
    assert not set(named) - set(there), f"in docs/architecture.md, but gone: {sorted(set(named) - set(there))}"
    assert named == there, "docs/architecture.md names a module twice"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    titles = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    inline = [child for token in tokens for child in token.children or ()]
    for link in (str(child.attrs["href"]) for child in inline if child.type == "link_open"):
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name_of(page)} links to {link}"


def test_the_index_has_every_page() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in text, f"docs/index.md does not name {page.name}"


def test_the_guide_draws_the_tree_of_errors() -> None:
    text = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^((?:[│ ]   )*(?:[├└]── )?)(\w+Error)\b", text, re.MULTILINE)
    path: list[str] = []
    for indent, name in drawn:
        path[len(indent) // 4 :] = [name]
        cls = getattr(errors, name)
        assert len(path) == 1 or path[-2] == cls.__bases__[0].__name__, name
    assert {name for _, name in drawn} == set(errors.__all__)


def test_the_installation_page_names_only_errors_that_exist() -> None:
    text = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    for name in re.findall(r"`(\w+Error)`", text):
        assert hasattr(errors, name)


def test_the_changelog_names_the_version_and_its_llama_cpp() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = text.split("\n## ")[1]
    assert newest.startswith(__version__)
    assert _pin.COMMIT in newest


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 100


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_no_page_shows_a_path_of_somebodys_machine(page: Path) -> None:
    assert not re.search(r"/(r[o]ot|home/\w+|Users/\w+)/|C:\\\\Users", page.read_text(encoding="utf-8"))


def test_examples_are_listed_and_compile() -> None:
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    found = sorted((ROOT / "examples").glob("*.py"))
    assert found
    for path in found:
        assert f"[{path.name}]({path.name})" in listed, f"examples/README.md does not name {path.name}"
    done = subprocess.run([sys.executable, "-m", "compileall", "-q", str(ROOT / "examples")], timeout=60, check=False)
    assert done.returncode == 0
