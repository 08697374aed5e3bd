"""What a grammar may cost: refused before llguidance sees it where that would overflow its stack or take minutes.

llguidance bounds nesting, the fuel of its lexer and the items of its parser itself. It follows references between
rules (and ``$ref`` in JSON schemas) with recursion, a few kilobytes of stack for each, and takes time quadratic in the
number of symbols: these are counted here. Not for: grammar errors (``compiled``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from llama_bind.errors import GrammarError

if TYPE_CHECKING:
    from llguidance import LLParserLimits

__all__ = ["MAX_CHAIN", "MAX_ITEMS", "MAX_LITERAL", "MAX_TEXT", "check", "literal", "native"]

MAX_TEXT = 1 << 20
"""Most characters of a grammar."""
MAX_LITERAL = 1 << 16
"""Most characters of one string or pattern: what must be written is tokenized as a whole."""
MAX_CHAIN = 250
"""Most rules that refer to each other in a chain."""
MAX_ITEMS = 40_000
"""Most rules and different strings and patterns in them, terminals not counted; some seconds to compile."""

_TOKENS = re.compile(
    r"""(?P<skip>[ \t\r]+|//[^\n]*|\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"i?)
      | (?P<regex>/(?:\\.|[^/\\\n])+/[imslux]*)
      | (?P<special><[^\n<>]*>)
      | (?P<json>%(?:json|regex|llguidance))
      | (?P<name>[@%]?[A-Za-z_][A-Za-z0-9_-]*)
      | (?P<end>\n)
      | (?P<mark>.)""",
    re.VERBOSE,
)
_DEFINITION = re.compile(r"[?!]?(?P<name>[A-Za-z_][A-Za-z0-9_-]*)(?:\.-?\d+)?(?:\s*\[[^\]\n]*\])?\s*(?:::)?\s*:")


def native(wide: bool) -> LLParserLimits:
    """The limits of llguidance itself; `wide` for grammars that take more steps: of single characters, or of
    objects with hundreds of members that may all come next.
    """
    from llguidance import LLParserLimits

    if wide:
        return LLParserLimits(step_max_items=1_000_000, max_items_in_row=10_000, verbose_errors=False)
    return LLParserLimits(verbose_errors=False)


def literal(text: str) -> str:
    """A string of a grammar that stands for `text`."""
    return json.dumps(text)


def check(text: str) -> None:
    """Look at a grammar in llguidance's Lark.

    Raises:
        GrammarError: it is too long, or its rules are too many or too deep.
    """
    if len(text) > MAX_TEXT:
        raise GrammarError(f"the grammar has {len(text)} characters; the most is {MAX_TEXT}")
    if "\0" in text:
        raise GrammarError("the grammar has a NUL character; remove it, or write \\x00 in a pattern")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise GrammarError("the grammar has a lone surrogate, which UTF-8 cannot hold; remove it") from None
    references, items = _references(text)
    if items > MAX_ITEMS:
        raise GrammarError(
            f"the grammar has {items} rules and strings in them; the most is {MAX_ITEMS}: put alternatives that are "
            "plain text into a terminal (a name in capital letters)"
        )
    depth = _depth(references)
    if depth > MAX_CHAIN:
        raise GrammarError(f"{depth} rules refer to each other in a chain; the most is {MAX_CHAIN}")


def _references(text: str) -> tuple[dict[str, list[str]], int]:
    """Rules and the names in each, and how many rules and different strings in them there are."""
    references: dict[str, list[str]] = {}
    current: list[str] = references.setdefault("", [])
    items: set[str] = set()
    terminal, at_start, position = False, True, 0
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None:
            break
        if at_start and (defined := _DEFINITION.match(text, position)) is not None:
            name = defined.group("name")
            current, terminal = references.setdefault(name, []), name.upper() == name
            if not terminal:
                items.add(name)
            position, at_start = defined.end(), False
            continue
        kind, position = match.lastgroup, match.end()
        if kind in ("string", "regex") and position - match.start() > MAX_LITERAL:
            raise GrammarError(f"a string of the grammar is longer than {MAX_LITERAL} characters")
        if kind == "json":
            position = _json(text, position, references, current)
        elif kind == "name":
            current.append(match.group())
        if kind in ("string", "regex", "special") and not terminal:
            items.add(match.group())
        at_start = kind == "end" or (at_start and kind == "skip")
    return references, len(items)


def _json(text: str, position: int, references: dict[str, list[str]], current: list[str]) -> int:
    """Read the JSON of a ``%json`` and note what its references refer to; the position after it."""
    while position < len(text) and text[position].isspace():
        position += 1
    try:
        value, end = json.JSONDecoder().raw_decode(text, position)
    except RecursionError:
        raise GrammarError("a JSON schema in the grammar nests too deeply") from None
    except ValueError:
        return position  # llguidance says what is wrong with it
    prefix = f"%json {position} "
    current.append(f"{prefix}#")
    references.setdefault(f"{prefix}#", [])
    for place, target in _refs(value):
        references.setdefault(prefix + place, []).append(prefix + target)
    return end


def _refs(root: Any) -> Iterator[tuple[str, str]]:
    """The ``$ref`` of a schema: the place that is referred to in which each stands (``#``: none), and its target."""
    targets = {target for _, _, target in _walk(root, set())}
    for _, owner, target in _walk(root, targets):
        yield owner, target


def _walk(root: Any, targets: set[str]) -> Iterator[tuple[str, str, str]]:
    """Path, the innermost of `targets` that it lies in, and target of each reference, in the order of the text."""
    stack: list[tuple[str, str, Any]] = [("#", "#", root)]
    while stack:
        path, owner, value = stack.pop()
        owner = path if path in targets else owner
        if isinstance(value, Mapping):
            if isinstance(target := value.get("$ref"), str):
                yield path, owner, target
            stack += [(f"{path}/{name}", owner, inner) for name, inner in reversed(list(value.items()))]
        elif isinstance(value, list):
            stack += [(f"{path}/{index}", owner, inner) for index, inner in reversed(list(enumerate(value)))]


def _depth(references: Mapping[str, list[str]]) -> int:
    """The longest way from rule to rule as recursion goes it: each rule is entered once, from where it is met first."""
    deepest = 0
    entered: set[str] = set()
    for root in ("start", *references):  # as llguidance goes
        if root in entered or root not in references:
            continue
        entered.add(root)
        path = [iter(references[root])]
        while path:
            for name in path[-1]:
                if name in references and name not in entered:
                    entered.add(name)
                    path.append(iter(references[name]))
                    break
            else:
                path.pop()
            deepest = max(deepest, len(path))
    return deepest
