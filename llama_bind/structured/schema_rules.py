"""From demands to a grammar: one rule for each demand that can be reached, so that schemas may refer to themselves.

Not for: what keywords mean (``schema_expander.py``).
"""

from __future__ import annotations

from collections.abc import Hashable

from llama_bind.errors import SchemaError
from llama_bind.structured import schema_arrays, schema_objects
from llama_bind.structured.schema_document import Beyond, Place, demand
from llama_bind.structured.schema_expander import Expander
from llama_bind.structured.schema_grammar import Expr, Grammar, alt, rule, text
from llama_bind.structured.schema_leaves import Leaves, quoted
from llama_bind.structured.schema_members import negation
from llama_bind.structured.schema_numbers import plain
from llama_bind.structured.schema_shapes import Demand, Numbers, Union

__all__ = ["Rules"]

MAX_RULES = 20_000
_SPACE = r"[ \t\r\n]{0,40}"


class Rules:
    """The grammar of one schema.

    Args:
        expander: Of its document.
        prefix: Begins all names.
        whitespace, members: See `compile_schema`.
    """

    def __init__(self, expander: Expander, prefix: str, whitespace: str, members: str) -> None:
        self.expander = expander
        self.members = members
        self.grammar = Grammar(prefix)
        self.leaves = Leaves(self.grammar)
        self.raw: list[str] = []
        self._parametric: dict[Hashable, str] = {}
        self._waiting: list[Demand] = []
        self._current: Demand = ()
        self._marks(whitespace)

    def _marks(self, whitespace: str) -> None:
        if whitespace != "free":
            self.separator = text(", " if whitespace == "fixed" else ",")
            self.colon = text(": " if whitespace == "fixed" else ":")
            self.open_object, self.close_object = text("{"), text("}")
            self.open_array, self.close_array = text("["), text("]")
            return
        terminal = self.grammar.terminal
        self.separator = terminal(f"/{_SPACE},{_SPACE}/")
        self.colon = terminal(f"/{_SPACE}:{_SPACE}/")
        self.open_object, self.close_object = terminal(rf"/\{{{_SPACE}/"), terminal(rf"/{_SPACE}\}}/")
        self.open_array, self.close_array = terminal(rf"/\[{_SPACE}/"), terminal(rf"/{_SPACE}\]/")

    def leave_out(self, beyond: Beyond) -> None:
        """As `Expander.leave_out`, with the place of the keyword found."""
        place = beyond.place or origin(self.expander, self._current, beyond.keyword)
        self.expander.leave_out(Beyond(beyond.keyword, place, beyond.why))

    def negation(self, wanted: Demand) -> Demand:
        return negation(wanted)

    def value(self, wanted: Demand) -> Expr:
        """The rule for values that meet a demand."""
        wanted = self.expander.direct(wanted)
        if wanted not in self.grammar.rules:
            self.grammar.rules[wanted] = ("alt", ())
            self._waiting.append(wanted)
            if len(self.grammar.rules) > MAX_RULES:
                raise SchemaError(f"the schema takes more than {MAX_RULES} rules")
        return rule(wanted)

    def build(self, root: Demand) -> None:
        """Make the rules of `root` and of all that it needs."""
        self.grammar.rules[root] = self.value(root)
        while self._waiting:
            self._current = self._waiting.pop()
            try:
                self.grammar.rules[self._current] = self._union(self.expander.expand(self._current))
            except Beyond as beyond:
                self.leave_out(beyond)
                self.grammar.rules[self._current] = rule(()) if self._current else self.grammar.rules[()]
                self.value(())

    def _union(self, union: Union) -> Expr:
        options: list[Expr] = []
        plain_texts = ["null"] if union.null else []
        plain_texts += [word for word, value in (("true", True), ("false", False)) if value in union.booleans]
        plain_texts += [plain(shape.low) for shape in union.numbers if shape.low is not None and point(shape)]
        if plain_texts:
            options.append(self.leaves.listed(plain_texts))
        options += [self.leaves.numbers(shape) for shape in union.numbers if not point(shape)]
        options += [self.leaves.strings(shape) for shape in union.strings]
        options += [schema_arrays.array(self, shape) for shape in union.arrays]
        options += [schema_objects.obj(self, shape) for shape in union.objects]
        return alt(options)

    def finite(self, wanted: Demand) -> list[str] | None:
        """All values of a demand as they are written, where they have no parts and are few; else None."""
        union = self.expander.expand(wanted)
        if union.arrays or union.objects or not all(map(point, union.numbers)):
            return None
        texts = ["null"] if union.null else []
        texts += [word for word, value in (("true", True), ("false", False)) if value in union.booleans]
        texts += [plain(shape.low) for shape in union.numbers if shape.low is not None]
        for shape in union.strings:
            if shape.only is None:
                return None
            texts += [quoted(one) for one in shape.only]
        return list(dict.fromkeys(texts))

    def parametric(self, key: Hashable) -> str:
        """The name of a rule with a parameter, which goes into `raw`."""
        return self._parametric.setdefault(key, f"{self.grammar.prefix}_u{len(self._parametric)}")

    def grammar_name(self, expr: Expr) -> str:
        """An expression of one word, as it is written."""
        return expr[1] if expr[0] == "term" else self.grammar._written(expr, {}, [], {})

    def write(self, root: Demand) -> str:
        written = self.grammar.write(root)
        if self.raw:
            defined = {name: f"{name}: {definition}\n" for definition, name in self.grammar.terminals.items()}
            if self.separator[0] == "term" and defined[self.separator[1]] not in written:
                written += defined[self.separator[1]]
            written += "\n".join(self.raw) + "\n"
        return written


def point(shape: Numbers) -> bool:
    return shape.low is not None and shape.low == shape.high


def origin(expander: Expander, wanted: Demand, keyword: str) -> Place | None:
    """The schema among those of a demand, and those that they apply to the same value, that has a keyword."""
    waiting: list[Place] = [place for place, _ in wanted]
    seen: set[int] = set()
    for place in waiting:  # grows on the way
        schema = place.schema
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        if keyword in schema:
            return place
        document = expander.document
        for inner in ("not", "if", "then", "else"):
            if inner in schema:
                waiting.append(document.child(place, inner))
        for inner in ("allOf", "anyOf", "oneOf"):
            waiting += [document.child(place, inner, at) for at in range(len(schema.get(inner, ())))]
        if "$ref" in schema:
            waiting.append(document.follow(place, "$ref"))
    first: Place | None = wanted[0][0] if wanted else None
    return first


def whole(expander: Expander) -> Demand:
    """The demand that the document's schema holds."""
    return demand(expander.document.root)
