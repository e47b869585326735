from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aeval.metrics import Moments, mean_interval, wilson_interval

NUMBERS = st.floats(-1e6, 1e6) | st.integers(-1000, 1000)
CLOSE: dict[str, Any] = {"rel": 1e-9, "abs": 1e-9}


def moments_of(values: list[Any], repeats: int = 1) -> Moments:
    """Add the values, of which as many as there are repeats are of one row, and close the full rows."""
    moments = Moments(repeats)
    for place, value in enumerate(values):
        moments.add(value, place // repeats)
        if place % repeats == repeats - 1:
            moments.close(place // repeats)
    return moments


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (9, 10, 0.5958, 0.9821),
        # Robert G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_as_published(successes: int, n: int, low: float, high: float) -> None:
    """The interval of a proportion is as it was published."""
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_at_other_confidence() -> None:
    """The more certain, the wider."""
    assert wilson_interval(8, 10, confidence=0.99) == pytest.approx((0.4008, 0.9599), abs=5e-5)


@given(n=st.floats(0.5, 1e9), share=st.floats(0, 1), confidence=st.floats(0.01, 0.999))
def test_wilson_interval_holds_the_proportion(n: float, share: float, confidence: float) -> None:
    """The interval holds the proportion, and lies within 0 and 1."""
    low, high = wilson_interval(share * n, n, confidence)
    assert 0.0 <= low <= share * n / n <= high <= 1.0


@given(n=st.integers(1, 10_000), data=st.data())
def test_wilson_interval_is_symmetric(n: int, data: st.DataObject) -> None:
    """What holds of successes holds of failures."""
    successes = data.draw(st.integers(0, n))
    low, high = wilson_interval(successes, n)
    assert wilson_interval(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_mean_interval() -> None:
    """The interval of a mean is 1.96 standard errors to either side at 95 %, 2.58 at 99 %."""
    assert mean_interval(1.0, 0.1) == pytest.approx((0.804004, 1.195996), abs=1e-6)
    assert mean_interval(1.0, 0.1, 0.99) == pytest.approx((0.742417, 1.257583), abs=1e-6)


@given(values=st.lists(st.booleans() | NUMBERS, min_size=2, max_size=60))
def test_moments_are_those_of_statistics(values: list[Any]) -> None:
    """Mean and standard error of bools and numbers together are what Python's own statistics give."""
    assume(not all(isinstance(value, bool) for value in values))
    estimate = moments_of(values).estimate()
    plain = [float(value) for value in values]
    spread = statistics.stdev(plain) / math.sqrt(len(plain))
    assert estimate.n == len(values)
    assert estimate.value == pytest.approx(statistics.fmean(plain), rel=1e-9, abs=1e-6)
    assert estimate.stderr == pytest.approx(spread, rel=1e-6, abs=1e-4)
    assert estimate.ci_high - estimate.value == pytest.approx(1.959964 * estimate.stderr, rel=1e-5, abs=1e-6)


@given(values=st.lists(st.booleans(), min_size=1, max_size=60))
def test_bools_are_a_proportion(values: list[bool]) -> None:
    """Bools alone are a proportion, with its own standard error and interval."""
    moments = moments_of(values)
    estimate, share = moments.estimate(), sum(values) / len(values)
    assert moments.only_bools
    assert (estimate.value, estimate.n) == (pytest.approx(share), len(values))
    assert estimate.stderr == pytest.approx(math.sqrt(share * (1 - share) / len(values)))
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx(wilson_interval(sum(values), len(values)))


def test_ones_and_zeros_are_numbers() -> None:
    """The numbers 1 and 0 are not taken for bools, though they are equal to them."""
    moments = moments_of([1, 0, 1.0])
    assert not moments.only_bools
    assert moments.estimate().value == pytest.approx(2 / 3)


def test_one_number_has_no_standard_error() -> None:
    """Of one number no standard error can be told; of one bool there is at least an interval."""
    number, right = moments_of([0.5]).estimate(), moments_of([True]).estimate()
    assert number.value == 0.5
    assert all(math.isnan(part) for part in (number.stderr, number.ci_low, number.ci_high))
    assert (right.ci_low, right.ci_high) == pytest.approx((0.2065, 1.0), abs=5e-5)


@given(
    st.integers(2, 5).flatmap(
        lambda repeats: st.tuples(
            st.just(repeats),
            st.lists(
                st.lists(st.booleans() | NUMBERS, min_size=repeats, max_size=repeats), min_size=2, max_size=12
            ),
        )
    )
)
def test_standard_error_of_repeats_is_clustered(case: tuple[int, list[list[Any]]]) -> None:
    """With repeats the standard error is that of the rows' means."""
    repeats, rows = case
    estimate = moments_of([value for row in rows for value in row], repeats).estimate()
    means = [statistics.fmean(map(float, row)) for row in rows]
    assert estimate.n == repeats * len(rows)
    assert estimate.value == pytest.approx(statistics.fmean(means), rel=1e-9, abs=1e-6)
    assert estimate.stderr == pytest.approx(statistics.stdev(means) / math.sqrt(len(rows)), rel=1e-6, abs=1e-4)


def test_rows_that_are_not_complete_count_as_they_stand() -> None:
    """A row some of whose repeats are still to come counts with the mean of those that are there."""
    estimate = moments_of([1.0, 0.0, 0.5, 0.5, 1.0], repeats=2).estimate()
    means = [0.5, 0.5, 1.0]
    assert estimate.value == pytest.approx(0.6)
    assert estimate.stderr == pytest.approx(statistics.stdev(means) / math.sqrt(3))


def test_closing_a_row_that_has_no_score_does_nothing() -> None:
    """A row all of whose repeats errored is none."""
    moments = Moments(2)
    moments.close(7)
    moments.add(True, 1)
    assert moments.n == 1


def test_repeats_of_one_row_have_no_standard_error() -> None:
    """However often one row is repeated, it is one question, of which no standard error can be told."""
    estimate = moments_of([True, False, True, True], repeats=4).estimate()
    assert estimate.value == 0.75
    assert math.isnan(estimate.stderr)
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx(wilson_interval(0.75, 1))


@given(answers=st.lists(st.booleans(), min_size=2, max_size=30), repeats=st.integers(2, 6))
def test_repeats_that_agree_tell_nothing_new(answers: list[bool], repeats: int) -> None:
    """Where all repeats of a row agree, the interval is no narrower than that of the rows."""
    estimate = moments_of([answer for answer in answers for _ in range(repeats)], repeats).estimate()
    low, high = wilson_interval(sum(answers), len(answers))
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx((low, high), abs=1e-9)


@given(
    st.integers(2, 5).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.booleans(), min_size=n, max_size=60)))
)
def test_interval_of_repeats_lies_between_rows_and_scores(case: tuple[int, list[bool]]) -> None:
    """With repeats the interval holds the proportion, and is as wide as some number between rows and scores makes it."""
    repeats, values = case
    values = values[: len(values) // repeats * repeats]
    estimate = moments_of(values, repeats).estimate()
    widest = wilson_interval(sum(values) / repeats, len(values) / repeats)
    narrowest = wilson_interval(sum(values), len(values))
    assert widest[0] - 1e-9 <= estimate.ci_low <= narrowest[0] + 1e-9
    assert narrowest[1] - 1e-9 <= estimate.ci_high <= widest[1] + 1e-9
    assert 0 <= estimate.ci_low <= estimate.value + 1e-12
    assert estimate.value - 1e-12 <= estimate.ci_high <= 1


@pytest.mark.parametrize("repeats", [1, 2])
def test_numbers_near_a_floats_end_are_no_error(repeats: int) -> None:
    """Scores too large for their squares to be told have a mean, and a standard error that is infinite."""
    estimate = moments_of([1e200, -1e200, 1e200, 1e200], repeats).estimate()
    assert estimate.value == pytest.approx(5e199)
    assert estimate.stderr == math.inf


def test_numbers_far_from_zero_keep_their_digits() -> None:
    """Numbers that differ little and are far from zero lose no digits of their standard error."""
    values = [1e9 + place for place in range(10)]
    expected = statistics.stdev(values) / math.sqrt(10)
    assert moments_of(values).estimate().stderr == pytest.approx(expected, **CLOSE)
