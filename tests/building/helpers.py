"""A small project's files, and how a frontend calls the build backend."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from buildsystem import tree

SMALL = {
    "CMakeLists.txt": b"project(small)\n",
    "include/llama.h": b"int llama(void);\n",
    "src/llama.cpp": b"int llama() { return 1; }\n",
    "src/llama-a.cpp": b"int a() { return 2; }\n",
    "scripts/run.sh": b"#!/bin/sh\n",
}
EXECUTABLES = {"scripts/run.sh"}


def entries_of(files: Mapping[str, bytes]) -> dict[str, tree.Entry]:
    return {
        path: tree.Entry(tree.EXECUTABLE if path in EXECUTABLES else tree.FILE, tree.blob_hash(data))
        for path, data in files.items()
    }


def pack_files(archive: Path, files: Mapping[str, bytes], prefix: str = "some-1.0/vendor/llama.cpp/") -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(prefix + path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive


def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "none")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def run_backend(root: Path, code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Calls the build backend as a frontend does: in a process of its own, in the project's folder."""
    environment = {k: v for k, v in os.environ.items() if k != "CMAKE_ARGS"} | env
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\nfrom buildsystem import backend\n{code}"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=1800, check=False)
