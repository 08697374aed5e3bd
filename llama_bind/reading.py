"""Threads in which asyncio callers read prompts: templates, tokenizing, schemas. Long ones never hold up short ones.

asyncio's own worker threads are few and shared by everything: a handful of texts of megabytes would keep every other
call, and whatever else the program does in threads, waiting for seconds. Here short inputs and long ones have threads
of their own, both few, for the whole process. Not for: generating (the engine's thread), or waiting for files.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable, Mapping, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["LONG", "beside", "in_reader", "weight"]

T = TypeVar("T")

LONG = 64 * 1024
"""Characters or token ids from which on an input counts as long: some hundredths of a second of tokenizing."""
SHORT_THREADS = 4
LONG_THREADS = 2
"""Readers of long inputs: as many processors at most are busy with them, whatever comes."""


async def in_reader(size: int, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """What ``function(*args, **kwargs)`` gives, run by a reader with the context variables of here.

    `size` is that of what it reads, see `weight`.
    """
    call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_threads(size >= LONG, os.getpid()), call)


async def beside(size: int, function: Callable[..., T], /, *args: Any) -> T:
    """As `in_reader` for what is long; what is short is done here and now, sooner than any thread would."""
    return await in_reader(size, function, *args) if size >= LONG else function(*args)


@functools.lru_cache(maxsize=2)
def _threads(long: bool, _process: int) -> ThreadPoolExecutor:
    """Made when first needed, and again in a forked process, which has none of its parent's threads."""
    kind, count = ("long", LONG_THREADS) if long else ("short", SHORT_THREADS)
    return ThreadPoolExecutor(count, thread_name_prefix=f"llama_bind-{kind}")


def weight(*values: Any) -> int:
    """About how many characters and token ids are in values, texts in lists and dicts included.

    Stops counting at `LONG`, so that it takes microseconds for any value.
    """
    found, left = 0, list(values)
    while left and found < LONG:
        value = left.pop()
        if isinstance(value, (str, bytes)):
            found += len(value)
        elif isinstance(value, Mapping):
            found += len(value)
            left += value.values()
        elif isinstance(value, (list, tuple)):
            found += len(value)
            if value and found < LONG and not isinstance(value[0], int):  # else token ids, all counted
                left += value
        elif isinstance(value, Sized):  # an array of token ids
            found += len(value)
    return found
