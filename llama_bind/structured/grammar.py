"""`LlamaGrammar`: a GBNF grammar that was checked when it was made.

Not for: running it (``core.sampler`` does), or the formats that become token masks without GBNF.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from llama_bind.errors import GrammarError
from llama_bind.structured import gbnf

__all__ = ["LlamaGrammar", "checked"]


class LlamaGrammar:
    """A GBNF grammar, checked. Give it as ``grammar=`` to a completion.

    Attributes:
        text: The grammar's source.
        root: The rule where the output starts.
        parsed: Its rules, as llama.cpp numbers them.

    Raises:
        GrammarError: the text is not a grammar that llama.cpp can run: says line, column and what to do.
    """

    __slots__ = ("parsed", "root", "text")

    def __init__(self, text: str, root: str = "root") -> None:
        self.parsed = gbnf.parse(text, root)
        self.text = text
        self.root = root

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

    def __reduce__(self) -> tuple[type[LlamaGrammar], tuple[str, str]]:
        return LlamaGrammar, (self.text, self.root)


def checked(grammar: Any) -> LlamaGrammar:
    """What a caller gives as a grammar: text, of which the latest ones are kept checked, or a grammar.

    Raises:
        GrammarError: it is neither, or as for `LlamaGrammar`.
    """
    if isinstance(grammar, LlamaGrammar):
        return grammar
    if not isinstance(grammar, str):
        raise GrammarError(f"grammar must be GBNF text or a LlamaGrammar, not {type(grammar).__name__}")
    return _from_text(grammar)


@functools.lru_cache(maxsize=16)
def _from_text(text: str) -> LlamaGrammar:
    return LlamaGrammar(text)
