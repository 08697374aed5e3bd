"""llama.cpp's own grammar tests, read from the vendored tree."""

from __future__ import annotations

import pytest

from llama_bind.errors import GrammarError
from llama_bind.structured import gbnf, gbnf_rules
from tests.vectors import grammars

PARSED = grammars.parsed()
REFUSED = grammars.refused()
MATCHED = grammars.matched()
FILES = grammars.files()


def test_the_extractor_finds_all_cases() -> None:
    source = grammars.PARSER_TEST.read_text(encoding="utf-8")
    assert len(PARSED) == source.count('verify_parsing(R"""(') == 17
    assert len(MATCHED) == 14
    assert len(REFUSED) == 12
    assert len(FILES) == 8
    assert sum(len(case.elements) for case in PARSED) == source.count("{LLAMA_GRETYPE_")


@pytest.mark.parametrize("case", PARSED, ids=range(len(PARSED)))
def test_parsed_as_llama_cpp_does(case: grammars.Parsed) -> None:
    grammar = gbnf.parse(case.text)
    assert grammar.symbols == case.symbols
    assert [element for rule in grammar.rules for element in rule] == case.elements


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_refused_as_llama_cpp_does(text: str) -> None:
    with pytest.raises(GrammarError):
        gbnf.parse(text)


@pytest.mark.parametrize("case", MATCHED, ids=lambda case: case.name)
def test_grammars_of_the_integration_test(case: grammars.Matched) -> None:
    assert gbnf.parse(case.text).symbols["root"] == 0


@pytest.mark.parametrize("name", FILES)
def test_grammar_files(name: str) -> None:
    grammar = gbnf.parse(FILES[name])
    assert all(rule and rule[-1] == (gbnf_rules.Kind.END, 0) for rule in grammar.rules)


def test_another_root() -> None:
    with pytest.raises(GrammarError, match="no rule 'nonexistent'"):
        gbnf.parse('root ::= "foobar"', "nonexistent")
    with pytest.raises(GrammarError, match="no rule 'root'"):
        gbnf.parse('foobar ::= "foobar"')
    assert gbnf.parse('foobar ::= "foobar"', "foobar").root == "foobar"
