"""From demands to shapes: what values meet a conjunction of schemas, each to hold or not to hold.

Every schema is looked at once for each of the two. In strict use the first keyword that no grammar can express ends
it; else that keyword is left out, noted, and the shapes are wider than the schema.
Not for: what is inside of arrays and objects, which stays a demand until the grammar gets there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from llama_bind.errors import SchemaError
from llama_bind.structured import schema_members as members
from llama_bind.structured import schema_scalars as scalars
from llama_bind.structured.schema_document import FALSE, Beyond, Document, Place, demand
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
    meet,
)

__all__ = ["Expander"]

MAX_SHAPES = 600
"""Of one schema. More come of alternatives that multiply: ten `anyOf` of three each, under one `allOf`."""

_FIRST = ("type", "const", "enum")
_LAST = ("unevaluatedProperties", "unevaluatedItems")


class Expander:
    """The shapes of the demands on one document.

    Args:
        formats: See `schema_scalars.format_of`.
        strict: Whether a keyword that cannot be expressed is an error.
    """

    def __init__(self, document: Document, *, formats: str = "known", strict: bool = True) -> None:
        self.document = document
        self.formats = formats
        self.strict = strict
        self.beyond: list[Beyond] = []
        self._unions: dict[tuple[Place, bool], Union | None] = {}
        self._met: dict[Demand, Union] = {}
        self._vacant: dict[Demand, bool] = {}

    def expand(self, wanted: Demand) -> Union:
        """The values that meet a demand.

        Raises:
            SchemaError: a schema is none, or refers to itself without anything between.
            Beyond: in strict use, a keyword cannot be expressed.
        """
        found = self._met.get(wanted)
        if found is None:
            found = ANYTHING
            for place, held in wanted:
                found = self._checked(meet(found, self._one(place, held)), place, "allOf")
            self._met[wanted] = found
        return found

    def direct(self, wanted: Demand) -> Demand:
        """The demand with the targets of schemas that only refer to others in their place."""
        return tuple(dict.fromkeys(self._direct(place, held) for place, held in wanted))

    def _direct(self, place: Place, held: bool) -> tuple[Place, bool]:
        seen = set()
        target = place
        while isinstance(target.schema, dict) and "$ref" in target.schema and target not in seen:
            seen.add(target)
            alone = target.draft <= 7 or not any(
                keyword != "$ref" and self._holding(members.GROUPS.get(keyword, keyword), target) is not None
                for keyword in map(str, target.schema)
            )
            if not alone or any(keyword in target.schema for keyword in _LAST):
                return target, held
            target = self.document.follow(target, "$ref")
        return (place if target in seen else target), held

    def leave_out(self, beyond: Beyond) -> None:
        """Go on without what cannot be expressed, unless that is an error."""
        if self.strict:
            raise beyond
        self.beyond.append(beyond)

    def _one(self, place: Place, held: bool) -> Union:
        key = (place, held)
        if key not in self._unions:
            self._unions[key] = None
            self._unions[key] = self._hold(place) if held else _unseen(self._break(place))
        union = self._unions[key]
        if union is None:
            raise SchemaError(
                "the reference leads back to itself, and to nothing else", keyword="$ref", path=place.path
            )
        return union

    def _checked(self, union: Union, place: Place, keyword: str) -> Union:
        if union.size <= MAX_SHAPES or len(union.numbers) == union.size:
            return union
        self.leave_out(Beyond(keyword, place, f"its alternatives multiply to more than {MAX_SHAPES}"))
        return ANYTHING

    def _hold(self, place: Place) -> Union:
        schema = place.schema
        if isinstance(schema, bool):
            return ANYTHING if schema else NOTHING
        if place.draft <= 7 and "$ref" in schema:  # which then stands alone
            return self._tried("$ref", place, lambda: self._referred(place, "$ref", True))
        result = ANYTHING
        done = set()
        for keyword in (*(k for k in _FIRST if k in schema), *(k for k in schema if k not in _FIRST)):
            name = members.GROUPS.get(keyword, keyword)
            handler = self._holding(name, place)
            if name in done or handler is None:
                continue
            done.add(name)
            result = self._checked(meet(result, self._tried(keyword, place, handler)), place, keyword)
        if any(keyword in schema for keyword in _LAST):
            unseen = [demand(self.document.child(place, keyword)) if keyword in schema else None for keyword in _LAST]
            result = members.evaluated(result, *unseen)
        return result

    def _break(self, place: Place) -> Union:
        schema = place.schema
        if isinstance(schema, bool):
            return NOTHING if schema else ANYTHING
        if place.draft <= 7 and "$ref" in schema:
            return self._tried("$ref", place, lambda: self._referred(place, "$ref", False))
        found = []
        done = set()
        for keyword in schema:
            name = members.GROUPS.get(keyword, keyword)
            handler = self._breaking(name, place)
            if name in done or handler is None:
                continue
            done.add(name)
            found.append(self._tried(keyword, place, handler))
        return self._checked(join(found or [NOTHING]), place, "not")

    def _tried(self, keyword: str, place: Place, handler: Callable[[], Union]) -> Union:
        try:
            return handler()
        except Beyond as beyond:
            self.leave_out(Beyond(beyond.keyword or keyword, beyond.place or place, beyond.why))
            return ANYTHING

    def _holding(self, name: str, place: Place) -> Callable[[], Union] | None:
        """How to find the values for which a keyword holds; None for one that says nothing about them."""
        document = self.document
        if scalar := scalars.holds(name):
            return lambda: scalar(place)
        if part := members.holds(name):
            return lambda: part(document, place)
        if name in ("enum", "const"):
            return lambda: _unseen(scalars.listed(document, place, name, self.expand))
        if name == "format":
            return lambda: scalars.format_of(place, self.formats)
        if name in ("dependencies", "dependentRequired", "dependentSchemas"):
            return lambda: self._depending(place, name, True)
        return self._applicator(name, place, True)

    def _breaking(self, name: str, place: Place) -> Callable[[], Union] | None:
        document = self.document
        if scalar := scalars.breaks(name):
            return lambda: scalar(place)
        if part := members.breaks(name):
            return lambda: part(document, place)
        if name in ("enum", "const"):
            return lambda: scalars.unlisted(document, place, name, self.expand)
        if name in ("dependencies", "dependentRequired", "dependentSchemas"):
            return lambda: self._depending(place, name, False)
        if name in _LAST:
            return lambda: self._no_unevaluated(place, name)
        return self._applicator(name, place, False)

    def _applicator(self, name: str, place: Place, held: bool) -> Callable[[], Union] | None:
        if name in ("allOf", "anyOf"):
            every = (name == "allOf") == held
            return lambda: self._all(place, name, held) if every else self._any(place, name, held)
        if name == "oneOf":
            return lambda: self._exactly_one(place) if held else self._not_one(place)
        if name == "not":
            return lambda: _unseen(self.expand(demand(self.document.child(place, "not"), not held)))
        if name == "if":
            return lambda: self._conditional(place, held)
        if name in ("$ref", "$dynamicRef", "$recursiveRef"):
            return lambda: self._referred(place, name, held)
        return None

    def _branches(self, place: Place, keyword: str) -> list[Demand]:
        listed = scalars.expect(place, keyword, list, "a list of schemas")
        if not listed:
            raise SchemaError("it must list at least one schema", keyword=keyword, path=place.path)
        return [demand(self.document.child(place, keyword, at)) for at in range(len(listed))]

    def _not(self, wanted: Demand) -> Demand:
        return members.negation(wanted)

    def _all(self, place: Place, keyword: str, held: bool) -> Union:
        result = ANYTHING
        for branch in self._branches(place, keyword):
            result = meet(result, self.expand(branch if held else self._not(branch)))
            result = self._checked(result, place, keyword)
        return result

    def _any(self, place: Place, keyword: str, held: bool) -> Union:
        return join(self.expand(branch if held else self._not(branch)) for branch in self._branches(place, keyword))

    def _exactly_one(self, place: Place) -> Union:
        """`oneOf`: any of the branches without those of the others that it may share values with."""
        branches = self._branches(place, "oneOf")
        found = []
        shared = self._shared(branches)
        for at, branch in enumerate(branches):
            union = self.expand(branch)
            for other in shared[at]:
                union = self._checked(meet(union, self.expand(self._not(branches[other]))), place, "oneOf")
            found.append(union)
        return join(found)

    def _shared(self, branches: list[Demand]) -> list[list[int]]:
        """For each branch the others that are not known to be disjoint from it."""
        shared: list[list[int]] = [[] for _ in branches]
        for at, branch in enumerate(branches):
            for other in range(at):
                if not self.vacant(both(branch, branches[other])):
                    shared[at].append(other)
                    shared[other].append(at)
        return shared

    def _not_one(self, place: Place) -> Union:
        branches = self._branches(place, "oneOf")
        none = ANYTHING
        for branch in branches:
            none = self._checked(meet(none, self.expand(self._not(branch))), place, "oneOf")
        shared = self._shared(branches)
        pairs = [
            both(branches[at], branches[other]) for at in range(len(branches)) for other in shared[at] if other < at
        ]
        return join([none, *(self.expand(pair) for pair in pairs)])

    def _conditional(self, place: Place, held: bool) -> Union:
        schema = place.schema
        if "then" not in schema and "else" not in schema:
            # It can still be seen by unevaluatedProperties; leaving that out is stricter, never wider.
            return ANYTHING if held else NOTHING
        condition = demand(self.document.child(place, "if"))
        found = []
        for keyword, met in (("then", condition), ("else", self._not(condition))):
            outcome = demand(self.document.child(place, keyword)) if keyword in schema else ()
            if not held:
                outcome = self._not(outcome)
            if FALSE not in (met, outcome):
                found.append(meet(self.expand(met), self.expand(outcome)))
        return join(found or [NOTHING])

    def _referred(self, place: Place, keyword: str, held: bool) -> Union:
        follow = self.document.follow if keyword == "$ref" else self.document.dynamic
        wanted = demand(follow(place, keyword), held)
        return self.expand(wanted)

    def _depending(self, place: Place, keyword: str, held: bool) -> Union:
        result = ANYTHING if held else NOTHING
        for name, needed in members.dependencies(self.document, place, keyword):
            present = Union(objects=(Objects(required=(name,)),))
            if isinstance(needed, Place):
                outcome = self.expand(demand(needed, held))
            elif held:
                outcome = dataclasses.replace(ANYTHING, objects=(Objects(required=tuple(needed)),))
            else:
                outcome = Union(objects=tuple(members.absent(other) for other in needed))
            if held:
                without = dataclasses.replace(ANYTHING, objects=(members.absent(name),))
                # Where the member may be there anyway, the outcome alone is the wider way to write it.
                with_it = outcome if not isinstance(needed, Place) else meet(present, outcome)
                result = self._checked(meet(result, join([without, with_it])), place, keyword)
            else:
                result = join([result, meet(present, outcome)])
        return result

    def _no_unevaluated(self, place: Place, keyword: str) -> Union:
        raise Beyond(keyword, place, "that some value breaks it cannot be put into a grammar")

    def settled(self, shape: Objects) -> list[Objects]:
        """The objects of a shape in which some member must be there, as shapes in which that member has a name.

        A member without a name stays in `some` where any number of names is possible.
        """
        found = [dataclasses.replace(shape, some=())]
        for wanted in shape.some:
            found = [result for one in found for result in self._with(one, wanted)]
        return found

    def _with(self, shape: Objects, wanted: Some) -> list[Objects]:
        names, more = _names(shape)
        found = [dataclasses.replace(shape, some=(*shape.some, wanted))] if more else []
        for name in names:
            if wanted.within is not None:
                fits = members.has(wanted.within, name)
            else:
                fits = name not in wanted.names and not any(members.has(own, name) for own in wanted.patterns)
            if fits:
                met = shape.meet(Objects((Group(((name, wanted.value),), seen=False),), (name,)))
                if met is not None and not self.vacant(members.member(met, name)):
                    found.append(met)
        return found

    def vacant(self, wanted: Demand, depth: int = 0) -> bool:
        """Whether it is known that nothing meets a demand; False where that is not found out."""
        if wanted in self._vacant:
            return self._vacant[wanted]
        if FALSE[0] in wanted:
            return True
        if depth > 6:
            return False
        self._vacant[wanted] = False  # on the way to itself nothing is known
        try:
            union = self.expand(wanted)
        except Beyond:
            del self._vacant[wanted]
            return False
        result = (
            not (union.null or union.booleans or union.numbers or union.strings)
            and all(self._no_array(shape, depth) for shape in union.arrays)
            and all(self._no_object(shape, depth) for shape in union.objects)
        )
        if result or depth == 0:
            self._vacant[wanted] = result
        else:
            del self._vacant[wanted]
        return result

    def _no_array(self, shape: Arrays, depth: int) -> bool:
        return any(self.vacant(shape.item(at), depth + 1) for at in range(min(shape.least, len(shape.first) + 1)))

    def _no_object(self, shape: Objects, depth: int) -> bool:
        if any(self.vacant(members.member(shape, name), depth + 1) for name in shape.required):
            return True
        return bool(shape.some) and depth < 2 and not self.settled(shape)


def _names(shape: Objects) -> tuple[list[str], bool]:
    """The names that are spelled out, and whether members may have others."""
    for group in shape.groups:
        if group.others == FALSE and not group.patterns:
            return [name for name, value in group.names if value != FALSE], False
    return list(dict.fromkeys(name for group in shape.groups for name, value in group.names if value != FALSE)), True


def _unseen(union: Union) -> Union:
    """The union as something that looks at no member and no item (for unevaluatedProperties)."""
    return dataclasses.replace(
        union,
        objects=tuple(
            dataclasses.replace(shape, groups=tuple(dataclasses.replace(group, seen=False) for group in shape.groups))
            for shape in union.objects
        ),
        arrays=tuple(dataclasses.replace(shape, seen=0) for shape in union.arrays),
    )
