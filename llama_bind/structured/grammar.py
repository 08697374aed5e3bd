"""`LlamaGrammar`: a GBNF grammar that was checked when it was made, or one made of a JSON Schema.

Not for: running it (``core.sampler`` does), or the formats that become token masks without GBNF.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_bind.errors import GrammarError
from llama_bind.structured import gbnf

if TYPE_CHECKING:
    from llama_bind.structured.spec import Spec

__all__ = ["LlamaGrammar", "checked"]


class LlamaGrammar:
    """A grammar, checked. Give it as ``grammar=`` to a completion.

    Attributes:
        text: The grammar's source: GBNF, or Lark where it was made of a schema.
        root: The rule where the output starts.
        parsed: Its rules, as llama.cpp numbers them; not there where it was made of a schema.
        spec: None, or what it demands where it was made of a schema.

    Raises:
        GrammarError: the text is not a grammar that llama.cpp can run: says line, column and what to do.
    """

    __slots__ = ("parsed", "root", "spec", "text")

    def __init__(self, text: str, root: str = "root") -> None:
        self.parsed = gbnf.parse(text, root)
        self.text = text
        self.root = root
        self.spec: Spec | None = None

    @classmethod
    def from_json_schema(
        cls,
        schema: Any,
        *,
        json_whitespace: Any = "fixed",
        schema_formats: Any = "known",
        schema_members: Any = "named",
    ) -> LlamaGrammar:
        """Make a grammar of all JSON that a schema holds for. llguidance runs it, not llama.cpp's own sampler.

        Args:
            schema: A mapping, True, False, or JSON text.
            json_whitespace: "fixed", "compact" or "free", see the option of that name.
            schema_formats: "known", "ignore" or "required", see the option of that name.
            schema_members: "named" or "any", see the option of that name.

        Raises:
            SchemaError: no schema, nothing meets it, or no grammar can enforce all of it.
        """
        from llama_bind.structured.response_format import schema_spec

        spec = schema_spec(schema, whitespace=json_whitespace, formats=schema_formats, members=schema_members)
        return cls._of(spec)

    @classmethod
    def _of(cls, spec: Spec) -> LlamaGrammar:
        grammar = cls.__new__(cls)
        grammar.text, grammar.root, grammar.spec = spec.lark, spec.start, spec
        return grammar

    @classmethod
    def from_string(cls, grammar: str, root: str = "root") -> LlamaGrammar:
        """Make a grammar from its text.

        Raises:
            GrammarError: as for the class.
        """
        return cls(grammar, root)

    @classmethod
    def from_file(cls, file: str | os.PathLike[str], root: str = "root") -> LlamaGrammar:
        """Make a grammar from a UTF-8 file.

        Raises:
            GrammarError: as for the class; also when the file is not UTF-8.
            OSError: the file cannot be read.
        """
        data = Path(file).read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = data[: error.start].decode("utf-8-sig")
            line, column = gbnf.locate(before, len(before))
            raise GrammarError("the file is not valid UTF-8 here; save it as UTF-8", line=line, column=column) from None
        return cls(text, root)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LlamaGrammar) and (self.text, self.root) == (other.text, other.root)

    def __hash__(self) -> int:
        return hash((self.text, self.root))

    def __repr__(self) -> str:
        return f"LlamaGrammar({self.text if len(self.text) <= 60 else self.text[:57] + '...'!r}, root={self.root!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (LlamaGrammar, (self.text, self.root)) if self.spec is None else (LlamaGrammar._of, (self.spec,))


def checked(grammar: Any) -> LlamaGrammar:
    """What a caller gives as a GBNF grammar: text, of which the latest ones are kept checked, or a grammar.

    Raises:
        GrammarError: it is neither, made of a schema, or as for `LlamaGrammar`.
    """
    if isinstance(grammar, LlamaGrammar):
        if grammar.spec is not None:
            raise GrammarError(
                "a grammar made of a JSON Schema runs on llguidance only: leave grammar_backend as it is"
            )
        return grammar
    if not isinstance(grammar, str):
        raise GrammarError(f"grammar must be GBNF text or a LlamaGrammar, not {type(grammar).__name__}")
    return _from_text(grammar)


@functools.lru_cache(maxsize=16)
def _from_text(text: str) -> LlamaGrammar:
    return LlamaGrammar(text)
