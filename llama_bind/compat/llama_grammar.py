"""`LlamaGrammar` with llama-cpp-python's extra arguments, and a few grammars.

Not for: turning a schema into GBNF text; `LlamaGrammar.from_json_schema` holds to the schema itself.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from llama_bind.errors import GrammarError, UnsupportedError
from llama_bind.structured import grammar as ours

__all__ = [
    "ARITHMETIC_GBNF",
    "JSON_ARR_GBNF",
    "JSON_GBNF",
    "LIST_GBNF",
    "LLAMA_GRAMMAR_DEFAULT_ROOT",
    "LlamaGrammar",
    "json_schema_to_gbnf",
]

LLAMA_GRAMMAR_DEFAULT_ROOT = "root"

_VALUE = r"""
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws ( member ( "," ws member )* )? "}"
member ::= string ws ":" ws value ws
array  ::= "[" ws ( value ws ( "," ws value ws )* )? "]"
string ::= "\"" ( [^"\\\x00-\x1f\x7f] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} ) )* "\""
number ::= "-"? ( "0" | [1-9] [0-9]{0,14} ) ( "." [0-9]{1,15} )? ( [eE] [-+]? [0-9]{1,3} )?
ws     ::= ( " " | "\n" [ \t]{0,20} )?
"""

JSON_GBNF = "root ::= object\n" + _VALUE.lstrip()
"""Any JSON object."""
JSON_ARR_GBNF = "root ::= array\n" + _VALUE.lstrip()
"""Any JSON array."""
LIST_GBNF = 'root ::= item+\nitem ::= "- " [^\\r\\n]+ "\\n"\n'
"""Lines that begin with a hyphen."""
ARITHMETIC_GBNF = r"""root ::= ( sum "=" ws number "\n" )+
sum    ::= term ( [-+*/] ws term )*
term   ::= name | number | "(" ws sum ")" ws
name   ::= [a-z] [a-z0-9_]* ws
number ::= [0-9]+ ws
ws     ::= [ \t]*
"""
"""Sums and what they are said to be."""


class LlamaGrammar(ours.LlamaGrammar):
    """A grammar, checked when it is made: what is none is a `GrammarError` (a ValueError) and never reaches C.

    Args:
        text: GBNF.
        root: The rule where the output starts.
        _grammar: The same as `text`; the name under which llama-cpp-python takes it.
    """

    __slots__ = ()

    def __init__(self, text: str | None = None, root: str = "root", *, _grammar: str | None = None) -> None:
        source = text if text is not None else _grammar
        if source is None:
            raise GrammarError("a grammar is made of its text: LlamaGrammar.from_string(text)")
        super().__init__(source, root)

    @classmethod
    def from_string(  # type: ignore[override]  # the second argument was always `verbose` here
        cls, grammar: str, verbose: bool = True, *, root: str = "root"
    ) -> LlamaGrammar:
        """Make a grammar from GBNF. `verbose` changes nothing.

        Raises:
            GrammarError: it is none; says line and column.
        """
        del verbose
        return cls(grammar, root)

    @classmethod
    def from_file(  # type: ignore[override]
        cls, file: str | os.PathLike[str], verbose: bool = True, *, root: str = "root"
    ) -> LlamaGrammar:
        """Make a grammar from a UTF-8 file of GBNF. `verbose` changes nothing.

        Raises:
            GrammarError: it holds none.
            OSError: it cannot be read.
        """
        del verbose
        return cls(ours.LlamaGrammar.from_file(file, root).text, root)

    @classmethod
    def from_json_schema(  # type: ignore[override]
        cls, json_schema: Any, verbose: bool = True, **options: Any
    ) -> LlamaGrammar:
        """Make a grammar of all JSON that a schema (a mapping or JSON text) holds for. `verbose` changes nothing.

        Raises:
            SchemaError: no schema, nothing meets it, or not all of it can be enforced; names keyword and path.
        """
        del verbose
        made = super().from_json_schema(json_schema, **options)
        assert isinstance(made, cls)
        return made

    @property
    def _grammar(self) -> str:
        return self.text

    @property
    def _root(self) -> str:
        return self.root

    def reset(self) -> None:
        """Nothing to do: every text starts the grammar anew."""

    def __reduce__(self) -> tuple[Any, ...]:
        if self.spec is not None:
            return (type(self)._of, (self.spec,))
        return (type(self), (self.text, self.root))


def json_schema_to_gbnf(schema: str, prop_order: list[str] | None = None) -> NoReturn:
    """Not made here: schemas are held to without GBNF in between, which can say less.

    Raises:
        UnsupportedError: always; names what to use.
    """
    del schema, prop_order
    raise UnsupportedError(
        "schemas are not turned into GBNF here; use LlamaGrammar.from_json_schema(schema), or response_format"
    )
