"""Builds with a GPU backend, offloads every layer, and compares the greedy text with the CPU's.

`python scripts/gpu_check.py` on a machine with an NVIDIA GPU and the CUDA toolkit; other backends with `--backend`.
Everything is made in `build/gpu_check`, apart from the checkout's own environment. Not for speed: see `benchmarks/`.

Exit status: 0 the GPU wrote the CPU's text; 1 it did not, or the build failed; 2 nothing could be checked, because the
build shows no GPU on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = {"cuda": "-DGGML_CUDA=on", "hip": "-DGGML_HIP=on", "metal": "-DGGML_METAL=on", "vulkan": "-DGGML_VULKAN=on"}
PROMPT = "The capital of France is"

CHILD = """
import json, logging, re, sys
from llama_bind import Llama
from llama_bind.core.devices import devices
from llama_bind.hub import resolve_model

model, layers, tokens, prompt = json.loads(sys.argv[1])
lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("llama_bind").addHandler(Keep())
logging.getLogger("llama_bind").setLevel(logging.INFO)
gpus = [f"{d.backend} {d.name}: {d.description}" for d in devices() if d.type in ("gpu", "igpu")]
text, offloaded = None, None
if gpus or not layers:
    with Llama(resolve_model(model), n_ctx=512, n_gpu_layers=layers, seed=1) as llm:
        text = llm(prompt, max_tokens=tokens, temperature=0.0)["choices"][0]["text"]
    found = [m.groups() for line in lines for m in re.finditer(r"offloaded (\\d+)/(\\d+) layers", line)]
    offloaded = [int(n) for n in found[-1]] if found else None
print("RESULT " + json.dumps({"gpus": gpus, "text": text, "offloaded": offloaded}))
"""


def build(backend: str) -> Path:
    """Installs the package with that backend into an environment of its own; returns its Python."""
    home = ROOT / "build" / "gpu_check" / backend
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
    environment = {**os.environ, "CMAKE_ARGS": f"{OPTIONS[backend]} {os.environ.get('CMAKE_ARGS', '')}".strip()}
    install: list[str | Path] = [python, "-m", "pip", "install", "--verbose", "--force-reinstall", "--no-deps", ROOT]
    subprocess.run(install, env=environment, check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "llama-bind[hub]"], check=True)
    return python


def generate(python: Path, model: str, layers: int, tokens: int) -> dict[str, Any]:
    """Generates greedily in a process of its own, with that many layers on the GPU; returns what it reported."""
    command: list[str | Path] = [python, "-I", "-c", CHILD, json.dumps([model, layers, tokens, PROMPT])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return result


def judge(gpu: dict[str, Any], cpu: dict[str, Any]) -> tuple[int, str]:
    """Returns the exit status and the sentence for what the two runs reported."""
    if not gpu["gpus"]:
        return 2, "not checked: the build shows no GPU on this machine (is there one, with its driver?)"
    if cpu["offloaded"] is not None and cpu["offloaded"][0] != 0:
        return 1, f"failed: the CPU's run had {cpu['offloaded'][0]} layers on the GPU"
    if gpu["offloaded"] is None or gpu["offloaded"][0] != gpu["offloaded"][1] or not gpu["offloaded"][1]:
        return 1, f"failed: not every layer was offloaded ({gpu['offloaded']})"
    if not cpu["text"] or gpu["text"] != cpu["text"]:
        return 1, f"failed: the texts differ\n  CPU: {cpu['text']!r}\n  GPU: {gpu['text']!r}"
    return 0, f"passed: all {gpu['offloaded'][1]} layers on {gpu['gpus'][0]}, same text: {gpu['text']!r}"


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=sorted(OPTIONS), default="cuda")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a model file or known name")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--python", type=Path, help="check the package installed there instead of building one")
    options = parser.parse_args()
    try:
        python = options.python or build(options.backend)
        gpu = generate(python, options.model, 9999, options.tokens)
        cpu = generate(python, options.model, 0, options.tokens) if gpu["gpus"] else gpu
    except (subprocess.SubprocessError, StopIteration) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    status, sentence = judge(gpu, cpu)
    print(sentence)
    return status


if __name__ == "__main__":
    sys.exit(main())
