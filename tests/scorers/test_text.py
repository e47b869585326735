from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.errors import ConfigurationError, ScoreError
from aeval.scorers import includes, regex


@pytest.mark.parametrize(
    ("output", "expected", "options", "value"),
    [
        ("It is Paris.", "Paris", {}, True),
        ("It is Paris.", " Paris\n", {}, True),
        ("It is paris.", "Paris", {}, False),
        ("It is paris.", "Paris", {"ignore_case": True}, True),
        ("e\u0301te\u0301", "\u00e9t", {}, True),
        (1914, 14, {}, True),
        ("1914", "14", {"whole_words": True}, False),
        ("19 14!", "14", {"whole_words": True}, True),
        ("I write C++.", "C++", {"whole_words": True}, True),
        ("It is (PARIS)", "paris", {"whole_words": True, "ignore_case": True}, True),
        ("", "x", {}, False),
    ],
)
def test_includes(output, expected, options, value):
    """The expected text is found wherever it stands, or only as whole words."""
    assert includes(output, expected, **options).value is value


def test_includes_says_what():
    """What was found is in the metadata, and what was not in the reason."""
    assert includes("b c", ["a", "c", "b"]).metadata == {"matched": "c"}
    assert includes("x", "a").reason == "'a' is not in 'x'"
    assert includes("x", ["a", "b"]).reason == "none of 'a', 'b' is in 'x'"


@pytest.mark.parametrize("expected", ["", "  ", ["a", ""]])
def test_empty_expected_text(expected):
    """An empty text, which every output includes, is an error."""
    with pytest.raises(ScoreError, match="is empty, which every output includes: give a text"):
        includes("x", expected)


@given(before=st.text(), wanted=st.text(min_size=1).filter(str.strip), after=st.text())
def test_included_text_is_found(before, wanted, after):
    """A text of letters that are there as they are is found."""
    wanted = wanted.encode("ascii", "replace").decode()
    if wanted.strip():
        assert includes(f"{before} {wanted} {after}", wanted).value is True


@pytest.mark.parametrize(
    ("output", "expected", "options", "value"),
    [
        ("12 days", r"\d+", {}, True),
        ("12 days", r"\d+", {"full": True}, False),
        ("12 days", r"\d+ \w+", {"full": True}, True),
        ("DAYS", "days", {}, False),
        ("DAYS", "days", {"ignore_case": True}, True),
        ("DAYS", re.compile("days"), {"ignore_case": True}, True),
        ("a\nb", "a.b", {}, False),
        ("a\nb", "a.b", {"flags": re.DOTALL}, True),
        ("A\nb", "a.b", {"flags": re.DOTALL, "ignore_case": True}, True),
        ("A\nb", re.compile("a.b", re.DOTALL | re.IGNORECASE), {}, True),
        ("", "", {"full": True}, True),
    ],
)
def test_regex(output, expected, options, value):
    """The pattern is searched in the output, or must match all of it."""
    assert regex(output, expected, **options).value is value


def test_regex_says_what():
    """The text and the pattern are in the metadata of a match, and in the reason of a miss."""
    assert regex("x=12", ["y", r"x=(\d+)"], group=0).metadata == {"extracted": "x=12", "pattern": r"x=(\d+)"}
    assert regex("x=12", r"x=(?P<n>\d+)", group="n").metadata["extracted"] == "12"
    assert regex("x", r"x(\d)?", group=1).metadata["extracted"] is None
    assert regex("x", "y").reason == "the pattern 'y' does not match 'x'"
    assert regex("xy", "y", full=True).reason == "the pattern 'y' does not match the whole of 'xy'"
    assert regex("x", ["y", "z"]).reason == "none of 'y', 'z' does match 'x'"


@pytest.mark.parametrize("pattern", ["(", "*", "a{99999999999}", "(?P<n>a)(?P<n>b)"])
def test_invalid_pattern(pattern):
    """What is no pattern is an error that names it and the fix."""
    with pytest.raises(ScoreError, match=re.escape(f"the pattern {pattern!r} given to regex") + ".*re.escape"):
        regex("x", pattern)


def test_pattern_of_another_type():
    """A pattern that is no text is an error that names its type."""
    with pytest.raises(ScoreError, match="the pattern given to regex, 5, is a int: give a text"):
        regex("x", 5)
    with pytest.raises(ScoreError, match="is a bytes: give a text"):
        regex("x", re.compile(b"x"))


@pytest.mark.parametrize("group", [2, -1, "m"])
def test_unknown_group(group):
    """A group that the pattern has not is an error that says which it has."""
    with pytest.raises(ConfigurationError, match=f"group={group!r} of regex .*from 0 to 1"):
        regex("x", "(?P<n>x)", group=group)
