"""llama-cpp-python's logger: its level says what of llama.cpp's log is let through.

Lines of llama.cpp reach the logger ``llama_bind``; handlers of ``llama-cpp-python`` get them as well. Both are silent
until a program configures logging. Not for: writing to standard error (``verbose=True`` of `Llama` does).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from llama_bind.core import log

__all__ = ["GGML_LOG_LEVEL_TO_LOGGING_LEVEL", "logger", "set_verbose"]

GGML_LOG_LEVEL_TO_LOGGING_LEVEL = {
    0: logging.CRITICAL,
    1: logging.INFO,
    2: logging.WARNING,
    3: logging.ERROR,
    4: logging.DEBUG,
    5: logging.DEBUG,
}
"""As that package has it. Its numbers are older than llama.cpp's own, which this library reads."""

logger = logging.getLogger("llama-cpp-python")
logger.addHandler(logging.NullHandler())
logger.propagate = False  # records come from llama_bind, which propagates already


class _Passing(logging.Handler):
    """Hands records of ``llama_bind`` on to the other logger, which applies its own level.

    A handler that gets them from ``llama_bind`` already, as one of the root logger does, does not get them twice.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if not (logger.isEnabledFor(record.levelno) and logger.filter(record)):
            return
        met = list(_handlers(log.logger))
        for handler in logger.handlers:
            if handler not in met and record.levelno >= handler.level:
                handler.handle(record)


def _handlers(start: logging.Logger) -> Iterator[logging.Handler]:
    """Those that a record of a logger reaches."""
    at: logging.Logger | None = start
    while at is not None:
        yield from at.handlers
        at = at.parent if at.propagate else None


log.logger.addHandler(_Passing())


def set_verbose(verbose: bool) -> None:
    """Show llama.cpp's log on standard error, or stop showing it."""
    logger.setLevel(logging.DEBUG if verbose else logging.ERROR)
    log.set_verbose(verbose, logging.DEBUG)
