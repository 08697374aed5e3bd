"""ctypes helpers of llama-cpp-python that others import. Not for: finding this library's own files."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from ctypes import byref
from pathlib import Path
from typing import Any

from llama_bind.errors import LibraryNotFoundError
from llama_bind.lib._loader import _file_name

__all__ = ["byref", "ctypes_function_for_shared_library", "load_shared_library"]


def load_shared_library(lib_base_name: str, base_path: str | os.PathLike[str]) -> ctypes.CDLL:
    """Open a library by its name without prefix and suffix, from a folder.

    Raises:
        LibraryNotFoundError: there is no such file, or it cannot be opened.
    """
    path = Path(base_path) / _file_name(lib_base_name)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise LibraryNotFoundError(f"{path} cannot be opened: {error}", tried=(f"{path}: {error}",)) from error


def ctypes_function_for_shared_library(
    lib: ctypes.CDLL,
) -> Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """A decorator factory (name, argtypes, restype) that puts functions of a library in the place of declarations."""

    def ctypes_function(
        name: str, argtypes: list[Any], restype: Any, enabled: bool = True
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def decorate(declared: Callable[..., Any]) -> Callable[..., Any]:
            if not enabled:
                return declared
            function: Any = lib[name]
            function.argtypes, function.restype = argtypes, restype
            functools.update_wrapper(function, declared)
            return function  # type: ignore[no-any-return]

        return decorate

    return ctypes_function
