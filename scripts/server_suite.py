"""llama.cpp's own server tests (vendor/llama.cpp/tools/server/tests) against our server, one file after the other.

    python -m scripts.server_suite [FILE ...] [-k EXPRESSION] [--slow] [--show] [--judge]

The tests start a server for each case by llama-server's command line (``llama_server``). The models that they name are
not fetched: the default model stands in for the ones that generate, tiny ones made here for the others, and what only
tells of a model's text is not judged (``server_suite_plugin``). What fails is looked up in
``server_suite_known.toml``: for the model, or on purpose. Anything else is a fault, and the exit status 1.

Needs pytest, requests, openai and prometheus-client. Not for: the project's own tests.
"""

from __future__ import annotations

import argparse
import collections
import fnmatch
import importlib
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from llama_bind.hub.find import find_model
from scripts.llama_server import STAND_INS
from tests.tiny_gguf import write_tiny_bert, write_tiny_llama, write_tiny_lora

__all__ = ["KNOWN", "known_reasons", "main"]

ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT / "vendor" / "llama.cpp" / "tools" / "server" / "tests"
WORK = ROOT / "build" / "server_suite"
KNOWN = ROOT / "scripts" / "server_suite_known.toml"
KINDS = ("passed", "skipped", "model", "deliberate", "FAULT")


def known_reasons() -> list[tuple[str, str, str]]:
    """Pattern of a test's name, kind ("model" or "deliberate"), and why it fails."""
    tables = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(
        KNOWN.read_text(encoding="utf-8")
    )
    return [
        (pattern, kind, entry["why"])
        for kind in ("model", "deliberate")
        for entry in tables[kind]
        for pattern in entry["tests"]
    ]


def stand_ins() -> tuple[Path, Path]:
    """The tables of models and of files that stand in for others; the tiny ones are written."""
    WORK.mkdir(parents=True, exist_ok=True)
    llama = write_tiny_llama(WORK / "tiny.gguf", n_ctx_train=8192)
    embeds = str(write_tiny_bert(WORK / "bert.gguf", n_ctx_train=1024))
    models = {
        "": str(find_model(None)),
        "ggml-org/models/bert-bge-small/ggml-model-f16.gguf": embeds,
        "ggml-org/models/jina-reranker-v1-tiny-en/ggml-model-f16.gguf": str(
            write_tiny_bert(WORK / "reranker.gguf", n_ctx_train=1024, pooling_type=4)
        ),
        "ggml-org/test-model-stories260K-infill": str(
            write_tiny_llama(WORK / "infill.gguf", fim=True, fim_repo=True, n_ctx_train=8192)
        ),
        "ggml-org/stories15M_MOE": str(llama),
        "ggml-org/stories15M_MOE/stories15M_MOE-F16.gguf": str(llama),
    }
    files = {
        "moe_shakespeare15M.gguf": str(write_tiny_lora(WORK / "lora.gguf", n_ctx_train=8192)),
        "stories15M-q4_0.gguf": str(llama),
    }
    tables = WORK / "models.json", WORK / "files.json"
    for table, content in zip(tables, (models, files), strict=True):
        table.write_text(json.dumps(content), encoding="utf-8")
    return tables


def launcher() -> Path:
    """An executable that is `llama_server`: the tests take a path, not a command."""
    path = WORK / "llama-server"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from scripts.llama_server import main\nsys.exit(main())\n",
        encoding="utf-8",
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run_file(file: Path, tables: tuple[Path, Path], arguments: argparse.Namespace) -> dict[str, Any]:
    """How each test of a file ended."""
    report = WORK / f"{file.stem}.json"
    before: dict[str, Any] = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    if arguments.judge:
        return before
    report.unlink(missing_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    environment = {
        **os.environ,
        "LLAMA_SERVER_BIN_PATH": str(launcher()),
        "LLAMA_SUITE_TESTS": str(SUITE),
        "LLAMA_SUITE_FILES": str(tables[1]),
        "LLAMA_SUITE_REPORT": str(report),
        STAND_INS: str(tables[0]),
        "PORT": str(port),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",  # the vendored tree stays as it is
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    command = [sys.executable, "-m", "pytest", "-p", "scripts.server_suite_plugin", "-p", "no:cacheprovider", "-q"]
    command += ["--timeout=180", f"--basetemp={WORK / 'tmp'}", f"unit/{file.name}"]
    command += [] if arguments.slow else ["-m", "not slow"]
    command += ["-k", arguments.k] if arguments.k else []
    with (WORK / f"{file.stem}.log").open("w", encoding="utf-8") as log:
        subprocess.run(command, cwd=SUITE, env=environment, stdout=log, stderr=log, check=False)
    if not report.exists():
        return {f"unit/{file.name}::(none)": {"outcome": "failed", "seconds": 0.0, "said": f"see {log.name}"}}
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    if arguments.k:
        found = {**before, **found}
        report.write_text(json.dumps(found), encoding="utf-8")
    return found


def judged(name: str, result: dict[str, Any], known: list[tuple[str, str, str]]) -> str:
    """One of `KINDS`."""
    if result["outcome"] != "failed":
        return str(result["outcome"])
    for pattern, kind, _ in known:
        if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")):
            return kind
    return "FAULT"


def main(given: list[str] | None = None) -> int:
    """Run the files and print how many tests of each passed."""
    arguments_of = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments_of.add_argument("files", nargs="*", help="test_completion, ...; none: all")
    arguments_of.add_argument("-k", help="as pytest's -k")
    arguments_of.add_argument("--slow", action="store_true", help="also the tests marked slow")
    arguments_of.add_argument("--judge", action="store_true", help="run nothing; judge the results of the last time")
    arguments_of.add_argument("--show", action="store_true", help="what every failed test said")
    arguments = arguments_of.parse_args(given)
    names = arguments.files or sorted(path.stem for path in (SUITE / "unit").glob("test_*.py"))
    tables, known = stand_ins(), known_reasons()
    total: collections.Counter[str] = collections.Counter()
    print(f"{'file':<34}" + "".join(f"{kind:>11}" for kind in KINDS), flush=True)
    for file in (SUITE / "unit" / f"{Path(name).stem}.py" for name in names):
        counts: collections.Counter[str] = collections.Counter()
        told: list[str] = []
        for test, result in run_file(file, tables, arguments).items():
            name = test.removeprefix("unit/").replace(".py::", "::")
            kind = judged(name, result, known)
            counts[kind] += 1
            if kind == "FAULT" or (arguments.show and result["outcome"] == "failed"):
                told.append(f"  {kind} {name}: {' '.join(result['said'].split())[:300]}")
        print(f"{file.stem:<34}" + "".join(f"{counts[kind]:>11}" for kind in KINDS), *told, sep="\n", flush=True)
        total += counts
    print(f"{'together':<34}" + "".join(f"{total[kind]:>11}" for kind in KINDS))
    return int(total["FAULT"] > 0)


if __name__ == "__main__":
    sys.exit(main())
