"""Which headers are mirrored, into which module, and which libraries hold their functions.

The order is that of inclusion: a module may import from earlier ones only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "vendor" / "llama.cpp"
OUTPUT = ROOT / "llama_bind" / "lib"


@dataclass(frozen=True)
class Header:
    """One mirrored header. ``family`` is a key of the loader's table of libraries."""

    name: str
    module: str
    family: str
    folder: Path

    @property
    def path(self) -> Path:
        """Where the header lies."""
        return self.folder / self.name


_GGML = VENDOR / "ggml" / "include"
_MTMD = VENDOR / "tools" / "mtmd"
NATIVE = ROOT / "native"

HEADERS = (
    Header("ggml.h", "ggml_h", "ggml", _GGML),
    Header("ggml-alloc.h", "ggml_alloc_h", "ggml", _GGML),
    Header("ggml-backend.h", "ggml_backend_h", "ggml", _GGML),
    Header("ggml-cpu.h", "ggml_cpu_h", "ggml-cpu", _GGML),
    Header("ggml-opt.h", "ggml_opt_h", "ggml", _GGML),
    Header("gguf.h", "gguf_h", "ggml", _GGML),
    Header("ggml-rpc.h", "ggml_rpc_h", "ggml-rpc", _GGML),
    Header("llama.h", "llama_h", "llama", VENDOR / "include"),
    Header("mtmd.h", "mtmd_h", "mtmd", _MTMD),
    Header("mtmd-helper.h", "mtmd_helper_h", "mtmd", _MTMD),
    Header("llama_bind_guard.h", "guard_h", "guard", NATIVE),
)

# Headers that only carry declarations of another one.
PARTS = {"llama_bind_guard_calls.h": "llama_bind_guard.h"}

# Bound, but calling it raises SymbolNotFoundError. A test compares this with the libraries.
NOT_EXPORTED = {"ggml_threadpool_get_n_threads": "declared in ggml-cpu.h, defined nowhere in llama.cpp"}

INCLUDE_DIRS = tuple(dict.fromkeys(header.folder for header in HEADERS))
"""Include folders for a compiler, in order."""

DEFINES = ("GGML_SHARED", "LLAMA_SHARED")


def umbrella() -> str:
    """C source that includes every mirrored header that exists."""
    return "".join(f'#include "{header.name}"\n' for header in HEADERS if header.path.is_file())
