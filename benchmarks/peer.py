"""llama-cpp-python of the release that carries the vendored llama.cpp, in an environment of its own.

Its Python code is installed without compiling llama.cpp a second time (its option LLAMA_BUILD=OFF), and finds the
libraries that ``programs`` built through LLAMA_CPP_LIB_PATH: both sides run the same native code. Not for: our side.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.programs import BUILD
from benchmarks.registry import Measurement, Settings
from buildsystem.pin import read_pin

__all__ = ["FOLDER", "install", "langchain", "peer_python", "sequentially"]

FOLDER = ROOT / "build" / "bench-peer"
PROGRAM = ROOT / "benchmarks" / "peer_program.py"
BESIDE = (
    "langchain-community~=0.4",
    "fastapi",
    "pydantic-settings",
    "pyyaml",
    "sse-starlette",
    "starlette-context",
    "uvicorn",
)
"""For its server, and for LangChain's classes that use it."""
INSTALL_SECONDS = 600
MARK = "done: "


def install() -> None:
    """Make the environment; a moment when it is there already.

    Raises:
        SystemExit: it could not be made; pip's output says why.
    """
    requirement = read_pin().fallback
    stamp = FOLDER / "installed"
    wanted = "\n".join((requirement, *BESIDE))
    if stamp.exists() and stamp.read_text() == wanted:
        return
    environment = {**os.environ, "CMAKE_ARGS": "-DLLAMA_BUILD=OFF"}
    package = requirement.partition("==")[0]
    pip = [str(peer_python()), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    make = [sys.executable, "-m", "venv", "--clear", str(FOLDER)]
    for command in (make, [*pip, "--no-binary", package, requirement], [*pip, *BESIDE]):
        print("+", " ".join(command), flush=True)
        try:
            subprocess.run(command, env=environment, check=True, timeout=INSTALL_SECONDS)
        except subprocess.CalledProcessError as error:
            sys.exit(f"error: installing {requirement} failed (exit status {error.returncode})")
        except subprocess.TimeoutExpired:
            sys.exit(f"error: installing {requirement} took more than {INSTALL_SECONDS} s")
    stamp.write_text(wanted)


def sequentially(settings: Settings, rounds: Sequence[Sequence[str]], max_tokens: int, n_ctx: int) -> Measurement:
    """Wall time of completing the prompts of a round one after the other, which is all it can do: median of the rounds
    after the first, which warms up.

    Raises:
        SystemExit: it is not installed.
        RuntimeError: it failed.
    """
    if not peer_python().is_file():
        sys.exit(f"error: {FOLDER} is missing; run `python -m benchmarks build` first")
    libraries = BUILD / "bin"
    job: dict[str, Any] = {
        "model": str(settings.model),
        "n_threads": settings.threads,
        "n_ctx": n_ctx,
        "n_batch": settings.n_batch,
        "n_ubatch": settings.n_ubatch,
        "rounds": rounds,
        "max_tokens": max_tokens,
        "libraries": str(libraries),
    }
    environment = {**os.environ, "LLAMA_CPP_LIB_PATH": str(libraries)}
    done = subprocess.run(
        [str(peer_python()), str(PROGRAM)],
        input=json.dumps(job),
        env=environment,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    return answer(done.stdout, done.stderr, done.returncode)


def langchain(settings: Settings, rounds: Sequence[Sequence[str]], max_tokens: int, *, ours: bool) -> Measurement:
    """Wall time of a round of questions to LangChain's classes: ours at once, theirs one after the other.

    Raises:
        SystemExit: what it needs is not installed.
        RuntimeError: it failed.
    """
    python = ROOT / "build" / "judges" / "bin" / "python" if ours else peer_python()
    if not python.is_file():
        needed = "make judges" if ours else "python -m benchmarks build"
        sys.exit(f"error: {python.parent.parent} is missing; run `{needed}` first")
    libraries = BUILD / "bin"
    job: dict[str, Any] = {
        "side": "ours" if ours else "theirs",
        "model": str(settings.model),
        "n_threads": settings.threads,
        "n_ctx": 1024,
        "rounds": rounds,
        "max_tokens": max_tokens,
        "libraries": str(libraries),
    }
    environment = dict(os.environ) if ours else {**os.environ, "LLAMA_CPP_LIB_PATH": str(libraries)}
    done = subprocess.run(
        [str(python), str(ROOT / "benchmarks" / "langchain_program.py")],
        input=json.dumps(job), env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
    )  # fmt: skip
    return answer(done.stdout, done.stderr, done.returncode)


def answer(stdout: str, stderr: str, status: int) -> Measurement:
    """What the program measured, from what it wrote.

    Raises:
        RuntimeError: it failed; the message holds the end of what it wrote.
    """
    lines = [line for line in stdout.splitlines() if line.startswith(MARK)]
    if status != 0 or not lines:
        raise RuntimeError(f"the program failed (exit status {status}): {(stdout + stderr)[-2000:]}")
    found: dict[str, Any] = json.loads(lines[-1][len(MARK) :])
    walls: list[float] = found["walls"]
    value = statistics.median(walls[1:] or walls)
    return Measurement(
        value,
        {"generated tokens": float(found["tokens"])} if found["tokens"] else {},
        {"cpu backend": found["variant"]} if found["variant"] else {},
        tuple(found["texts"]),
    )


def peer_python() -> Path:
    """Its interpreter."""
    return FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
