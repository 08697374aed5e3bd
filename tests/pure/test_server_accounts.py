"""What keys may use: buckets, accounts, the keys file, and what a meter refuses and counts."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_bind.engine.request import Request
from llama_bind.errors import InputError
from llama_bind.server.accounts import NO_LIMITS, Account, Accounts, Bucket, Limits
from llama_bind.server.errors import ApiError
from llama_bind.server.keys import read_keys
from llama_bind.server.meter import Meter
from llama_bind.server.settings import Settings
from llama_bind.values import FinishEvent, Timings, Usage


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def headers(account: Account) -> dict[str, str]:
    return {name.decode().removeprefix("x-ratelimit-"): value.decode() for name, value in account.headers()}


# -- buckets -----------------------------------------------------------------------------------------------------


def test_a_bucket_is_full_at_first_and_fills_evenly() -> None:
    bucket = Bucket(60, 0)
    assert bucket.level(0) == 60
    bucket.take(60, 0)
    assert bucket.level(0.5) == 0.5
    assert bucket.wait(1, 0.5) == 0.5
    assert bucket.level(10) == 10
    assert bucket.level(1e9) == 60, "never more than a minute's worth"


def test_a_debt_is_paid_first() -> None:
    bucket = Bucket(600, 0)
    bucket.take(1200, 0)
    assert bucket.level(0) == -600
    assert bucket.wait(1, 0) == pytest.approx(60.1)
    assert bucket.level(60) == 0


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 500)), max_size=60), st.integers(1, 1000))
def test_over_time_nobody_gets_more_than_his_share(steps: list[tuple[float, int]], size: int) -> None:
    """Whoever takes while there is something gets what has come, the first minute's worth, and one take at most."""
    bucket, now, taken, largest = Bucket(size, 0), 0.0, 0, 0
    for pause, amount in steps:
        now += pause
        if bucket.level(now) >= 1:
            bucket.take(amount, now)
            taken += amount
            largest = max(largest, amount)
    assert taken <= size + now * size / 60 + largest + 1e-6


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(60, 100)
    bucket.take(60, 100)
    assert bucket.level(0) == 0
    assert bucket.level(101) == 1


# -- accounts ----------------------------------------------------------------------------------------------------


def test_requests_at_once() -> None:
    account = Account(Limits(concurrency=2))
    account.enter()
    account.enter()
    with pytest.raises(ApiError, match="2 requests running at once") as caught:
        account.enter()
    assert (caught.value.status, caught.value.code, caught.value.retry) == (429, "rate_limit_exceeded", True)
    account.leave()
    account.enter()
    assert account.running == 2


def test_requests_and_tokens_a_minute() -> None:
    clock = Clock()
    account = Account(Limits(requests_per_minute=2, tokens_per_minute=60), clock)
    assert headers(account) == {
        "limit-requests": "2", "remaining-requests": "2", "reset-requests": "0ms",
        "limit-tokens": "60", "remaining-tokens": "60", "reset-tokens": "0ms",
    }  # fmt: skip
    account.enter()
    account.spend(90)
    assert headers(account)["remaining-tokens"] == "0"
    assert headers(account)["reset-tokens"] == "1m30s"
    assert headers(account)["reset-requests"] == "30s"
    with pytest.raises(ApiError, match="60 tokens a minute") as caught:
        account.enter()
    assert caught.value.headers == {"Retry-After": "31"}
    clock.now += 31
    account.enter()
    account.enter()
    with pytest.raises(ApiError, match="2 requests a minute") as caught:
        account.enter()
    assert caught.value.headers == {"Retry-After": "30"}
    assert account.running == 3


def test_a_refusal_counts_nothing() -> None:
    clock = Clock()
    account = Account(Limits(concurrency=1, requests_per_minute=10), clock)
    account.enter()
    for _ in range(100):
        with pytest.raises(ApiError):
            account.enter()
    assert headers(account)["remaining-requests"] == "9"


def test_many_threads_spend() -> None:
    account = Account(Limits(tokens_per_minute=10**6), lambda: 0.0)

    def spend() -> None:
        for _ in range(2000):
            account.spend(1)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert headers(account)["remaining-tokens"] == str(10**6 - 16_000)


def test_keys_have_their_own_limits_or_everybodys() -> None:
    accounts = Accounts(Limits(concurrency=2), {"a": Limits(requests_per_minute=5, priority=3)})
    assert accounts.limits_of("a") == Limits(2, 5, None, 3)
    assert accounts.limits_of("b") == Limits(2)
    assert accounts.of("a") is accounts.of("a") is not accounts.of("b")
    everybody = accounts.of(None)
    assert everybody is not None
    everybody.enter()
    everybody.enter()
    with pytest.raises(ApiError, match="All callers together"):
        everybody.enter()
    free = Accounts(NO_LIMITS, {"a": Limits(priority=3)})
    assert free.of(None) is None
    assert free.of("a") is None
    assert free.limits_of("a").priority == 3


# -- the keys file -----------------------------------------------------------------------------------------------


def test_limits_in_the_keys_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(
        "# ours\none\n  two \t priority=-5  concurrency=2\nthree tokens_per_minute=100 requests_per_minute=7"
    )
    keys = read_keys(Settings.of(api_key_file=str(file), api_key=["four"]).server)
    limits = [keys.limits.get(keys.name_of(key) or "") for key in (b"one", b"two", b"three", b"four")]
    assert limits == [NO_LIMITS, Limits(concurrency=2, priority=-5), Limits(None, 7, 100), None]
    assert "two" not in repr(keys.limits)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("concurency=2", "did you mean concurrency"), ("two words", "name=number"), ("priority", "name=number"),
        ("priority=high", "whole number"), ("concurrency=0", "at least 1"), ("concurrency=-1", "at least 1"),
        ("requests_per_minute=1.5", "whole number"), ("priority=5000", "from -1000 to 1000"), ("priority=", "whole"),
        ("tokens_per_minute=" + "9" * 5000, "whole number"), ("concurrency=²", "whole number"),
    ],
)  # fmt: skip
def test_lines_that_say_nothing_known(tmp_path: Path, rest: str, words: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"good\nsecret {rest}\n", encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        read_keys(Settings.of(api_key_file=str(file)).server)
    assert "line 2" in str(caught.value)
    assert "secret" not in str(caught.value).replace(str(file), "")
    assert caught.value.param == "api_key_file"


# -- meters ------------------------------------------------------------------------------------------------------


def finish(completion: int) -> FinishEvent:
    return FinishEvent("stop", Usage(3, completion), Timings(0, 0, 0, 0, 0), 0)


def test_a_meter_counts_prompts_once_and_answers_at_their_end() -> None:
    account = Account(Limits(tokens_per_minute=1000), lambda: 0.0)
    meter = Meter(account, None)
    prompt = [1] * 10
    meter.submitted([Request(prompt=prompt), Request(prompt=prompt), Request(prompt=[2] * 5)])
    assert headers(account)["remaining-tokens"] == "985"
    meter.finished(finish(7))
    assert headers(account)["remaining-tokens"] == "978"


def test_a_meter_refuses_long_prompts() -> None:
    account = Account(Limits(tokens_per_minute=1000), lambda: 0.0)
    for meter in (Meter(account, 4), Meter(None, 4)):
        meter.check([Request(prompt=[1] * 4)])
        with pytest.raises(ApiError, match="5 tokens; this server takes at most 4") as caught:
            meter.check([Request(prompt=[1]), Request(prompt=[1] * 5)])
        error: dict[str, Any] = caught.value.body()["error"]
        assert (caught.value.status, error["code"]) == (400, "context_length_exceeded")
        assert (error["n_prompt_tokens"], error["max_prompt_tokens"]) == (5, 4)
        meter.finished(finish(1))
    assert headers(account)["remaining-tokens"] == "999", "what was refused is not counted"
