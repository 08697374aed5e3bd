"""The official ``openai`` client for Node.js against the server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.judges.conftest import MODEL, ROOT

HERE = Path(__file__).parent
MODULES = ROOT / "build" / "npm-judges"


def run_node(node: str, script: str, *arguments: str) -> Any:
    """What a script prints. It is given as text, so that its imports are looked for where the packages are."""
    with (HERE / script).open(encoding="utf-8") as source:
        done = subprocess.run(
            [node, "--input-type=module", "-", *arguments],
            cwd=MODULES, stdin=source, capture_output=True, text=True, encoding="utf-8", timeout=240, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found(node: str, api: str) -> Any:
    return run_node(node, "openai.mjs", api)


def test_chat_is_the_same_whole_and_streamed(found: Any) -> None:
    assert found["chat"]
    assert found["chat"] == found["stream"] == found["helper"]


def test_tools(found: Any) -> None:
    assert found["calls"] == "weather"
    assert found["runTools"] in ("Paris", "Rome")


def test_structured_output_and_the_rest(found: Any) -> None:
    assert found["parsed"] is True
    assert found["responses"] is True
    assert found["embeddings"] == 576
    assert found["models"] == [MODEL]
    assert found["refused"] == "temperature"
    assert found["abandoned"] is True
