"""Ledger: one evaluation's run in a storage, while this process writes to it."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any

import anyio
import attrs
from anyio import CancelScope

from aeval.errors import DatasetError, RunInProgress
from aeval.result import Result
from aeval.sample import SampleId
from aeval.storage.base import Counts, DuplicateSample, Entry, Session, StoredRun
from aeval.storage.owner import Owner
from aeval.storage.storage import Storage

__all__ = ["Ledger", "Terms", "Todo", "two_rows"]

# A run that is started a thousand times does not list them all.
MOST_SESSIONS = 100
# How long a run of the same process is waited for, and how often is looked, in seconds.
CLOSING_SECONDS = 5.0
POLL_SECONDS = 0.02
log = logging.getLogger("aeval")

# A sample that is to be run, in one of its repeats: which, and whether it has a record already.
Todo = tuple[int, bool]


@attrs.frozen
class Terms:
    """How a run goes on with what is stored.

    :param experiment: its name
    :param fresh: begin a new run beside the earlier ones
    :param retry_errors: try samples again that errored
    :param replay: give the stored results too, after the new ones
    :param rescored: number of the run whose outputs are scored again
    """

    experiment: str
    fresh: bool = False
    retry_errors: bool = True
    replay: bool = False
    rescored: int | None = None


class Ledger:
    """One evaluation's run in a storage, while this process writes to it.

    :ivar run: the run, as it stands in the storage
    :ivar before: what it had when this process began
    :ivar kept: samples that had a result, and need no other one
    :ivar retried: samples that had errored, and are tried again
    :ivar changed: samples whose rows changed, so that they are evaluated again
    """

    def __init__(
        self,
        storage: Storage,
        evaluation: str,
        terms: Terms,
        session: Session,
        samples: int | None,
        repeats: int,
    ) -> None:
        # Until it is claimed, one that no storage knows.
        self.run = StoredRun(terms.experiment, evaluation, 0, session.started)
        self.before = Counts(0, 0, 0)
        self.kept = self.retried = self.changed = 0
        self._storage = storage
        self._backend = storage.backend
        self._evaluation = evaluation
        self._terms = terms
        self._session = session
        self._samples = samples
        self._repeats = repeats
        self._met = 0
        self._committed = 0
        self._earlier: StoredRun | None = None
        # Changes of the run's own fields come one after another.
        self._changing = anyio.Lock()
        self._claimed = False

    # The run's own fields.

    async def claim(self, protected: Callable[[], CancelScope] = CancelScope) -> None:
        """Become the one that writes to the run, making it if there is none.

        :param protected: gives a scope for what must not be broken off: a claim that was made all the same would
            be given back by nobody
        :raises RunInProgress: if another process is that one, and lives
        """
        until = anyio.current_time() + CLOSING_SECONDS
        while True:
            runs = [run async for run in self._of_experiment() if run.evaluation == self._evaluation]
            # Scores that are given again belong to a new run each time.
            earlier = [run for run in runs if run.rescored is None] if self._terms.rescored is None else []
            live = next((run for run in earlier if run.state == "running"), None)
            if live is not None:
                if live.owner is None or not live.owner.is_me() or anyio.current_time() > until:
                    raise _in_progress(live)
                # A run of this process that was left a moment ago may still be about to end.
                await anyio.sleep(POLL_SECONDS)
                continue
            with protected():
                if earlier and not self._terms.fresh:
                    claimed = await self._take_over(earlier[-1])
                else:
                    claimed = await self._add(max((run.number for run in runs), default=0) + 1)
                if claimed is not None:
                    self.run = claimed
                    self._claimed = True
                    await self._look_back()
                    return

    async def _of_experiment(self) -> AsyncIterator[StoredRun]:
        after = 0
        while runs := await self._backend.runs(self._terms.experiment, after, 100):
            for run in runs:
                yield run
            after = runs[-1].key

    async def _add(self, number: int) -> StoredRun | None:
        return await self._backend.add_run(
            StoredRun(
                experiment=self._terms.experiment,
                evaluation=self._evaluation,
                number=number,
                started=self._session.started,
                samples=self._samples,
                repeats=self._repeats,
                rescored=self._terms.rescored,
                owner=Owner.mine(self),
                sessions=(self._session,),
            )
        )

    async def _take_over(self, run: StoredRun) -> StoredRun | None:
        # Of a session that was killed, it is known until when it lived.
        killed = run.owner.beat - run.owner.since if run.owner is not None else 0.0
        taken = await self._backend.update_run(
            attrs.evolve(
                run,
                status="running",
                ended=None,
                seconds=run.seconds + killed,
                samples=self._samples,
                repeats=max(run.repeats, self._repeats),
                owner=Owner.mine(self),
                sessions=(*run.sessions, self._session)[-MOST_SESSIONS:],
            )
        )
        self._earlier = None if taken is None else run
        return taken

    async def _look_back(self) -> None:
        run = self._earlier
        if run is None:
            return
        self.before = await self._backend.counts(run.key)
        source = run.session.source if run.session is not None else None
        if source is not None and self._session.source not in {None, source}:
            log.warning(
                "the code of the evaluation %r has changed since its %d stored results were made; they are kept: "
                "begin a new run with fresh=True (--fresh) to evaluate all samples with it",
                run.evaluation,
                self.before.n,
            )

    async def note(self, *, row_type: str | None, columns: tuple[str, ...] | None, middleware: str) -> None:
        """Note what is known once the dataset is open."""
        session = attrs.evolve(self.run.sessions[-1], middleware=middleware)
        async with self._changing:
            await self._update(
                row_type=row_type or self.run.row_type,
                columns=columns or self.run.columns,
                sessions=(*self.run.sessions[:-1], session),
            )

    async def note_commit(self, commit: str | None, *, dirty: bool | None) -> None:
        """Note the state of the code."""
        async with self._changing:
            session = attrs.evolve(self.run.sessions[-1], git_commit=commit, git_dirty=dirty)
            await self._update(sessions=(*self.run.sessions[:-1], session))

    async def beat(self) -> None:
        """Say that this process lives.

        :raises RunInProgress: if another one has taken the run over
        """
        async with self._changing:
            if self.run.owner is not None:
                await self._update(owner=self.run.owner.beating())

    async def close(self, status: str, seconds: float) -> None:
        """Say that this process is done with the run.

        :param status: as of `StoredRun`
        :param seconds: how long it took
        """
        if not self._claimed:
            return
        self._claimed = False
        owner = self.run.owner
        try:
            await self._close(status, seconds)
        finally:
            # Even where the storage could not be told, this process may begin anew.
            if owner is not None:
                owner.let_go()

    async def _close(self, status: str, seconds: float) -> None:
        async with self._changing:
            earlier = self._earlier
            if self._committed or (status == "finished" and (earlier is None or earlier.status != status)):
                await self._update(
                    status=status, ended=time.time(), seconds=self.run.seconds + seconds, owner=None
                )
            elif earlier is not None:
                # Nothing happened: it is as it was.
                await self._update(
                    status=earlier.state,
                    ended=earlier.ended,
                    owner=None,
                    sessions=earlier.sessions,
                    samples=earlier.samples,
                    repeats=earlier.repeats,
                )
            elif status == "failed":
                await self._backend.delete_run(self.run.key)
            else:
                await self._update(status=status, ended=time.time(), owner=None)

    async def _update(self, **changes: Any) -> None:
        while True:
            updated = await self._backend.update_run(attrs.evolve(self.run, **changes))
            if updated is not None:
                self.run = updated
                return
            # A change of ours that was broken off may have been made all the same.
            found = [run async for run in self._of_experiment() if run.key == self.run.key]
            if not found or not _is_same(found[0].owner, self.run.owner):
                raise RunInProgress(
                    f"the evaluation {self.run.evaluation!r} of the experiment {self.run.experiment!r} was taken over "
                    "by another process, or deleted, while this one was running it"
                )
            self.run = attrs.evolve(self.run, version=found[0].version)

    # What is stored of its samples.

    @property
    def unmet(self) -> int:
        """How many stored records no row of the dataset was found for yet."""
        return self.before.n - self._met

    def tell_of_gone(self) -> None:
        """Tell of the stored results for which the dataset, now at its end, had no row."""
        if self.unmet > 0 and self.run.repeats <= self._repeats:
            log.warning(
                "%d stored results of the evaluation %r belong to samples that are not in the dataset any longer, and "
                "are in its report all the same: begin a new run with fresh=True (--fresh) to leave them out",
                self.unmet,
                self.run.evaluation,
            )

    async def unfinished(self, ids: Sequence[SampleId], digests: Sequence[int]) -> list[list[Todo]] | None:
        """Tell what is to be run of these samples: for each, its repeats; None if there is nothing.

        :param ids: at most 2,000
        :param digests: of each id and row
        """
        n = len(ids) * self._repeats
        if await self._backend.settled(self.run.key, ids, self._repeats, sum(digests)):
            self.kept += n
            self._met += n
            return None
        known = await self._backend.lookup(self.run.key, ids, self._repeats)
        self._met += len(known)
        return [self._todo(sample_id, digest, known) for sample_id, digest in zip(ids, digests, strict=True)]

    def _todo(self, sample_id: SampleId, digest: int, known: Any) -> list[Todo]:
        todo: list[Todo] = []
        for repeat in range(self._repeats):
            record = known.get((sample_id, repeat))
            if record is None:
                todo.append((repeat, False))
            elif record.digest != digest:
                self.changed += 1
                todo.append((repeat, True))
            elif not record.ok and self._terms.retry_errors:
                self.retried += 1
                todo.append((repeat, True))
            else:
                self.kept += 1
        return todo

    # Its results.

    async def commit(self, entries: list[Entry]) -> list[Entry]:
        """Write results for good.

        :return: those that were not written, since another row has the same id
        :raises RunInProgress: if another process has taken the run over
        """
        refused: list[Entry] = []
        while entries:
            try:
                await self._backend.commit(self.run.key, entries)
            except DuplicateSample as duplicate:
                await self.beat()  # it may be another process's record
                wrong = duplicate.id, duplicate.index
                late = await self._late(duplicate.id)
                left: list[Entry] = []
                for entry in entries:
                    if (entry.result.id, entry.result.index) != wrong:
                        left.append(entry)
                    elif not entry.replaces and (entry.result.repeat, entry.digest) in late:
                        left.append(entry._replace(replaces=True))
                    else:
                        refused.append(entry)
                entries = left
            else:
                self._committed += len(entries)
                break
        return refused

    async def _late(self, sample_id: SampleId) -> set[tuple[int, int]]:
        """Return the repeats and digests of a sample that an earlier owner may have committed after it was killed.

        What it had sent to a server comes true even then, and after this process had looked what there is.
        """
        if self._earlier is None:
            return set()
        known = await self._backend.lookup(self.run.key, [sample_id], self._repeats)
        return {(repeat, record.digest) for (_, repeat), record in known.items()}

    async def stored(self) -> AsyncGenerator[Result[Any, Any], None]:
        """Give the results that were stored when this process began and were not replaced since."""
        async for result in self._storage.results_of(self.run, last=self.before.last):
            yield result


def two_rows(sample_id: SampleId, index: int) -> DatasetError:
    """Return the error for a row whose id another one has.

    :param index: place of the row in the dataset
    """
    return DatasetError(
        f"the row at index {index} has the id {sample_id!r}, which another row has too, and a storage keeps one result "
        "for each id: give every row an id of its own"
    )


def _in_progress(run: StoredRun) -> RunInProgress:
    mine = " (this one)" if run.owner is not None and run.owner.is_me() else ""
    return RunInProgress(
        f"the evaluation {run.evaluation!r} of the experiment {run.experiment!r} is being run by {run.owner}{mine}: "
        "wait for its end, stop it, or give another experiment"
    )


def _is_same(one: Owner | None, other: Owner | None) -> bool:
    """Tell whether two owners are one, whenever it last said that it lives."""
    return one is not None and other is not None and attrs.evolve(one, beat=other.beat) == other
