"""Our verdict on grammars against llama.cpp's own, in child processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gbnf_fuzz import BEYOND, verdict

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", range(3))
def test_changed_grammars_get_llama_cpps_verdict(seed: int, tmp_path: Path) -> None:
    current = tmp_path / "current.gbnf"
    command = [sys.executable, "-m", "tests.gbnf_fuzz", str(seed), "1000", str(current)]
    try:
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.fail(f"llama.cpp does not come back from: {current.read_text(encoding='utf-8')!r}")
    if child.returncode != 0:
        grammar = current.read_text(encoding="utf-8") if current.exists() else child.stderr
        pytest.fail(f"the child ended with {child.returncode} at: {grammar!r}")
    result = json.loads(child.stdout.splitlines()[-1])
    assert result["different"] == []
    seen = result["seen"]
    assert seen["taken"] > 100
    assert seen["refused"] > 300
    assert sum(seen.values()) == 1000


def chain(count: int, unit: str, last: str) -> str:
    rules = [unit.format(f"r{i}", f"r{i + 1}") for i in range(count)]
    return "\n".join(["root ::= r0", *rules, f"r{count} ::= {last}"])


DEADLY = {
    "repetition without end": 'root ::= "a"{3,2}',
    "hidden left recursion": 'b ::= ""\na ::= b\nroot ::= a root "x" | "y"',
    "rule that never begins": 'root ::= dead\nn ::= m\nm ::= ""\ndead ::= n dead',
    "start rule not defined": 'a ::= root\na ::= "x"',
    "exponential recursion test": chain(40, "{0} ::= {1} | {1}", "[x]"),
    "exponential stacks": chain(17, '{0} ::= {1} "a" | {1} "b"', "[x]"),
    "deep groups": "root ::= " + "(" * 200_000 + '"a"' + ")" * 200_000,
    "deep recursion test": chain(200_000, "{0} ::= {1}", "[x]"),
}

DRIVER = """
import sys, resource
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from llama_bind.core.model import Model
from llama_bind.core.sampler_native import Candidates, native
from llama_bind.params import ModelParams
from tests.vectors import LLAMA_CPP
model = Model.load(LLAMA_CPP / "models" / "ggml-vocab-gpt-2.gguf", ModelParams(vocab_only=True))
text = open(sys.argv[1], "rb").read()
print("ready", flush=True)
sampler = native().init["grammar"](model.vocab.ptr, text, b"root")
candidates = Candidates(model.vocab.n_tokens)
candidates.fill(0)
native().apply(sampler, candidates.address)
from llama_bind.lib._guard import check_guard
check_guard()
print("survived" if sampler else "refused")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the child's memory the Linux way")
@pytest.mark.parametrize("name", DEADLY)
def test_what_we_refuse_beyond_llama_cpp_would_kill_it(name: str, tmp_path: Path) -> None:
    """Each check that llama.cpp does not have is there for a reason: it crashes, aborts, or is not back in time."""
    taken, why = verdict(DEADLY[name])
    assert not taken
    assert any(part in why for part in BEYOND), why
    path = tmp_path / "grammar.gbnf"
    path.write_text(DEADLY[name], encoding="utf-8")
    command = [sys.executable, "-c", DRIVER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            out, _ = child.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            return  # it hangs
        finally:
            child.kill()
    assert child.returncode != 0, f"llama.cpp {out.strip()} it: the check is not needed any more"
