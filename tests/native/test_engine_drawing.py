"""Drawing in the engine: many sequences in one native call."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from llama_bind.core.sampler import Sampler
from llama_bind.core.sampler_draw import Drawer
from llama_bind.errors import NativeAbortError
from tests.llamas import tiny


def test_sequences_that_run_together_draw_together_and_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    draw = Drawer.draw

    def counted(self: Drawer, samplers: list[Sampler], outputs: list[int]) -> list[int | BaseException]:
        counts.append(len(samplers))
        return draw(self, samplers, outputs)

    monkeypatch.setattr(Drawer, "draw", counted)
    options: list[dict[str, Any]] = [
        {}, {"temperature": 0.0}, {"repeat_penalty": 1.3}, {"ignore_eos": True}, {"top_k": 0},
        {"logprobs": 2}, {"grammar": "root ::= [a-z ]+"}, {"logits_processor": lambda _, scores: scores},
    ]  # fmt: skip
    with tiny() as llm:
        alone = [llm("Hello", max_tokens=12, seed=7, **each)["choices"][0]["text"] for each in options]
    counts.clear()
    texts: dict[int, str] = {}
    gate = threading.Event()
    with tiny(n_seq_max=8, n_ctx=2048, kv_unified=False) as llm:
        worker = llm.engine._worker  # type: ignore[union-attr]

        def call(i: int) -> None:
            texts[i] = llm("Hello", max_tokens=12, seed=7, **options[i])["choices"][0]["text"]

        threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
        for thread in [threading.Thread(target=worker.call, args=(lambda _: gate.wait(60),)), *threads]:
            thread.start()
        deadline = time.monotonic() + 60
        while worker.desk.unfinished < 8 and time.monotonic() < deadline:
            time.sleep(0.001)
        gate.set()
        for thread in threads:
            thread.join(60)
    assert [texts[i] for i in range(8)] == alone
    assert max(counts) == 6  # all but those with log probabilities or a processor


def test_a_sampler_that_fails_ends_its_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Sampler] = []
    create_one: Any = Sampler.create

    def recorded(_: type[Sampler], *args: Any, **options: Any) -> Sampler:
        sampler: Sampler = create_one(*args, **options)
        if options["seed"] == 3:
            sampler._struct.top_k, sampler._struct.rest = 2, 99
        made.append(sampler)
        return sampler

    monkeypatch.setattr(Sampler, "create", classmethod(recorded))
    with tiny(n_seq_max=4, kv_unified=False) as llm:
        ended: dict[int, object] = {}

        def call(i: int) -> None:
            try:
                ended[i] = llm("Hello", max_tokens=6, seed=i, ignore_eos=True)["usage"]
            except NativeAbortError as error:
                ended[i] = error

        threads = [threading.Thread(target=call, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(made) == 6
    assert isinstance(ended.pop(3), NativeAbortError)
    assert [usage["completion_tokens"] for usage in ended.values()] == [6] * 5  # type: ignore[index]
