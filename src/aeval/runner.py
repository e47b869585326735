"""The window: the one task group, in which samples become results.

A pool of workers, at most as many as the window is wide, takes samples one after another and runs each to
its end. A worker is started when a sample is admitted and no other worker is free to take the next one, so
a small dataset starts few. Workers hand their results over at once; it is the admission of new samples that
waits while the consumer is behind. So at any time there are at most `window` samples in flight, and beside them
at most `MOST_READY` results that wait for the consumer; in ordered runs, up to a window of those that wait for
one before them.

The task group lives in a task of its own, the driver. The consumer only receives.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from functools import partial
from typing import Any

import attrs
from anyio import CancelScope, create_task_group, move_on_after
from anyio.abc import TaskGroup

from aeval.clock import clock_of
from aeval.context import Desk, Record
from aeval.errors import RunError, TooManyErrors
from aeval.journal import Journal
from aeval.lane import WAIT, Lane
from aeval.middleware.concurrency import Concurrency
from aeval.monitor import Monitor
from aeval.result import Result
from aeval.storage.base import Entry
from aeval.storage.ledger import Ledger, Terms
from aeval.storage.storage import Storage
from aeval.threads import Threads

__all__ = ["Limits", "Runner"]

log = logging.getLogger("aeval")

# Where it is not known how many samples there will be, a fraction of errors is judged from this many on.
FRACTION_FROM = 100
CLOSING_SECONDS = 5.0
# Finished results that may wait for the consumer before admission waits too. Few enough that they are gone
# again before the garbage collector looks at them, and enough that going from worker to consumer and back
# costs a sample next to nothing.
MOST_READY = 64

AnyResult = Result[Any, Any]


@attrs.frozen
class Limits:
    """When a run stops before its end, and how it hands its results over.

    :param window: samples in flight at once
    :param ordered: whether results come in the order of the dataset
    :param max_errors: errored samples that are put up with: a count, or a fraction as a float up to 1.0
    :param raise_errors: whether the first sample that errors ends the run with its error
    :param total: how many samples there will be, if that is known
    """

    window: int
    ordered: bool = False
    max_errors: int | float | None = None
    raise_errors: bool = False
    total: int | None = None

    def excess(self, errored: int, finished: int, *, ended: bool) -> TooManyErrors | None:
        """Return the error to stop with, if there are more errors than are put up with."""
        most = self.max_errors
        if most is None or not errored:
            return None
        if isinstance(most, int):
            over = errored > most
        elif self.total is not None:
            over = errored > most * self.total
        else:
            over = (ended or finished >= FRACTION_FROM) and errored > most * finished
        if not over:
            return None
        allowed = f"{most}" if isinstance(most, int) else f"{most:.3g} of the samples"
        return TooManyErrors(
            f"{errored} of {finished} finished samples errored, more than max_errors={allowed} allows: look at "
            "the results' errors, or raise max_errors",
            errored=errored,
            finished=finished,
        )


class _Left(RunError):
    """What a consumer gets that comes back to a run which it left."""


class Runner:
    """One run, from its lanes' samples to results in the consumer's hands.

    :ivar status: `"running"`, `"finished"`, `"stopped"` or `"failed"`
    :ivar ready: finished results that wait for the consumer
    :ivar most_ready: how many of them there may be before admission waits too
    :ivar parked: workers that wait for room or for rows
    """

    def __init__(
        self, lanes: list[Lane], limits: Limits, threads: Threads, monitor: Monitor, cap: Concurrency | None
    ) -> None:
        self.lanes = lanes
        self.threads = threads
        self.status = "running"
        self.started = self.ended = 0.0
        self._limits = limits
        self._window = limits.window
        self.most_ready = min(limits.window, MOST_READY)
        self._monitor = monitor
        self._cap = cap
        self._group: TaskGroup | None = None
        self._admitted = 0
        self._workers = 0
        self._stopping = False
        self._stirring = False
        self._opened = False
        self._completed = False
        self._failure: BaseException | None = None
        self.parked: deque[asyncio.Future[None]] = deque()
        self._readers: deque[asyncio.Future[None]] = deque()
        self.ready: deque[AnyResult] = deque()
        self._early: dict[int, AnyResult] = {}
        self._next = 0
        # Workers whose tasks have not begun, in their order: a loop that is shut down may cancel those first.
        self._unstarted: deque[Coroutine[Any, Any, None]] = deque()
        self._driver: asyncio.Task[None] | None = None
        self.journal: Journal | None = None

    @property
    def ledgers(self) -> list[Ledger]:
        """What is kept of each evaluation in the storage."""
        return [] if self.journal is None else self.journal.ledgers

    def store(
        self, storage: Storage, terms: Terms, prepare: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Have the results committed before they are handed over.

        :param prepare: what to await once the storage is open; may add lanes
        """
        self.journal = Journal(storage, self.lanes, terms, self._deliver, prepare)

    # The consumer's side.

    def start(self) -> None:
        """Start the driver, in the running loop."""
        self._loop = loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self._now = clock_of(loop)
        self._scope = CancelScope()
        self.started = loop.time()
        self._driver = loop.create_task(self._drive(), name="aeval run")
        self._driver.add_done_callback(self._ended)

    async def wait(self) -> bool:
        """Wait until a result is ready.

        Cancelled while it waits, it cancels the run and waits for its end.

        :return: whether there is one; False at the run's end
        :raises BaseException: what ended the run, after every result that was finished
        """
        while not self.ready:
            if self.status != "running":
                await self.join()
                if self._failure is not None:
                    raise self._failure
                self._raise_what_escaped()
                return False
            turn = self._loop.create_future()
            self._readers.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                await self.cancel()
                if self.journal is not None:
                    log.warning(
                        "the run was interrupted; what has finished is kept as the experiment %r: run it again to go on",
                        self.journal.terms.experiment,
                    )
                raise
        return True

    def stop(self, *, cancel: bool = False) -> None:
        """Admit no more samples; those in flight finish, or are cancelled."""
        self._stopping = True
        if self._driver is not None and self.status == "running":
            if cancel or not self._opened:
                self._scope.cancel()
                if self.journal is not None:
                    self.journal.hurry(CLOSING_SECONDS)
            for lane in self.lanes:
                if lane.refilling:
                    lane.fetching.cancel()
            _wake_all(self.parked)

    def abandon(self) -> None:
        """Cancel what is in flight, without waiting for it, since the consumer has left."""
        if self._driver is not None and self.status == "running":
            self._failure = self._failure or _Left(
                "the run was left before its end: call run() again to start anew"
            )
        self.stop(cancel=True)

    async def cancel(self) -> None:
        """Cancel what is in flight, and wait for its end."""
        self.abandon()
        with CancelScope(shield=True):
            await self.join()

    def _raise_what_escaped(self) -> None:
        """Raise what is no `Exception`, such as a sample's `SystemExit`, and so went through the task group."""
        driver = self._driver
        error = driver.exception() if driver is not None and driver.done() and not driver.cancelled() else None
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is not None:
            raise error

    async def join(self) -> None:
        """Wait until nothing of the run is left."""
        if self._driver is not None:
            await asyncio.wait({self._driver})

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the run is in."""
        return self._loop

    @property
    def duration(self) -> float:
        """Seconds since the start, up to the end."""
        if self._driver is None:
            return 0.0
        return (self.ended if self.status != "running" else self._loop.time()) - self.started

    @property
    def left(self) -> bool:
        """Whether the consumer left before the end."""
        return isinstance(self._failure, _Left)

    @property
    def finished(self) -> int:
        """Samples that finished."""
        return sum(lane.finished for lane in self.lanes)

    @property
    def errored(self) -> int:
        """Samples that errored."""
        return sum(lane.errored_now for lane in self.lanes)

    @property
    def in_flight(self) -> int:
        """Samples that were started and have not finished."""
        return self._admitted - self.finished if self.status == "running" else 0

    # The driver's side.

    async def _drive(self) -> None:
        try:
            with self._scope:
                if self.journal is not None:
                    await self.journal.open()
                for lane in self.lanes:
                    await lane.open()
                if self.journal is not None:
                    await self.journal.note()
                self._samples = self.lanes[0].samples if len(self.lanes) == 1 else self._interleaved()
                self._monitor.start(self._loop)
                self._context = copy_context()
                self._opened = True
                if not self._stopping:
                    if self.journal is None:
                        await self._work_through()
                    else:
                        await self._work_and_store(self.journal)
                    self._completed = True
        except Exception as error:  # noqa: BLE001 - it is raised to the consumer
            self._failure = self._failure or error
        except asyncio.CancelledError:
            self._failure = self._failure or RunError("the run's task was cancelled by somebody else's code")
            raise
        finally:
            self._group = None
            await self._close()

    async def _work_through(self) -> None:
        async with create_task_group() as self._group:
            self._spawn(self._group)
        self._group = None

    async def _work_and_store(self, journal: Journal) -> None:
        async with create_task_group() as group:
            for errand in (journal.beat, journal.note_commit):
                group.start_soon(self._guarded, errand)
            async with create_task_group() as committing:
                committing.start_soon(self._guarded, journal.run)
                try:
                    await self._work_through()
                except asyncio.CancelledError:
                    journal.hurry(CLOSING_SECONDS)
                    raise
                journal.end()
            await self._recall(journal)
            await journal.noted()
            group.cancel_scope.cancel()

    async def _guarded(self, errand: Callable[[], Awaitable[None]]) -> None:
        """Do something beside the samples; what goes wrong with it ends the run."""
        try:
            await errand()
        except Exception as error:  # noqa: BLE001 - it is raised to the consumer
            self._fail(error, cancel=True)

    async def _recall(self, journal: Journal) -> None:
        """Take the results of earlier sessions into the report, and give them to a consumer who asked for them."""
        for lane in self.lanes:
            async for result in journal.earlier(lane):
                if result.repeat >= lane.repeats:  # this time, fewer were asked for
                    continue
                lane.recall(result)
                while journal.terms.replay and len(self.ready) >= self.most_ready and not self._stopping:
                    turn = self._loop.create_future()
                    self.parked.append(turn)
                    await turn
                if journal.terms.replay and not self._stopping:
                    self._hand_over(result)

    def _deliver(self, journal: Journal, batch: list[Entry]) -> None:
        """Hand over what has been committed."""
        ready, ordered = self.ready, self._limits.ordered
        lanes = {lane.name: lane for lane in self.lanes}
        only = self.lanes[0] if len(lanes) == 1 else None
        for entry in batch:
            result = entry[0]
            lane = only or lanes[result.evaluation]
            place = journal.places.pop(id(result)) if ordered else 0
            if result.error is not None:
                self._add_error(lane, place, result, journal.errors.pop(id(result)))
                continue
            lane.fold.add_scored(result)
            if ordered:
                self._put_in_order(place, result)
            else:
                ready.append(result)
        if self._readers and ready:
            _wake_first(self._readers)
        if self.parked:
            self.stir()

    def _ended(self, _: asyncio.Task[None]) -> None:
        """See to it that the consumer learns of the end even of a driver that was cancelled before it began."""
        if self.status == "running":
            self._failure, self.status = RunError("the run's task was cancelled before it began"), "failed"
            _wake_all(self._readers)

    async def _close(self) -> None:
        with move_on_after(CLOSING_SECONDS, shield=True):
            await self._monitor.aclose()
            for lane in self.lanes:
                await self._attempt(lane.aclose)
            if self.journal is not None:
                self.journal.hurry(CLOSING_SECONDS)
                await self._attempt(self.journal.flush)
        if self._cap is not None:
            self._cap.slots.idle.discard(self.stir)
        for worker in self._unstarted:
            worker.close()
        if not self._stopping:
            self._failure = self._failure or self._limits.excess(self.errored, self.finished, ended=True)
        self.ended = self._loop.time()
        if self.journal is not None:
            status = self._outcome()
            with move_on_after(CLOSING_SECONDS, shield=True):
                stored = "interrupted" if status == "stopped" else status
                await self._attempt(partial(self.journal.close, stored, self.ended - self.started))
        self.ready.extend(result for _, result in sorted(self._early.items()))
        self._early.clear()
        self.status = self._outcome()
        _wake_all(self._readers)

    async def _attempt(self, close: Callable[[], Awaitable[None]]) -> None:
        """Let go of something; what goes wrong with it is raised to the consumer."""
        try:
            await close()
        except Exception as error:  # noqa: BLE001 - it is raised to the consumer
            self._failure = self._failure or error

    def _outcome(self) -> str:
        if self._failure is not None and not self.left:
            return "failed"
        return "stopped" if self._stopping else "finished" if self._completed else "failed"

    def _spawn(self, group: TaskGroup) -> None:
        # Each worker starts with the context that the run was started in, not with what the sample that
        # happened to make room for it has put there.
        self._workers += 1
        worker = self.work()
        self._unstarted.append(worker)
        self._context.copy().run(group.start_soon, lambda: worker)

    async def work(self) -> None:  # noqa: C901 - a call for each of its parts would cost a fifth more
        """Take samples and run each to its end, until there are no more."""
        del self._unstarted[0]
        desk = Desk()
        now, samples, ready, early, parked = self._now, self._samples, self.ready, self._early, self.parked
        ordered, window, most_ready = self._limits.ordered, self._window, self.most_ready
        journal = self.journal
        make = tuple.__new__  # of a named tuple: its own way takes twice as long
        try:
            while True:
                if (
                    self._stopping
                    or len(ready) >= most_ready
                    or len(early) >= window
                    or (journal is not None and len(journal.pending) >= journal.most)
                ):
                    record = WAIT
                else:
                    record = next(samples, None)
                if record is WAIT or record is None:
                    if not await self._may_go_on(ended=record is None):
                        return
                    continue
                if not self._stirring and (parked or self._workers < window):
                    self.stir()
                lane = record.lane
                place = self._admitted
                self._admitted += 1
                desk.record = record
                started = now()
                try:
                    returned = await lane.call(record)
                    result = lane.result(record, returned, now() - started)
                except Exception as error:  # noqa: BLE001 - errors of samples are data
                    self._record_error(lane, place, record, error, now() - started)
                    continue
                except asyncio.CancelledError as error:
                    # Unless the run is being cancelled, it was something that the sample waited for, or the
                    # sample itself that cancelled the task which it runs in.
                    if self._is_cancelled():
                        raise
                    self._record_error(lane, place, record, error, now() - started)
                    continue
                if journal is not None:
                    if ordered:
                        journal.places[id(result)] = place
                    journal.add(make(Entry, (result, record.digest, record.replaces)))
                    continue
                lane.fold.add_scored(result)
                if ordered:
                    self._put_in_order(place, result)
                else:
                    ready.append(result)
                if self._readers and ready:
                    _wake_first(self._readers)
        except Exception as error:  # noqa: BLE001 - a fault of ours; it is raised to the consumer
            self._fail(error, cancel=True)
        finally:
            self._workers -= 1

    def _record_error(self, lane: Lane, place: int, record: Record, error: BaseException, total: float) -> None:
        result = lane.errored(record, error, total)
        if self.journal is None:
            self._add_error(lane, place, result, error)
        else:
            self.journal.errors[id(result)] = error
            if self._limits.ordered:
                self.journal.places[id(result)] = place
            self.journal.add(Entry(result, record.digest, record.replaces))

    def _add_error(self, lane: Lane, place: int, result: AnyResult, error: BaseException) -> None:
        lane.fold.add(result)
        if self._limits.raise_errors:
            self._fail(error, cancel=True)
            return
        self._hand_over(result, place)
        excess = self._limits.excess(self.errored, self.finished, ended=False)
        if excess is not None:
            self._fail(excess, cancel=True)

    def _hand_over(self, result: AnyResult, place: int | None = None) -> None:
        if self._limits.ordered and place is not None:
            self._put_in_order(place, result)
        else:
            self.ready.append(result)
        if self._readers and self.ready:
            _wake_first(self._readers)

    def _put_in_order(self, place: int, result: AnyResult) -> None:
        self._early[place] = result
        while self._next in self._early:
            self.ready.append(self._early.pop(self._next))
            self._next += 1

    def _is_cancelled(self) -> bool:
        """Tell whether a worker that sees a cancellation is to end, and if not, take the cancellation back."""
        driver, worker = self._driver, asyncio.current_task()
        if self._scope.cancel_called or (driver is not None and driver.cancelling()):
            return True
        while worker is not None and worker.cancelling():
            worker.uncancel()
        return False

    # Admission.

    def _interleaved(self) -> Generator[Record, None, None]:
        """Give the evaluations' samples in turn; `WAIT` where one of them must fetch rows, or all do."""
        lanes = deque(self.lanes)
        passed = 0
        while lanes:
            lane = lanes[0]
            # No evaluation fills the window with samples that wait for its own limits, while others could go on.
            full = lane.admitted - lane.finished >= -(-self._window // len(lanes))
            record = WAIT if lane.refilling or full else next(lane.samples, None)
            if record is None:
                lanes.popleft()
                if lane.broken is not None:
                    self._fail(lane.broken)
                continue
            lanes.rotate(-1)
            passed = passed + 1 if lane.refilling or full else 0
            if not passed or passed >= len(lanes):
                passed = 0
                lane.admitted += record is not WAIT
                yield record

    async def _may_go_on(self, *, ended: bool) -> bool:
        """Fetch rows, or wait until there may be room and a row; False when there will be no more."""
        if ended:
            # Where a dataset broke, what is in flight is sound, and finishes.
            for lane in self.lanes:
                if lane.broken is not None:
                    self._fail(lane.broken)
        if ended or self._stopping:
            _wake_all(self.parked)
            return False
        room = len(self.ready) < self.most_ready and len(self._early) < self._window
        if self.journal is not None:
            room = room and len(self.journal.pending) < self.journal.most
        dry = next((lane for lane in self.lanes if lane.dry and not lane.refilling), None) if room else None
        if dry is not None:
            dry.refilling = True
            self.stir()  # other evaluations may have rows at hand
            try:
                with CancelScope() as dry.fetching:
                    await dry.refill()
            finally:
                dry.refilling = False
        else:
            turn = self._loop.create_future()
            self.parked.append(turn)
            await turn
        return True

    def stir(self) -> None:
        """See to it that another worker looks for a sample, once this one waits for something."""
        group = self._group
        if self._stopping or self._line_is_long():
            return
        if self.parked:
            if not self._stirring:
                self._stirring = True
                self._loop.call_soon(self._wake_one)
        elif group is not None and self._workers < self._window:
            self._spawn(group)

    def _line_is_long(self) -> bool:
        """Tell whether a further sample could do nothing but wait in a line that is long enough.

        Samples that wait for a slot cost as much as those that run, and a slot that comes free is taken sooner by
        the worker that leaves it than by one that has to be woken. So as long as enough are in line, no more are
        admitted; when a slot finds nobody in line, admission is stirred again.
        """
        cap = self._cap
        if cap is None:
            return False
        line = max(2, cap.max_concurrency // 8)
        # Half of the line will do: a worker that leaves its slot to the first in line is about to join the end of it.
        if self._workers - len(self.parked) < cap.max_concurrency + line or 2 * cap.slots.waiting < line:
            return False
        cap.slots.idle.add(self.stir)
        return True

    def _wake_one(self) -> None:
        self._stirring = False
        _wake_first(self.parked)

    def _fail(self, error: BaseException, *, cancel: bool = False) -> None:
        self._failure = self._failure or error
        self.stop(cancel=cancel)


def _wake_first(turns: deque[asyncio.Future[None]]) -> None:
    while turns:
        turn = turns.popleft()
        if not turn.done():
            turn.set_result(None)
            return


def _wake_all(turns: deque[asyncio.Future[None]]) -> None:
    while turns:
        _wake_first(turns)
