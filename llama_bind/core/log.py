"""llama.cpp's log as Python logging: logger ``llama_bind``, silent until the program configures logging.

Pieces of one line are joined. The last lines are kept, so that an error can say what native code said about it. Lines
may come from any thread.

Not for: Python-side messages of other modules (they use the same logger directly).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

__all__ = [
    "Line",
    "capture_log",
    "explain",
    "lines_since",
    "logger",
    "mark",
    "native_callback",
    "raise_pending",
    "set_verbose",
]

logger = logging.getLogger("llama_bind")
logger.addHandler(logging.NullHandler())

_CONT = 5  # GGML_LOG_LEVEL_CONT: the rest of the line before
_LEVELS = {0: logging.INFO, 1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}


class Line(NamedTuple):
    """One line of the native log: `level` is Python's, `thread` the thread that wrote it."""

    number: int
    level: int
    text: str
    thread: int


_lock = threading.RLock()
_open: dict[int, tuple[int, str]] = {}
_ABORTED = re.compile(
    r"(graph_compute: .* failed with error 1"
    r"|process_ubatch: failed to compute graph, compute status: 1"
    r"|llama_decode: failed to decode, ret = 2)"
)
"""Native code reports an abort that was asked for (a cancel, a deadline) as an error."""
_recent: deque[Line] = deque(maxlen=400)
_captures: list[list[Line]] = []
_count = 0
_pending: BaseException | None = None


def feed(level: int, text: str) -> None:
    """Take a piece of log text as native code gives it: any number of lines, the last perhaps unfinished."""
    thread = threading.get_ident()
    done: list[Line] = []
    with _lock:
        line_level, begun = _open.pop(thread, (_LEVELS.get(level, logging.INFO), ""))
        if level != _CONT and begun:  # the line before was never ended
            done.append(_keep(line_level, begun, thread))
            begun = ""
        if level != _CONT:
            line_level = _LEVELS.get(level, logging.INFO)
        *whole, rest = (begun + text).split("\n")
        done += [_keep(line_level, line, thread) for line in whole if line.strip()]
        if rest:
            _open[thread] = (line_level, rest)
    for line in done:
        logger.log(logging.DEBUG if _ABORTED.fullmatch(line.text) else line.level, "%s", line.text)


def _keep(level: int, text: str, thread: int) -> Line:
    global _count
    _count += 1
    line = Line(_count, level, text.rstrip(), thread)
    _recent.append(line)
    for capture in _captures:
        capture.append(line)
    return line


def mark() -> int:
    """A place in the log, for `lines_since`; costs next to nothing."""
    return _count


def lines_since(place: int) -> list[Line]:
    """The lines written since `place` (the last 400 at most), those of the calling thread first in question: when it
    wrote any, only its own.
    """
    thread = threading.get_ident()
    with _lock:
        lines = [line for line in _recent if line.number > place]
    own = [line for line in lines if line.thread == thread]
    return own or lines


def explain(place: int, *, limit: int = 6) -> tuple[str, ...]:
    """Warnings and errors since `place`, the last `limit`, for an error's message and its ``log``."""
    lines = [line.text for line in lines_since(place) if line.level >= logging.WARNING]
    return tuple(lines[-limit:])


@contextlib.contextmanager
def capture_log() -> Iterator[list[Line]]:
    """Collect every native line written inside the block, by any thread, whatever the logger's level."""
    lines: list[Line] = []
    with _lock:
        _captures.append(lines)
    try:
        yield lines
    finally:
        with _lock:
            _captures[:] = [capture for capture in _captures if capture is not lines]


def native_callback(c_type: Callable[[Any], Any]) -> Any:
    """The ``ggml_log_callback`` that feeds this module; keep it alive for as long as native code may log."""

    def on_log(level: int, text: bytes | None, _data: object) -> None:
        # An exception cannot cross C: it is kept for the line that made the native call.
        global _pending
        try:
            if text:
                feed(level, text.decode("utf-8", "replace"))
        except BaseException as error:
            _pending = error

    return c_type(on_log)


def raise_pending() -> None:
    """Raise what interrupted the log callback (Ctrl-C) since the last time; call after long native calls."""
    global _pending
    error, _pending = _pending, None
    if error is not None:
        try:
            raise error
        finally:
            del error


if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[Any]
else:
    _StreamHandler = logging.StreamHandler  # takes no type argument before Python 3.11


class _VerboseHandler(_StreamHandler):
    """Writes to whatever ``sys.stderr`` is at the time."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


_verbose: _VerboseHandler | None = None
_level_before = logging.NOTSET


def set_verbose(on: bool, level: int = logging.INFO) -> None:
    """Show the native log on standard error, or stop showing it. Handlers of the program are left alone."""
    global _verbose, _level_before
    with _lock:
        if on and _verbose is None:
            _verbose = _VerboseHandler()
            _level_before = logger.level
            logger.addHandler(_verbose)
            logger.setLevel(level)
        elif not on and _verbose is not None:
            logger.removeHandler(_verbose)
            logger.setLevel(_level_before)
            _verbose = None


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
