"""What the modules of the C API (``llama_cpp``, ``mtmd_cpp``) share: names out of generated mirrors; deprecated ones.

Not for: anything that llama-cpp-python has; it knows no such module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

__all__ = ["Mirrors", "deprecated"]


class Mirrors:
    """The names of several mirrors as those of one module.

    Args:
        module: The module that has them, for errors.
        mirrors: Where they are looked up, in this order.
        public: Whether the module has a name.
    """

    def __init__(self, module: str, mirrors: Sequence[ModuleType], public: Callable[[str], bool]) -> None:
        self._module = module
        self._mirrors = mirrors
        self._public = public

    def find(self, name: str) -> Any:
        """What has this name. It must not be kept: the first call of a function puts a faster one in its place.

        Raises:
            AttributeError: Nothing has.
        """
        if self._public(name):
            for mirror in self._mirrors:
                if name in vars(mirror):
                    return getattr(mirror, name)
        raise AttributeError(f"module {self._module!r} has no attribute {name!r}")

    def names(self) -> set[str]:
        """All of them, without modules that the mirrors import from one another."""
        found = {name for mirror in self._mirrors for name in vars(mirror) if self._public(name)}
        return {name for name in found if not name.endswith("_h")}


def deprecated(old: str, new: str) -> None:
    """Warn the caller of the function `old`, which calls this."""
    warnings.warn(f"{old} is deprecated; use {new}", DeprecationWarning, stacklevel=3)
