"""What values a schema allows, by type: a union of shapes for each type, which can be met and joined.

A shape of arrays or objects holds *demands* on what is inside, which are looked at later: a demand is a conjunction of
schemas, each to hold or not to hold.
Not for: finding the shapes of a schema (``schema_keywords.py``), or writing them as a grammar (``schema_rules.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TypeVar

from llama_bind.structured.schema_languages import Language
from llama_bind.structured.schema_numbers import common_step

__all__ = [
    "ANYTHING",
    "NOTHING",
    "Arrays",
    "Demand",
    "Group",
    "Numbers",
    "Objects",
    "Some",
    "Strings",
    "Union",
    "both",
    "join",
    "meet",
]

Demand = tuple[tuple[Any, bool], ...]
"""(place of a schema, whether it holds) for each of a conjunction; () is anything."""


def both(first: Demand, second: Demand) -> Demand:
    """The conjunction of two demands."""
    return tuple(dict.fromkeys(first + second))


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Numbers between `low` and `high` (None: no bound), which are excluded where `open_low`, `open_high`.

    `integer`: True for integers only, False for none. `multiples`: multiples of all of these.
    """

    low: Decimal | None = None
    high: Decimal | None = None
    open_low: bool = False
    open_high: bool = False
    integer: bool | None = None
    multiples: tuple[Decimal, ...] = ()

    def meet(self, other: Numbers) -> Numbers | None:
        if None not in (self.integer, other.integer) and self.integer != other.integer:
            return None
        low, open_low = max(((s.low, s.open_low) for s in (self, other) if s.low is not None), default=(None, False))
        high, shut = min(((s.high, not s.open_high) for s in (self, other) if s.high is not None), default=(None, True))
        integer = self.integer if other.integer is None else other.integer
        multiples = tuple(dict.fromkeys(self.multiples + other.multiples))
        return Numbers(low, high, open_low, not shut, integer, multiples).known()

    def known(self) -> Numbers | None:
        """The shape itself, None where it is plainly empty."""
        if self.low is None or self.high is None:
            return self
        if self.low > self.high or (self.low == self.high and (self.open_low or self.open_high)):
            return None
        if self.low == self.high:
            whole = self.low == self.low.to_integral_value()
            if (self.integer is True and not whole) or (self.integer is False and whole):
                return None
            if any(self.low % step for step in self.multiples):
                return None
            return Numbers(self.low, self.low)
        if self.integer or self.multiples:
            step = common_step((*self.multiples, *((Decimal(1),) if self.integer else ())))
            first = (self.low / step).to_integral_value("ROUND_CEILING")
            first += self.open_low and first * step == self.low
            last = (self.high / step).to_integral_value("ROUND_FLOOR")
            last -= self.open_high and last * step == self.high
            if first > last:
                return None
        return self


@dataclasses.dataclass(frozen=True)
class Strings:
    """Strings of `least` to `most` characters that some language of each of `holds` has, and none of `breaks`.

    `only`: no others than these. `never`: none of these.
    """

    least: int = 0
    most: int | None = None
    holds: tuple[tuple[Language, ...], ...] = ()
    breaks: tuple[tuple[Language, ...], ...] = ()
    only: tuple[str, ...] | None = None
    never: frozenset[str] = frozenset()

    def meet(self, other: Strings) -> Strings | None:
        only = self.only if other.only is None else other.only
        if self.only is not None and other.only is not None:
            kept = frozenset(other.only)
            only = tuple(text for text in self.only if text in kept)
        return Strings(
            max(self.least, other.least),
            min((most for most in (self.most, other.most) if most is not None), default=None),
            tuple(dict.fromkeys(self.holds + other.holds)),
            tuple(dict.fromkeys(self.breaks + other.breaks)),
            only,
            self.never | other.never,
        ).known()

    def known(self) -> Strings | None:
        """The shape itself, None where it is plainly empty; the texts of `only` that everything else allows."""
        if self.only is not None:
            texts = tuple(text for text in self.only if self.has(text))
            return Strings(only=texts) if texts else None
        return None if self.most is not None and self.least > self.most else self

    def has(self, text: str) -> bool:
        return (
            self.least <= len(text)
            and (self.most is None or len(text) <= self.most)
            and text not in self.never
            and all(any(language.has(text) for language in languages) for languages in self.holds)
            and not any(language.has(text) for languages in self.breaks for language in languages)
        )


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Arrays of `least` to `most` items: `first` are the demands on the first ones, `rest` on those after.

    `contains`: (demand, least, most) items that meet a demand. `unique`: no two equal.
    `seen`: so many of the first items were looked at (for unevaluatedItems); None for all.
    """

    first: tuple[Demand, ...] = ()
    rest: Demand = ()
    least: int = 0
    most: int | None = None
    contains: tuple[tuple[Demand, int, int | None], ...] = ()
    unique: bool = False
    seen: int | None = 0

    def meet(self, other: Arrays) -> Arrays | None:
        count = max(len(self.first), len(other.first))
        first = tuple(both(self.item(at), other.item(at)) for at in range(count))
        result = Arrays(
            first,
            both(self.rest, other.rest),
            max(self.least, other.least),
            min((most for most in (self.most, other.most) if most is not None), default=None),
            tuple(dict.fromkeys(self.contains + other.contains)),
            self.unique or other.unique,
            None if self.seen is None or other.seen is None else max(self.seen, other.seen),
        )
        return None if result.most is not None and result.least > result.most else result

    def item(self, at: int) -> Demand:
        return self.first[at] if at < len(self.first) else self.rest


@dataclasses.dataclass(frozen=True)
class Group:
    """What one place says about members: of these names, of names with these patterns, and of all others.

    `others` is None where it says nothing about others. `seen`: whether it counts for unevaluatedProperties.
    `listed`: whether it has a list of names (``properties``), which may be empty.
    """

    names: tuple[tuple[str, Demand], ...] = ()
    patterns: tuple[tuple[tuple[Language, ...], Demand], ...] = ()
    others: Demand | None = None
    seen: bool = True
    listed: bool = False


@dataclasses.dataclass(frozen=True)
class Some:
    """A member that must be there: its value meets `value`, its name is in `within` (None: no `names`, `patterns`)."""

    value: Demand
    within: tuple[Language, ...] | None = None
    names: frozenset[str] = frozenset()
    patterns: tuple[tuple[Language, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class Objects:
    """Objects of `least` to `most` members with all of `required`, for which all `groups` hold.

    `keys`: demands on every name. `some`: members that must be there without a name of their own.
    """

    groups: tuple[Group, ...] = ()
    required: tuple[str, ...] = ()
    least: int = 0
    most: int | None = None
    keys: Demand = ()
    some: tuple[Some, ...] = ()

    def meet(self, other: Objects) -> Objects | None:
        result = Objects(
            tuple(dict.fromkeys(self.groups + other.groups)),
            tuple(dict.fromkeys(self.required + other.required)),
            max(self.least, other.least),
            min((most for most in (self.most, other.most) if most is not None), default=None),
            both(self.keys, other.keys),
            tuple(dict.fromkeys(self.some + other.some)),
        )
        least = max(result.least, len(result.required))
        return None if result.most is not None and least > result.most else result


@dataclasses.dataclass(frozen=True)
class Union:
    """The shapes of each type; no shapes: no value of that type."""

    null: bool = False
    booleans: frozenset[bool] = frozenset()
    numbers: tuple[Numbers, ...] = ()
    strings: tuple[Strings, ...] = ()
    arrays: tuple[Arrays, ...] = ()
    objects: tuple[Objects, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.null or self.booleans or self.numbers or self.strings or self.arrays or self.objects)

    @property
    def size(self) -> int:
        return len(self.numbers) + len(self.strings) + len(self.arrays) + len(self.objects)


NOTHING = Union()
ANYTHING = Union(True, frozenset((False, True)), (Numbers(),), (Strings(),), (Arrays(),), (Objects(),))

_Shape = TypeVar("_Shape", Numbers, Strings, Arrays, Objects)


def _met(first: tuple[_Shape, ...], second: tuple[_Shape, ...], anything: _Shape) -> tuple[_Shape, ...]:
    if second == (anything,):
        return first
    if first == (anything,):
        return second
    found = (left.meet(right) for left in first for right in second)
    return tuple(dict.fromkeys(shape for shape in found if shape is not None))


def meet(first: Union, second: Union) -> Union:
    """The values of both."""
    return Union(
        first.null and second.null,
        first.booleans & second.booleans,
        _met(first.numbers, second.numbers, Numbers()),
        _met(first.strings, second.strings, Strings()),
        _met(first.arrays, second.arrays, Arrays()),
        _met(first.objects, second.objects, Objects()),
    )


def join(unions: Iterable[Union]) -> Union:
    """The values of any."""
    every = list(unions)
    if len(every) == 1:
        return every[0]
    strings = [shape for union in every for shape in union.strings]
    listed = tuple(dict.fromkeys(text for shape in strings for text in shape.only or ()))
    if listed:
        strings = [shape for shape in strings if shape.only is None] + [Strings(only=listed)]
    return Union(
        any(union.null for union in every),
        frozenset().union(*(union.booleans for union in every)),
        _joined(shape for union in every for shape in union.numbers),
        _joined(strings),
        _joined(shape for union in every for shape in union.arrays),
        _joined(shape for union in every for shape in union.objects),
    )


def _joined(shapes: Iterable[_Shape]) -> tuple[_Shape, ...]:
    """Without duplicates; one shape that allows everything stands for all, but those that have seen what is inside."""
    every: tuple[_Shape, ...] = tuple(dict.fromkeys(shapes))
    for shape in every:
        if shape == type(shape)():
            return tuple(other for other in every if other is shape or _looks(other))
    return every


def _looks(shape: Numbers | Strings | Arrays | Objects) -> bool:
    if isinstance(shape, Objects):
        return any(group.seen for group in shape.groups)
    return isinstance(shape, Arrays) and shape.seen != 0
