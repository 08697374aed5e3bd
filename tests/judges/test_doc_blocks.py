"""The Python blocks of pages about frameworks of others run, one page after the other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llama_bind.hub import resolve_model
from tests.docs.pages import JUDGED, ROOT
from tests.judges.conftest import MODEL
from tests.real.test_doc_blocks import RUNNER, jobs_of, run


@pytest.mark.parametrize("name", sorted(JUDGED))
def test_python_blocks_run(name: str, base: str, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").symlink_to(resolve_model(MODEL).resolve())
    jobs = jobs_of(ROOT / name, base)
    assert len(jobs) > 3
    result = run([sys.executable, str(RUNNER)], tmp_path, json.dumps(jobs))
    assert result.returncode == 0, result.stderr[-3000:]
