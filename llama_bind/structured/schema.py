"""JSON Schemas as grammars: every text of the grammar is JSON that the schema holds for.

In strict use what cannot be put into a grammar is a `SchemaError`. Else the rest is enforced, and `Compiled.unchecked`
says which keywords were left to a check of the result (``schema_check.py``).
Members come in the order in which the schema names them, numbers without needless forms, every text in JSON's shortest
spelling where the schema says something about it, and an object whose schema names members and is silent about others
has no others: the grammar is narrower than the schema in these ways only.
Not for: compiling grammars (``compiled.py``), or what a caller gives as ``response_format``.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import threading
from collections import OrderedDict
from typing import Any, Literal

from llama_bind.errors import InputError, SchemaError
from llama_bind.structured.schema_document import Beyond, Document, demand, read
from llama_bind.structured.schema_empty import empty_terminals
from llama_bind.structured.schema_expander import Expander
from llama_bind.structured.schema_rules import Rules

__all__ = ["Compiled", "Formats", "Members", "Unchecked", "Whitespace", "compile_schema"]

Whitespace = Literal["fixed", "compact", "free"]
Formats = Literal["known", "ignore", "required"]
Members = Literal["named", "any"]

MAX_KEPT = 128


@dataclasses.dataclass(frozen=True)
class Unchecked:
    """A keyword that is not enforced: `path` is the JSON pointer of the schema it stands in, `why` words."""

    keyword: str
    path: str
    why: str


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A schema as Lark: `rules`, of which the first is named `start`; `unchecked` what they do not enforce."""

    rules: str
    start: str
    unchecked: tuple[Unchecked, ...] = ()


_kept: OrderedDict[tuple[str, ...], Compiled | SchemaError] = OrderedDict()
_lock = threading.Lock()


def compile_schema(
    schema: Any,
    *,
    whitespace: Whitespace = "fixed",
    strict: bool = True,
    formats: Formats = "known",
    members: Members = "named",
    prefix: str = "json",
) -> Compiled:
    """The grammar of a JSON Schema.

    Args:
        schema: A mapping, True, False, or JSON text; drafts 4 to 2020-12, by ``$schema``.
        whitespace: "fixed": ``, `` between members and items and ``: `` after names; "compact": ``,`` and ``:``;
            "free": any whitespace, up to 40 characters at a place.
        strict: Whether what cannot be enforced is an error.
        formats: "known": formats that are known here are enforced, others are only words; "ignore": all are;
            "required": unknown ones are errors.
        members: "named": an object whose schema names members and says nothing about others (no additionalProperties or
            the like) has none but those, for a model that may add some seldom stops in time; "any": as the standard.
        prefix: Begins the names of all rules, in lower case; give each schema of one grammar its own.

    Raises:
        SchemaError: no schema; nothing can meet it; it is too large; in strict use, a keyword that no grammar can
            enforce.
    """
    for name, value, known in (
        ("whitespace", whitespace, ("fixed", "compact", "free")),
        ("formats", formats, ("known", "ignore", "required")),
        ("members", members, ("named", "any")),
    ):
        if value not in known:
            raise InputError(f"{name} is one of {', '.join(known)}, not {value!r}", param=name)
    document = read(schema)
    key = (json.dumps(document, default=str), whitespace, str(strict), formats, members, prefix)
    with _lock:
        found = _kept.get(key)
        if found is not None:
            _kept.move_to_end(key)
    if found is None:
        try:
            found = _compiled(document, whitespace, strict, formats, members, prefix)
        except SchemaError as error:
            found = error
        with _lock:
            _kept[key] = found
            while len(_kept) > MAX_KEPT:
                _kept.popitem(last=False)
    if isinstance(found, SchemaError):
        raise copy.copy(found).with_traceback(None)  # whoever catches it says which option it was about
    return found


def _compiled(document: Any, whitespace: str, strict: bool, formats: str, members: str, prefix: str) -> Compiled:
    expander = Expander(Document(document), formats=formats, strict=strict)
    rules = Rules(expander, prefix, whitespace, members)
    root = demand(expander.document.root)
    try:
        rules.build(root)
        rules.grammar.empty = _empty(rules)
    except Beyond as beyond:
        raise beyond.error() from None
    except RecursionError:
        raise SchemaError("its references lead too deep") from None
    rules.grammar.prune()
    if root not in rules.grammar.rules and members == "named":  # what it names cannot be there: others must
        return _compiled(document, whitespace, strict, formats, "any", prefix)
    if root not in rules.grammar.rules:
        raise SchemaError("no value can meet it: its parts contradict each other, or it needs itself without end")
    unchecked = dict.fromkeys(
        Unchecked(beyond.keyword, beyond.place.path if beyond.place else "", beyond.why) for beyond in expander.beyond
    )
    return Compiled(rules.write(root), prefix, tuple(unchecked))


def _empty(rules: Rules) -> set[str]:
    try:
        return empty_terminals(rules.leaves.doubtful)
    except Beyond as beyond:
        rules.leave_out(beyond)
        return set()
