"""When an engine's process counts as hung: something is expected of it, and nothing was heard of it for too long.

Pure: whoever uses it brings the clock. Not for: what is heard of a process (``child`` says when it gets on), or what is
done to one that hangs (``supervisor``).
"""

from __future__ import annotations

__all__ = ["Watchdog"]


class Watchdog:
    """Times the silence of a process that has work, or that loads.

    Args:
        timeout: Seconds of silence after which it counts as hung; 0: it never does.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._since: float | None = None

    def work(self, there: bool, now: float) -> None:
        """Whether the process has work; its silence begins when it gets some."""
        if not there:
            self._since = None
        elif self._since is None:
            self._since = now

    def heard(self, now: float) -> None:
        """Something came from the process."""
        if self._since is not None:
            self._since = now

    @property
    def due(self) -> float | None:
        """When it will count as hung if nothing is heard until then; None: not as things are."""
        return None if self._since is None or self.timeout <= 0 else self._since + self.timeout

    def hangs(self, now: float) -> bool:
        """Whether it counts as hung. Where that is asked much too late, this process did not run either (the machine
        was asleep, or both were stopped): then the silence begins again.
        """
        due = self.due
        if due is None or now < due:
            return False
        if now - due > self.timeout:
            self._since = now
            return False
        return True
