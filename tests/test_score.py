from __future__ import annotations

import asyncio
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval import Score
from aeval.errors import ScoreError
from aeval.score import refuse_awaitable, scores_of

VALUES = st.one_of(
    st.booleans(), st.integers(-(10**300), 10**300), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


async def verdict() -> bool:
    return True


@given(value=VALUES)
def test_plain_values_become_a_score_of_the_scorers_name(value: Any) -> None:
    """A bool, a number or a label becomes one score that has the scorer's name, its value unchanged."""
    scores = scores_of(value, "judge")
    assert scores == {"judge": Score(value, "judge")}
    assert type(scores["judge"].value) is type(value)


@given(values=st.dictionaries(st.text(), VALUES, min_size=1))
def test_mapping_becomes_a_score_for_each_name(values: dict[str, Any]) -> None:
    """A mapping becomes one score for each of its names, in its order."""
    scores = scores_of(values, "judge")
    assert [(name, score.name, score.value) for name, score in scores.items()] == [
        (name, name, value) for name, value in values.items()
    ]


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        (np.float64(0.25), 0.25),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(2.5), 2.5),
        (Fraction(1, 4), 0.25),
    ],
)
def test_other_libraries_numbers_become_pythons(returned: Any, value: Any) -> None:
    """A number or bool of numpy, and a fraction, becomes Python's own number or bool."""
    for made in (scores_of(returned, "s")["s"].value, scores_of({"s": returned}, "")["s"].value):
        assert made == value
        assert type(made) is type(value)


@pytest.mark.parametrize(("given_value", "value"), [(np.bool_(True), True), (np.float64(0.5), 0.5)])
def test_numpy_values_within_scores_become_pythons(given_value: Any, value: Any) -> None:
    """A Score's value that is of numpy becomes Python's own, as elsewhere, and no score is changed in place."""
    score = Score(given_value, reason="r")
    made = scores_of(score, "s")["s"]
    assert made == Score(value, "s", "r")
    assert type(made.value) is type(value)
    assert type(score.value) is type(given_value)


def test_score_keeps_what_it_says() -> None:
    """A Score that a scorer returns keeps its name, reason and metadata."""
    score = Score(0.5, "style", reason="dull", metadata={"judge": "m"})
    assert scores_of(score, "judge") == {"style": score}


def test_score_without_a_name_gets_the_scorers() -> None:
    """A Score without a name gets the scorer's, and the scorer's own object is not changed."""
    score = Score(True, reason="same")
    assert scores_of(score, "judge") == {"judge": Score(True, "judge", "same")}
    assert score.name is None


def test_mapping_of_scores_renames_them() -> None:
    """In a mapping the key is a score's name, whatever name the Score has."""
    scores = scores_of(MappingProxyType({"a": Score(1, "x"), "b": True}), "judge")
    assert {name: (score.name, score.value) for name, score in scores.items()} == {
        "a": ("a", 1),
        "b": ("b", True),
    }


@pytest.mark.parametrize("kind", [list, tuple])
def test_list_of_scores_keeps_their_names(kind: type) -> None:
    """A list of scores becomes scores by their own names; one without gets the scorer's."""
    scores = scores_of(kind([Score(1, "a"), Score(2)]), "judge")
    assert {name: score.value for name, score in scores.items()} == {"a": 1, "judge": 2}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "the scorer 'judge' returned nothing"),
        (object(), "the scorer 'judge' returned a object"),
        (Decimal("0.5"), "the scorer 'judge' returned a Decimal"),
        (1j, "the scorer 'judge' returned a complex"),
        ({1, 2}, "the scorer 'judge' returned a set"),
        ({}, "empty mapping"),
        ([], "empty list"),
        ([True], "a list that holds a bool, True"),
        ([Score(1, "a"), Score(2, "a")], "two scores are named 'a'"),
        ([Score(1), Score(2)], "two scores are named 'judge'"),
        ({"a": 1, "b": None}, "returned nothing"),
        ({1: True, "1": False}, "two scores are named '1'"),
        (float("nan"), "the score 'judge' has the value nan"),
        (float("inf"), "the score 'judge' has the value inf"),
        (np.float64("nan"), "the score 'judge' has the value nan"),
        (10**400, "the score 'judge' has the value 1000.*: raise an error"),
        (-(10**400), "the score 'judge' has the value -1000.*: raise an error"),
        ({"a": float("-inf")}, "the score 'a' has the value -inf"),
        (Score([1]), "the score 'judge' has the value a list"),  # type: ignore[arg-type]
        (Score(float("nan"), "a"), "the score 'a' has the value nan"),
        ({"a": ["y" * 200]}, r"\.\.\.: return a Score"),
    ],
)
def test_what_is_no_score_is_refused(returned: Any, message: str) -> None:
    """What cannot be a score is refused, with words that name the scorer or the score and the value."""
    with pytest.raises(ScoreError, match=message):
        scores_of(returned, "judge")


@pytest.mark.parametrize("wrap", [lambda c: c, lambda c: {"a": c}, Score])
def test_coroutine_that_was_not_awaited_is_told(wrap: Any) -> None:
    """A coroutine that a scorer forgot to await is an error that says so, and no warning follows it."""
    with pytest.raises(ScoreError, match="was not awaited: write `await` before the call"):
        scores_of(wrap(verdict()), "judge")


def test_future_that_was_not_awaited_is_told() -> None:
    """A future, which cannot be closed as a coroutine can, is refused with the same words."""

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(ScoreError, match=r"the output of 't' is a .*Future.* was not awaited"):
            refuse_awaitable(future, "the output of 't'")

    asyncio.run(main())


def test_what_is_not_awaitable_passes() -> None:
    """A value that is no awaitable is not refused."""
    refuse_awaitable("fine", "the output")


def test_scores_may_be_added_to() -> None:
    """A Score's metadata belongs to it alone."""
    first, second = Score(1), Score(2)
    first.metadata["seen"] = True
    assert second.metadata == {}
