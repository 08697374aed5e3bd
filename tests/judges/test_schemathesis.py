"""schemathesis reads /openapi.json and asks what it says can be asked, with good and bad values."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.judges.conftest import failures
from tests.server_process import Server

CONFIG = Path(__file__).with_name("schemathesis.toml")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
"""A 5xx, an answer that is not documented, a bad body that is accepted, a wrong answer to a wrong method."""
EVERY_FIELD = (
    "/v1/embeddings", "/v1/models/{name}", "/models/load", "/tokenize", "/detokenize", "/v1/messages/count_tokens",
    "/health", "/props",
)  # fmt: skip
"""Paths of which every field is tried with every kind of bad value. `python -m schemathesis.cli run
http://localhost:8000/openapi.json` does it for all, 8475 cases, in five minutes on a busy machine.
"""


@pytest.mark.parametrize(
    ("phases", "paths", "least"), [("examples,fuzzing", (), 100), ("coverage", EVERY_FIELD, 100)], ids=["any", "fields"]
)
def test_no_server_error_and_only_documented_answers(
    tiny_server: Server, tmp_path: Path, phases: str, paths: tuple[str, ...], least: int
) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG),
            "run", f"{tiny_server.base}/openapi.json",
            "--checks", ",".join(CHECKS), "--max-examples", "5", "--seed", "1", "--request-timeout", "60",
            "--phases", phases, "--continue-on-failure", "--no-color", "--suppress-health-check", "all",
            *(word for path in paths for word in ("--include-path", path)),
        ],
        cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    made = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert made, done.stdout[-2000:]
    assert int(made[1]) >= least
    assert failures(tiny_server) == []
