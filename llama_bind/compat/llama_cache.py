"""The caches of llama-cpp-python: settings for the engine, which keeps and finds texts by itself.

Not for: dictionaries of states; a cache here is given to `Llama.set_cache` and filled by the engine.
"""

from __future__ import annotations

from llama_bind import cache as ours
from llama_bind.cache import LlamaDiskCache, LlamaRAMCache

__all__ = ["BaseLlamaCache", "LlamaCache", "LlamaDiskCache", "LlamaRAMCache"]

BaseLlamaCache = ours._Cache
"""What both have in common: `capacity_bytes` and `cache_size`."""
LlamaCache = LlamaRAMCache
