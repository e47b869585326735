"""Journal: finished results on their way into a storage, many at once, and from there to the consumer.

While one batch is being committed, the next one gathers; a result that is alone is committed at once. What cannot
be committed is not handed over: a consumer sees nothing that could be lost.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import attrs
from anyio import CancelScope

from aeval.errors import DatasetError, StorageError
from aeval.lane import Lane
from aeval.result import Result
from aeval.storage.base import Entry
from aeval.storage.codec import encode
from aeval.storage.ledger import Ledger, Terms, two_rows
from aeval.storage.owner import BEAT_SECONDS
from aeval.storage.provenance import git_state, session_of
from aeval.storage.storage import Storage

__all__ = ["MOST_PENDING", "Journal"]

# Finished results that gather while others are being committed; beyond this, no sample is admitted. As many as that
# where they are short, and fewer where they are long.
MOST_PENDING = 512
FIRST_PENDING = 64
PENDING_BYTES = 16_000_000
# How long a run that is over waits for git, in seconds.
NOTING_SECONDS = 1.0
# How long a storage may take to let go of its connections, in seconds.
LETTING_GO_SECONDS = 5.0


class Journal:
    """The way of a run's results into a storage.

    :param lanes: of the run
    :param deliver: takes each batch once it is committed
    :param prepare: what to await once the storage is open; may add lanes
    :ivar storage: where they are kept
    :ivar pending: finished results that are not committed yet
    :ivar most: how many there may be before no sample is admitted
    :ivar errors: what the samples raised that errored, by the identity of their results
    :ivar places: of results that are to be handed over in order, among those that were admitted, likewise
    """

    def __init__(
        self,
        storage: Storage,
        lanes: Sequence[Lane],
        terms: Terms,
        deliver: Callable[[Journal, list[Entry]], None],
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.pending: list[Entry] = []
        self.most = FIRST_PENDING
        self.errors: dict[int, BaseException] = {}
        self.places: dict[int, int] = {}
        self.terms = terms
        self.storage = storage
        self._lanes = lanes
        self._deliver = deliver
        self._prepare = prepare
        self._turn: asyncio.Future[None] | None = None
        self._ended = self._broken = self._opened = False
        # None before there is an event loop, in which alone it can be made.
        self._writing: CancelScope | None = None
        self._deadline = math.inf
        self._noted = anyio.Event()

    async def open(self) -> None:
        """Open the storage, and become the one that writes to the runs.

        :raises RunInProgress: if another process is that one
        """
        await self.storage.open()
        self._opened = True
        if self._prepare is not None:
            await self._prepare()
        for lane in self._lanes:
            session = session_of(dataset=lane.dataset, source=lane.source)
            terms = attrs.evolve(self.terms, rescored=lane.rescored)
            ledger = Ledger(self.storage, lane.name, terms, session, lane.limit, lane.repeats)
            lane.ledger = ledger
            await ledger.claim(self._protected)

    @property
    def ledgers(self) -> list[Ledger]:
        """The runs in the storage that are this process's."""
        return [lane.ledger for lane in self._lanes if lane.ledger is not None]

    def add(self, entry: Entry) -> None:
        """Take in a finished result."""
        self.pending.append(entry)
        if self._turn is not None:
            self._wake()

    async def run(self) -> None:
        """Commit what comes, until the end.

        :raises StorageError: if the storage cannot be written
        :raises DatasetError: if two rows have one id
        """
        while True:
            if self.pending and not self._broken:
                await self._commit()
            elif self._ended:
                return
            else:
                self._turn = turn = asyncio.get_running_loop().create_future()
                await turn

    def end(self) -> None:
        """Say that no more results will come."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None and not turn.done():  # it is done where the run was cancelled meanwhile
            turn.set_result(None)

    def hurry(self, seconds: float) -> None:
        """Give what is being written, and what is still to be, only so long, since the run is about to end."""
        self._deadline = anyio.current_time() + seconds
        if self._writing is not None:
            self._writing.deadline = self._deadline

    def _protected(self) -> CancelScope:
        """Return a scope for what is written to its end, whatever else is cancelled, unless it takes too long."""
        self._writing = CancelScope(shield=True, deadline=self._deadline)
        return self._writing

    async def flush(self) -> None:
        """Commit what is left, unless the storage has failed already."""
        while self.pending and not self._broken:
            await self._commit()

    async def _commit(self) -> None:
        batch, self.pending = self.pending, []
        self.most = max(1, min(MOST_PENDING, PENDING_BYTES // max(map(_size, (batch[0], batch[-1])))))
        self._broken = True
        parts = self._by_ledger(batch)
        unseen: set[int] = set()
        problem: DatasetError | None = None
        try:
            with self._protected() as scope:
                while parts:
                    ledger, entries = parts[-1]
                    refused = await ledger.commit(entries)
                    del parts[-1]
                    if refused:
                        problem = problem or two_rows(refused[0].result.id, refused[0].result.index)
                        unseen.update(id(entry.result) for entry in refused)
                self._broken = False
            if scope.cancelled_caught:
                n = sum(len(entries) for _, entries in parts) + len(self.pending)
                raise StorageError(
                    f"the storage {self.storage.url!r} did not answer before the run had to end: {n} finished samples "
                    "are not stored, and will be evaluated again"
                )
        finally:
            # Where one evaluation's could not be committed, another's have been.
            unseen.update(id(entry.result) for _, entries in parts for entry in entries)
            self._deliver(
                self, [entry for entry in batch if id(entry.result) not in unseen] if unseen else batch
            )
        if problem is not None:
            raise problem

    def _by_ledger(self, batch: list[Entry]) -> list[tuple[Ledger, list[Entry]]]:
        ledgers = {lane.name: lane.ledger for lane in self._lanes if lane.ledger is not None}
        if len(ledgers) == 1:
            return [(ledger, batch) for ledger in ledgers.values()]
        parts: dict[str, list[Entry]] = {}
        for entry in batch:
            parts.setdefault(entry.result.evaluation, []).append(entry)
        return [(ledgers[name], entries) for name, entries in parts.items()]

    async def beat(self) -> None:
        """Say time and again that this process lives."""
        pause = 0.5
        while True:
            # Often at first: by these it is known how long a run lived that was killed.
            await anyio.sleep(pause)
            pause = min(BEAT_SECONDS, 2 * pause)
            for ledger in self.ledgers:
                await ledger.beat()

    async def note(self) -> None:
        """Note what is known once the datasets are open."""
        for lane in self._lanes:
            if lane.ledger is not None:
                await lane.ledger.note(row_type=lane.row_type, columns=lane.columns, middleware=lane.layers)

    async def note_commit(self) -> None:
        """Note the state of the code, which may take a while to tell."""
        try:
            commit, dirty = await git_state()
            for ledger in self.ledgers:
                await ledger.note_commit(commit, dirty=dirty)
        finally:
            self._noted.set()

    async def noted(self) -> None:
        """Wait until the state of the code has been noted, for a while."""
        with anyio.move_on_after(NOTING_SECONDS):
            await self._noted.wait()

    async def earlier(self, lane: Lane) -> AsyncGenerator[Result[Any, Any], None]:
        """Give the results that were stored before, and still count."""
        if lane.ledger is not None and lane.ledger.before.n:
            async with aclosing(lane.ledger.stored()) as results:
                async for result in results:
                    yield result

    async def close(self, status: str, seconds: float) -> None:
        """Say what became of the runs, and let go of the storage if it was opened here."""
        problem: Exception | None = None
        try:
            for ledger in self.ledgers:
                try:
                    await ledger.close(status, seconds)
                except Exception as error:  # noqa: BLE001 - it is raised once the others are closed
                    problem = problem or error
        finally:
            if self._opened:
                # Even where the above was given up: a thread may still wait for a lock, and is to give up too.
                with anyio.move_on_after(LETTING_GO_SECONDS, shield=True):
                    await self.storage.aclose()
        if problem is not None:
            raise problem


def _size(entry: Entry) -> int:
    return 1 + len(encode(entry.result))
