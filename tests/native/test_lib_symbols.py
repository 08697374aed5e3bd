"""Every exported function of the mirrored headers is bound; every bound one is exported, bar the known ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

from codegen import headers
from llama_bind.errors import SymbolNotFoundError
from llama_bind.lib import _loader, native_dir, resolve

OURS = ("llama_", "ggml_", "gguf_", "mtmd_", "lb_")


def bound() -> dict[str, Any]:
    """Name -> stub of every function of the mirror."""
    found = {}
    for header in headers.HEADERS:
        module = import_module(f"llama_bind.lib.{header.module}")
        for name, value in vars(module).items():
            stub = getattr(value, "_stub", value)
            if hasattr(stub, "_binding") and stub.__module__ == module.__name__:
                found[name] = stub
    return found


def exported() -> set[str]:
    """The functions that the libraries export, as the system's ``nm`` lists them."""
    nm = shutil.which("nm")
    assert nm is not None, "nm comes with the compiler"
    option = "-gU" if sys.platform == "darwin" else "-D"
    names = set()
    for path in native_dir().iterdir():
        if path.suffix not in (".so", ".dylib"):
            continue
        done = subprocess.run([nm, option, str(path)], capture_output=True, text=True, check=True, timeout=60)
        for line in done.stdout.splitlines():
            kind, symbol = line.split()[-2:]
            if kind == "T":
                names.add(symbol.split("@")[0].removeprefix("_"))
    return {name for name in names if name.startswith(OURS)}


def declared_words() -> set[str]:
    """Every identifier in the headers' code, found without the generator's parser."""
    words: set[str] = set()
    for path in [header.path for header in headers.HEADERS] + [headers.NATIVE / name for name in headers.PARTS]:
        text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        text = re.sub(r"#ifdef\s+__cplusplus.*?#endif", " ", text, flags=re.DOTALL)
        words |= set(re.findall(r"\b\w+\b", text))
    return words


def test_every_exported_function_of_the_headers_is_bound() -> None:
    libraries = exported()
    assert len(libraries) > 1000
    assert sorted(libraries & declared_words() - set(bound())) == []


def test_bound_functions_that_no_library_exports_are_the_known_ones() -> None:
    assert sorted(set(bound()) - exported()) == sorted(headers.NOT_EXPORTED)


@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")
def test_every_function_resolves_with_its_types() -> None:
    failed = []
    for name, stub in bound().items():
        try:
            raw = resolve(stub)
        except SymbolNotFoundError:
            failed.append(name)
            continue
        assert raw.__name__ == name
        assert list(raw.argtypes) == stub._binding[3]
        assert raw.restype is stub._binding[2]
    assert failed == list(headers.NOT_EXPORTED)


def test_a_function_that_is_missing_says_which_libraries_were_searched() -> None:
    from llama_bind.lib import ggml_cpu_h

    with pytest.raises(SymbolNotFoundError, match="ggml_threadpool_get_n_threads is in none of") as caught:
        ggml_cpu_h.ggml_threadpool_get_n_threads(None)
    assert "ggml-cpu" in str(caught.value)


def test_backend_functions_come_from_the_module_that_ggml_chose() -> None:
    from llama_bind.lib import ggml_backend_h, ggml_cpu_h, ggml_rpc_h

    path = _loader.backend_module_path("CPU")
    assert path is not None
    assert path.startswith(str(native_dir()))
    # The registry knows one CPU backend; the function of the chosen module returns that very one.
    assert ggml_cpu_h.ggml_backend_cpu_reg() == ggml_backend_h.ggml_backend_reg_by_name(b"CPU")
    assert ggml_rpc_h.ggml_backend_rpc_reg() == ggml_backend_h.ggml_backend_reg_by_name(b"RPC")
    assert _loader.backend_module_path("NO_SUCH_BACKEND") is None


def test_the_variant_chosen_has_the_best_score() -> None:
    import ctypes

    scores = {}
    for path in native_dir().glob("*ggml-cpu-*"):
        score = ctypes.CDLL(str(path)).ggml_backend_score
        score.restype = ctypes.c_int
        scores[str(path)] = score()
    if scores:  # a build for one machine has a single CPU module without a score
        assert scores[str(_loader.backend_module_path("CPU"))] == max(scores.values()) > 0
