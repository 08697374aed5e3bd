"""The examples run as programs, without arguments and with a path, and print what they promise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from llama_bind.hub import resolve_model
from tests.docs.pages import ROOT
from tests.server_process import serving

EXAMPLES = ROOT / "examples"
TIMEOUT_S = 300.0

OUTPUT = {
    "instruct": r"^\[INST\] What is the capital of France\? \[/INST\][\s\S]+",
    "simple": r"Paris.*\n[\s\S]*'prompt_tokens': 5, 'completion_tokens': 12",
    "chat": r"user: What is the capital of France\?\nassistant: \S[\s\S]*user: And of Italy\?\nassistant: \S"
    r"[\s\S]*\n\([1-9]\d+ tokens were computed before\)",
    "streaming": r"^\S[\s\S]+'prompt_tokens': \d+.*\n\d+\.\d tokens per second\nstopped after 3 pieces\n$",
    "logprobs": r"^' Paris' +' Paris' \d+%, '.*' \d+%, '.*' \d+%\n",
    "grammar": r"^[A-Z][a-z]{2,10} is [1-9]\d? years old\n$",
    "tools": r"calling population\(.*\)\n(result|error): .*\n[\s\S]*\n[23] answers, \d+ tokens\n$",
    "infill": r"^this model cannot fill gaps: its vocabulary has no tokens fim_pre, fim_suf, fim_mid; ",
    "embeddings": r"^0\.\d{3}  How do I bake bread\?\n(0\.\d{3}  .*\n){2}$",
    "threads": r"^One, two, three,' four, five.*\nMonday, Tuesday,'.*\nA, B, C,'.*\nSpring, summer,' and fall.*\n$",
    "async_tasks": r"^One, two, three,' four, five.*\nMonday, Tuesday,'.*\nA, B, C,'.*\n Paris.*\n",
    "custom_sampling": r"^(?:[a-z ]+: ['\"].*['\"] \(the same with its seed: True\)\n){5}$",
    "logits_processor": r"^[^eE]{10,}$",
    "save_state": r"^\d{5,} bytes\n[1-9]\d tokens were there, \d\d? had to be computed\n$",
    "low_level": r"CPU\n49152 tokens in the vocabulary; Hello world is \[19556, 905\]\n$",
}
"""Example -> what its output must contain, as a regular expression."""


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Threads that wait do not spin, which on a busy machine would cost the others their time.
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=TIMEOUT_S, check=False
    )


ASKING = {"openai_client"}
"""Those that ask a server."""


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with serving("--n-threads", "1", "--n-ctx", "1024") as running:
        running.lines.get(timeout=120)
        yield f"{running.base}/v1"


def test_curl(api: str) -> None:
    done = subprocess.run(
        ["sh", str(EXAMPLES / "curl.sh"), api], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    joke, series = [json.loads(line) for line in done.stdout.splitlines()]
    assert joke["choices"][0]["message"]["content"]
    assert series["model"] == "gpt-3.5-turbo"
    assert series["usage"]["prompt_tokens"] > joke["usage"]["prompt_tokens"]


def test_a_client_of_openai(api: str) -> None:
    result = run("openai_client", api)
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(result.stdout.splitlines()) >= 2


@pytest.mark.parametrize("name", sorted({path.stem for path in EXAMPLES.glob("*.py")} - ASKING))
def test_an_example_runs_and_says_what_it_should(name: str) -> None:
    result = run(name)
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(OUTPUT[name], result.stdout), result.stdout
    assert result.stderr == ""


def test_an_example_takes_a_path() -> None:
    result = run("simple", str(resolve_model("smollm2-135m-instruct")))
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(OUTPUT["simple"], result.stdout)


def test_an_example_says_what_is_wrong_with_a_path() -> None:
    result = run("simple", "missing.gguf")
    assert result.returncode == 1
    assert "ModelNotFoundError" in result.stderr
