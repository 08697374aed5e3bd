"""The servers that are judged: one on the default model, one on a tiny model."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core_helpers import model_file
from tests.llamas import TEMPLATE
from tests.server_process import Server, serving

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("--n-threads", "1", "--n-seq-max", "8", "--embedding")
MODEL = "smollm2-135m-instruct"

_APART = {"llm_plugin": "llm", "compat": "langchain_community"}
collect_ignore = [folder for folder, needed in _APART.items() if importlib.util.find_spec(needed) is None]
"""They have environments of their own; ``make judges`` runs all."""

for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
    os.environ.pop(name, None)
os.environ.update(LANGSMITH_TRACING="false", LANGCHAIN_TRACING_V2="false", DO_NOT_TRACK="1")
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # some frameworks take no number of threads: those that wait shall not spin


def parent() -> str:
    """The interpreter with nothing but this package's own requirements: the server runs in it."""
    return Path(sys.prefix, "parent").read_text(encoding="utf-8")


def failures(server: Server) -> list[str]:
    """What a server has logged besides warnings, which llama.cpp writes too."""
    return [line for line in server.errors if not line.startswith("WARNING: ")]


@contextlib.contextmanager
def ready(*arguments: str) -> Iterator[Server]:
    """A server that has said that it is ready. One that ends instead fails at once, with what it wrote."""
    with serving(*arguments, *OPTIONS, python=parent()) as server:
        for _ in range(1200):
            with contextlib.suppress(queue.Empty):
                server.lines.get(timeout=0.1)
                break
            assert server.process.poll() is None, "".join(server.errors)
        else:
            pytest.fail("the server is not ready after two minutes: " + "".join(server.errors))
        yield server


@pytest.fixture(scope="session")
def running() -> Iterator[Server]:
    with ready("--n-ctx", "2048") as server:
        yield server
        assert failures(server) == []


@pytest.fixture(scope="session")
def base(running: Server) -> str:
    """Where the server with the default model is."""
    return running.base


@pytest.fixture(scope="session")
def api(base: str) -> str:
    """The base URL for clients of OpenAI's API."""
    return f"{base}/v1"


@pytest.fixture(scope="session")
def tiny_server() -> Iterator[Server]:
    """A tiny model whose text means nothing, for judges that send many requests."""
    file = model_file("llama", chat_template=TEMPLATE)
    with ready(str(file), "--n-ctx", "256", "--timeout", "20") as server:
        yield server


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js. Where it is missing its clients cannot be tried, which continuous integration does not accept."""
    found = shutil.which("node")
    if found is None and not os.environ.get("CI"):
        pytest.skip("Node.js is not installed")
    assert found is not None, "continuous integration needs Node.js"
    return found
