"""One process at a time: a lock on a file, dropped by the system when its owner dies. Not for: threads that share one
open file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["locked"]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock file `path`, waiting for whoever has it. Gives False where the file system has no locks.

    Some network file systems have none. What is written under a lock is also laid down atomically, so all that can
    happen there is that work is done twice.
    """
    with open(path, "a+b") as file:
        held = True
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            held = False
        yield held


if sys.platform == "win32":

    def _lock(descriptor: int) -> None:
        import msvcrt

        while True:
            try:
                os.lseek(descriptor, 0, os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EDEADLK):
                    raise
                time.sleep(0.1)

else:

    def _lock(descriptor: int) -> None:
        import fcntl

        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                # Polled, so that Ctrl-C works while another process has it.
                time.sleep(0.1)
