"""What a Python type is in JSON: a small tree of shapes, from which schemas are written and by which values are read.

Annotations are looked at here and nowhere else. Not for: the schemas (``typed.py``), the values (``typed_values.py``),
or finding the annotations of a function (``function_schema.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

__all__ = [
    "Anything",
    "Choices",
    "Described",
    "Field",
    "Fixed",
    "Foreign",
    "Items",
    "Keyed",
    "Named",
    "OneOf",
    "Record",
    "Scalar",
    "Shape",
    "Text",
]

MISSING: Any = object()
"""In place of a default: there is none."""


class Shape:
    """Base of all shapes."""


@dataclasses.dataclass(eq=False)
class Anything(Shape):
    """Every value, as it is in JSON."""


@dataclasses.dataclass(eq=False)
class Scalar(Shape):
    """A string, number, bool or null that is the same in Python."""

    name: Literal["string", "integer", "number", "boolean", "null"]


@dataclasses.dataclass(eq=False)
class Text(Shape):
    """A string in JSON that stands for something else: a date, a UUID, a path.

    Attributes:
        format: JSON Schema's word for it.
        read: Makes the value; raises ValueError.
    """

    format: str
    read: Callable[[str], Any]


@dataclasses.dataclass(eq=False)
class Number(Shape):
    """A number in JSON that stands for something else. `read` gets it as it is written."""

    read: Callable[[str], Any]


@dataclasses.dataclass(eq=False)
class Choices(Shape):
    """One of some values: (value in JSON, value in Python, name) each; the name counts where no value fits."""

    options: Sequence[tuple[Any, Any, str | None]]


@dataclasses.dataclass(eq=False)
class Items(Shape):
    """A list of any length; `build` makes the value of a list."""

    item: Shape
    build: Callable[[list[Any]], Any]


@dataclasses.dataclass(eq=False)
class Fixed(Shape):
    """A tuple: a list of a certain length."""

    items: Sequence[Shape]


@dataclasses.dataclass(eq=False)
class Keyed(Shape):
    """An object with any keys. `key` is what keys are read as, None for strings."""

    value: Shape
    key: Shape | None = None


@dataclasses.dataclass(eq=False)
class OneOf(Shape):
    """Any of several shapes; the first that fits exactly, else the first that fits."""

    shapes: Sequence[Shape]


@dataclasses.dataclass(frozen=True)
class Field:
    """A member of a record. `default` is `MISSING` where it is unknown or no JSON; `python` is its name in Python."""

    name: str
    shape: Shape
    required: bool = True
    default: Any = MISSING
    description: str = ""


@dataclasses.dataclass(eq=False)
class Record(Shape):
    """An object with certain members.

    Attributes:
        fields: In order.
        build: Makes the value, called with the members that were given as keywords.
        others: What further members must be; None: there are none.
        description: For the model; "" for none.
    """

    fields: Sequence[Field]
    build: Callable[..., Any] = dict
    others: Shape | None = None
    description: str = ""


@dataclasses.dataclass(eq=False)
class Named(Shape):
    """A shape with a name, which may contain itself; `target` is filled in when it is known."""

    name: str
    target: Shape


@dataclasses.dataclass(eq=False)
class Described(Shape):
    """A shape with words for the model."""

    target: Shape
    description: str


@dataclasses.dataclass(eq=False)
class Foreign(Shape):
    """A type that pydantic knows: its schema as text, and the reader of its values (JSON text -> value)."""

    schema: Callable[[], Mapping[str, Any]]
    read: Callable[[str], Any]
