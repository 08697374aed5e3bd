from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("seed", range(4))
def test_random_calls_never_end_the_process(seed: int) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.core_fuzz", str(seed), "2000"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    _, worked, _, refused = child.stdout.split()
    assert int(worked) > 200
    assert int(refused) > 200
