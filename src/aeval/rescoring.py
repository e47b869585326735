"""Scoring stored outputs again, without calling the task."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

from aeval.binding import Shape
from aeval.context import Record
from aeval.dataset import Rows
from aeval.errors import AevalError, ConfigurationError
from aeval.evaluation import Evaluation, Scorer, layers_of
from aeval.lane import WAIT, Lane
from aeval.metrics import Metric
from aeval.middleware.base import Middleware
from aeval.middleware.stack import Stack
from aeval.progress import Progress
from aeval.result import Failure, Result
from aeval.runner import Limits
from aeval.storage.base import StoredRun
from aeval.storage.codec import digest_of
from aeval.storage.ledger import Terms
from aeval.storage.storage import Storage, open_storage
from aeval.stream import Run, check_count, checked_max_errors, default_stack, runner_of, window_of
from aeval.threads import Threads

__all__ = ["NoOutput", "rescore"]

log = logging.getLogger("aeval")


class NoOutput(AevalError):
    """A stored sample has no output that could be scored, since it errored."""


def rescore(
    experiment: str,
    scorers: Scorer | Sequence[Scorer],
    *,
    storage: str | Storage | None = None,
    evaluation: str | None = None,
    columns: str | Sequence[str] | None = None,
    metrics: Sequence[Metric] | None = None,
    middleware: Middleware | Sequence[Middleware] | None = None,
    samples: int | None = None,
    window: int | None = None,
    max_errors: float | None = None,
    progress: Progress = None,
    keep: bool = False,
) -> Run[Any, Any]:
    """Score the stored outputs of an experiment again, as a new run beside the old one.

    The task is not called. A scorer takes `output` and the columns that its parameters name, as behind a task. A
    sample that errored before it had an output errs again. Rows and outputs are what JSON gives back of them::

        report = await rescore("baseline", [numeric, judge])

    :param experiment: its name
    :param scorers: a scorer, or several
    :param storage: where it is kept; by default `sqlite:///.aeval/results.db`
    :param evaluation: the one whose outputs are scored; by default each one of the experiment. `"sums#2"` is its
        second run.
    :param columns: names for the columns of rows that are tuples, by default those of the evaluation
    :param metrics: further metrics, as for `Evaluation`
    :param middleware: layers around the scorers of each sample, as for `run`
    :param samples: score the outputs of the first so many rows of each evaluation only
    :param window: as for `run`, as are `max_errors`, `progress` and `keep`
    :return: a `Run`; it starts when it is used, and then raises `ExperimentError` if there is no such experiment or
        evaluation, and `ConfigurationError` if it has no outputs
    """
    # Raises what is wrong with them now, and not once the run has begun.
    pattern: Evaluation[Any, Any] = Evaluation((), scorers, columns=columns, metrics=metrics)
    layers = default_stack() if middleware is None else layers_of(middleware)
    width = window_of([layers]) if window is None else check_count("window", window)
    if samples is not None:
        check_count("samples", samples)
    threads = Threads(width)
    lanes: list[Lane] = []
    opened = open_storage(storage)

    async def prepare() -> None:
        for stored in await opened.latest(experiment, evaluation):
            if stored.state == "running":
                log.warning(
                    "the evaluation %r of the experiment %r is still being run: what it has so far is scored",
                    stored.evaluation,
                    experiment,
                )
            lanes.append(StoredLane(opened, stored, pattern, layers, threads, samples))

    limits = Limits(window=width, max_errors=checked_max_errors(max_errors))
    runner = runner_of(lanes, limits, threads, [experiment], [layers], progress)
    runner.store(opened, Terms(experiment), prepare)
    return Run(runner, limits, keep=keep)


class StoredLane(Lane):
    """The part of a stored run's outputs in a run that scores them again."""

    def __init__(
        self,
        storage: Storage,
        stored: StoredRun,
        pattern: Evaluation[Any, Any],
        layers: Stack,
        threads: Threads,
        samples: int | None,
    ) -> None:
        evaluation: Evaluation[Any, Any] = Evaluation(
            (),
            pattern.scorer,
            name=stored.evaluation,
            columns=pattern.columns or stored.columns,
            metrics=pattern.metrics,
        )
        super().__init__(evaluation, layers, threads, samples, stored.repeats)
        self.rescored = stored.number
        self._after_task, self._simple = True, False
        self._stored = stored
        self._results = StoredRows(storage, stored)

    async def open(self) -> None:
        """Look at the first result, and bind the columns.

        :raises ConfigurationError: if the run has no outputs
        """
        rows = self._rows = self._results
        await rows.refill()
        first = next((result for result in rows.page if result.output is not None), None)
        if first is None and not any(result.ok for result in rows.page):
            first = next(iter(rows.page), None)  # all of these errored before they had an output
        if first is None:
            raise ConfigurationError(
                f"the run {self._stored.label!r} of {self._stored.experiment!r} has no outputs to score: give the "
                "evaluation a task, or have its scorer return Result(score, output=...)"
            )
        shape = Shape.of(first.row, self.columns)
        self.row_type = self._stored.row_type
        score = self._layers(self._attempt(shape))

        async def call(record: Record) -> Any:
            failure = getattr(record, "failure", None)
            if failure is not None:
                raise NoOutput(f"the sample errored before it had an output: {failure}")
            return await score(record)

        self.call = call
        self.samples = self._outputs(rows)

    def _outputs(self, rows: StoredRows) -> Generator[Record, None, None]:
        while True:
            for result in rows.chunk:
                if self.limit is not None and result.index >= self.limit:
                    continue
                record = StoredRecord(result.id, result.index, result.repeat, result.row)
                record.lane = self
                record.digest = digest_of(result.id, result.row)
                record.output = result.output
                record.returned = []
                if result.output is None:
                    record.failure = result.error
                yield record
            self.dry = True
            yield WAIT


class StoredRecord(Record):
    """A stored sample, whose output is scored again."""

    # Why it has none, where it errored before it had one.
    failure: Failure | None = None


class StoredRows(Rows[Result[Any, Any]]):
    """The results of a stored run, a page at a time.

    :ivar page: the results of the latest page
    """

    def __init__(self, storage: Storage, run: StoredRun) -> None:
        super().__init__()
        self.page: list[Result[Any, Any]] = []
        self._pages: AsyncGenerator[list[Result[Any, Any]], None] = storage.pages_of(run)

    async def refill(self) -> bool:
        """Put the next results into `chunk`."""
        self.page = await anext(self._pages, [])
        self.chunk = iter(self.page)
        return bool(self.page)

    async def aclose(self) -> None:
        """Let go of the storage."""
        await self._pages.aclose()
