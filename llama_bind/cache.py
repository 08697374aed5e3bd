"""What `Llama.set_cache` takes: where texts are kept that the context has no room for. Settings, and a view on sizes.

The names are the established binding's. Here a cache is no dictionary of states: the engine finds by itself which
prompt begins as a text that it knows, in the context, in memory, or in files. Not for: keeping anything (engine.store).
"""

from __future__ import annotations

import abc
import dataclasses
import operator
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llama_bind.errors import InputError

if TYPE_CHECKING:
    from llama_bind.engine.store import StoreStats

__all__ = ["CacheSettings", "LlamaDiskCache", "LlamaRAMCache"]

GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class CacheSettings:
    """Tiers below the context; see the options of the same names in `LlamaParams`."""

    ram_bytes: int = 0
    directory: str | None = None
    directory_bytes: int = 10 * GIB

    @property
    def wanted(self) -> bool:
        return self.ram_bytes > 0 or (self.directory is not None and self.directory_bytes > 0)


class _Cache(abc.ABC):
    """A tier that may be given to several models, each of which fills it up to the capacity."""

    def __init__(self, capacity_bytes: int) -> None:
        try:
            self.capacity_bytes = operator.index(capacity_bytes)
        except TypeError:
            self.capacity_bytes = -1
        if self.capacity_bytes < 0:
            raise InputError("capacity_bytes is a whole number of bytes, 0 or more", param="capacity_bytes")
        self._users: weakref.WeakKeyDictionary[Any, Callable[[], StoreStats]] = weakref.WeakKeyDictionary()

    @property
    @abc.abstractmethod
    def settings(self) -> CacheSettings:
        """What the engine is told."""

    @property
    def cache_size(self) -> int:
        """Bytes that it holds now, of all models that use it."""
        return sum(self._size(stats()) for stats in list(self._users.values()))

    def attach(self, user: object, stats: Callable[[], StoreStats]) -> None:
        """`user` fills this cache from now on, and `stats` tells how far. Called by `set_cache`."""
        self._users[user] = stats

    def detach(self, user: object) -> None:
        """`user` uses it no more."""
        self._users.pop(user, None)

    @staticmethod
    @abc.abstractmethod
    def _size(stats: StoreStats) -> int:
        """Bytes of this tier."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(capacity_bytes={self.capacity_bytes})"


class LlamaRAMCache(_Cache):
    """Keep texts that the context has no room for in host memory.

    Args:
        capacity_bytes: Most bytes; those used longest ago go first.

    Raises:
        InputError: no such number of bytes.
    """

    def __init__(self, capacity_bytes: int = 2 * GIB) -> None:
        super().__init__(capacity_bytes)

    @property
    def settings(self) -> CacheSettings:
        """What the engine is told."""
        return CacheSettings(ram_bytes=self.capacity_bytes)

    @staticmethod
    def _size(stats: StoreStats) -> int:
        return stats.host_bytes


class LlamaDiskCache(_Cache):
    """Keep texts that the context has no room for in files, which later processes with the same model find.

    Args:
        cache_dir: A directory; who can read it can read the texts, who can write it can change the model's memory.
        capacity_bytes: Most bytes of all state files below it, of whatever model; those used longest ago go first.

    Raises:
        InputError: no such number of bytes.
    """

    def __init__(self, cache_dir: str | os.PathLike[str] = ".cache/llama_cache", capacity_bytes: int = 2 * GIB) -> None:
        super().__init__(capacity_bytes)
        self.cache_dir = os.fspath(cache_dir)

    @property
    def settings(self) -> CacheSettings:
        """What the engine is told."""
        return CacheSettings(directory=self.cache_dir, directory_bytes=self.capacity_bytes)

    @staticmethod
    def _size(stats: StoreStats) -> int:
        return stats.disk_bytes
