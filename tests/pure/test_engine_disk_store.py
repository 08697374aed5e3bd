"""Files of saved states: whatever happens to them, a wrong state never comes back and nobody fails."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.engine import disk_store, state_file
from llama_bind.engine.disk_store import DiskStore
from llama_bind.engine.state_file import BadStateFileError, Entry, entry_of, read_state, salt_label, write_state

MARK = bytes(range(16))
OTHER = bytes(range(1, 17))
BIG = 1 << 30


def entry(i: int, state: bytes, salt: bytes = b"") -> Entry:
    return entry_of(np.arange(i, i + 4), salt, len(state), MARK)


def state_of(i: int, size: int = 64) -> bytes:
    return random.Random(i).randbytes(size)


def put(store: DiskStore, i: int, size: int = 64) -> str:
    state = state_of(i, size)
    made = entry(i, state)
    assert store.put(made, state, wait=True)
    assert store.flush(20)
    return made.key


def size_of(directory: Path) -> int:
    return sum(p.stat().st_size for p in directory.rglob("*.state"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    made = DiskStore(tmp_path, BIG, MARK)
    yield made
    made.close()


def again(store: DiskStore) -> DiskStore:
    """Another process's view."""
    return DiskStore(store.directory, store.limit_bytes, MARK)


def test_what_was_put_is_there_for_the_next_process(store: DiskStore) -> None:
    keys = [put(store, i, 10 * i) for i in range(5)]
    for view in (store, again(store)):
        assert [view.get(key) for key in keys] == [state_of(i, 10 * i) for i in range(5)]
        assert {e.key: e.tokens.tolist() for e in view.entries()} == {
            key: list(range(i, i + 4)) for i, key in enumerate(keys)
        }
        assert view.n_bytes == size_of(store.directory)
    assert store.get("0" * 32) is None


def test_nothing_is_touched_before_it_is_needed(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "new", BIG, MARK)
    assert store.entries() == []
    assert store.get("0" * 32) is None
    store.close()
    assert not (tmp_path / "new").exists()
    assert not [t for t in threading.enumerate() if t.name == "llama_bind states"]


def test_an_entry_is_there_while_it_waits(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(disk_store, "write_state", lambda *args: go.wait(20) and write_state(*args))
    made = entry(1, b"state")
    assert store.put(made, b"state")
    assert store.get(made.key) == b"state"
    assert store.put(made, b"state"), "twice is once"
    assert not store.flush(0.05)
    go.set()
    assert store.flush(20)
    assert again(store).get(made.key) == b"state"


def test_a_removed_entry_does_not_come_back(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, go = threading.Event(), threading.Event()

    def slow(*args: object) -> Path:
        writing.set()
        assert go.wait(20)
        return write_state(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(disk_store, "write_state", slow)
    made = entry(1, b"state")
    assert store.put(made, b"state")
    assert writing.wait(20)
    store.remove(made.key)
    assert store.get(made.key) is None
    go.set()
    store.close()
    assert size_of(store.directory) == 0
    assert again(store).entries() == []


def test_too_much_waiting_is_dropped_unless_someone_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(disk_store, "write_state", lambda *args: go.wait(20) and write_state(*args))
    store = DiskStore(tmp_path, BIG, MARK, max_pending_bytes=200)
    states = [state_of(i, 100) for i in range(3)]
    assert store.put(entry(0, states[0]), states[0])
    assert not store.put(entry(1, states[1]), states[1])
    assert store.dropped == 1
    waiter = threading.Thread(target=store.put, args=(entry(2, states[2]), states[2]), kwargs={"wait": True})
    waiter.start()
    go.set()
    waiter.join(20)
    store.close()
    assert {e.key for e in DiskStore(tmp_path, BIG, MARK).entries()} == {
        entry(0, states[0]).key,
        entry(2, states[2]).key,
    }
    assert not store.put(entry(5, b""), b""), "a closed store takes nothing"


@pytest.mark.parametrize("change", ["flip", "zero"])
def test_no_changed_byte_goes_unseen(store: DiskStore, change: str, caplog: pytest.LogCaptureFixture) -> None:
    key = put(store, 1, 24)
    path = store.folder / f"{key}.state"
    whole = path.read_bytes()
    for place, byte in enumerate(whole):
        damaged = bytearray(whole)
        damaged[place] = byte ^ 0x10 if change == "flip" else 0
        if damaged == whole:
            continue
        path.write_bytes(damaged)
        view = again(store)
        with caplog.at_level(logging.WARNING, "llama_bind"):
            caplog.clear()
            assert view.get(key) is None, f"byte {place}"
        assert view.corrupt == 1
        assert view.entries() == []
        assert str(path) in caplog.text
        assert not path.exists(), "a damaged file is removed"


def test_no_cut_or_longer_file_goes_unseen(store: DiskStore) -> None:
    key = put(store, 1, 24)
    path = store.folder / f"{key}.state"
    whole = path.read_bytes()
    for content in [*(whole[:n] for n in range(len(whole))), whole + b"x"]:
        path.write_bytes(content)
        view = again(store)
        assert view.get(key) is None, len(content)
        assert view.corrupt == 1
        assert not path.exists()


def test_a_damage_that_comes_later_is_seen_too(store: DiskStore) -> None:
    key = put(store, 1)
    path = store.folder / f"{key}.state"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert store.get(key) is None
    assert [e.key for e in store.take_gone()] == [key]
    assert store.take_gone() == []
    assert key not in store
    assert put(store, 1) == key
    assert store.get(key) == state_of(1)


def test_files_that_belong_elsewhere(store: DiskStore, tmp_path: Path) -> None:
    key, second = put(store, 1), put(store, 2)
    foreign = DiskStore(tmp_path, BIG, OTHER)
    foreign.folder.mkdir()
    moved = foreign.folder / f"{key}.state"
    moved.write_bytes((store.folder / f"{key}.state").read_bytes())
    assert foreign.entries() == []
    assert not moved.exists()
    renamed = store.folder / f"{'0' * 32}.state"
    renamed.write_bytes((store.folder / f"{second}.state").read_bytes())
    assert {e.key for e in again(store).entries()} == {key, second}
    assert not renamed.exists()


def test_what_is_no_state_file_is_left_alone(store: DiskStore, tmp_path: Path) -> None:
    key = put(store, 1)
    secret = tmp_path / "elsewhere"
    secret.write_bytes((store.folder / f"{key}.state").read_bytes())
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / f"{'1' * 32}.state").mkdir()
    (store.folder / f"{'2' * 32}.state").symlink_to(secret)
    os.mkfifo(store.folder / f"{'3' * 32}.state")
    view = again(store)
    assert [e.key for e in view.entries()] == [key]
    assert len(list(store.folder.iterdir())) == 5
    view.limit_bytes = 400
    put(view, 2)
    view.close()
    assert secret.exists()
    assert (store.folder / "notes.txt").exists()


def test_a_link_in_place_of_a_file_is_not_followed(store: DiskStore, tmp_path: Path) -> None:
    key = put(store, 1)
    path = store.folder / f"{key}.state"
    path.rename(tmp_path / "target")
    path.symlink_to(tmp_path / "target")
    assert store.get(key) is None
    assert (tmp_path / "target").exists()


def test_a_file_that_is_a_pipe_does_not_block(store: DiskStore) -> None:
    key = put(store, 1)
    path = store.folder / f"{key}.state"
    path.unlink()
    os.mkfifo(path)
    assert store.get(key) is None


def test_another_process_may_remove_files_at_any_time(store: DiskStore) -> None:
    key = put(store, 1)
    again(store).remove(key)
    assert store.get(key) is None
    assert [e.key for e in store.take_gone()] == [key]
    assert store.corrupt == 0


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 900), st.booleans()), max_size=30), st.integers(0, 2500))
@settings(max_examples=60, deadline=None)
def test_the_limit_holds_and_no_state_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[int, int, bool]], limit: int
) -> None:
    directory = tmp_path_factory.mktemp("limit")
    with contextlib.closing(DiskStore(directory, limit, MARK)) as store:
        sizes: dict[str, bytes] = {}
        for i, size, use in actions:
            state = state_of(size, size)
            made = entry(i, state)
            if use:
                assert store.get(made.key) in (None, sizes.get(made.key))
            else:
                known = made.key in store
                took = store.put(made, state, wait=True)
                assert store.flush(20)
                assert took or made.file_size > limit
                if took and not known:
                    sizes[made.key] = state
                    assert store.get(made.key) == state, "the newest goes last"
            assert size_of(directory) <= limit
            assert store.n_bytes == size_of(directory)
        gone = {e.key for e in store.take_gone()}
        assert all(key in gone for key in sizes if key not in store)
        fresh = DiskStore(directory, limit, MARK)
        assert {e.key: fresh.get(e.key) for e in fresh.entries()} == {e.key: sizes[e.key] for e in store.entries()}


def test_the_least_recently_used_goes_first_across_models_and_processes(tmp_path: Path) -> None:
    one = entry(0, state_of(0))
    with contextlib.closing(DiskStore(tmp_path, 3 * one.file_size, MARK)) as store:
        keys = [put(store, i) for i in range(2)]
        with contextlib.closing(DiskStore(tmp_path, store.limit_bytes, OTHER)) as other:
            foreign = entry_of([1, 2, 3, 4], b"", 64, OTHER)
            other.put(foreign, state_of(7))
            assert other.flush(20)
            for i, path in enumerate((store._path(keys[0]), store._path(keys[1]), other._path(foreign.key))):
                os.utime(path, ns=(i, i))  # so that no clock decides this test
            assert store.get(keys[0]) is not None  # used now
            put(store, 2)  # of four, the second goes
            assert store.get(keys[1]) is None
            put(store, 3)  # the other model's goes
            assert other.get(foreign.key) is None
            assert store.get(keys[0]) is not None
        assert size_of(tmp_path) == store.limit_bytes


def test_the_limit_holds_at_every_moment(tmp_path: Path) -> None:
    limit = 8 * entry(0, state_of(0, 200)).file_size
    worst, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            with contextlib.suppress(FileNotFoundError):  # a file that goes between listing and looking
                worst[0] = max(worst[0], size_of(tmp_path))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with contextlib.closing(DiskStore(tmp_path, limit, MARK)) as store:
        for i in range(60):
            store.put(entry(i, state_of(i, 200)), state_of(i, 200), wait=True)
    stop.set()
    watcher.join(20)
    assert 0 < worst[0] <= limit


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "denied")])
def test_a_full_or_forbidden_disk_costs_entries_and_nothing_else(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: OSError
) -> None:
    def fail(_descriptor: int) -> None:
        raise error

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "llama_bind"):
        patch.setattr(os, "fsync", fail)
        keys = [put(store, i) for i in range(3)]
        assert [store.get(key) for key in keys] == [None] * 3
    assert [e.key for e in store.take_gone()] == keys
    assert store.dropped == 3
    assert list(store.folder.iterdir()) == [], "nothing half written is left"
    assert len(caplog.records) == 1, "said once, not for every entry"
    assert str(error.strerror) in caplog.text
    assert store.get(put(store, 1)) == state_of(1), "it works again when the disk does"


def test_a_directory_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with contextlib.closing(DiskStore(tmp_path / "file", BIG, MARK)) as store:
        key = put(store, 1)
        assert store.get(key) is None
        assert store.dropped == 1


KILLED = """
import sys, random
from pathlib import Path
import numpy as np
from llama_bind.engine.disk_store import DiskStore
from llama_bind.engine.state_file import entry_of
store = DiskStore(Path(sys.argv[1]), int(sys.argv[2]), bytes(range(16)))
print("ready", flush=True)
i = int(sys.argv[3])
for _ in range(int(sys.argv[4])):
    i += 1
    state = random.Random(i).randbytes(200_000)
    made = entry_of(np.arange(i, i + 4), b"", len(state), bytes(range(16)))
    store.put(made, state, wait=True)
    back = store.get(made.key)
    assert back is None or back == state
store.close()
print("done", store.corrupt, store.dropped)
"""


def child(directory: Path, limit: int, start: int, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", textwrap.dedent(KILLED), *map(str, (directory, limit, start, count))]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def test_a_writer_killed_at_any_moment_leaves_whole_files(tmp_path: Path) -> None:
    chance = random.Random(1)
    for round_ in range(6):
        process = child(tmp_path, 40 * 201_000, 1000 * round_, 10**6)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.02, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        process.stdout.close()
        store = DiskStore(tmp_path, 40 * 201_000, MARK)
        for found in store.entries():
            assert store.get(found.key) == random.Random(int(found.tokens[0])).randbytes(200_000)
        assert store.corrupt == 0
    (store.folder / f"{state_file.TEMPORARY}left.state").write_bytes(b"half")
    put(store, 10**6)  # one that no child has written: what is there is not written again, and nothing removed
    store.close()
    assert not list(store.folder.glob(f"{state_file.TEMPORARY}*")), "what killed writers left is removed"
    assert size_of(tmp_path) <= store.limit_bytes


def test_several_processes_share_a_directory(tmp_path: Path) -> None:
    limit = 10 * 201_000
    # The first two write the same texts, the third others; all of them make room for each other.
    processes = [child(tmp_path, limit, start, 40) for start in (0, 0, 1000)]
    for process in processes:
        out, _ = process.communicate(timeout=100)
        assert process.returncode == 0
        assert out.split() == ["ready", "done", "0", "0"]
    store = DiskStore(tmp_path, limit, MARK)
    assert len(store.entries()) > 0
    assert size_of(tmp_path) <= limit
    for found in store.entries():
        assert store.get(found.key) == random.Random(int(found.tokens[0])).randbytes(200_000)


def test_a_salt_is_on_disk_only_as_its_label(store: DiskStore) -> None:
    salt = "a tenant's own word"
    label = salt_label(salt, MARK)
    assert len(label) == 16
    assert label == salt_label(salt, MARK) != salt_label(salt, OTHER)
    assert salt_label("", MARK) == salt_label(None, MARK) == b""
    assert len(salt_label("x" * 2**20 + "\ud800", MARK)) == 16
    salted, plain = entry(1, b"state", label), entry(1, b"state")
    assert salted.key != plain.key
    for made in (salted, plain):
        assert store.put(made, b"state")
    store.close()
    found = {e.key: e.salt for e in again(store).entries()}
    assert found == {salted.key: label, plain.key: b""}
    for path in store.directory.rglob("*"):
        assert path.is_dir() or salt.encode() not in path.read_bytes()
    with pytest.raises(ValueError, match="salt_label"):
        entry_of([1], salt.encode(), 1, MARK)
    with pytest.raises(ValueError, match="at least one"):
        entry_of([], b"", 1, MARK)


def test_files_are_for_their_owner_only(store: DiskStore) -> None:
    key = put(store, 1)
    assert (store.folder / f"{key}.state").stat().st_mode & 0o077 == 0
    assert store.folder.stat().st_mode & 0o077 == 0


def test_reading_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "x.state").write_bytes(b"not a state file, but long enough to hold a header" * 10)
    with pytest.raises(BadStateFileError, match="not a state file of version 1"):
        read_state(tmp_path / "x.state", MARK)
    with pytest.raises(ValueError, match="16 bytes"):
        DiskStore(tmp_path, 1, b"short")


def test_the_thread_ends_when_nothing_comes_and_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_store, "IDLE_SECONDS", 0.02)
    store = DiskStore(tmp_path, BIG, MARK)
    for i in range(3):
        key = put(store, i)
        deadline = time.monotonic() + 20
        while store._thread is not None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert store.get(key) == state_of(i)
    gone = weakref.ref(store)
    del store
    gc.collect()
    assert gone() is None
