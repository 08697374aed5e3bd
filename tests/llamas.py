"""Tiny `Llama` objects for tests: the smallest model, one thread, a short context."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from llama_bind import Llama
from tests.core_helpers import model_file

T = TypeVar("T")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny(kind: str = "llama", *, file: dict[str, Any] | None = None, **options: Any) -> Llama:
    """A new `Llama` on a tiny model; `file` says how the model file is made."""
    changes = {"chat_template": TEMPLATE, **(file or {})} if kind == "llama" else dict(file or {})
    return Llama(model_file(kind, **changes), **{"n_ctx": 256, "n_threads": 1, "seed": 1, **options})


@functools.cache
def shared(kind: str = "llama", **options: Any) -> Llama:
    """One that tests share and do not close."""
    return tiny(kind, **options)


def at_once(llm: Llama, asks: Sequence[Callable[[], T]]) -> list[T]:
    """What these calls give, each in a thread: the engine waits until all have come."""
    worker, gate = llm.engine._worker, threading.Event()  # type: ignore[union-attr]
    found: dict[int, T] = {}

    def ask(i: int) -> None:
        found[i] = asks[i]()

    waiting = threading.Thread(target=worker.call, args=(lambda _: gate.wait(60),))
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(asks))]
    for thread in (waiting, *threads):
        thread.start()
    for _ in range(6000):
        if worker.desk.unfinished >= len(asks):
            break
        gate.wait(0.01)
    gate.set()
    for thread in threads:
        thread.join(60)
    return [found[i] for i in range(len(asks))]
