"""Git's hashes of a folder of files, computed without git, and the manifest: the list of every pinned file's hash.

The manifest's own tree hash must equal the pin, so it can be trusted as much as the pin, and lets a check name the file
that differs and accept the part of the tree that a source distribution carries. Does not fetch or write vendored files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from buildsystem.pin import VendorError

FILE, EXECUTABLE, LINK = "100644", "100755", "120000"
_FLAGS = {FILE: "-", EXECUTABLE: "x", LINK: "l"}
_MODES = {flag: mode for mode, flag in _FLAGS.items()}


class Entry(NamedTuple):
    """One file of a git tree: its mode (`100644`, `100755` or `120000`) and its blob hash in hex."""

    mode: str
    sha1: str


def blob_hash(data: bytes) -> str:
    """Returns git's hash of a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def ignored(path: str) -> bool:
    """Tells whether a path is no part of the tree: git's own file in a submodule, compiled Python, a build inside."""
    parts = path.split("/")
    return parts[0] in {".git", "build"} or "__pycache__" in parts


def scan(root: Path, parent: str = "") -> dict[str, Entry]:
    """Hashes every file below `root`; returns {path with forward slashes: entry}, `.git` and build leftovers apart."""
    found: dict[str, Entry] = {}
    with os.scandir(root / parent) as items:
        for item in sorted(items, key=lambda i: i.name):
            path = parent + item.name
            if ignored(path):
                continue
            if item.is_symlink():
                found[path] = Entry(LINK, blob_hash(os.fsencode(os.readlink(item.path))))
            elif item.is_dir():
                found.update(scan(root, path + "/"))
            else:
                mode = EXECUTABLE if item.stat().st_mode & 0o100 else FILE
                found[path] = Entry(mode, blob_hash(Path(item.path).read_bytes()))
    return found


def tree_hash(entries: Mapping[str, Entry]) -> str:
    """Returns git's tree hash of these files (what `git rev-parse COMMIT^{tree}` prints)."""
    here: dict[str, tuple[bytes, str]] = {}
    below: dict[str, dict[str, Entry]] = {}
    for path, entry in entries.items():
        head, slash, rest = path.partition("/")
        if slash:
            below.setdefault(head, {})[rest] = entry
        else:
            here[head] = (entry.mode.encode(), entry.sha1)
    here.update({name: (b"40000", tree_hash(part)) for name, part in below.items()})
    # Git sorts a folder as if its name ended in a slash.
    names = sorted(here, key=lambda n: n.encode() + (b"/" if n in below else b""))
    body = b"".join(here[n][0] + b" " + n.encode() + b"\0" + bytes.fromhex(here[n][1]) for n in names)
    return hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()


def write_manifest(path: Path, entries: Mapping[str, Entry]) -> None:
    """Writes the manifest: a line per folder, then a line per file in it (mode flag, blob hash, name)."""
    lines, folder = [f"tree {tree_hash(entries)}"], None
    for name in sorted(entries, key=lambda p: p.rpartition("/")[::2]):
        parent, _, base = name.rpartition("/")
        if parent != folder:
            folder = parent
            lines.append(f"/{parent}")
        lines.append(f"{_FLAGS[entries[name].mode]}{entries[name].sha1} {base}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_manifest(path: Path, tree: str) -> dict[str, Entry]:
    """Reads a manifest and proves it: raises `VendorError` unless its tree hash is `tree`."""
    entries: dict[str, Entry] = {}
    folder = ""
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("/"):
            folder = line[1:] + "/" if line != "/" else ""
        else:
            entries[folder + line[42:]] = Entry(_MODES[line[0]], line[1:41])
    actual = tree_hash(entries)
    if actual != tree:
        raise VendorError(f"{path} describes the tree {actual}, but {tree} is pinned. Run: python -m buildsystem.bump")
    return entries


def differences(found: Mapping[str, Entry], wanted: Mapping[str, Entry], *, partial: bool) -> Iterable[str]:
    """Yields a line for each file that is changed, unknown or missing, in path order.

    `partial` allows missing files and lost executable bits, as in a source distribution.
    """
    for path in sorted(found.keys() | wanted.keys()):
        if path not in wanted:
            yield f"{path} does not belong to it"
        elif path not in found:
            if not partial:
                yield f"{path} is missing"
        elif found[path].sha1 != wanted[path].sha1:
            yield f"{path} has other contents (git blob {found[path].sha1}, expected {wanted[path].sha1})"
        elif found[path].mode != wanted[path].mode and not partial and os.name != "nt":
            yield f"{path} has mode {found[path].mode}, expected {wanted[path].mode}"
