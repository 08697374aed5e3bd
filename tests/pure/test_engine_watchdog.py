"""When a process counts as hung."""

from __future__ import annotations

from llama_bind.engine.watchdog import Watchdog


def test_silence_counts_while_there_is_work() -> None:
    dog = Watchdog(10.0)
    assert dog.due is None
    assert not dog.hangs(1e9), "without work nothing is expected"
    dog.work(True, 100.0)
    assert dog.due == 110.0
    dog.work(True, 105.0)
    assert dog.due == 110.0, "more work does not excuse it"
    assert not dog.hangs(109.9)
    assert dog.hangs(110.0)


def test_whoever_says_something_lives() -> None:
    dog = Watchdog(10.0)
    dog.heard(50.0)
    assert dog.due is None
    dog.work(True, 100.0)
    dog.heard(109.0)
    assert not dog.hangs(118.9)
    assert dog.hangs(119.0)


def test_the_end_of_the_work_ends_the_silence() -> None:
    dog = Watchdog(10.0)
    dog.work(True, 0.0)
    dog.work(False, 9.0)
    assert dog.due is None
    dog.work(True, 50.0)
    assert dog.due == 60.0


def test_without_a_timeout_nothing_hangs() -> None:
    dog = Watchdog(0.0)
    dog.work(True, 0.0)
    assert dog.due is None
    assert not dog.hangs(1e9)


def test_who_was_asleep_as_well_begins_again() -> None:
    dog = Watchdog(10.0)
    dog.work(True, 0.0)
    assert not dog.hangs(3600.0), "nobody looked for an hour: this process did not run either"
    assert dog.due == 3610.0
    assert dog.hangs(3610.0)
