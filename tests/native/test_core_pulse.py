"""Counting the nodes of a step while it is computed."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from llama_bind.core.pulse import Pulse
from llama_bind.errors import DecodeAbortedError
from tests.core_helpers import filled, make_context
from tests.llamas import tiny


def test_nodes_count_only_in_the_block() -> None:
    with make_context() as context:
        pulse = Pulse(context)

        def compute() -> None:
            context.memory.clear()
            filled(context)

        compute()
        assert pulse.nodes == 0
        with pulse.counting():
            compute()
        counted = pulse.nodes
        assert counted > 10
        compute()
        assert pulse.nodes == counted
        with pulse.counting():
            compute()
        assert pulse.nodes > counted


def test_an_abort_stops_a_step_that_is_counted() -> None:
    with make_context() as context:
        pulse = Pulse(context)
        context.request_abort()
        with pytest.raises(DecodeAbortedError), pulse.counting():
            filled(context)
        with pytest.raises(DecodeAbortedError):
            filled(context)  # the usual callback is back
        context.clear_abort()
        filled(context)


def test_a_callback_of_the_program_is_left_alone() -> None:
    asked: list[int] = []
    with make_context(abort_callback=lambda: asked.append(1)) as context:
        pulse = Pulse(context)
        with pulse.counting():
            filled(context)
        assert pulse.nodes == 0
        assert asked


def test_it_keeps_nothing_alive() -> None:
    context = make_context()
    pulse = Pulse(context)
    with pulse.counting():
        filled(context)
    gone = weakref.ref(context)
    gc.disable()
    try:
        del context, pulse
        assert gone() is None
    finally:
        gc.enable()


def test_an_engine_says_that_it_gets_on() -> None:
    with tiny(n_ctx=2048, file={"n_ctx_train": 2048}) as llm:
        engine = llm.engine
        assert engine.progress is None  # type: ignore[union-attr]
        seen: set[tuple[int, ...] | None] = set()
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.0005):
                seen.add(engine.progress)  # type: ignore[union-attr]

        thread = threading.Thread(target=look)
        thread.start()
        llm([5] * 1000, max_tokens=200, temperature=0, ignore_eos=True)
        done.set()
        thread.join()
        assert len(seen) > 3
        assert engine._worker.runner.nodes_done > 10, "the first step is counted: how long it takes is not known yet"  # type: ignore[union-attr]
