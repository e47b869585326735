"""Folding results into numbers, one at a time, in memory that does not grow with their number."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

from aeval.metrics import Metric, Moments
from aeval.middleware.base import name_of
from aeval.report.report import ErrorGroup, TimingReport
from aeval.result import Failure, Result, Usage
from aeval.score import Score, ScoreValue

__all__ = ["Fold"]

# More distinct labels, scores or kinds of errors than this are free text, and are counted together.
MOST_NAMES = 100
OTHERS = "(others)"
MOST_FRESH = 256


class Fold:
    """What the results of one evaluation add up to."""

    def __init__(self, repeats: int = 1, metrics: tuple[Metric, ...] = ()) -> None:
        self.n = 0
        self.errored = 0
        self.retried = 0
        self.refused = 0
        self.refused_last = 0  # those of them after which the sample was not tried again
        self.usage: Usage | None = None
        self.errors: dict[str, ErrorGroup] = {}
        self.durations = Durations()
        self._fresh = self.durations.fresh
        self._repeats = repeats
        self._metrics = metrics
        self._scores: dict[str, _ScoreFold] = {}
        self._finished: Counter[int] = Counter()

    def add(self, result: Result[Any, Any]) -> None:
        """Take in one result."""
        self.add_scored(result)
        if result.error is not None:
            self._add_error(result, result.error)

    def add_scored(self, result: Result[Any, Any]) -> None:
        """Take in one result that is known to have no error."""
        self.n += 1
        times = result.times
        self._fresh.append(times[0])
        if len(times) > 1 or len(self._fresh) >= MOST_FRESH:
            self.durations.add(times)
            for attempt in result.retried:
                self.retried += 1
                self.refused += attempt.refused
        if result.usage is not None:
            self.usage = result.usage if self.usage is None else self.usage + result.usage
        scores = self._scores
        for name, score in result.scores.items():
            fold = scores[name] if name in scores else self._open(name)
            # The common case, where it stands: most scores are bools, and the calls cost more.
            if fold.counts_only and score.value is True:
                fold.moments.trues += 1
            else:
                fold.add(score, result.index)
        if self._repeats > 1:
            self._count(result.index)

    def _add_error(self, result: Result[Any, Any], error: Failure) -> None:
        self.errored += 1
        self.refused += error.refused
        self.refused_last += error.refused
        kind = error.kind
        if kind not in self.errors and len(self.errors) >= MOST_NAMES:
            kind = OTHERS
        group = self.errors.get(kind)
        if group is None:
            self.errors[kind] = ErrorGroup(kind, 1, error.message, result.id)
        else:
            self.errors[kind] = ErrorGroup(kind, group.n + 1, group.message, group.id)

    def _open(self, name: str) -> _ScoreFold:
        if len(self._scores) >= MOST_NAMES:
            name = OTHERS
        return self._scores.setdefault(name, _ScoreFold(self._repeats, keep=bool(self._metrics)))

    def _count(self, index: int) -> None:
        self._finished[index] += 1
        if self._finished[index] == self._repeats:
            del self._finished[index]
            for fold in self._scores.values():
                fold.moments.close(index)

    @property
    def first(self) -> tuple[str, float] | None:
        """The first score's name and its mean so far, for a line of progress."""
        for name, fold in self._scores.items():
            if fold.moments.n:
                return name, fold.moments.mean
        return None

    def summary(self) -> dict[str, dict[str, float]]:
        """Return each score's metrics, by name."""
        return {name: fold.summary(name, self._metrics) for name, fold in self._scores.items()}


class _ScoreFold:
    """What the values of one score add up to."""

    def __init__(self, repeats: int, *, keep: bool) -> None:
        self.moments = Moments(repeats)
        self.counts_only = repeats == 1 and not keep
        self._labels: Counter[str] = Counter()
        self._values: list[ScoreValue] | None = [] if keep else None

    def add(self, score: Score, index: int) -> None:
        value = score.value
        if self._values is not None:
            self._values.append(value)
        if isinstance(value, str):
            self._labels[value if value in self._labels or len(self._labels) < MOST_NAMES else OTHERS] += 1
        else:
            self.moments.add(value, index)

    def summary(self, score: str, metrics: tuple[Metric, ...]) -> dict[str, float]:
        made: dict[str, float] = {}
        labels = self._labels
        if labels and self.moments.n:
            # Labels and numbers under one name are no quantity: each counts as a label of its own.
            labels = labels + self.moments.as_labels()
        elif self.moments.n:
            estimate = self.moments.estimate()
            made["accuracy" if self.moments.only_bools else "mean"] = estimate.value
            made.update(stderr=estimate.stderr, ci_low=estimate.ci_low, ci_high=estimate.ci_high)
        total = labels.total()
        made.update({f"share of {label!r}": count / total for label, count in labels.most_common()})
        made["n"] = total or self.moments.n
        for metric in metrics:
            made[name_of(metric)] = _value_of(metric, self._values or (), score)
        return made


def _value_of(metric: Metric, values: Sequence[ScoreValue], score: str) -> float:
    try:
        return float(metric(values))
    except Exception as error:  # noqa: BLE001 - a metric of the user's must not cost them the report
        warnings.warn(
            f"the metric {name_of(metric)!r} of the score {score!r} failed, and is NaN in the report: "
            f"{type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return math.nan


class Durations:
    """The samples' times: their sums, and the quantiles of the whole to within 5 %.

    Quantiles come out of a histogram whose bins grow by a tenth; it has as many bins as the times have
    orders of magnitude, however many times there are.
    """

    _GROWTH = 1.1

    def __init__(self) -> None:
        self.slot = self.rate = self.backoff = self.task = 0.0
        # Totals that are not in their bins yet. They are sorted in many at once, which the built-in functions do
        # at a third of the cost.
        self.fresh: list[float] = []
        self._total = self._max = 0.0
        self._bins: Counter[int] = Counter()

    def add(self, times: tuple[float, ...]) -> None:
        """Take in where one sample waited, whose total is among the fresh ones: the slot, rate, backoff and task."""
        if len(self.fresh) >= MOST_FRESH:
            self._sort()
        if len(times) > 1:
            _, slot, rate, backoff, task = times
            self.slot += slot
            self.rate += rate
            self.backoff += backoff
            self.task += task

    def merge(self, other: Durations) -> None:
        """Take in another evaluation's times."""
        for part in (self, other):
            part._sort()  # noqa: SLF001 - of its own class
        self._total += other._total
        self._max = max(self._max, other._max)
        self._bins.update(other._bins)
        for name in ("slot", "rate", "backoff", "task"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def _sort(self) -> None:
        fresh = self.fresh.copy()
        self.fresh.clear()
        self._total += sum(fresh)
        self._max = max(self._max, *fresh, 0.0)
        # A time of nothing, as a virtual clock measures it, has no logarithm.
        above = fresh if fresh and min(fresh) > 0 else [max(time, 1e-9) for time in fresh]
        self._bins.update(map(math.floor, map(math.log, above, repeat(self._GROWTH))))

    def _quantile(self, q: float) -> float:
        below, n = 0, self._bins.total()
        for place in sorted(self._bins):
            below += self._bins[place]
            if below >= q * n:
                return min(self._max, math.pow(self._GROWTH, place + 0.5))
        return 0.0

    def report(self) -> TimingReport:
        """Return the times as they are shown."""
        self._sort()
        n = self._bins.total()
        waits = self.slot + self.rate + self.backoff + self.task
        return TimingReport(
            mean=self._total / n if n else 0.0,
            p50=self._quantile(0.5),
            p95=self._quantile(0.95),
            p99=self._quantile(0.99),
            max=self._max,
            slot=self.slot,
            rate=self.rate,
            backoff=self.backoff,
            task=self.task,
            scorers=max(0.0, self._total - waits),
        )


def merged(folds: Iterable[Fold]) -> Durations:
    """Return the times of several evaluations together."""
    whole = Durations()
    for fold in folds:
        whole.merge(fold.durations)
    return whole
