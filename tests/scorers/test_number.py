from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.errors import ConfigurationError, ScoreError
from aeval.scorers import numeric


class Float32(float):
    """Prints fewer digits than it has, as numpy's float32 does."""

    def __str__(self) -> str:
        return f"{float(self):.6g}"


@pytest.mark.parametrize(
    ("output", "expected", "options", "value"),
    [
        ("so $18.", 18, {}, True),
        ("so $18.", 18.0, {}, True),
        ("so $18.", "18", {}, True),
        ("so $18.", "9 * 2 = <<9*2=18>>18\n#### 18", {}, True),
        ("so $18.", Decimal("18.00"), {}, True),
        ("so $18.", Fraction(36, 2), {}, True),
        ("0.3", 0.1 + 0.2, {}, False),
        ("0.3", Fraction(1, 10) + Fraction(2, 10), {}, True),
        ("0.1", 0.1, {}, True),
        ("0.1", Float32(0.100000001), {}, True),
        (0.1, "0.1", {}, True),
        (18, 18, {}, True),
        (Decimal("1e999999999"), 1, {}, False),
        (math.nan, 1, {}, False),
        (math.inf, 1, {}, False),
        (True, 1, {}, False),
        ("1e-07", 1e-07, {}, True),
        ("1/3", "0.333", {}, False),
        ("1/3", "0.333", {"tolerance": 0.001}, True),
        ("1.1", 1, {"tolerance": 0.1}, True),
        ("1.1000001", 1, {"tolerance": 0.1}, False),
        ("0.9", 1, {"tolerance": Fraction(1, 10)}, True),
        ("101", 100, {"relative": 0.01}, True),
        ("-101", -100, {"relative": Decimal("0.01")}, True),
        ("101.1", 100, {"relative": 0.01}, False),
        ("101.1", 100, {"relative": 0.01, "tolerance": 2}, True),
        ("5, then 7", 5, {}, False),
        ("5, then 7", 5, {"which": "first"}, True),
        ("5, then 7", 7, {"which": "first"}, False),
        ("5, 6, then 7", 6, {"which": "any"}, True),
        ("5, 3/0, then 7", 8, {"which": "any"}, False),
        ("3/0, then 7", 7, {"which": "first"}, False),
        ("1,5", 1.5, {"decimal": ","}, True),
        ("1,5", "1,5", {"decimal": ","}, True),
        (["so", 18], 18, {}, True),
    ],
)
def test_comparison(output, expected, options, value):
    """Numbers are compared exactly, or within the margins."""
    assert numeric(output, expected, **options).value is value


def test_huge_numbers():
    """A number too large for a text is compared, and shown rounded."""
    assert numeric(10**5000, 10**5000).value is True
    assert numeric(10**5000, 1).reason == "the last number is 1.00000000000E+5000, expected 1"
    assert numeric("5", 10**5000).reason == "the last number is 5, expected 1.00000000000E+5000"
    assert numeric(None, 10**5000).reason == "there is no output (None), expected a int too large to show"


@pytest.mark.parametrize(
    ("output", "expected", "options", "reason", "extracted"),
    [
        ("about 17.50", 18, {}, "the last number is 17.5, expected 18", "17.5"),
        ("1/3", "1/2", {}, "the last number is 1/3, expected 0.5", "1/3"),
        ("-1e-3", 18, {}, "the last number is -0.001, expected 18", "-0.001"),
        ("1/8", [1, 2], {}, "the last number is 0.125, expected 1 or 2", "0.125"),
        ("1200", 18, {}, "the last number is 1200, expected 18", "1200"),
        ("1e100", 18, {}, "the last number is 1.00000000000E+100, expected 18", "1.00000000000E+100"),
        ("5, 7", 6, {"which": "first"}, "the first number is 5, expected 6", "5"),
        ("5, 7", 6, {"which": "any"}, "no number in '5, 7' is right, expected 6", None),
        ("five", 5, {}, "there is no number to read in 'five', expected 5", None),
        ("3", 5, {"tolerance": 1}, "the last number is 3, expected 5 (tolerance 1, relative 0)", "3"),
    ],
)
def test_wrong(output, expected, options, reason, extracted):
    """A wrong answer says which number was compared with which."""
    score = numeric(output, expected, **options)
    assert (score.value, score.reason, score.metadata) == (False, reason, {"extracted": extracted})


@pytest.mark.parametrize(
    "expected", ["eighteen", "", math.nan, math.inf, "3/0", True, Decimal("NaN"), ["18", "?"]]
)
def test_expected_without_number(expected):
    """An expected answer without a number is an error that names it and the fix."""
    with pytest.raises(
        ScoreError, match=r"given to numeric, .* holds no number that can be read: give a number"
    ):
        numeric("18", expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"which": "best"}, "which='best' of numeric is unknown: use 'last'"),
        ({"decimal": "'"}, "of numeric is unknown: use '.' or ','"),
        ({"tolerance": -1}, "tolerance=-1 of numeric is not a margin: give a number from 0 up"),
        ({"relative": math.nan}, "relative=nan of numeric is not a margin"),
        ({"tolerance": "1"}, "tolerance='1' of numeric is not a margin"),
        ({"tolerance": True}, "tolerance=True of numeric is not a margin"),
    ],
)
def test_unusable_options(options, message):
    """An option that cannot work is an error that names it and the fix."""
    with pytest.raises(ConfigurationError, match=message):
        numeric("18", 18, **options)


@given(number=st.fractions(), other=st.fractions(), tolerance=st.fractions(min_value=0))
def test_tolerance(number, other, tolerance):
    """The tolerance is exact, and works both ways."""
    within = abs(number - other) <= tolerance
    assert numeric(number, other, tolerance=tolerance).value is within
    assert numeric(other, number, tolerance=tolerance).value is within


@given(
    number=st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9)
    | st.fractions()
)
def test_extracted(number):
    """The extracted number, read again, is the number; beyond some sixty digits it is shortened."""
    fraction = Fraction(number)
    extracted = numeric(number, number).metadata["extracted"]
    long = max(fraction.numerator.bit_length(), fraction.denominator.bit_length()) > 200
    assert numeric(extracted, number, relative=1e-9 if long else 0).value
