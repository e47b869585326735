"""Metrics: functions over the scores of many results, with their uncertainty."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TypeAlias

import attrs

from aeval.score import ScoreValue

__all__ = ["Estimate", "Metric", "mean_interval", "wilson_interval"]

Metric: TypeAlias = Callable[[Sequence[ScoreValue]], float]

CONFIDENCE = 0.95


@attrs.frozen
class Estimate:
    """A metric's value, and how certain it is.

    :param value: the metric
    :param stderr: its standard error; NaN where it cannot be told from what there is
    :param ci_low: lower end of its 95 % confidence interval
    :param ci_high: upper end
    :param n: how many scores it is made of
    """

    value: float
    stderr: float
    ci_low: float
    ci_high: float
    n: int


def wilson_interval(successes: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the confidence interval of a proportion.

    It stays within 0 and 1, and says something even where all or none succeeded. Edwin B. Wilson, "Probable
    inference, the law of succession, and statistical inference", 1927.

    >>> low, high = wilson_interval(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)

    :param successes: how many succeeded, from 0 to `n`
    :param n: out of how many; more than 0. Neither need be whole.
    :param confidence: from 0 to 1
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def mean_interval(mean: float, stderr: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the confidence interval of a mean, by the central limit theorem.

    :param mean: the mean
    :param stderr: its standard error
    :param confidence: from 0 to 1
    """
    half = NormalDist().inv_cdf((1 + confidence) / 2) * stderr
    return mean - half, mean + half


class Moments:
    """What the mean of a score, and its uncertainty, are made of; grows by one number at a time.

    Scores of repeats of one row are not independent: asked five times, a model gives five answers to one
    question. With repeats the standard error is therefore that of the rows' means, which is the clustered
    standard error (Evan Miller, "Adding error bars to evals", 2024, section 2.2).
    """

    __slots__ = (
        "_falses",
        "_mean",
        "_numbers",
        "_open",
        "_repeats",
        "_row_mean",
        "_row_squares",
        "_rows",
        "_squares",
        "trues",
    )

    def __init__(self, repeats: int) -> None:
        self._repeats = repeats
        self.trues = self._falses = 0
        # Welford's running mean and sum of squared deviations, which do not lose digits as they grow: of the
        # numbers, and of the rows' means.
        self._numbers = self._rows = 0
        self._mean = self._squares = 0.0
        self._row_mean = self._row_squares = 0.0
        # Sum and count of each row some of whose repeats are still to come: as many as are in flight.
        self._open: dict[int, tuple[float, int]] = {}

    def add(self, value: bool | float, index: int) -> None:
        """Add a score of the row at an index."""
        if value is True:
            self.trues += 1
        elif value is False:
            self._falses += 1
        else:
            self._numbers += 1
            delta = value - self._mean
            self._mean += delta / self._numbers
            self._squares += delta * (value - self._mean)
        if self._repeats > 1:
            total, count = self._open.get(index, (0.0, 0))
            self._open[index] = (total + value, count + 1)

    def close(self, index: int) -> None:
        """Say that no more scores of the row at an index will come."""
        found = self._open.pop(index, None)
        if found is not None:
            mean = found[0] / found[1]
            self._rows += 1
            delta = mean - self._row_mean
            self._row_mean += delta / self._rows
            self._row_squares += delta * (mean - self._row_mean)

    @property
    def n(self) -> int:
        """How many scores there are."""
        return self.trues + self._falses + self._numbers

    @property
    def only_bools(self) -> bool:
        """Whether all scores are bools, so that their mean is a proportion."""
        return not self._numbers

    def as_labels(self) -> Counter[str]:
        """Return the scores as labels: how many were true, false, or other numbers."""
        counts = {"True": self.trues, "False": self._falses, "(numbers)": self._numbers}
        return Counter({label: count for label, count in counts.items() if count})

    @property
    def mean(self) -> float:
        """The mean of all scores; bools count as 1 and 0."""
        return (self.trues + self._numbers * self._mean) / self.n

    def estimate(self) -> Estimate:
        """Return the mean with its uncertainty: of a proportion where all scores are bools."""
        n, mean = self.n, self.mean
        units: float = n
        if self.only_bools:
            stderr = math.sqrt(mean * (1 - mean) / n)
        else:
            groups = ((self.trues, 1.0), (self._falses, 0.0), (self._numbers, self._mean))
            # Multiplied out: a power of a float that is too large is an error, a product is infinite.
            squares = self._squares + sum(count * (middle - mean) * (middle - mean) for count, middle in groups)
            stderr = math.sqrt(squares / (n - 1) / n) if n > 1 else math.nan
        if self._repeats > 1:
            # The rows some of whose repeats are still to come count as they stand.
            rows, row_mean, squares = self._rows, self._row_mean, self._row_squares
            for total, count in self._open.values():
                rows += 1
                delta = total / count - row_mean
                row_mean += delta / rows
                squares += delta * (total / count - row_mean)
            stderr = math.sqrt(squares / (rows - 1) / rows) if rows > 1 else math.nan
            # As many independent scores as would have this standard error: no fewer than there are rows,
            # no more than there are scores.
            independent = mean * (1 - mean) / (stderr * stderr) if stderr * stderr > 0 else rows
            units = min(float(n), max(float(rows), independent))
        low, high = wilson_interval(mean * units, units) if self.only_bools else mean_interval(mean, stderr)
        return Estimate(mean, stderr, low, high, n)
