"""Names of experiments."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.errors import ExperimentError
from aeval.storage.names import MOST_CHARACTERS, checked_name, new_name, not_there


@pytest.mark.parametrize(
    "name", ["baseline", "a", "gpt 4.1, try #2", "\u00e9\u4e16\U0001f600", "x" * MOST_CHARACTERS, "..a"]
)
def test_names_that_can_be_used(name: str) -> None:
    """A name may be any printable text that begins and ends with something to see."""
    assert checked_name(name) == name


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("", "''", "give a text, as in 'baseline'"),
        ("  ", "'  '", "give a text"),
        (None, "None", "give a text"),
        (7, "7", "give a text"),
        ("a/b", "'a/b'", "write 'a-b'"),
        ("runs\\a//b/", r"'runs\\\\a//b/'", "write 'runs-a-b'"),
        ("../..", "'../..'", "write 'baseline'"),
        (".", "'.'", "begins and ends with a letter or digit"),
        ("..", "'..'", "begins and ends with a letter or digit"),
        (" a", "' a'", "begins and ends with a letter or digit"),
        ("a\n", r"'a\\n'", "begins and ends with a letter or digit"),
        ("a\tb", r"'a\\tb'", "leave it out"),
        ("a\x00b", r"'a\\x00b'", "leave it out"),
        ("a\ud800b", r"'a\\ud800b'", "leave it out"),
        ("x" * 201, "'" + "x" * 40 + "'", "has 201 characters: 200 are allowed"),
    ],
)
def test_names_that_cannot_be_used(name: object, value: str, fix: str) -> None:
    """A name that cannot be used is shown, with what to write instead."""
    with pytest.raises(ExperimentError, match=f"{value}.*{fix}"):
        checked_name(name)


@given(st.lists(st.text(max_size=100), min_size=1, max_size=3))
def test_made_name_can_be_used(evaluations: list[str]) -> None:
    """The name that an experiment is given for want of one can be used, whatever is run."""
    assert checked_name(new_name(evaluations))


def test_made_name_says_what_and_when() -> None:
    """The name that is made begins with the first evaluation's, and another one is made a moment later."""
    first = new_name(["sums of two", "words"])
    what, _, when = first.partition("of-two-")
    assert what == "sums-"
    assert set(when) <= {*string.digits, "-"}
    assert new_name(["///"]).startswith("evaluation-")
    assert len(new_name(["x" * 500])) <= 100


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["baseline", "other"], r"did you mean 'baseline'\?"),
        (["f", "e", "d", "c", "b", "a"], r"there are 'a', 'b', 'c', 'd', 'e', ..."),
        ([], "there is none yet"),
    ],
)
def test_nearest_names_are_offered(names: list[str], hint: str) -> None:
    """The error for a name that is not there offers the nearest ones, or else the first ones."""
    error = not_there("experiment", "basline", iter(names))
    assert isinstance(error, ExperimentError)
    with pytest.raises(ExperimentError, match=f"no experiment 'basline': {hint}$"):
        raise error
