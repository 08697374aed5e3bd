"""Saved states outside the context: host memory, and below it files. What memory has no room for goes to disk.

The engine asks with tokens and a salt's label (`state_file.salt_label`) and gets keys; which saved text serves a prompt
best is the radix tree's business: it learns from `TieredStore.entries` what there is and from `on_gone` what is not any
more. Not for: making or loading states (runner), or files (disk_store).
"""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import numpy.typing as npt

from llama_bind.engine.disk_store import DiskStore
from llama_bind.engine.state_file import Entry, entry_cost, entry_of, file_size

__all__ = ["HostStore", "StoreStats", "TieredStore"]

Kept = tuple[Entry, bytes]


class HostStore:
    """Entries in memory, at most `limit_bytes` of them; those used longest ago go first. For one thread at a time."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.n_bytes = 0
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def put(self, entry: Entry, state: bytes) -> list[Kept]:
        """Keep an entry; gives those that had to go for it, which is the entry itself where it alone is too large."""
        self.remove(entry.key)
        if entry.cost > self.limit_bytes:
            return [(entry, state)]
        gone: list[Kept] = []
        while self.n_bytes + entry.cost > self.limit_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.n_bytes -= oldest[0].cost
            gone.append(oldest)
        self._kept[entry.key] = (entry, state)
        self.n_bytes += entry.cost
        return gone

    def get(self, key: str) -> bytes | None:
        """The state of an entry, which counts as used now."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def remove(self, key: str) -> None:
        """Remove an entry. One that is not there is no error."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.n_bytes -= kept[0].cost

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def entries(self) -> list[Entry]:
        """What is there, used longest ago first."""
        return [entry for entry, _ in self._kept.values()]

    def kept(self) -> list[Kept]:
        """The same with the states."""
        return list(self._kept.values())


@dataclasses.dataclass(frozen=True)
class StoreStats:
    """A store's counters.

    Attributes:
        host_entries, host_bytes: In memory now.
        disk_entries, disk_bytes: On disk now, of this fingerprint; waiting to be written included.
        host_hits, disk_hits, misses: How `get` was answered.
        spills: Entries that went from memory to disk.
        corrupt: Files that were damaged or foreign, and were removed.
        dropped: Entries that disk could not take.
    """

    host_entries: int = 0
    host_bytes: int = 0
    disk_entries: int = 0
    disk_bytes: int = 0
    host_hits: int = 0
    disk_hits: int = 0
    misses: int = 0
    spills: int = 0
    corrupt: int = 0
    dropped: int = 0


class TieredStore:
    """Host memory above disk; either may be missing. Every method may be called from any thread.

    Args:
        fingerprint: 16 bytes, equal where states can be exchanged.
        host: None for no memory.
        disk: None for no files. The store closes it.

    Attributes:
        on_gone: Called with an entry that no tier holds any more, other than by `remove`; by the thread that called
            `put`, `get` or `poll`, within that call.
    """

    def __init__(self, fingerprint: bytes, host: HostStore | None = None, disk: DiskStore | None = None) -> None:
        self.on_gone: Callable[[Entry], None] | None = None
        self._fingerprint = fingerprint
        self._host = host or HostStore(0)
        self._disk = disk
        self._lock = threading.Lock()
        self._host_hits = self._disk_hits = self._misses = self._spills = 0
        self._gone: list[Entry] = []

    def put(self, tokens: npt.ArrayLike, salt: bytes, state: bytes) -> Entry | None:
        """Keep the state of a text; gives its entry, or None where no tier can take it.

        Args:
            tokens: Ids, at least one.
            salt: As `salt_label` makes it, b"" for none.
            state: What `Context` gave for exactly these tokens.

        Raises:
            ValueError: no tokens, or a salt in clear.
        """
        entry = entry_of(tokens, salt, len(state), self._fingerprint)
        with self._lock:
            known = self._holds(entry.key)
            self._keep(entry, state)
            gone = self._collect()
        # One answer for the caller and for `on_gone`: the disk's thread may fail at any moment between two looks.
        lost = any(old.key == entry.key for old in gone)
        self._tell([old for old in gone if known or old.key != entry.key])  # of a new one nobody has heard yet
        return None if lost else entry

    def takes(self, n_tokens: int, n_bytes: int) -> bool:
        """Whether a tier is large enough for the state of so many tokens: making one takes time."""
        cost = entry_cost(n_tokens, n_bytes)
        if cost <= self._host.limit_bytes:
            return True
        return self._disk is not None and file_size(cost) <= self._disk.limit_bytes

    def get(self, key: str) -> bytes | None:
        """The state under a key, which counts as used now; None when it is gone. What was on disk is in memory then."""
        with self._lock:
            state = self._host.get(key)
            if state is not None:
                self._host_hits += 1
                return state
            entry = None if self._disk is None else self._disk.entry(key)
            if entry is not None and self._disk is not None:
                state = self._disk.get(key)
            if state is None or entry is None:
                self._misses += 1
            else:
                self._disk_hits += 1
                self._keep(entry, state)
        self.poll()
        return state

    def tier(self, key: str) -> Literal["host", "disk"] | None:
        """Where a `get` would find it: "host", "disk", or None."""
        with self._lock:
            if key in self._host:
                return "host"
            return "disk" if self._disk is not None and key in self._disk else None

    def remove(self, key: str) -> None:
        """Remove an entry from all tiers; `on_gone` is not called. One that is not there is no error."""
        with self._lock:
            self._host.remove(key)
            if self._disk is not None:
                self._disk.remove(key)

    def forget_memory(self) -> None:
        """Forget what is in host memory; files stay. `on_gone` is told of what no file holds."""
        with self._lock:
            for entry in self._host.entries():
                self._host.remove(entry.key)
                self._gone.append(entry)
        self.poll()

    def entries(self) -> list[Entry]:
        """What the tiers hold, each text once. The first call reads the beginnings of the files."""
        with self._lock:
            found = {} if self._disk is None else {entry.key: entry for entry in self._disk.entries()}
            return [*{**found, **{entry.key: entry for entry in self._host.entries()}}.values()]

    @property
    def has_disk(self) -> bool:
        """Whether anything outlives this process."""
        return self._disk is not None

    def poll(self) -> None:
        """Tell `on_gone` what has gone since the last call."""
        with self._lock:
            gone = self._collect()
        self._tell(gone)

    def _tell(self, gone: list[Entry]) -> None:
        if self.on_gone is not None:
            for entry in gone:
                self.on_gone(entry)

    def flush(self) -> None:
        """Bring everything in memory to disk as well, and wait until it is written. Nothing without a disk."""
        with self._lock:
            kept = [] if self._disk is None else self._host.kept()
        if self._disk is not None:
            for entry, state in kept:
                self._disk.put(entry, state, wait=True)
            self._disk.flush()

    def close(self) -> None:
        """`flush`, then end the disk's thread. Any number of times."""
        self.flush()
        if self._disk is not None:
            self._disk.close()

    @property
    def stats(self) -> StoreStats:
        with self._lock:
            disk = self._disk
            return StoreStats(
                host_entries=len(self._host.entries()),
                host_bytes=self._host.n_bytes,
                disk_entries=0 if disk is None else len(disk.entries()),
                disk_bytes=0 if disk is None else disk.n_bytes,
                host_hits=self._host_hits,
                disk_hits=self._disk_hits,
                misses=self._misses,
                spills=self._spills,
                corrupt=0 if disk is None else disk.corrupt,
                dropped=0 if disk is None else disk.dropped,
            )

    # -- under the lock --------------------------------------------------------------------------------------------

    def _holds(self, key: str) -> bool:
        return key in self._host or (self._disk is not None and key in self._disk)

    def _collect(self) -> list[Entry]:
        """What has gone since the last call."""
        if self._disk is not None:
            self._gone += self._disk.take_gone()
        gone, self._gone = self._gone, []
        return [*{entry.key: entry for entry in gone if not self._holds(entry.key)}.values()]

    def _keep(self, entry: Entry, state: bytes) -> None:
        """Put an entry into memory; what it displaces goes to disk."""
        for old, its_state in self._host.put(entry, state):
            had = self._disk is not None and old.key in self._disk
            if self._disk is not None and self._disk.put(old, its_state):  # marks it as used where it is there already
                self._spills += not had
            else:
                self._gone.append(old)
