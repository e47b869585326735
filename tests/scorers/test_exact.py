from __future__ import annotations

from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.scorers import exact_match

SQUAD = {"ignore_case": True, "ignore_punctuation": True, "ignore_articles": True}


class Label(str, Enum):  # noqa: UP042 - Its `str` is its name, unlike a StrEnum's.
    CAT = "cat"


@pytest.mark.parametrize(
    ("output", "expected", "options", "value"),
    [
        ("Paris", "Paris", {}, True),
        ("\n Paris\u00a0", " Paris", {}, True),
        ("paris", "Paris", {}, False),
        ("Paris.", "Paris", {}, False),
        ("New  York", "New York", {}, False),
        ("e\u0301te\u0301", "\u00e9t\u00e9", {}, True),
        ("", "", {}, True),
        (4, "4", {}, True),
        (4.0, "4", {}, False),
        ("cat", Label.CAT, {}, True),
        ("PARIS", "paris", {"ignore_case": True}, True),
        ("STRASSE", "stra\u00dfe", {"ignore_case": True}, True),
        ("Paris!", "Paris", {"ignore_punctuation": True}, True),
        ("\u00abParis\u00bb", "Paris", {"ignore_punctuation": True}, True),
        ("$5", "5", {"ignore_punctuation": True}, True),
        ("3.5", "35", {"ignore_punctuation": True}, True),
        ("a - b", "a b", {"ignore_punctuation": True}, True),
        ("The cat", "cat", {"ignore_articles": True}, True),
        ("theatre", "atre", {"ignore_articles": True}, False),
        ("New \t York", "New York", {"collapse_whitespace": True}, True),
        ("the Eiffel Tower.", "Eiffel  tower", SQUAD, True),
        ("the", "", SQUAD, False),
    ],
)
def test_comparison(output, expected, options, value):
    """Texts are compared after what is stated is done to them, and nothing else."""
    assert exact_match(output, expected, **options).value is value


@pytest.mark.parametrize(("output", "expected"), [("+", "-"), ("A", "The"), ("?", ""), ("a.", "an.")])
def test_nothing_left(output, expected):
    """An option that would leave nothing of a text is passed over for it."""
    assert exact_match(output, expected, **SQUAD).value is False
    assert exact_match(output, output, **SQUAD).value is True


def test_matched():
    """A right answer names the accepted answer that it is, as it was given."""
    assert exact_match("paris", ["Lutetia", "Paris"], ignore_case=True).metadata == {"matched": "Paris"}


@pytest.mark.parametrize(
    ("output", "expected", "reason"),
    [
        ("a", "b", "'a' is not 'b'"),
        ("a", ["b"], "'a' is not 'b'"),
        ("a", ["b", "c"], "'a' is none of 'b', 'c'"),
        ("a", list("bcdefgh"), "'a' is none of 'b', 'c', 'd', 'e', 'f' and 2 more"),
        ("x" * 100 + "a", "x" * 100 + "b", f"...'{'x' * 20}a' is not ...'{'x' * 20}b'"),
        ("x" * 100, "x" * 101, f"...'{'x' * 20}' is not ...'{'x' * 21}'"),
        ("y" + "x" * 100, "z", f"'y{'x' * 79}'... is not 'z'"),
        ("y" * 100, ["a", "b"], f"'{'y' * 76}... is none of 'a', 'b'"),
    ],
)
def test_reason(output, expected, reason):
    """The reason shows both texts, long ones from just before where they differ."""
    assert exact_match(output, expected).reason == reason


@given(text=st.text(), options=st.sets(st.sampled_from([*SQUAD, "collapse_whitespace"])))
def test_same_text(text, options):
    """A text is itself, whatever the options."""
    assert exact_match(text, text, **dict.fromkeys(options, True)).value is True


@given(
    words=st.lists(st.sampled_from(["cat", "a", "The", "sat", "-", "x.y"]), min_size=1),
    other=st.text("ct as.", max_size=9),
)
def test_symmetry(words, other):
    """Output and expected answer may change places."""
    text = " ".join(words)
    assert exact_match(text, other, **SQUAD).value == exact_match(other, text, **SQUAD).value
