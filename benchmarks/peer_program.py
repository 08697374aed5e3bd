"""Runs llama-cpp-python; started with the interpreter of its own environment (see ``peer``), by path.

Reads a job as JSON from standard input: model, n_threads, n_ctx, n_batch, n_ubatch, rounds (lists of prompts),
max_tokens, libraries (the folder of libllama). Writes seconds for each round, and texts
and number of generated tokens of the last one. Not for:
people.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["load_backends"]

MARK = "done: "


def main() -> None:
    """Do the job."""
    job: dict[str, Any] = json.loads(sys.stdin.read())
    package: Any = importlib.import_module("llama_cpp")
    load_backends(Path(job["libraries"]))
    llm: Any = package.Llama(
        job["model"],
        n_ctx=job["n_ctx"],
        n_batch=job["n_batch"],
        n_ubatch=job["n_ubatch"],
        n_threads=job["n_threads"],
        n_threads_batch=job["n_threads"],
        verbose=False,
    )
    walls: list[float] = []
    texts: list[str] = []
    tokens = 0
    for prompts in job["rounds"]:
        start = time.perf_counter()
        results = [llm.create_completion(prompt, max_tokens=job["max_tokens"], temperature=0.0) for prompt in prompts]
        walls.append(time.perf_counter() - start)
        texts = [result["choices"][0]["text"] for result in results]
        tokens = sum(result["usage"]["completion_tokens"] for result in results)
    done = {"walls": walls, "texts": texts, "tokens": tokens, "variant": _cpu_backend()}
    print(MARK + json.dumps(done), flush=True)


def load_backends(folder: Path) -> None:
    """The package expects its backends inside libggml; here they are modules, which have to be loaded by name."""
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    load = ctypes.CDLL(str(folder / f"libggml{suffix}")).ggml_backend_load_all_from_path
    load.argtypes, load.restype = [ctypes.c_char_p], None
    load(str(folder).encode())


def _cpu_backend() -> str:
    maps = Path("/proc/self/maps")
    found = re.search(r"(libggml-cpu[^/\s]*\.so)", maps.read_text()) if maps.exists() else None
    return found[1] if found else ""


if __name__ == "__main__":
    main()
