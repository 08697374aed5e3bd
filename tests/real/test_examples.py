"""The examples run as programs, without arguments and with a path, and print what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from llama_bind.hub import resolve_model
from tests.docs.pages import ROOT

EXAMPLES = ROOT / "examples"
TIMEOUT_S = 300.0

OUTPUT = {
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


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
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
