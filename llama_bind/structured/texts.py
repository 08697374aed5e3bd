"""Patterns, lists of choices and Lark text of callers, as a `Spec`.

Not for: GBNF (``gbnf_lark``), JSON schemas (``schema``), or compiling (``compiled``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_bind.errors import GrammarError
from llama_bind.structured import limits
from llama_bind.structured.spec import Spec

__all__ = ["choice_spec", "lark_spec", "regex_spec"]


def regex_spec(pattern: Any) -> Spec:
    """The whole output matches a pattern, in the syntax of Rust's ``regex`` crate (Python's, but for look-around and
    back-references); ``^`` at its start and ``$`` at its end may be left out.

    Raises:
        GrammarError: no pattern.
    """
    if not isinstance(pattern, str):
        raise GrammarError(f"regex must be a str, not {type(pattern).__name__}", param="regex")
    _check(pattern, "regex")
    from llguidance import regex_to_lark

    if pattern.startswith("^"):
        pattern = pattern[1:]
    if pattern.endswith("$") and (len(pattern) - len(pattern[:-1].rstrip("\\"))) % 2:
        pattern = pattern[:-1]
    if not pattern:
        return Spec('start: ""', kind="regex")
    return Spec(f"start: TEXT\nTEXT: /{regex_to_lark(pattern, '')}/", kind="regex")


def choice_spec(choices: Any) -> Spec:
    """The output is one of some texts.

    Raises:
        GrammarError: no list of texts, or an empty one.
    """
    if isinstance(choices, (str, bytes)) or not isinstance(choices, Sequence) or not choices:
        raise GrammarError("choice must be a list of texts, at least one", param="choice")
    for text in choices:
        if not isinstance(text, str):
            raise GrammarError(f"choice must be a list of texts; {text!r} is none", param="choice")
        _check(text, "choice")
    unique = dict.fromkeys(choices)
    # A terminal: in rules each text would be an alternative of the parser, of which it takes a few thousand.
    return Spec("start: TEXT\nTEXT: " + " | ".join(map(limits.literal, unique)), kind="choice")


def lark_spec(text: Any) -> Spec:
    """The output follows a grammar in llguidance's dialect of Lark, from its rule ``start``.

    Raises:
        GrammarError: no text.
    """
    if not isinstance(text, str):
        raise GrammarError(f"lark must be a str, not {type(text).__name__}", param="lark")
    _check(text, "lark")
    if not text.strip():
        raise GrammarError('lark is empty; write a rule such as start: "yes" | "no"', param="lark")
    return Spec(text, kind="lark")


def _check(text: str, param: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise GrammarError(f"{param} has a lone surrogate, which UTF-8 cannot hold; remove it", param=param) from None
    if size > limits.MAX_TEXT:
        raise GrammarError(f"{param} has {size} bytes; the most is {limits.MAX_TEXT}", param=param)
