"""The engine's process is killed under load: how long until the next answer, and whether a waiting request is lost.

Ours: `Llama(path, engine_process=True)` with four streams that run and sixteen requests that wait; SIGKILL, and the
time from there to the first answer of a request that waited. All sixteen must be answered, and the four must be told,
or the measurement fails. Beside it stands the time that loading takes anyway: `Llama(path)` to the first token.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

__all__ = ["BENCHMARKS"]

RUNNING, WAITING = 4, 16


def killed(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import open_llama
    from llama_bind.engine.process import EngineProcess
    from llama_bind.errors import EngineCrashedError

    answered: list[float] = []
    with open_llama(settings, engine_process=True, n_seq_max=RUNNING) as llm:
        engine = llm.engine
        assert isinstance(engine, EngineProcess)
        streams = [llm(f"Story {i}:", max_tokens=512, ignore_eos=True, stream=True) for i in range(RUNNING)]
        for stream in streams:
            next(stream)

        def ask(i: int) -> None:
            llm(f"Number {i} is", max_tokens=1, ignore_eos=True)
            answered.append(time.perf_counter())

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(WAITING)]
        for thread in threads:
            thread.start()
        while engine.stats.waiting < WAITING:
            time.sleep(0.01)
        pid = engine.process_id
        assert pid is not None
        start = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        told = 0
        for stream in streams:
            try:
                for _ in stream:
                    pass
            except EngineCrashedError:
                told += 1
        for thread in threads:
            thread.join()
    if told != RUNNING or len(answered) != WAITING:
        raise RuntimeError(f"{told} of {RUNNING} streams were told, {len(answered)} of {WAITING} waiting were answered")
    return Measurement(min(answered) - start, {"seconds to the last waiting answer": max(answered) - start})


def loaded(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import open_llama

    start = time.perf_counter()
    with open_llama(settings, n_seq_max=RUNNING) as llm:
        llm("Number 0 is", max_tokens=1, ignore_eos=True)
        return Measurement(time.perf_counter() - start)


BENCHMARKS = (
    Benchmark(
        "crash",
        "from SIGKILL of the engine's process to the next answer; beside it loading to the first token",
        "s",
        killed,
        loaded,
        Goal("difference", 1.0),
    ),
)
