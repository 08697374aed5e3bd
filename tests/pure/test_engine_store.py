"""The tiers of saved states: memory above disk."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.engine import disk_store
from llama_bind.engine.disk_store import DiskStore
from llama_bind.engine.state_file import Entry, entry_of, salt_label, write_state
from llama_bind.engine.store import HostStore, TieredStore

MARK = bytes(16)
BIG = 1 << 30


def tokens_of(i: int) -> list[int]:
    return [i, i + 1, i + 2]


def make(directory: Path | None, host: int = BIG, disk: int = BIG) -> TieredStore:
    return TieredStore(MARK, HostStore(host), None if directory is None else DiskStore(directory, disk, MARK))


@given(st.integers(0, 400), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 150), st.integers(0, 3)), max_size=60))
def test_host_memory_keeps_what_was_used_last_within_its_limit(limit: int, actions: list[tuple[int, int, int]]) -> None:
    store, order = HostStore(limit), dict[str, bytes]()
    for i, size, action in actions:
        made = entry_of(tokens_of(i), b"", size, MARK)
        if action == 0:
            assert store.get(made.key) == order.get(made.key)
            if made.key in order:
                order[made.key] = order.pop(made.key)
        elif action == 1:
            store.remove(made.key)
            order.pop(made.key, None)
        else:
            order.pop(made.key, None)
            gone = store.put(made, bytes(size))
            order[made.key] = bytes(size)
            for old, state in gone:
                assert order.pop(old.key) == state
            if made.key in order:  # else it alone was too large, and nothing went for it
                assert [old for old, _ in gone] == [] or store.n_bytes + gone[-1][0].cost > limit
            else:
                assert made.cost > limit
                assert len(gone) == 1
        assert [e.key for e in store.entries()] == list(order)
        assert store.n_bytes == sum(e.cost for e in store.entries()) <= limit


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 150), st.integers(0, 5)), max_size=40),
    st.integers(0, 500),
    st.one_of(st.none(), st.integers(0, 1200)),
)
@settings(max_examples=60, deadline=None)
def test_whoever_listens_knows_exactly_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[int, int, int]], host: int, disk: int | None
) -> None:
    store = make(None if disk is None else tmp_path_factory.mktemp("tiers"), host, disk or 0)
    known: dict[str, bytes] = {}
    gone: list[str] = []

    def on_gone(entry: Entry) -> None:
        gone.append(entry.key)
        assert known.pop(entry.key) is not None, "gone twice, or never there"

    store.on_gone = on_gone
    with contextlib.closing(store):
        for i, size, action in actions:
            state = bytes([i]) * size
            key = entry_of(tokens_of(i), b"", size, MARK).key
            if action == 0:
                state_there = store.get(key)
                assert state_there == known.get(key)
            elif action == 1:
                store.remove(key)
                known.pop(key, None)
            else:
                made = store.put(tokens_of(i), b"", state)
                if made is None:
                    assert store.tier(key) is None
                else:
                    assert made.key == key
                    known.setdefault(key, state)
                    if store.tier(key) == "host":
                        known[key] = state  # else the file that was there stays: the same text has the same state
            if store._disk is not None:
                store._disk.flush(20)
                store.poll()
            assert {e.key for e in store.entries()} == set(known)
            assert store.stats.host_bytes <= host
            assert store.stats.disk_bytes <= (disk or 0)


def test_what_memory_has_no_room_for_goes_to_disk_and_comes_back(tmp_path: Path) -> None:
    with contextlib.closing(make(tmp_path, host=150)) as store:
        first = store.put([1], b"", b"a" * 100)
        second = store.put([2], b"", b"b" * 100)
        assert first is not None
        assert second is not None
        assert [store.tier(e.key) for e in (first, second)] == ["disk", "host"]
        assert store.get(first.key) == b"a" * 100
        assert [store.tier(e.key) for e in (first, second)] == ["host", "disk"]
        assert store.get(first.key) == b"a" * 100
        assert store.get("0" * 32) is None
        stats = store.stats
        assert (stats.host_hits, stats.disk_hits, stats.misses, stats.spills) == (1, 1, 1, 2)
        assert (stats.host_entries, stats.disk_entries, stats.host_bytes) == (1, 2, 104)
        assert stats.disk_bytes == first.file_size + second.file_size


def test_without_memory_states_go_straight_to_disk(tmp_path: Path) -> None:
    with contextlib.closing(TieredStore(MARK, None, DiskStore(tmp_path, BIG, MARK))) as store:
        made = store.put([1, 2], b"", b"state")
        assert made is not None
        assert store.tier(made.key) == "disk"
        assert store.get(made.key) == b"state"
        assert store.get(made.key) == b"state"
        assert store.stats.spills == 1


def test_without_any_tier_nothing_is_kept() -> None:
    store = TieredStore(MARK)
    assert store.put([1], b"", b"state") is None
    assert store.entries() == []
    store.close()


def test_what_it_takes_is_what_it_keeps(tmp_path: Path) -> None:
    state = b"s" * 100
    size = entry_of([1, 2], b"", 100, MARK).file_size
    for host, disk, takes in [
        (108, None, True), (107, None, False), (None, None, False),
        (None, size, True), (None, size - 1, False), (107, size, True), (108, size - 1, True),
    ]:  # fmt: skip
        with contextlib.closing(
            TieredStore(
                MARK,
                None if host is None else HostStore(host),
                None if disk is None else DiskStore(tmp_path / str(disk), disk, MARK),
            )
        ) as store:
            assert store.takes(2, 100) is takes
            assert (store.put([1, 2], b"", state) is not None) is takes
            store.flush()
            assert bool(store.entries()) is takes


def test_flush_brings_memory_to_disk(tmp_path: Path) -> None:
    label = salt_label("tenant", MARK)
    with contextlib.closing(make(tmp_path)) as store:
        keys = {e.key for i in range(5) if (e := store.put(tokens_of(i), label, bytes(i))) is not None}
        assert store.stats.disk_entries == 0
    with contextlib.closing(make(tmp_path)) as later:
        assert {e.key for e in later.entries()} == keys
        assert {e.salt for e in later.entries()} == {label}
        assert {later.get(e.key) for e in later.entries()} == {bytes(i) for i in range(5)}


def test_a_write_that_fails_is_heard_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    gone: list[Entry] = []
    with contextlib.closing(make(tmp_path / "file", host=0)) as store:
        store.on_gone = gone.append
        made = store.put([1], b"", b"state")
        store.flush()
        store.poll()
        # the writer may have failed before `put` came back: then nobody has heard of the entry
        assert [e.key for e in gone] == ([] if made is None else [made.key])
        assert store.entries() == []
        assert store.stats.dropped == 1


def test_a_write_that_fails_within_put_gives_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is faster than `put`: either `put` says so, or `on_gone` does, but the caller never keeps a ghost."""
    (tmp_path / "file").write_text("")
    gone: list[Entry] = []
    disk = DiskStore(tmp_path / "file", BIG, MARK)
    take_gone = disk.take_gone
    monkeypatch.setattr(disk, "take_gone", lambda: take_gone() if disk.flush(20) else [])
    with contextlib.closing(TieredStore(MARK, HostStore(0), disk)) as store:
        store.on_gone = gone.append
        assert store.put([1], b"", b"state") is None
        store.poll()
        assert gone == []


def test_a_full_queue_to_disk_loses_entries_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(disk_store, "write_state", lambda *args: go.wait(20) and write_state(*args))
    gone: list[Entry] = []
    disk = DiskStore(tmp_path, BIG, MARK, max_pending_bytes=100)
    with contextlib.closing(TieredStore(MARK, HostStore(100), disk)) as store:
        store.on_gone = gone.append
        made = [store.put([i], b"", bytes(90)) for i in range(3)]
        assert [e.key for e in gone] == [made[1].key if made[1] else ""]  # the first waits, the third is in memory
        go.set()


def test_the_salt_must_be_a_label() -> None:
    with pytest.raises(ValueError, match="salt_label"):
        make(None).put([1], b"in clear", b"state")


def test_tokens_are_copied() -> None:
    tokens = np.arange(5, dtype=np.int32)
    made = make(None).put(tokens, b"", b"state")
    tokens[0] = 99
    assert made is not None
    assert made.tokens.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="read-only"):
        made.tokens[0] = 1


def test_many_threads_at_once(tmp_path: Path) -> None:
    store = make(tmp_path, host=2000, disk=20_000)
    wrong: list[str] = []

    def work(seed: int) -> None:
        chance = np.random.default_rng(seed)
        for _ in range(200):
            i = int(chance.integers(0, 20))
            made = store.put([i], b"", bytes([i]) * 100)
            state = store.get(made.key) if made is not None else None
            if state not in (None, bytes([i]) * 100):
                wrong.append(made.key if made else "")
            if i == 0 and made is not None:
                store.remove(made.key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    store.close()
    assert wrong == []
