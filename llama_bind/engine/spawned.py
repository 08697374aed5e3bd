"""One engine process as its parent sees it: a socket, what it writes to standard error, and how it ends.

The process is a new interpreter, never a fork: a fork of a program with threads and native libraries is not sound. It
finds modules where this process finds them. Its standard input is empty, its standard output this process's own; it
is in a session of its own, so that Ctrl-C in a terminal reaches only the program, which then decides.

Not for: what the messages mean (``supervisor``). One thread uses an object of this.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from typing import Any

from llama_bind.engine.wire import FrameReader, frame
from llama_bind.errors import UnsupportedError

__all__ = ["Spawned"]

PROGRAM = """\
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from llama_bind.engine.child import main
main(int(sys.argv[1]))
"""
TAIL_LINES = 200
_CHUNK = 1 << 18

logger = logging.getLogger("llama_bind")


class Spawned:
    """A started process, registered at `selector` with the functions that see to it.

    Args:
        selector: Calls go to `data` of its keys.
        on_message: Called with each message.
        on_end: Called once when the socket has ended: the process is dead or about to be.

    Raises:
        UnsupportedError: this system cannot pass a socket on, or does not say what Python it runs.
        OSError: no process could be started.
    """

    def __init__(self, selector: selectors.BaseSelector, on_message: Any, on_end: Any) -> None:
        if sys.platform == "win32":
            raise UnsupportedError("engine_process=True needs a POSIX system; load the model without it")
        if not sys.executable:
            raise UnsupportedError("engine_process=True needs a Python interpreter, but sys.executable is empty")
        self._selector = selector
        self._on_message = on_message
        self._on_end = on_end
        self._reader = FrameReader()
        self._out: deque[memoryview] = deque()
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._line = b""
        self._ended = False
        self._socket, theirs = socket.socketpair()
        _everywhere.add(self)
        self._theirs: socket.socket | None = theirs
        read, write = os.pipe()
        self._stderr = read
        try:
            path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
            command = [sys.executable, "-c", PROGRAM, str(theirs.fileno()), path]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=write, pass_fds=(theirs.fileno(),), start_new_session=True
            )
        except BaseException:
            self._socket.close()
            os.close(read)
            raise
        finally:
            os.close(write)
            theirs.close()
            self._theirs = None
        self._socket.setblocking(False)
        os.set_blocking(read, False)
        selector.register(self._socket, selectors.EVENT_READ, self._on_socket)
        selector.register(read, selectors.EVENT_READ, self._on_stderr)

    @property
    def stderr(self) -> tuple[str, ...]:
        """The last lines that the process wrote to standard error."""
        last = [self._line.decode("utf-8", "replace")] if self._line else []
        return (*self._lines, *last)

    def send(self, message: Any) -> None:
        """Send now or, where the process does not read fast enough, as soon as it does."""
        self._out.append(memoryview(frame(message)))
        if len(self._out) == 1:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._socket.send(self._out[0])
                if sent == len(self._out[0]):
                    self._out.popleft()
                else:
                    self._out[0] = self._out[0][sent:]
        except BlockingIOError:
            pass  # the selector tells when there is room again
        except OSError:
            self._out.clear()  # it is dead, which reading will show
        if not self._ended:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
            self._selector.modify(self._socket, events, self._on_socket)

    def _on_socket(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if self._ended or not events & selectors.EVENT_READ:
            return
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        for message in self._reader.feed(data):
            self._on_message(message)
        if not data:
            self._ended = True
            self._selector.unregister(self._socket)
            self._on_end()

    def _on_stderr(self, _events: int) -> None:
        if self._stderr >= 0:  # else it was closed after the selector had looked
            self._read_stderr()

    def _read_stderr(self) -> bool:
        """Take what there is; False if there is nothing."""
        try:
            data = os.read(self._stderr, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._selector.unregister(self._stderr)
            os.close(self._stderr)
            self._stderr = -1
            return False
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip()
            self._lines.append(text)
            logger.warning("engine process %d: %s", self.process.pid, text)
        return True

    def reap(self, timeout: float) -> int:
        """Wait for the end of a process whose socket has ended, kill it if it takes longer, close everything.

        Gives its exit code, minus the signal's number where one ended it.
        """
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        while self._stderr >= 0 and self._read_stderr():
            pass
        self.close()
        return code

    def close(self) -> None:
        """Close the descriptors; the process is dead or will find its socket ended."""
        _everywhere.discard(self)
        for file in (self._socket, self._stderr):
            if file != -1:
                with contextlib.suppress(KeyError, ValueError):  # not registered any more
                    self._selector.unregister(file)
        self._socket.close()
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    def abandon(self) -> None:
        """Let go of a process that was killed and does not end. Whatever it holds it keeps until it does."""
        self.close()
        threading.Thread(target=self.process.wait, name="llama_bind reaper", daemon=True).start()

    def after_fork(self) -> None:
        """In a forked child: let go of what belongs to the parent, or its engine process would outlive it."""
        self._socket.close()
        if self._theirs is not None:
            self._theirs.close()
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1
        if hasattr(self, "process"):
            self.process.returncode = 0  # not a child of this process: nothing to wait for


_everywhere: weakref.WeakSet[Spawned] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for spawned in list(_everywhere):
        spawned.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
