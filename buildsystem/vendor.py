"""Fills `vendor/llama.cpp` with the pinned llama.cpp: `python -m buildsystem.vendor`.

Sources, in order: already there, the user's cache folder, git, a package's source distribution. Whoever served them,
the bytes are accepted only when they hash to the pin. Never repairs or overwrites a folder that has other contents: it
says which file differs and stops.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from buildsystem import sources, tree
from buildsystem.pin import MANIFEST, ROOT, VENDOR, Pin, VendorError, read_pin

MODIFIED = "LLAMA_BIND_MODIFIED_VENDOR"
"""Environment variable: set to 1, a changed `vendor/llama.cpp` is built with a warning instead of refused."""

Log = Callable[[str], None]


def log_to_stderr(message: str) -> None:
    """Prints one progress line."""
    print(f"vendor: {message}", file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """Returns the folder that keeps a copy for the next clone: `llama_bind` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return Path(base).expanduser() / "llama_bind"


def is_filled(root: Path = ROOT) -> bool:
    """Tells whether anything at all lies in the vendor folder, correct or not."""
    vendor = root / VENDOR
    return vendor.is_dir() and any(item.name != ".git" for item in vendor.iterdir())


def verify(root: Path, pin: Pin, wanted: Mapping[str, tree.Entry], log: Log = log_to_stderr) -> None:
    """Checks the filled vendor folder; raises `VendorError` naming the first file that differs from the pin."""
    partial = (root / "PKG-INFO").is_file()  # a source distribution carries only what the build needs
    problem = next(iter(tree.differences(tree.scan(root / VENDOR), wanted, partial=partial)), None)
    if problem is None:
        return
    message = f"{VENDOR.as_posix()} is not llama.cpp {pin.commit[:12]}: {problem}."
    if os.environ.get(MODIFIED) == "1":
        log(f"warning: {message} Building it all the same, as {MODIFIED}=1 asks.")
        return
    raise VendorError(
        f"{message}\nTo get the pinned files: rm -r {VENDOR.as_posix()}/ && python -m buildsystem.vendor\n"
        f"To build your changed files: set {MODIFIED}=1"
    )


def _lay_down(archive: Path, root: Path, wanted: Mapping[str, tree.Entry]) -> None:
    vendor = root / VENDOR
    vendor.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=vendor.parent, prefix=".filling-") as folder:
        fresh = Path(folder) / vendor.name
        fresh.mkdir()
        sources.unpack(archive, fresh, wanted)
        if vendor.is_dir():
            (vendor / ".git").unlink(missing_ok=True)  # what a submodule update that failed leaves behind
            vendor.rmdir()
        fresh.rename(vendor)


def _from_cache(archive: Path, root: Path, wanted: Mapping[str, tree.Entry], log: Log) -> str | None:
    if not archive.is_file():
        return f"no {archive}"
    log(f"unpacking {archive}")
    try:
        _lay_down(archive, root, wanted)
    except VendorError as error:
        archive.unlink()
        return f"{error} (removed)"
    return None


def _from_package(archive: Path, root: Path, pin: Pin, wanted: Mapping[str, tree.Entry], log: Log) -> str | None:
    log(f"fetching the source distribution of {pin.fallback} with pip")
    with tempfile.TemporaryDirectory() as folder:
        fetched = sources.from_package(Path(folder), pin)
        if isinstance(fetched, str):
            return fetched
        log(f"unpacking {fetched.name}")
        _lay_down(fetched, root, wanted)
        _keep(lambda part: shutil.copyfile(fetched, part), archive, log)
    return None


def _from_git(archive: Path, root: Path, pin: Pin, wanted: Mapping[str, tree.Entry], log: Log) -> str | None:
    log(f"asking {pin.upstream}")
    problem = sources.from_git(root, pin)
    if problem is None:
        verify(root, pin, wanted, log)
        _keep(lambda part: sources.pack(root / VENDOR, part), archive, log)
    return problem


def _keep(write: Callable[[Path], object], archive: Path, log: Log) -> None:
    """Keeps a copy for later clones. A full or read-only cache folder costs that copy, not the build."""
    part = archive.with_name(f"{archive.name}.{os.getpid()}")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(archive)
        log(f"kept a copy as {archive}")
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        log(f"warning: no copy kept in {archive.parent}: {error}")


def fill(root: Path = ROOT, *, archive: Path | None = None, log: Log = log_to_stderr) -> None:
    """Makes `root`'s vendor folder hold exactly the pinned llama.cpp.

    Args:
        root: A checkout or unpacked source distribution of this project.
        archive: A tar file to take it from, instead of asking the network: llama.cpp's own, or of anything that has it
            inside.
        log: Called with each line of progress.

    Raises:
        VendorError: the folder has other contents, the archive has, or no source could be reached.
    """
    pin = read_pin(root)
    wanted = tree.read_manifest(root / MANIFEST, pin.tree)
    if is_filled(root):
        verify(root, pin, wanted, log)
        return
    if archive is not None:
        _lay_down(archive, root, wanted)
        return
    kept = cache_folder() / f"llama.cpp-{pin.tree}.tar.gz"
    attempts: dict[str, Callable[[], str | None]] = {
        "cache": lambda: _from_cache(kept, root, wanted, log),
        "git": lambda: _from_git(kept, root, pin, wanted, log),
        "package": lambda: _from_package(kept, root, pin, wanted, log),
    }
    problems = []
    for name, attempt in attempts.items():
        problem = attempt()
        if problem is None:
            log(f"{VENDOR.as_posix()} is llama.cpp {pin.commit[:12]}, verified")
            return
        problems.append(f"  {name}: {problem}")
    raise VendorError(
        f"{VENDOR.as_posix()} is empty and llama.cpp could not be fetched:\n" + "\n".join(problems) + "\n"
        "On a machine with network, run one of these here:\n"
        f"  git submodule update --init --depth 1 {VENDOR.as_posix()}\n"
        "  python -m buildsystem.vendor\n"
        "Without network, bring a tar file of that commit, from\n"
        f"  {pin.upstream}/archive/{pin.commit}.tar.gz\n"
        "and run\n"
        "  python -m buildsystem.vendor --archive FILE"
    )


def main(arguments: list[str] | None = None) -> int:
    """The command: fills and verifies. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m buildsystem.vendor", description="Fill vendor/llama.cpp.")
    parser.add_argument("--archive", type=Path, help="take the files from this tar file")
    options = parser.parse_args(arguments)
    try:
        fill(archive=options.archive)
    except VendorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
