"""What `llama_cpp` is after ``llama_bind.install_as_llama_cpp()``: the names of llama-cpp-python over our objects.

Programs written for that package run unchanged on this library's engine. Every public name of it is in
docs/migration.md: the same, better, or different and why. Not for: new code, which has `llama_bind.Llama`; nothing in
`llama_bind` imports from here.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.3.36"
"""The version of llama-cpp-python whose contract is kept."""

_HOMES = {
    "BaseLlamaCache": "llama_cache",
    "BaseLlamaTokenizer": "llama_tokenizer",
    "Llama": "llama",
    "LlamaCache": "llama_cache",
    "LlamaDiskCache": "llama_cache",
    "LlamaDraftModel": "llama_speculative",
    "LlamaGrammar": "llama_grammar",
    "LlamaRAMCache": "llama_cache",
    "LlamaState": "stepping",
    "LlamaTokenizer": "llama_tokenizer",
    "LogitsProcessor": "processors",
    "LogitsProcessorList": "processors",
    "MinTokensLogitsProcessor": "processors",
    "StoppingCriteria": "processors",
    "StoppingCriteriaList": "processors",
}
_MODULES = frozenset((
    "_ctypes_extensions", "_internals", "_logger", "_utils", "llama", "llama_cache", "llama_chat_format", "llama_cpp",
    "llama_grammar", "llama_speculative", "llama_tokenizer", "llama_types", "mtmd_cpp", "server",
))  # fmt: skip
_FURTHER = ("llama_types", "llama_cpp")
"""Modules all of whose names are names of the package too."""


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return _public()
    if name == "internals":
        return importlib.import_module(f"{__name__}._internals")
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("__"):
        for module in _FURTHER:
            try:
                return getattr(importlib.import_module(f"{__name__}.{module}"), name)
            except AttributeError:
                continue
    raise AttributeError(f"module 'llama_cpp' has no attribute {name!r}; docs/migration.md of llama_bind lists them")


def _public() -> list[str]:
    """What ``from llama_cpp import *`` gives."""
    further = (name for module in _FURTHER for name in importlib.import_module(f"{__name__}.{module}").__all__)
    return sorted({*_HOMES, *further})


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_public()})
