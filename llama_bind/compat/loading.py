"""The arguments of llama-cpp-python's `Llama`, sorted: ours, its own, and those that nobody here knows.

What only that package (or somebody's older version of it) knows is warned about once in a process and left out; it
takes any keyword, and programs that wrap it pass their own on. Not for: what arguments mean (``params``).
"""

from __future__ import annotations

import dataclasses
import threading
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from llama_bind.compat.chat_handlers import native_format
from llama_bind.options import nearest, options_of
from llama_bind.params import ContextParams, LlamaParams, ModelParams

__all__ = ["Loading", "read_arguments", "warn_once"]

_OURS = frozenset(name for cls in (ModelParams, ContextParams, LlamaParams) for name in options_of(cls))
_OWN = frozenset({"chat_format", "chat_handler", "spm_infill"})
"""Seen to in this package, where they can be changed later and formats can be registered."""
_WITHOUT_MEANING: Mapping[str, str] = {
    "lora_base": "adapters are applied to any model",
    "n_parts": "shards are found by the name of the first",
    "f16_kv": "use type_k and type_v",
    "mul_mat_q": "llama.cpp chooses by itself",
    "n_gqa": "the file says it",
    "rms_norm_eps": "the file says it",
    "low_vram": "use offload_kqv=False",
    "clip_model_path": "images are not supported",
    "device": "use devices",
}
"""Of the original's arguments, of this version or older ones: why they do nothing, or what to use."""
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "lora_base": (None,),
    "n_parts": (-1, None),
    "f16_kv": (True, False, None),
    "mul_mat_q": (True, None),
    "low_vram": (False, None),
    "clip_model_path": (None,),
    "device": (None,),
}
"""Values that say "as usual": nothing is lost, so nothing is said."""

_lock = threading.Lock()
_warned: set[str] = set()


@dataclasses.dataclass(frozen=True)
class Loading:
    """The arguments of a constructor, sorted.

    Attributes:
        options: For this library's `Llama`.
        chat_format, chat_handler, spm_infill: For this package.
        unknown: Names that mean nothing here.
    """

    options: dict[str, Any]
    chat_format: str | None = None
    chat_handler: Any = None
    spm_infill: bool = False
    unknown: tuple[str, ...] = ()


def read_arguments(given: Mapping[str, Any]) -> Loading:
    """Sort the keyword arguments of a constructor; warns once of each that means nothing here."""
    options = {name: value for name, value in given.items() if name in _OURS - _OWN and value is not None}
    if native_format(given.get("chat_format")) is not None:
        options["chat_format"] = native_format(given["chat_format"])
    unknown = tuple(name for name in given if name not in _OURS | _OWN)
    for name in unknown:
        if given[name] not in _HARMLESS.get(name, ()):
            warn_once(name, "Llama()", _WITHOUT_MEANING.get(name), _OURS | _OWN)
    return Loading(
        options,
        given.get("chat_format"),
        given.get("chat_handler"),
        bool(given.get("spm_infill")),
        unknown,
    )


def warn_once(name: str, where: str, why: str | None = None, known: Iterable[str] = ()) -> None:
    """Warn that an argument does nothing: once for each name in a process, whoever passes it."""
    with _lock:
        if name in _warned:
            return
        _warned.add(name)
    close = None if why else nearest(name, known)
    hint = f"; {why}" if why else f"; did you mean {close!r}?" if close else ""
    warnings.warn(f"{where}: the argument {name!r} does nothing in llama_bind{hint}", UserWarning, stacklevel=4)
