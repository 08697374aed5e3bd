from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llama_bind.text.assembler import TextAssembler
from llama_bind.text.stop import StopMatcher
from llama_bind.values import PieceEvent, TokenLogprob


def run(pieces: list[bytes], stops: list[str]) -> tuple[list[PieceEvent], str | None]:
    assembler = TextAssembler(stops)
    events = [assembler.push(token, piece) for token, piece in enumerate(pieces)]
    events.append(assembler.flush())
    return [event for event in events if event is not None], assembler.matched


def shown(events: list[PieceEvent]) -> tuple[str, list[int]]:
    return "".join(event.text for event in events), [token for event in events for token in event.tokens]


PIECES = st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"ba a", b"\xf0\x9f", b"\x98\x80", b"\x98\x80a", b"\xff"]))
STOPS = st.lists(st.text(alphabet="ab \N{GRINNING FACE}", min_size=1, max_size=4), max_size=3)


@given(PIECES, STOPS)
def test_text_is_that_of_the_stop_matcher_over_the_whole(pieces: list[bytes], stops: list[str]) -> None:
    events, matched = run(pieces, stops)
    matcher = StopMatcher(stops)
    whole, stop = matcher.push(b"".join(pieces).decode("utf-8", "replace"))
    text, tokens = shown(events)
    assert (text, matched) == (whole + matcher.flush(), stop)
    assert tokens == list(range(len(tokens)))
    if matched is None:
        assert len(tokens) == len(pieces)


@given(st.lists(st.text(alphabet="ab ", min_size=1, max_size=4)), STOPS)
def test_exactly_the_tokens_of_the_shown_text_are_released(words: list[str], stops: list[str]) -> None:
    events, matched = run([word.encode() for word in words], stops)
    text, tokens = shown(events)
    if matched is None:
        assert len(tokens) == len(words)
    else:
        starts = [len("".join(words[:index])) for index in range(len(words))]
        assert tokens == [index for index, start in enumerate(starts) if start < len(text)]


def test_a_token_comes_with_the_piece_that_completes_it() -> None:
    assembler = TextAssembler(["STOP"])
    assert assembler.push(1, b"a") == PieceEvent("a", (1,))
    assert assembler.push(2, b"bS") == PieceEvent("b")
    assert assembler.push(3, b"T") is None
    assert assembler.push(4, b"x") == PieceEvent("STx", (2, 3, 4))
    assert assembler.push(5, b"cST") == PieceEvent("c")
    assert assembler.push(6, b"OPd") == PieceEvent("", (5,))
    assert assembler.matched == "STOP"
    assert assembler.push(7, b"e") is None
    assert assembler.flush() is None


def test_bytes_of_one_character_over_three_tokens() -> None:
    assembler = TextAssembler(["\n"])
    assert assembler.push(1, b"\xf0\x9f") is None
    assert assembler.push(2, b"\x98") is None
    assert assembler.push(3, b"\x80\n") == PieceEvent("\N{GRINNING FACE}", (1, 2, 3))
    assert assembler.matched == "\n"


def test_broken_bytes_before_a_stop_do_not_bring_its_token() -> None:
    assembler = TextAssembler(["\n"])
    assert assembler.push(1, b"\xf0") is None
    assert assembler.push(2, b"\n") == PieceEvent("\ufffd", (1,))


def test_flush_releases_what_waits() -> None:
    assembler = TextAssembler(["STOP"])
    assert assembler.push(1, b"ST") is None
    assert assembler.push(2, b"\xe2\x82") is None
    assert assembler.flush() == PieceEvent("ST\ufffd", (1, 2))
    assert assembler.flush() is None


def test_a_flushed_replacement_can_complete_a_stop() -> None:
    assembler = TextAssembler(["\ufffd"])
    assert assembler.push(1, b"a\xe2") == PieceEvent("a")
    assert assembler.flush() == PieceEvent("", (1,))
    assert assembler.matched == "\ufffd"


def test_logprobs_travel_with_their_tokens() -> None:
    first, second = TokenLogprob(1, b"a", -0.5), TokenLogprob(2, b"S", -1.5)
    assembler = TextAssembler(["SX"])
    assert assembler.push(1, b"a", first) == PieceEvent("a", (1,), (first,))
    assert assembler.push(2, b"S", second) is None
    assert assembler.push(3, b"!") == PieceEvent("S!", (2, 3), (second,))


def test_a_token_without_text_is_released_at_once() -> None:
    assert TextAssembler().push(9, b"") == PieceEvent("", (9,))


def test_what_is_kept_does_not_grow() -> None:
    assembler = TextAssembler(["ab"])
    for token in range(2000):
        assembler.push(token, b"a")
        assert len(assembler._waiting) <= 2
