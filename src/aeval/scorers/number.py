"""Scoring an output that should be a number."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from numbers import Rational, Real
from typing import Literal, TypeAlias

from aeval.errors import ConfigurationError, ScoreError
from aeval.score import Score
from aeval.scorers._verdict import answers, nothing, refuse_unusable, right, shown, text_of, wrong
from aeval.scorers.numerals import DecimalMark, last_number, numbers

__all__ = ["numeric"]

Which: TypeAlias = Literal["last", "first", "any"]
Margin: TypeAlias = float | Decimal | Fraction

_WRITTEN_BITS = 200  # About 60 digits.
_APPROXIMATE = Context(prec=12)


def numeric(
    output: object,
    expected: object,
    *,
    tolerance: Margin = 0,
    relative: Margin = 0,
    which: Which = "last",
    decimal: DecimalMark = ".",
) -> Score:
    r"""Score whether a number in the output is the expected number.

    The number is the last one of the output, or of its last `\boxed{...}` where it has one. Numbers are
    compared exactly, as fractions: 0.1 + 0.2 is 0.3, and a float counts as the decimal number that Python
    prints for it. What counts as a number:

    - digits, also grouped by threes: 1,234,567 and 1 234 567 and 1_234_567 and 1'234'567 (and 12,34,567). A
      comma groups only where exactly three digits follow, so "3,4" are two numbers and "3, 400" are too.
      With `decimal=","` comma and dot change places; 1.234.567 and 1.234,56 are read rightly without it.
    - decimals (18.00, .5), powers (1e-3, 1.5 x 10^3, 10⁻³, 2^10), fractions and mixed numbers (3/4, 1 1/2,
      ½, \frac{3}{4}). Expressions are not computed: "5 - 3" are two numbers.
    - a minus (ASCII or Unicode) directly before the number or its currency is its sign, unless it follows a
      number, a unit or a word: "3-5" are 3 and 5. Parentheses are no sign.
    - currencies and units do not matter: $18, -$18, 18 EUR, 18kg, 18 km/h. Nor does a percent sign: 18% is
      18, not 0.18; "million" or "k" is a unit as well.
    - digits that are no number are passed over: in dates (2024-01-05), versions (1.2.3), hexadecimals, names
      (x2, GPT-4), exponents and subscripts of names (m^2, x_1).

    >>> numeric("She makes 9 * 2 = $18.00 a day.", 18).value
    True
    >>> numeric("about 3.1 m", "A: 3.14", tolerance=0.05).value
    True
    >>> numeric("It is 1,200 or so", 1250).reason
    'the last number is 1200, expected 1250'

    :param output: what the system under test answered, a text or a number; without a number it is wrong
    :param expected: the right number (int, float, Decimal, Fraction), or a text of which the last number is
        it; or a list, tuple or set of accepted ones
    :param tolerance: how far off the number may be, in its own unit
    :param relative: how far off it may be as a part of the expected number: 0.01 is one percent. The number
        is right if it is within either
    :param which: the number of the output that counts: the "last", the "first", or "any"
    :param decimal: the decimal mark, "." or ","
    :return: a score named "numeric"; its metadata's `extracted` is the number that was compared, as a text
        (with "any": the one that matched), or None
    :raises ScoreError: if the expected answer is None or holds no number, or if something was not awaited
    :raises ConfigurationError: if an option cannot work
    """
    _check_options(which, decimal)
    margins = _margin("tolerance", tolerance), _margin("relative", relative)
    refuse_unusable("numeric", output, expected)
    wanted = [_wanted(answer, decimal) for answer in answers("numeric", expected)]
    if output is None:
        return nothing("numeric", expected, extracted=None)
    candidates = _candidates(output, which, decimal)
    for candidate in candidates:
        if any(_close(candidate, number, margins) for number in wanted):
            return right("numeric", extracted=_written(candidate))
    missed = "expected " + " or ".join(_written(number) for number in wanted)
    if tolerance or relative:
        missed += f" (tolerance {tolerance}, relative {relative})"
    if not candidates:
        return wrong("numeric", f"there is no number to read in {shown(output)}, {missed}", extracted=None)
    if which == "any":
        return wrong("numeric", f"no number in {shown(output)} is right, {missed}", extracted=None)
    written = _written(candidates[0])
    return wrong("numeric", f"the {which} number is {written}, {missed}", extracted=written)


def exact(value: object) -> Fraction | None:
    """Make a fraction of a number, a float being the decimal number that is printed for it; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, (Decimal, Real)):
        # A Decimal's exponent may be a billion: as a text it meets the same limits as any text.
        return last_number(str(value))
    return None


def _check_options(which: str, decimal: str) -> None:
    if which not in {"last", "first", "any"}:
        raise ConfigurationError(f"which={which!r} of numeric is unknown: use 'last', 'first' or 'any'")
    if decimal not in {".", ","}:
        raise ConfigurationError(f"decimal={decimal!r} of numeric is unknown: use '.' or ','")


def _margin(option: str, value: Margin) -> Fraction:
    margin = exact(value)
    if margin is None or margin < 0:
        raise ConfigurationError(f"{option}={value!r} of numeric is not a margin: give a number from 0 up")
    return margin


def _wanted(answer: object, decimal: DecimalMark) -> Fraction:
    number = exact(answer) if _is_number(answer) else last_number(text_of(answer), decimal=decimal)
    if number is None:
        raise ScoreError(
            f"the expected answer given to numeric, {shown(answer)}, holds no number that can be read: "
            "give a number, or a text that ends with one; for a text use exact_match"
        )
    return number


def _candidates(output: object, which: Which, decimal: DecimalMark) -> list[Fraction]:
    if _is_number(output):
        found = [exact(output)]
    elif which == "last":
        found = [last_number(text_of(output), decimal=decimal)]
    else:
        found = list(numbers(text_of(output), decimal))[: 1 if which == "first" else None]
    return [number for number in found if number is not None]


def _is_number(value: object) -> bool:
    return isinstance(value, (Decimal, Real))


def _close(number: Fraction, wanted: Fraction, margins: tuple[Fraction, Fraction]) -> bool:
    tolerance, relative = margins
    return abs(number - wanted) <= max(tolerance, relative * abs(wanted))


def _written(number: Fraction) -> str:
    """Write a number as people do: as a decimal where it ends, else as a fraction; a huge one is rounded."""
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > _WRITTEN_BITS:
        return str(_APPROXIMATE.divide(Decimal(number.numerator), Decimal(number.denominator)))
    rest, places = number.denominator, 0
    while rest % 10 == 0 or rest % 5 == 0 or rest % 2 == 0:
        rest = rest // 10 if rest % 10 == 0 else rest // 5 if rest % 5 == 0 else rest // 2
        places += 1
    if rest != 1:
        return str(number)
    digits = str(abs(number.numerator) * 10**places // number.denominator).zfill(places + 1)
    whole, decimals = digits[: len(digits) - places], digits[len(digits) - places :]
    return f"{'-' if number < 0 else ''}{whole}{'.' if decimals else ''}{decimals}"
