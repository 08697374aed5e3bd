"""Streams that are brought side by side while texts are being written, on tiny models."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from llama_bind import Llama
from llama_bind.engine import moving
from tests.llamas import at_once, tiny

GREEDY: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True}


def text_of(llm: Llama, i: int, options: dict[str, Any]) -> str:
    result: Any = llm(f"Text {i}", **options, **GREEDY)
    return str(result["choices"][0]["text"])


@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_texts_are_the_same_as_alone(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(moving, "FIRST", 0.0)  # so small a model is computed sooner than anything is moved
    monkeypatch.setattr(moving, "LEARN", 0.0)
    calls: list[dict[str, Any]] = [{"max_tokens": 5 if i % 2 else 120} for i in range(8)]
    with tiny(kind, n_seq_max=8, n_ctx=8 * 256, kv_unified=False) as llm:
        scheduler = llm.engine._worker.scheduler  # type: ignore[union-attr]
        alone = [text_of(llm, i, call) for i, call in enumerate(calls)]
        assert scheduler.moves == 0
        llm.reset()
        together = at_once(llm, [functools.partial(text_of, llm, i, call) for i, call in enumerate(calls)])
        assert together == alone
        assert scheduler.moves > 0
        again = [text_of(llm, i, call) for i, call in enumerate(calls)]
        assert again == alone, "what is remembered has moved with its tokens"
