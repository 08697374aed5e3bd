"""What each API key may use: requests at once, requests and tokens a minute. Without keys all callers have one account.

Minutes are token buckets: what was not used comes back evenly, up to a minute's worth. Tokens are counted when they are
known, so a request may take its key below zero; the debt is paid before the next one is let in, so that over time no
key gets more than its share. Not for: who a caller is (``keys``), or the order of those that wait (the engine's queue).
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Mapping

from llama_bind.server.errors import RATE, ApiError

__all__ = ["NO_LIMITS", "Account", "Accounts", "Bucket", "Limits"]

CODE = "rate_limit_exceeded"
Headers = list[tuple[bytes, bytes]]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a key may use; None: as much as it likes.

    Attributes:
        concurrency: Requests that have no complete answer yet.
        requests_per_minute, tokens_per_minute: The latter of prompts and answers together.
        priority: Of its requests, and the highest that they may ask for; None: as for everybody.
    """

    concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    priority: int | None = None

    @property
    def counts(self) -> bool:
        """Whether there is anything to count."""
        return (self.concurrency, self.requests_per_minute, self.tokens_per_minute) != (None, None, None)


NO_LIMITS = Limits()


class Bucket:
    """So many a minute. `now` is a time in seconds, from any clock that only goes forward."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.size = per_minute
        self._level = float(per_minute)
        self._at = now

    def level(self, now: float) -> float:
        """How many may be taken now; below zero where more was taken than there was."""
        self._level = min(self.size, self._level + max(0.0, now - self._at) * self.size / 60)
        self._at = max(now, self._at)
        return self._level

    def take(self, amount: float, now: float) -> None:
        """Take some, whether they are there or not."""
        self.level(now)
        self._level -= amount

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` are there."""
        return max(0.0, amount - self.level(now)) * 60 / self.size


class Account:
    """What one key uses. Any thread may call it.

    Args:
        limits: What it may use.
        clock: Seconds.
        who: What errors call it.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic, who: str = "This key") -> None:
        self.limits = limits
        self._who = who
        self.running = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._requests = _bucket(limits.requests_per_minute, clock)
        self._tokens = _bucket(limits.tokens_per_minute, clock)

    def enter(self) -> None:
        """A request begins; `leave` follows.

        Raises:
            ApiError: 429, it would be more than the key may use; nothing is counted then.
        """
        with self._lock:
            now, most = self._clock(), self.limits.concurrency
            if most is not None and self.running >= most:
                said = f"{self._who} may have {most} requests running at once, and does; wait for one to end."
                raise ApiError(429, RATE, CODE, said, retry=True)
            for bucket, amount, what in ((self._requests, 1, "requests"), (self._tokens, 1, "tokens")):
                if bucket is not None and bucket.level(now) < amount:
                    raise self._refusal(bucket, what, bucket.wait(amount, now))
            if self._requests is not None:
                self._requests.take(1, now)
            self.running += 1

    def _refusal(self, bucket: Bucket, what: str, seconds: float) -> ApiError:
        wait = max(1, math.ceil(seconds))
        said = f"{self._who} may use {bucket.size} {what} a minute, and did; try again in {wait} s."
        return ApiError(429, RATE, CODE, said, headers={"Retry-After": str(wait)})

    def stay(self) -> None:
        """A request that was let in goes on after its answer: `leave` is called once more for it."""
        with self._lock:
            self.running += 1

    def leave(self) -> None:
        """A request that was let in has ended."""
        with self._lock:
            self.running -= 1

    def spend(self, tokens: int) -> None:
        """Tokens were used."""
        if self._tokens is not None:
            with self._lock:
                self._tokens.take(tokens, self._clock())

    def headers(self) -> Headers:
        """How much is left, in OpenAI's words."""
        found: Headers = []
        with self._lock:
            now = self._clock()
            for bucket, what in ((self._requests, b"requests"), (self._tokens, b"tokens")):
                if bucket is not None:
                    left = max(0, math.floor(bucket.level(now)))
                    found += [
                        (b"x-ratelimit-limit-" + what, b"%d" % bucket.size),
                        (b"x-ratelimit-remaining-" + what, b"%d" % left),
                        (b"x-ratelimit-reset-" + what, _duration(bucket.wait(bucket.size, now)).encode()),
                    ]
        return found


class Accounts:
    """The accounts of all keys.

    Args:
        everybody: Limits of keys that have none of their own, and of all callers together where there are no keys.
        own: Limits by the key's name; what they leave open is as in `everybody`.
        clock: Seconds.
    """

    def __init__(
        self, everybody: Limits, own: Mapping[str, Limits], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._everybody = everybody
        self._own = {name: _completed(limits, everybody) for name, limits in own.items()}
        self._clock = clock
        self._accounts: dict[str | None, Account] = {}

    def limits_of(self, key: str | None) -> Limits:
        """What a key may use."""
        return self._own.get(key, self._everybody) if key is not None else self._everybody

    def of(self, key: str | None) -> Account | None:
        """The account of a key; None where there is nothing to count."""
        limits = self.limits_of(key)
        if not limits.counts:
            return None
        if key not in self._accounts:
            self._accounts[key] = Account(limits, self._clock, "All callers together" if key is None else "This key")
        return self._accounts[key]


def _bucket(per_minute: int | None, clock: Callable[[], float]) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute, clock())


def _completed(limits: Limits, everybody: Limits) -> Limits:
    given = {name: value for name, value in dataclasses.asdict(limits).items() if value is not None}
    return dataclasses.replace(everybody, **given)


def _duration(seconds: float) -> str:
    """As OpenAI writes it: 20ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
