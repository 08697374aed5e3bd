from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.engine.cells import CellLedger
from llama_bind.engine.radix import RadixTree, common_prefix


def tokens(*ids: int) -> np.ndarray:
    return np.array(ids, np.int32)


def test_common_prefix() -> None:
    assert common_prefix(tokens(1, 2, 3), tokens(1, 2, 4)) == 2
    assert common_prefix(tokens(), tokens(1)) == 0
    assert common_prefix(tokens(1, 2), tokens(1, 2, 3)) == 2
    long = np.arange(100, dtype=np.int32)
    other = long.copy()
    other[77] = 0
    assert common_prefix(long, other) == 77
    other[3] = 0
    assert common_prefix(long, other) == 3


def test_the_longest_shared_beginning_comes_first() -> None:
    tree: RadixTree[str] = RadixTree()
    tree.insert("a", tokens(1, 2, 3))
    tree.insert("b", tokens(1, 2, 3, 4, 5))
    tree.insert("c", tokens(9))
    found = list(tree.matches(tokens(1, 2, 3, 4, 7)))
    assert found[0] == ("b", 4, False)
    assert ("a", 3, True) in found
    assert not [f for f in found if f[0] == "c"]


def test_salts_keep_trees_apart() -> None:
    tree: RadixTree[str] = RadixTree()
    tree.insert("a", tokens(1, 2), b"one")
    assert list(tree.matches(tokens(1, 2), b"two")) == []
    assert list(tree.matches(tokens(1, 2), b"one")) == [("a", 2, True)]


def test_a_removed_holder_leaves_nothing_behind() -> None:
    tree: RadixTree[int] = RadixTree()
    for i in range(50):
        tree.insert(i, tokens(*[1] * (i % 7), i), bytes([i % 3]))
    for i in range(50):
        tree.remove(i)
    assert (tree._roots, tree._places) == ({}, {})


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_tree_agrees_with_comparing_everything(seed: int) -> None:
    rng = random.Random(seed)
    tree: RadixTree[int] = RadixTree()
    held: dict[int, tuple[list[int], bytes]] = {}

    def path() -> list[int]:
        return [rng.randint(0, 1) for _ in range(rng.randint(0, 24))]

    for _ in range(60):
        holder = rng.randint(0, 7)
        if rng.random() < 0.3:
            tree.remove(holder)
            held.pop(holder, None)
        else:
            held[holder] = (path(), rng.choice((b"", b"x")))
            tree.insert(holder, tokens(*held[holder][0]), held[holder][1])
        prompt, salt = path(), rng.choice((b"", b"x"))
        want = {
            h: common_prefix(tokens(*p), tokens(*prompt))
            for h, (p, s) in held.items()
            if s == salt and common_prefix(tokens(*p), tokens(*prompt))
        }
        best: dict[int, int] = {}
        depths = []
        for holder, depth, whole in tree.matches(tokens(*prompt), salt):
            depths.append(depth)
            best[holder] = max(best.get(holder, 0), depth)
            assert whole == (len(held[holder][0]) == depth), "whether a path ends there"
        assert best == want
        assert depths == sorted(depths, reverse=True)
        lengths = {h: len(held[h][0]) if h in held else 0 for h in range(8)}
        assert {h: tree.length(h) for h in range(8)} == lengths
        assert [h in tree for h in range(8)] == [n > 0 for n in lengths.values()]
        assert len(tree) == sum(n > 0 for n in lengths.values())


def test_shared_cells_count_once() -> None:
    cells = CellLedger(100)
    cells.set(0, 40)
    cells.share(0, 1, 30)
    cells.set(1, 35)
    assert cells.used == 45
    assert cells.used_by([0]) == 40
    assert cells.used_by([1]) == 35
    cells.set(0, 0)
    assert cells.used == 35
    cells.set(1, 10)
    assert cells.used == 10
    with pytest.raises(ValueError, match="not empty"):
        cells.share(0, 1, 0)
    with pytest.raises(ValueError, match="does not hold"):
        cells.share(1, 0, 11)


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_ledger_agrees_with_counting_cells_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    ledger = CellLedger(10**6)
    slots: dict[int, list[object]] = {s: [] for s in range(5)}  # each cell is an object of its own
    for _ in range(80):
        slot = rng.randrange(5)
        kind = rng.random()
        if kind < 0.4:
            count = rng.randint(0, 10)
            slots[slot] = slots[slot] + [object() for _ in range(count)]
        elif kind < 0.7:
            slots[slot] = slots[slot][: rng.randint(0, len(slots[slot]))]
        else:
            source = rng.randrange(5)
            if source != slot:
                ledger.set(slot, 0)
                keep = rng.randint(0, len(slots[source]))
                slots[slot] = slots[source][:keep]
                ledger.share(source, slot, keep)
                assert ledger.length(slot) == keep
        ledger.set(slot, len(slots[slot]))
        assert ledger.used == len({id(c) for held in slots.values() for c in held})
        some = rng.sample(range(5), 2)
        assert ledger.used_by(some) == len({id(c) for s in some for c in slots[s]})
        assert [ledger.length(s) for s in slots] == [len(h) for h in slots.values()]
