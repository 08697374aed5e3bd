from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildsystem import bump, tree, vendor
from buildsystem.pin import MANIFEST, ROOT, VENDOR, VendorError, read_pin
from tests.building.helpers import SMALL, pack_files

COMMIT = "ab" * 20
NEXT = SMALL | {
    "src/new.cpp": b"int n;\n",
    "CMakeLists.txt": b"set(LLAMA_VERSION_MAJOR 1)\nset(LLAMA_VERSION_MINOR 2)\nset(LLAMA_VERSION_PATCH 3)\n"
    b'option(LLAMA_BUILD_IS_DEV "llama: dev build" ON)\n',
}


@pytest.fixture
def repository(project: Path) -> Path:
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True, timeout=60)
    return project


def new_tree() -> str:
    plain = {path: tree.Entry(tree.FILE, tree.blob_hash(data)) for path, data in NEXT.items()}
    return tree.tree_hash(plain)


def test_everything_that_names_the_pin_moves(repository: Path, tmp_path: Path) -> None:
    archive = pack_files(tmp_path / "next.tar.gz", NEXT)
    before = read_pin(repository)
    pin = bump.move(repository, COMMIT, "other==2", archive, new_tree())
    assert (pin.commit, pin.tree, pin.version, pin.fallback) == (COMMIT, new_tree(), "1.2.3-dev", "other==2")
    assert pin.upstream == before.upstream
    assert tree.tree_hash(tree.read_manifest(repository / MANIFEST, pin.tree)) == pin.tree
    vendor.fill(repository)  # raises if the folder is not what is pinned now
    listed = subprocess.run(
        ["git", "ls-files", "--stage"], cwd=repository, capture_output=True, text=True, check=True, timeout=60
    )
    assert listed.stdout.split() == ["160000", COMMIT, "0", VENDOR.as_posix()]


def test_an_archive_must_be_what_was_announced(repository: Path, tmp_path: Path) -> None:
    before = read_pin(repository)
    with pytest.raises(VendorError, match=f"hashes to the tree {new_tree()}, not {'0' * 40}"):
        bump.move(repository, COMMIT, None, pack_files(tmp_path / "next.tar.gz", NEXT), "0" * 40)
    assert read_pin(repository) == before


def test_without_network_nothing_changes(repository: Path) -> None:
    before = read_pin(repository)
    with pytest.raises(VendorError, match="git fetch"):
        bump.move(repository, COMMIT, None, None, None)
    assert read_pin(repository) == before
    assert [path.name for path in (repository / VENDOR).parent.iterdir()] == [VENDOR.name]


def test_changes_of_the_mirror_are_told() -> None:
    before = {"a": "()", "b": "(x: int)", "c": "()"}
    after = {"a": "()", "b": "(x: float)", "d": "()"}
    lines = ["added    d()", "removed  c()", "changed  b(x: int)\n      to b(x: float)"]
    assert list(bump.changes(before, after)) == lines
    real = bump.signatures(ROOT)
    assert len(real) > 900
    assert "n_threads" in real["llama_set_n_threads"]
