"""The default model in a process of its own, killed while it writes."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from llama_bind import Llama
from llama_bind.engine.process import EngineProcess
from llama_bind.errors import EngineCrashedError
from llama_bind.hub import resolve_model


def test_killed_under_load_and_back() -> None:
    path = resolve_model("smollm2-135m-instruct")
    started = time.perf_counter()
    llm = Llama(path, engine_process=True, n_ctx=1024, n_seq_max=2)
    loading = time.perf_counter() - started
    with llm:
        engine = llm.engine
        assert isinstance(engine, EngineProcess)
        streams = [llm("Once upon a time", max_tokens=400, ignore_eos=True, stream=True) for _ in range(2)]
        for stream in streams:
            next(stream)
        answers: list[str] = []

        def ask() -> None:
            result = llm("The capital of France is", max_tokens=4, temperature=0)
            answers.append(result["choices"][0]["text"])

        waiting = [threading.Thread(target=ask) for _ in range(6)]
        for thread in waiting:
            thread.start()
        while engine.stats.waiting < 6:
            time.sleep(0.01)
        pid = engine.process_id
        assert pid is not None
        killed = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        for stream in streams:
            with pytest.raises(EngineCrashedError, match="SIGKILL"):
                list(stream)
        for thread in waiting:
            thread.join(120)
        assert [answer.startswith(" Paris") for answer in answers] == [True] * 6
        assert engine.restarts == 1
        assert time.perf_counter() - killed < 10 * loading + 20, "far more than loading again"
