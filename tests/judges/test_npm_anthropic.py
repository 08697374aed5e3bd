"""The official Anthropic client for Node.js against the server's Messages API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.judges.conftest import MODEL
from tests.judges.test_npm_openai import run_node


@pytest.fixture(scope="module")
def found(node: str, base: str) -> Any:
    return run_node(node, "anthropic.mjs", base)


def test_a_message_is_the_same_whole_and_streamed(found: Any) -> None:
    assert found["whole"]
    assert found["whole"] == found["streamed"] == found["helper"]


def test_tools_and_values(found: Any) -> None:
    assert found["calls"] == "weather"
    assert found["toolRunner"] in ("Paris", "Rome")
    assert found["parsed"] == ["city", "sure"]


def test_the_rest(found: Any) -> None:
    assert found["abandoned"] is True
    assert found["counted"] is True
    assert found["models"] == [MODEL]
    assert found["refused"] == "invalid_request_error"
