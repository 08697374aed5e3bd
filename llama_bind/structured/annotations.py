"""Annotations to shapes: what a type hint says that a value is in JSON.

str, int, float, bool, None, Any, Optional and unions, Literal, Enum, lists, tuples, sets, dicts and their abstract
kinds, TypedDict, dataclass and NamedTuple (generic and recursive ones too), NewType, TypeVar, type aliases, Annotated,
dates and times, UUID, Decimal, paths, and whatever pydantic knows where it is used.

Not for: schemas and values (``typed.py``, ``typed_values.py``).
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import os
import pathlib
import re
import sys
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin

import typing_extensions

from llama_bind.errors import InputError
from llama_bind.structured import foreign, shapes
from llama_bind.structured.docstrings import Docstring, read_docstring
from llama_bind.structured.shapes import Shape

__all__ = ["Annotations", "default_in_json", "hints_of", "own_docstring"]

_SCALARS: dict[Any, Shape] = {
    str: shapes.Scalar("string"),
    int: shapes.Scalar("integer"),
    float: shapes.Scalar("number"),
    bool: shapes.Scalar("boolean"),
    None: shapes.Scalar("null"),
    type(None): shapes.Scalar("null"),
    Any: shapes.Anything(),
    object: shapes.Anything(),
    inspect.Parameter.empty: shapes.Anything(),
}
_LISTS: dict[Any, Callable[[list[Any]], Any]] = {
    list: list, abc.Sequence: list, abc.MutableSequence: list, abc.Iterable: list, abc.Collection: list,
    set: set, abc.Set: set, abc.MutableSet: set, frozenset: frozenset,
}  # fmt: skip
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_WRAPPERS = {typing.Final, typing.ClassVar}
for _home in (typing, typing_extensions):  # the same object in new Pythons, not in old ones
    _WRAPPERS |= {getattr(_home, name) for name in ("Required", "NotRequired", "ReadOnly") if hasattr(_home, name)}
_ALIASES = tuple(home.TypeAliasType for home in (typing, typing_extensions) if hasattr(home, "TypeAliasType"))


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(_iso(text))


def _time(text: str) -> datetime.time:
    return datetime.time.fromisoformat(_iso(text))


def _iso(text: str) -> str:
    """RFC 3339 as Python 3.10 reads it: +00:00 for Z, and six digits of a second or none."""
    text = re.sub(r"[zZ]$", "+00:00", text.strip())
    return re.sub(r"\.(\d{1,9})", lambda m: "." + m[1][:6].ljust(6, "0"), text)


_TEXTS: dict[Any, Shape] = {
    datetime.datetime: shapes.Text("date-time", _moment),
    datetime.date: shapes.Text("date", lambda text: datetime.date.fromisoformat(text.strip())),
    datetime.time: shapes.Text("time", _time),
    uuid.UUID: shapes.Text("uuid", uuid.UUID),
    decimal.Decimal: shapes.Number(decimal.Decimal),
    os.PathLike: shapes.Text("path", pathlib.Path),
    **{kind: shapes.Text("path", kind) for kind in (pathlib.Path, pathlib.PurePath, pathlib.PurePosixPath)},
}


class Annotations:
    """Reads annotations; one object for one schema, so that equal types share a definition and recursion ends."""

    def __init__(self) -> None:
        self._named: dict[Any, shapes.Named] = {}

    def shape(self, hint: Any, where: str, bound: Mapping[Any, Any] | None = None) -> Shape:
        """The shape of a type.

        Args:
            hint: The type, evaluated.
            where: Words for errors, such as "parameter 'x' of f()".
            bound: What type variables stand for.

        Raises:
            InputError: it has no form in JSON, or none that is known here.
        """
        if get_origin(hint) is typing_extensions.Annotated:
            return self._annotated(hint, where, bound or {})
        hint = _substituted(hint, bound or {})
        try:
            plain = _SCALARS.get(hint) or _TEXTS.get(hint) or _TEXTS.get(get_origin(hint))
        except TypeError:  # not hashable, so none of them
            plain = None
        if plain is not None:
            return plain
        if isinstance(hint, (str, typing.ForwardRef)):
            name = hint if isinstance(hint, str) else hint.__forward_arg__
            raise InputError(f"{where}: the type {name!r} is not defined where it is used; define it there", param=None)
        found = self._special(hint, where) or self._container(hint, where) or self._class(hint, where)
        if found is None:
            raise InputError(
                f"{where}: {_name(hint)} has no form in JSON; use str, int, float, bool, None, Literal, an Enum, a "
                "list, tuple, set or dict of them, a dataclass, TypedDict, NamedTuple or pydantic model, or a union"
            )
        return found

    def _annotated(self, hint: Any, where: str, bound: Mapping[Any, Any]) -> Shape:
        inner, *notes = get_args(hint)
        if any(foreign.is_note(note) for note in notes):
            return foreign.shape(hint, where)
        found = self.shape(inner, where, bound)
        words = [note if isinstance(note, str) else getattr(note, "documentation", None) for note in notes]
        text = " ".join(word for word in words if isinstance(word, str))
        return shapes.Described(found, text) if text else found

    def _special(self, hint: Any, where: str) -> Shape | None:
        origin = get_origin(hint)
        if origin is Literal:
            return shapes.Choices([_literal(value, where) for value in get_args(hint)])
        if origin is Union or origin is types.UnionType:
            return shapes.OneOf([self.shape(part, where) for part in get_args(hint)])
        if origin in _WRAPPERS:
            return self.shape(get_args(hint)[0], where)
        if isinstance(hint, dataclasses.InitVar):
            return self.shape(hint.type, where)
        if isinstance(hint, NewType):
            return self.shape(hint.__supertype__, where)
        if isinstance(hint, TypeVar):
            options = hint.__constraints__ or (hint.__bound__ or Any,)
            return self.shape(Union[options], where)  # noqa: UP007  # a tuple
        if isinstance(hint, _ALIASES):
            return self._name_first(hint, hint.__name__, lambda: self.shape(_alias_value(hint), where))
        return None

    def _container(self, hint: Any, where: str) -> Shape | None:
        kind, parts = get_origin(hint) or hint, get_args(hint)
        if kind is tuple:
            parts = () if parts == ((),) else parts  # Python 3.10's way to say tuple[()]
            if not parts:
                bare = hint is tuple or hint is typing.Tuple  # noqa: UP006
                return shapes.Items(shapes.Anything(), tuple) if bare else shapes.Fixed(())
            if parts[-1] is Ellipsis:
                return shapes.Items(self.shape(parts[0], where), tuple)
            return shapes.Fixed([self.shape(part, where) for part in parts])
        if not isinstance(kind, abc.Hashable):
            return None
        if kind in _LISTS:
            return shapes.Items(self.shape(parts[0] if parts else Any, where), _LISTS[kind])
        if kind in _DICTS:
            key = self.shape(parts[0], where) if parts and parts[0] is not str else None
            if isinstance(key, (shapes.Items, shapes.Fixed, shapes.Keyed, shapes.Named)):
                raise InputError(f"{where}: the keys of a dict are strings in JSON, {_name(parts[0])} has no such form")
            return shapes.Keyed(self.shape(parts[1] if parts else Any, where), key)
        return None

    def _class(self, hint: Any, where: str) -> Shape | None:
        cls, parts = get_origin(hint) or hint, get_args(hint)
        if not isinstance(cls, type):
            return None
        if foreign.is_type(cls):
            return foreign.shape(hint, where)
        if issubclass(cls, enum.Enum):
            return shapes.Choices([_member(member) for member in cls])
        is_dict = typing_extensions.is_typeddict(cls)
        is_tuple = issubclass(cls, tuple) and hasattr(cls, "_fields")
        if not (is_dict or is_tuple or dataclasses.is_dataclass(cls)):
            return None
        bound = dict(zip(getattr(cls, "__parameters__", ()), parts, strict=False))
        fields = self._dict_fields if is_dict else self._init_fields
        name = "_".join([cls.__name__, *(re.sub(r"\W+", "_", _name(part)).strip("_") for part in parts)])
        return self._name_first(hint, name, lambda: self._record(cls, fields, bound, dict if is_dict else cls))

    def _record(self, cls: type, fields: Callable[..., list[shapes.Field]], bound: Any, build: Any) -> Shape:
        doc = own_docstring(cls)
        return shapes.Record(fields(cls, doc, bound), build, description=doc.text)

    def _name_first(self, key: Any, name: str, make: Callable[[], Shape]) -> Shape:
        """The shape is known before it is made: it may contain itself."""
        known = self._named.get(key)
        if known is None:
            known = self._named[key] = shapes.Named(name, shapes.Anything())
            known.target = make()
        return known

    def _dict_fields(self, cls: type, doc: Docstring, bound: Mapping[Any, Any]) -> list[shapes.Field]:
        required: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
        found = []
        for name, hint in hints_of(cls, cls.__name__).items():
            needed = name in required
            marks = _marks(hint)  # where annotations are strings, Python itself has not seen them
            needed = "Required" in marks or (needed and "NotRequired" not in marks)
            shape = self.shape(hint, f"key {name!r} of {cls.__name__}", bound)
            found.append(shapes.Field(name, shape, needed, description=doc.arguments.get(name, "")))
        return found

    def _init_fields(self, cls: type, doc: Docstring, bound: Mapping[Any, Any]) -> list[shapes.Field]:
        """What the constructor takes."""
        hints = hints_of(cls, cls.__name__)
        declared = {field.name: field for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
        found = []
        for name, parameter in inspect.signature(cls).parameters.items():
            where = f"field {name!r} of {cls.__name__}"
            shape = self.shape(hints.get(name, parameter.annotation), where, bound)
            field = declared.get(name)
            words = doc.arguments.get(name, "") if field is None else _words(field, doc)
            required = parameter.default is inspect.Parameter.empty
            found.append(shapes.Field(name, shape, required, default_in_json(parameter.default), words))
        return found


def hints_of(thing: Any, name: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """The evaluated annotations of a class or function; `names` are those of its module, where it does not know it.

    Raises:
        InputError: one of them is not defined there.
    """
    try:
        return typing_extensions.get_type_hints(thing, globalns=names, include_extras=True)
    except NameError as error:
        raise InputError(
            f"{name}: an annotation cannot be evaluated ({error}); define the types that it names at the top of the "
            "module, outside of `if TYPE_CHECKING`"
        ) from error
    except TypeError as error:
        raise InputError(f"{name}: an annotation is not a type: {error}") from error


def _alias_value(alias: Any) -> Any:
    """What an alias stands for, evaluated in its module."""
    holder: Any = types.SimpleNamespace(__annotations__={"value": alias.__value__})
    names = getattr(sys.modules.get(alias.__module__), "__dict__", {})
    return hints_of(holder, alias.__name__, names)["value"]


def default_in_json(value: Any) -> Any:
    """A default as the schema shows it: strings, numbers, bools and enum members; else `MISSING`."""
    if isinstance(value, enum.Enum):
        value = _member(value)[0]
    return value if type(value) in (str, int, float, bool) else shapes.MISSING


def own_docstring(cls: type) -> Docstring:
    """The docstring of a class; not the one that dataclasses and named tuples get by themselves."""
    text = cls.__dict__.get("__doc__")
    if not isinstance(text, str) or text.startswith(f"{cls.__name__}("):
        return Docstring()
    return read_docstring(text)


def _words(field: dataclasses.Field[Any], doc: Docstring) -> str:
    own = field.metadata.get("description") or getattr(field, "doc", None)
    return own if isinstance(own, str) else doc.arguments.get(field.name, "")


def _literal(value: Any, where: str) -> tuple[Any, Any, str | None]:
    if isinstance(value, enum.Enum):
        return _member(value)
    if value is not None and not isinstance(value, (str, int, bool)):
        raise InputError(f"{where}: {value!r} in a Literal has no form in JSON")
    return value, value, None


def _member(member: enum.Enum) -> tuple[Any, Any, str]:
    """By its value; by its name where the value is no JSON."""
    value = member.value
    plain = value is None or isinstance(value, (str, int, float))
    return (value if plain else member.name), member, member.name


def _marks(hint: Any) -> set[str]:
    """The wrappers around a TypedDict's value, such as NotRequired."""
    found: set[str] = set()
    while (origin := get_origin(hint)) in _WRAPPERS or origin is typing_extensions.Annotated:
        found.add(getattr(origin, "_name", None) or "")
        hint = get_args(hint)[0]
    return found


def _substituted(hint: Any, bound: Mapping[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not bound or not parameters or get_origin(hint) is None:
        return hint
    return hint[tuple(bound.get(parameter, parameter) for parameter in parameters)]


def _name(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
