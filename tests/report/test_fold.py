from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval import Failure, Result, Score, Usage
from aeval.context import Record, result_of
from aeval.metrics import wilson_interval
from aeval.report.fold import MOST_NAMES, OTHERS, Durations, Fold, merged
from aeval.result import RetriedAttempt
from aeval.score import ScoreValue


def scored(
    index: int = 0, total: float = 1.0, usage: Usage | None = None, **values: ScoreValue
) -> Result[Any, Any]:
    """Return the result of a sample that was scored."""
    scores = {name: Score(value, name) for name, value in values.items()}
    return result_of(Record(index, index, 0, "row"), "quiz", total, None, scores, None, usage, {})


def errored(index: int = 0, kind: str = "ValueError", message: str = "bad", **fields: Any) -> Result[Any, Any]:
    """Return the result of a sample that errored."""
    failure = Failure(kind, message, **fields)
    return result_of(Record(index, index, 0, "row"), "quiz", 1.0, None, {}, failure, None, {})


def folded(results: list[Result[Any, Any]], *args: Any) -> Fold:
    """Fold results."""
    fold = Fold(*args)
    for result in results:
        fold.add(result)
    return fold


def attempt(*, refused: bool) -> RetriedAttempt:
    return RetriedAttempt("E", "m", 429 if refused else None, refused=refused, duration=1.0, backoff=2.0)


def test_nothing_is_nothing() -> None:
    """Without results there are no scores, no errors and no times."""
    fold = Fold()
    assert (fold.n, fold.errored, fold.usage, fold.first, fold.summary(), fold.errors) == (
        0,
        0,
        None,
        None,
        {},
        {},
    )
    assert fold.durations.report().mean == 0.0
    assert fold.durations.report().p50 == 0.0


def test_bools_make_an_accuracy() -> None:
    """Scores that are bools make an accuracy, with its uncertainty and the number of scores beside it."""
    fold = folded([scored(place, right=place < 8) for place in range(10)])
    low, high = wilson_interval(8, 10)
    assert fold.summary() == {
        "right": pytest.approx(
            {"accuracy": 0.8, "stderr": math.sqrt(0.016), "ci_low": low, "ci_high": high, "n": 10}
        )
    }


def test_numbers_make_a_mean() -> None:
    """Scores that are numbers make a mean."""
    values = [0.5, 1, 0.0, 3.5]
    summary = folded([scored(score=value) for value in values]).summary()["score"]
    assert summary["mean"] == statistics.fmean(values)
    assert summary["stderr"] == pytest.approx(statistics.stdev(values) / 2)
    assert summary["n"] == 4
    assert "accuracy" not in summary


def test_labels_make_shares() -> None:
    """Scores that are labels make each label's share, the most frequent first."""
    fold = folded([scored(label=label) for label in ("b", "a", "b", "b")])
    assert list(fold.summary()["label"].items()) == [("share of 'b'", 0.75), ("share of 'a'", 0.25), ("n", 4)]
    assert fold.first is None


def test_too_many_labels_are_counted_together() -> None:
    """Labels that are free text are counted together from the hundredth on, in bounded memory."""
    fold = folded([scored(label=f"text {place}") for place in range(3 * MOST_NAMES)] + [scored(label="text 0")])
    summary = fold.summary()["label"]
    assert len(summary) == MOST_NAMES + 2
    assert summary[f"share of {OTHERS!r}"] == 2 * MOST_NAMES / (3 * MOST_NAMES + 1)
    assert summary["share of 'text 0'"] == 2 / (3 * MOST_NAMES + 1)


def test_too_many_scores_are_counted_together() -> None:
    """Scores whose names have no end are counted together from the hundredth on."""
    fold = folded([scored(**{f"score {place}": 1.0}) for place in range(2 * MOST_NAMES)])
    summary = fold.summary()
    assert len(summary) == MOST_NAMES + 1
    assert summary[OTHERS]["n"] == MOST_NAMES


def test_errors_are_in_no_metric() -> None:
    """A sample that errored counts among all and among the errored ones, and in no metric."""
    fold = folded([scored(right=True), errored(1), scored(2, right=False), errored(3)])
    assert (fold.n, fold.errored) == (4, 2)
    assert (fold.summary()["right"]["accuracy"], fold.summary()["right"]["n"]) == (0.5, 2)


def test_scored_and_errored_results_count_alike() -> None:
    """A result known to have no error is taken in as any other is."""
    fast, slow = Fold(), Fold()
    for place in range(20):
        fast.add_scored(scored(place, right=place % 3 == 0))
        slow.add(scored(place, right=place % 3 == 0))
    assert fast.summary() == slow.summary()
    assert (fast.n, fast.durations.report()) == (slow.n, slow.durations.report())


def test_errors_are_grouped_by_kind() -> None:
    """Errors of one kind are one group, with their number and the first one's message and id."""
    fold = folded([errored(3, "KeyError", "x"), errored(5, "KeyError", "y"), errored(6)])
    groups = [(group.kind, group.n, group.message, group.id) for group in fold.errors.values()]
    assert groups == [("KeyError", 2, "x", 3), ("ValueError", 1, "bad", 6)]


def test_too_many_kinds_of_errors_are_counted_together() -> None:
    """Kinds of errors without end are counted together from the hundredth on."""
    fold = folded([errored(place, f"Error{place}") for place in range(2 * MOST_NAMES)])
    assert len(fold.errors) == MOST_NAMES + 1
    assert fold.errors[OTHERS].n == MOST_NAMES


def test_refusals_and_attempts_are_counted() -> None:
    """Refused attempts are counted, those that were tried again and those after which a sample errored."""
    record = Record(1, 1, 0, "row")
    record.retried, record.timed = (attempt(refused=True), attempt(refused=False)), True
    again = result_of(record, "quiz", 9.0, None, {}, Failure("RateLimited", "m", refused=True), None, {})
    fold = folded([scored(right=True), again, errored(2)])
    assert (fold.retried, fold.refused, fold.refused_last) == (2, 2, 1)


def test_usage_adds_up() -> None:
    """Usage adds up over the results that have some."""
    fold = folded(
        [
            scored(right=True, usage=Usage(10, 5, 0, 1)),
            scored(1, right=True),
            scored(2, usage=Usage(1, 1, 1, 1)),
        ]
    )
    assert fold.usage == Usage(11, 6, 1, 2)


def test_first_score_is_shown_while_it_runs() -> None:
    """The first score that has a mean is what a line of progress shows."""
    assert folded([scored(label="a", right=True), scored(1, label="b", right=False)]).first == ("right", 0.5)


def spread(values: Sequence[ScoreValue]) -> float:
    return float(max(values)) - float(min(values))


class Count:
    def __call__(self, values: Sequence[ScoreValue]) -> int:
        return len(values)


def test_metrics_of_ones_own() -> None:
    """Each further metric is given all values of a score, and stands beside the others by its name."""
    results = [scored(place, number=place / 2, right=True) for place in range(5)]
    summary = folded(results, 1, (spread, Count())).summary()
    assert (summary["number"]["spread"], summary["number"]["Count"]) == (2.0, 5.0)
    assert (summary["right"]["spread"], summary["right"]["accuracy"]) == (0.0, 1.0)


@given(data=st.data(), repeats=st.integers(2, 4), rows=st.integers(2, 8))
def test_repeats_are_clustered_in_whatever_order_they_come(
    data: st.DataObject, repeats: int, rows: int
) -> None:
    """With repeats the standard error is that of the rows' means, in whatever order the results come."""
    values = data.draw(st.lists(st.floats(-10, 10), min_size=rows * repeats, max_size=rows * repeats))
    order = data.draw(st.permutations(range(rows * repeats)))
    fold = folded([scored(place // repeats, score=values[place]) for place in order], repeats)
    means = [statistics.fmean(values[row * repeats : (row + 1) * repeats]) for row in range(rows)]
    expected = statistics.stdev(means) / math.sqrt(rows)
    assert fold.summary()["score"]["stderr"] == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert fold._finished == {}


def test_rows_some_of_whose_repeats_errored_count_with_the_rest() -> None:
    """Of a row some of whose repeats errored the others count."""
    fold = folded([scored(0, right=True), errored(0), scored(1, right=False), scored(1, right=True)], 2)
    summary = fold.summary()["right"]
    assert (summary["accuracy"], summary["n"]) == (pytest.approx(2 / 3), 3)
    assert summary["stderr"] == pytest.approx(statistics.stdev([1.0, 0.5]) / math.sqrt(2))


# Times.


def timed(times: list[float]) -> Durations:
    """Take in samples' times."""
    return folded([scored(total=time, right=True) for time in times]).durations


@given(times=st.lists(st.floats(1e-6, 1e5), min_size=1, max_size=600))
def test_quantiles_are_right_to_five_percent(times: list[float]) -> None:
    """Quantiles are those of the sorted times, to within 5 %, and mean and maximum are exact."""
    report = timed(times).report()
    for q, quantile in ((0.5, report.p50), (0.95, report.p95), (0.99, report.p99)):
        exact = sorted(times)[max(0, math.ceil(q * len(times) - 1e-9) - 1)]
        assert exact / 1.05 <= quantile <= exact * 1.05
    assert report.mean == pytest.approx(statistics.fmean(times))
    assert report.max == max(times)


def test_times_of_nothing() -> None:
    """Samples that took no time, as on a virtual clock, have a time."""
    report = timed([0.0] * 3).report()
    assert (report.mean, report.p50, report.max) == (0.0, 0.0, 0.0)


def test_where_the_time_went_adds_up() -> None:
    """The parts of the samples' times add up, and what is left is the scorers'."""
    record = Record(1, 1, 0, "row")
    record.wait(slot=1.0, rate=2.0)
    record.task, record.backoff = 3.0, 0.5
    waited = result_of(record, "quiz", 10.0, None, {}, None, None, {})
    report = folded([waited, scored(total=2.0), waited]).durations.report()
    assert (report.slot, report.rate, report.backoff, report.task) == (2.0, 4.0, 1.0, 6.0)
    assert report.scorers == pytest.approx(22.0 - 13.0)


@given(st.lists(st.lists(st.just(0.0) | st.floats(1e-6, 100), max_size=300), max_size=4))
def test_merged_times_are_those_of_all(parts: list[list[float]]) -> None:
    """The times of several evaluations together are as if they were one, and the parts are left as they are."""
    folds = [folded([scored(total=time) for time in part]) for part in parts]
    whole = merged(folds).report()
    alone = timed([time for part in parts for time in part]).report()
    assert (whole.p50, whole.p95, whole.max) == (alone.p50, alone.p95, alone.max)
    assert whole.mean == pytest.approx(alone.mean)
    assert [fold.durations.report().max for fold in folds] == [max(part, default=0.0) for part in parts]
