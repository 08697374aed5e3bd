"""A run of tools that blocks: asks the model, calls functions, several at once in threads.

Not for: what answers mean (``loop.py``), or asyncio (``async_driver.py``).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from llama_bind.agent.collector import Collector
from llama_bind.agent.events import RoundEnded, RunFinished, ToolFinished, ToolRunEvent, ToolStarted
from llama_bind.agent.loop import ToolLoop
from llama_bind.agent.threads import called, in_thread
from llama_bind.agent.values import ToolCall, ToolOutcome, ToolRun
from llama_bind.types import ChatCompletion

__all__ = ["finished", "run"]

Run = Generator[ToolRunEvent, None, None]


def run(llm: Any, loop: ToolLoop, *, stream: bool) -> Run:
    """The events of a run, to its end. Closing the generator cancels the running completion.

    Args:
        llm: Has ``create_chat_completion`` as `Llama` has.
        loop: The run.
        stream: Also yield what the model writes, as it comes.
    """
    while not loop.finished:
        if stream:
            completion = yield from _streamed(llm, loop.request())
        else:
            completion = llm.create_chat_completion(**loop.request())
        calls = loop.take(completion)
        if not loop.finished:
            for outcome in loop.decided():
                yield ToolFinished(outcome)
            loop.end_round((yield from _called(loop, calls)))
        yield RoundEnded(len(loop.rounds) - 1, loop.rounds[-1])
    yield RunFinished(loop.result())


def finished(llm: Any, loop: ToolLoop) -> ToolRun:
    """Run it to its end."""
    for _ in run(llm, loop, stream=False):
        pass
    return loop.result()


def _streamed(llm: Any, request: dict[str, Any]) -> Generator[ToolRunEvent, None, ChatCompletion]:
    collector = Collector()
    options = {**(request.pop("stream_options", None) or {}), "include_usage": True}
    with contextlib.closing(llm.create_chat_completion(**request, stream=True, stream_options=options)) as chunks:
        for chunk in chunks:
            yield from collector.add(chunk)
    return collector.completion()


def _called(loop: ToolLoop, calls: Sequence[ToolCall]) -> Generator[ToolRunEvent, None, list[ToolOutcome]]:
    """Run the calls that are approved."""
    outcomes: list[ToolOutcome] = []
    approved: list[ToolCall] = []
    for call in calls:
        refused = None if loop.params.approve is None else loop.refused(call, _settled(loop.params.approve(call)))
        if refused is None:
            approved.append(call)
        else:
            outcomes.append(refused)
            yield ToolFinished(refused)
    waiting = list(approved)
    running: dict[Future[Any], _Running] = {}
    while waiting or running:
        while waiting and len(running) < loop.params.max_parallel_tools:
            call = waiting.pop(0)
            yield ToolStarted(call)
            if _needs_a_thread(loop, call, len(approved)):
                running |= {(started := _Running(loop, call)).future: started}
            else:
                outcomes.append(_here(loop, call))
                yield ToolFinished(outcomes[-1])
        for outcome in _finished(running):
            outcomes.append(outcome)
            yield ToolFinished(outcome)
    return outcomes


def _needs_a_thread(loop: ToolLoop, call: ToolCall, count: int) -> bool:
    """One call runs in the caller's thread, unless it may be given up, or is async and might meet a running loop."""
    several = count > 1 and loop.params.max_parallel_tools > 1
    return several or loop.timeout(call) is not None or loop.function(call).is_async


class _Running:
    """A call in a thread."""

    def __init__(self, loop: ToolLoop, call: ToolCall) -> None:
        self.loop, self.call = loop, call
        self.began = time.monotonic()
        self.timeout = loop.timeout(call)
        self.future = in_thread(lambda: called(loop.function(call).function, call.values or {}))

    @property
    def left(self) -> float:
        """Seconds until it is given up."""
        return float("inf") if self.timeout is None else self.began + self.timeout - time.monotonic()

    def outcome(self) -> ToolOutcome:
        seconds = time.monotonic() - self.began
        if not self.future.done():
            return self.loop.timed_out(self.call, self.timeout or seconds)
        try:
            return self.loop.returned(self.call, self.future.result(), seconds)
        except Exception as error:
            return self.loop.raised(self.call, error, seconds)


def _finished(running: dict[Future[Any], _Running]) -> list[ToolOutcome]:
    """Wait for the next that ends or is given up; those are taken out."""
    if not running:
        return []
    left = min(one.left for one in running.values())
    wait(running, None if left == float("inf") else max(0.0, left), FIRST_COMPLETED)
    ended = [future for future, one in running.items() if future.done() or one.left <= 0]
    return [running.pop(future).outcome() for future in ended]


def _here(loop: ToolLoop, call: ToolCall) -> ToolOutcome:
    """In this thread."""
    began = time.monotonic()
    try:
        value = _settled(loop.function(call).function(**(call.values or {})))
    except Exception as error:
        return loop.raised(call, error, time.monotonic() - began)
    return loop.returned(call, value, time.monotonic() - began)


def _settled(value: Any) -> Any:
    """Of something to await, its result: from an async `approve`, or a function that is async and does not look so."""
    return in_thread(lambda: called(lambda: value, {})).result() if hasattr(value, "__await__") else value
