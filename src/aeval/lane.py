"""Lane: one evaluation's part in a run, from its rows to its results."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from itertools import chain
from typing import Any

import attrs
from anyio import CancelScope

from aeval.binding import Bound, Shape, bind
from aeval.context import Record, Totals, result_of
from aeval.dataset import Rows, UnreadableRow
from aeval.errors import AevalError, DatasetError, RowError, ScoreError
from aeval.evaluation import Evaluation
from aeval.middleware.base import name_of
from aeval.middleware.stack import Stack
from aeval.report.fold import Fold
from aeval.result import Failure, Result
from aeval.resume import Unfinished
from aeval.sample import Sample
from aeval.score import Score, refuse_awaitable, scores_of
from aeval.storage.ledger import Ledger
from aeval.storage.provenance import source_of
from aeval.threads import Threads, is_async

__all__ = ["WAIT", "Lane"]

# How many unreadable rows at a file's head are passed over in search of one that shows the columns.
PEEK = 100
# aeval's own scorers are pure and quick; on texts up to this long they are called where they stand, since
# the way to a thread and back costs more than they do.
INLINE_CHARACTERS = 20_000

_END: Any = object()
WAIT: Any = object()


class Lane:
    """One evaluation's part in a run.

    :ivar call: the task and scorers, within the middleware: an async callable of a `Record`
    :ivar samples: the samples to come; gives `WAIT` where rows must be fetched first
    :ivar evaluation: what is evaluated
    :ivar limit: how many rows are evaluated at most
    :ivar admitted: samples taken, where several evaluations share the window
    :ivar dry: whether rows must be fetched first
    :ivar refilling: whether they are being fetched
    :ivar broken: what the dataset raised
    :ivar totals: what the samples in flight add up to
    :ivar ledger: the run in a storage; None where nothing is stored
    :ivar row_type: type of the rows
    :ivar rescored: number of the stored run whose outputs are scored again, if this is what it does
    :ivar recalled: stored results of earlier sessions that are in `fold`, and those of them that errored
    :ivar fetching: the scope in which they are
    """

    def __init__(
        self,
        evaluation: Evaluation[Any, Any],
        layers: Stack,
        threads: Threads,
        samples: int | None,
        repeats: int | None,
    ) -> None:
        self.name = evaluation.name
        self.repeats = repeats or evaluation.repeats
        self.fold = Fold(self.repeats, evaluation.metrics)
        self.samples: Generator[Record, None, None]
        self.call: Callable[[Record], Awaitable[Any]]
        self.totals = Totals()
        self.admitted = 0
        self.dry = False
        self.refilling = False
        self.broken: Exception | None = None
        self.fetching: CancelScope
        self.ledger: Ledger | None = None
        self.recalled = self.recalled_errors = 0
        self.row_type: str | None = None
        self.rescored: int | None = None
        self.evaluation = evaluation
        self._layers = layers
        self._threads = threads
        self.limit = samples
        self._rows: Rows[Any] = Rows()
        # Whether scorers get an output beside the columns.
        self._after_task = evaluation.task is not None
        self._simple = not self._after_task and len(evaluation.scorer) == 1
        self._scorer_names = [name_of(scorer) for scorer in evaluation.scorer]

    @property
    def total(self) -> int | None:
        """How many samples there will be; None where that is not known."""
        try:
            rows = len(self.evaluation.dataset)
        except (TypeError, OverflowError, NotImplementedError):
            rows = None
        if self.limit is not None:
            rows = self.limit if rows is None else min(rows, self.limit)
        return None if rows is None else rows * self.repeats

    @property
    def dataset(self) -> str | None:
        """The dataset's name, where it has one."""
        return self.evaluation.dataset.name

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names that the evaluation gave to the columns, if it did."""
        return self.evaluation.columns

    @property
    def source(self) -> str:
        """Digest of the source of the task and the scorers."""
        task = self.evaluation.task
        return source_of([*self.evaluation.scorer, *([] if task is None else [task])])

    @property
    def layers(self) -> str:
        """The middleware, as text."""
        return repr(self._layers)

    @property
    def finished(self) -> int:
        """Samples that finished, in this run of the process."""
        return self.fold.n - self.recalled

    @property
    def errored_now(self) -> int:
        """Those of them that errored."""
        return self.fold.errored - self.recalled_errors

    async def open(self) -> None:
        """Open the dataset, look at its first row, and bind the columns.

        :raises BindingError: if a parameter can be filled by no column
        :raises DatasetError: if the dataset cannot be opened
        """
        evaluation = self.evaluation
        self._rows = rows = evaluation.dataset.open()
        peeked: list[Any] = []
        while len(peeked) < PEEK:
            row = next(rows.chunk, _END)
            if row is not _END:
                peeked.append(row)
                if not isinstance(row, UnreadableRow):
                    break
            elif not await rows.refill():
                break
        rows.chunk = chain(peeked, rows.chunk)
        readable = bool(peeked) and not isinstance(peeked[-1], UnreadableRow)
        shape = Shape.of(peeked[-1], evaluation.columns) if readable else None
        self.row_type = None if shape is None else shape.type
        if self.ledger is None:
            self.samples = self._samples(shape)
        else:
            id_of = shape.id_of if shape is not None and shape.has_ids else None
            self._rows = left = Unfinished(rows, self.ledger, id_of, self.limit, self.repeats)
            self.samples = self._samples_left(left)
        if shape is not None:
            self.call = self._layers(self._attempt(shape))
        elif len(peeked) < PEEK:
            self.call = _unreadable
        else:
            raise DatasetError(
                f"none of the dataset's first {PEEK} rows can be read: the first {peeked[0].error}"
            )

    async def refill(self) -> None:
        """Fetch rows; at the dataset's end, or where it breaks, end the samples."""
        try:
            if not await self._rows.refill():
                self.samples.close()
        except Exception as error:  # noqa: BLE001 - it is raised to the consumer, by the runner
            self.broken = error
            self.samples.close()
        self.dry = False

    async def aclose(self) -> None:
        """Let go of the dataset."""
        await self._rows.aclose()

    def _samples(self, shape: Shape | None) -> Generator[Record, None, None]:
        limit, repeats = self.limit, range(self.repeats) if self.repeats > 1 else (0,)
        id_of = shape.id_of if shape is not None and shape.has_ids else None
        chunk = self._rows.chunk
        index = 0
        while limit is None or index < limit:
            try:
                row = next(chunk, _END)
            except Exception as error:  # noqa: BLE001 - it is raised to the consumer, by the runner
                self.broken = error
                return
            if row is _END:
                self.dry = True
                yield WAIT
                chunk = self._rows.chunk
                continue
            sample_id = index if id_of is None else id_of(row, index)
            for repeat in repeats:
                record = Record(sample_id, index, repeat, row)
                record.lane = self
                yield record
            index += 1

    def _samples_left(self, rows: Unfinished) -> Generator[Record, None, None]:
        """Give the samples that there is something left to do for."""
        while True:
            try:
                for record in rows.chunk:
                    record.lane = self
                    yield record
            except Exception as error:  # noqa: BLE001 - it is raised to the consumer, by the runner
                self.broken = error
                return
            self.dry = True
            yield WAIT

    def _attempt(self, shape: Shape) -> Callable[[Record], Awaitable[Any]]:
        evaluation = self.evaluation
        task = evaluation.task
        scorers = [
            self._caller(scorer, bind(scorer, shape, after_task=self._after_task))
            for scorer in evaluation.scorer
        ]
        if self._simple:
            (only,) = scorers
            return only
        run_task = None if task is None else self._caller(task, bind(task, shape, is_task=True))
        names = self._scorer_names

        async def attempt(record: Record) -> Any:
            # What an earlier attempt got is kept: a judge that is retried costs no second call of the task.
            # An attempt that got everything is repeated only because its result was refused.
            if record.returned is None or len(record.returned) == len(scorers):
                record.returned = None
                if run_task is not None:
                    record.output = await _timed(record, run_task(record, None))
                    refuse_awaitable(record.output, f"the output of the task {name_of(task)!r}")
                record.returned = []
            for place in range(len(record.returned), len(scorers)):
                returned = await scorers[place](record, record.output)
                record.returned.append((names[place], returned))
            return record.output if run_task is not None else [returned for _, returned in record.returned]

        return attempt

    def _caller(self, call: Callable[..., Any], bound: Bound) -> Callable[..., Awaitable[Any]]:
        if is_async(call):
            return bound
        threads = self._threads
        if not getattr(call, "__module__", "").startswith("aeval.scorers"):
            return lambda sample, output=None: threads.run(partial(bound, sample, output))

        async def inline(sample: Sample[Any], output: Any = None) -> Any:
            text = output if output is not None else sample.row
            if isinstance(text, (str, tuple, list)) and _size(text) > INLINE_CHARACTERS:
                return await threads.run(partial(bound, sample, output))
            return bound(sample, output)

        return inline

    def result(self, record: Record, returned: Any, total: float) -> Result[Any, Any]:
        """Make the result of a sample that was scored.

        :raises ScoreError: if a scorer returned what cannot be made into scores
        """
        name = self._scorer_names[0]
        if self._simple and not isinstance(returned, Result):
            # A bool is what most scorers return; the way round by `scores_of` would cost it a tenth of its sample.
            is_bool = returned is True or returned is False
            scores = {name: Score(returned, name)} if is_bool else scores_of(returned, name)
            return result_of(record, self.name, total, record.output, scores, None, record.usage, {})
        if not self._simple and (record.returned is None or len(record.returned) < len(self._scorer_names)):
            raise AevalError(
                "a middleware layer answered for the whole sample, so that the scorers were not called: put it around "
                "the client's call inside of the task, as in `ask = layer(model.generate)`"
            )
        output, usage = record.output, record.usage
        metadata: dict[str, Any] = {}
        merged: dict[str, Score] = {}
        for scorer, value in [(name, returned)] if self._simple else record.returned or []:
            if isinstance(value, Result):
                found = value.scores
                output = value.output if value.output is not None else output
                if value.usage is not None:
                    usage = value.usage if usage is None else usage + value.usage
                metadata.update(value.metadata)
            else:
                found = scores_of(value, scorer)
            for key, score in found.items():
                if key in merged:
                    raise ScoreError(f"two scorers gave a score named {key!r}: give each a name of its own")
                merged[key] = score
        if not merged:
            raise ScoreError(
                f"the scorer {name!r} returned a Result without a score: give it one, as in Result(True)"
            )
        return result_of(record, self.name, total, output, merged, None, usage, metadata)

    def recall(self, result: Result[Any, Any]) -> None:
        """Take in the result of an earlier session."""
        self.fold.add(result)
        self.recalled += 1
        self.recalled_errors += result.error is not None

    def errored(self, record: Record, error: BaseException, total: float) -> Result[Any, Any]:
        """Make the result of a sample that errored."""
        failure = Failure.of(error)
        if isinstance(error, RowError):
            who = (
                f"row {record.index}" if record.id == record.index else f"row {record.index} (id {record.id!r})"
            )
            failure = attrs.evolve(failure, message=f"{who} {error}")
        return result_of(record, self.name, total, record.output, {}, failure, record.usage, {})


async def _unreadable(record: Record) -> Any:
    """Stand in for the task and scorers of a dataset in which no row can be read."""
    raise record.row.error


async def _timed(record: Record, call: Awaitable[Any]) -> Any:
    now = asyncio.get_running_loop().time
    started, waited = now(), record.waited
    try:
        return await call
    finally:
        record.timed = True
        record.task += max(0.0, now() - started - (record.waited - waited))


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str) else sum(len(part) for part in value if isinstance(part, str))
