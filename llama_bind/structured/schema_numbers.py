"""Regular expressions for numbers between bounds, exact for decimals of any length.

Not for: numbers that are multiples of something (``schema_leaves.py``).
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

__all__ = ["ANY_INTEGER", "ANY_NUMBER", "DECIMAL", "FRACTIONAL", "above", "below", "common_step", "plain"]

# Digits are limited, so that a model that does not know when to stop cannot write one for ever. An exponent of two
# digits keeps every number within what a double holds; fifteen digits are as many as a double can tell apart.
_WHOLE = "(?:0|[1-9][0-9]{0,24})"
_DIGITS = 15


def _with_point(end: str) -> str:
    """Decimals of so many digits; `end` is the last one."""
    options = [rf"0\.[0-9]{{0,{_DIGITS - 1}}}{end}"]
    options += [rf"[1-9][0-9]{{{n - 1}}}\.[0-9]{{0,{_DIGITS - n - 1}}}{end}" for n in range(1, _DIGITS)]
    return f"(?:{'|'.join(options)})"


ANY_INTEGER = f"-?{_WHOLE}"
ANY_NUMBER = rf"-?{_WHOLE}(?:\.[0-9]{{1,17}})?(?:[eE][+-]?[0-9]{{1,2}})?"
DECIMAL = f"-?(?:{_WHOLE}|{_with_point('[0-9]')})"
"""A number without an exponent: the ones that bounds can be put on."""
FRACTIONAL = f"-?{_with_point('[1-9]')}"
"""A number that is no integer."""


def common_step(steps: tuple[Decimal, ...]) -> Decimal:
    """The least number that is a multiple of all of them."""
    result = Fraction(steps[0])
    for step in steps[1:]:
        other = Fraction(step)
        denominator = result.denominator * other.denominator
        first, second = result.numerator * other.denominator, other.numerator * result.denominator
        result = Fraction(math.lcm(first, second), denominator)
    return Decimal(result.numerator) / Decimal(result.denominator)


def plain(value: Decimal) -> str:
    """A number as JSON writes it, without exponent or needless zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def above(bound: Decimal, strict: bool) -> str:
    """The regular expression of numbers >= `bound` (> where `strict`), among those that `DECIMAL` matches."""
    if bound > 0:
        return _at_least(bound, strict)
    if bound == 0:
        return _at_least(bound, True) if strict else rf"(?:{_ANY}|-0(?:\.0+)?)"
    return f"(?:{_ANY}|-{_at_most(-bound, strict)})"


def below(bound: Decimal, strict: bool) -> str:
    """The regular expression of numbers <= `bound` (< where `strict`), among those that `DECIMAL` matches."""
    if bound < 0:
        return f"-{_at_least(-bound, strict)}"
    if bound == 0:
        return f"-{_at_least(bound, True)}" if strict else rf"(?:-{_ANY}|0(?:\.0+)?)"
    return f"(?:-{_ANY}|{_at_most(bound, strict)})"


_ANY = r"(?:[0-9]+(?:\.[0-9]+)?)"


def _at_least(bound: Decimal, strict: bool) -> str:
    """Numbers without a sign; `bound` is not negative."""
    whole, _, fraction = plain(bound).partition(".")
    options = [rf"{_whole_above(whole)}(?:\.[0-9]+)?"]
    if fraction:
        options.append(rf"{whole}\.{_fraction_above(fraction, strict)}")
    elif strict:
        options.append(rf"{whole}\.[0-9]*[1-9][0-9]*")
    else:
        options.append(rf"{whole}(?:\.[0-9]+)?")
    return f"(?:{'|'.join(options)})"


def _at_most(bound: Decimal, strict: bool) -> str:
    """Numbers without a sign; `bound` is above zero."""
    whole, _, fraction = plain(bound).partition(".")
    options = []
    if less := _whole_below(whole):
        options.append(rf"{less}(?:\.[0-9]+)?")
    if fraction:
        options += [whole, rf"{whole}\.{_fraction_below(fraction, strict)}"]
    elif not strict:
        options.append(rf"{whole}(?:\.0+)?")
    return f"(?:{'|'.join(options)})"


def _span(low: int, high: int) -> str:
    return f"[{low}-{high}]" if low < high else str(low)


def _whole_above(whole: str) -> str:
    options = [f"[1-9][0-9]{{{len(whole)},}}"]
    for at, digit in enumerate(whole):
        if digit != "9":
            options.append(whole[:at] + _span(int(digit) + 1, 9) + f"[0-9]{{{len(whole) - at - 1}}}")
    return f"(?:{'|'.join(options)})"


def _whole_below(whole: str) -> str:
    if whole == "0":
        return ""
    options = ["0"] if len(whole) > 1 else []
    if len(whole) > 2:
        options.append(f"[1-9][0-9]{{0,{len(whole) - 2}}}")
    elif len(whole) == 2:
        options.append("[1-9]")
    for at, digit in enumerate(whole):
        least = 1 if at == 0 and len(whole) > 1 else 0
        if int(digit) > least:
            options.append(whole[:at] + _span(least, int(digit) - 1) + f"[0-9]{{{len(whole) - at - 1}}}")
    return f"(?:{'|'.join(options)})"


def _fraction_above(fraction: str, strict: bool) -> str:
    options = [f"{fraction}[0-9]*[1-9][0-9]*" if strict else f"{fraction}[0-9]*"]
    for at, digit in enumerate(fraction):
        if digit != "9":
            options.append(f"{fraction[:at]}{_span(int(digit) + 1, 9)}[0-9]*")
    return f"(?:{'|'.join(options)})"


def _fraction_below(fraction: str, strict: bool) -> str:
    options = [] if strict else [f"{fraction}0*"]
    for at, digit in enumerate(fraction):
        if digit != "0":
            options.append(f"{fraction[:at]}{_span(0, int(digit) - 1)}[0-9]*")
        if at:
            options.append(fraction[:at])
    return f"(?:{'|'.join(options)})"
