from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "buildsystem.quietly", str(tmp_path / "logs" / "log"), sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_steps_are_shown_and_the_rest_is_kept(tmp_path: Path) -> None:
    done = run(tmp_path, "print('a warning')\nfor i in range(1, 41): print(f'  [{i}/40] Building CXX object x.o')")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"  [{i}/40]" for i in (1, *range(4, 41, 4))]
    assert "a warning" in (tmp_path / "logs" / "log").read_text()


def test_a_failure_shows_the_end_of_the_log_and_where_it_is(tmp_path: Path) -> None:
    done = run(tmp_path, "import sys\nfor i in range(100): print('line', i)\nsys.exit(3)")
    assert done.returncode == 3
    assert "line 99" in done.stdout
    assert "line 30" not in done.stdout
    assert str(tmp_path / "logs" / "log") in done.stderr
