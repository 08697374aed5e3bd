from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from buildsystem import tree
from buildsystem.pin import MANIFEST, ROOT, VENDOR, VendorError, read_pin
from tests.building.helpers import SMALL, entries_of


def write(root: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def git(root: Path, *arguments: str) -> str:
    config = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "core.autocrlf=false"]
    command = ["git", *config, *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_tree_hash_is_gits(tmp_path: Path) -> None:
    # "a.b" sorts between "a-b" and "a0", but the folder "a" sorts as "a/".
    write(tmp_path, {"a/x": b"1", "a.b": b"2", "a-b": b"3", "a0": b"", "b/c/d": b"4\r\n", "ü": b"5", "run": b"6"})
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "link").symlink_to("a/x")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    assert tree.tree_hash(tree.scan(tmp_path)) == git(tmp_path, "write-tree")


def test_leftovers_are_no_part_of_a_tree(tmp_path: Path) -> None:
    write(tmp_path, SMALL)
    before = tree.scan(tmp_path)
    write(tmp_path, {".git": b"gitdir: x", "build/x.o": b"", "scripts/__pycache__/x.pyc": b""})
    assert tree.scan(tmp_path) == before
    write(tmp_path, {"scripts/build/x.o": b""})
    assert tree.scan(tmp_path) != before


def test_manifest_comes_back(tmp_path: Path) -> None:
    entries = entries_of(SMALL) | {"link": tree.Entry(tree.LINK, tree.blob_hash(b"src"))}
    tree.write_manifest(tmp_path / "m", entries)
    assert tree.read_manifest(tmp_path / "m", tree.tree_hash(entries)) == entries


def test_changed_manifest_is_refused(tmp_path: Path) -> None:
    entries = entries_of(SMALL)
    tree.write_manifest(tmp_path / "m", entries | {"src/llama.cpp": tree.Entry(tree.FILE, tree.blob_hash(b"evil"))})
    with pytest.raises(VendorError, match=r"buildsystem\.bump"):
        tree.read_manifest(tmp_path / "m", tree.tree_hash(entries))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"src/llama.cpp": b"int llama() { return 3; }\n"}, "src/llama.cpp has other contents"),
        ({"src/evil.cpp": b""}, "src/evil.cpp does not belong to it"),
        ({"src/llama.cpp": None}, "src/llama.cpp is missing"),
    ],
)
def test_differences_name_the_file(tmp_path: Path, change: dict[str, bytes | None], line: str) -> None:
    write(tmp_path, {p: d for p, d in (SMALL | change).items() if d is not None})
    (tmp_path / "scripts/run.sh").chmod(0o755)
    found = list(tree.differences(tree.scan(tmp_path), entries_of(SMALL), partial=False))
    assert len(found) == 1
    assert found[0].startswith(line)
    partly = list(tree.differences(tree.scan(tmp_path), entries_of(SMALL), partial=True))
    assert partly == ([] if None in change.values() else found)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
def test_lost_executable_bit_is_named(tmp_path: Path) -> None:
    write(tmp_path, SMALL)
    found = list(tree.differences(tree.scan(tmp_path), entries_of(SMALL), partial=False))
    assert found == ["scripts/run.sh has mode 100644, expected 100755"]


def test_manifest_in_the_project_is_the_pins_and_describes_the_vendor_folder() -> None:
    wanted = tree.read_manifest(ROOT / MANIFEST, read_pin().tree)
    assert list(tree.differences(tree.scan(ROOT / VENDOR), wanted, partial=False)) == []


def test_pin_is_the_submodules_commit() -> None:
    mode, commit, _, path = git(ROOT, "ls-files", "--stage", VENDOR.as_posix()).split()
    assert (mode, commit, path) == ("160000", read_pin().commit, VENDOR.as_posix())
    assert f"url = {read_pin().upstream}\n" in (ROOT / ".gitmodules").read_text(encoding="utf-8")


def test_pin_names_the_vendored_version() -> None:
    text = (ROOT / VENDOR / "CMakeLists.txt").read_text(encoding="utf-8")
    numbers = [next(line.split()[1][:-1] for line in text.splitlines() if f"(LLAMA_VERSION_{part} " in line)
               for part in ("MAJOR", "MINOR", "PATCH")]  # fmt: skip
    assert read_pin().version == ".".join(numbers) + "-dev"
