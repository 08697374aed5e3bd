"""GBNF to llguidance's Lark, so that a grammar of llama.cpp's kind runs on the faster engine and means the same.

GBNF knows no lexer: it matches character by character, in every way that its rules allow. llguidance cuts a text into
lexemes, each as long as it can be, before its parser sees them, so a rule that became a lexeme could take what the next
rule needs. Hence all of a grammar without recursion is one lexeme, and of one with recursion each character is one:
a mask then takes milliseconds (and only refused tokens need one). Not for: reading GBNF (``gbnf``).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

from llama_bind.errors import GrammarError
from llama_bind.structured.gbnf import Grammar, parse
from llama_bind.structured.gbnf_tree import TOP, Chars, Many, Node, Ref, Seq, Token, Tree, tree_of
from llama_bind.structured.spec import Spec

__all__ = ["gbnf_spec"]


def gbnf_spec(grammar: Grammar, token_of: Callable[[str], int | None], n_tokens: int) -> Spec:
    """What holds an output to a grammar.

    Args:
        grammar: Checked.
        token_of: The token that a text such as ``<think>`` is; None where it is not one.
        n_tokens: Tokens of the vocabulary.

    Raises:
        GrammarError: it names a token that does not exist, or repeats repetitions too deeply.
    """
    try:
        return Spec(_Writer(tree_of(_with_ids(grammar, token_of, n_tokens))).text(), kind="grammar")
    except RecursionError:
        raise GrammarError("repetitions of repetitions nest too deeply; write them as one") from None


def _with_ids(grammar: Grammar, token_of: Callable[[str], int | None], n_tokens: int) -> Grammar:
    """The grammar with ids in place of the texts of tokens."""
    lines = grammar.text.splitlines(keepends=True)
    by_text = [use for use in grammar.tokens if use.id is None]
    for use in reversed(grammar.tokens):
        token = use.id if use.id is not None else token_of(use.text)
        if token is None:
            message = f"{use.text} is not one token of this vocabulary; write it as a string, or as <[id]>"
            raise GrammarError(message, line=use.line, column=use.column)
        if token >= n_tokens:
            message = f"token id {token} is outside the vocabulary (0 to {n_tokens - 1})"
            raise GrammarError(message, line=use.line, column=use.column)
        if use.id is None:
            line = lines[use.line - 1]
            start = line.index("<", use.column - 1)
            lines[use.line - 1] = f"{line[:start]}<[{token}]>{line[start + len(use.text) :]}"
    return parse("".join(lines), grammar.root) if by_text else grammar


class _Writer:
    """Lark text of a tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._regular = tree.root in tree.regular()

    def text(self) -> str:
        """All rules: as terminals, which become one lexeme, where none comes back to itself."""
        lines = [f"start: {self._name(self._tree.root)}"]
        lines += [f"{self._name(number)}: {self._write(node)}" for number, node in sorted(self._tree.rules.items())]
        return "\n".join(lines) + "\n"

    def _name(self, number: int) -> str:
        return f"R{number}" if self._regular else f"r{number}"

    def _write(self, node: Node) -> str:
        if isinstance(node, Chars):
            return _pattern(node)
        if isinstance(node, Token):
            return f"<[{'^' if node.negated else ''}{node.id}]>"
        if isinstance(node, Ref):
            return self._name(node.rule)
        if isinstance(node, Seq):
            return " ".join(self._parts(node)) or '""'
        if isinstance(node, Many):
            return self._grouped(node.node) + _mark(node)
        return " | ".join(self._write(option) for option in node.options)

    def _parts(self, node: Seq) -> Iterator[str]:
        """The parts of a sequence, characters that stand alone put together where they may be."""
        for literal, parts in itertools.groupby(node.parts, lambda part: self._regular and _is_one(part)):
            if literal:
                yield json.dumps("".join(chr(part.ranges[0][0]) for part in parts if isinstance(part, Chars)))
            else:
                yield from map(self._grouped, parts)

    def _grouped(self, node: Node) -> str:
        written = self._write(node)
        return written if isinstance(node, (Chars, Token, Ref)) else f"({written})"


def _mark(many: Many) -> str:
    known = {(0, None): "*", (0, 1): "?", (1, None): "+"}.get((many.low, many.high))
    return known or f"{{{many.low},{'' if many.high is None else many.high}}}"


def _is_one(node: Node) -> bool:
    """Whether it is one certain character."""
    return isinstance(node, Chars) and len(node.ranges) == 1 and node.ranges[0][0] == node.ranges[0][1]


def _pattern(chars: Chars) -> str:
    """A regular expression of one character."""
    if not chars.ranges:
        return f"/[^\\x{{0}}-\\x{{{TOP:x}}}]/"
    parts = (f"\\x{{{a:x}}}" if a == b else f"\\x{{{a:x}}}-\\x{{{b:x}}}" for a, b in chars.ranges)
    return f"/[{''.join(parts)}]/"
