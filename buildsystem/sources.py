"""Where the bytes of llama.cpp come from: an archive, git, or a package's source distribution.

Trusts none of them: what an archive holds is checked against the manifest while it is unpacked. Does not decide which
source is tried when.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from buildsystem.pin import VENDOR, Pin, VendorError
from buildsystem.tree import EXECUTABLE, LINK, Entry, blob_hash, ignored

_MARK = "include/llama.h"
_PROBE_S, _GIT_S, _PIP_S = 20.0, 1200.0, 1800.0
_STUB = '''
"""Answers pip's question for metadata, so that fetching a source distribution runs none of its code."""
import os


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(directory, config_settings=None):
    name, version = os.environ["LLAMA_BIND_FETCH"].split("==")
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    os.mkdir(os.path.join(directory, folder))
    with open(os.path.join(directory, folder, "METADATA"), "w") as file:
        file.write(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return folder


def build_wheel(*args, **kwargs):
    raise SystemExit("only fetched, never built")
'''


def run(command: Sequence[str | Path], *, timeout: float, cwd: Path, env: Mapping[str, str]) -> str | None:
    """Runs a command to its end or for `timeout` seconds, its children with it. Returns None, or what went wrong."""
    with subprocess.Popen(
        command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=os.name != "nt"
    ) as process:
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            if os.name == "nt":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            return f"no answer in {timeout:g} s"
        except BaseException:
            process.kill()
            raise
    return None if code == 0 else f"exit status {code}"


def from_git(root: Path, pin: Pin) -> str | None:
    """Fetches the submodule into `root`. Returns None, or why it could not."""
    if not (root / ".git").exists():
        return "not a git checkout"
    if shutil.which("git") is None:
        return "git is not installed"
    # Ask for no password, and give up on a connection that brings less than 1000 bytes a second for half a minute.
    patience = {"GIT_TERMINAL_PROMPT": "0", "GIT_HTTP_LOW_SPEED_LIMIT": "1000", "GIT_HTTP_LOW_SPEED_TIME": "30"}
    env = {**os.environ, **patience}
    # Asked first, because a fetch may rightly take minutes and a machine without network should not wait for them.
    probe = ["git", "ls-remote", "--exit-code", "--quiet", pin.upstream, "HEAD"]
    if problem := run(probe, timeout=_PROBE_S, cwd=root, env=env):
        return f"{pin.upstream} does not answer ({problem})"
    update = ["git", "submodule", "update", "--init", "--depth", "1", "--", VENDOR.as_posix()]
    if problem := run(update, timeout=_GIT_S, cwd=root, env=env):
        run(["git", "submodule", "deinit", "--force", "--", VENDOR.as_posix()], timeout=60, cwd=root, env=env)
        return f"git submodule update failed ({problem})"
    return None


def _pips(env: Mapping[str, str]) -> Iterator[list[str]]:
    candidates = [sys.executable, shutil.which("python3"), shutil.which("python")]
    for python in dict.fromkeys(c for c in candidates if c):
        found = subprocess.run([python, "-m", "pip", "--version"], env=dict(env), capture_output=True, check=False)
        if found.returncode == 0:
            yield [python, "-m", "pip"]


def from_package(folder: Path, pin: Pin) -> Path | str:
    """Fetches the fallback package's source distribution into `folder`. Returns its path, or why it could not."""
    stub = folder / "stub" / "scikit_build_core"
    stub.mkdir(parents=True)
    (stub / "__init__.py").touch()
    (stub / "build.py").write_text(_STUB, encoding="utf-8")
    name = pin.fallback.partition("==")[0]
    # A build frontend's PYTHONPATH can hide the pip that lies beside the interpreter, so it is replaced.
    env = {**os.environ, "PYTHONPATH": str(stub.parent), "LLAMA_BIND_FETCH": pin.fallback}
    pip = next(_pips(env), None)
    if pip is None:
        return "there is no pip"
    command: list[str | Path] = [*pip, "download", "--no-deps", "--no-binary", name, "--no-build-isolation"]
    command += ["--timeout", "20", "--retries", "2", "--disable-pip-version-check", "--dest", folder, pin.fallback]
    if problem := run(command, timeout=_PIP_S, cwd=folder, env=env):
        return f"pip download {pin.fallback} failed ({problem})"
    return next(folder.glob("*.tar.gz"), None) or f"pip download {pin.fallback} left no source distribution"


def unpack(archive: Path, target: Path, wanted: Mapping[str, Entry]) -> None:
    """Unpacks the llama.cpp tree found in a tar file into `target`, a new folder.

    Only paths that the manifest names are written, each with the manifest's mode and only if its bytes hash as listed.
    Raises `VendorError` naming the first file that differs or is missing.
    """
    left = dict(wanted)
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            found = [m.name.removesuffix(_MARK) for m in members if m.name.endswith("/" + _MARK)]
            prefix = min(found, key=len, default=None)
            if prefix is None:
                raise VendorError(f"{archive} holds no llama.cpp")
            for member in members:
                path = member.name.removeprefix(prefix)
                if path == member.name or member.isdir() or ignored(path):
                    continue
                entry = left.pop(path, None)
                source = tar.extractfile(member) if member.isreg() else None
                if entry is None or entry.mode == LINK or source is None:
                    raise VendorError(f"{archive}: {path} does not belong to the pinned llama.cpp")
                data = source.read()
                if blob_hash(data) != entry.sha1:
                    raise VendorError(f"{archive}: {path} has other contents than in the pinned llama.cpp")
                file = target / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                if entry.mode == EXECUTABLE:
                    file.chmod(0o755)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise VendorError(f"{archive} cannot be unpacked: {error}") from error
    if left:
        raise VendorError(f"{archive}: {min(left)} is missing")


def pack(tree: Path, archive: Path) -> None:
    """Packs a filled vendor folder into a gzipped tar file."""
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(tree, "llama.cpp", filter=lambda m: None if ignored(m.name.partition("/")[2]) else m)
