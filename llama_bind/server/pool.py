"""Which models make room for another one: the least recently used of those that nobody uses, and no more than needed.

Pure: numbers in, names out. Not for: loading and unloading (``models``), or how large a model is (``core.needs``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

__all__ = ["Held", "to_unload"]


@dataclasses.dataclass(frozen=True)
class Held:
    """A model that takes memory.

    Attributes:
        name: Its name.
        size: Bytes that it takes.
        busy: Whether requests use it, or it is on its way in or out: it stays.
        used: When it was used last, in seconds of any clock.
    """

    name: str
    size: int
    busy: bool
    used: float


def to_unload(held: Sequence[Held], size: int, budget: int | None) -> list[str] | None:
    """Which models to unload so that another one of `size` bytes fits into `budget` bytes beside the rest.

    Returns:
        Names, the least recently used first; none where there is room (or no budget). None (not a list) where not even
        all that are idle would be enough.
    """
    if budget is None:
        return []
    excess = sum(model.size for model in held) + size - budget
    chosen: list[Held] = []
    for model in sorted((model for model in held if not model.busy), key=lambda model: model.used):
        if excess <= 0:
            break
        if model.size > 0:
            chosen.append(model)
            excess -= model.size
    if excess > 0:
        return None
    for model in list(chosen):  # what came first may not be needed beside a larger one that came later
        if excess + model.size <= 0:
            chosen.remove(model)
            excess += model.size
    return [model.name for model in chosen]
