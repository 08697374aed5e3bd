"""Mixed load and many open streams for some seconds, with the scripts that do it for longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.served import Usage
from scripts.soak import leaks
from scripts.soak_load import ACTIONS
from tests.core_helpers import model_file
from tests.llamas import TEMPLATE

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the scripts read /proc")
ROOT = Path(__file__).resolve().parents[2]


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    model = model_file("llama", chat_template=TEMPLATE, n_ctx_train=1024)
    command = [sys.executable, "-m", f"scripts.{name}", "--model", str(model), *arguments, "--", "--n-threads", "1"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def test_a_short_soak() -> None:
    done = script("soak", "--minutes", "0.2", "--workers", "8", "--allow-mb", "48")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is well" in done.stdout
    for name in ACTIONS:
        assert f"{name} " in done.stdout, "everything was done at least once"


def test_many_open_streams() -> None:
    done = script("open_streams", "--streams", "200", "--tokens", "16")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 of 200 streams served" in done.stdout


def rests(*values: int, what: str = "memory", name: str = "engine") -> list[dict[str, Usage]]:
    plain = {"pid": 1, "memory": 10**8, "files": 10, "threads": 10}
    return [{n: Usage(**{**plain, **({what: v} if n == name else {})}) for n in ("server", "engine")} for v in values]


def test_what_counts_as_a_leak() -> None:
    allowed = 1e6
    steady = (100_000_000, 103_000_000, 101_000_000, 104_000_000, 102_000_000, 103_500_000)
    assert leaks(rests(*steady), allowed) == []
    assert leaks(rests(*sorted(steady, reverse=True)), allowed) == []
    growing = tuple(10**8 + i * 3_000_000 for i in range(6))
    assert "memory of the engine grew" in leaks(rests(*growing), allowed)[0]
    assert "memory of the server grew" in leaks(rests(*growing, name="server"), allowed)[0]
    assert "files of the server grew" in leaks(rests(10, 20, 30, 40, 50, 60, what="files", name="server"), allowed)[0]
    assert "threads of the engine" in leaks(rests(10, 30, 50, 70, 90, 110, what="threads"), allowed)[0]
    assert "started again" in leaks(rests(5, 5, 6, 6, what="pid"), allowed)[0]
    assert "too few to see a leak" in leaks(rests(1, 1), allowed)[0]
