"""Moves the pin to another llama.cpp: `python -m buildsystem.bump COMMIT`.

Fetches it, rewrites the pin, the manifest and the submodule's entry, regenerates the mirror, prints which C functions
came, went or changed, and runs `make test`. Commits nothing: what it changed is for a person to look at.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildsystem import sources, tree
from buildsystem.pin import MANIFEST, PIN_FILE, ROOT, VENDOR, Pin, VendorError, read_pin

MIRROR = Path("llama_bind/lib")


def _clone(pin: Pin, commit: str, target: Path) -> None:
    target.mkdir()
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    for command in (
        ["git", "init", "--quiet"],
        ["git", "fetch", "--quiet", "--depth", "1", pin.upstream, commit],
        ["git", "-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD"],
    ):
        if problem := sources.run(command, timeout=1800, cwd=target, env=env):
            raise VendorError(f"{' '.join(command)}: {problem}")


def _extract(archive: Path, target: Path) -> None:
    """Unpacks an archive for which there is no manifest yet."""
    with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=target.parent) as folder:
        tar.extractall(folder, filter="data")
        found = sorted(Path(folder).glob("**/include/llama.h"), key=lambda path: len(path.parts))
        if not found:
            raise VendorError(f"{archive} holds no llama.cpp")
        found[0].parent.parent.rename(target)


def _version(vendor: Path) -> str:
    text = (vendor / "CMakeLists.txt").read_text(encoding="utf-8")
    numbers = [re.search(rf"set\(LLAMA_VERSION_{part} (\d+)\)", text) for part in ("MAJOR", "MINOR", "PATCH")]
    dev = re.search(r"option\(LLAMA_BUILD_IS_DEV .* ON\)", text)
    return ".".join(n[1] for n in numbers if n) + ("-dev" if dev else "")


def rewrite_pin(root: Path, values: Mapping[str, str]) -> None:
    """Replaces constants in `llama_bind/lib/_pin.py`, keeping everything else of it."""
    text = (root / PIN_FILE).read_text(encoding="utf-8")
    for name, value in values.items():
        text, count = re.subn(rf'^{name}: Final = ".*"$', f'{name}: Final = "{value}"', text, flags=re.MULTILINE)
        if count != 1:
            raise VendorError(f"{PIN_FILE} has no line for {name}")
    (root / PIN_FILE).write_text(text, encoding="utf-8")


def signatures(root: Path) -> dict[str, str]:
    """Returns the mirror's C functions, name to Python signature."""
    found: dict[str, str] = {}
    for module in sorted((root / MIRROR).glob("*_h.py")):
        for node in ast.parse(module.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
                found[node.name] = f"({ast.unparse(node.args)}){result}"
    return found


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each C function that came, went or changed."""
    for name in sorted(after.keys() - before.keys()):
        yield f"added    {name}{after[name]}"
    for name in sorted(before.keys() - after.keys()):
        yield f"removed  {name}{before[name]}"
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            yield f"changed  {name}{before[name]}\n      to {name}{after[name]}"


def move(root: Path, commit: str, fallback: str | None, archive: Path | None, expected_tree: str | None) -> Pin:
    """Fetches the commit and rewrites everything that names the pin; returns the new pin.

    An archive proves nothing about itself, so with one `expected_tree` must say what git's tree hash is.
    """
    pin = read_pin(root)
    vendor = root / VENDOR
    with tempfile.TemporaryDirectory(dir=vendor.parent, prefix=".filling-") as folder:
        fresh = Path(folder) / vendor.name
        if archive is None:
            _clone(pin, commit, fresh)
            shutil.rmtree(fresh / ".git")
        else:
            _extract(archive, fresh)
            (fresh / ".git").unlink(missing_ok=True)
        entries = tree.scan(fresh)
        actual = tree.tree_hash(entries)
        if archive is not None and actual != expected_tree:
            raise VendorError(f"{archive} hashes to the tree {actual}, not {expected_tree}")
        values = {"COMMIT": commit, "TREE": actual, "VERSION": _version(fresh)}
        rewrite_pin(root, values | ({"FALLBACK": fallback} if fallback else {}))
        tree.write_manifest(root / MANIFEST, entries)
        if vendor.exists():
            shutil.rmtree(vendor)
        fresh.rename(vendor)
    entry = f"160000,{commit},{VENDOR.as_posix()}"
    subprocess.run(["git", "update-index", "--add", "--cacheinfo", entry], cwd=root, check=True, timeout=60)
    return read_pin(root)


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m buildsystem.bump", description=__doc__)
    parser.add_argument("commit", help="the full hash of the commit")
    parser.add_argument("--fallback", help="PACKAGE==VERSION whose source distribution carries that commit")
    parser.add_argument("--archive", type=Path, help="a tar file of that commit, where git cannot fetch it")
    parser.add_argument("--tree", help="with --archive: the commit's git tree hash, from a source you trust")
    parser.add_argument("--no-test", action="store_true", help="do not run the tests")
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"[0-9a-f]{40}", options.commit):
        parser.error("COMMIT must be a full hash of 40 hexadecimal digits")
    before = signatures(ROOT)
    try:
        pin = move(ROOT, options.commit, options.fallback, options.archive, options.tree)
    except VendorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.fallback is None:
        print(f"warning: {pin.fallback} may carry another commit: give --fallback PACKAGE==VERSION", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "codegen"], cwd=ROOT, check=True)
    print(f"llama.cpp {pin.version}, commit {pin.commit}, tree {pin.tree}")
    print("\n".join(changes(before, signatures(ROOT))) or "no C function came, went or changed")
    if options.no_test:
        return 0
    return subprocess.run(["make", "test"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
