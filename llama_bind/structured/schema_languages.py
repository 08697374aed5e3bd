"""What a pattern means for a whole string: which texts hold it, as regular expressions over the text's JSON form.

JSON Schema searches: a pattern may match anywhere unless it is anchored. Grammars match the whole. Conditions on what
follows (`(?=...)`, `(?!...)`) become intersections and complements where they stand at a pattern's edge.
Not for: reading patterns (``schema_patterns.py``).
"""

from __future__ import annotations

import dataclasses
import functools
import unicodedata

from llama_bind.structured.schema_patterns import (
    ANY,
    EMPTY,
    LAST,
    Alt,
    Cat,
    Chars,
    Edge,
    Look,
    Node,
    PatternError,
    Range,
    Rep,
    complement,
    parse,
)

__all__ = ["Language", "json_regex", "languages", "longest", "matches", "shortest"]

MAX_WEIGHT = 50_000
"""Characters of a pattern with its counted repetitions written out."""


@dataclasses.dataclass(frozen=True)
class Language:
    """Texts that are in all of `inside` and in none of `outside`, each a tree without edges and conditions."""

    inside: tuple[Node, ...] = ()
    outside: tuple[Node, ...] = ()

    def has(self, text: str) -> bool:
        return all(matches(node, text) for node in self.inside) and not any(matches(n, text) for n in self.outside)


@functools.lru_cache(1024)
def languages(pattern: str) -> tuple[Language, ...]:
    """A text holds `pattern` exactly when one of these has it.

    Raises:
        PatternError: see `parse`; also for conditions in the middle of a pattern, and patterns that are too large.
    """
    tree = parse(pattern)
    if _weight(tree) > MAX_WEIGHT:
        raise PatternError(f"repetitions that add up to more than {MAX_WEIGHT} characters")
    if not _has(tree, Look):
        return (Language((_searched(tree),)),)
    options = tree.options if isinstance(tree, Alt) else (tree,)
    return tuple(_conditional(option) for option in options)


def _has(node: Node, kind: type[Node]) -> bool:
    if isinstance(node, kind):
        return True
    if isinstance(node, Rep | Look):
        return _has(node.node, kind)
    children = node.parts if isinstance(node, Cat) else node.options if isinstance(node, Alt) else ()
    return any(_has(child, kind) for child in children)


def _weight(node: Node) -> int:
    if isinstance(node, Cat):
        return 1 + sum(map(_weight, node.parts))
    if isinstance(node, Alt):
        return 1 + sum(map(_weight, node.options))
    if isinstance(node, Rep):
        return 1 + _weight(node.node) * max(1, node.low, node.high or 0)
    return 1 + (_weight(node.node) if isinstance(node, Look) else 0)


def _conditional(option: Node) -> Language:
    """One branch that has conditions: at its beginning, its end, or before every character."""
    parts = list(option.parts) if isinstance(option, Cat) else [option]
    inside: list[Node] = []
    outside: list[Node] = []
    start = bool(parts) and isinstance(parts[0], Edge) and not parts[0].end
    if start:
        parts.pop(0)
    while parts and isinstance(parts[0], Look) and parts[0].ahead:
        look = parts.pop(0)
        assert isinstance(look, Look)
        if not start:
            raise PatternError("a condition on what follows, without a '^' before it")
        (outside if look.negative else inside).append(_searched(Cat((Edge(False), look.node))))
    end = bool(parts) and isinstance(parts[-1], Edge) and parts[-1].end
    if end:
        parts.pop()
    while end and parts and isinstance(parts[-1], Look) and not parts[-1].ahead:
        look = parts.pop()
        assert isinstance(look, Look)
        (outside if look.negative else inside).append(_searched(Cat((look.node, Edge(True)))))
    if start and end and len(parts) == 1 and (guarded := _guarded(parts[0])) is not None:
        repeated, never = guarded
        return Language((*inside, repeated), (*outside, Cat((ANY, never, ANY))))
    rest = Cat(tuple(parts))
    if _has(rest, Look):
        raise PatternError("a condition on what precedes or follows, in the middle")
    edges = ((Edge(False),) if start else ()), ((Edge(True),) if end else ())
    return Language((*inside, _searched(Cat((*edges[0], rest, *edges[1])))), tuple(outside))


def _guarded(node: Node) -> tuple[Node, Node] | None:
    """`((?!x).)*` as (`.*`, `x`): before every character a condition that no `x` begins here."""
    if not (isinstance(node, Rep) and isinstance(node.node, Cat) and len(node.node.parts) == 2):
        return None
    look, char = node.node.parts
    if not (isinstance(look, Look) and look.ahead and look.negative and isinstance(char, Chars)):
        return None
    if _has(look.node, Edge) or _has(look.node, Look) or shortest(look.node) == 0:
        return None
    return Rep(char, node.low, node.high), look.node


def _searched(tree: Node) -> Node:
    """The tree of the whole texts in which `tree` can be found."""
    by_edges: dict[tuple[bool, bool], list[Node]] = {}
    for start, node, end in _variants(tree):
        by_edges.setdefault((start, end), []).append(node)
    options: list[Node] = []
    for (start, end), nodes in by_edges.items():
        body = nodes[0] if len(nodes) == 1 else Alt(tuple(nodes))
        options.append(Cat((*(() if start else (ANY,)), body, *(() if end else (ANY,)))))
    if not options:
        return Chars(())  # can match nowhere, as in 'a^'
    return options[0] if len(options) == 1 else Alt(tuple(options))


def _variants(node: Node) -> list[tuple[bool, Node, bool]]:
    """The ways to match without edges inside: (must begin the text, tree, must end the text)."""
    if isinstance(node, Edge):
        return [(not node.end, EMPTY, node.end)]
    if not _has(node, Edge):
        return [(False, node, False)]
    if isinstance(node, Alt):
        return [variant for option in node.options for variant in _variants(option)]
    if isinstance(node, Rep):
        if node.high != 1:
            raise PatternError("a '^' or '$' inside of a repetition")
        return _variants(node.node) + ([(False, EMPTY, False)] if node.low == 0 else [])
    if isinstance(node, Look):
        raise PatternError("a condition on what precedes or follows, in the middle")
    assert isinstance(node, Cat)
    result: list[tuple[bool, Node, bool]] = [(False, EMPTY, False)]
    for part in node.parts:
        result = [
            joined for left in result for right in _variants(part) if (joined := _joined(left, right)) is not None
        ]
        if len(result) > 64:
            raise PatternError("too many combinations of '^' and '$'")
    return result


def _joined(left: tuple[bool, Node, bool], right: tuple[bool, Node, bool]) -> tuple[bool, Node, bool] | None:
    """`left`, then `right`; None where an edge between them makes that impossible."""
    start, before, ended = left
    starts, after, end = right
    if starts:  # nothing may stand before
        if shortest(before) > 0:
            return None
        start, before = True, EMPTY
    if ended:  # nothing may follow
        if shortest(after) > 0:
            return None
        end, after = True, EMPTY
    parts = [part for node in (before, after) for part in (node.parts if isinstance(node, Cat) else (node,))]
    return start, Cat(tuple(parts)), end


def shortest(node: Node) -> int:
    """Characters of the shortest text that matches a tree without edges."""
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Cat):
        return sum(map(shortest, node.parts))
    if isinstance(node, Alt):
        return min(map(shortest, node.options))
    return node.low * shortest(node.node) if isinstance(node, Rep) else 0


def longest(node: Node) -> int | None:
    """Characters of the longest text that matches a tree without edges; None where there is none."""
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Rep):
        most = longest(node.node)
        if most == 0 or node.high == 0:
            return 0
        return None if most is None or node.high is None else most * node.high
    children = node.parts if isinstance(node, Cat) else node.options if isinstance(node, Alt) else ()
    lengths = [longest(child) for child in children]
    known = [length for length in lengths if length is not None]
    if len(known) < len(lengths):
        return None
    return sum(known) if isinstance(node, Cat) else max(known, default=0)


def _in(chars: Chars, code: int) -> bool:
    found = any(first <= code <= last for first, last in chars.ranges)
    if not found and chars.categories:
        category = unicodedata.category(chr(code))
        found = any(category.startswith(name.removeprefix("^")) != name.startswith("^") for name in chars.categories)
    return found != chars.negated


def matches(node: Node, text: str) -> bool:
    """Whether a tree without edges matches the whole text. Takes time with the product of their lengths at most."""
    return len(text) in _ends(node, text, frozenset((0,)))


def _ends(node: Node, text: str, starts: frozenset[int]) -> frozenset[int]:
    """Where a match that begins at one of `starts` can end."""
    if isinstance(node, Chars):
        return frozenset(at + 1 for at in starts if at < len(text) and _in(node, ord(text[at])))
    if isinstance(node, Cat):
        for part in node.parts:
            if not starts:
                break
            starts = _ends(part, text, starts)
        return starts
    if isinstance(node, Alt):
        return frozenset().union(*(_ends(option, text, starts) for option in node.options))
    assert isinstance(node, Rep)
    for _ in range(node.low):
        after = _ends(node.node, text, starts)
        if after == starts or not after:
            starts = after
            break
        starts = after
    seen = new = starts
    for _ in range(len(text) + 1 if node.high is None else min(node.high - node.low, len(text) + 1)):
        new = _ends(node.node, text, new) - seen
        if not new:
            break
        seen |= new
    return seen


# A character that JSON writes as it is, and those that need a backslash. \u escapes are left out: with them every text
# would have many spellings, and what a pattern says about a character would have to be said of each.
_ESCAPED = {'"': '"', "\\": "\\\\", "\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_RAW = complement(((0, 31), (34, 34), (92, 92), (0xD800, 0xDFFF)))
_RAW_CLASS = r'[^\x00-\x1f"\\]'


def json_regex(node: Node) -> str:
    """The regular expression, in Rust's syntax, for what JSON writes between the quotes for texts of this tree."""
    if node == ANY:
        return rf'(?:{_RAW_CLASS}|\\["\\nrtbf])*'
    if isinstance(node, Chars):
        return _json_chars(node)
    if isinstance(node, Cat):
        return "".join(map(json_regex, node.parts))
    if isinstance(node, Alt):
        return f"(?:{'|'.join(map(json_regex, node.options))})"
    assert isinstance(node, Rep)
    inner = json_regex(node.node)
    if node.high == 0 or not inner:
        return ""
    counts = f"{{{node.low},{'' if node.high is None else node.high}}}"
    return f"(?:{inner}){counts}"


@functools.lru_cache(1024)
def _json_chars(chars: Chars) -> str:
    options: list[str] = []
    if chars.categories:
        body = "".join(rf"\P{{{c[1:]}}}" if c.startswith("^") else rf"\p{{{c}}}" for c in chars.categories)
        body += "".join(map(_range, chars.ranges))
        options.append(f"[{_RAW_CLASS}&&[{'^' if chars.negated else ''}{body}]]")
    else:
        ranges = _within_raw(chars.ranges if not chars.negated else complement(chars.ranges))
        if ranges:
            options.append(f"[{''.join(map(_range, ranges))}]")
    escapes = "".join(letter for char, letter in _ESCAPED.items() if _in(chars, ord(char)))
    if escapes:
        options.append(rf"\\[{escapes}]")
    if not options:
        return "[a&&b]"  # no character at all
    return options[0] if len(options) == 1 else f"(?:{'|'.join(options)})"


def _within_raw(ranges: tuple[Range, ...]) -> list[Range]:
    merged = complement(complement(ranges))
    return [
        (max(first, low), min(last, high))
        for first, last in merged
        for low, high in _RAW
        if max(first, low) <= min(last, high)
    ]


def _range(span: Range) -> str:
    first, last = span
    return _code(first) if first == last else f"{_code(first)}-{_code(last)}"


def _code(code: int) -> str:
    assert code <= LAST
    return chr(code) if chr(code).isascii() and chr(code).isalnum() else rf"\x{{{code:x}}}"
