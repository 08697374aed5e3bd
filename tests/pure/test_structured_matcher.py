"""What holds an output to a grammar: what is allowed, what is refused, what is forced, and where it may end."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from llama_bind.errors import GrammarError, InputError, UnsupportedError
from llama_bind.structured.matcher import Compiler
from llama_bind.structured.spec import Spec
from llama_bind.structured.tokenizer import Tokenizer, Vocabulary
from tests.vocabularies import EMPTY, Tiny

TINY = Tiny()
COMPILER = Compiler(TINY.vocabulary)


def lark(text: str, **options: object) -> Spec:
    return Spec(lark=text, **options)  # type: ignore[arg-type]


def write(spec: Spec, tokens: Sequence[int], tiny: Tiny = TINY, compiler: Compiler = COMPILER) -> bool:
    """Whether the tokens may be written, one after the other."""
    constraint = compiler.make(spec)
    for token in tokens:
        mask = constraint.refused()
        assert mask.shape == (tiny.vocabulary.n_tokens,)
        if not constraint.allows(token):
            return False
        constraint.accept(token)
    return True


def complete(spec: Spec, text: str) -> bool:
    return write(spec, [*TINY.tokenize(text, True), TINY.end])


def run(spec: Spec, seed: int, most: int = 200) -> bytes:
    """A random output, as the engine makes one: a draw, a mask on a miss, forced tokens."""
    constraint, rng, written = COMPILER.make(spec), random.Random(seed), b""
    for _ in range(most):
        forced = list(constraint.forced())
        if forced:
            token = forced[0]
            assert constraint.allows(token)
        else:
            token = rng.randrange(TINY.vocabulary.n_tokens)
            if not constraint.allows(token):
                left = np.flatnonzero(~constraint.refused())
                assert len(left), "nothing is left to write"
                token = int(rng.choice(left.tolist()))
                assert constraint.allows(token)
        if token in TINY.vocabulary.ends:
            return written
        constraint.accept(token)
        written += TINY.pieces[token]
        if constraint.finished:
            return written
    return written


# -- the tokenizer ------------------------------------------------------------------------------------------------


def test_the_vocabulary_is_read_once_and_only_when_it_is_needed() -> None:
    tiny = Tiny()
    compiler = Compiler(tiny.vocabulary)
    assert tiny.calls == 0
    made: list[object] = []
    threads = [threading.Thread(target=lambda: made.append(compiler.make(lark('start: "yes"')))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert tiny.calls == 1


@pytest.mark.parametrize("prefix", [b"", b" "])
def test_a_text_becomes_the_tokens_of_its_own_bytes(prefix: bytes) -> None:
    tokenizer = Tokenizer(Tiny(prefix).vocabulary)
    assert tokenizer.pieces[0] == b"\0"
    for text in ("hello", ' world"', "é😀", "name", ""):
        tokens = tokenizer.encode(text)
        assert b"".join(tokenizer.pieces[t] for t in tokens) == text.encode()
    assert tokenizer.encode("hello") == [TINY.id("hello")]


def test_a_tokenizer_that_changes_texts_is_not_trusted() -> None:
    tiny = Tiny()
    upper = Vocabulary(
        tiny.vocabulary.n_tokens, tiny._pieces, tiny.vocabulary.control, tiny.vocabulary.ends,
        lambda text, special: tiny.tokenize(text.upper(), special),
    )  # fmt: skip
    tokenizer = Tokenizer(upper)
    assert b"".join(tokenizer.pieces[t] for t in (tokenizer.native, tokenizer.encode("hello"))[1]) == b"hello"


def test_a_model_without_texts_says_so() -> None:
    empty = Vocabulary(4, lambda: [b""] * 4, frozenset(), frozenset(), lambda _text, _special: [])
    with pytest.raises(UnsupportedError, match="no vocabulary"):
        Compiler(empty).check(lark('start: "a"'))


def test_a_vocabulary_without_an_end_token_works() -> None:
    tiny = Tiny()
    vocabulary = Vocabulary(256, lambda: tiny.pieces[:256], frozenset(), frozenset(), lambda t, _: list(t.encode()))
    constraint = Compiler(vocabulary).make(lark('start: "ab" /c+/'))
    assert list(constraint.forced()) == [97, 98, 99]
    for token in (97, 98, 99):
        constraint.accept(token)
    assert constraint.refused().shape == (256,)
    assert not constraint.refused()[99]
    assert not constraint.finished


# -- a grammar from the first token -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "passing", "failing"),
    [
        ('start: "hello" " world"?', ["hello", "hello world"], ["", "hell", "hello world!", "helloworld"]),
        ("start: /[0-9]{2,3}/", ["12", "123"], ["1", "1234", "x"]),
        ("start: C\nC: \"\" | \"yes\"", ["", "yes"], ["no"]),
        ('start: <call> "x" | "no"', ["<call>x", "no"], ["x", "<call>"]),
        ("start: %json {\"type\": \"boolean\"}", ["true", "false"], ["null", '"true"']),
    ],
)  # fmt: skip
def test_what_is_allowed_is_what_the_grammar_matches(text: str, passing: list[str], failing: list[str]) -> None:
    for one in passing:
        assert complete(lark(text), one), one
    for one in failing:
        assert not complete(lark(text), one), one


def test_the_mask_and_the_single_question_agree_on_every_token() -> None:
    spec = lark('start: ("hello" | "yes" | "no") ("," /[a-z]{1,9}/)* "."')
    for prefix in ("", "he", "hello", "hello,", "no,abc", "no,aaaaaaaa", "yes."):
        constraint = COMPILER.make(spec)
        for token in TINY.tokenize(prefix):
            constraint.accept(token)
        if constraint.forced():
            continue  # the mask then has the model's own tokens only
        mask = constraint.refused()
        for token in range(TINY.vocabulary.n_tokens):
            assert constraint.allows(token) != mask[token], (prefix, TINY.pieces[token])


def test_tokens_of_equal_bytes_and_of_none() -> None:
    constraint = COMPILER.make(lark("start: /.*/"))
    assert not constraint.allows(EMPTY)
    assert not constraint.allows(TINY.call)


def test_an_end_is_allowed_where_the_output_may_end_and_only_there() -> None:
    constraint = COMPILER.make(lark("start: /[0-9]+/"))
    assert not constraint.allows(TINY.end)
    constraint.accept(TINY.id("12"))
    for end in (TINY.end, TINY.eot):
        assert constraint.allows(end)
        assert not constraint.refused()[end]
    assert not constraint.finished


def test_forced_tokens_are_those_of_the_model_itself() -> None:
    constraint = COMPILER.make(lark('start: "hello" " world" /[!?]/'))
    assert list(constraint.forced()) == [TINY.id("hello"), TINY.id(" world")]
    for token in constraint.forced():
        constraint.accept(token)
    assert not constraint.forced()


def test_it_is_finished_when_only_the_end_is_left() -> None:
    constraint = COMPILER.make(lark('start: "yes" | "no"'))
    constraint.accept(TINY.id("yes"))
    assert constraint.finished


def test_guesses_are_cut_where_they_stop_to_fit() -> None:
    constraint = COMPILER.make(lark('start: /[0-9]{4}/ "."'))
    assert constraint.fitting([TINY.id("12"), TINY.id("123")]) == 1
    assert constraint.fitting([TINY.id("12"), TINY.id("12"), ord("."), TINY.end]) == 4
    assert constraint.fitting([]) == 0


def test_a_token_that_does_not_fit_is_an_error_and_no_other_state() -> None:
    with pytest.raises(GrammarError):
        COMPILER.make(lark('start: "yes"')).accept(TINY.id("no"))


def test_markers_are_control_tokens_or_texts() -> None:
    spec = lark('start: CALL_AT "x"'.replace("CALL_AT", "mark"), markers=(("mark", "<call>"),))
    assert complete(spec, "<call>x")  # by the control token
    assert write(spec, [*b"<call>x", TINY.end])  # by its letters
    plain = lark('start: mark "x"', markers=(("mark", "[CALL]"),))
    assert complete(plain, "[CALL]x")
    assert not complete(plain, "x")


def test_another_start_rule() -> None:
    assert complete(lark('mine: "yes"', start="mine"), "yes")


def test_random_outputs_are_valid() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["a", "b"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "n"],
        "additionalProperties": False,
    }
    spec = lark(f"start: %json {json.dumps(schema)}")
    for seed in range(50):
        value = json.loads(run(spec, seed))
        assert value["name"] in ("a", "b")
        assert 0 <= value["n"] <= 99


# -- compiling ----------------------------------------------------------------------------------------------------


def test_a_grammar_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler(TINY.vocabulary)
    compiled = []
    real = compiler._grammars._compiled

    def counted(spec: Spec) -> Any:
        compiled.append(spec)
        return real(spec)

    monkeypatch.setattr(compiler._grammars, "_compiled", counted)
    good, bad = lark('start: "a"'), lark("start: missing")
    for _ in range(3):
        compiler.check(good)
        with pytest.raises(GrammarError, match="missing"):
            compiler.check(bad)
    assert compiled == [good, bad]
    one, other = compiler.make(good), compiler.make(good)
    one.accept(97)
    assert other.allows(97)


def test_few_grammars_are_kept() -> None:
    compiler = Compiler(TINY.vocabulary)
    for i in range(140):
        compiler.check(lark(f'start: "{i}"'))
    assert len(compiler._grammars._kept) == 128
    assert compiler._grammars._kept_text == sum(len(spec.lark) for spec in compiler._grammars._kept)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("start: missing", "missing"),
        ("start: /[a/", "regex"),
        ("nothing", "(?i)expected"),
        ("start: <nosuch>", "nosuch"),
        ("start: " + "(" * 5000 + '"a"' + ")" * 5000, "nested"),
        ("start: r0\n" + "\n".join(f'r{i}: "a" r{i + 1}' for i in range(30000)) + '\nr30000: "b"', "chain"),
        ("start: R0\n" + "\n".join(f'R{i}: "a" R{i + 1}' for i in range(3000)) + '\nR3000: "b"', "chain"),
        ("\n".join(f'r{i}: "a" r{i - 1}' for i in range(1, 3000)) + '\nr0: "b"\nstart: r2999', "chain"),
        ("start: " + " | ".join(f'"{i}"' for i in range(90_000)), "rules and strings"),
        ('start: "' + "a" * (1 << 20) + '"', "characters"),
        ('start: "' + "ab" * 40_000 + '"', "string"),
        ("start: /(?=a)b/", "look-ahead"),
        ("start: A\nA: /a/ & /b/", "nothing"),
        ("start: \ud800", "surrogate"),
    ],
    ids=range(14),
)
def test_bad_grammars_are_errors_soon(text: str, match: str) -> None:
    before = time.thread_time()
    with pytest.raises(GrammarError, match=match) as caught:
        COMPILER.check(lark(text))
    assert caught.value.param == "lark"
    assert time.thread_time() - before < 5


def test_a_chain_of_references_in_a_schema_is_bounded() -> None:
    defs = {f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(2000)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**defs, "d2000": {}}}
    with pytest.raises(GrammarError, match="chain") as caught:
        COMPILER.check(lark(f"start: %json {json.dumps(schema)}", kind="json_schema"))
    assert caught.value.param == "response_format"
    shallow = {"$ref": "#/$defs/d0", "$defs": {**{f"d{i}": {"type": "null"} for i in range(2000)}}}
    COMPILER.check(lark(f"start: %json {json.dumps(shallow)}"))


def test_a_place_is_told() -> None:
    with pytest.raises(GrammarError) as caught:
        COMPILER.check(lark('start: "a"\n  | )'))
    assert (caught.value.line, caught.value.column) == (2, 5)


def test_a_regex_that_explodes_ends_its_text_and_takes_no_time() -> None:
    constraint = COMPILER.make(lark("start: A\nA: /(?s:.*)a(?s:.{0,50})b(?s:.*)/ & ~/(?s:.*)c(?s:.{0,60})d(?s:.*)/"))
    before = time.thread_time()

    def go_on() -> None:
        for token in b"abcabdabcaabcbabcabacacabcabacbacbabcabcabacbc" * 4:
            if not constraint.allows(token):
                constraint.refused()
            constraint.accept(token)

    with pytest.raises(GrammarError, match="too much"):
        go_on()
    assert time.thread_time() - before < 2


@pytest.mark.parametrize("text", ['start: start "a" | "a"', 'start: e\ne: e "a" e | "a" |', 'start: "a" start | "a"'])
def test_left_and_right_recursion(text: str) -> None:
    assert write(lark(text), [ord("a")] * 100)


def test_a_choice_among_5000() -> None:
    words = [f"option {i}" for i in range(5000)]
    spec = lark("start: C\nC: " + " | ".join(json.dumps(word) for word in words), kind="choice")
    before = time.thread_time()
    for seed in range(5):
        assert run(spec, seed).decode() in words
    assert time.thread_time() - before < 2


def test_only_specs_are_compiled() -> None:
    with pytest.raises(InputError, match="Spec"):
        COMPILER.make("start: ...")
    with pytest.raises(GrammarError, match="empty"):
        COMPILER.make(Spec())
