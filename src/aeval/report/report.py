"""Report: the metrics of a run with their uncertainty, its errors, its timing and usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from aeval.errors import RunError
from aeval.report.results import StoredResults
from aeval.result import Result, Usage
from aeval.sample import SampleId

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["ErrorGroup", "Report", "Resumed", "TimingReport"]

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
class Resumed:
    """How a run went on with what was stored.

    :param experiment: name of the experiment
    :param stored: results that it had before
    :param kept: samples that were passed over, since they had their results
    :param retried: samples that were tried again, since they had errored
    :param changed: samples that were evaluated again, since their rows had changed
    :param recalled: results of earlier sessions that the report covers
    """

    experiment: str
    stored: int = 0
    kept: int = 0
    retried: int = 0
    changed: int = 0
    recalled: int = 0


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
    :param resumed: how the run went on with what was stored; None where nothing is stored
    :param results: the results: a tuple for a run with `keep=True`, `StoredResults` for one with a storage; else None
    :param evaluations: of several evaluations, each one's own report, by name
    :param columns: the names that an evaluation gave to its rows' columns, by the evaluation's name
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
    resumed: Resumed | None = None
    results: tuple[Result[RowT, OutputT], ...] | StoredResults[RowT, OutputT] | None = attrs.field(
        default=None, repr=False
    )
    evaluations: Mapping[str, Report[Any, Any]] = attrs.field(factory=dict, repr=False)
    columns: Mapping[str, tuple[str, ...] | None] = attrs.field(factory=dict, repr=False)

    @property
    def scored(self) -> int:
        """Samples that have scores."""
        return self.n - self.errored

    @property
    def throughput(self) -> float:
        """Samples finished in a second, of those that were evaluated this time."""
        now = self.n - (0 if self.resumed is None else self.resumed.recalled)
        return now / self.duration if self.duration > 0 else 0.0

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

    def to_arrow(self) -> pa.Table:
        """Return the results as a table of pyarrow: a row for each, in columns as of `id` and `score.exact_match`.

        :raises RunError: if the results were neither kept nor stored, or are gone with a `memory://` that was closed
        :raises MissingExtraError: if pyarrow is not installed: `pip install 'aeval[parquet]'`
        """
        from aeval.report.tables import to_arrow

        return to_arrow(self._readable(), self.columns)

    def to_pandas(self) -> pd.DataFrame:
        """Return the results as a table of pandas, in the same columns.

        :raises RunError: as for `to_arrow`
        :raises MissingExtraError: if pandas is not installed: `pip install 'aeval[pandas]'`
        """
        from aeval.report.tables import to_pandas

        return to_pandas(self._readable(), self.columns)

    def to_polars(self) -> pl.DataFrame:
        """Return the results as a table of polars, in the same columns.

        :raises RunError: as for `to_arrow`
        :raises MissingExtraError: if polars is not installed: `pip install 'aeval[polars]'`
        """
        from aeval.report.tables import to_polars

        return to_polars(self._readable(), self.columns)

    def _readable(self) -> tuple[Result[RowT, OutputT], ...] | StoredResults[RowT, OutputT]:
        if self.results is None:
            raise RunError(
                f"the results of {self.name!r} were not kept: run it with keep=True, or with a storage, as in "
                "storage='sqlite:///results.db'"
            )
        return self.results
