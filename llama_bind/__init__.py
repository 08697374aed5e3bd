"""llama_bind: the Python home of llama.cpp.

``from llama_bind import Llama``. Importing this package loads no native library and opens no file; names are
imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from llama_bind.version import __version__

if TYPE_CHECKING:
    from llama_bind.aio import AsyncLlama
    from llama_bind.cache import LlamaDiskCache, LlamaRAMCache
    from llama_bind.engine.speculative import PromptLookup
    from llama_bind.errors import LlamaBindError
    from llama_bind.function_schema import FunctionTool
    from llama_bind.llama import Llama
    from llama_bind.params import AdapterSpec, ContextParams, ModelParams, SamplingParams
    from llama_bind.structured.grammar import LlamaGrammar
    from llama_bind.values import Beam, LlamaState

_HOMES = {
    "AdapterSpec": "params",
    "AsyncLlama": "aio",
    "Beam": "values",
    "ContextParams": "params",
    "FunctionTool": "function_schema",
    "Llama": "llama",
    "LlamaBindError": "errors",
    "LlamaDiskCache": "cache",
    "LlamaGrammar": "structured.grammar",
    "LlamaRAMCache": "cache",
    "LlamaState": "values",
    "ModelParams": "params",
    "PromptLookup": "engine.speculative",
    "SamplingParams": "params",
}

__all__ = [
    "AdapterSpec",
    "AsyncLlama",
    "Beam",
    "ContextParams",
    "FunctionTool",
    "Llama",
    "LlamaBindError",
    "LlamaDiskCache",
    "LlamaGrammar",
    "LlamaRAMCache",
    "LlamaState",
    "ModelParams",
    "PromptLookup",
    "SamplingParams",
    "__version__",
    "install_as_llama_cpp",
]


def install_as_llama_cpp() -> None:
    """Make `import llama_cpp` and its submodules mean this library, in this process, for programs written for that.

    Call it before anything imports `llama_cpp`; a second call does nothing. See docs/migration.md.

    Raises:
        AliasError: another `llama_cpp` was imported before.
    """
    from llama_bind.compat.alias import install

    install()


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
