"""schemathesis reads /openapi.json and asks what it says can be asked, with good and bad values."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.server_process import Server

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


def test_no_server_error_and_only_documented_answers(tiny_server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"{tiny_server.base}/openapi.json",
            "--checks", ",".join(CHECKS), "--max-examples", "25", "--seed", "1", "--request-timeout", "60",
            "--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-color",
        ],
        cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    tested = re.search(r"(\d+) test cases|(\d+) generated", done.stdout)
    assert tested, done.stdout[-2000:]
    assert tiny_server.errors == [], "the server has logged failures"
