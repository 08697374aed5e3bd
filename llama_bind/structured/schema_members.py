"""Keywords about the items of arrays and the members of objects.

Not for: finding out what a grammar makes of them (``schema_objects.py``, ``schema_arrays.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from llama_bind.errors import SchemaError
from llama_bind.structured.schema_document import FALSE, Beyond, Document, Place, demand
from llama_bind.structured.schema_languages import Language
from llama_bind.structured.schema_scalars import count, expect, read_pattern
from llama_bind.structured.schema_shapes import (
    ANYTHING,
    NOTHING,
    Arrays,
    Demand,
    Group,
    Objects,
    Some,
    Union,
    both,
    join,
)

__all__ = ["GROUPS", "breaks", "dependencies", "evaluated", "holds", "member"]

GROUPS = {
    **dict.fromkeys(("properties", "patternProperties", "additionalProperties"), "members"),
    **dict.fromkeys(("prefixItems", "items", "additionalItems"), "items"),
    **dict.fromkeys(("contains", "minContains", "maxContains"), "contains"),
}
"""Keywords that are read together with others."""


def _objects(*shapes: Objects) -> Union:
    return dataclasses.replace(ANYTHING, objects=shapes)


def _arrays(*shapes: Arrays) -> Union:
    return dataclasses.replace(ANYTHING, arrays=shapes)


def _names(document: Document, place: Place, keyword: str) -> list[tuple[str, Demand]]:
    if keyword not in place.schema:
        return []
    members = expect(place, keyword, dict, "an object of schemas")
    return [(name, demand(document.child(place, keyword, name))) for name in members]


def _others(document: Document, place: Place, keyword: str) -> Demand | None:
    return demand(document.child(place, keyword)) if keyword in place.schema else None


def _group(document: Document, place: Place) -> Group:
    patterns = _names(document, place, "patternProperties")
    return Group(
        tuple(_names(document, place, "properties")),
        tuple((read_pattern(text, place, "patternProperties"), value) for text, value in patterns),
        _others(document, place, "additionalProperties"),
        listed="properties" in place.schema,
    )


def members(document: Document, place: Place) -> Union:
    """`properties`, `patternProperties` and `additionalProperties`."""
    return _objects(Objects((_group(document, place),)))


def other_members(document: Document, place: Place) -> Union:
    """Objects of which some member breaks one of them."""
    group = _group(document, place)
    found = [
        Objects((Group(((name, value),), seen=False),), (name,))
        for name, value in _negated(group.names)
        if value != FALSE
    ]
    for languages, value in _negated(group.patterns):
        if value != FALSE:
            found.append(Objects(some=(Some(value, within=languages),)))
    for _, value in _negated([("", group.others)] if group.others is not None else []):
        if value != FALSE:
            names = frozenset(name for name, _ in group.names)
            found.append(Objects(some=(Some(value, None, names, tuple(languages for languages, _ in group.patterns)),)))
    return Union(objects=tuple(found))


def _negated(pairs: Iterable[tuple[Any, Demand]]) -> list[tuple[Any, Demand]]:
    return [(key, negation(value)) for key, value in pairs]


def negation(value: Demand) -> Demand:
    """The demand that a demand of at most one schema is not met."""
    if not value:
        return FALSE
    ((place, held),) = value
    return demand(place, not held)


def _required(place: Place) -> list[str]:
    names = place.schema["required"]
    if isinstance(names, bool):  # draft 3 has it beside the member
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SchemaError("it must be a list of names", keyword="required", path=place.path)
    return names


def absent(name: str) -> Objects:
    """Objects without a member of this name."""
    return Objects((Group(((name, FALSE),), seen=False),))


def _counted(keyword: str) -> Callable[[Document, Place], Union]:
    def counted(_document: Document, place: Place) -> Union:
        number = count(place, keyword)
        if keyword.endswith("Items"):
            return _arrays(Arrays(least=number) if keyword == "minItems" else Arrays(most=number))
        return _objects(Objects(least=number) if keyword == "minProperties" else Objects(most=number))

    return counted


def _miscounted(keyword: str) -> Callable[[Document, Place], Union]:
    def miscounted(_document: Document, place: Place) -> Union:
        number = count(place, keyword)
        if keyword.startswith("min"):
            if number == 0:
                return NOTHING
            most = number - 1
            return Union(arrays=(Arrays(most=most),)) if keyword == "minItems" else Union(objects=(Objects(most=most),))
        least = number + 1
        return Union(arrays=(Arrays(least=least),)) if keyword == "maxItems" else Union(objects=(Objects(least=least),))

    return miscounted


def _array(document: Document, place: Place) -> Arrays:
    schema = place.schema
    tuple_keyword, rest = "prefixItems", _others(document, place, "items") if not _listed(schema) else None
    if place.draft < 2020 or _listed(schema) or ("additionalItems" in schema and "prefixItems" not in schema):
        tuple_keyword = "items" if _listed(schema) else ""
        rest = _others(document, place, "additionalItems" if tuple_keyword else "items")
    first: tuple[Demand, ...] = ()
    if tuple_keyword and tuple_keyword in schema:
        listed = expect(place, tuple_keyword, list, "a list of schemas")
        first = tuple(demand(document.child(place, tuple_keyword, at)) for at in range(len(listed)))
    return Arrays(first, rest or (), seen=len(first) if rest is None else None)


def _listed(schema: dict[str, Any]) -> bool:
    return isinstance(schema.get("items"), list)


def items(document: Document, place: Place) -> Union:
    """`prefixItems`, `items` and `additionalItems`, by the dialect."""
    return _arrays(_array(document, place))


def other_items(document: Document, place: Place) -> Union:
    shape = _array(document, place)
    found: list[Arrays] = []
    for at, value in enumerate(shape.first):
        broken = negation(value)
        if broken != FALSE:
            found.append(Arrays(((),) * at + (broken,), least=at + 1, seen=0))
    if shape.rest == FALSE:
        found.append(Arrays(least=len(shape.first) + 1, seen=0))
    elif shape.rest and not shape.first:
        found.append(Arrays(contains=((negation(shape.rest), 1, None),), seen=0))
    elif shape.rest:
        raise Beyond("items", place, "that an item after the first ones breaks a schema cannot be put into a grammar")
    return Union(arrays=tuple(found))


def contains(document: Document, place: Place) -> Union:
    if "contains" not in place.schema:
        return ANYTHING
    value = demand(document.child(place, "contains"))
    least = count(place, "minContains") if "minContains" in place.schema else 1
    most = count(place, "maxContains") if "maxContains" in place.schema else None
    if most is not None and most < least:
        return dataclasses.replace(ANYTHING, arrays=())
    if not value:  # any item counts
        return _arrays(Arrays(least=least, most=most))
    return _arrays(Arrays(contains=((value, least, most),)))


def no_contains(document: Document, place: Place) -> Union:
    if "contains" not in place.schema:
        return NOTHING
    value = demand(document.child(place, "contains"))
    least = count(place, "minContains") if "minContains" in place.schema else 1
    most = count(place, "maxContains") if "maxContains" in place.schema else None
    found = [Arrays(contains=((value, 0, least - 1),))] if least > 1 else []
    if least == 1:
        found = [Arrays(rest=negation(value), seen=0)] if value else [Arrays(most=0)]
    if most is not None:
        found.append(Arrays(contains=((value, most + 1, None),)))
    return Union(arrays=tuple(found))


def unique(_document: Document, place: Place) -> Union:
    if not expect(place, "uniqueItems", bool, "true or false"):
        return ANYTHING
    return _arrays(Arrays(unique=True))


def not_unique(_document: Document, place: Place) -> Union:
    if not expect(place, "uniqueItems", bool, "true or false"):
        return NOTHING
    raise Beyond("uniqueItems", place, "that two items are equal cannot be put into a grammar")


def required(_document: Document, place: Place) -> Union:
    names = _required(place)
    return _objects(Objects(required=tuple(dict.fromkeys(names)))) if names else ANYTHING


def not_required(_document: Document, place: Place) -> Union:
    return Union(objects=tuple(absent(name) for name in _required(place)))


def property_names(document: Document, place: Place) -> Union:
    return _objects(Objects(keys=demand(document.child(place, "propertyNames"))))


def other_property_names(document: Document, place: Place) -> Union:
    value = demand(document.child(place, "propertyNames"))
    if value == FALSE:
        return Union(objects=(Objects(least=1),))
    if not value:
        return NOTHING
    raise Beyond("propertyNames", place, "that some name breaks a schema cannot be put into a grammar")


def dependencies(document: Document, place: Place, keyword: str) -> list[tuple[str, list[str] | Place]]:
    """What each member requires to be there too: names, or a schema for the whole object."""
    found: list[tuple[str, list[str] | Place]] = []
    for name, value in expect(place, keyword, dict, "an object").items():
        if isinstance(value, str):  # draft 3
            found.append((name, [value]))
        elif isinstance(value, list):
            if not all(isinstance(other, str) for other in value):
                raise SchemaError("it must list names", keyword=keyword, path=place.path)
            found.append((name, value))
        else:
            found.append((name, document.child(place, keyword, name)))
    return found


def evaluated(union: Union, objects: Demand | None, arrays: Demand | None) -> Union:
    """`union` with demands on members and items that no part of it has looked at."""
    shapes, lists = union.objects, union.arrays
    if objects is not None:
        shapes = tuple(_with_unseen(shape, objects) for shape in shapes)
    if arrays is not None:
        lists = tuple(
            shape
            if shape.seen is None
            else Arrays(
                tuple(value if at < shape.seen else both(value, arrays) for at, value in enumerate(shape.first))
                + ((),) * max(0, shape.seen - len(shape.first)),
                both(shape.rest, arrays),
                shape.least,
                shape.most,
                shape.contains,
                shape.unique,
                None,
            )
            for shape in lists
        )
    return dataclasses.replace(union, objects=shapes, arrays=lists)


def _with_unseen(shape: Objects, value: Demand) -> Objects:
    seen = [group for group in shape.groups if group.seen]
    if any(group.others is not None for group in seen):
        return shape
    names = dict.fromkeys(name for group in seen for name, _ in group.names)
    patterns = dict.fromkeys(languages for group in seen for languages, _ in group.patterns)
    group = Group(tuple((name, ()) for name in names), tuple((languages, ()) for languages in patterns), value)
    return dataclasses.replace(shape, groups=(*shape.groups, group))


def member(shape: Objects, name: str) -> Demand:
    """All that is demanded of the member of this name."""
    result: Demand = ()
    for group in shape.groups:
        found = [value for own, value in group.names if own == name]
        found += [value for languages, value in group.patterns if has(languages, name)]
        if not found and group.others is not None:
            found = [group.others]
        for value in found:
            result = both(result, value)
    return FALSE if FALSE[0] in result else result


def has(languages: tuple[Language, ...], text: str) -> bool:
    return any(language.has(text) for language in languages)


Handler = Callable[[Document, Place], Union]

_HOLDS: dict[str, Handler] = {
    "members": members,
    "items": items,
    "contains": contains,
    "uniqueItems": unique,
    "required": required,
    "propertyNames": property_names,
    "minItems": _counted("minItems"),
    "maxItems": _counted("maxItems"),
    "minProperties": _counted("minProperties"),
    "maxProperties": _counted("maxProperties"),
}

_BREAKS: dict[str, Handler] = {
    "members": other_members,
    "items": other_items,
    "contains": no_contains,
    "uniqueItems": not_unique,
    "required": not_required,
    "propertyNames": other_property_names,
    "minItems": _miscounted("minItems"),
    "maxItems": _miscounted("maxItems"),
    "minProperties": _miscounted("minProperties"),
    "maxProperties": _miscounted("maxProperties"),
}


def holds(keyword: str) -> Handler | None:
    """What the values are for which a keyword (or group of keywords) of these kinds holds."""
    return _HOLDS.get(keyword)


def breaks(keyword: str) -> Handler | None:
    """What the values are for which it does not."""
    return _BREAKS.get(keyword)


def union_of(*objects: Objects) -> Union:
    return join([Union(objects=objects)])
