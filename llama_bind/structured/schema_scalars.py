"""Keywords about types, constants, numbers and strings: the values for which they hold, and those for which not.

Not for: arrays and objects (``schema_members.py``), or schemas put together (``schema_applicators.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from llama_bind.errors import SchemaError
from llama_bind.structured.schema_document import Beyond, Document, Place, demand
from llama_bind.structured.schema_formats import FORMATS
from llama_bind.structured.schema_languages import Language, languages
from llama_bind.structured.schema_patterns import PatternError
from llama_bind.structured.schema_shapes import (
    ANYTHING,
    NOTHING,
    Arrays,
    Numbers,
    Objects,
    Strings,
    Union,
    join,
    meet,
)

__all__ = ["breaks", "count", "expect", "holds", "read_pattern"]

_INTEGERS = Numbers(integer=True)
_TYPES = {
    "null": Union(null=True),
    "boolean": Union(booleans=frozenset((False, True))),
    "integer": Union(numbers=(_INTEGERS,)),
    "number": Union(numbers=(Numbers(),)),
    "string": Union(strings=(Strings(),)),
    "array": Union(arrays=(Arrays(),)),
    "object": Union(objects=(Objects(),)),
}


def expect(place: Place, keyword: str, kind: type | tuple[type, ...], words: str) -> Any:
    """The value of a keyword, of the right kind.

    Raises:
        SchemaError: of another.
    """
    value = place.schema[keyword]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SchemaError(f"it must be {words}", keyword=keyword, path=place.path)
    return value


def count(place: Place, keyword: str) -> int:
    """The value of a keyword that is a number of things."""
    value = expect(place, keyword, (int, Decimal), "a number of things, 0 or more")
    if value < 0 or value != int(value):
        raise SchemaError("it must be a whole number, 0 or more", keyword=keyword, path=place.path)
    return int(value)


def read_pattern(pattern: str, place: Place, keyword: str) -> tuple[Language, ...]:
    """The languages of a pattern."""
    try:
        return languages(pattern)
    except PatternError as error:
        raise Beyond(keyword, place, f"the pattern {pattern[:80]!r} has {error}") from None


def types(place: Place) -> Union:
    names = place.schema["type"]
    names = names if isinstance(names, list) else [names]
    for name in names:
        if not isinstance(name, str) or (name not in _TYPES and name != "any"):
            known = ", ".join(_TYPES)
            raise SchemaError(f"{name!r} is no type; there are {known}", keyword="type", path=place.path)
    if "any" in names:  # before draft 4
        return ANYTHING
    return join([_TYPES[name] for name in names if not (name == "integer" and "number" in names)] or [NOTHING])


def other_types(place: Place) -> Union:
    names = place.schema["type"]
    held = types(place)
    if "integer" in (names if isinstance(names, list) else [names]) and held.numbers == (_INTEGERS,):
        numbers: tuple[Numbers, ...] = (Numbers(integer=False),)
    else:
        numbers = () if held.numbers else (Numbers(),)
    return Union(
        not held.null,
        ANYTHING.booleans - held.booleans,
        numbers,
        () if held.strings else ANYTHING.strings,
        () if held.arrays else ANYTHING.arrays,
        () if held.objects else ANYTHING.objects,
    )


def literals(values: list[Any], document: Document, place: Place) -> tuple[Union, list[Place]]:
    """Just these values: those without parts as a union, and the places of schemas for the others."""
    numbers, texts, booleans, null = [], [], set(), False
    built: list[Place] = []
    for value in values:
        if value is None:
            null = True
        elif isinstance(value, bool):
            booleans.add(value)
        elif isinstance(value, int | Decimal):
            number = Decimal(value)
            numbers.append(Numbers(number, number))
        elif isinstance(value, str):
            texts.append(value)
        else:
            built.append(document.constant(value, place))
    strings = (Strings(only=tuple(dict.fromkeys(texts))),) if texts else ()
    return Union(null, frozenset(booleans), tuple(dict.fromkeys(numbers)), strings), built


def other_literals(union: Union) -> Union:
    """Everything but the numbers and texts that `union` lists, and its other values without parts."""
    numbers: list[Numbers] = []
    low: Decimal | None = None
    for point in sorted(shape.low for shape in union.numbers if shape.low is not None):
        numbers.append(Numbers(low, point, low is not None, True))
        low = point
    numbers.append(Numbers(low, None, low is not None, False))
    never = frozenset(text for shape in union.strings for text in shape.only or ())
    return Union(
        not union.null,
        ANYTHING.booleans - union.booleans,
        tuple(numbers),
        (Strings(never=never),),
        ANYTHING.arrays,
        ANYTHING.objects,
    )


def _numbers(shape: Numbers) -> Union:
    return dataclasses.replace(ANYTHING, numbers=(shape,))


def _bound(place: Place, keyword: str, below: bool) -> Numbers | None:
    """The numbers within a bound; None for draft 4's false, and for its true, which is read with the bound itself."""
    value = place.schema[keyword]
    if isinstance(value, bool) and keyword.startswith("exclusive"):
        return None
    limit = Decimal(expect(place, keyword, (int, Decimal), "a number"))
    exclusive = "exclusiveMaximum" if below else "exclusiveMinimum"
    strict = keyword == exclusive or place.schema.get(exclusive) is True
    return Numbers(high=limit, open_high=strict) if below else Numbers(low=limit, open_low=strict)


def _limited(keyword: str, below: bool) -> Callable[[Place], Union]:
    def limited(place: Place) -> Union:
        shape = _bound(place, keyword, below)
        return ANYTHING if shape is None else _numbers(shape)

    return limited


def _beyond(keyword: str, below: bool) -> Callable[[Place], Union]:
    def beyond(place: Place) -> Union:
        shape = _bound(place, keyword, below)
        if shape is None:
            return NOTHING
        if below:
            return Union(numbers=(Numbers(low=shape.high, open_low=not shape.open_high),))
        return Union(numbers=(Numbers(high=shape.low, open_high=not shape.open_low),))

    return beyond


def multiples(place: Place) -> Union:
    step = Decimal(expect(place, "multipleOf", (int, Decimal), "a number above 0"))
    if step <= 0:
        raise SchemaError("it must be above 0", keyword="multipleOf", path=place.path)
    if step == 1:
        return _numbers(_INTEGERS)
    return _numbers(Numbers(multiples=(step,)))


def no_multiples(place: Place) -> Union:
    if place.schema["multipleOf"] == 1:
        return Union(numbers=(Numbers(integer=False),))
    raise Beyond("multipleOf", place, "numbers that are no multiples cannot be put into a grammar")


def _strings(shape: Strings) -> Union:
    return dataclasses.replace(ANYTHING, strings=(shape,))


def pattern(place: Place) -> Strings:
    text = expect(place, "pattern", str, "a regular expression")
    return Strings(holds=(read_pattern(text, place, "pattern"),))


def no_pattern(place: Place) -> Union:
    return Union(strings=(Strings(breaks=pattern(place).holds),))


def holds(keyword: str) -> Callable[[Place], Union] | None:
    """What the values are for which a keyword of these kinds holds."""
    return _HOLDS.get(keyword)


def breaks(keyword: str) -> Callable[[Place], Union] | None:
    """What the values are for which it does not."""
    return _BREAKS.get(keyword)


def _shorter(place: Place) -> Union:
    least = count(place, "minLength")
    return Union(strings=(Strings(most=least - 1),)) if least else NOTHING


_HOLDS: dict[str, Callable[[Place], Union]] = {
    "type": types,
    "minimum": _limited("minimum", False),
    "maximum": _limited("maximum", True),
    "exclusiveMinimum": _limited("exclusiveMinimum", False),
    "exclusiveMaximum": _limited("exclusiveMaximum", True),
    "multipleOf": multiples,
    "minLength": lambda place: _strings(Strings(least=count(place, "minLength"))),
    "maxLength": lambda place: _strings(Strings(most=count(place, "maxLength"))),
    "pattern": lambda place: _strings(pattern(place)),
}

_BREAKS: dict[str, Callable[[Place], Union]] = {
    "type": other_types,
    "minimum": _beyond("minimum", False),
    "maximum": _beyond("maximum", True),
    "exclusiveMinimum": _beyond("exclusiveMinimum", False),
    "exclusiveMaximum": _beyond("exclusiveMaximum", True),
    "multipleOf": no_multiples,
    "minLength": _shorter,
    "maxLength": lambda place: Union(strings=(Strings(least=count(place, "maxLength") + 1),)),
    "pattern": no_pattern,
}


def format_of(place: Place, how: str) -> Union:
    """`format`: "known" asserts the formats that are known here, "ignore" none, "required" refuses unknown ones."""
    name = place.schema["format"]
    pattern_text = FORMATS.get(name) if isinstance(name, str) else None
    if how == "ignore" or (pattern_text is None and how == "known"):
        return ANYTHING
    if pattern_text is None:
        raise Beyond("format", place, f"the format {name!r} is not known here; known are {', '.join(FORMATS)}")
    return _strings(Strings(holds=(languages(pattern_text),)))


def enumerated(document: Document, place: Place, keyword: str) -> tuple[Union, list[Place]]:
    """The values that `enum` or `const` lists."""
    values = [place.schema["const"]] if keyword == "const" else expect(place, "enum", list, "a list of values")
    return literals(values, document, place)


def listed(document: Document, place: Place, keyword: str, expand: Callable[..., Union]) -> Union:
    plain, built = enumerated(document, place, keyword)
    return join([plain, *(expand(demand(other)) for other in built)])


def unlisted(document: Document, place: Place, keyword: str, expand: Callable[..., Union]) -> Union:
    plain, built = enumerated(document, place, keyword)
    result = other_literals(plain)
    for other in built:
        result = meet(result, expand(demand(other, False)))
    return result
