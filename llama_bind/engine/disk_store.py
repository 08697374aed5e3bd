"""Saved states as files: the lowest tier, kept across processes. A thread of its own writes; nobody waits for a disk.

One file for each text below ``directory/<fingerprint in hex>/``. The limit holds for everything below the directory,
whichever model it is of; the files that were not used for the longest time go first. A lock file makes writers take
turns, so any number of processes may share a directory. What goes wrong with a file or the disk is logged and costs
that entry, never a request. Not for: the layout of a file (state_file), or which text to look for (the caller).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path

from llama_bind.engine.state_file import (
    SUFFIX,
    TEMPORARY,
    BadStateFileError,
    Entry,
    read_entry,
    read_state,
    write_state,
)
from llama_bind.filelock import locked

__all__ = ["DiskStore"]

MAX_PENDING_BYTES = 256 << 20
IDLE_SECONDS = 5.0  # a thread that waited for ever would keep a store alive that nobody holds any more
FINGERPRINT_SIZE = 16
_FOLDER = re.compile("[0-9a-f]{32}")
_STALE_SECONDS = 3600.0

_log = logging.getLogger("llama_bind")


class DiskStore:
    """Entries as files. Every method may be called from any thread; nothing is read or made before the first call.

    Args:
        directory: Made when it is first written to. Who can write there can feed states to the model: keep it private.
        limit_bytes: Most bytes of all state files below it.
        fingerprint: 16 bytes, equal where states can be exchanged.
        max_pending_bytes: Most bytes that wait to be written; what comes on top is dropped, unless its caller waits.

    Attributes:
        corrupt: Files that were damaged or foreign.
        dropped: Entries that could not be written.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        limit_bytes: int,
        fingerprint: bytes,
        *,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        if len(fingerprint) != FINGERPRINT_SIZE:
            raise ValueError(f"a fingerprint has {FINGERPRINT_SIZE} bytes")
        self.directory = Path(directory)
        self.folder = self.directory / fingerprint.hex()
        self.limit_bytes = limit_bytes
        self.corrupt = 0
        self.dropped = 0
        self._pid = os.getpid()
        self._fingerprint = fingerprint
        self._max_pending = max_pending_bytes
        self._changed = threading.Condition()  # guards everything below
        self._index: dict[str, Entry] | None = None
        self._pending: OrderedDict[str, tuple[Entry, bytes]] = OrderedDict()
        self._pending_bytes = 0
        self._gone: deque[Entry] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._complained: str | None = None

    # -- the store -------------------------------------------------------------------------------------------------

    def put(self, entry: Entry, state: bytes, *, wait: bool = False) -> bool:
        """Have an entry written; False when that cannot be: too large, closed, or too much waits and `wait` is not set.

        One that is there already is only marked as used.
        """
        if entry.file_size > self.limit_bytes:
            return False
        with self._changed:
            index = self._read_index()
            if entry.key in index:
                if entry.key not in self._pending:
                    self._touch(entry.key)
                return True
            while wait and not self._closed and not self._has_room(entry):
                self._changed.wait()
            if self._closed or not self._has_room(entry):
                self.dropped += 1
                return False
            index[entry.key] = entry
            self._pending[entry.key] = (entry, state)
            self._pending_bytes += entry.cost
            self._start()
            self._changed.notify_all()
        return True

    def get(self, key: str) -> bytes | None:
        """The state of an entry, which counts as used now; None when it is not there any more, or damaged."""
        with self._changed:
            if key not in self._read_index():
                return None
            if key in self._pending:
                return self._pending[key][1]
        path = self._path(key)
        try:
            state = read_state(path, self._fingerprint)
        except FileNotFoundError:  # another process made room
            state = None
        except (BadStateFileError, OSError) as error:
            self._discard(path, error)
            state = None
        with self._changed:
            if state is None:
                self._forget(key)
            else:
                self._touch(key)
        return state

    def remove(self, key: str) -> None:
        """Remove an entry and its file. One that is not there is no error."""
        with self._changed:
            self._read_index().pop(key, None)
            waiting = self._pending.pop(key, None)
            if waiting is not None:
                self._pending_bytes -= waiting[0].cost
            self._changed.notify_all()
            self._unlink(self._path(key))  # under the lock: the writer looks under it whether it still should

    def __contains__(self, key: str) -> bool:
        with self._changed:
            return key in self._read_index()

    def entry(self, key: str) -> Entry | None:
        with self._changed:
            return self._read_index().get(key)

    def entries(self) -> list[Entry]:
        """What is there, as far as this process knows: other processes add and remove files too."""
        with self._changed:
            return list(self._read_index().values())

    @property
    def n_bytes(self) -> int:
        """Bytes of the entries' files."""
        with self._changed:
            return sum(entry.file_size for entry in self._read_index().values())

    def take_gone(self) -> list[Entry]:
        """The entries that are not there any more without `remove`, since the last call."""
        with self._changed:
            gone, self._gone = list(self._gone), deque()
        return gone

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is written; False when that took longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, timeout)

    def close(self) -> None:
        """Write what waits, then end the thread. Any number of times."""
        if self._pid != os.getpid():  # the thread is the parent's
            return
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # -- under the lock --------------------------------------------------------------------------------------------

    def _has_room(self, entry: Entry) -> bool:
        return not self._pending or self._pending_bytes + entry.cost <= self._max_pending

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="llama_bind states", daemon=True)
            self._thread.start()

    def _forget(self, key: str) -> None:
        entry = self._read_index().pop(key, None)
        if entry is not None:
            self._gone.append(entry)

    def _read_index(self) -> dict[str, Entry]:
        """The entries by key, oldest first; from the files' beginnings at the first call."""
        if self._index is None:
            found: list[tuple[int, Entry]] = []
            for path, status in _state_files(self.folder):
                try:
                    found.append((status.st_mtime_ns, read_entry(path, self._fingerprint)))
                except FileNotFoundError:
                    continue
                except (BadStateFileError, OSError) as error:
                    self._discard(path, error)
            found.sort(key=lambda pair: pair[0])
            self._index = {entry.key: entry for _, entry in found}
        return self._index

    def _settle(self, entry: Entry, written: bool) -> None:
        now = self._pending.get(entry.key)
        if now is None:  # removed meanwhile
            self._unlink(self._path(entry.key))
        elif now[0] is entry:  # else removed and put again: it has its own turn
            del self._pending[entry.key]
            self._pending_bytes -= entry.cost
            if not written:
                self.dropped += 1
                self._forget(entry.key)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closed, IDLE_SECONDS)
                if not self._pending:
                    self._thread = None  # the next `put` starts another
                    return
                entry, state = next(iter(self._pending.values()))
            try:
                written = self._write(entry, state)
            except Exception as error:  # the disk is full, forbidden, gone: this entry is lost, and nothing else
                self._complain(error)
                written = False
            with self._changed:
                self._settle(entry, written)
                self._changed.notify_all()

    def _write(self, entry: Entry, state: bytes) -> bool:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.directory / ".lock") as alone:
            if self._is_there(entry):  # another process had the same text
                self._touch(entry.key)
                return True
            if not self._make_room(entry, alone):
                return False
            write_state(self.folder, entry, state, self._fingerprint)
        self._complained = None
        return True

    def _make_room(self, entry: Entry, alone: bool) -> bool:
        """Remove the files used longest ago until the entry fits. `alone`: nobody else writes now."""
        files: list[tuple[int, int, Path]] = []
        total = 0
        for folder in _folders(self.directory):
            for path, status in _state_files(folder, temporary=True):
                # Nobody writes but us, so it was left by a process that was killed. Without a lock only age tells.
                old = alone or time.time() - status.st_mtime > _STALE_SECONDS
                if path.name.startswith(TEMPORARY) and old and self._unlink(path):
                    continue
                total += status.st_size
                files.append((status.st_mtime_ns, status.st_size, path))
        for _, size, path in sorted(files):
            if total + entry.file_size <= self.limit_bytes:
                break
            if path.name.startswith(TEMPORARY) or not self._unlink(path):
                continue
            total -= size
            if path.parent == self.folder:
                with self._changed:
                    self._forget(path.name.removesuffix(SUFFIX))
        return total + entry.file_size <= self.limit_bytes

    # -- files -----------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"

    def _is_there(self, entry: Entry) -> bool:
        try:
            return self._path(entry.key).stat().st_size == entry.file_size
        except OSError:
            return False

    def _touch(self, key: str) -> None:
        with contextlib.suppress(OSError):  # a folder that can only be read still serves
            os.utime(self._path(key))

    def _discard(self, path: Path, error: Exception) -> None:
        self.corrupt += 1
        _log.warning("the saved state %s is not used and removed: %s", path, error)
        self._unlink(path)

    def _unlink(self, path: Path) -> bool:
        """Whether the file is gone."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._complain(error)
            return False
        return True

    def _complain(self, error: Exception) -> None:
        """A disk that is full fails for every entry: say it once, until something is written again."""
        text = f"{type(error).__name__} {getattr(error, 'errno', '')}"
        _log.log(
            logging.DEBUG if text == self._complained else logging.WARNING,
            "a saved state cannot be kept in %s: %s",
            self.folder,
            error,
        )
        self._complained = text


def _folders(directory: Path) -> Iterator[Path]:
    """The folders of all fingerprints."""
    with os.scandir(directory) as listing:
        for item in listing:
            if _FOLDER.fullmatch(item.name) and item.is_dir(follow_symlinks=False):
                yield Path(item.path)


def _state_files(folder: Path, *, temporary: bool = False) -> Iterator[tuple[Path, os.stat_result]]:
    """The state files in a folder; none when it cannot be read. Links, pipes and other names are left alone."""
    try:
        with os.scandir(folder) as listing:
            items = list(listing)
    except OSError:
        return
    for item in items:
        named = item.name.endswith(SUFFIX) and (temporary or not item.name.startswith("."))
        with contextlib.suppress(OSError):  # gone meanwhile
            if named and item.is_file(follow_symlinks=False):
                yield Path(item.path), item.stat(follow_symlinks=False)
