"""Finds and opens the native libraries, and looks up symbols in them.

Nothing happens at import: the first symbol that is asked for opens its library and those that it needs. The folder is
the one that the environment variable ``LLAMA_BIND_LIB_DIR`` names, else ``native`` next to this file; when the variable
is set only that folder counts, so that a developer's build is never mixed with an installed one.

ggml's backends are modules that ggml opens itself (:func:`load_backends`). ggml-cpu.h's and ggml-rpc.h's functions live
in such a module; they are taken from the very file that ggml chose for this machine, never from another variant.

Not for: declaring functions (``_ctypes``), or anything about models.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path
from typing import Any

from llama_bind.errors import LibraryNotFoundError, SymbolNotFoundError

__all__ = ["backend_module_path", "load_backends", "native_dir", "open_library", "symbol"]

ENV_DIR = "LLAMA_BIND_LIB_DIR"
ENV_PACKED = "LLAMA_BIND_PACKED"
ENV_ATTENTION = "LLAMA_BIND_ATTENTION"

# Library -> the libraries opened before it. The order lets each find its dependencies already in the process.
_REQUIRES: dict[str, tuple[str, ...]] = {
    "ggml-base": (),
    "ggml": ("ggml-base",),
    "llama": ("ggml-base", "ggml"),
    "mtmd": ("ggml-base", "ggml", "llama"),
    "llama_bind_guard": ("ggml-base", "ggml", "llama", "mtmd"),
}
# A header's functions -> where they may lie, in this order. "@NAME" is the module of ggml's backend NAME.
_PLACES: dict[str, tuple[str, ...]] = {
    "ggml": ("ggml-base", "ggml"),
    "ggml-cpu": ("@CPU", "ggml-base", "ggml"),
    "ggml-rpc": ("@RPC", "ggml"),
    "llama": ("llama",),
    "mtmd": ("mtmd",),
    "guard": ("llama_bind_guard",),
}
# Setting a log callback must be possible before the backends are loaded: loading them writes log lines.
_BEFORE_BACKENDS = frozenset({"llama_log_set", "llama_log_get", "mtmd_log_set", "mtmd_helper_log_set"})

_lock = threading.RLock()
_libraries: dict[str, ctypes.CDLL] = {}
_modules: dict[str, ctypes.CDLL] = {}
_backends_loaded = False


def native_dir() -> Path:
    """The folder that the libraries are taken from. It need not exist."""
    chosen = os.environ.get(ENV_DIR)
    return Path(chosen).absolute() if chosen else Path(__file__).absolute().parent / "native"


def open_library(name: str) -> ctypes.CDLL:
    """The library ``name`` (``ggml-base``, ``ggml``, ``llama``, ``mtmd``, ``llama_bind_guard``), opened once.

    Raises:
        LibraryNotFoundError: the file is missing or the system refused it; ``tried`` says what happened where.
    """
    opened = _libraries.get(name)
    if opened is not None:
        return opened
    with _lock:
        for needed in (*_REQUIRES[name], name):
            if needed not in _libraries:
                _libraries[needed] = _open(native_dir(), needed)
        return _libraries[name]


def symbol(family: str, name: str) -> tuple[ctypes.CDLL, str]:
    """The library that exports ``name`` among those of ``family`` (a key of the table above), and the name.

    Raises:
        LibraryNotFoundError: a library that may hold it cannot be opened.
        SymbolNotFoundError: none of the libraries exports it.
    """
    if family in ("llama", "mtmd") and name not in _BEFORE_BACKENDS:
        load_backends()
    places = []
    for place in _PLACES[family]:
        library = _backend_module(place[1:]) if place.startswith("@") else open_library(place)
        if library is None:
            places.append(f"backend {place[1:]} (not loaded)")
            continue
        if hasattr(library, name):
            return library, name
        places.append(str(library._name))
    raise SymbolNotFoundError(
        f"the native function {name} is in none of: {', '.join(places)}. "
        "The library does not match this Python package, or was built without that part: reinstall llama-bind, "
        f"or unset {ENV_DIR}.",
        symbol=name,
        library=family,
    )


def load_backends() -> None:
    """Load ggml's backends (CPU variant for this machine, GPUs, RPC) from the libraries' folder; once per process.

    Called by itself before the first llama or mtmd function is looked up. ggml's own lines about it are dropped
    unless a log callback was set before.

    Raises:
        LibraryNotFoundError: the libraries cannot be opened, or no backend could be loaded at all.
    """
    global _backends_loaded
    if _backends_loaded:
        return
    with _lock:
        if _backends_loaded:
            return
        ggml = open_library("ggml")
        with _Quiet(_libraries["ggml-base"]):
            ggml.ggml_backend_load_all_from_path(os.fsencode(native_dir()))
        count = ggml.ggml_backend_reg_count
        count.restype = ctypes.c_size_t
        if count() == 0:
            raise LibraryNotFoundError(
                f"no ggml backend could be loaded from {native_dir()}: not one of its {_file_name('ggml-cpu-*')} files "
                "runs on this machine. " + _ADVICE,
                tried=(f"{native_dir()}: no usable backend",),
            )
        _offer_kernels()
        _backends_loaded = True


def _offer_kernels() -> None:
    """Have ggml's CPU backend use this package's layout of weights (``native/packed``) and attention
    (``native/attention``), where the processor's module has them.

    A module that ggml took from elsewhere may be without; then ggml's own do the work, as they do when the environment
    variable ``LLAMA_BIND_PACKED`` or ``LLAMA_BIND_ATTENTION`` is 0.
    """
    module = _find_module("CPU")
    for variable, register in ((ENV_PACKED, "lb_packed_register"), (ENV_ATTENTION, "lb_attention_register")):
        if module is not None and os.environ.get(variable) != "0" and hasattr(module, register):
            getattr(module, register)()


def backend_module_path(backend: str) -> str | None:
    """The file from which ggml took its backend (``"CPU"``, ``"RPC"``, ``"CUDA"``, ...), None if it is not loaded."""
    load_backends()
    module = _backend_module(backend)
    return None if module is None else str(module._name)


_ADVICE = (
    "Reinstall with `pip install --force-reinstall llama-bind`; in a checkout run `pip install -e .`; "
    f"or set {ENV_DIR} to a folder that holds the libraries."
)


def _file_name(name: str) -> str:
    if sys.platform == "win32":
        return f"{name}.dll"
    return f"lib{name}.dylib" if sys.platform == "darwin" else f"lib{name}.so"


def _open(folder: Path, name: str) -> ctypes.CDLL:
    path = folder / _file_name(name)
    if not path.is_file():
        raise LibraryNotFoundError(
            f"the native library {path.name} is not in {folder}. {_ADVICE}", tried=(f"{path}: no such file",)
        )
    if sys.platform == "win32":
        # Kept for the life of the process: backends are opened later and look for their own dependencies.
        os.add_dll_directory(str(folder))
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise LibraryNotFoundError(
            f"the native library {path} cannot be opened: {error}. {_hint(str(error))}{_ADVICE}",
            tried=(f"{path}: {error}",),
        ) from error


def _hint(error: str) -> str:
    if "GLIBC" in error or "CXXABI" in error:
        return "It was built for a newer system than this one. "
    if "libgomp" in error:
        return "The OpenMP runtime is missing: install libgomp1 (Debian, Ubuntu) or libgomp (Fedora, Alpine). "
    if "wrong ELF class" in error or "invalid ELF header" in error or "incompatible architecture" in error:
        return "It was built for another kind of processor. "
    if "cannot open shared object file" in error:
        return "A library that it needs is missing. "
    return ""


class _Quiet:
    """Drop ggml's log lines inside the block, if nobody has set a log callback yet."""

    _initial: tuple[int | None, int | None] | None = None

    def __init__(self, base: ctypes.CDLL) -> None:
        self._get, self._set = base.ggml_log_get, base.ggml_log_set
        self._get.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        self._get.restype = self._set.restype = None
        self._set.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        self._drop = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)

    def _current(self) -> tuple[int | None, int | None]:
        callback, data = ctypes.c_void_p(), ctypes.c_void_p()
        self._get(ctypes.byref(callback), ctypes.byref(data))
        return callback.value, data.value

    def __enter__(self) -> None:
        before = self._current()
        # NULL restores ggml's own callback; if that changes nothing, nobody has set one.
        self._set(None, None)
        self._restore = before
        if before == self._current():
            self._set(ctypes.cast(self._drop, ctypes.c_void_p), None)
        else:
            self._set(*before)

    def __exit__(self, *_: object) -> None:
        self._set(*self._restore)


def _backend_module(backend: str) -> ctypes.CDLL | None:
    """The module that holds ggml's registered backend, found by the address of its registry entry."""
    load_backends()
    return _find_module(backend)


def _find_module(backend: str) -> ctypes.CDLL | None:
    with _lock:
        if backend not in _modules:
            by_name = open_library("ggml").ggml_backend_reg_by_name
            by_name.restype, by_name.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)
            address = by_name(backend.encode())
            if address is None:
                return None
            _modules[backend] = _library_at(address)
        return _modules[backend]


def _library_at(address: int) -> ctypes.CDLL:
    """The already opened library that contains ``address``."""
    if sys.platform == "win32":
        return _library_at_windows(address)

    class DlInfo(ctypes.Structure):
        _fields_ = (
            ("dli_fname", ctypes.c_char_p),
            ("dli_fbase", ctypes.c_void_p),
            ("dli_sname", ctypes.c_char_p),
            ("dli_saddr", ctypes.c_void_p),
        )

    info = DlInfo()
    dladdr = ctypes.CDLL(None).dladdr
    dladdr.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    if not dladdr(address, ctypes.byref(info)) or not info.dli_fname:
        raise LibraryNotFoundError(f"cannot tell which library holds the backend at address {address:#x}")
    return ctypes.CDLL(os.fsdecode(info.dli_fname))


def _library_at_windows(address: int) -> ctypes.CDLL:
    kernel: Any = ctypes.CDLL("kernel32")
    handle = ctypes.c_void_p()
    from_address, unchanged_refcount = 4, 2
    kernel.GetModuleHandleExW.argtypes = (ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p)
    if not kernel.GetModuleHandleExW(from_address | unchanged_refcount, address, ctypes.byref(handle)):
        raise LibraryNotFoundError(f"cannot tell which library holds the backend at address {address:#x}")
    name = ctypes.create_unicode_buffer(32768)
    kernel.GetModuleFileNameW.argtypes = (ctypes.c_void_p, ctypes.c_wchar_p, ctypes.c_uint32)
    kernel.GetModuleFileNameW(handle, name, len(name))
    return ctypes.CDLL(name.value, handle=handle.value)
