"""The examples with frameworks of others, as programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "frameworks"
TIMEOUT_S = 300.0


def run(path: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        env=environment, capture_output=True, text=True, encoding="utf-8", timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*_local.py")), ids=lambda path: path.stem)
def test_within_the_process(path: Path) -> None:
    text = run(path)
    assert "Paris" in text
    assert len(text.splitlines()) >= 2


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*_server.py")), ids=lambda path: path.stem)
def test_over_http(path: Path, api: str) -> None:
    lines = [line for line in run(path, api).splitlines() if line.strip()]
    assert len(lines) >= 2  # what a small model says in them is its own affair
