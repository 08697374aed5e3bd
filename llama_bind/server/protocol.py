"""The HTTP protocol of uvicorn, made safe against clients that hold on to a connection without using it.

One that does not read what was sent to it is let go; one that sends its head or its body slowly gets a 408; a head that
never ends a 431; and past a number of connections there is a 503. Timers run only while somebody is waited for, so
that nothing is done for each chunk. Not for: HTTP itself, or what is in a request (``gate``, ``body``).
"""

from __future__ import annotations

import asyncio
import functools
import re
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from llama_bind.server.errors import INVALID, UNAVAILABLE, ApiError
from llama_bind.server.replies import dumps, error_reply

__all__ = ["protocol_class"]

MAX_HEAD = 64 * 1024
"""Bytes after which a head that has not ended is refused."""
MANY_MORE = 1.5
"""So many times the most connections are still told that there are too many; what is above is closed without a word."""
LAST_LOOK = 0.05
LINGER = 10.0
"""Seconds for which a client that is refused may go on sending until it looks for the answer."""
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)
PHRASES = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class _Guarded(asyncio.Protocol):
    """Goes before a protocol class of uvicorn's in a class that has both."""

    write_timeout: float
    header_timeout: float
    body_timeout: float
    max_connections: int
    app: Any
    connections: set[Any]
    cycle: Any
    flow: Any
    loop: asyncio.AbstractEventLoop
    timeout_keep_alive_task: asyncio.TimerHandle | None
    transport: asyncio.Transport
    _inner: asyncio.Transport
    _stalled: asyncio.TimerHandle | None = None
    _late: asyncio.TimerHandle | None = None
    _lingering: asyncio.TimerHandle | None = None
    _waits_for: str | None = None
    _part: str | None = None
    _head = 0

    # -- connections ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._inner = transport
        super().connection_made(_Transport(transport, self))  # type: ignore[arg-type]  # it is as good as one
        count = len(self.connections)
        if count > self.max_connections * MANY_MORE:
            self.transport.abort()
            return
        if count > self.max_connections:
            self.app = _too_many
        self._wait_for("head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_for(None)
        self._patient()
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    def close(self) -> None:
        """Close the connection; where the client is still sending, read on for a while and throw it away. Else the
        system would reset the connection, and the client never see the answer that says what was wrong.
        """
        if self._lingering is not None or self._inner.is_closing() or self._arriving() is None:
            self._inner.close()
        else:
            self._linger()

    def _linger(self) -> None:
        self._wait_for(None)
        self._lingering = self.loop.call_later(LINGER, self._inner.close)
        if self._inner.can_write_eof():
            self._inner.write_eof()
        self.flow.resume_reading()

    # -- clients that do not read --------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._patient()

    def _patient(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # -- clients that do not send --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._lingering is not None:
            return
        if b"pgrade" in data and self._arriving() != "body":
            data = _without_upgrade(data)
        super().data_received(data)
        part = self._arriving()
        if self.transport.is_closing():
            part = None
        elif part == "head":
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._refuse(431, "head_too_large", f"The head of the request is larger than {MAX_HEAD} bytes.")
                return
        elif part is None and not self._answering() and self.timeout_keep_alive_task is None:
            part = "head"  # bytes that begin nothing, such as empty lines
        if part != self._waits_for:
            self._wait_for(part)

    def on_message_begin(self) -> None:
        """Called by httptools."""
        self._part, self._head = "head", 0
        super().on_message_begin()  # type: ignore[misc]  # uvicorn's

    def on_headers_complete(self) -> None:
        """Called by httptools."""
        self._part = "body"
        super().on_headers_complete()  # type: ignore[misc]  # uvicorn's

    def on_message_complete(self) -> None:
        """Called by httptools."""
        self._part = None
        super().on_message_complete()  # type: ignore[misc]  # uvicorn's

    def _arriving(self) -> str | None:
        """What of a request is there in part: its head, its body, or None."""
        conn = getattr(self, "conn", None)
        if conn is None:
            return self._part
        state = str(conn.their_state)  # h11, which tells nothing by calls
        if state == "SEND_BODY":
            self._head = 0
            return "body"
        return "head" if state == "IDLE" and conn.trailing_data[0] else None

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for(self, part: str | None) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._waits_for = part
        if part is not None:
            seconds = self.header_timeout if part == "head" else self.body_timeout
            self._late = self.loop.call_later(seconds, self._last_look)

    def _last_look(self) -> None:
        """What lies in the socket is read first: it may be us who were slow."""
        self._late = self.loop.call_later(LAST_LOOK, self._too_late)

    def _too_late(self) -> None:
        part, cycle = self._arriving(), self.cycle
        if self.transport.is_closing():
            return
        begun = cycle is not None and cycle.response_started
        if self.flow.read_paused or (part == "head" and self._answering()) or (begun and self._answering()):
            self._wait_for(self._waits_for)  # it is us who do not read, or an answer is on its way
        elif part is None or (part == "body" and begun):
            self.transport.close()  # nobody asked anything, or it is answered
        else:
            what = "head" if part == "head" else "body"
            self._refuse(408, "request_timeout", f"The {what} of the request did not come in time.")

    # -- refusals ------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # a text of uvicorn's
        self._refuse(400, "invalid_http", "This is no HTTP request that can be read.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """An answer outside of any request, and the end of the connection."""
        self._wait_for(None)
        if self._answering():
            self.cycle.disconnected = True  # whoever reads the body learns that no more comes
            self.cycle.message_event.set()
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = dumps(ApiError(status, INVALID, code, message).body())
            head = f"HTTP/1.1 {status} {PHRASES[status]}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head.encode(), len(body), body))
        if status == 408:
            self._inner.close()  # who sends slowly has sent enough
        else:
            self._linger()


class _Transport:
    """A transport as uvicorn uses it, but the protocol closes it."""

    def __init__(self, inner: asyncio.Transport, protocol: _Guarded) -> None:
        self._inner = inner
        self._protocol = protocol
        self.write = inner.write  # called for every chunk
        self.close = protocol.close

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self._protocol._lingering is not None or self._inner.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _without_upgrade(data: bytes) -> bytes:
    """A head that asks for no other protocol. Java's HttpClient offers HTTP/2 with every request, and httptools takes
    the body of such a request for the other protocol's, although nobody has agreed to it.
    """
    end = data.find(b"\r\n\r\n")
    end = len(data) if end < 0 else end
    return _UPGRADE.sub(b"\r\nx-upgrade:", data[:end]) + data[end:]


async def _too_many(scope: Any, receive: Any, send: Any) -> None:
    """The application of connections beyond the most."""
    said = "As many connections are open as the server takes; try again later."
    error = ApiError(503, UNAVAILABLE, "too_many_connections", said, headers={"Connection": "close"}, retry=True)
    await error_reply(error)(scope, receive, send)


@functools.cache
def protocol_class(
    write_timeout: float = 60,
    header_timeout: float = 20,
    body_timeout: float = 120,
    max_connections: int = 4096,
    base: type[asyncio.Protocol] = AutoHTTPProtocol,
) -> Any:
    """A protocol for uvicorn.

    Args:
        write_timeout: Seconds after which a client that reads nothing is let go.
        header_timeout: Seconds to send the head of a request.
        body_timeout: Seconds to send its body.
        max_connections: Beyond these a request is told to come again.
        base: uvicorn's protocol: httptools' where it is installed, else h11's.
    """
    limits = {
        "write_timeout": write_timeout,
        "header_timeout": header_timeout,
        "body_timeout": body_timeout,
        "max_connections": max_connections,
    }
    return type("Protocol", (_Guarded, base), limits)
