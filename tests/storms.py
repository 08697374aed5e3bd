"""Load on a server whose engine is killed again and again, and what every request got."""

from __future__ import annotations

import collections
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

SECONDS = 180.0


class Storm:
    """Clients that ask without a pause, streams and whole answers in turn.

    Args:
        base: The server's address.
        clients: How many.
        tokens: Of an answer, about.

    Attributes:
        outcomes: whole, crashed: an answer, or the error that says that the engine ended; in a stream its event.
        wrong: Whatever else came.
    """

    def __init__(self, base: str, clients: int, tokens: int) -> None:
        self.base = base
        self.tokens = tokens
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(clients)]

    def __enter__(self) -> Storm:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(SECONDS)
        alive = sum(thread.is_alive() for thread in self._threads)
        assert not alive, f"{alive} requests never ended"

    def kill(self, pid: Callable[[], int | None], busy: Callable[[], bool] = lambda: True) -> float:
        """Kill the engine under load, and while it is `busy`; gives the seconds until the next answer was whole."""
        self.served(len(self._threads))
        self._until(busy)
        before = pid()
        while before is None:
            time.sleep(0.01)
            before = pid()
        os.kill(before, signal.SIGKILL)
        begun = time.monotonic()
        self._until(lambda: pid() not in (None, before))
        self.served(1)
        return time.monotonic() - begun

    def served(self, more: int) -> None:
        """Wait until so many more answers were whole."""
        wanted = self.outcomes["whole"] + more
        self._until(lambda: self.outcomes["whole"] >= wanted)

    def _until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"it did not come about; {dict(self.outcomes)}, {self.wrong}")
            time.sleep(0.01)

    def _ask(self, number: int) -> None:
        turn = 0
        with httpx.Client(base_url=self.base, timeout=SECONDS) as client:
            while not self._stop.is_set():
                turn += 1
                tokens = self.tokens + (number + turn) % 5
                prompt = f"Story {number}, part {turn}:"
                body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
                try:
                    found = self._stream(client, body) if (number + turn) % 2 else self._whole(client, body)
                except Exception as error:
                    found = f"{type(error).__name__}: {error}"
                with self._lock:
                    if found in ("whole", "crashed"):
                        self.outcomes[found] += 1
                    else:
                        self.wrong.append(found)

    def _whole(self, client: httpx.Client, body: dict[str, Any]) -> str:
        answer = client.post("/v1/completions", json=body)
        if answer.status_code == 200:
            made = answer.json()["usage"]["completion_tokens"]
            return "whole" if made == body["max_tokens"] else f"{made} tokens of {body['max_tokens']}"
        return _refusal(answer.status_code, answer.headers, answer.text)

    def _stream(self, client: httpx.Client, body: dict[str, Any]) -> str:
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        with client.stream("POST", "/v1/completions", json=body) as answer:
            if answer.status_code != 200:
                return _refusal(answer.status_code, answer.headers, answer.read().decode())
            lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
        if lines[-1] != "data: [DONE]":
            return f"a stream ended with {lines[-1]}"
        last = json.loads(lines[-2][6:])
        if "error" in last:
            return "crashed" if last["error"]["code"] == "engine_crashed" else lines[-2]
        made = last["usage"]["completion_tokens"]
        return "whole" if made == body["max_tokens"] else f"{made} tokens of {body['max_tokens']} in a stream"


def _refusal(status: int, headers: Any, text: str) -> str:
    told = json.loads(text)["error"]["code"]
    return "crashed" if (status, told) == (503, "engine_crashed") and "retry-after" in headers else f"{status} {text}"
