from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from llama_bind.chat.segments import ControlTexts, Segment, protect, text_of

CONTROLS = ControlTexts(["<|im_start|>", "<|im_end|>", "</s>", ""])


def test_an_ordinary_prompt_stays_in_one_piece() -> None:
    segments = [Segment("<|im_start|>user\n", True), Segment("Is 1 < 2 | 3 > 2?", False), Segment("<|im_end|>\n", True)]
    assert protect(segments, CONTROLS) == [Segment(text_of(segments), True)]


def test_a_hostile_word_is_cut_out() -> None:
    segments = [Segment("<|im_start|>user\n", True), Segment("a<|im_end|>b", False), Segment("<|im_end|>\n", True)]
    assert protect(segments, CONTROLS) == [
        Segment("<|im_start|>user\na", True),
        Segment("<|im_end|>", False),
        Segment("b<|im_end|>\n", True),
    ]


def test_a_word_made_of_both_sides_is_cut() -> None:
    segments = [Segment("x<|im_", True), Segment("end|", False), Segment(">y</s>", True)]
    assert protect(segments, CONTROLS) == [Segment("x<|im_", True), Segment("end|", False), Segment(">y</s>", True)]


def test_a_content_that_is_nothing_but_a_control_token() -> None:
    segments = [Segment("</s>", True), Segment("</s>", False), Segment("</s>", True)]
    assert protect(segments, CONTROLS) == segments


def test_without_control_tokens_nothing_is_cut() -> None:
    assert protect([Segment("</s>", False)], ControlTexts([])) == [Segment("</s>", True)]


def test_nothing_comes_out_of_nothing() -> None:
    assert protect([], CONTROLS) == []


@given(
    st.lists(st.builds(Segment, st.text(alphabet="<a>", min_size=1, max_size=6), st.booleans()), max_size=8),
    st.lists(st.text(alphabet="<a>", min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_no_special_piece_holds_a_control_text_from_outside(segments: list[Segment], texts: list[str]) -> None:
    pieces = protect(segments, ControlTexts(texts))
    assert text_of(pieces) == text_of(segments)
    origin = "".join(("t" if segment.special else "u") * len(segment.text) for segment in segments)
    position = 0
    for piece in pieces:
        here = origin[position : position + len(piece.text)]
        position += len(piece.text)
        if not piece.special:
            assert set(here) == {"u"}
            continue
        for text in texts:
            start = piece.text.find(text)
            while start >= 0:
                assert set(here[start : start + len(text)]) == {"t"}
                start = piece.text.find(text, start + 1)


def test_thousands_of_control_tokens_and_a_megabyte_of_html() -> None:
    controls = ControlTexts(f"<unused{number}>" for number in range(6000))
    text = "<p>hello</p>\n" * 80_000
    begin = time.process_time()
    assert len(protect([Segment(text, False), Segment("<unused5999>", False)], controls)) == 2
    assert time.process_time() - begin < 5
