from __future__ import annotations

import json
import os
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.scorers import last_number
from aeval.scorers.numerals import numbers

ROOT = Path(__file__).parents[2]
GSM8K = Path(os.environ.get("AEVAL_GSM8K", ROOT.parent / "shared/data/gsm8k/test_with_solutions.jsonl"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        # Groups of digits.
        ("1,234,567", "1234567"),
        ("1 234 567", "1234567"),
        ("1\u00a0234\u202f567", "1234567"),
        ("1\u2009234", "1234"),
        ("1_234_567", "1234567"),
        ("1'234\u2019567.5", "1234567.5"),
        ("12,34,567", "1234567"),
        ("1.234.567", "1234567"),
        ("1.234.567,89", "1234567.89"),
        ("1.234,56", "1234.56"),
        ("1 234,56", "1234.56"),
        ("1{,}234", "1234"),
        (r"1,\!234 and 1\,235", "1235"),
        # What groups no digits.
        ("3,4", "4"),
        ("3, 400", "400"),
        ("1,2345", "2345"),
        ("1,234,56", "56"),
        ("0,123", "123"),
        ("2024 500 300", "300"),
        ("1.234,5.678", "5.678"),
        # Decimals and full stops.
        ("18.00", "18"),
        ("It is 1.5.", "1.5"),
        ("It is 5.", "5"),
        (".5", "0.5"),
        ("$.50", "0.5"),
        ("so...5", "5"),
        ("No.5", "5"),
        # Currencies and units.
        ("$18.", "18"),
        ("18 \u20ac", "18"),
        ("\u20ac 18", "18"),
        ("-$18", "-18"),
        ("$-18", "-18"),
        ("\u2212\u00a318", "-18"),
        ("USD18", "18"),
        ("-USD 18", "-18"),
        ("US$18", "18"),
        ("Rs.500", "500"),
        ("\u09f3\u09e7\u09e8\u09e9", "123"),
        ("18kg", "18"),
        ("18 km/h", "18"),
        ("18%", "18"),
        (r"18\%", "18"),
        ("18\u00b0", "18"),
        (r"18^\circ", "18"),
        ("5 m^2", "5"),
        ("5 cm\u00b2", "5"),
        ("9.8 m/s2", "9.8"),
        ("18th", "18"),
        # Fractions.
        ("3/4", "3/4"),
        ("3 / 4", "3/4"),
        ("3\u20444", "3/4"),
        ("1 1/2", "3/2"),
        ("-1 1/2", "-3/2"),
        ("1,000 1/2", "2001/2"),
        ("7 5/4", "5/4"),
        ("1.5 1/2", "1/2"),
        ("\u00bd", "1/2"),
        ("-\u00bd", "-1/2"),
        ("1\u00bd", "3/2"),
        ("1 \u2153", "4/3"),
        (r"\frac{3}{4}", "3/4"),
        (r"-\frac34", "-3/4"),
        (r"\dfrac{-3}{4}", "-3/4"),
        (r"1\frac{1}{2}", "3/2"),
        (r"\frac{x}{2}", "2"),
        ("1.5/2", "3/4"),
        ("18/hour", "18"),
        # Powers.
        ("1e-3", "0.001"),
        ("1E+5", "100000"),
        ("1.5\u00d710^3", "1500"),
        (r"1.5 \times 10^{-3}", "0.0015"),
        (r"2 \cdot 10^3", "2000"),
        ("1.5 x 10^3", "1500"),
        ("10\u207b\u00b3", "0.001"),
        ("2^10", "1024"),
        ("-2^2", "-4"),
        ("2^{-1}", "0.5"),
        ("5^1.5", "5"),
        ("5^x", "5"),
        # Signs.
        ("-5", "-5"),
        ("\u22125", "-5"),
        ("+5", "5"),
        ("**-5**", "-5"),
        ("x=-5", "-5"),
        ("x = - 5", "-5"),
        ("5 -3", "-3"),
        ("3-5", "5"),
        ("3\u20135", "5"),
        ("5 - 3", "3"),
        ("- 5", "5"),
        ("--5", "5"),
        ("16-3=13", "13"),
        ("<<16-3=13>>13", "13"),
        ("18kg-20kg", "20"),
        ("10%-20%", "20"),
        ("5\u20ac-10\u20ac", "10"),
        ("5 \u20ac-10 \u20ac", "10"),
        ("(18)", "18"),
        # Where the number stands.
        ("A: 18", "18"),
        ("#### 18", "18"),
        ("_18_", "18"),
        ("3x4", "4"),
        ("12:30", "30"),
        ("\u7b54\u6848\u662f18\u3002", "18"),
        ("\u7b54\u6848\u662f-18", "-18"),
        ("\u0661\u0668", "18"),
        ('{"answer": -18}', "-18"),
        (r"\boxed{42}, as 7 says", "42"),
        (r"\boxed{1} and \boxed{\text{about }2^{3}} or 7", "8"),
        (r"\boxed{42", "42"),
    ],
)
def test_number(text, number):
    """A number is read as it was meant, however it is written."""
    assert last_number(text) == Fraction(number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "2024-01-05",
        "2024-01-05T10:20:30.5Z",
        "2024-01-05 10:20",
        "01/05/2024",
        "1.2.3",
        "v1.2.3",
        "192.168.1.1",
        "0x1F",
        "x2",
        "H2O",
        "GPT-4",
        "Llama-3.1",
        "m^2",
        "x^{12}",
        "x^-3",
        "x_1",
        "x_{12}",
        r"\boxed{\text{none}} of 5",
        "inf",
    ],
)
def test_no_number(text):
    """What only looks like a number is none."""
    assert last_number(text) is None
    assert last_number(f"5 or {text}") == (None if "boxed" in text else 5)


@pytest.mark.parametrize(
    "text",
    [
        "3/0",
        "1 3/0",
        "5/0",
        "0^-1",
        "1e999999999",
        "1e-999999999",
        "1e" + "9" * 5000,
        "1.5 x 10^99999",
        "9^99999",
        "9999999^9999",
        "7" * 601,
    ],
)
def test_not_computed(text):
    """A number without a value, or too large to compute, is none, and no earlier number takes its place."""
    assert last_number(f"18, and then: {text}") is None
    assert list(numbers(f"{text}; 18"))[-1] == 18


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,5", "1.5"),
        ("1,234", "1.234"),
        ("1.234", "1234"),
        ("1.234.567,89", "1234567.89"),
        ("1 234,5", "1234.5"),
        ("1,234,567.5", "1234567.5"),
        ("1.5", "5"),
        ("1,2,3", "3"),
        ("-0,5", "-0.5"),
    ],
)
def test_decimal_comma(text, number):
    """With a decimal comma, comma and dot change places."""
    assert last_number(text, decimal=",") == Fraction(number)


def test_all_numbers():
    """The numbers of a text come in order, those that cannot be computed as None."""
    assert list(numbers("1 and 3/0, then 2 7/5 and -4")) == [1, None, 2, Fraction(7, 5), -4]


def grouped(number: int, mark: str) -> str:
    return f"{number:,}".replace(",", mark)


AROUND = st.sampled_from(
    [
        "{}",
        "A: {}",
        "The answer is {}.",
        "**{}**",
        "({})",
        "${}$",
        r"\boxed{{{}}}",
        "about {} kg",
        "x = {}",
        "7, {}, so",
    ]
)


@given(number=st.integers(), around=AROUND, mark=st.sampled_from(["", ",", "_", " ", "\u00a0", "\u202f", "'"]))
def test_integers(number, around, mark):
    """Any integer is found again, however its digits are grouped."""
    assert last_number(around.format(grouped(number, mark))) == number


@given(
    number=st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12),
    around=AROUND,
)
def test_decimals(number, around):
    """Any decimal is found again, in plain, grouped, European and scientific form."""
    for written in (f"{number:f}", f"{number:,f}", f"{number:e}", f"{number:E}".replace("-", "\u2212")):
        assert last_number(around.format(written)) == Fraction(number)
    european = f"{number:,f}".translate(str.maketrans(",.", ".,"))
    assert last_number(around.format(european), decimal=",") == Fraction(number)


@given(number=st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=10**6), around=AROUND)
def test_fractions(number, around):
    """Any fraction is found again, in text and LaTeX, as a mixed number too."""
    sign = "-" if number < 0 else ""
    over, under = abs(number.numerator), number.denominator
    whole, rest = divmod(over, under)
    for written in (
        f"{sign}{over}/{under}",
        rf"{sign}\frac{{{over}}}{{{under}}}",
        f"{sign}{whole} {rest}/{under}" if whole and rest and rest < 100 else f"{sign}{over} / {under}",
    ):
        assert last_number(around.format(written)) == number


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_floats(number):
    """A float's text is read as the decimal number that it shows."""
    assert last_number(str(number)) == Fraction(Decimal(str(number)))


PIECES = [
    "1",
    "23",
    "000",
    ",",
    ".",
    " ",
    "-",
    "/",
    "^",
    "{",
    "}",
    "e",
    "x10^",
    "\\frac",
    "\\boxed{",
    "$",
    "_",
    "\u00bd",
    "\u00b2",
]


@given(text=st.lists(st.sampled_from(PIECES), max_size=60).map("".join), decimal=st.sampled_from([".", ","]))
def test_anything(text, decimal):
    """No text, however numbers are strung together in it, makes the reading fail."""
    assert all(number is None or isinstance(number, Fraction) for number in numbers(text, decimal))


@pytest.mark.parametrize(
    "piece",
    [
        *PIECES,
        "1,",
        "1,234",
        "1.2",
        "1 ",
        "1/",
        "a-",
        "^{",
        "1_",
        "2024-01-",
        "$1",
        "1^(",
        "\\a",
        "1.234.",
        "A1",
    ],
)
def test_long_texts(piece):
    """A text of a hundred thousand characters is read in about a second at most."""
    start = process_time()
    last_number(piece * (100_000 // len(piece)))
    assert process_time() - start < 2


def test_gsm8k():
    """The human answer to each of the 1,319 problems of GSM8K's test set is found."""
    if not GSM8K.exists():
        pytest.skip(f"GSM8K's test set is not at {GSM8K}: set AEVAL_GSM8K to its place")
    with GSM8K.open(encoding="utf-8") as lines:
        answers = [json.loads(line)["answer"] for line in lines]
    assert len(answers) == 1319
    for answer in answers:
        assert last_number(answer) == Fraction(answer.rpartition("A: ")[2].replace(",", ""))
