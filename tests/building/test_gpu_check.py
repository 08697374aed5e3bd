from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from buildsystem.pin import ROOT
from tests.tiny_gguf import write_tiny_llama

SCRIPT = ROOT / "scripts" / "gpu_check.py"
CPU = {"gpus": ["CUDA CUDA0: X"], "text": " Paris.", "offloaded": [0, 31]}
GPU = {**CPU, "offloaded": [31, 31]}


@pytest.fixture(scope="module")
def gpu_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("gpu", "cpu", "status", "says"),
    [
        ({}, {}, 0, "all 31 layers on CUDA"),
        ({"text": " London."}, {}, 1, "texts differ"),
        ({"text": ""}, {"text": ""}, 1, "texts differ"),
        ({"offloaded": [30, 31]}, {}, 1, "not every layer"),
        ({"offloaded": None}, {}, 1, "not every layer"),
        ({}, {"offloaded": [31, 31]}, 1, "CPU's run had 31 layers"),
        ({"gpus": [], "text": None, "offloaded": None}, {}, 2, "not checked"),
    ],
)
def test_judgement(gpu_check: ModuleType, gpu: dict[str, Any], cpu: dict[str, Any], status: int, says: str) -> None:
    code, sentence = gpu_check.judge({**GPU, **gpu}, {**CPU, **cpu})
    assert code == status
    assert says in sentence


def test_both_runs_report_what_they_did(gpu_check: ModuleType, tmp_path: Path) -> None:
    """The child program itself, on the CPU: it lists devices, counts layers and generates."""
    model = write_tiny_llama(tmp_path / "tiny.gguf")
    result = gpu_check.generate(Path(sys.executable), str(model), 0, 4)
    assert result["text"]
    assert result["offloaded"][0] == 0
    assert result["offloaded"][1] > 0


def test_a_machine_without_gpu_is_not_a_pass(gpu_check: ModuleType, tmp_path: Path) -> None:
    model = write_tiny_llama(tmp_path / "tiny.gguf")
    if gpu_check.generate(Path(sys.executable), str(model), 0, 1)["gpus"]:
        pytest.skip("this machine's build has a GPU")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--python", sys.executable, "--model", model],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "not checked" in done.stdout
