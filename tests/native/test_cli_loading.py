from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from llama_bind.cli import models
from llama_bind.hub.progress import Update
from tests.core_helpers import model_file


@pytest.mark.parametrize(("size", "drawn"), [(1, True), (10**12, False)])
def test_a_big_model_shows_how_far_loading_is(monkeypatch: pytest.MonkeyPatch, size: int, drawn: bool) -> None:
    path = model_file("llama")
    seen: list[Any] = []

    @contextlib.contextmanager
    def bar(label: str, total: int, enabled: bool = True) -> Iterator[Update]:
        seen.append((label, total, enabled))
        yield seen.append

    monkeypatch.setattr(models, "SLOW_TO_LOAD", size)
    monkeypatch.setattr(models, "progress_bar", bar)
    monkeypatch.setattr(models, "collect", lambda _arguments, _group: {"n_ctx": 256, "n_threads": 1})
    with models.open_model(argparse.Namespace(model=str(path))) as llm:
        assert llm("Hello", max_tokens=1)
    assert seen[0] == (f"loading {path.name}", path.stat().st_size, drawn)
    assert seen[1:] == sorted(seen[1:])
    assert seen[-1] == path.stat().st_size
