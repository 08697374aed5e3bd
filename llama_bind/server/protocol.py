"""The HTTP protocol of uvicorn with one addition: a client that does not read what was sent to it is let go.

Otherwise such a client would hold its request, its slot and its connection for as long as it likes. The timer runs only
while the socket's buffer is full, so that nothing is done for each chunk. Not for: HTTP itself.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["protocol_class"]


class _Impatient(AutoHTTPProtocol):  # type: ignore[valid-type,misc]  # httptools' where it is installed, else h11's
    write_timeout: float
    _stalled: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._patient()

    def connection_lost(self, exc: Exception | None) -> None:
        self._patient()
        super().connection_lost(exc)

    def _patient(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


@functools.cache
def protocol_class(write_timeout: float) -> Any:
    """A protocol that ends a connection whose client has read nothing for `write_timeout` seconds."""
    return type("Protocol", (_Impatient,), {"write_timeout": write_timeout})
