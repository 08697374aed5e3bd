"""Every code block of the documents is run or checked; one that is neither fails."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from llama_bind.hub import resolve_model
from tests.core_helpers import model_file
from tests.docs import shell
from tests.docs.pages import JUDGED, ROOT, Block, blocks, name_of, pages
from tests.rerankers import bert_reranker
from tests.server_process import serving

RUNNER = ROOT / "tests" / "docs" / "run_blocks.py"
SHELLS = ("sh", "bash", "console")
PROSE = ("text",)
"""Languages of blocks that hold nothing to run or check."""
USAGE_PAGE = "docs/cli.md"
"""Generated from the parsers: its blocks without a language are the usage lines of commands."""
STANDALONE_PAGES = frozenset({"docs/low-level.md"})
"""Pages where every block stands alone."""
STANDALONE = "# standalone"
"""First line of a block that does not see the names of those before it."""
RUN = {("doctor",), ("list",), ("tokenize", "Hello world"), ("--version",)}
"""Commands that are cheap and need no network: they are really run."""
TIMEOUT_S = 300.0

PAGES = [pytest.param(page, id=name_of(page)) for page in pages()]
PYTHON_PAGES = [
    pytest.param(p, id=name_of(p))
    for p in pages()
    if name_of(p) not in JUDGED and any(b.language == "python" for b in blocks(p))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with what the blocks name: a model, an adapter for it, a reranker, one that fills gaps."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "model.gguf").symlink_to(resolve_model("smollm2-135m-instruct").resolve())
    (folder / "coder.gguf").symlink_to(model_file("llama", fim=True, fim_repo=True))
    (folder / "reranker.gguf").symlink_to(bert_reranker())
    write_adapter(folder / "adapter.gguf")
    return folder


def write_adapter(path: Path) -> None:
    """A LoRA adapter of rank 1 for the default model's first layer, all zeros."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 1.0)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.zeros((1, 576), np.float32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", np.zeros((576, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run(arguments: list[str], folder: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """A program in the working directory, without options from this environment. Threads that wait do not spin, which
    on a busy machine would cost the others their time.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LLAMA_BIND_") or k == "LLAMA_BIND_LIB_DIR"}
    environment |= {"PYTHONIOENCODING": "utf-8", "COLUMNS": "120", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        arguments, cwd=folder, env=environment, input=given, capture_output=True, text=True, encoding="utf-8",
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Where the server is that the blocks name: not on its usual port, which may be taken."""
    with serving("--n-threads", "1", "--n-ctx", "1024") as running:
        running.lines.get(timeout=120)
        yield running.base


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_python_blocks_run(page: Path, folder: Path, request: pytest.FixtureRequest) -> None:
    asks = any(shell.SERVER in b.text for b in blocks(page) if b.language == "python")
    base = request.getfixturevalue("server") if asks else ""
    result = run([sys.executable, "-W", "error", str(RUNNER)], folder, json.dumps(jobs_of(page, base)))
    assert result.returncode == 0, result.stderr[-3000:]


def jobs_of(page: Path, base: str) -> list[list[object]]:
    """The Python blocks of a page as `RUNNER` takes them; `base`: where the server is."""
    return [
        [
            b.place.split(":")[0],
            b.line,
            b.text.replace(shell.SERVER, base),
            name_of(page) in STANDALONE_PAGES or b.text.startswith(STANDALONE),
        ]
        for b in blocks(page)
        if b.language == "python"
    ]


def test_a_failing_block_is_seen_with_its_place(folder: Path) -> None:
    jobs = [["page.md", 7, "x = 1\n", False], ["page.md", 12, "assert x == 1\nassert x == 2\n", False]]
    result = run([sys.executable, str(RUNNER)], folder, json.dumps(jobs))
    assert result.returncode == 1
    assert 'File "page.md", line 13' in result.stderr
    fresh = run([sys.executable, str(RUNNER)], folder, json.dumps([jobs[0], ["page.md", 12, "print(x)\n", True]]))
    assert "NameError" in fresh.stderr


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_kind_that_is_checked(page: Path) -> None:
    for block in blocks(page):
        if block.language == "" and name_of(page) == USAGE_PAGE:
            words = block.text.split()
            assert block.text.count("\n") == 1, f"{block.place}: a usage is one line"
            assert words[0] == "llama-bind", block.place
            assert shell.problem([*words[:2], "--help"]) is None, block.place
        else:
            known = ("python", *SHELLS, *PROSE)
            assert block.language in known, f"{block.place}: {block.language!r} is not one of {known}"


@pytest.mark.parametrize("page", PAGES)
def test_shell_commands_exist(page: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for block in blocks(page):
        for words in commands_of(block):
            found = shell.problem(words)
            assert found is None, f"{block.place}: {shlex.join(words)}: {found} {capfd.readouterr().err}"


def commands_of(block: Block) -> list[list[str]]:
    if block.language not in SHELLS:
        return []
    return list(shell.commands(block.text, prompts=block.language == "console"))


def test_cheap_commands_run(folder: Path) -> None:
    found = {
        tuple(words[1:]) for page in pages() for block in blocks(page) for words in commands_of(block)
        if words[0] == "llama-bind" and tuple(words[1:]) in RUN
    }  # fmt: skip
    assert ("doctor",) in found
    for words in sorted(found):
        result = run([sys.executable, "-m", "llama_bind", *words], folder)
        assert result.returncode == 0, f"llama-bind {shlex.join(words)}: {result.stderr}"
        assert result.stdout.strip()


def test_curl_is_answered(server: str, folder: Path) -> None:
    asked = 0
    for page in pages():
        for words in (words for block in blocks(page) for words in commands_of(block) if words[0] == "curl"):
            result = run([words[0], "-sS", *(word.replace(shell.SERVER, server) for word in words[1:])], folder)
            assert result.returncode == 0, result.stderr
            assert "error" not in json.loads(result.stdout), result.stdout
            asked += 1
    assert asked


@pytest.mark.parametrize("page", PAGES)
def test_build_options_and_variables_exist(page: Path) -> None:
    """Also those outside of blocks, as in the table of GPUs."""
    text = page.read_text(encoding="utf-8")
    for command in re.findall(r"`((?:CMAKE_ARGS=|pip install|make |llama-bind |python -m )[^`]*)`", text):
        for words in shell.commands(command):
            named = words[0] == "llama-bind" and len(words) == 2  # the name of a command in a sentence
            found = shell.problem([*words, "--help"] if named else words)
            assert found is None, f"{name_of(page)}: {command}: {found}"
    for name in re.findall(r"\bLLAMA_BIND_[A-Z][A-Z_]*[A-Z]\b", text):
        assert name in shell.variables(), f"{name_of(page)}: nothing reads {name}"


@pytest.mark.parametrize(
    "command",
    [
        "make dmeo",
        "llama-bind rnu",
        "llama-bind run --n-ctxx 5",
        'CMAKE_ARGS="-DGGML_CUDDA=on" pip install .',
        'pip install ".[gpu]"',
        "pip install llama-bnid",
        "LLAMA_BIND_N_CTXX=5 llama-bind run",
        "python -m codegen --chekc",
        "python -m codegen.nothing",
        "python missing.py",
        "curl https://example.com",
        "curl http://localhost:8000/v1/chat/completion",
        "python -m llama_bind.server --n-ctxx 5",
    ],
)
def test_a_wrong_command_is_seen(command: str) -> None:
    assert [shell.problem(words) for words in shell.commands(f"{command}  # a comment")] != [None]
