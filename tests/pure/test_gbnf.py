from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.errors import GrammarError
from llama_bind.structured import LlamaGrammar, gbnf
from llama_bind.structured.gbnf import parse
from llama_bind.structured.gbnf_rules import Kind

# text, line, column, a part of the message
BROKEN = [
    ("", None, None, "empty"),
    (" \n# only a comment", None, None, "empty"),
    ("root", 1, 5, "'::='"),
    ("root = 'a'", 1, 6, "'::='"),
    ("::= x", 1, 1, "name of a rule"),
    ('ro_ot ::= "a"', 1, 3, "'::='"),
    ('root ::= "a', 1, 10, "no closing"),
    ('root ::= "a\\', 1, 12, "unknown escape"),
    ('root ::= "\\q"', 1, 11, "unknown escape"),
    ('root ::= "\\x4"', 1, 11, "2 hexadecimal"),
    ('root ::= "\\u12G4"', 1, 11, "4 hexadecimal"),
    ('root ::= "\\U0010FFF"', 1, 11, "8 hexadecimal"),
    ("root ::= [a-z", 1, 10, "no closing"),
    ("root ::= [a-", 1, 10, "no closing"),
    ("root ::= [a\\", 1, 12, "unknown escape"),
    ('root ::= ("a"', 1, 14, "expecting ')'"),
    ('root ::= ("a" | ("b")', 1, 22, "line 1, column 10"),
    ('root ::= "a")', 1, 13, "new line or the end"),
    ('root ::= "a"\n  | "b"', 2, 3, "name of a rule"),
    ("root ::= *", 1, 10, "nothing to repeat"),
    ('root ::= "a" | +', 1, 16, "nothing to repeat"),
    ('root ::= "" ?', 1, 13, "nothing to repeat"),
    ('root ::= "a"{0}*', 1, 16, "nothing to repeat"),
    ('root ::= "a"{', 1, 14, "number of repetitions"),
    ('root ::= "a"{-1}', 1, 14, "number of repetitions"),
    ('root ::= "a"{1', 1, 15, "',' or '}'"),
    ('root ::= "a"{1,', 1, 16, "'}'"),
    ('root ::= "a"{1;2}', 1, 15, "',' or '}'"),
    ('root ::= "a"{3,2}', 1, 13, "minimum above"),
    ('root ::= "a"{3,0}', 1, 13, "minimum above"),
    ('root ::= "a"{2001}', 1, 13, "most"),
    ('root ::= "a"{99999999999999999999999}', 1, 14, "at most"),
    ('root ::= "a"{1,18446744073709551616}', 1, 16, "at most"),
    ('root ::= ("a"{1,100} "b"){100}', 1, 26, "repeats"),
    ('root ::= "a"{50}{50}', 1, 17, "repeats 50 rules 50 times"),
    ("root ::= <[4294967296]>", 1, 12, "at most"),
    ("root ::= <[]>", 1, 12, "a token id"),
    ("root ::= <[-1]>", 1, 12, "a token id"),
    ("root ::= <[1]", 1, 13, "']>'"),
    ("root ::= <[1>", 1, 13, "']>'"),
    ("root ::= <think", 1, 10, "no closing '>'"),
    ('root ::= !"a"', 1, 11, "'<'"),
    ("root ::= a\n\nb ::= [x]", 1, 10, "'a' is not defined"),
    ('root ::= "x"\nb ::= "y" missing', 2, 11, "'missing' is not defined"),
    ('start ::= "a"', None, None, "no rule 'root'"),
    ('a ::= root\na ::= "x"', 1, 7, "'root' is named but not defined"),
    ('root ::= root "a"', 1, 1, "left recursion"),
    ('root ::= "x"\na ::= b\nb ::= "" a', 2, 1, "left recursion: a -> b"),
    ('root ::= "a"?*', 1, 14, "left recursion"),
    ('root ::= "a"\0', 1, 13, "NUL"),
    ('root ::= "\ud800"', 1, 11, "surrogate"),
    ("root ::= \u00e9", 1, 10, "new line or the end"),
    ("\ufeffroot ::= [a]", 1, 1, "name of a rule"),
    ('a ::= "b"\r\nroot ::= "\\q"', 2, 11, "unknown escape"),
    ('a ::= "b"\rroot ::= "\\q"', 2, 11, "unknown escape"),
]


@pytest.mark.parametrize(("text", "line", "column", "part"), BROKEN, ids=[repr(case[0])[:30] for case in BROKEN])
def test_broken_grammars(text: str, line: int | None, column: int | None, part: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column), str(caught.value)
    assert part in str(caught.value)
    assert caught.value.param == "grammar"


def test_not_text() -> None:
    for value in (None, b"root ::= [a]", 5):
        with pytest.raises(GrammarError, match="must be a str"):
            parse(value)  # type: ignore[arg-type]


GOOD = [
    'root ::= "a"',
    'root::="a"',
    'root ::=\n  "a" |\n  "b"',
    'root ::= (\n "a" # why\n | "b"\n)* # end',
    "root ::= []",
    "root ::= [^]",
    'root ::= ""',
    "root ::= ",
    "root ::= |",
    'root ::= "a" | ',
    "root ::= [-a]",
    "root ::= [a-]",
    "root ::= [\\]\\[\\-\\\\]",
    'root ::= "\\x41\\u00e9\\U0001F600\\t\\r\\n\\"\\\\\\[\\]\\-"',
    'root ::= "\U0001f600é"',
    "root ::= [z-a]",
    "root ::= .",
    "root ::= <[0]> !<[7]> <think> !</think>",
    'root ::= "a"{0}',
    'root ::= "a"{2000}',
    'root ::= "a"{40}{50}',
    'root ::= "a"{0,18446744073709551615}',
    'root ::= "a"{ 1 , 2 }',
    'root ::= "a"{00000000000000000000000000001}',
    'root ::= x\r\nx ::= "a"\r\n\r\n',
    'root ::= x\rx ::= "a"',
    'root ::= x y\nroot ::= x\nx ::= "1"\ny ::= "2"',
    'root ::= "1"\nroot ::= "2"',
    'root ::= x\nx ::= "a" x | ""',
    'root ::= "a" root',
    'root ::= ("a"?)*',
    "0-a ::= [x]\nroot ::= 0-a -\n- ::= [y]",
]


@pytest.mark.parametrize("text", GOOD, ids=[repr(text)[:30] for text in GOOD])
def test_good_grammars(text: str) -> None:
    assert parse(text).text == text


def test_elements() -> None:
    grammar = parse('root ::= "é\\x41" [^a-c\\]] . <[12]> !<[13]> x\nx ::= | "b"')
    assert grammar.rules == [
        [
            (Kind.CHAR, 0xE9), (Kind.CHAR, 0x41),
            (Kind.CHAR_NOT, 97), (Kind.CHAR_RNG_UPPER, 99), (Kind.CHAR_ALT, 93),
            (Kind.CHAR_ANY, 0), (Kind.TOKEN, 12), (Kind.TOKEN_NOT, 13), (Kind.RULE_REF, 1), (Kind.END, 0),
        ],
        [(Kind.ALT, 0), (Kind.CHAR, 98), (Kind.END, 0)],
    ]  # fmt: skip


def test_tokens_are_listed_with_their_place() -> None:
    grammar = parse("root ::= <[5]> x\nx ::= !<think>")
    assert [(t.text, t.id, t.line, t.column) for t in grammar.tokens] == [
        ("<[5]>", 5, 1, 10),
        ("<think>", None, 2, 7),
    ]


def test_limits() -> None:
    nested = "root ::= " + "(" * gbnf.MAX_NESTING + '"a"' + ")" * gbnf.MAX_NESTING
    assert len(parse(nested).rules) == gbnf.MAX_NESTING + 1
    with pytest.raises(GrammarError, match="groups inside each other"):
        parse(nested.replace('"a"', '("a")'))
    with pytest.raises(GrammarError, match="most is"):
        parse("root ::= [a]" + " " * gbnf.MAX_TEXT)
    with pytest.raises(GrammarError, match="grows past"):
        parse('root ::= "' + "x" * 1000 + '"{0,1500}')
    with pytest.raises(GrammarError, match="grows past"):
        parse("root ::= " + " ".join(['("' + "x" * 100 + '"{2000})'] * 6))


def test_a_hundred_thousand_open_groups_do_not_exhaust_anything() -> None:
    with pytest.raises(GrammarError, match="groups inside each other"):
        parse("root ::= " + "(" * 100_000)


@pytest.mark.parametrize("unit", ['x{} ::= "a" y | "b"\n', "x{} ::= [a-z0-9]+ (y | [x])* \n"])
def test_time_grows_with_the_text(unit: str) -> None:
    def seconds(count: int) -> float:
        text = 'root ::= "a"\ny ::= "y"\n' + "".join(unit.format(i) for i in range(count))
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            parse(text)
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(8000) < 25 * seconds(1000)  # 8 times the text; quadratic would be 64 times


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet='ab-_ ."[]()|*+?{}0129,<>!\\xuU:=\n\r\t#é', max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    for source in (text, "root ::= " + text):
        try:
            rules = parse(source).rules
        except GrammarError:
            continue
        assert all(rule[-1] == (Kind.END, 0) for rule in rules)


def test_llama_grammar(tmp_path: Path) -> None:
    text = 'root ::= "é" | "b"\n'
    path = tmp_path / "g.gbnf"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    grammar = LlamaGrammar.from_file(path)
    assert grammar == LlamaGrammar.from_string(text) == pickle.loads(pickle.dumps(grammar))
    assert hash(grammar) == hash(LlamaGrammar(text))
    assert grammar != LlamaGrammar("root ::= [x]")
    assert "root" in repr(grammar)
    path.write_bytes(b'root ::= "a"\nx ::= "\xe9"')
    with pytest.raises(GrammarError, match="not valid UTF-8") as caught:
        LlamaGrammar.from_file(path)
    assert (caught.value.line, caught.value.column) == (2, 8)
    with pytest.raises(GrammarError):
        LlamaGrammar.from_string("nope")
    with pytest.raises(FileNotFoundError):
        LlamaGrammar.from_file(tmp_path / "none")
