"""What was read from the headers, free of libclang: plain dataclasses that the emitter and the report walk."""

from __future__ import annotations

from dataclasses import dataclass, field


class UnsupportedError(Exception):
    """A construct that the generator cannot translate; the message says where it is."""


@dataclass(frozen=True)
class CType:
    """A C type in Python's terms.

    ``expr`` is the ctypes expression, ``param`` and ``result`` the annotations where it is passed and where C gives it;
    ``static`` is what a type checker calls the ctypes class; ``names`` are the mirrored names in all of these;
    ``by_value`` says that a struct among them must be complete before ``expr`` can be used.
    """

    expr: str
    param: str
    result: str
    static: str
    names: frozenset[str] = frozenset()
    by_value: bool = False


@dataclass
class Item:
    """Something declared in a header. ``line`` orders the output."""

    name: str
    header: str
    line: int
    doc: str


@dataclass
class Constant(Item):
    """A macro, an enumerator of an anonymous enum, or a ``static const``."""

    value: int | float | bytes
    spelling: str


@dataclass
class Enum(Item):
    """A C enum; ``items`` are (name, value, comment)."""

    base: str
    tag: str
    items: list[tuple[str, int, str]]


@dataclass
class Field:
    """A member of a struct or union. ``width`` is a bit field's."""

    name: str
    type: CType
    doc: str
    width: int | None
    c_name: str


@dataclass
class Record(Item):
    """A struct or union; opaque when ``fields`` is None. ``spelled`` is the type in C."""

    kind: str
    spelled: str
    fields: list[Field] | None
    anonymous: list[str] = field(default_factory=list)
    nested: bool = False


@dataclass
class Alias(Item):
    """A typedef of anything that is not a function pointer."""

    target: CType


@dataclass
class CallbackType(Item):
    """A function pointer type."""

    result: CType
    params: list[tuple[str, CType]]
    spelling: str


@dataclass
class Function(Item):
    """A C function."""

    result: CType
    params: list[tuple[str, CType]]
    variadic: bool
    deprecated: str | None


@dataclass
class Unbound:
    """Something in a header that has no Python counterpart, and why."""

    name: str
    header: str
    reason: str


@dataclass
class Mirror:
    """Everything, in source order within each header."""

    items: list[Item]
    unbound: list[Unbound]
    redeclared: list[tuple[str, str]]
    """(header, Python name) of typedefs and structs declared again in a later header."""
