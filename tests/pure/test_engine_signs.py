"""What shows that a process which loads gets on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llama_bind.engine import signs
from llama_bind.engine.signs import LoadSigns

LOAD = """
import mmap, pathlib, sys
from llama_bind.engine.signs import LoadSigns
look = LoadSigns()
look.got_on(0.0)
assert sum(range(200_000)) > 0
assert not look.got_on(0.0)
kept = b"x" * (64 << 20)
assert look.got_on(0.0)
assert not look.got_on(0.0)
assert look.got_on(0.5), "it says so itself"
file = pathlib.Path(sys.argv[1])
file.write_bytes(kept)
look.got_on(0.5)
with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
    assert {mapped[place] for place in range(0, len(mapped), 4096)} == {ord("x")}
    assert look.got_on(0.5)
"""


def test_filling_memory_and_reading_files_are_signs_and_computing_is_none(tmp_path: Path) -> None:
    """In a process of its own: one that was larger before does not grow."""
    command = [sys.executable, "-c", LOAD, str(tmp_path / "weights")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


BEFORE = (5, 5, 5, 5)


@pytest.mark.parametrize(
    ("after", "lives"),
    [
        (BEFORE, False), ((6, 5, 5, 5), True), ((5, 6, 5, 5), True), ((5, 5, 260, 5), False), ((5, 5, 261, 5), True),
        ((5, 5, 5, 1028), False), ((5, 5, 5, 1029), True),
    ],
)  # fmt: skip
def test_little_counts_only_where_it_was_read(
    monkeypatch: pytest.MonkeyPatch, after: tuple[int, int, int, int], lives: bool
) -> None:
    counts = [BEFORE, after]
    monkeypatch.setattr(signs, "_counted", lambda: counts.pop(0))
    look = LoadSigns()
    assert look.got_on(0.0)
    assert look.got_on(0.0) is lives


def test_what_is_too_little_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [(0, 0, 1000, 0), (0, 0, 1200, 0), (0, 0, 1400, 0)]
    monkeypatch.setattr(signs, "_counted", lambda: counts.pop(0))
    look = LoadSigns()
    assert [look.got_on(0.0) for _ in range(3)] == [True, False, True]


def test_where_nothing_is_counted_nothing_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs, "_counted", lambda: (0, 0, 0, 0))
    look = LoadSigns()
    assert all(look.got_on(0.0) for _ in range(3))
