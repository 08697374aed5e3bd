"""What is saved when slots are lost, and what comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llama_bind.engine.disk_store import DiskStore
from llama_bind.engine.prefix_cache import Holding, PrefixCache
from llama_bind.engine.request import Request
from llama_bind.engine.sequence import Sequence
from llama_bind.engine.state_file import salt_label
from llama_bind.engine.stats import EngineStats
from llama_bind.engine.store import HostStore, TieredStore
from llama_bind.engine.tiers import LEAST, Tiers

MARK = bytes(16)


def held(slot: int, n: int, *, start: int = 0, salt: bytes = b"") -> Holding:
    return Holding(slot, np.arange(start, start + n, dtype=np.int32), salt)


def match(slots: PrefixCache, n: int, *, start: int = 0, salt: bytes = b"") -> tuple[int | str | None, int]:
    request = Request(prompt=list(range(start, start + n)), salt=salt)
    found = slots.match(Sequence(request, 0, 0.0, limit=10**6))
    return found.source, found.keep


class Bench:
    def __init__(self, store: TieredStore | None, *, can_cut: bool = True, n_slots: int = 4) -> None:
        self.slots = PrefixCache(n_slots, can_cut=can_cut)
        self.stats = EngineStats()
        self.saved: list[int] = []
        self.size = 100
        self.can_save = True
        self.tiers = Tiers(self.slots, self.save, self.stats)
        self.tiers.set(store)

    def save(self, slot: int) -> bytes | None:
        self.saved.append(slot)
        return bytes([slot]) * self.size if self.can_save else None


def host(limit: int = 10**6) -> TieredStore:
    return TieredStore(MARK, HostStore(limit))


def test_what_a_slot_loses_is_found_for_a_prompt_that_begins_alike() -> None:
    bench = Bench(host())
    bench.tiers.keep(held(1, 100))
    key, keep = match(bench.slots, 60)
    assert isinstance(key, str)
    assert keep == 59
    assert bench.tiers.find(key) == (bytes([1]) * 100, "host")
    assert (bench.stats.saved, bench.stats.restored) == (1, 1)
    assert bench.tiers.store_stats.host_entries == 1


def test_a_salt_keeps_tenants_apart() -> None:
    bench = Bench(host())
    label = salt_label("tenant")
    bench.tiers.keep(held(1, 100, salt=label))
    assert match(bench.slots, 60) == (None, 0)
    assert match(bench.slots, 60, salt=salt_label("other")) == (None, 0)
    assert match(bench.slots, 60, salt=label)[1] == 59


def test_what_brings_nothing_is_not_saved() -> None:
    bench = Bench(host())
    bench.tiers.keep(held(0, LEAST - 1))
    bench.slots.replace(2, list(range(200)))  # another slot remembers it, and more
    bench.tiers.keep(held(0, 100))
    bench.tiers.keep(held(0, 100, start=1000))
    bench.tiers.keep(held(1, 80, start=1000))  # saved already, and more
    assert bench.saved == [0]
    no_store = Bench(None)
    no_store.tiers.keep(held(0, 100))
    no_store.tiers.close()
    assert no_store.saved == []


def test_only_whole_texts_count_where_memory_cannot_be_cut() -> None:
    bench = Bench(host(), can_cut=False)
    bench.tiers.keep(held(0, 100))
    bench.tiers.keep(held(0, 80))
    bench.tiers.keep(held(0, 80))
    assert bench.saved == [0, 0]
    assert match(bench.slots, 91)[1] == 80
    assert match(bench.slots, 50)[1] == 0


def test_a_conversation_is_kept_once_but_its_short_beginning_stays() -> None:
    bench = Bench(host())
    for n in (40, 100, 150, 190):
        bench.tiers.keep(held(0, n))
    store = bench.tiers.store_stats
    assert store.host_entries == 2
    assert {len(e.tokens) for e in bench.tiers._store.entries()} == {40, 190}  # type: ignore[union-attr]
    assert match(bench.slots, 500)[1] == 190


def test_what_the_store_gives_up_is_not_offered() -> None:
    bench = Bench(host(1200))
    for i in range(6):
        bench.tiers.keep(held(0, 100, start=1000 * i))
    assert [match(bench.slots, 60, start=1000 * i)[1] for i in range(6)] == [0, 0, 0, 0, 59, 59]
    assert len(bench.slots.tree) == 2


def test_a_state_that_is_gone_or_does_not_fit_is_not_offered_again(tmp_path: Path) -> None:
    bench = Bench(TieredStore(MARK, None, DiskStore(tmp_path, 10**9, MARK)))
    bench.tiers.keep(held(0, 100))
    bench.tiers.keep(held(0, 100, start=1000))
    assert bench.tiers._store is not None
    bench.tiers._store.flush()
    first, second = match(bench.slots, 60)[0], match(bench.slots, 60, start=1000)[0]
    assert isinstance(first, str)
    assert isinstance(second, str)
    (path,) = tmp_path.rglob(f"{first}.state")
    path.unlink()
    assert bench.tiers.find(first) is None
    assert match(bench.slots, 60) == (None, 0)
    assert bench.tiers.find(second) == (bytes(100), "disk")
    bench.tiers.refused(second)
    assert match(bench.slots, 60, start=1000) == (None, 0)
    assert not list(tmp_path.rglob("*.state"))
    bench.tiers.close()


def test_slots_that_cannot_be_saved_now_are_not() -> None:
    bench = Bench(host())
    bench.can_save = False
    bench.tiers.keep(held(0, 100))
    assert match(bench.slots, 60) == (None, 0)
    assert bench.stats.saved == 0


@pytest.mark.parametrize("limit", [0, 10**6])
def test_what_the_slots_remember_outlives_the_process(tmp_path: Path, limit: int) -> None:
    def make() -> Bench:
        return Bench(TieredStore(MARK, HostStore(limit), DiskStore(tmp_path, 10**9, MARK)))

    bench = make()
    bench.slots.replace(2, list(range(100)))
    bench.tiers.keep(held(0, 100, start=1000))
    bench.tiers.close()
    assert len(bench.slots.tree) == 1, "only the slot itself is left"
    later = make()
    assert match(later.slots, 60)[1] == match(later.slots, 60, start=1000)[1] == 59
    key = match(later.slots, 60)[0]
    assert isinstance(key, str)
    assert later.tiers.find(key) == (bytes([2]) * 100, "disk")
    later.tiers.close()


def test_memory_alone_is_not_filled_at_the_end() -> None:
    bench = Bench(host())
    bench.slots.replace(2, list(range(100)))
    bench.tiers.close()
    assert bench.saved == []


def test_another_store_takes_over(tmp_path: Path) -> None:
    bench = Bench(TieredStore(MARK, HostStore(10**6), DiskStore(tmp_path, 10**9, MARK)))
    bench.tiers.keep(held(0, 100))
    bench.tiers.set(host())
    assert match(bench.slots, 60) == (None, 0)
    bench.tiers.set(TieredStore(MARK, None, DiskStore(tmp_path, 10**9, MARK)))
    assert match(bench.slots, 60)[1] == 59, "the store before was written to disk"
    bench.tiers.close()
