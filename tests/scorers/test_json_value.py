from __future__ import annotations

import json
import math
import re
from datetime import date
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.errors import ConfigurationError, ScoreError
from aeval.scorers import json_equal

DEEP = "[" * 100_000


class Label(str, Enum):  # noqa: UP042 - Its `str` is its name, unlike a StrEnum's.
    CAT = "cat"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("output", "expected", "options"),
    [
        ('{"a": 1, "b": 2}', {"b": 2, "a": 1}, {}),
        ('{"a": 1}', '{"a": 1.0}', {}),
        ({"a": (1, 2)}, {"a": [1, 2]}, {}),
        ("null", "null", {}),
        ('"yes"', '"yes"', {}),
        ('"cat"', '"cat"', {}),
        (["cat"], [Label.CAT], {}),
        ("\ufeff[1]", [1], {}),
        ('Sure:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}, {}),
        ("```\n[1]\n```", [1], {}),
        ("```JSON\n[1]", [1], {}),
        ("```json\n[0]\n```\n```json\n[1]\n```\n```py\nx\n```", [1], {}),
        ('```json\n{"a": "```"}\n```', {"a": "```"}, {}),
        ("[1.1]", [1.0], {"tolerance": 0.1}),
        ("1.05", 1, {"tolerance": Decimal("0.05")}),
        ("1", 2, {"tolerance": Fraction(1)}),
        ("[2, 1]", [1, 2], {"ignore_order": True}),
        (
            '[[1, "a", null, true], {"x": [2, 1]}]',
            [{"x": [1, 2]}, [True, None, 1, "a"]],
            {"ignore_order": True},
        ),
        ("[3.1, 1.1, 2.1]", [1, 2, 3], {"ignore_order": True, "tolerance": 0.1}),
        ("[" * 600 + "]" * 600, "[" * 600 + "]" * 600, {}),
        ([Fraction(1, 2)], [0.5], {}),
    ],
)
def test_equal(output, expected, options):
    """Values are equal that JSON, or the options, hold to be so."""
    score = json_equal(output, expected, **options)
    assert (score.value, score.reason, score.metadata) == (True, None, {})


@pytest.mark.parametrize(
    ("output", "expected", "options", "path", "reason"),
    [
        ("true", 1, {}, "$", "$ is True, expected 1"),
        ("1", True, {}, "$", "$ is 1, expected True"),
        ("[1]", "1", {}, "$", "$ is [1], expected 1"),
        ('"1"', 1, {}, "$", "$ is '1', expected 1"),
        ('{"a": [1, 2, {"b": 3}]}', {"a": [1, 2, {"b": 4}]}, {}, "$.a[2].b", "$.a[2].b is 3, expected 4"),
        ('{"a": 0, "b": 0}', {"b": 1, "a": 1}, {}, "$.b", "$.b is 0, expected 1"),
        ("{}", {"a": None}, {}, "$.a", "$.a is missing, expected None"),
        ('{"a b": 1}', {}, {}, '$["a b"]', '$["a b"] is 1, expected nothing'),
        ("[1]", [1, 2], {}, "$[1]", "$[1] is missing, expected 2"),
        ("[1, 2]", [1], {}, "$[1]", "$[1] is 2, expected nothing"),
        ("[1, 2]", [2, 1], {}, "$[0]", "$[0] is 1, expected 2"),
        ("[1, 2]", [1], {"ignore_order": True}, "$", "$ has 2 items, expected 1"),
        ("[1, 5]", [4, 1], {"ignore_order": True}, "$[0]", "$[0] is 5, expected 4"),
        ("1.11", 1, {"tolerance": 0.1}, "$", "$ is 1.11, expected 1"),
        ("true", False, {"tolerance": 1}, "$", "$ is True, expected False"),
    ],
)
def test_different(output, expected, options, path, reason):
    """The reason names the place of the first difference, in the order of what was expected."""
    score = json_equal(output, expected, **options)
    assert (score.value, score.reason, score.metadata) == (False, reason, {"path": path})


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("", "Expecting value"),
        ("Sure! [1", "Expecting value"),
        ("[1,]", "line 1 column"),
        ("```json\n[1,,]\n```", "Expecting value"),
        ("[NaN]", "NaN is not JSON"),
        ("-Infinity", "-Infinity is not JSON"),
        ("1e400", "the number '1e400' is too large"),
        ("9" * 5000, "Exceeds the limit"),
        (DEEP, "it is nested too deeply"),
        ({"a": math.nan}, r"\$.a is nan"),
        ({"a": [date(2024, 1, 5)]}, r"\$.a\[0\] is datetime.date"),
        ({1: 2}, r"a key of \$ is 1, not a string"),
        ([10**5000], "Exceeds the limit"),
    ],
)
def test_output_that_is_not_json(output, why):
    """An output that is not JSON is a wrong answer, for the reason that the parser gives."""
    score = json_equal(output, [1], tolerance=1)
    assert (score.value, score.metadata) == (False, {"path": None})
    assert re.search(rf"(?s)^the output, .*, cannot be read as JSON: .*{why}", score.reason)


def test_deep_values():
    """A value that is nested too deeply is a wrong answer, also where it was parsed already or is sorted."""
    deep: list = []
    for _ in range(50_000):
        deep = [deep]
    assert "nested too deeply" in json_equal(deep, [1]).reason
    text = "[" * 900 + "]" * 900
    assert json_equal(text, [[[]]], ignore_order=True).value is False
    while deep:  # Taken apart, as freeing it whole recurses too.
        deep = deep[0]


@pytest.mark.parametrize("expected", ["yes", "", "[NaN]", math.inf, {1: 2}, {"a": {1}}, DEEP, b"\xff"])
def test_expected_that_is_not_json(expected):
    """An expected answer that is not JSON is an error that says how to give it."""
    with pytest.raises(ScoreError, match=r"(?s)given to json_equal, .*, is not JSON: .*Give JSON text"):
        json_equal("1", expected)


def test_expected_too_deep_to_sort():
    """An expected answer that is too deep to be sorted is an error, where it must be sorted."""
    text = "[" * 900 + "]" * 900

    def from_deep_in_a_program(calls):
        return from_deep_in_a_program(calls - 1) if calls else json_equal(text, text, ignore_order=True)

    assert json_equal(text, text).value is True
    with pytest.raises(ScoreError, match="is not JSON: it is nested too deeply"):
        from_deep_in_a_program(300)


@pytest.mark.parametrize("tolerance", [-1, math.nan, "1", None])
def test_unusable_tolerance(tolerance):
    """A tolerance that is no number from 0 up is an error."""
    with pytest.raises(ConfigurationError, match=f"tolerance={tolerance!r} of json_equal is not a margin"):
        json_equal("1", 1, tolerance=tolerance)


@given(value=VALUES, indent=st.none() | st.integers(0, 3), fenced=st.booleans())
def test_round_trip(value, indent, fenced):
    """Any value is equal to its JSON text, however that is laid out, and to itself in any order."""
    text = json.dumps(value, indent=indent)
    output = f"Here:\n```json\n{text}\n```\n" if fenced else text
    assert json_equal(output, text).value is True
    assert json_equal(output, text, ignore_order=True).value is True
    if value is not None and not isinstance(value, str):
        assert json_equal(output, value).value is True


@given(items=st.lists(VALUES, max_size=6), data=st.data())
def test_order(items, data):
    """Where order does not matter, any order of an array is equal."""
    shuffled = data.draw(st.permutations(items))
    assert json_equal(json.dumps(shuffled), items, ignore_order=True).value is True


@given(one=VALUES, other=VALUES)
def test_different_texts(one, other):
    """Two values are equal exactly if their canonical texts are, numbers being equal by value."""

    def canonical(value):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            if isinstance(value, list):
                return ["list", *map(canonical, value)]
            return (
                {key: canonical(item) for key, item in value.items()}
                if isinstance(value, dict)
                else (type(value), value)
            )
        return ("number", value)

    assert json_equal(json.dumps(one), json.dumps(other)).value is (canonical(one) == canonical(other))


@pytest.mark.parametrize("piece", ["`", "```\n", "```json\n", " ", "[", '"', "```x"])
def test_long_texts(piece):
    """A text of a hundred thousand characters is read in about a second at most."""
    start = process_time()
    json_equal(piece * (100_000 // len(piece)), [1])
    assert process_time() - start < 2
