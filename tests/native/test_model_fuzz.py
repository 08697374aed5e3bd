"""Damaged model files never end the process: some hundred of them, loaded and used in a child process.

``LLAMA_BIND_FUZZ_CASES`` and ``LLAMA_BIND_FUZZ_SEED`` run more of them, or others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as TensorType

from llama_bind.core.gguf_check import check_model_file
from tests.core_helpers import run_child
from tests.tiny_gguf import (
    tiny_llama,
    write_tiny_bert,
    write_tiny_llama,
    write_tiny_lora,
    write_tiny_mamba,
)

CASES = int(os.environ.get("LLAMA_BIND_FUZZ_CASES", "480"))
SEED = int(os.environ.get("LLAMA_BIND_FUZZ_SEED", "1"))
ROOT = Path(__file__).parent.parent.parent
SECONDS_PER_CASE = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files of every kind of tokenizer and memory."""
    folder = tmp_path_factory.mktemp("fuzz")
    write_tiny_llama(folder / "base.gguf")
    write_tiny_llama(folder / "good-bpe.gguf")
    write_tiny_llama(folder / "good-spm.gguf", tokenizer="spm", fim=True, tensor_type=TensorType.F16)
    write_tiny_llama(folder / "good-quantized.gguf", n_embd=64, tensor_type=TensorType.Q8_0, tied=True, n_head_kv=1)
    write_tiny_llama(folder / "good-unigram.gguf", tokenizer="ugm", n_layer=1)
    write_tiny_llama(folder / "good-rwkv-trie.gguf", tokenizer="rwkv", n_layer=1)
    write_tiny_llama(folder / "good-experts.gguf", n_expert=4, n_layer=1)
    write_tiny_bert(folder / "good-bert.gguf")
    write_tiny_bert(folder / "good-rank.gguf", pooling_type=4)
    write_tiny_mamba(folder / "good-mamba.gguf")
    write_tiny_lora(folder / "good-lora.gguf")
    return folder


def run_cases(folder: Path, first: int, last: int) -> tuple[list[str], Counter[str]]:
    """Deaths, one line each, and what became of the other cases; a dead child is replaced behind its last case."""
    progress = folder / "progress"
    deaths: list[str] = []
    outcomes: Counter[str] = Counter()
    while first < last:
        progress.write_text("")
        command = [sys.executable, "-m", "tests.fuzz_child", str(folder), str(first), str(last)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
            end, errors = wait(child, progress)
        lines = progress.read_text(encoding="utf-8").splitlines()
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "end":
                outcomes[rest.partition(" ")[2]] += 1
        if end == "0":
            return deaths, outcomes
        assert lines, f"the child did not even begin: {errors}"
        if not lines[-1].startswith("begin"):
            raise AssertionError(f"the child ended between two cases: {end}\n{errors}")
        deaths.append(f"{end}: {lines[-1]}\n{errors}")
        first = int(lines[-1].split(" ", 2)[1]) + 1
    return deaths, outcomes


def wait(child: subprocess.Popen[bytes], progress: Path) -> tuple[str, str]:
    """How the child ended; one that makes no progress for some seconds is killed and counts as hanging."""
    seen = -1
    while True:
        try:
            _, errors = child.communicate(timeout=SECONDS_PER_CASE)
            return str(child.returncode), errors.decode(errors="replace")[-600:]
        except subprocess.TimeoutExpired:
            size = progress.stat().st_size
            if size == seen:
                child.kill()
                child.communicate()
                return "hangs", ""
            seen = size


@pytest.mark.slow
def test_no_damaged_file_ends_the_process(folder: Path) -> None:
    deaths, outcomes = run_cases(folder, SEED, SEED + CASES)
    print(dict(outcomes))
    assert not deaths, f"{len(deaths)} of {CASES} cases ended the process:\n" + "\n".join(deaths)
    unexpected = {k: n for k, n in outcomes.items() if k.startswith("unexpected")}
    assert not unexpected
    assert sum(outcomes.values()) == CASES
    assert outcomes["ran"] > CASES // 20, "hardly any file was usable: the damage is too heavy to find anything"
    assert outcomes["refused by the check"] > CASES // 4


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "3e38"])
def test_weights_that_are_no_numbers_still_give_a_token_or_an_error(tmp_path: Path, value: str) -> None:
    model = tiny_llama()
    for name in ("output.weight", "blk.0.attn_v.weight"):
        model.tensors[name][:] = float(value)
    model.save(tmp_path / "model.gguf")
    code = f"""
        from pathlib import Path
        from llama_bind.errors import LlamaBindError
        from tests.fuzz_child import use_model
        try:
            print(use_model(Path({str(tmp_path / "model.gguf")!r}), False))
        except LlamaBindError as e:
            print("error", e)
    """
    done = run_child(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("ran", "error"))


def test_what_the_check_leaves_to_llama_cpp_is_an_error_and_no_death(tmp_path: Path) -> None:
    """Kept because the check cannot know it: which architectures need keys and values of one size is in the code of
    each graph. llama.cpp asserts it when a context is made, on the calling thread: the guard makes it an error.
    """
    model = tiny_llama(metadata={"llama.attention.value_length": 32})
    for layer in range(2):
        model.tensors[f"blk.{layer}.attn_v.weight"] = np.ones((64, 32), np.float32)
    model.save(tmp_path / "model.gguf")
    check_model_file(tmp_path / "model.gguf")
    code = f"""
        from llama_bind.errors import LlamaBindError
        model = Model.load({str(tmp_path / "model.gguf")!r}, ModelParams())
        try:
            make_context(model)
        except LlamaBindError as e:
            print("error", e)
    """
    done = run_child(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("error")
    assert "n_embd_head" in done.stdout
