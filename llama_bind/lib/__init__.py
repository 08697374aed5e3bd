"""The C API of llama.cpp, ggml, gguf and mtmd, one module per header, under the C names.

::

    from llama_bind.lib import llama_h
    params = llama_h.llama_model_default_params()

==================  ====================  ====================================================
module              header                holds
==================  ====================  ====================================================
``llama_h``         llama.h               models, contexts, vocabularies, samplers, state
``ggml_h``          ggml.h                tensors, graphs, operations
``ggml_alloc_h``    ggml-alloc.h          graph and tensor allocators
``ggml_backend_h``  ggml-backend.h        devices, buffers, backend registry, scheduler
``ggml_cpu_h``      ggml-cpu.h            the CPU backend, thread pools
``ggml_opt_h``      ggml-opt.h            training
``gguf_h``          gguf.h                GGUF files
``ggml_rpc_h``      ggml-rpc.h            remote devices
``mtmd_h``          mtmd.h                images and audio
``mtmd_helper_h``   mtmd-helper.h         decoding media files, evaluating chunks
``guard_h``         llama_bind_guard.h    the same calls, with failed assertions as errors
==================  ====================  ====================================================

Importing opens no library; the first call does (see ``docs/low-level.md``). Next to the modules:

- ``load_backends()``: load ggml's devices now instead of at the first llama function.
- ``native_dir()``: where the libraries are looked for.
- ``resolve(function)``: the raw ctypes function behind a function of these modules.
- ``retype(function, restype=, argtypes=)``: a second raw function with other ctypes conversions.
- ``check_guard()``: raise what the last guarded call of this thread caught.

Not for: Python objects with lifetimes and checks; those are in :mod:`llama_bind.core` and :class:`llama_bind.Llama`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_bind.lib import (
        ggml_alloc_h,
        ggml_backend_h,
        ggml_cpu_h,
        ggml_h,
        ggml_opt_h,
        ggml_rpc_h,
        gguf_h,
        guard_h,
        llama_h,
        mtmd_h,
        mtmd_helper_h,
    )
    from llama_bind.lib._ctypes import resolve, retype
    from llama_bind.lib._guard import check_guard
    from llama_bind.lib._loader import backend_module_path, load_backends, native_dir

__all__ = [
    "backend_module_path",
    "check_guard",
    "ggml_alloc_h",
    "ggml_backend_h",
    "ggml_cpu_h",
    "ggml_h",
    "ggml_opt_h",
    "ggml_rpc_h",
    "gguf_h",
    "guard_h",
    "llama_h",
    "load_backends",
    "mtmd_h",
    "mtmd_helper_h",
    "native_dir",
    "resolve",
    "retype",
]

_HELPERS = {
    "backend_module_path": "_loader",
    "check_guard": "_guard",
    "load_backends": "_loader",
    "native_dir": "_loader",
    "resolve": "_ctypes",
    "retype": "_ctypes",
}


def __getattr__(name: str) -> Any:
    """Import a module, or a helper's module, when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _HELPERS:
        return getattr(import_module(f"{__name__}.{_HELPERS[name]}"), name)
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
