"""Projects to fill and to build from. Fetching from the real network is not tested here: the first build does it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from buildsystem import sources, tree
from buildsystem.pin import MANIFEST, PIN_FILE, ROOT, VENDOR, read_pin
from tests.building.helpers import SMALL, entries_of, without_network


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose pin is the five files above, its vendor folder empty, with no cache, no git and no network."""
    root = tmp_path / "project"
    entries = entries_of(SMALL)
    for folder in (PIN_FILE.parent, MANIFEST.parent, VENDOR):
        (root / folder).mkdir(parents=True)
    real = read_pin()
    text = (ROOT / PIN_FILE).read_text(encoding="utf-8").replace(real.tree, tree.tree_hash(entries))
    (root / PIN_FILE).write_text(text, encoding="utf-8")
    tree.write_manifest(root / MANIFEST, entries)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    without_network(monkeypatch)
    return root


@pytest.fixture(scope="session")
def kept_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder's archive of the real vendored tree."""
    archive = tmp_path_factory.mktemp("cache") / "llama_bind" / f"llama.cpp-{read_pin().tree}.tar.gz"
    archive.parent.mkdir()
    sources.pack(ROOT / VENDOR, archive)
    return archive


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `git clone` of this working tree gives: its tracked files, and an empty vendor folder."""
    target = tmp_path_factory.mktemp("clone") / "llama_bind"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60)
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / VENDOR).mkdir(parents=True)
    return target
