"""Messages between an engine's process and the one that started it: pickled values, each with its length before it.

Pickle is enough, and safe here: the two ends of the socket belong to a process and the child that it started itself,
nobody else can reach them, and both run the same code. What users made (requests, errors) travels as bytes inside a
message, so that what cannot be read at the other end spoils only itself. Not for: networks, or files.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
import threading
import traceback
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from llama_bind.errors import LlamaBindError, RequestError, UnsupportedError

__all__ = [
    "Channel",
    "Failed",
    "Finished",
    "FrameReader",
    "PackedError",
    "PromptLogprobs",
    "frame",
    "pack_error",
    "packed",
    "unpack_error",
]

_LENGTH = struct.Struct("<Q")
_CHUNK = 1 << 18
PROTOCOL = 5


class PackedError(NamedTuple):
    """An error on its way: what it says, where it came from, and itself where it can be pickled."""

    text: str
    trace: str
    data: bytes | None


class Finished(NamedTuple):
    """The end of a request, and its vector if it made one."""

    event: Any
    embedding: Any


class Failed(NamedTuple):
    """The end of a request by an error."""

    error: PackedError


class PromptLogprobs(NamedTuple):
    """The log probabilities of a request's prompt; comes before its first event."""

    values: list[Any]


def frame(message: Any) -> bytes:
    """A message as it goes over the wire."""
    data = pickle.dumps(message, PROTOCOL)
    return _LENGTH.pack(len(data)) + data


class FrameReader:
    """Bytes as they come to messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that `data` completes."""
        buffer = self._buffer
        buffer += data
        start, size = 0, _LENGTH.size
        while len(buffer) - start >= size:
            end = start + size + _LENGTH.unpack_from(buffer, start)[0]
            if len(buffer) < end:
                break
            yield pickle.loads(bytes(memoryview(buffer)[start + size : end]))
            start = end
        del buffer[:start]


class Channel:
    """A blocking end of the socket. One thread receives; any thread sends.

    Raises:
        OSError: from `send`, when the other end is gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        self._reader = FrameReader()
        self._messages: Iterator[Any] = iter(())

    def send(self, message: Any) -> None:
        data = frame(message)
        with self._lock:
            self._socket.sendall(data)

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: the other end is gone.
        """
        while True:
            for message in self._messages:
                return message
            try:
                data = self._socket.recv(_CHUNK)
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError
            self._messages = self._reader.feed(data)


class _Pickler(pickle.Pickler):
    """Refuses what only the program's own script defines: the engine's process does not run that."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, (type, types.FunctionType)) and value.__module__ == "__main__":
            raise pickle.PicklingError(f"{value.__qualname__} is defined in the script that runs (__main__)")
        return NotImplemented


def packed(value: Any, what: str) -> bytes:
    """Pickled, for the engine's process.

    Raises:
        UnsupportedError: it cannot be; `what` names it.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, PROTOCOL).dump(value)
    except Exception as error:
        raise UnsupportedError(
            f"{what} cannot be sent to the engine's process ({error}): functions and objects in it must be picklable "
            "and defined in a module that can be imported; or load the model without engine_process=True"
        ) from error
    return buffer.getvalue()


def pack_error(error: BaseException) -> PackedError:
    """An error for the other end. Where it came from is told of errors that are not the library's own."""
    trace = "" if isinstance(error, LlamaBindError) else "".join(traceback.format_exception(error))
    try:
        data = pickle.dumps(error, PROTOCOL)
        if not isinstance(error, LlamaBindError):
            pickle.loads(data)  # constructors of others may not take what their pickle gives them
    except Exception:
        return PackedError(f"{type(error).__name__}: {error}", trace, None)  # its text is what can be told of it
    return PackedError(f"{type(error).__name__}: {error}", trace, data)


def unpack_error(packed: PackedError) -> BaseException:
    """The error again; a `RequestError` with its text where its class is not to be had here."""
    error: BaseException | None = None
    if packed.data is not None:
        try:
            error = pickle.loads(packed.data)
        except Exception:  # a class of another module that differs here: the text below stands for it
            error = None
    if not isinstance(error, BaseException):
        error = RequestError(packed.text)
    if packed.trace:
        error.__cause__ = RequestError(f"in the engine's process:\n{packed.trace}")
    return error
