"""Importing opens nothing and is cheap; a missing or broken library is an error that says what to do."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_bind import lib
from llama_bind.errors import LibraryNotFoundError, SymbolNotFoundError
from llama_bind.lib import _loader

MODULES = [name for name in lib.__all__ if name.endswith("_h")]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A loader that has opened nothing yet and looks in an empty folder."""
    monkeypatch.setenv(_loader.ENV_DIR, str(tmp_path))
    monkeypatch.setattr(_loader, "_libraries", {})
    monkeypatch.setattr(_loader, "_modules", {})
    monkeypatch.setattr(_loader, "_backends_loaded", False)
    return tmp_path


def test_importing_every_module_opens_no_library(tmp_path: Path) -> None:
    code = (
        "import ctypes, sys\n"
        "opened = []\n"
        "init = ctypes.CDLL.__init__\n"
        "ctypes.CDLL.__init__ = lambda self, name, *a, **k: (opened.append(name), init(self, name, *a, **k))[1]\n"
        f"import llama_bind.lib\nfor name in {MODULES!r}: getattr(llama_bind.lib, name)\n"
        "print(opened)\n"
    )
    done = python(code, LLAMA_BIND_LIB_DIR=str(tmp_path))
    assert done.stdout.strip() == "[]", done.stderr


def test_the_package_loads_its_modules_on_demand() -> None:
    done = python(
        "import sys, llama_bind.lib; print(sorted(n for n in sys.modules if n.startswith('llama_bind.lib.')))"
    )
    assert done.stdout.strip() == "[]", done.stderr
    done = python("import sys, llama_bind; print(any(n.endswith('_h') for n in sys.modules if 'llama_bind' in n))")
    assert done.stdout.strip() == "False", done.stderr


def test_importing_llama_h_is_cheap() -> None:
    code = (
        "import ctypes, enum, pathlib, typing, warnings, threading\n"
        "import llama_bind.lib.llama_h, sys, time\n"  # once, so that the byte code exists
        "for name in [n for n in sys.modules if n.startswith('llama_bind')]: del sys.modules[name]\n"
        "start = time.process_time()\nimport llama_bind.lib.llama_h\nprint(time.process_time() - start)\n"
    )
    best = min(float(python(code, PYTHONDONTWRITEBYTECODE="").stdout) for _ in range(3))
    assert best < 0.1, f"{best * 1000:.0f} ms"


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lib.nonsense  # noqa: B018
    assert set(MODULES) <= set(dir(lib))


def test_a_missing_library_says_where_and_what_to_do(fresh: Path) -> None:
    with pytest.raises(LibraryNotFoundError) as caught:
        _loader.open_library("llama")
    message = str(caught.value)
    assert str(fresh) in message
    assert "pip install" in message
    assert "LLAMA_BIND_LIB_DIR" in message
    assert caught.value.tried == (f"{fresh / _loader._file_name('ggml-base')}: no such file",)
    assert isinstance(caught.value, OSError)


def test_a_file_that_is_no_library_says_so(fresh: Path) -> None:
    path = fresh / _loader._file_name("ggml-base")
    path.write_bytes(b"not a library")
    with pytest.raises(LibraryNotFoundError, match="cannot be opened") as caught:
        _loader.open_library("ggml-base")
    assert str(path) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_calling_without_a_library_is_that_error_each_time(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_bind.lib import ggml_h

    stub = _stub(ggml_h.ggml_time_us)
    monkeypatch.delitem(stub.__dict__, "_raw", raising=False)
    for _ in range(2):
        with pytest.raises(LibraryNotFoundError, match=str(fresh)):
            stub()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("/lib/libc.so.6: version `GLIBC_2.38' not found", "newer system"),
        ("libgomp.so.1: cannot open shared object file", "libgomp1"),
        ("wrong ELF class: ELFCLASS32", "another kind of processor"),
        ("libcuda.so.1: cannot open shared object file", "library that it needs is missing"),
        ("something else", ""),
    ],
)
def test_hints_name_the_usual_causes(error: str, words: str) -> None:
    assert words in _loader._hint(error).lower()
    assert bool(_loader._hint(error)) == bool(words)


@pytest.mark.usefixtures("fresh")
def test_a_missing_symbol_names_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = ctypes.CDLL(None)
    monkeypatch.setattr(_loader, "_libraries", {"ggml-base": nothing, "ggml": nothing})
    with pytest.raises(SymbolNotFoundError, match="ggml_no_such_thing is in none of") as caught:
        _loader.symbol("ggml", "ggml_no_such_thing")
    assert (caught.value.symbol, caught.value.library) == ("ggml_no_such_thing", "ggml")
    assert isinstance(caught.value, AttributeError)


def test_the_environment_wins_over_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(_loader.ENV_DIR, raising=False)
    assert _loader.native_dir() == Path(lib.__file__).absolute().parent / "native"
    monkeypatch.setenv(_loader.ENV_DIR, str(tmp_path))
    assert _loader.native_dir() == tmp_path


def test_stubs_are_documented_and_inspectable() -> None:
    import inspect

    from llama_bind.lib import llama_h

    stub = _stub(llama_h.llama_tokenize)
    assert stub.__name__ == "llama_tokenize"
    assert "@param tokens" in (stub.__doc__ or "")
    assert list(inspect.signature(stub).parameters)[:2] == ["vocab", "text"]


def _stub(function: Any) -> Any:
    """The stub, also when another test has already called the function."""
    return getattr(function, "_stub", function)
