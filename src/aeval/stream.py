"""Run: a live stream of results, a context manager, and an awaitable."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Literal, NoReturn, Self, TypedDict, TypeVar, Unpack, cast, overload

import anyio
import attrs

from aeval.dataset import iter_once
from aeval.errors import ConfigurationError, RunError
from aeval.evaluation import Evaluation, checked_repeats, layers_of
from aeval.lane import Lane
from aeval.middleware.base import Middleware
from aeval.middleware.concurrency import Concurrency
from aeval.middleware.retry import Retry
from aeval.middleware.stack import Stack, stack
from aeval.monitor import Monitor, frame_finder
from aeval.progress import Progress, display_for
from aeval.report.report import Report
from aeval.result import Result
from aeval.runner import Limits, Runner
from aeval.standing import Stats, report_of, stats_of
from aeval.storage.ledger import Terms
from aeval.storage.names import checked_name, new_name
from aeval.storage.storage import Storage, open_storage
from aeval.threads import Threads

__all__ = ["Run", "run", "run_sync"]

RowT = TypeVar("RowT")
OutputT = TypeVar("OutputT")
OnError = Literal["record", "raise"]

DEFAULT_CONCURRENCY = 10
# How many samples are in flight for each that a cap lets through: those that sleep before their next
# attempt are in flight too, and must not keep the others from filling the cap.
WINDOW_PER_CAP = 4
# The cap that is assumed where the stack has none.
ASSUMED_CAP = 100


class Run(Generic[RowT, OutputT]):
    """One execution of an evaluation, or of several. Made by `run`.

    It can be iterated over with `async for`, entered with `async with`, or awaited for its `Report`.
    """

    def __init__(self, runner: Runner, limits: Limits, *, keep: bool) -> None:
        self._runner = runner
        self._limits = limits
        self._kept: list[Result[RowT, OutputT]] | None = [] if keep else None
        self._stream: Stream[RowT, OutputT] | None = None
        self._used = False
        caller = sys._getframe(2)  # noqa: SLF001 - where `run` was called, for the warning that it came to nothing
        self._made_at = caller.f_code.co_filename, caller.f_lineno

    def __aiter__(self) -> AsyncIterator[Result[RowT, OutputT]]:
        return self._stream or self._open()

    async def __aenter__(self) -> Self:
        self._stream = self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cancel()

    def __await__(self) -> Generator[Any, None, Report[RowT, OutputT]]:
        return self._whole().__await__()

    async def _whole(self) -> Report[RowT, OutputT]:
        async for _ in self:
            pass
        return self.report

    def __repr__(self) -> str:
        names = ", ".join(repr(lane.name) for lane in self._runner.lanes)
        state = (
            self._runner.status if self._used else "not started: await it, or iterate over it with `async for`"
        )
        return f"<Run of {names}, {state}>"

    def __getattr__(self, name: str) -> NoReturn:
        hint = (
            f": await the run for its report, as in `(await run(...)).{name}`" if name in _OF_A_REPORT else ""
        )
        raise AttributeError(f"a Run has no attribute {name!r}{hint}")

    def __del__(self) -> None:
        if not self._used:
            message = "this run was never awaited or iterated over: write `await run(...)`"
            warnings.warn_explicit(message, RuntimeWarning, *self._made_at, registry={})

    def _open(self) -> Stream[RowT, OutputT]:
        if self._used:
            raise RunError("a run is iterated over once: call run() again to start anew")
        self._used = True
        self._runner.start()
        return Stream(self._runner, self._kept)

    def stop(self) -> None:
        """Admit no more samples. Those in flight finish, and the stream ends after their results."""
        self._runner.stop()

    def cancel(self) -> None:
        """Cancel what is in flight. The stream ends after the results of what had finished."""
        self._runner.stop(cancel=True)

    @property
    def stats(self) -> Stats:
        """How far the run is."""
        return stats_of(self._runner, self._limits)

    @property
    def experiment(self) -> str | None:
        """The experiment that the results are kept under; None where they are not."""
        return None if self._runner.journal is None else self._runner.journal.terms.experiment

    @property
    def report(self) -> Report[RowT, OutputT]:
        """The report of what has finished so far."""
        return report_of(self._runner, self._kept)


_OF_A_REPORT = {field.name for field in attrs.fields(Report)} | {"scored", "throughput"}


class Stream(Generic[RowT, OutputT]):
    """The results of a run as they come. Dropped before its end, it cancels what is in flight."""

    def __init__(self, runner: Runner, kept: list[Result[RowT, OutputT]] | None) -> None:
        self._runner = runner
        self._ready = runner.ready
        self._parked = runner.parked
        self._kept = kept

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result[RowT, OutputT]:
        ready = self._ready
        if not ready and not await self._runner.wait():
            raise StopAsyncIteration
        result = ready.popleft()
        if self._parked and 2 * len(ready) <= self._runner.most_ready:
            self._runner.stir()
        if self._kept is not None:
            self._kept.append(result)
        return result

    async def aclose(self) -> None:
        """Cancel what is in flight, and wait for its end."""
        await self._runner.cancel()

    def __del__(self) -> None:
        runner = self._runner
        if runner.status == "running":
            if threading.get_ident() == runner.thread:
                runner.abandon()
                return
            # The garbage collector may run in any thread; and the loop may be closed by now.
            with suppress(RuntimeError):
                runner.loop.call_soon_threadsafe(runner.abandon)


class Options(TypedDict, total=False):
    """The keywords of `run`."""

    middleware: Middleware | Sequence[Middleware] | None
    samples: int | None
    repeats: int | None
    window: int | None
    ordered: bool
    max_errors: int | float | None
    on_error: OnError
    progress: Progress
    keep: bool
    storage: str | Storage | None
    experiment: str | None
    fresh: bool
    retry_errors: bool
    replay: bool


@overload
def run(
    evaluation: Evaluation[RowT, OutputT],
    *,
    middleware: Middleware | Sequence[Middleware] | None = None,
    samples: int | None = None,
    repeats: int | None = None,
    window: int | None = None,
    ordered: bool = False,
    max_errors: float | None = None,
    on_error: OnError = "record",
    progress: Progress = None,
    keep: bool = False,
    storage: str | Storage | None = None,
    experiment: str | None = None,
    fresh: bool = False,
    retry_errors: bool = True,
    replay: bool = False,
) -> Run[RowT, OutputT]: ...


@overload
def run(evaluation: Sequence[Evaluation[Any, Any]], **options: Unpack[Options]) -> Run[Any, Any]: ...


def run(
    evaluation: Evaluation[Any, Any] | Sequence[Evaluation[Any, Any]],
    *,
    middleware: Middleware | Sequence[Middleware] | None = None,
    samples: int | None = None,
    repeats: int | None = None,
    window: int | None = None,
    ordered: bool = False,
    max_errors: float | None = None,
    on_error: OnError = "record",
    progress: Progress = None,
    keep: bool = False,
    storage: str | Storage | None = None,
    experiment: str | None = None,
    fresh: bool = False,
    retry_errors: bool = True,
    replay: bool = False,
) -> Run[Any, Any]:
    """Run an evaluation, or several over one window.

    What comes back is used in one of three ways::

        async for result in run(evaluation): ...     # results as they come; leaving the loop stops the run

        async with run(evaluation) as results:       # the same, and nothing outlives the block
            async for result in results: ...

        report = await run(evaluation)               # the whole run, then its report

    :param evaluation: an `Evaluation`, or a sequence of them with names of their own
    :param middleware: layers around each sample, outermost first, instead of the evaluation's own; by default
        `[Retry(attempts=3), Concurrency(10)]`
    :param samples: evaluate the first so many rows only
    :param repeats: how often each row is evaluated, instead of the evaluation's own `repeats`
    :param window: samples in flight at once, those asleep between attempts among them; by default four times the
        largest cap in the middleware, and 400 where there is none
    :param ordered: give the results in the dataset's order. A slow sample then holds back those behind it.
    :param max_errors: stop the run when more samples than this errored: a count, or as a float up to 1.0 a fraction
        (of all samples where their number is known, else of those that finished, from the hundredth on)
    :param on_error: `"record"` makes an errored sample a result with an `error`; `"raise"` ends the run with it
    :param progress: show the progress: None where someone is looking (a terminal or a notebook), True always
        (elsewhere as a plain line every few seconds), `"plain"` as such lines anywhere, False never
    :param keep: keep the results for the report's `results`, so that memory grows with their number
    :param storage: where results are kept: a URL as for `open_storage`, or what it returned. A result is handed over
        once it is committed. By default, where there is an `experiment`, `sqlite:///.aeval/results.db`.
    :param experiment: the name that the results are kept under. Running it again goes on where it stopped: samples
        that were scored are passed over, if their rows are the same. By default, where there is a `storage`, a name
        made of the evaluation's and the time.
    :param fresh: begin a new run in the experiment, beside the earlier one
    :param retry_errors: try samples again that errored in an earlier session
    :param replay: give the stored results of earlier sessions too, after the new ones
    :return: a `Run`; it starts when it is used
    :raises ConfigurationError: if an argument cannot work. What else goes wrong is raised when the run is used:
        `BindingError` and `DatasetError` before the first sample, whatever the dataset raises, `TooManyErrors`,
        `StorageError`, `RunInProgress` where another process runs the same evaluation of the experiment;
        each after the results that had finished were handed over.
    """
    evaluations = _checked_evaluations(evaluation)
    if samples is not None:
        check_count("samples", samples)
    if repeats is not None:
        checked_repeats(repeats)
    if progress not in {None, True, False, "plain"}:
        raise ConfigurationError(f"progress is {progress!r}: give None, True, False or 'plain'")
    if on_error not in {"record", "raise"}:
        raise ConfigurationError(f"on_error is {on_error!r}: give 'record' or 'raise'")
    given = None if middleware is None else layers_of(middleware)
    default = default_stack()
    stacks = [_first(given, each.middleware, default) for each in evaluations]
    width = window_of(stacks) if window is None else check_count("window", window)
    threads = Threads(width)
    lanes = [
        Lane(each, layers, threads, samples, repeats) for each, layers in zip(evaluations, stacks, strict=True)
    ]
    totals = [lane.total for lane in lanes]
    limits = Limits(
        window=width,
        ordered=ordered,
        max_errors=checked_max_errors(max_errors),
        raise_errors=on_error == "raise",
        total=None if None in totals else sum(total or 0 for total in totals),
    )
    names = [lane.name for lane in lanes]
    runner = runner_of(lanes, limits, threads, names, stacks, progress)
    if storage is not None or experiment is not None:
        named = new_name(names) if experiment is None else checked_name(experiment)
        terms = Terms(named, fresh=fresh, retry_errors=retry_errors, replay=replay)
        runner.store(open_storage(storage), terms)
    elif fresh or replay:
        raise ConfigurationError(
            f"{'fresh' if fresh else 'replay'}=True says how to go on with an experiment, and none is named: "
            "give experiment='name'"
        )
    return Run(runner, limits, keep=keep)


def runner_of(
    lanes: list[Lane],
    limits: Limits,
    threads: Threads,
    names: list[str],
    stacks: Sequence[Stack],
    progress: Progress,
) -> Runner:
    """Make the runner of some lanes, with what watches it and shows how far it is."""
    display = display_for(progress, ", ".join(names), lambda: stats_of(runner, limits))
    runner = Runner(lanes, limits, threads, Monitor(names, _evaluation_of, display), _cap_of(stacks))
    return runner


def default_stack() -> Stack:
    """Return the layers that are used where none are given."""
    return stack(Retry(attempts=3), Concurrency(DEFAULT_CONCURRENCY))


def run_sync(
    evaluation: Evaluation[RowT, OutputT] | Sequence[Evaluation[RowT, OutputT]], **options: Unpack[Options]
) -> Report[RowT, OutputT]:
    """Run an evaluation to its end from code that is not async, and return its report.

    :param evaluation: as for `run`, as are the options
    :raises RunError: if an event loop is running in this thread, as it is in a notebook: await `run` there
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RunError(
            "run_sync() was called where an event loop is running, as in a notebook or an async function: "
            "write `report = await run(...)` there"
        )

    async def whole() -> Report[RowT, OutputT]:
        return await run(cast("Any", evaluation), **options)

    return anyio.run(whole)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _checked_evaluations(
    evaluation: Evaluation[Any, Any] | Sequence[Evaluation[Any, Any]],
) -> list[Evaluation[Any, Any]]:
    given: Any = evaluation
    if not isinstance(given, (Evaluation, Sequence)) or isinstance(given, str):
        raise ConfigurationError(
            f"{_shown(given)} is not an Evaluation: write run(Evaluation(dataset, scorer))"
        )
    evaluations = [evaluation] if isinstance(evaluation, Evaluation) else list(evaluation)
    if not evaluations:
        raise ConfigurationError("there is no evaluation to run: the sequence is empty")
    for each in evaluations:
        if not isinstance(each, Evaluation):
            raise ConfigurationError(f"{_shown(each)} is not an Evaluation: write Evaluation(dataset, scorer)")
    for name, count in Counter(each.name for each in evaluations).items():
        if count > 1:
            raise ConfigurationError(f"{count} evaluations are named {name!r}: give each a name=... of its own")
    iterators = [id(source) for each in evaluations if iter_once(source := each.dataset.source)]
    if len(iterators) > len(set(iterators)):
        raise ConfigurationError(
            "two evaluations read one and the same iterator, so that each row would go to only one of them: "
            "give each a list, or a callable that opens the dataset anew"
        )
    return evaluations


def _first(*stacks: Stack | None) -> Stack:
    return next(found for found in stacks if found is not None)


def _cap_of(stacks: Sequence[Stack]) -> Concurrency | None:
    """Return the one cap that holds for all samples; None where there are several, or none."""
    caps = {id(layer): layer for each in stacks for layer in each if isinstance(layer, Concurrency)}
    capped = all(any(isinstance(layer, Concurrency) for layer in each) for each in stacks)
    return next(iter(caps.values())) if capped and len(caps) == 1 else None


def window_of(stacks: Sequence[Stack]) -> int:
    """Return how many samples are in flight at once where that is not said."""
    return WINDOW_PER_CAP * max(each.max_concurrency or ASSUMED_CAP for each in stacks)


def check_count(name: str, value: int) -> int:
    """Return a number that is to be 1 or more.

    :raises ConfigurationError: if it is not
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} is {value!r}: give a whole number, 1 or more")
    return value


def checked_max_errors(value: float | None) -> int | float | None:
    """Return how many errors are put up with.

    :raises ConfigurationError: if it is neither a count nor a fraction
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    if isinstance(value, float) and math.isfinite(value) and 0 <= value <= 1:
        return value
    raise ConfigurationError(
        f"max_errors is {value!r}: give a whole number of samples, 0 or more, or a fraction of them from 0.0 to 1.0"
    )


_evaluation_of = frame_finder(
    Runner.work.__code__, lambda frame: getattr(frame.f_locals.get("lane"), "name", None)
)
