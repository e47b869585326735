"""Report: the metrics of a run with their uncertainty, its errors, its timing and usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs

from aeval.result import Result, Usage
from aeval.sample import SampleId

__all__ = ["ErrorGroup", "Report", "TimingReport"]

RowT = TypeVar("RowT")
OutputT = TypeVar("OutputT")


@attrs.frozen
class ErrorGroup:
    """The samples that errored in one way.

    :param kind: the error's class
    :param n: how many samples
    :param message: the first one's message
    :param id: the first one's id
    """

    kind: str
    n: int
    message: str
    id: SampleId


@attrs.frozen
class TimingReport:
    """Where the samples' time went, in seconds.

    :param mean: of the whole sample, as are the quantiles (to within 5 %) and `max`
    :param slot: waiting for a concurrency slot, all samples together, as are the rest
    :param rate: waiting for the rate
    :param backoff: sleeping between attempts
    :param task: in the task
    :param scorers: in the scorers, and in attempts that failed
    """

    mean: float
    p50: float
    p95: float
    p99: float
    max: float
    slot: float
    rate: float
    backoff: float
    task: float
    scorers: float


@attrs.frozen
class Report(Generic[RowT, OutputT]):
    """What a run found.

    :param name: the evaluation's name; of several, their names
    :param status: `"finished"`, `"running"`, `"stopped"` (by `stop`, or left early) or `"failed"`
    :param summary: each score's metrics, as in `summary["exact_match"]["accuracy"]`: `accuracy` for scores
        that are bools, `mean` for numbers, `share of 'x'` for labels; beside it `stderr`, the 95 % confidence
        interval `ci_low`, `ci_high`, and `n`. Of several evaluations the keys are `"name/score"`.
    :param n: samples that finished
    :param errored: those of them that errored; they have no score, and are in no metric
    :param errors: the errored samples, grouped by the error's kind
    :param duration: seconds from the run's start to its end, or to now
    :param timing: where the samples' time went
    :param usage: tokens and requests, or None where none were noted
    :param attempts: attempts made, of all samples
    :param refused: attempts that a server refused for load
    :param abandoned_threads: threads still working on sync calls that were given up
    :param results: the results, for a run with `keep=True`; else None
    :param evaluations: of several evaluations, each one's own report, by name
    """

    name: str
    status: str
    summary: Mapping[str, Mapping[str, float]]
    n: int
    errored: int
    errors: Mapping[str, ErrorGroup]
    duration: float
    timing: TimingReport
    usage: Usage | None
    attempts: int
    refused: int
    abandoned_threads: int = 0
    results: tuple[Result[RowT, OutputT], ...] | None = attrs.field(default=None, repr=False)
    evaluations: Mapping[str, Report[Any, Any]] = attrs.field(factory=dict, repr=False)

    @property
    def scored(self) -> int:
        """Samples that have scores."""
        return self.n - self.errored

    @property
    def throughput(self) -> float:
        """Samples finished in a second."""
        return self.n / self.duration if self.duration > 0 else 0.0

    def __getitem__(self, name: str) -> Report[Any, Any]:
        """Return one evaluation's report by its name."""
        return self if name == self.name and not self.evaluations else self.evaluations[name]

    def __str__(self) -> str:
        from aeval.report.render import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from aeval.report.render import as_html

        return as_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold, without the results."""
        from aeval.report.render import as_dict

        return as_dict(self)
