"""How far a long call is: a bar of rich's, or a function of the caller's. Not for: downloads (``hub.progress``)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from llama_bind.errors import InputError, UnsupportedError

__all__ = ["ProgressOption", "reporting"]

ProgressOption = bool | Callable[[int, int | None], Any]
"""True for a bar, False for none, or a function (done, total); the total is None where nobody knows it."""


@contextlib.contextmanager
def reporting(progress: ProgressOption, total: int | None, label: str = "texts") -> Iterator[Callable[[int], Any]]:
    """Gives a function to call with how many are done; it tells only what is new.

    Raises:
        UnsupportedError: a bar is wanted and rich is not installed.
        InputError: `progress` is neither a flag nor a function.
    """
    if callable(progress):
        yield _told_once(progress, total)
    elif progress is True:
        with _bar(total, label) as update:
            yield update
    elif progress is False or progress is None:
        yield lambda _done: None
    else:
        raise InputError(f"progress is True, False or a function, not {progress!r}", param="progress")


def _told_once(function: Callable[[int, int | None], Any], total: int | None) -> Callable[[int], Any]:
    last = 0

    def update(done: int) -> None:
        nonlocal last
        if done != last:
            last = done
            function(done, total)

    return update


@contextlib.contextmanager
def _bar(total: int | None, label: str) -> Iterator[Callable[[int], Any]]:
    try:
        from rich import progress
        from rich.console import Console
    except ImportError as error:
        raise UnsupportedError(
            'progress=True draws its bar with rich: pip install "llama-bind[cli]", or give a function (done, total)'
        ) from error
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)
