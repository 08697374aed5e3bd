"""Which stream to move so that those that run lie side by side. Pure.

llama.cpp computes streams together only where they are neighbours (``llama_batch_allocr::split_equal``): every gap
among those that run costs one more pass over the weights in every step. Not for: moving them, or whether that pays
(moving).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

__all__ = ["Move", "groups", "next_move"]

LOOKED_AT = 4
"""Groups beside which a place is looked for, the largest first: of hundreds of slots that is near enough."""


class Move(NamedTuple):
    """What runs in slot `source` goes on in `target`, which is free. `of`: how many moves it takes to close a gap."""

    source: int
    target: int
    of: int = 1


def groups(slots: Iterable[int]) -> list[list[int]]:
    """Slots in runs of neighbours, in the order of their numbers."""
    found: list[list[int]] = []
    for slot in sorted(slots):
        if found and found[-1][-1] == slot - 1:
            found[-1].append(slot)
        else:
            found.append([slot])
    return found


def next_move(running: Collection[int], movable: Collection[int], free: Mapping[int, int]) -> Move | None:
    """The move that leaves the fewest groups, or makes a large one larger at the expense of a small one.

    Args:
        running: Slots that are computed in every step.
        movable: Those of them that can be moved now.
        free: Tokens that each free slot remembers; of equally good places the emptiest is taken.
    """
    there = sorted(groups(running), key=len)
    if len(there) < 2:
        return None
    best: tuple[tuple[int, int, int], Move] | None = None
    now = _worth(there)
    for group in there[:-1]:
        others = [other for other in there if other is not group][::-1][:LOOKED_AT]
        places = {place for other in others for place in (other[0] - 1, other[-1] + 1) if place in free}
        for source in {group[0], group[-1]} & set(movable):
            for target in sorted(places):
                worth = _worth(groups({*running, target} - {source}))
                rank = (*worth, -free[target])
                if worth > now and (best is None or rank > best[0]):
                    closes = worth[0] > now[0]
                    best = rank, Move(source, target, 1 if closes else len(group))
        if best is not None:
            break
    return None if best is None else best[1]


def _worth(there: Iterable[list[int]]) -> tuple[int, int]:
    """Grows with every move, so that moving comes to an end."""
    sizes = [len(group) for group in there]
    return -len(sizes), sum(size * size for size in sizes)
