"""One progress bar on standard error: rich's when it is installed, a plain line otherwise, none without a terminal.

Not for: the bars that huggingface_hub draws by itself.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

__all__ = ["Update", "human_size", "progress_bar"]

Update = Callable[[int], None]
"""Called with the number of bytes done so far."""


def human_size(size: float) -> str:
    """A number of bytes for people, in decimal units: ``98.4 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


@contextlib.contextmanager
def progress_bar(label: str, total: int, enabled: bool = True) -> Iterator[Update]:
    """Draw a bar for `total` bytes while the block runs, when `enabled` and standard error is a terminal."""
    if not enabled or sys.stderr is None or not sys.stderr.isatty():
        yield _ignore
        return
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        yield from _plain(label, total)
        return
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=min(done, total))


def _ignore(_done: int) -> None:
    """No bar."""


def _plain(label: str, total: int) -> Iterator[Update]:
    started = time.monotonic()

    def update(done: int) -> None:
        share = min(done, total) / total if total else 1.0
        speed = done / max(time.monotonic() - started, 0.001)
        line = f"\r{label}: {share:4.0%} of {human_size(total)}, {human_size(speed)}/s"
        sys.stderr.write(f"{line:<78}")
        sys.stderr.flush()

    try:
        yield update
    finally:
        sys.stderr.write("\n")
