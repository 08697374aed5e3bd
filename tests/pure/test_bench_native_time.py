from __future__ import annotations

import pytest

from benchmarks.native_time import python_time_per_step

ENGINE, OTHER = 1, 2
MS = 1_000_000


def steps(count: int, python_us: int, *, prefix: str = "") -> list[tuple[int, str, int, int]]:
    """`count` steps of a decode of 5 ms and a sample of 1 ms, with `python_us` outside them in all."""
    log: list[tuple[int, str, int, int]] = []
    now = 10 * MS
    for _ in range(count):
        log.append((ENGINE, prefix + "llama_decode", now, now + 5 * MS))
        now += 5 * MS + 400 * python_us
        log.append((ENGINE, prefix + "llama_sampler_sample", now, now + MS))
        now += MS + 600 * python_us
    return log


@pytest.mark.parametrize("prefix", ["", "lb_"])
def test_the_time_between_native_calls_is_pythons(prefix: str) -> None:
    assert python_time_per_step(steps(10, 40, prefix=prefix), "llama_decode") == pytest.approx([40.0] * 7)


def test_calls_of_other_threads_do_not_count() -> None:
    log = steps(10, 40)
    for _, _, start, end in list(log):
        log.append((OTHER, "llama_tokenize", start, end))
    log.append((OTHER, "llama_decode", 10 * MS, 11 * MS))
    log.sort(key=lambda call: call[2])
    assert python_time_per_step(log, "llama_decode") == pytest.approx([40.0] * 7)


def test_calls_before_the_first_step_do_not_count() -> None:
    log = [(ENGINE, "llama_memory_seq_rm", 0, 9 * MS), *steps(5, 40)]
    assert python_time_per_step(log, "llama_decode") == pytest.approx([40.0] * 2)


def test_the_first_two_steps_are_left_out() -> None:
    slow, fast = steps(2, 4000), steps(8, 40)
    shift = slow[-1][3] + 600 * 4000 - fast[0][2]
    log = slow + [(t, n, s + shift, e + shift) for t, n, s, e in fast]
    assert max(python_time_per_step(log, "llama_decode")) == pytest.approx(40.0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_steps_are_an_error(count: int) -> None:
    with pytest.raises(ValueError, match=r"llama_decode|too few"):
        python_time_per_step(steps(count, 40), "llama_decode")
