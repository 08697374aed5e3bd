"""llama.cpp's lists of texts that grammars accept and reject, against llguidance as it is used here.

GBNF (``test-grammar-integration.cpp``) runs converted; Lark and schemas (``test-grammar-llguidance.cpp``) as they are.
"""

from __future__ import annotations

import re

import pytest

from llama_bind.structured import gbnf
from llama_bind.structured.gbnf_lark import gbnf_spec
from llama_bind.structured.matcher import Compiler
from llama_bind.structured.spec import Spec
from llama_bind.structured.tokenizer import Vocabulary
from tests.vectors import grammars, held
from tests.vectors.grammars import Matched, Text

N_TOKENS = 12_000
END = 256
PIECES = [bytes([i]) for i in range(256)] + [b"<|%d|>" % i for i in range(256, N_TOKENS)]
COMPILER = Compiler(
    Vocabulary(
        N_TOKENS,
        lambda: PIECES,
        frozenset(range(256, N_TOKENS)),
        frozenset({END}),
        lambda text, _special: list(text.encode()),
    )
)


def accepts(spec: Spec, text: Text) -> bool:
    """Whether a text may be written as a whole, byte by byte, and end there."""
    constraint = COMPILER.make(spec)
    tokens = [token for part in text for token in ([part] if isinstance(part, int) else part.encode())]
    for token in tokens:
        if not constraint.allows(token):
            return False
        constraint.accept(token)
    return constraint.allows(END)


def differences(case: Matched, spec: Spec) -> list[str]:
    wrong = [f"accepts {text}" for text in case.failing if accepts(spec, text)]
    return wrong + [f"rejects {text}" for text in case.passing if not accepts(spec, text)]


@pytest.mark.parametrize("case", grammars.matched(), ids=lambda c: c.name)
def test_gbnf(case: Matched) -> None:
    spec = gbnf_spec(gbnf.parse(case.text), lambda _text: None, N_TOKENS)
    assert differences(case, spec) == []


@pytest.mark.parametrize("case", held.matched(), ids=lambda c: c.name)
def test_lark_and_schemas(case: Matched) -> None:
    assert differences(case, Spec(case.text)) == []


@pytest.mark.parametrize("name", grammars.files())
def test_the_grammars_of_llama_cpp_compile(name: str) -> None:
    COMPILER.check(gbnf_spec(gbnf.parse(grammars.files()[name]), lambda _text: None, N_TOKENS))


def test_no_case_is_left_out() -> None:
    source = held.SOURCE.read_text(encoding="utf-8")
    assert len(held.matched()) == len(re.findall(r"^    test_(?:schema|grammar)\(", source, re.MULTILINE)) > 30
    assert len(grammars.matched()) == 14
