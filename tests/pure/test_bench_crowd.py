from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from benchmarks.crowd import Crowd


class Watched:
    """Counts how many run at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = 0

    def job(self, value: int) -> int:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self.lock:
            self.now -= 1
        if value < 0:
            raise ValueError(f"{value} is negative")
        return value


def test_results_come_in_the_order_of_the_jobs_and_no_more_run_at_once() -> None:
    watched = Watched()
    crowd: Crowd[int] = Crowd([partial(watched.job, i) for i in range(12)], 4, 20)
    assert crowd.values() == list(range(12))
    assert watched.most == 4
    assert crowd.wall >= 0.06
    assert crowd.errors() == []


def test_a_job_that_fails_does_not_hide() -> None:
    watched = Watched()
    crowd: Crowd[int] = Crowd([partial(watched.job, i) for i in (1, -2, 3)], 2, 20)
    assert crowd.results[0] == 1
    assert crowd.results[2] == 3
    assert [str(error) for error in crowd.errors()] == ["-2 is negative"]
    with pytest.raises(RuntimeError, match="call 1 failed: ValueError: -2 is negative"):
        crowd.values()


def test_jobs_that_take_too_long_are_an_error() -> None:
    never = threading.Event()
    try:
        with pytest.raises(TimeoutError, match="2 of 3 calls"):
            Crowd([lambda: True, never.wait, never.wait], 3, 0.2)
    finally:
        never.set()
