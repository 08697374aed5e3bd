"""What one rendering of a chat template may spend: processor time, characters, values.

A template comes with a model file, so it is a stranger's program. The code that is generated from it calls `charge` in
every loop turn, macro, call, filter and operator, with the size of what the operation makes *before* it is made. One
operation is thereby small, and the whole ends soon after a limit is passed.

Not for: the limits on chat messages (``messages.py``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator

from llama_bind.errors import TemplateError

__all__ = ["ELEMENT", "TemplateLimits", "charge", "spending"]

ELEMENT = 32
"""What an element of a list costs, in characters."""


@dataclasses.dataclass(frozen=True)
class TemplateLimits:
    """Limits of one rendering.

    Attributes:
        seconds: Processor time of the rendering thread; time on the clock may be two and a half times as long.
        seconds_per_message: So much more of it for each message: some templates look through all for each.
        size: Characters of one string; an element of a list counts as `ELEMENT` characters.
        total: The same, summed over everything that the template makes on its way.
    """

    seconds: float = 1.0
    seconds_per_message: float = 0.001
    size: int = 16_000_000
    total: int = 128_000_000

    def for_messages(self, count: int) -> TemplateLimits:
        """The limits for a conversation of `count` messages."""
        return dataclasses.replace(self, seconds=self.seconds + self.seconds_per_message * count)


class _Account(threading.local):
    """The running rendering of this thread."""

    limits: TemplateLimits | None = None
    left: int = 0
    began: float = 0.0
    check_at: float = 0.0
    ends: float = 0.0


_account = _Account()


@contextlib.contextmanager
def spending(limits: TemplateLimits) -> Iterator[None]:
    """Everything charged inside, by this thread, goes on one account."""
    before = dict(vars(_account))
    _account.limits, _account.left = limits, limits.total
    _account.began, _account.check_at = time.thread_time(), time.monotonic() + limits.seconds
    _account.ends = time.monotonic() + 2.5 * limits.seconds
    try:
        yield
    finally:
        vars(_account).clear()
        vars(_account).update(before)


def charge(size: int = 0) -> None:
    """Pay for one step that makes something of `size` characters. Free outside of `spending`.

    Raises:
        TemplateError: The time is up or too much was made.
    """
    limits = _account.limits
    if limits is None:
        return
    if size:
        _account.left -= size
        if size > limits.size or _account.left < 0:
            raise TemplateError(f"the chat template makes too much text (a piece of {size} characters was the last)")
    if time.monotonic() > _account.check_at:
        # The clock is cheap to read, but a busy machine is no fault of the template.
        spent = time.thread_time() - _account.began
        if spent > limits.seconds or time.monotonic() > _account.ends:
            raise TemplateError(f"the chat template ran for more than {limits.seconds:g} s; it may loop for ever")
        _account.check_at = min(_account.ends, time.monotonic() + limits.seconds - spent)
