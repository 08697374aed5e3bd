"""The store of one engine: made as the options say, exchanged by `set_cache`, closed after the engine.

Its fingerprint says which states can be exchanged: same bytes of the model, same adapters, same options that change
what is computed. Not for: keeping states (engine.store), or when to (the engine).
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llama_bind.cache import CacheSettings
from llama_bind.engine.disk_store import DiskStore
from llama_bind.engine.store import HostStore, StoreStats, TieredStore
from llama_bind.lib._pin import TREE

if TYPE_CHECKING:
    from llama_bind.engine.loop import Engine
    from llama_bind.engine.runner import Runner
    from llama_bind.starting import Setup

__all__ = ["Storing", "fingerprint_of"]

SAMPLES = 256
SAMPLE_BYTES = 4096
CONTEXT_OPTIONS = (
    "attention_type",
    "flash_attn",
    "rope_freq_base",
    "rope_freq_scale",
    "rope_scaling_type",
    "yarn_attn_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
    "yarn_ext_factor",
    "yarn_orig_ctx",
)
_SHARD = re.compile(r"(.*)-\d{5}-of-(\d{5})\.gguf")


def fingerprint_of(setup: Setup, state: bytes) -> bytes:
    """16 bytes. `state`: the fingerprint that saved states carry themselves (`core.state.fingerprint`).

    Files are looked at in `SAMPLES` places: two trainings of one model have the same metadata and other weights.
    """
    digest = hashlib.blake2b(state, digest_size=16)
    options = [(name, getattr(setup.context, name)) for name in CONTEXT_OPTIONS]
    digest.update(repr((TREE, options, setup.model.kv_overrides)).encode())
    for path in _shards(setup.model_path):
        _sample(digest, path)
    for adapter in setup.adapters:
        digest.update(repr(float(adapter.scale)).encode())
        _sample(digest, Path(adapter.path))
    return digest.digest()


class Storing:
    """Makes stores for the engine of `runner`, which has not started yet. Nothing is read where none is wanted."""

    def __init__(self, setup: Setup, runner: Runner) -> None:
        own = setup.own
        directory = None if own.cache_dir is None else os.fspath(own.cache_dir)
        self._setup = setup
        self._fingerprint: bytes | None = None
        self._changing = threading.Lock()
        self.store = self._make(
            CacheSettings(own.cache_ram_bytes, directory, own.cache_dir_bytes), lambda: runner.fingerprint
        )

    def set(self, engine: Engine, settings: CacheSettings | None) -> None:
        """Keep texts elsewhere from now on; None: nowhere. What is kept now is brought to its files first."""
        with self._changing:
            engine.set_store(None)
            if self.store is not None:
                self.store.close()
            self.store = self._make(settings or CacheSettings(), lambda: engine.call(lambda runner: runner.fingerprint))
            engine.set_store(self.store)

    @property
    def stats(self) -> StoreStats:
        """Zeros without a store."""
        return StoreStats() if self.store is None else self.store.stats

    def close(self) -> None:
        """After the engine."""
        if self.store is not None:
            self.store.close()

    def _make(self, settings: CacheSettings, state: Callable[[], bytes]) -> TieredStore | None:
        if not settings.wanted:
            return None
        if settings.directory is None or not settings.directory_bytes:
            return TieredStore(state(), HostStore(settings.ram_bytes))  # of this model alone: no look at its files
        if self._fingerprint is None:
            self._fingerprint = fingerprint_of(self._setup, state())
        directory = os.path.expanduser(settings.directory)
        disk = DiskStore(directory, settings.directory_bytes, self._fingerprint)
        return TieredStore(self._fingerprint, HostStore(settings.ram_bytes), disk)


def _shards(model_path: str) -> list[Path]:
    """All files of a model that is given by its first."""
    path = Path(model_path)
    found = _SHARD.fullmatch(path.name)
    if found is None:
        return [path]
    stem, count = found.groups()
    return [path.with_name(f"{stem}-{i:05}-of-{count}.gguf") for i in range(1, int(count) + 1)]


def _sample(digest: hashlib.blake2b, path: Path) -> None:
    """Size, and bytes in evenly spread places; all of a small file."""
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with open(path, "rb", buffering=0) as file:
        for i in range(SAMPLES):
            file.seek(i * size // SAMPLES)
            digest.update(file.read(SAMPLE_BYTES))
