"""Random walks through the grammars of tool formats: what a constrained model might write, at its most perverse.

Not for: reading what was written (the tests do that with the format's own parser).
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence

import numpy as np

from llama_bind.chat.tools.base import Tool, ToolFormat, ToolGrammar
from llama_bind.structured.compiled import Grammars
from llama_bind.structured.spec import Spec
from llama_bind.structured.tokenizer import Tokenizer, Vocabulary

__all__ = ["TOOLS", "Walker", "tool_spec"]

_WORDS = ("</", "the ", '": "', "{}", "\\n", "\n", "</p>", "é", "true", "null", "12", "name", "<b>", "]", '"}', "']")

_CLOSING = frozenset(b'"}])')

TOOLS = (
    Tool("get_time", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}),
    Tool(
        "set-many",
        {
            "type": "object",
            "properties": {
                "count": {"type": "integer"},
                "ratio": {"type": "number"},
                "on": {"type": "boolean"},
                "unit": {"enum": ["c", "f"]},
                "note": {"type": ["string", "null"]},
            },
            "required": ["count"],
            "additionalProperties": False,
        },
    ),
    Tool(
        "nested.call",
        {
            "type": "object",
            "properties": {
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
                "place": {
                    "type": "object",
                    "properties": {"x": {"type": "integer"}, "label": {"type": "string"}},
                    "required": ["x"],
                    "additionalProperties": False,
                },
            },
            "required": ["tags", "place"],
            "additionalProperties": False,
        },
    ),
    Tool("nothing", {"type": "object", "properties": {}, "additionalProperties": False}),
    Tool(
        "referring",
        {
            "type": "object",
            "$defs": {"size": {"type": "integer", "minimum": 0}},
            "properties": {
                "size": {"$ref": "#/$defs/size"},
                "sizes": {"type": "array", "items": {"$ref": "#/$defs/size"}},
            },
            "required": ["sizes"],
            "additionalProperties": False,
        },
    ),
    Tool("optional", {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "boolean"}}}),
)
"""Arguments of every kind: text, numbers, choices, unions, lists, objects, none, optional ones only."""


def tool_spec(grammar: ToolGrammar) -> Spec:
    """The demand that a grammar makes from its beginning on."""
    return Spec(lark=grammar.rules, start=grammar.start, markers=tuple(grammar.markers.items()), kind="tools")


@dataclasses.dataclass
class Walker:
    """A vocabulary of bytes, some words, and a format's markers, and grammars over it.

    Attributes:
        form: The format.
        control: Whether its markers are control tokens; else they are text.
    """

    form: ToolFormat
    control: bool

    def __post_init__(self) -> None:
        marks = list(dict.fromkeys(self.form.markers)) if self.control else []
        self.pieces = [bytes([value]) for value in range(256)] + [word.encode() for word in _WORDS]
        # Ends of values, which single bytes would hardly ever come to.
        self.pieces += [text.encode() for text in _ends(self.form) if text.encode() not in self.pieces]
        first = len(self.pieces)
        self.pieces += [mark.encode() for mark in marks]
        self.end = len(self.pieces)
        self.pieces.append(b"<|the-end|>")
        special = {mark: first + number for number, mark in enumerate(marks)}
        vocabulary = Vocabulary(
            n_tokens=len(self.pieces),
            pieces=lambda: self.pieces,
            control=frozenset((*special.values(), self.end)),
            ends=frozenset((self.end,)),
            tokenize=lambda text, _: list(text.encode()),
        )
        self.grammars = Grammars(Tokenizer(vocabulary))

    def walk(self, grammar: ToolGrammar, seed: int, most: int = 400) -> tuple[str, bool]:
        """What may be written, and whether it is complete."""
        matcher = self.grammars.get(tool_spec(grammar))
        rng = random.Random(seed)
        written: list[bytes] = []
        for step in range(most):
            mask = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
            allowed = np.flatnonzero(mask[: len(self.pieces)]).tolist()
            assert allowed, (grammar.rules, b"".join(written))
            token = self._choose(allowed, rng, hurry=step > most // 4)
            if token == self.end:
                return b"".join(written).decode("utf-8"), True
            assert matcher.consume_token(token), matcher.get_error()
            written.append(self.pieces[token])
            if matcher.is_stopped():
                return b"".join(written).decode("utf-8"), True
        return b"".join(written).decode("utf-8", "ignore"), False

    def _choose(self, allowed: Sequence[int], rng: random.Random, *, hurry: bool) -> int:
        """Any allowed token, but no bytes that are not text; in a `hurry` one that ends something."""
        if self.end in allowed and rng.random() < (0.9 if hurry else 0.4):
            return self.end
        long = [token for token in allowed if token >= 256 and token != self.end]
        ends = [token for token in long if token >= 256 + len(_WORDS)] + [byte for byte in allowed if byte in _CLOSING]
        if ends and (hurry or rng.random() < 0.2):
            return rng.choice(ends)
        plain = [token for token in allowed if 32 <= token < 127 or token == 10]
        if long and (not plain or rng.random() < 0.3):
            return rng.choice(long)
        return rng.choice(plain or list(allowed))


def _ends(form: ToolFormat) -> list[str]:
    rules = form.grammar(TOOLS, required=True, parallel=True).rules
    found = []
    for part in rules.split("[suffix=")[1:]:
        found.append(json.JSONDecoder().raw_decode(part)[0])
    return list(dict.fromkeys(found))
