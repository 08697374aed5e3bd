"""Values without parts, and names of members, as terminals.

Not for: arrays and objects (``schema_arrays.py``, ``schema_objects.py``).
"""

from __future__ import annotations

import json
from decimal import Decimal

from llama_bind.structured import schema_numbers as decimals
from llama_bind.structured.schema_document import Beyond
from llama_bind.structured.schema_grammar import Expr, Grammar, literal
from llama_bind.structured.schema_languages import Language, json_regex
from llama_bind.structured.schema_patterns import ANY
from llama_bind.structured.schema_shapes import Numbers, Strings

__all__ = ["Leaves", "any_of", "quoted"]

MAX_STEP = 10_000
"""Of multipleOf, without its point: every remainder is a state."""

_CHAR = r'(?:[^\x00-\x1f"\\]|\\["\\nrtbf])'
_SURROGATES = r"[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_FREE_CHAR = (
    r'(?:[^\x00-\x1f"\\]|\\["\\\/nrtbf]|\\u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
    rf"|{_SURROGATES}))"
)
"""A character in any of its spellings, where nothing is said about which it is."""


def quoted(value: str) -> str:
    """A string as JSON writes it."""
    return json.dumps(value, ensure_ascii=False)


class Leaves:
    """Terminals of one grammar. `doubtful`: those that may match nothing; whoever finishes the grammar finds out."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.doubtful: dict[str, str] = {}

    def _terminal(self, definition: str, doubtful: bool) -> Expr:
        expr = self.grammar.terminal(definition)
        if doubtful:
            self.doubtful[expr[1]] = definition
        return expr

    def listed(self, texts: list[str]) -> Expr:
        """One of these texts, as they are written."""
        return self.grammar.terminal(" | ".join(map(literal, texts)))

    def strings(self, shape: Strings) -> Expr:
        if shape.only is not None:
            return self.listed([quoted(text) for text in shape.only])
        least, most = shape.least, shape.most
        if not (shape.holds or shape.breaks or shape.never):
            return self.grammar.terminal(f'/"{_FREE_CHAR}{_counts(least, most)}"/')
        doubtful = len(shape.holds) > 1 or bool(shape.breaks) or shape.least > 0 or shape.most is not None
        return self._terminal(self._string(shape), doubtful)

    def name(self, shapes: tuple[Strings, ...], taken: list[str], has: list[Languages], lacks: list[Languages]) -> Expr:
        """A name of a member: of one of `shapes`, none of `taken`, with all patterns of `has` and none of `lacks`."""
        shape = Strings(holds=tuple(has), breaks=tuple(lacks))
        options = [met for allowed in shapes if (met := allowed.meet(shape)) is not None]
        if all(met.only is not None for met in options):
            left = [text for met in options for text in met.only or () if text not in taken]
            return self.listed([quoted(text) for text in left]) if left else ("alt", ())
        texts = [self._string(met, taken) for met in options]
        return self._terminal(" | ".join(f"({text})" for text in texts) if len(texts) > 1 else texts[0], True)

    def _string(self, shape: Strings, taken: list[str] | tuple[str, ...] = ()) -> str:
        """The characters have one spelling here, so that what is said of a text can be said of its form in JSON."""
        if shape.only is not None:
            return " | ".join(literal(quoted(text)) for text in shape.only if text not in taken) or "/[a&&b]/"
        parts = [any_of(languages) for languages in shape.holds]
        if shape.least or shape.most is not None or not parts:
            parts.append(f'/"{_CHAR}{_counts(shape.least, shape.most)}"/')
        parts += [f"~{any_of(languages)}" for languages in shape.breaks]
        if never := [*sorted(shape.never), *taken]:
            parts.append(f"~({' | '.join(literal(quoted(text)) for text in never)})")
        return " & ".join(parts)

    def numbers(self, shape: Numbers) -> Expr:
        if shape.multiples:
            return self._multiples(shape)
        bounds = []
        if shape.low is not None:
            bounds.append(f"/{decimals.above(shape.low, shape.open_low)}/")
        if shape.high is not None:
            bounds.append(f"/{decimals.below(shape.high, shape.open_high)}/")
        if shape.integer is True:
            base = decimals.ANY_INTEGER
        elif shape.integer is False:
            base = decimals.FRACTIONAL
        else:
            base = decimals.DECIMAL if bounds else decimals.ANY_NUMBER
        return self._terminal(" & ".join([f"/{base}/", *bounds]), len(bounds) > 1)

    def _multiples(self, shape: Numbers) -> Expr:
        """Multiples as llguidance writes them, where its arithmetic is exact."""
        step = decimals.common_step(shape.multiples)
        if shape.integer:
            step = Decimal(decimals.common_step((step, Decimal(1))))
        if shape.integer is False:
            raise Beyond("multipleOf", None, "multiples that are no integers cannot be put into a grammar")
        whole = step == step.to_integral_value()
        schema: dict[str, object] = {"type": "integer" if whole else "number", "multipleOf": _exact(step, "multipleOf")}
        if not _same_step(step) or step.scaleb(_digits(step)) > MAX_STEP:
            raise Beyond("multipleOf", None, f"multiples of {step} cannot be put into a grammar")
        if shape.low is not None:
            schema["exclusiveMinimum" if shape.open_low else "minimum"] = _exact(shape.low, "minimum")
        if shape.high is not None:
            schema["exclusiveMaximum" if shape.open_high else "maximum"] = _exact(shape.high, "maximum")
        schema["x-guidance"] = {"whitespace_flexible": False}
        return ("json", json.dumps(schema))


Languages = tuple[Language, ...]


def _counts(least: int, most: int | None) -> str:
    if least == 0 and most is None:
        return "*"
    return f"{{{least},{'' if most is None else most}}}"


def _language(language: Language) -> str:
    inside = language.inside or (ANY,)
    parts = [f'/"{json_regex(node)}"/' for node in inside] + [f'~/"{json_regex(node)}"/' for node in language.outside]
    return parts[0] if len(parts) == 1 else f"({' & '.join(parts)})"


def any_of(languages: Languages) -> str:
    """The regular expression, in Lark, of the strings that some of the languages has, quotes included."""
    return _language(languages[0]) if len(languages) == 1 else f"({' | '.join(map(_language, languages))})"


def _exact(value: Decimal, keyword: str) -> int | float:
    """The number as the double that stands for it."""
    if value == value.to_integral_value() and abs(value) <= 2**53:
        return int(value)
    if Decimal(repr(float(value))) != value:
        raise Beyond(keyword, None, f"{value} has more digits than a double together with multipleOf")
    return float(value)


def _digits(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _same_step(step: Decimal) -> bool:
    """Whether llguidance, which scales doubles by ten until nothing is left behind the point, gets this number."""
    value, digits = float(step), 0
    while value % 1 and digits < 20:
        value *= 10
        digits += 1
    return value < 2**32 and Decimal(int(value)).scaleb(-digits) == step
