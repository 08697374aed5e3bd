"""A run of tools for asyncio: async functions are awaited, others run in threads; several at once.

Not for: what answers mean (``loop.py``), or blocking (``driver.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from llama_bind.agent.collector import Collector
from llama_bind.agent.events import RoundEnded, RunFinished, ToolFinished, ToolRunEvent, ToolStarted
from llama_bind.agent.loop import ToolLoop
from llama_bind.agent.threads import in_thread
from llama_bind.agent.values import ToolCall, ToolOutcome, ToolRun

__all__ = ["finished", "run"]


async def run(llm: Any, loop: ToolLoop, *, stream: bool) -> AsyncGenerator[ToolRunEvent, None]:
    """The events of a run, to its end. Closing the generator cancels the running completion and async tools.

    Args:
        llm: Has ``create_chat_completion`` as `AsyncLlama` has.
        loop: The run.
        stream: Also yield what the model writes, as it comes.
    """
    while not loop.finished:
        if stream:
            collector = Collector()
            async with contextlib.aclosing(_streamed(llm, loop.request(), collector)) as events:
                async for event in events:
                    yield event
            completion = collector.completion()
        else:
            completion = await llm.create_chat_completion(**loop.request())
        calls = loop.take(completion)
        if not loop.finished:
            outcomes: list[ToolOutcome] = []
            async with contextlib.aclosing(_called(loop, calls, outcomes)) as events:
                async for event in events:
                    yield event
            loop.end_round(outcomes)
        yield RoundEnded(len(loop.rounds) - 1, loop.rounds[-1])
    yield RunFinished(loop.result())


async def finished(llm: Any, loop: ToolLoop) -> ToolRun:
    """Run it to its end."""
    async with contextlib.aclosing(run(llm, loop, stream=False)) as events:
        async for _ in events:
            pass
    return loop.result()


async def _streamed(llm: Any, request: dict[str, Any], collector: Collector) -> AsyncGenerator[ToolRunEvent, None]:
    options = {**(request.pop("stream_options", None) or {}), "include_usage": True}
    chunks = await llm.create_chat_completion(**request, stream=True, stream_options=options)
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            for event in collector.add(chunk):
                yield event


async def _called(
    loop: ToolLoop, calls: Sequence[ToolCall], outcomes: list[ToolOutcome]
) -> AsyncGenerator[ToolRunEvent, None]:
    """Run the calls that are approved."""
    for outcome in loop.decided():
        yield ToolFinished(outcome)
    waiting: list[ToolCall] = []
    for call in calls:
        refused = loop.refused(call, await _approval(loop, call))
        if refused is None:
            waiting.append(call)
        else:
            outcomes.append(refused)
            yield ToolFinished(refused)
    running: set[asyncio.Task[ToolOutcome]] = set()
    try:
        while waiting or running:
            while waiting and len(running) < loop.params.max_parallel_tools:
                call = waiting.pop(0)
                yield ToolStarted(call)
                running.add(asyncio.create_task(_outcome(loop, call)))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                outcomes.append(task.result())
                yield ToolFinished(outcomes[-1])
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _approval(loop: ToolLoop, call: ToolCall) -> Any:
    """A function that is not async may wait for a person, so it runs in a thread."""
    approve = loop.params.approve
    if approve is None:
        return True
    if inspect.iscoroutinefunction(approve):
        return await approve(call)
    answer = await asyncio.wrap_future(in_thread(lambda: approve(call)))
    return await answer if inspect.isawaitable(answer) else answer


async def _outcome(loop: ToolLoop, call: ToolCall) -> ToolOutcome:
    began, timeout = time.monotonic(), loop.timeout(call)
    task = asyncio.ensure_future(_value(loop, call))
    try:
        await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:  # the run was cancelled: the function cleans up first
        task.cancel()
        await asyncio.wait({task})
        raise
    if not task.done():
        task.cancel()
        task.add_done_callback(_forgotten)
        return loop.timed_out(call, timeout or 0.0)
    try:
        value = task.result()
    except Exception as error:
        return loop.raised(call, error, time.monotonic() - began)
    return loop.returned(call, value, time.monotonic() - began)


async def _value(loop: ToolLoop, call: ToolCall) -> Any:
    tool, values = loop.function(call), call.values or {}
    if tool.is_async:
        return await tool.function(**values)
    value = await asyncio.wrap_future(in_thread(lambda: tool.function(**values)))
    return await value if inspect.isawaitable(value) else value


def _forgotten(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more: what it raises on being cancelled is not reported as unseen."""
    if not task.cancelled():
        task.exception()
