"""llama.cpp's own programs, built from the vendored tree with the package's compiler options. Not for: our side."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.registry import Settings

__all__ = ["BUILD", "NAMES", "BatchedBench", "LlamaBench", "batches_of", "build", "program", "samples_of"]

BUILD = ROOT / "build" / "bench"
NAMES = ("llama-bench", "llama-server", "llama-batched-bench")
_CPU_MODULE = re.compile(r"loaded CPU backend from (\S+)")


def build(jobs: int | None = None) -> None:
    """Build them; seconds when nothing changed.

    ``CMAKE_ARGS`` is passed on, as the package's own build does, so that both sides get the same backends.

    Raises:
        SystemExit: cmake is missing or failed; its output says why.
    """
    environment = dict(os.environ)
    # With these a compiler cache takes what the package's own build already compiled.
    environment.setdefault("CCACHE_BASEDIR", str(ROOT))
    environment.setdefault("CCACHE_NOHASHDIR", "1")
    generator = ["-G", "Ninja"] if shutil.which("ninja") and not (BUILD / "Makefile").exists() else []
    options = shlex.split(environment.get("CMAKE_ARGS", ""))
    configure = ["cmake", "-S", str(ROOT / "benchmarks"), "-B", str(BUILD), *generator, *options]
    compile_ = ["cmake", "--build", str(BUILD), "--config", "Release", "--parallel", str(jobs or os.cpu_count() or 1)]
    for command in (configure, compile_):
        print("+", shlex.join(command), flush=True)
        try:
            subprocess.run(_politely(command), env=environment, check=True)
        except FileNotFoundError:
            sys.exit(f"error: {command[0]} is not installed")
        except subprocess.CalledProcessError as error:
            sys.exit(f"error: building llama.cpp's programs failed (exit status {error.returncode})")


def program(name: str) -> Path:
    """The path of a built program.

    Raises:
        SystemExit: it was not built.
    """
    path = BUILD / "bin" / name
    if not path.is_file():
        sys.exit(f"error: {path} is missing; run `python -m benchmarks build` first")
    return path


class LlamaBench:
    """One run of llama-bench: `n_prompt` or `n_gen` tokens, warmed up by itself, `settings.inner` times.

    Attributes:
        samples: Tokens per second of each time.
        variant: File name of the CPU backend that it chose.
        command: What was run.
    """

    def __init__(self, settings: Settings, *, n_prompt: int = 0, n_gen: int = 0) -> None:
        self.command = llama_bench_command(settings, n_prompt=n_prompt, n_gen=n_gen)
        done = subprocess.run(self.command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"llama-bench failed (exit status {done.returncode}): {done.stderr[-2000:]}")
        self.samples = samples_of(done.stdout)
        found = _CPU_MODULE.search(done.stderr)
        self.variant = Path(found[1]).name if found else ""


def llama_bench_command(settings: Settings, *, n_prompt: int, n_gen: int) -> list[str]:
    """The command line of one test."""
    options: dict[str, Any] = {
        "-m": settings.model,
        "-p": n_prompt,
        "-n": n_gen,
        "-t": settings.threads,
        "-b": settings.n_batch,
        "-ub": settings.n_ubatch,
        "-r": settings.inner,
        "-o": "json",
    }
    return [str(program("llama-bench")), *(str(part) for option in options.items() for part in option)]


def samples_of(output: str) -> Sequence[float]:
    """Tokens per second of each repetition, from llama-bench's JSON with one test.

    Raises:
        ValueError: another shape of output.
    """
    tests = json.loads(output)
    if not isinstance(tests, list) or len(tests) != 1 or not tests[0].get("samples_ts"):
        raise ValueError("llama-bench's output does not hold exactly one test with samples")
    return [float(sample) for sample in tests[0]["samples_ts"]]


class BatchedBench:
    """One run of llama-batched-bench: `n_parallel` sequences of `n_prompt` + `n_gen` tokens, each in a part of the
    cache that is its own, `settings.inner` times after one that warms up.

    Attributes:
        speeds: Generated tokens per second of each time, while all sequences generate.
        walls: Seconds of each time, prompts included.
    """

    def __init__(self, settings: Settings, *, n_prompt: int, n_gen: int, n_parallel: int) -> None:
        times = [str(n_parallel)] * (settings.inner + 1)
        options: dict[str, Any] = {
            "-m": settings.model,
            "-c": settings.n_ctx,
            "-b": settings.n_batch,
            "-ub": settings.n_ubatch,
            "-t": settings.threads,
            "-tb": settings.threads,
            "-npp": n_prompt,
            "-ntg": n_gen,
            "-npl": ",".join(times),
            "--output-format": "jsonl",
        }
        self.command = [str(program("llama-batched-bench")), *(str(p) for option in options.items() for p in option)]
        self.command.append("--no-kv-unified")
        done = subprocess.run(self.command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"llama-batched-bench failed (exit status {done.returncode}): {done.stderr[-2000:]}")
        tests = batches_of(done.stdout, len(times))[1:]
        self.speeds = [test["speed_tg"] for test in tests]
        self.walls = [test["t"] for test in tests]


def batches_of(output: str, count: int) -> list[dict[str, float]]:
    """The tests in llama-batched-bench's JSON lines.

    Raises:
        ValueError: there are not `count` of them (it leaves out those that the context is too small for).
    """
    lines = [line[line.index("{") :] for line in output.splitlines() if '"speed_tg"' in line]
    tests: list[dict[str, float]] = [json.loads(line) for line in lines]
    if len(tests) != count:
        raise ValueError(f"llama-batched-bench made {len(tests)} tests of {count}")
    return tests


def _politely(command: list[str]) -> list[str]:
    """A compile of minutes should not make the machine unusable."""
    nice = shutil.which("nice")
    return [nice, "-n", "5", *command] if nice else command
