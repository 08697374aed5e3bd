"""Helpers of llama-cpp-python that others import. Not for: new code."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import Any, ClassVar

__all__ = ["STDERR_FILENO", "STDOUT_FILENO", "MetaSingleton", "Singleton", "suppress_stdout_stderr"]

STDOUT_FILENO, STDERR_FILENO = 1, 2


class suppress_stdout_stderr:  # noqa: N801
    """Drop what Python code prints inside the block, unless `disable`.

    Native code prints nothing here: its log goes to `logging`. File descriptors are left alone, so other threads and
    child processes keep theirs.
    """

    def __init__(self, disable: bool = True) -> None:
        self.disable = disable
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> suppress_stdout_stderr:
        if not self.disable:
            null = self._stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            self._stack.enter_context(contextlib.redirect_stdout(null))
            self._stack.enter_context(contextlib.redirect_stderr(null))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()


class MetaSingleton(type):
    """A class of which there is one object."""

    _instances: ClassVar[dict[type, Any]] = {}

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls not in cls._instances:
            cls._instances[cls] = super().__call__(*args, **kwargs)
        return cls._instances[cls]


class Singleton(metaclass=MetaSingleton):
    """Base of such classes."""
