"""Tiny `Llama` objects for tests: the smallest model, one thread, a short context."""

from __future__ import annotations

import functools
from typing import Any

from llama_bind import Llama
from tests.core_helpers import model_file

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
