"""One evaluation's run in a storage, while this process writes to it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from stores import added, entries, entry

from aeval.errors import RunInProgress, StorageError
from aeval.storage import Session, Storage, StoredRun
from aeval.storage import ledger as module
from aeval.storage.base import Counts
from aeval.storage.ledger import Ledger, Terms
from aeval.storage.owner import STALE_SECONDS, Owner
from aeval.storage.sqlite import SqliteBackend
from aeval.testing import run_virtual

pytestmark = pytest.mark.anyio


class Raced(SqliteBackend):
    """A database in memory to which something is done before the next time that it is read or changed."""

    def __init__(self) -> None:
        super().__init__(None, url="memory://raced")
        self.before: dict[str, Callable[[], Awaitable[Any]]] = {}
        self.after: dict[str, Callable[[], Awaitable[Any]]] = {}

    async def runs(self, experiment: str, after: int, limit: int) -> list[StoredRun]:
        await self._race(self.before, "runs")
        return await super().runs(experiment, after, limit)

    async def add_run(self, run: StoredRun) -> StoredRun | None:
        await self._race(self.before, "add_run")
        done = await super().add_run(run)
        await self._race(self.after, "add_run")
        return done

    async def update_run(self, run: StoredRun) -> StoredRun | None:
        await self._race(self.before, "update_run")
        done = await super().update_run(run)
        await self._race(self.after, "update_run")
        return done

    @staticmethod
    async def _race(acts: dict[str, Callable[[], Awaitable[Any]]], what: str) -> None:
        act = acts.pop(what, None)
        if act is not None:
            await act()


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with Storage(Raced()) as storage:
        yield storage


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Give another process, which lives until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


def session(started: float = 1.0, source: str | None = "abc") -> Session:
    return Session(started, "0.1.0", "3.11.2", "aeval run", source=source)


def ledger(
    storage: Storage,
    *,
    evaluation: str = "sums",
    started: float = 1.0,
    source: str | None = "abc",
    samples: int | None = None,
    repeats: int = 1,
    **terms: Any,
) -> Ledger:
    return Ledger(storage, evaluation, Terms("first", **terms), session(started, source), samples, repeats)


async def claimed(storage: Storage, **options: Any) -> Ledger:
    made = ledger(storage, **options)
    await made.claim()
    return made


async def stored(storage: Storage) -> list[StoredRun]:
    return await storage.backend.runs("first", 0, 100)


async def owned(storage: Storage, owner: Owner | None) -> StoredRun:
    """Have a run that somebody is writing to."""
    run = await added(storage.backend)
    taken = await storage.backend.update_run(attrs.evolve(run, owner=owner, sessions=(session(),)))
    assert taken is not None
    return taken


def owner_of(process: subprocess.Popen[bytes]) -> Owner:
    return attrs.evolve(Owner.mine(), pid=process.pid, born="")


# Claiming.


async def test_first_claim_makes_the_run(storage: Storage) -> None:
    """A run that is not there yet is made, running, with this process as its owner."""
    made = await claimed(storage, samples=7, repeats=2, started=5.0)
    (run,) = await stored(storage)
    assert made.run == run
    assert (run.number, run.status, run.started, run.samples, run.repeats) == (1, "running", 5.0, 7, 2)
    assert run.owner is not None
    assert run.owner.is_me()
    assert run.sessions == (session(5.0),)
    assert made.before == Counts(0, 0, 0)
    assert made.unmet == 0


async def test_later_claim_goes_on_with_the_run(storage: Storage) -> None:
    """Running an evaluation again goes on with its latest run, and adds a session to it."""
    first = await claimed(storage, repeats=3)
    await first.commit([*entries(3), entry("x", error="no")])
    await first.close("interrupted", 2.0)
    again = await claimed(storage, samples=2, started=9.0)
    (run,) = await stored(storage)
    assert again.run == run
    assert (run.status, run.ended, run.seconds, run.started) == ("running", None, 2.0, 1.0)
    # It has results of all of its repeats.
    assert (run.samples, run.repeats) == (2, 3)
    assert [each.started for each in run.sessions] == [1.0, 9.0]
    assert (again.before.n, again.before.errored, again.unmet) == (4, 1, 4)


async def test_fresh_claim_begins_beside_it(storage: Storage) -> None:
    """A fresh start makes a further run, with which the next start goes on."""
    for number, fresh in ((1, False), (2, True), (2, False)):
        made = await claimed(storage, fresh=fresh)
        assert made.run.number == number
        await made.commit(entries(1, made.before.n))
        await made.close("interrupted", 1.0)
    assert [run.number for run in await stored(storage)] == [1, 2]


async def test_evaluations_do_not_meet(storage: Storage) -> None:
    """Several evaluations of one experiment, and several pages of its runs, have nothing to do with each other."""
    for number in range(120):
        await added(storage.backend, f"other {number}")
    made = await claimed(storage)
    other = await claimed(storage, evaluation="words")
    assert (made.run.number, other.run.number) == (1, 1)
    await made.close("interrupted", 1.0)
    again = await claimed(storage)
    assert again.run.key == made.run.key


async def test_scores_that_are_given_again_are_a_new_run(storage: Storage) -> None:
    """Each time that outputs are scored again there is a new run, which going on passes over."""
    first = await claimed(storage)
    # It may be done while the run is still going on.
    runs = [await claimed(storage, rescored=1) for _ in range(2)]
    assert [(one.run.number, one.run.rescored) for one in runs] == [(2, 1), (3, 1)]
    await first.close("finished", 1.0)
    assert (await claimed(storage)).run.key == first.run.key
    await runs[0].close("finished", 1.0)


async def test_living_owner_is_left_alone(storage: Storage, process: subprocess.Popen[bytes]) -> None:
    """A run that another living process writes to is refused by that process's name."""
    run = await owned(storage, owner_of(process))
    told = f"'sums' of the experiment 'first' is being run by process {process.pid} on {Owner.mine().host}, since .*: wait"
    for fresh in (False, True):
        with pytest.raises(RunInProgress, match=told):
            await ledger(storage, fresh=fresh).claim()
    assert await stored(storage) == [run]
    process.kill()
    process.wait()
    assert (await claimed(storage)).run.key == run.key


async def test_silent_owner_on_another_host_is_dead(storage: Storage) -> None:
    """A run whose owner is on another host is refused until that owner was silent for long."""
    now = Owner.mine()
    run = await owned(storage, attrs.evolve(now, host="elsewhere", pid=1))
    with pytest.raises(RunInProgress, match="process 1 on elsewhere"):
        await ledger(storage).claim()
    silent = attrs.evolve(now, host="elsewhere", beat=now.beat - STALE_SECONDS - 1)
    assert await storage.backend.update_run(attrs.evolve(run, owner=silent)) is not None
    assert (await claimed(storage)).run.key == run.key


async def test_run_without_an_owner_is_taken(storage: Storage) -> None:
    """A run that nobody owns is taken over, whatever its status."""
    run = await owned(storage, None)
    assert (await claimed(storage)).run.key == run.key


async def test_run_of_this_process_that_is_about_to_end(storage: Storage) -> None:
    """A run that this process left a moment ago is waited for."""
    first = await claimed(storage)

    async def close_later() -> None:
        storage.backend.before["runs"] = lambda: first.close("interrupted", 1.0)

    storage.backend.before["runs"] = close_later
    again = await claimed(storage)
    assert again.run.key == first.run.key


def test_run_of_this_process_that_does_not_end() -> None:
    """A run that this process is still writing to is refused after a while."""

    async def main() -> float:
        async with Storage(Raced()) as storage:
            first = await claimed(storage)
            began = anyio.current_time()
            with pytest.raises(RunInProgress, match="wait for its end, stop it, or give another experiment"):
                await ledger(storage).claim()
            assert first.run.state == "running"
            return anyio.current_time() - began

    waited = run_virtual(main)
    assert module.CLOSING_SECONDS <= waited < 2 * module.CLOSING_SECONDS


@pytest.mark.parametrize("resumed", [False, True])
async def test_lost_race(storage: Storage, process: subprocess.Popen[bytes], resumed: bool) -> None:
    """Of two processes that claim a run at once, one gets it and the other is told by whom it was taken."""
    run = await added(storage.backend) if resumed else None
    theirs = owner_of(process)

    async def take() -> None:
        if run is not None:
            assert await storage.backend.update_run(attrs.evolve(run, owner=theirs)) is not None
        else:
            assert await storage.backend.add_run(StoredRun("first", "sums", 1, 1.0, owner=theirs)) is not None

    storage.backend.before["update_run" if resumed else "add_run"] = take
    with pytest.raises(RunInProgress, match=f"process {process.pid}"):
        await ledger(storage).claim()
    assert [one.owner for one in await stored(storage)] == [theirs]


async def test_two_that_score_again_at_once(storage: Storage) -> None:
    """Two that score the same outputs at once get a run each."""
    await added(storage.backend)
    numbers: list[int] = []

    async def claim() -> None:
        numbers.append((await claimed(storage, rescored=1)).run.number)

    storage.backend.before["add_run"] = claim
    await claim()
    assert numbers == [2, 3]


@pytest.mark.parametrize("resumed", [False, True])
async def test_claim_that_is_cancelled_is_known(storage: Storage, resumed: bool) -> None:
    """A claim that was made while its task was cancelled is given back when the run is closed."""
    if resumed:
        await added(storage.backend)
    made = ledger(storage)
    with anyio.CancelScope() as scope:

        async def cancel() -> None:
            scope.cancel()
            await anyio.lowlevel.checkpoint()

        storage.backend.after["update_run" if resumed else "add_run"] = cancel
        await made.claim(lambda: anyio.CancelScope(shield=True))
    with anyio.CancelScope(shield=True):
        await made.close("interrupted", 0.0)
    (run,) = await stored(storage)
    assert (run.state, run.owner) == ("interrupted", None)


async def test_claim_that_takes_too_long_is_given_up(storage: Storage) -> None:
    """A claim for which there is no more time is no claim: closing does nothing."""
    made = ledger(storage)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await made.claim(lambda: anyio.CancelScope(shield=True, deadline=anyio.current_time() - 1))
    assert scope.cancelled_caught
    await made.close("failed", 0.0)
    assert await stored(storage) == []


async def test_claim_that_fails_half_way_is_given_back(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a run was taken over and then could not be read, closing gives it back."""

    async def broken(key: int) -> Counts:
        raise StorageError("gone")

    run = await added(storage.backend)
    made = ledger(storage)
    monkeypatch.setattr(storage.backend, "counts", broken)
    with pytest.raises(StorageError, match="gone"):
        await made.claim()
    await made.close("failed", 0.0)
    assert [(one.key, one.state, one.owner) for one in await stored(storage)] == [
        (run.key, "interrupted", None)
    ]


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [("abc", "xyz", True), ("abc", "abc", False), (None, "abc", False), ("abc", None, False)],
)
async def test_changed_code_is_told(
    storage: Storage, caplog: pytest.LogCaptureFixture, then: str | None, now: str | None, told: bool
) -> None:
    """Who goes on with results that other code made is told so, and how to begin anew."""
    first = await claimed(storage, source=then)
    await first.commit(entries(3))
    await first.close("interrupted", 1.0)
    with caplog.at_level(logging.WARNING, "aeval"):
        await claimed(storage, source=now)
    assert (
        "the code of the evaluation 'sums' has changed since its 3 stored results were made" in caplog.text
    ) == told
    assert ("fresh=True (--fresh)" in caplog.text) == told


async def test_run_without_sessions_is_taken(storage: Storage) -> None:
    """A run of which no session is known can be gone on with."""
    run = await added(storage.backend)
    assert (await claimed(storage)).run.sessions == (session(),)
    assert run.session is None


async def test_sessions_are_forgotten_at_last(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many sessions of a run are kept, the latest of them."""
    monkeypatch.setattr(module, "MOST_SESSIONS", 3)
    for started in range(5):
        made = await claimed(storage, started=float(started))
        await made.commit(entries(1, started))
        await made.close("interrupted", 1.0)
    (run,) = await stored(storage)
    assert [one.started for one in run.sessions] == [2.0, 3.0, 4.0]


# What is noted.


async def test_what_is_noted_of_a_run(storage: Storage) -> None:
    """The rows' type, the columns, the middleware and the state of the code are noted as they get known."""
    made = await claimed(storage)
    await made.note(row_type="tuple", columns=("a", "b"), middleware="Retry()")
    await made.note_commit("123abc", dirty=True)
    # An empty dataset shows nothing of its rows.
    await made.note(row_type=None, columns=None, middleware="Rate()")
    (run,) = await stored(storage)
    assert run == made.run
    assert (run.row_type, run.columns) == ("tuple", ("a", "b"))
    assert run.session == attrs.evolve(session(), middleware="Rate()", git_commit="123abc", git_dirty=True)


async def test_beating_says_that_the_owner_lives(storage: Storage) -> None:
    """Each beat brings the owner's time up to date, and nothing else."""
    made = await claimed(storage)
    before = made.run
    made.run = attrs.evolve(before, owner=attrs.evolve(before.owner, beat=0.0))
    await made.beat()
    (run,) = await stored(storage)
    assert run.owner is not None
    assert run.owner.beat > 0
    assert attrs.evolve(run, owner=before.owner, version=before.version) == before


@pytest.mark.parametrize("how", ["taken", "deleted", "renamed"])
async def test_run_that_was_taken_away(storage: Storage, process: subprocess.Popen[bytes], how: str) -> None:
    """A process whose run was taken over, deleted or renamed is told so, and leaves it alone."""
    made = await claimed(storage)
    if how == "taken":
        assert await storage.backend.update_run(attrs.evolve(made.run, owner=owner_of(process))) is not None
    elif how == "deleted":
        await storage.backend.delete_run(made.run.key)
    else:
        assert await storage.backend.rename("first", "second")
    before = [run async for run in storage.runs()]
    for act in (made.beat(), made.note_commit("abc", dirty=None), made.close("finished", 1.0)):
        with pytest.raises(
            RunInProgress,
            match="'sums' of the experiment 'first' was taken over by another process, or deleted",
        ):
            await act
    assert [run async for run in storage.runs()] == before


async def test_run_of_another_start_in_this_process(storage: Storage) -> None:
    """A run that this process gave up and took again belongs to the later one of the two."""
    made = await claimed(storage)
    theirs = attrs.evolve(Owner.mine(), since=0.0)
    assert await storage.backend.update_run(attrs.evolve(made.run, owner=theirs)) is not None
    with pytest.raises(RunInProgress):
        await made.beat()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_change_that_was_broken_off(storage: Storage, moment: str) -> None:
    """A change that was cancelled, whether it was made or not, does not stand in the way of later ones."""
    made = await claimed(storage)
    with anyio.CancelScope() as scope:

        async def cancel() -> None:
            scope.cancel()
            await anyio.lowlevel.checkpoint()

        getattr(storage.backend, moment)["update_run"] = cancel
        await made.beat()
    assert scope.cancelled_caught
    await made.close("finished", 2.0)
    (run,) = await stored(storage)
    assert (run.status, run.seconds, run.owner) == ("finished", 2.0, None)


# Closing.


@pytest.mark.parametrize("status", ["finished", "interrupted", "failed"])
async def test_closing_says_what_became_of_it(storage: Storage, status: str) -> None:
    """A closed run has its status, its end, and the time of all sessions together."""
    for place in range(2):
        made = await claimed(storage)
        await made.commit(entries(2, 2 * place))
        await made.close(status, 1.5)
    (run,) = await stored(storage)
    assert (run.status, run.state, run.seconds, run.owner) == (status, status, 3.0, None)
    assert run.ended is not None
    # It is closed once.
    await made.close("failed", 1.0)
    assert await stored(storage) == [run]
    # And does not beat any more.
    await made.beat()
    assert await stored(storage) == [run]


async def test_empty_evaluation_finishes(storage: Storage) -> None:
    """A new run of an empty dataset is a finished one."""
    made = await claimed(storage)
    await made.close("finished", 1.0)
    (run,) = await stored(storage)
    assert (run.status, run.seconds) == ("finished", 1.0)


async def test_finished_run_that_is_run_again_stays_as_it_was(storage: Storage) -> None:
    """A finished run in which there was nothing left to do is as it was before."""
    first = await claimed(storage)
    await first.commit(entries(3))
    await first.close("finished", 1.0)
    before = first.run
    again = await claimed(storage, samples=2, repeats=1, started=8.0)
    await again.close("finished", 1.0)
    (run,) = await stored(storage)
    assert attrs.evolve(run, version=before.version) == before


async def test_run_that_finishes_without_new_results(storage: Storage) -> None:
    """A run that was interrupted after its last result is finished by the next start."""
    first = await claimed(storage)
    await first.commit(entries(3))
    await first.close("interrupted", 1.0)
    again = await claimed(storage)
    await again.close("finished", 0.5)
    (run,) = await stored(storage)
    assert (run.status, run.seconds, len(run.sessions)) == ("finished", 1.5, 2)


@pytest.mark.parametrize("status", ["failed", "interrupted"])
@pytest.mark.parametrize("earlier", ["finished", "interrupted", "failed"])
async def test_start_that_came_to_nothing(storage: Storage, earlier: str, status: str) -> None:
    """A run that was started again and got no further is as it was before."""
    first = await claimed(storage, samples=5)
    await first.commit(entries(3))
    await first.close(earlier, 1.0)
    before = first.run
    again = await claimed(storage, repeats=4)
    await again.close(status, 1.0)
    (run,) = await stored(storage)
    assert attrs.evolve(run, version=before.version) == before


async def test_killed_run_that_got_no_further_is_interrupted(
    storage: Storage, process: subprocess.Popen[bytes]
) -> None:
    """A run whose process died, and whose next start came to nothing, was interrupted."""
    await owned(storage, owner_of(process))
    process.kill()
    process.wait()
    again = await claimed(storage)
    await again.close("failed", 1.0)
    (run,) = await stored(storage)
    assert (run.status, run.owner, len(run.sessions)) == ("interrupted", None, 1)


async def test_new_run_that_failed_with_nothing_is_removed(storage: Storage) -> None:
    """A new run that failed before anything was stored leaves nothing behind."""
    made = await claimed(storage)
    await made.close("failed", 1.0)
    assert await stored(storage) == []


async def test_new_run_that_was_left_with_nothing_stays(storage: Storage) -> None:
    """A new run that was left before its first result is an interrupted one."""
    made = await claimed(storage)
    await made.close("interrupted", 1.0)
    assert [run.status for run in await stored(storage)] == ["interrupted"]


async def test_run_that_was_never_claimed_is_not_closed(storage: Storage) -> None:
    """Closing a run that could not be claimed does nothing."""
    await ledger(storage).close("failed", 1.0)
    assert await stored(storage) == []


# Samples and results.


async def test_what_is_left_to_do(storage: Storage) -> None:
    """What was scored is kept; what errored, has changed or is new is to be done, and all of it is counted."""
    first = await claimed(storage, repeats=2)
    rows = [{"q": number} for number in range(5)]
    await first.commit(
        [
            entry(0, row=rows[0]),
            entry(0, 1, row=rows[0]),
            entry(1, row=rows[1]),
            entry(1, 1, row=rows[1], error="no"),
            entry(2, row={"q": "old"}),
            entry(3, 1, row=rows[3]),
        ]
    )
    await first.close("interrupted", 1.0)
    digests = [entry(number, row=row).digest for number, row in enumerate(rows)]
    again = await claimed(storage, repeats=2)
    assert await again.unfinished(range(5), digests) == [
        [],
        [(1, True)],
        [(0, True), (1, False)],
        [(0, False)],
        [(0, False), (1, False)],
    ]
    assert (again.kept, again.retried, again.changed, again.unmet) == (4, 1, 1, 0)
    await again.close("interrupted", 1.0)
    patient = await claimed(storage, retry_errors=False)
    assert await patient.unfinished([0], digests[:1]) is None
    assert (patient.kept, patient.unmet) == (1, 5)
    await patient.close("interrupted", 1.0)
    patient = await claimed(storage, repeats=2, retry_errors=False)
    assert await patient.unfinished([1], digests[1:2]) == [[]]
    assert (patient.kept, patient.retried) == (2, 0)


async def test_duplicates_are_refused_and_the_others_committed(storage: Storage) -> None:
    """Of a batch with rows whose ids were there before, those rows are refused in all repeats, and all else is kept."""
    made = await claimed(storage, repeats=2)
    await made.commit([entry("a", index=0), entry("a", 1, index=0)])
    batch = [
        entry("b", index=1),
        entry("a", index=2),
        entry("c", index=3),
        entry("a", 1, index=2),
        entry("c", index=4),
    ]
    refused = await made.commit(batch)
    assert refused == [batch[1], batch[3], batch[4]]
    assert [result.index async for result in storage.results("first")] == [0, 0, 1, 3]
    assert await made.commit([entry("a", index=9)]) != []
    assert (await storage.counts(made.run)).n == 4


async def test_stored_results_are_those_of_before(storage: Storage) -> None:
    """What was stored before is given as it counts now: without what was replaced since, and what is new."""
    first = await claimed(storage)
    await first.commit([entry(1), entry(2, error="no"), entry(3)])
    await first.close("interrupted", 1.0)
    again = await claimed(storage)
    await again.commit([entry(2, replaces=True), entry(4)])
    assert [result.id async for result in again.stored()] == [1, 3]
