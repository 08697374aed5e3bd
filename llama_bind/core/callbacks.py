"""Python functions that native code calls, with their exceptions carried back to the calling line.

An exception cannot cross C. A `Carrier` catches it, keeps the first one, answers C with "stop" and from then on no
longer calls the Python function; `raise_stored` raises it again where the native call was made.

Not for: the log callback (``log``), which never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Carrier"]


class Carrier:
    """A Python function as a C callback.

    Args:
        function: what to call.
        c_type: the ctypes function type; `callback` is an instance of it.
        stop: what C is told after an exception, from C's arguments without its user data.
        answer: turns the function's result into what C expects.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        c_type: Any,
        *,
        stop: Callable[..., Any],
        answer: Callable[[Any], Any] = bool,
    ) -> None:
        self._function = function
        self._stop = stop
        self._answer = answer
        self._stored: BaseException | None = None
        self.callback: Any = c_type(self._call)

    def _call(self, *args: Any) -> Any:
        args = args[:-1]  # without C's user data
        if self._stored is not None:
            return self._stop(*args)
        try:
            return self._answer(self._function(*args))
        except BaseException as error:
            self._stored = error
            return self._stop(*args)

    def raise_stored(self) -> None:
        """Raise what the function raised, if it did, and be ready for the next call."""
        error, self._stored = self._stored, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # the traceback would refer to this frame, and this frame to it
