from __future__ import annotations

import pytest

from llama_bind.structured.docstrings import Docstring, read_docstring

GOOGLE = """Get the weather.

    It may be wrong, so
    ask twice.

    Args:
        city (str): The city: with a colon,
            and a second line.
        *rest: All else.
        unit: celsius
            or not

        days (Optional[int]):
            How many.

    Returns:
        dict: what: it says
    """
NUMPY = """Get the weather.

    It may be wrong, so
    ask twice.

    Parameters
    ----------
    city : str
        The city: with a colon,
        and a second line.
    *rest
        All else.
    unit : {'celsius', 'or not'}, optional
        celsius
        or not
    days: int
        How many.

    Returns
    -------
    what : dict
        it says
    """
SPHINX = """Get the weather.

    It may be wrong, so
    ask twice.

    :param str city: The city: with a colon,
        and a second line.
    :param rest: All else.
    :param unit: celsius
       or not
    :type unit: str
    :keyword days: How many.
    :returns: what it says
    :raises ValueError: never
    """
WANTED = {
    "city": "The city: with a colon, and a second line.",
    "rest": "All else.",
    "unit": "celsius or not",
    "days": "How many.",
}


@pytest.mark.parametrize("doc", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_the_three_styles_say_the_same(doc: str) -> None:
    assert read_docstring(doc) == Docstring("Get the weather.\n\nIt may be wrong, so ask twice.", WANTED)


@pytest.mark.parametrize("doc", [None, "", "   ", "\n\n"])
def test_no_docstring(doc: str | None) -> None:
    assert read_docstring(doc) == Docstring()


def test_lists_and_code_keep_their_lines() -> None:
    doc = """What it
    does:

    - one
    - two
    1. first
        code = 1

    The end.
    """
    assert read_docstring(doc).text == "What it does:\n\n- one\n- two\n1. first\n    code = 1\n\nThe end."


def test_words_that_look_like_sections_are_text() -> None:
    assert read_docstring("Returns\nthe sum.").text == "Returns the sum."
    assert read_docstring("Args: a and b").text == "Args: a and b"


def test_sections_about_other_things_are_left_out() -> None:
    doc = "Adds.\n\nRaises:\n    ValueError: no\nExample:\n    >>> f(1)\n\nArgs:\n    a: first"
    assert read_docstring(doc) == Docstring("Adds.", {"a": "first"})


def test_arguments_without_words_have_no_description() -> None:
    assert read_docstring("Args:\n    a:\n    b: two").arguments == {"b": "two"}


@pytest.mark.parametrize("char", [":", "(", " ", "\n", "-", "*", ":param x"])
def test_strange_docstrings_are_read_in_linear_time(char: str) -> None:
    read_docstring("Args:\n    " + char * 20_000)
    read_docstring(char * 20_000)


def test_numpy_names_may_share_a_description() -> None:
    assert read_docstring("F.\n\nParameters\n----------\na, b : int\n    Both.").arguments == {
        "a": "Both.",
        "b": "Both.",
    }
