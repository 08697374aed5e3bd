"""The command line as a user starts it, with the default model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llama_bind import hub
from tests.terminal import Terminal

PROGRAM = [sys.executable, "-m", "llama_bind"]
# One thread: as fast for a model this small, and no fight over the cores when tests share the machine.
QUICK = ["--n-threads", "1", "--n-ctx", "512", "--temperature", "0"]


@pytest.fixture(autouse=True, scope="module")
def model() -> Path:
    return hub.resolve_model(hub.DEFAULT_MODEL)


def run(*arguments: str, text: str | None = None, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PROGRAM, *arguments], input=text or "", timeout=180, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    return done


def test_complete_writes_only_the_text() -> None:
    done = run("complete", "The capital of France is", "-n", "5", *QUICK)
    assert "Paris" in done.stdout
    assert done.stderr == ""


def test_complete_reads_standard_input_and_shows_figures() -> None:
    given = run("complete", "The capital of France is", "-n", "5", *QUICK).stdout
    done = run("complete", "-n", "5", "--stats", *QUICK, text="The capital of France is")
    assert done.stdout == given
    assert "answer: 5 tokens" in done.stderr
    assert run("complete", "-", "-n", "5", *QUICK, text="The capital of France is").stdout == given


def test_complete_with_options_of_sampling_and_a_seed() -> None:
    options = ["-n", "12", "--n-threads", "1", "--temp", "1.5", "--seed", "7", "--samplers", "top_k,temperature"]
    assert run("complete", "Once", *options).stdout == run("complete", "Once", *options).stdout
    stopped = run("complete", "1, 2, 3, 4,", "-n", "20", "--stop", "6", *QUICK).stdout
    assert "5" in stopped
    assert "6" not in stopped


def test_mistakes_are_one_line() -> None:
    done = run("complete", "word " * 1000, "--n-ctx", "256", "--n-threads", "1", status=1)
    assert "exceed context window of" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "must be" in run("complete", "x", "--top-p", "2", status=1).stderr
    assert "did you mean --n-ctx" in run("complete", "x", "--n-ctxx", "2", status=2).stderr


def test_tokenize() -> None:
    done = run("tokenize", "Hello<|im_end|>", "--special", "--json")
    assert [t["piece"] for t in json.loads(done.stdout)] == ["Hello", "<|im_end|>"]
    ids = run("tokenize", "--ids", text="Hello wörld").stdout.split()
    table = run("tokenize", "Hello wörld").stdout.splitlines()
    assert table[0].split() == ["ID", "PIECE"]
    assert [line.split()[0] for line in table[1:]] == ids
    assert run("tokenize", "", "--ids").stdout == "\n"


def test_info() -> None:
    text = run("info").stdout
    assert "134,515,008" in text
    assert "blk.29.ffn_up.weight" in text


def test_pull_and_list_find_the_model(model: Path) -> None:
    assert run("pull", "default", "--verify").stdout == f"{model}\n"
    assert hub.DEFAULT_MODEL in run("list").stdout


def test_doctor() -> None:
    facts = json.loads(run("doctor", "--json").stdout)
    assert facts["error"] is None
    assert facts["cpu"]["variant"]
    assert "CPU" in [d["name"] for d in facts["devices"]]
    text = run("doctor").stdout
    assert facts["llama_cpp"]["commit"] in text
    assert f"threads used  {facts['cpu']['threads_used']} " in text


def test_demo() -> None:
    done = run("demo", "--seed", "3")
    assert done.stdout.startswith("> Tell me a joke about computers.\n\n")
    assert "tokens/s" in done.stdout.splitlines()[-1]


def test_chat_by_pipe() -> None:
    talk = "My name is Anna.\n/set max_tokens 4\nWhat is my name?\n/stats\n/quit\nnot read\n"
    done = run("run", "-n", "24", "--system", "You are helpful.", *QUICK, text=talk)
    assert "\nmax_tokens = 4\n" in done.stdout
    assert "answer: 4 tokens" in done.stdout.splitlines()[-1]
    assert "more from the cache" in done.stdout.splitlines()[-1], "the second prompt begins with the first"
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals of this kind")
def test_chat_in_a_terminal(tmp_path: Path) -> None:
    with Terminal([*PROGRAM, "run", *QUICK], {"LLAMA_BIND_MAX_TOKENS": "400"}) as terminal:
        terminal.expect("/help lists the commands", 120)
        terminal.expect("> ")
        terminal.keys("Count from 1 to 300.\r")
        terminal.expect("2", 120)
        terminal.keys("\x03")
        terminal.expect("[stopped]", 60)
        terminal.expect("> ")
        terminal.keys("/set max_tokens 3\r")
        terminal.expect("max_tokens = 3")
        terminal.expect("> ")
        terminal.keys("And now?\r")
        terminal.expect("\n> ", 120)
        terminal.keys("/stats\r")
        terminal.expect("answer: 3 tokens")
        terminal.keys(f"/save {tmp_path / 'talk.json'}\r")
        terminal.expect("4 messages saved")
        terminal.keys("\x04")
        assert terminal.end(60) == 0
    saved = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))
    assert saved["messages"][2]["content"] == "And now?"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals of this kind")
def test_ctrl_c_ends_a_completion() -> None:
    with Terminal([*PROGRAM, "complete", "Once upon a time", "--ignore-eos", *QUICK]) as terminal:
        terminal.expect(" ", 120)
        terminal.keys("\x03")
        assert terminal.end(60) == 130
        assert "Traceback" not in terminal.shown


def test_the_plain_text_way_without_rich(tmp_path: Path) -> None:
    # A module of that name that cannot be imported hides the real one.
    (tmp_path / "rich.py").write_text("raise ImportError('hidden by a test')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for arguments in (["doctor"], ["tokenize", "Hello"], ["demo"], ["complete", "Once", "-n", "3", *QUICK], ["list"]):
        done = subprocess.run(
            [*PROGRAM, *arguments], env=environment, timeout=180, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout
