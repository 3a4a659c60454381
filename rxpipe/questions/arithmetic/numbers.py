"""Exact numbers, read from text and written as text, without floats."""

from __future__ import annotations

from fractions import Fraction

Number = int | Fraction

NUMBER = r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?"
"""A regular expression for a number in a text: ``7``, ``1,250`` or ``2.50``."""


def read(text: str) -> Number:
    """Returns the number in a text that matches `NUMBER`."""
    whole, _, decimals = text.replace(",", "").partition(".")
    return Fraction(int(whole + decimals), 10 ** len(decimals)) if decimals else int(whole)


def plain(value: Number) -> str:
    """Write a number in the common form: a whole number, a decimal if the decimal ends, else a fraction.

    Raises:
        ValueError: The number is negative. No question of this bank has a negative answer.
    """
    _not_negative(value)
    denominator, places = value.denominator, 0
    while denominator > 1 and 10**places % denominator:
        if places >= denominator.bit_length():  # by then every ending decimal has ended
            return str(value)
        places += 1
    return _decimal(value, places)


def money(value: Number) -> str:
    """Write an amount with two decimals, or as an exact fraction where cents do not suffice.

    Raises:
        ValueError: The amount is negative.
    """
    _not_negative(value)
    return str(value) if 100 % value.denominator else _decimal(value, 2)


def fraction(value: Number) -> str:
    """Write a number as a fraction in lowest terms, such as ``3/4``. A whole number has no denominator.

    Raises:
        ValueError: The number is negative.
    """
    _not_negative(value)
    return str(value)


def remainder(value: Number, by: Number) -> str:
    """Write the quotient and the remainder, such as ``4 remainder 2``.

    Raises:
        ZeroDivisionError: `by` is zero.
    """
    quotient, left = divmod(value, by)
    return f"{quotient} remainder {plain(left)}"


def _not_negative(value: Number) -> None:
    if value < 0:
        raise ValueError("the answer would be negative")


def _decimal(value: Number, places: int) -> str:
    if not places:
        return str(value.numerator)
    scale: int = 10**places
    whole, rest = divmod(value.numerator * scale // value.denominator, scale)
    return f"{whole}.{rest:0{places}d}"
