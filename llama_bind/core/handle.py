"""Ownership of native objects: each is freed exactly once, children before parents, never while a call uses it.

A `Handle` is what Python code holds; its `Resource` is what owns the C pointer. The finalizer knows only the resource,
so it can never keep the handle alive. A resource counts its pins: running calls, and what stands on it (unfreed
children, numpy views that were given out). `close` forbids new pins; the memory goes back when the last pin is gone, in
whichever thread that is.

After ``os.fork`` a child owns nothing that its parent made: using it raises `ForkedError`, dropping it frees nothing.

Not for: what the objects do, or serialising calls on one object (`Context` does that itself).
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from llama_bind.errors import ClosedError, ForkedError

__all__ = ["Handle", "Resource", "pin_all", "process_generation", "unpin_all"]

_H = TypeVar("_H", bound="Handle")

EXIT_TIMEOUT = 10.0
"""Seconds that the interpreter's exit waits for running native calls to end after they were told to abort."""

# A reentrant lock: the garbage collector may finalize another handle in a thread that is inside one of the few lines
# under this lock. One lock for all resources keeps parents and children consistent; it is held for nanoseconds.
_lock = threading.RLock()
_live: dict[int, Resource] = {}
_generation = 0


def process_generation() -> int:
    """How many forks lie between this process and the one that imported this module."""
    return _generation


class Resource:
    """The owner of one C pointer.

    Args:
        kind: the class name shown in errors and counted by `Handle.live`.
        pointer: the address, never 0.
        free: called once with the pointer, from any thread.
        parent: what must outlive this one.
        on_close: called when closing begins, before the memory is freed; tells a running call to stop.
    """

    __slots__ = ("_free", "_on_close", "children", "closed", "generation", "held", "kind", "parent", "pins", "pointer")

    def __init__(
        self,
        kind: str,
        pointer: int,
        free: Callable[[int], Any],
        parent: Resource | None = None,
        on_close: Callable[[], Any] | None = None,
    ) -> None:
        self.kind = kind
        self.pointer = pointer
        self.parent = parent
        self.pins = 0
        self.held = 0
        self.closed = False
        self.generation = _generation
        self.children: dict[int, Resource] = {}
        self._free = free
        self._on_close = on_close
        with _lock:
            if parent is not None:
                parent.hold()
                parent.children[id(self)] = self
            _live[id(self)] = self

    def check(self) -> int:
        """The pointer; raises `ClosedError` or `ForkedError`."""
        if self.closed:
            raise ClosedError(self.kind)
        if self.generation != _generation:
            raise ForkedError(self.kind)
        return self.pointer

    def pin(self) -> int:
        """Keep the memory until `unpin`; gives the pointer. Raises as `check` does."""
        with _lock:
            pointer = self.check()
            self.pins += 1
            return pointer

    def unpin(self) -> None:
        """Undo one `pin`; frees the memory if it was closed meanwhile and this was the last one."""
        if self.generation != _generation:
            return
        with _lock:
            self.pins -= 1
            last = self.closed and self.pins == 0
        if last:
            self._release()

    def hold(self) -> int:
        """As `pin`, for as long as something else stands on this: `unhold` undoes it. Not a running call."""
        with _lock:
            pointer = self.pin()
            self.held += 1
            return pointer

    def unhold(self) -> None:
        """Undo one `hold`."""
        with _lock:
            self.held -= 1
        self.unpin()

    def lend(self, view: Any) -> None:
        """Hold the memory while `view`, an object that refers to it and to nothing of this class, is alive."""
        self.hold()
        weakref.finalize(view, self.unhold).atexit = False

    def close(self) -> None:
        """Close the children, newest first, then this one. Any number of times, from any thread."""
        if self.generation != _generation:
            self.closed = True
            return
        with _lock:
            if self.closed:
                return
            self.closed = True
            self.pins += 1  # ours: nobody frees before the children are closed
            children = list(reversed(self.children.values()))
        try:
            if self._on_close is not None:
                self._on_close()
            for child in children:
                child.close()
        finally:
            self.unpin()

    def _release(self) -> None:
        with _lock:
            if _live.pop(id(self), None) is None:
                return
            if self.parent is not None:
                self.parent.children.pop(id(self), None)
        try:
            self._free(self.pointer)
        finally:
            if self.parent is not None:
                self.parent.unhold()


def pin_all(resources: Sequence[Resource]) -> None:
    """`Resource.pin` for all of them or, where one raises, for none."""
    with _lock:
        for resource in resources:
            resource.check()
        for resource in resources:
            resource.pins += 1


def unpin_all(resources: Sequence[Resource]) -> None:
    """Undo one `pin_all`."""
    with _lock:
        for resource in resources:
            resource.pins -= resource.generation == _generation
        last = [r for r in resources if r.closed and r.pins == 0 and r.generation == _generation]
    for resource in last:
        resource._release()


class Handle:
    """Base of the classes that own a C object. A context manager; closing twice is fine.

    A subclass calls ``super().__init__(pointer, free, ...)`` first, so that the pointer has an owner whatever fails
    after it, and must not give a `free` or `on_close` that refers to the handle.
    """

    _kind: ClassVar[str | None] = None

    def __init__(
        self,
        pointer: int,
        free: Callable[[int], Any],
        parent: Handle | None = None,
        on_close: Callable[[], Any] | None = None,
    ) -> None:
        self._parent = parent
        owner: Resource | None = None if parent is None else parent._resource
        self._resource: Resource = Resource(self._kind or type(self).__name__, pointer, free, owner, on_close)
        self._finalizer = weakref.finalize(self, self._resource.close)
        self._finalizer.atexit = False  # _close_all does it, in order

    @property
    def ptr(self) -> int:
        """The address of the C object.

        Raises:
            ClosedError: the object was closed.
            ForkedError: the object was made before a fork.
        """
        return self._resource.check()

    @property
    def _as_parameter_(self) -> int:
        return self._resource.check()

    @property
    def closed(self) -> bool:
        """Whether `close` was called, on this object or on one that it stands on."""
        return self._resource.closed

    def close(self) -> None:
        """Close what stands on this object, then the object. A call that is running in another thread ends first."""
        self._resource.close()

    def __enter__(self: _H) -> _H:
        self._resource.check()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"at {self._resource.pointer:#x}"
        return f"<{type(self).__name__} {state}>"

    @staticmethod
    def live() -> dict[str, int]:
        """How many native objects of each kind are not freed yet in this process."""
        with _lock:
            return dict(Counter(resource.kind for resource in _live.values()))


def _close_all() -> None:
    """Close everything at interpreter exit and wait for calls in other threads: the C++ library's own clean-up, which
    runs after Python's, must not happen under a running computation.
    """
    with _lock:
        roots = list(reversed(_live.values()))
    for resource in roots:
        resource.close()
    deadline = time.monotonic() + EXIT_TIMEOUT
    while any(_is_busy(resource) for resource in list(_live.values())) and time.monotonic() < deadline:
        time.sleep(0.001)


def _is_busy(resource: Resource) -> bool:
    return resource.pins > resource.held


def _after_fork_in_child() -> None:
    global _generation, _lock
    _generation += 1
    _live.clear()
    _lock = threading.RLock()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
