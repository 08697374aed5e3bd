from __future__ import annotations

import gc
import os
import threading

import pytest

from llama_bind.core.handle import Handle, Resource
from llama_bind.errors import ClosedError, ForkedError


class Thing(Handle):
    def __init__(self, number: int, freed: list[int], parent: Handle | None = None) -> None:
        super().__init__(number, freed.append, parent)


class Lent:
    pass


def test_a_dropped_handle_is_freed_once() -> None:
    freed: list[int] = []
    thing = Thing(7, freed)
    assert thing.ptr == 7
    assert thing._as_parameter_ == 7
    assert Handle.live()["Thing"] == 1
    del thing
    gc.collect()
    assert freed == [7]
    assert "Thing" not in Handle.live()


def test_close_is_idempotent_and_use_after_it_raises() -> None:
    freed: list[int] = []
    with Thing(1, freed) as thing:
        assert not thing.closed
    thing.close()
    assert freed == [1]
    assert thing.closed
    with pytest.raises(ClosedError, match="Thing is closed"):
        _ = thing.ptr
    with pytest.raises(ClosedError):
        thing.__enter__()


def test_children_are_freed_before_their_parent_newest_first() -> None:
    freed: list[int] = []
    parent = Thing(1, freed)
    children = [Thing(number, freed, parent) for number in (2, 3)]
    grandchild = Thing(4, freed, children[0])
    parent.close()
    assert freed == [3, 4, 2, 1]
    assert all(item.closed for item in (parent, *children, grandchild))


def test_a_child_keeps_its_parent_alive() -> None:
    freed: list[int] = []
    child = Thing(2, freed, Thing(1, freed))
    gc.collect()
    assert freed == []
    del child
    gc.collect()
    assert freed == [2, 1]


def test_a_cycle_is_freed_in_order() -> None:
    freed: list[int] = []
    parent = Thing(1, freed)
    child = Thing(2, freed, parent)
    parent.__dict__["child"] = child
    del parent, child
    gc.collect()
    assert freed == [2, 1]


def test_a_running_call_postpones_the_free() -> None:
    freed: list[int] = []
    parent = Thing(1, freed)
    child = Thing(2, freed, parent)
    assert child._resource.pin() == 2
    parent.close()
    assert child.closed
    assert freed == []
    with pytest.raises(ClosedError):
        child._resource.pin()
    child._resource.unpin()
    assert freed == [2, 1]


def test_a_lent_view_postpones_the_free() -> None:
    freed: list[int] = []
    thing = Thing(1, freed)
    view = Lent()
    thing._resource.lend(view)
    thing.close()
    assert freed == []
    del view
    gc.collect()
    assert freed == [1]


def test_a_child_of_a_closed_parent_is_refused() -> None:
    freed: list[int] = []
    parent = Thing(1, freed)
    parent.close()
    with pytest.raises(ClosedError):
        Thing(2, freed, parent)


def test_closing_from_many_threads_frees_once() -> None:
    freed: list[int] = []
    for number in range(200):
        thing = Thing(number, freed)
        threads = [threading.Thread(target=thing.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert freed == list(range(200))


def test_pins_from_many_threads_are_counted() -> None:
    freed: list[int] = []
    thing = Thing(1, freed)

    def work() -> None:
        for _ in range(2000):
            thing._resource.pin()
            thing._resource.unpin()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert thing._resource.pins == 0
    thing.close()
    assert freed == [1]


def test_a_failing_free_still_lets_the_parent_go() -> None:
    freed: list[int] = []

    def fail(_pointer: int) -> None:
        raise RuntimeError("free failed")

    parent = Resource("parent", 1, freed.append)
    child = Resource("child", 2, fail, parent)
    with pytest.raises(RuntimeError, match="free failed"):
        child.close()
    parent.close()
    assert freed == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_neither_uses_nor_frees() -> None:
    freed: list[int] = []
    thing = Thing(1, freed)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        answers = []
        try:
            _ = thing.ptr
            answers.append("used")
        except ForkedError:
            answers.append("refused")
        thing.close()
        del thing
        gc.collect()
        answers.append(f"freed {freed}, live {Handle.live()}")
        os.write(writer, "; ".join(answers).encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "refused; freed [], live {}"
    assert status == 0
    assert thing.ptr == 1
    thing.close()
    assert freed == [1]
