"""Scoring an output that should be a JSON value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import zip_longest
from numbers import Integral, Real
from typing import Any, NoReturn, TypeAlias

import attrs

from aeval.errors import ConfigurationError, ScoreError
from aeval.score import Score
from aeval.scorers._verdict import nothing, refuse_unusable, right, shown, text_of, wrong
from aeval.scorers.number import exact

__all__ = ["json_equal"]

Json: TypeAlias = "bool | int | float | str | list[Any] | dict[str, Any] | None"

# Fences stand on lines of their own, so that ``` inside a JSON string does not end one.
_FENCE = re.compile(r"^[ \t]*```[ \t]*([^\s`]*)[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"[A-Za-z_$][\w$]*")


def json_equal(
    output: object,
    expected: object,
    *,
    tolerance: float | Decimal | Fraction = 0,
    ignore_order: bool = False,
) -> Score:
    """Score whether the output is the expected JSON value.

    A text is parsed: the whole of it, or where it has Markdown fences what stands in the last one marked
    `json`, else in the last one. The order of an object's keys never matters. Numbers are equal by value (1
    is 1.0); true is not 1, and null is not a missing key. NaN and Infinity are not JSON.

    >>> json_equal('{"a": [1, 2.0]}', {"a": [1, 2]}).value
    True
    >>> json_equal('{"a": [1, {"b": true}]}', '{"a": [1, {"b": 1}]}').reason
    '$.a[1].b is True, expected 1'

    :param output: what the system under test answered: JSON text, or a value already parsed. What is not
        JSON, or nested too deeply to read (about a thousand levels), is wrong
    :param expected: JSON text, or a value of dicts, lists, tuples, strings, numbers, bools and None; a
        string, and null itself, only as text ('"yes"', 'null')
    :param tolerance: how far apart two numbers may be
    :param ignore_order: whether the order of arrays does not matter either. They are sorted, numbers by
        value, and then compared item by item
    :return: a score named "json_equal"; where it is wrong its metadata's `path` is the place of the first
        difference, as in "$.a[2].b", or None where the output is not JSON
    :raises ScoreError: if the expected answer is None or not JSON, or if something was not awaited
    :raises ConfigurationError: if the tolerance is not a number from 0 up
    """
    margin = exact(tolerance)
    if margin is None or margin < 0:
        raise ConfigurationError(
            f"tolerance={tolerance!r} of json_equal is not a margin: give a number from 0 up"
        )
    refuse_unusable(
        "json_equal", output, expected, fix="give the right value; for JSON's null give the text 'null'"
    )
    try:
        want = _value(expected)
        if ignore_order:
            _order(want)  # Too deep for sorting is a fault of the expected answer, not of the output.
    except (ValueError, RecursionError) as error:
        raise ScoreError(
            f"the expected answer given to json_equal, {shown(expected)}, is not JSON: {_why(error)}. "
            "Give JSON text (a string in double quotes), or dicts, lists and plain values"
        ) from error
    if output is None:
        return nothing("json_equal", expected, path=None)
    try:
        got = _value(output)
        difference = _Comparison(margin, ignore_order).difference(got, want)
    except (ValueError, RecursionError) as error:
        return wrong(
            "json_equal", f"the output, {shown(output)}, cannot be read as JSON: {_why(error)}", path=None
        )
    if difference is None:
        return right("json_equal")
    path, what = difference
    return wrong("json_equal", f"{path} {what}", path=path)


def _why(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _value(given: object) -> Json:
    """Parse a text, or check a value that was parsed already."""
    if not isinstance(given, (str, bytes, bytearray)):
        return _checked(given, "$")
    text = text_of(given).removeprefix("\ufeff")
    try:
        return _parsed(text)
    except ValueError:
        fences = _FENCE.findall(text)
        if not fences:
            raise
    marked = [content for language, content in fences if language.lower() == "json"]
    return _parsed(marked[-1] if marked else fences[-1][1])


def _parsed(text: str) -> Json:
    value: Json = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {shown(text)} is too large")
    return number


def _checked(value: object, path: str) -> Json:
    if value is None or isinstance(value, (bool, str)):
        return text_of(value) if isinstance(value, str) else value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and math.isfinite(value):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_checked(item, f"{path}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"a key of {path} is {shown(key)}, not a string")  # noqa: TRY004 - One kind for all.
        return {key: _checked(item, _member(path, key)) for key, item in value.items()}
    raise ValueError(f"{path} is {shown(value)}")


def _member(path: str, key: str) -> str:
    return f"{path}.{key}" if _NAME.fullmatch(key) else f"{path}[{json.dumps(key)}]"


class _Absent:
    """Stands for a key or item that the other value has."""


_ABSENT = _Absent()
_Pair: TypeAlias = tuple[Any, Any, str]


@attrs.frozen
class _Comparison:
    tolerance: Fraction
    ignore_order: bool

    def difference(self, got: Json, want: Json) -> tuple[str, str] | None:
        """Find the first difference: its path, and what it is."""
        pending: list[_Pair] = [(got, want, "$")]
        # Not recursive, so that whatever the parser could read can be compared.
        while pending:
            got, want, path = pending.pop()
            if isinstance(got, dict) and isinstance(want, dict):
                pending.extend(reversed(_members(got, want, path)))
            elif isinstance(got, list) and isinstance(want, list):
                if self.ignore_order and len(got) != len(want):
                    return path, f"has {len(got)} items, expected {len(want)}"
                pending.extend(reversed(self._items(got, want, path)))
            elif not self._same(got, want):
                is_now = "is missing" if isinstance(got, _Absent) else f"is {shown(got)}"
                return path, f"{is_now}, expected {'nothing' if isinstance(want, _Absent) else shown(want)}"
        return None

    def _items(self, got: list[Any], want: list[Any], path: str) -> list[_Pair]:
        places: Iterable[int] = range(max(len(got), len(want)))
        if self.ignore_order:
            got = sorted(got, key=_order)
            places = sorted(places, key=lambda place: _order(want[place]))
            want = [want[place] for place in places]
        pairs = zip_longest(got, want, fillvalue=_ABSENT)
        return [(one, other, f"{path}[{place}]") for (one, other), place in zip(pairs, places, strict=True)]

    def _same(self, got: Any, want: Any) -> bool:
        if _rank(got) != _rank(want):
            return False
        if got == want or _rank(got) != _NUMBER or not self.tolerance:
            return bool(got == want)
        return abs(Fraction(str(got)) - Fraction(str(want))) <= self.tolerance


def _members(got: dict[str, Any], want: dict[str, Any], path: str) -> list[_Pair]:
    keys = [*want, *(key for key in got if key not in want)]
    return [(got.get(key, _ABSENT), want.get(key, _ABSENT), _member(path, key)) for key in keys]


_RANKS: dict[type, int] = {_Absent: 0, type(None): 1, bool: 2, int: 3, float: 3, str: 4, list: 5, dict: 6}
_NUMBER = 3


def _rank(value: object) -> int:
    return _RANKS[type(value)]


def _order(value: Any) -> tuple[Any, ...]:
    """Make a key that sorts any values, those that are equal side by side."""
    rank = _rank(value)
    if isinstance(value, dict):
        return rank, sorted((key, _order(item)) for key, item in value.items())
    if isinstance(value, list):
        return rank, sorted(map(_order, value))
    # No two nulls need to be told apart, and None has no order.
    return rank, 0 if value is None else value
