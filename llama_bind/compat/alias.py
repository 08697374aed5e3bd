"""Makes ``import llama_cpp`` mean ``llama_bind.compat`` in this process, and its distribution known to metadata.

A finder stands before all others: modules of `llama_cpp` are those of this package under a second name, each imported
when it is asked for, and `importlib.metadata` finds ``llama-cpp-python`` in the version whose contract is kept. Not
for: other processes; each calls this itself.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from llama_bind import compat
from llama_bind.errors import AliasError

__all__ = ["DISTRIBUTION", "NAME", "install", "installed", "remove"]

NAME = "llama_cpp"
DISTRIBUTION = "llama-cpp-python"
DELEGATE = "__llama_bind__"
"""What a real package that stands for this one has among its names."""
_REAL = compat.__name__

_lock = threading.Lock()


class _Loader(importlib.abc.InspectLoader):
    """Gives a module of this package where one of `llama_cpp` is wanted."""

    def __init__(self, real: str) -> None:
        self._real = real
        self._spec: importlib.machinery.ModuleSpec | None = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module under its own name; imported if it was not."""
        del spec
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: it ran. The import system has put the second name's spec into it; the first goes back."""
        module.__spec__ = self._spec

    def _delegate(self) -> Any:
        spec = importlib.util.find_spec(self._real)
        return None if spec is None else spec.loader

    def is_package(self, fullname: str) -> bool:
        del fullname
        return bool(self._delegate().is_package(self._real))

    def get_source(self, fullname: str) -> str | None:
        del fullname
        source: str | None = self._delegate().get_source(self._real)
        return source

    def get_code(self, fullname: str) -> CodeType | None:
        """For ``python -m llama_cpp.server``."""
        del fullname
        code: CodeType | None = self._delegate().get_code(self._real)
        return code


class _Distribution(importlib.metadata.Distribution):
    """llama-cpp-python as far as metadata goes."""

    def read_text(self, filename: str) -> str | None:
        """METADATA and top_level.txt; nothing else is there."""
        if filename == "METADATA":
            return (
                f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {compat.__version__}\n"
                "Summary: llama_bind under the name of llama-cpp-python, in this process\n"
            )
        return f"{NAME}\n" if filename == "top_level.txt" else None

    def locate_file(self, path: Any) -> Any:
        """Where such a file would lie: among this package's."""
        return Path(__file__).parent / path


class _Finder(importlib.metadata.DistributionFinder):
    """Finds modules of `llama_cpp`, and its distribution."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module under its second name."""
        del path, target
        head, _, rest = fullname.partition(".")
        if head != NAME:
            return None
        real = f"{_REAL}.{rest}" if rest else _REAL
        found = importlib.util.find_spec(real)
        if found is None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, _Loader(real), origin=found.origin)
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterator[importlib.metadata.Distribution]:
        """Ours, when it is asked for by name or when all are listed."""
        wanted = getattr(context, "name", None)
        if wanted is None or re.sub(r"[-_.]+", "-", wanted).lower() == DISTRIBUTION:
            yield _Distribution()


def installed() -> bool:
    """Whether `llama_cpp` means this package here."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def install() -> None:
    """Make `llama_cpp` mean this package; the second time does nothing.

    Raises:
        AliasError: another `llama_cpp` was imported before.
    """
    with _lock:
        if installed():
            return
        there = sys.modules.get(NAME)
        if there is not None and not hasattr(there, DELEGATE):
            where = getattr(there, "__file__", None) or "somewhere"
            raise AliasError(
                f"llama_cpp was imported already, from {where}, and whoever imported it would keep it; call "
                "llama_bind.install_as_llama_cpp() before anything imports llama_cpp"
            )
        sys.meta_path.insert(0, _Finder())
        if there is not None:
            sys.modules[NAME] = compat


def remove() -> None:
    """Take the second name away again; modules that were imported under it stay with those who imported them."""
    with _lock:
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
        for name in [name for name in sys.modules if name == NAME or name.startswith(f"{NAME}.")]:
            del sys.modules[name]
