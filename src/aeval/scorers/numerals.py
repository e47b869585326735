"""Numbers as people and models write them in a text.

A text is read from left to right, token by token: what looks like a number but is none (a date, a version,
the 2 of "x2" or of "m^2") is a token too, and so is passed over whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Literal, TypeAlias

from aeval.scorers._latex import last_box

__all__ = ["last_number"]

DecimalMark: TypeAlias = Literal[".", ","]

# Sizes beyond which a number is not computed: Python refuses to read more than 640 digits where its limit is
# set lowest, and an exponent of a billion would fill the memory.
_MAX_DIGITS = 600
_MAX_EXPONENT = 10_000

# Letters that are set apart from numbers by spaces, so that "x2" is a name. Chinese, Japanese or Thai are not.
_LETTER = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0370-\u03ff"
_SPACE = "[ \u00a0\u2007\u2009\u202f]"
_TICK = "[_'\u2019]"
_MINUS = "[\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d-]"
_SYMBOL = "$\u00a2-\u00a5\u09f3\u0e3f\u20a0-\u20c0\uff04\uffe0-\uffe6"
_CODES = "USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|CAD|AUD|NZD|SEK|NOK|DKK|KRW|BRL|MXN|ZAR|RUB|PLN|TRY|SGD|HKD|RM|Rs\\.?"
_CURRENCY = rf"(?:(?:(?<![{_LETTER}])[A-Z]{{1,3}})?[{_SYMBOL}]|(?<![{_LETTER}])(?:{_CODES}))"
_SLASH = "[ ]?[/\u2044\u2215][ ]?"
_TIMES = "[ ]?[\u00d7xX*\u00b7\u22c5][ ]?"
_CLOCK = r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)"
# A minus is no sign after what may end a number, its unit or its currency: 3-5, 3kg-5kg, 3%-5%, 3 \u20ac-5 \u20ac.
# Set apart from its number it is one only after an equals sign: x = - 5.
_SIGN = rf"""(?:
    (?<![{_LETTER}\d)\]}}%\u00b0^{_MINUS[1:-1]}])(?<!\d[{_SYMBOL}])(?<!\d[ ][{_SYMBOL}]) (?P<sign>{_MINUS})
  | (?:(?<==)|(?<==[ ])) (?P<far_sign>{_MINUS})[ ]
)"""

_VULGAR = {
    sign: str(Fraction(unicodedata.numeric(sign)).limit_denominator(10))
    for sign in "\u00bc\u00bd\u00be\u2150\u2151\u2152\u2153\u2154\u2155\u2156\u2157\u2158\u2159\u215a\u215b\u215c\u215d\u215e"
}
_VULGAR_SIGN = re.compile(f"(\\d?)([{''.join(_VULGAR)}])")
_SUPERSCRIPT = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207a", "0123456789-+"
)
_SUPERSCRIPTS = re.compile("[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_ARGUMENT = r"\s?(?:\{([^{}]*)\}|(\d))"
_FRAC = re.compile(rf"({_MINUS}?)\\[cdt]?frac{_ARGUMENT}{_ARGUMENT}")
_SIMPLE = re.compile(rf"{_MINUS}?[\d., ]+")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_COMMANDS = {"\\times": "\u00d7", "\\cdot": "\u00b7"}


def last_number(text: str, *, decimal: DecimalMark = ".") -> Fraction | None:
    r"""Find the last number of a text, exactly.

    Where the text has a LaTeX `\boxed{...}`, the last of these is the whole text. What counts as a number is
    stated at `numeric`.

    >>> last_number("16 - 3 - 4 = 9 eggs, so 9 * 2 = $18.")
    Fraction(18, 1)
    >>> last_number(r"Hence \boxed{-\frac{3}{4}}, for all 5 of them.")
    Fraction(-3, 4)
    >>> last_number("None that I know of.")

    :param text: any text
    :param decimal: the decimal mark, "." or ","; the other one groups digits
    :return: the number, or None where there is none, or where the last one has no value (3/0) or is too large
        to compute (more than 600 digits, or a power of ten beyond 10,000)
    """
    last = None
    for last in _matches(text, decimal):  # noqa: B007 - Only the last one is computed.
        pass
    return None if last is None else list(_values(last, decimal))[-1]


def numbers(text: str, decimal: DecimalMark = ".") -> Iterator[Fraction | None]:
    """Find the numbers of a text, or of its last box; None stands for one that cannot be computed."""
    for match in _matches(text, decimal):
        yield from _values(match, decimal)


def _matches(text: str, decimal: DecimalMark) -> Iterator[re.Match[str]]:
    box = last_box(text)
    tokens = _token(decimal).finditer(_plain(text if box is None else box))
    return (match for match in tokens if match["first"])


def _plain(text: str) -> str:
    """Write what has several spellings in one: LaTeX, superscripts, fractions of one character."""
    if "\\" in text or "{,}" in text:
        text = text.replace("{,}", ",").replace("\\!", "").replace("\\,", "\u2009")
        text = _FRAC.sub(_slashed, text)
        text = _COMMAND.sub(lambda match: _COMMANDS.get(match[0], " "), text)
    if not text.isascii():
        text = _SUPERSCRIPTS.sub(lambda match: f"^{{{match[0].translate(_SUPERSCRIPT)}}}", text)
        text = _VULGAR_SIGN.sub(lambda match: f"{match[1]}{' ' if match[1] else ''}{_VULGAR[match[2]]}", text)
    return text


def _slashed(match: re.Match[str]) -> str:
    minus, *arguments = match.groups(default="")
    over, under = (arguments[0] or arguments[1]).strip(), (arguments[2] or arguments[3]).strip()
    if not (_SIMPLE.fullmatch(over) and _SIMPLE.fullmatch(under)):
        over, under = f"({over})", f"({under})"
    return f"{minus or ' '}{over}/{under}"


@cache
def _token(decimal: DecimalMark) -> re.Pattern[str]:
    """Make the pattern of one token: only where it is a number has it the group `first`."""
    numeral = _numeral(decimal)
    return re.compile(
        rf"""
        # Prose, passed over at once.
        (?: [\s,;:!?"'()<>*=]++ | (?<!\d)[{_LETTER}]++(?![\d{_SYMBOL}\u2010\u2011-]) )++
        # What only looks like numbers: dates, hexadecimal numbers, versions and addresses, chains of slashes.
      | (?<!\d) (?:
            \d{{4}}-\d\d?-\d\d? (?:{_CLOCK}|(?![-\w]))
          | 0[xX][0-9A-Fa-f]+
          | (?! {_grouped(r"[.]", 2)} (?!\.?\d)) \d+(?:\.\d+){{2,}}
          | \d+(?:/\d+){{2,}}
        )
        # A number: after its sign, its currency, or nothing that would make it part of a name ("3x4" has two);
      | (?: {_SIGN} (?:{_CURRENCY}[ ]?)?
          | (?<!\d)(?<!\d[ ]) {_CURRENCY}[ ]?(?P<inner_sign>{_MINUS})?
          | (?<=\d[xX]) | (?<![{_LETTER}\d])
        )
        (?P<first>{numeral})
        # with what makes it a fraction, a power or a mixed number.
        (?: {_SLASH}(?P<under>{numeral})
          | [eE]\+?(?P<e>{_MINUS}?\d+)
          | {_TIMES}10[ ]?{_raised("ten")}
          | [ ]?{_raised("power")}
          | {_SPACE}(?P<mixed_over>\d{{1,9}}){_SLASH}(?P<mixed_under>\d{{1,9}})(?!{_SLASH}\d|\d)
        )?
        # The exponent or the subscript of a name; a unit; a name with its digits.
      | \^[ ]?(?:\{{[^{{}}]{{0,40}}\}}|\([^()]{{0,40}}\)|{_MINUS}?\d+(?:\.\d+)?)
      | (?<=[{_LETTER}\d)}}])_(?:\{{[^{{}}]{{0,40}}\}}|\d+)
      | (?<=\d)[{_LETTER}]+
      | [{_LETTER}][{_LETTER}\d]*(?:[-\u2010\u2011][{_LETTER}\d]+)* (?:(?<=\d)\.\d+)*
        """,
        re.VERBOSE,
    )


def _raised(group: str) -> str:
    return rf"\^[ ]?[{{(]?[ ]?\+?(?P<{group}>{_MINUS}?\d++)(?!\.?\d)[ ]?[)}}]?"


def _grouped(mark: str, times: int) -> str:
    return rf"(?!0)\d{{1,3}}(?:{mark}\d{{3}}){{{times},}}"


def _numeral(decimal: DecimalMark) -> str:
    """Make the pattern of a number without a sign; `_read` knows how to read what it matches."""
    point, comma = ("[.]", "[,]") if decimal == "." else ("[,]", "[.]")
    leading_point = r"| (?<![\w.])[.]\d+" if decimal == "." else ""
    return rf"""(?:
        # Written the other way round, and not to be mistaken: 1.234.567 or 1.234,5 where the mark is ".".
        (?<!\d[.,]) (?:{_grouped(point, 2)}(?:{comma}\d+)? | {_grouped(f"(?:{point}|{_SPACE})", 1)}{comma}\d+)
        (?![.,]?\d)
      | (?: (?<!\d{comma}) (?: {_grouped(comma, 1)} | (?!0)\d\d?(?:{comma}\d\d)+{comma}\d{{3}}) (?!{comma}?\d)
          | (?<!\d{_SPACE}) {_grouped(_SPACE, 1)} (?!\d|{_SPACE}\d{{3}})
          | (?<!\d{_TICK}) {_grouped(_TICK, 1)} (?!{_TICK}?\d)
        ) (?:{point}\d+)?
      | (?<!\d{point})\d++(?:{point}\d++(?!{point}\d))? | \d++
      {leading_point}
    )"""


def _values(match: re.Match[str], decimal: DecimalMark) -> Iterator[Fraction | None]:
    sign = -1 if match["sign"] or match["far_sign"] or match["inner_sign"] else 1
    value = _read(match["first"], decimal)
    over, under = match["mixed_over"], match["mixed_under"]
    if value is None:
        yield None
    elif match["under"]:
        yield _over(sign * value, _read(match["under"], decimal))
    elif match["e"] or match["ten"]:
        yield _times_ten_to(sign * value, match["e"] or match["ten"])
    elif match["power"]:
        power = _to_the(value, match["power"])
        yield None if power is None else sign * power
    elif over and value.denominator == 1 and 0 < int(over) < int(under):
        yield sign * (value + Fraction(int(over), int(under)))
    else:
        yield sign * value
        if over:
            yield _over(Fraction(int(over)), Fraction(int(under)))


def _read(numeral: str, decimal: DecimalMark) -> Fraction | None:
    marks = [c for c in numeral if not c.isdecimal()]
    # The last mark sets the decimals apart if it is the decimal mark, or if others group the digits before it.
    last = marks[-1] if marks else ""
    parted = last in {".", ","} and marks.count(last) == 1 and (last == decimal or len(marks) > 1)
    decimals = len(numeral) - numeral.rindex(last) - 1 if parted else 0
    digits = "".join(c for c in numeral if c.isdecimal())
    if len(digits) > _MAX_DIGITS:
        return None
    return Fraction(int(digits), 10**decimals)


def _over(value: Fraction, divisor: Fraction | None) -> Fraction | None:
    return value / divisor if divisor else None


def _exponent(text: str) -> int | None:
    digits = text.lstrip(_MINUS[1:-1])
    if len(digits) > len(str(_MAX_EXPONENT)) or int(digits) > _MAX_EXPONENT:
        return None
    return int(digits) if digits == text else -int(digits)


def _times_ten_to(value: Fraction, text: str) -> Fraction | None:
    exponent = _exponent(text)
    return None if exponent is None else value * Fraction(10) ** exponent


def _to_the(base: Fraction, text: str) -> Fraction | None:
    exponent = _exponent(text)
    if exponent is None or (base == 0 and exponent < 0):
        return None
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    return base**exponent if size * abs(exponent) <= 4 * _MAX_EXPONENT else None
