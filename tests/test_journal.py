"""The way of results into a storage, through `run`."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from aeval import Concurrency, Evaluation, Result, Run, run
from aeval import journal as module
from aeval.errors import (
    ConfigurationError,
    DatasetError,
    RunInProgress,
    StorageError,
    TooManyErrors,
)
from aeval.journal import MOST_PENDING
from aeval.progress.line import facts, share_done
from aeval.storage import Storage, StoredRun, open_storage
from aeval.storage.base import Entry
from aeval.storage.owner import BEAT_SECONDS
from aeval.storage.sqlite import SqliteBackend
from aeval.testing import run_virtual

pytestmark = pytest.mark.anyio


class Gated(SqliteBackend):
    """A database in memory whose commits wait at a gate.

    :ivar sizes: of the batches that came to the gate
    :ivar changes: what the run's fields were changed to
    """

    def __init__(self) -> None:
        super().__init__(None, url="memory://gated")
        self.gate = asyncio.Event()
        self.gate.set()
        self.came = asyncio.Event()
        self.sizes: list[int] = []
        self.changes: list[StoredRun] = []
        self.broken: set[int] = set()
        self.hanging: set[str] = set()

    async def commit(self, key: int, entries: Sequence[Entry]) -> None:
        self.sizes.append(len(entries))
        self.came.set()
        await self.gate.wait()
        await self._hang("commit")
        if key in self.broken:
            raise StorageError("the disk is full")
        await super().commit(key, entries)

    async def update_run(self, run: StoredRun) -> StoredRun | None:
        await self._hang("update_run")
        self.changes.append(run)
        return await super().update_run(run)

    async def add_run(self, run: StoredRun) -> StoredRun | None:
        made = await super().add_run(run)
        await self._hang("add_run")
        return made

    async def _hang(self, what: str) -> None:
        if what in self.hanging:
            self.came.set()
            await asyncio.Event().wait()

    def close_gate(self) -> None:
        self.gate.clear()
        self.came.clear()


class Scorer:
    """Scores what has been released; everything, until it is told otherwise."""

    def __init__(self, *, below: float = math.inf) -> None:
        self.started = 0
        self._below = below
        self._changed = asyncio.Event()

    def release(self, below: float) -> None:
        self._below = below
        self._changed.set()
        self._changed = asyncio.Event()

    async def __call__(self, value: int) -> bool:
        self.started += 1
        while value >= self._below:
            await self._changed.wait()
        return True


@pytest.fixture(autouse=True)
def _no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the state of the code known at once, so that what happens when is always the same."""

    async def state() -> tuple[None, None]:
        return None, None

    monkeypatch.setattr(module, "git_state", state)


@pytest.fixture
async def backend() -> Gated:
    return Gated()


@pytest.fixture
async def storage(backend: Gated) -> AsyncIterator[Storage]:
    async with Storage(backend) as storage:
        yield storage


def sums(scorer: Any, count: int = 20, name: str = "sums") -> Evaluation[Any, Any]:
    return Evaluation(range(count), scorer, name=name)


async def read(storage: Storage, experiment: str = "first", evaluation: str | None = None) -> list[int]:
    return sorted([result.index async for result in storage.results(experiment, evaluation)])


async def runs(storage: Storage, experiment: str = "first") -> dict[str, str]:
    return {run.label: run.state async for run in storage.runs(experiment)}


async def until(what: Any) -> None:
    """Let the others go on until something is so; where it never is, fail."""
    with anyio.fail_after(10):
        while not what():
            await asyncio.sleep(0)


async def quiet(what: Any) -> None:
    """Let the others go on until a figure has not changed for many turns of the loop."""
    last, turns = what(), 0
    while turns < 200:
        await asyncio.sleep(0)
        last, turns = what(), turns + 1 if what() == last else 0


def pending(run: Run[Any, Any]) -> int:
    assert run._runner.journal is not None
    return len(run._runner.journal.pending)


# Commit before delivery.


async def test_result_is_handed_over_once_it_is_committed(backend: Gated, storage: Storage) -> None:
    """A consumer sees a result only after the storage has committed it."""
    backend.close_gate()
    seen: list[int] = []

    async def consume() -> None:
        async for result in run(sums(Scorer()), storage=storage, experiment="first", middleware=[]):
            assert result.index in await read(storage)
            seen.append(result.index)

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await backend.came.wait()
        await quiet(lambda: len(seen))
        assert seen == []
        backend.gate.set()
    assert sorted(seen) == list(range(20))
    assert await runs(storage) == {"sums": "finished"}


async def test_lone_result_is_committed_at_once(backend: Gated, storage: Storage) -> None:
    """A result that is alone does not wait for others."""
    scorer = Scorer(below=0)
    stream = aiter(run(sums(scorer, 3), storage=storage, experiment="first", middleware=[]))
    for index in range(3):
        scorer.release(index + 1)
        assert (await anext(stream)).index == index
        assert await read(storage) == list(range(index + 1))
    assert backend.sizes == [1, 1, 1]
    assert await anext(stream, None) is None


async def test_batch_gathers_while_another_is_committed(backend: Gated, storage: Storage) -> None:
    """What finishes while a batch is being committed is the next batch."""
    backend.close_gate()
    scorer = Scorer(below=1)
    running = run(sums(scorer), storage=storage, experiment="first", middleware=[])
    async with running as results:
        await backend.came.wait()
        scorer.release(math.inf)
        await until(lambda: pending(running) == 19)
        backend.gate.set()
        assert len([result async for result in results]) == 20
    assert backend.sizes == [1, 19]


@pytest.mark.parametrize("evaluations", [1, 2])
async def test_admission_waits_for_the_storage(backend: Gated, storage: Storage, evaluations: int) -> None:
    """While the storage is behind, only so many results gather, and it goes on once it has caught up."""
    backend.close_gate()
    scorer = Scorer()
    many = [sums(scorer, 3000, name) for name in ("sums", "words")[:evaluations]]
    running = run(many, storage=storage, experiment="first", middleware=[], window=40)
    async with running as results:
        stream = aiter(results)
        first = asyncio.ensure_future(anext(stream))
        await backend.came.wait()
        await quiet(lambda: scorer.started)
        assert pending(running) <= MOST_PENDING + 40
        if evaluations == 1:
            assert pending(running) >= MOST_PENDING
        assert scorer.started < 3000 * evaluations
        backend.gate.set()
        await first
        assert len([result async for result in stream]) == 3000 * evaluations - 1
    assert max(backend.sizes) <= MOST_PENDING + 40


async def test_results_in_order(backend: Gated, storage: Storage) -> None:
    """Ordered results come in the dataset's order, whatever they were committed in."""

    async def score(value: int) -> bool:
        for _ in range(7 * value % 11):
            await asyncio.sleep(0)
        return True

    ordered = run(sums(score, 100), storage=storage, experiment="first", middleware=[], ordered=True)
    assert [result.index async for result in ordered] == list(range(100))
    committed = [result.index async for result in storage.results("first")]
    assert sorted(committed) == list(range(100))
    assert committed != sorted(committed)


# Leaving.


@pytest.mark.parametrize("way", ["break", "raise", "cancel", "timeout", "cancel()", "block"])
async def test_what_was_finished_is_committed(backend: Gated, storage: Storage, way: str) -> None:  # noqa: C901
    """However a loop is left, what had finished by then is committed, and the next run goes on from there."""
    scorer = Scorer(below=1)
    running = run(sums(scorer, 40), storage=storage, experiment="first", middleware=[])

    async def leave() -> None:
        await until(lambda: scorer.started == 40)
        backend.close_gate()
        scorer.release(10)
        await backend.came.wait()
        scorer.release(30)
        await until(lambda: pending(running) + sum(backend.sizes) == 30)
        # The gate opens while the run is being left.
        asyncio.get_running_loop().call_soon(backend.gate.set)

    async def consume() -> None:
        async for _ in running:
            if backend.sizes == [1]:
                await leave()
            if way == "break":
                break
            if way == "raise":
                raise ZeroDivisionError
            if way == "cancel":
                asyncio.current_task().cancel()
            elif way == "cancel()":
                running.cancel()

    async def block() -> None:
        async with running as results:
            await anext(aiter(results))
            await leave()

    if way == "timeout":
        with anyio.CancelScope() as scope:
            async for _ in running:
                await leave()
                scope.deadline = anyio.current_time()
        assert scope.cancelled_caught
    else:
        task = asyncio.ensure_future(block() if way == "block" else consume())
        await asyncio.wait([task])
        assert task.cancelled() == (way == "cancel")
        assert task.cancelled() or isinstance(task.exception(), ZeroDivisionError) == (way == "raise")
    await until(lambda: running._runner.status != "running")
    assert await read(storage) == list(range(30))
    assert await runs(storage) == {"sums": "interrupted"}
    again = Scorer()
    report = await run(sums(again, 40), storage=storage, experiment="first", middleware=[])
    assert (again.started, report.n, report.status) == (10, 40, "finished")


async def test_stopping(storage: Storage) -> None:
    """A run that is stopped finishes what is in flight, commits it, and is gone on with by the next."""
    scorer = Scorer()
    running = run(sums(scorer, 10_000), storage=storage, experiment="first", middleware=[], window=5)
    seen = []
    async for result in running:
        seen.append(result.index)
        running.stop()
    assert running.report.status == "stopped"
    assert await read(storage) == sorted(seen)
    assert len(seen) == scorer.started < 10_000
    assert await runs(storage) == {"sums": "interrupted"}


async def test_stopping_before_it_has_begun(storage: Storage) -> None:
    """A run that is stopped while it opens runs nothing."""
    scorer = Scorer()
    running = run(sums(scorer), storage=storage, experiment="first", middleware=[])
    async with running as results:
        running.stop()
        assert [result async for result in results] == []
    assert scorer.started == 0


async def test_cancelled_claim_is_given_back(backend: Gated, storage: Storage) -> None:
    """A run that is left while it becomes its evaluation's writer is not taken for one that goes on."""
    made = backend.add_run
    running = run(sums(Scorer()), storage=storage, experiment="first", middleware=[])

    async def add_run(given: StoredRun) -> StoredRun | None:
        done = await made(given)
        running.cancel()
        await asyncio.sleep(0)
        return done

    backend.add_run = add_run
    assert (await running).n == 0
    assert await runs(storage) == {"sums": "interrupted"}


async def test_sample_that_errs_when_it_is_cancelled(storage: Storage) -> None:
    """A sample that makes an error of its cancellation errs, and the run ends as it was told."""
    inside = asyncio.Event()

    async def score(value: int) -> bool:
        inside.set()
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("odd") from None

    running = run(sums(score, 3), storage=storage, experiment="first", middleware=[])
    task = asyncio.ensure_future(running._whole())
    await inside.wait()
    # The journal waits for a first result.
    await until(lambda: running._runner.journal._turn is not None and running.stats.in_flight == 3)
    running.cancel()
    report = await task
    assert (report.n, report.status, list(report.errors)) == (3, "stopped", ["ValueError"])
    assert await read(storage) == [0, 1, 2]


# Errors.


async def test_sample_that_ends_the_run(storage: Storage) -> None:
    """With `on_error="raise"` the error of a sample comes out once it has been committed."""

    async def score(value: int) -> bool:
        if value == 3:
            raise ZeroDivisionError("no")
        return True

    seen = []
    with pytest.raises(ZeroDivisionError, match="no"):
        async for result in run(
            sums(score), storage=storage, experiment="first", middleware=[], on_error="raise", window=1
        ):
            seen.append(result.index)
    # What finished beside it is handed over too.
    assert seen[:3] == [0, 1, 2]
    assert 3 not in seen
    assert await read(storage) == sorted([*seen, 3])
    stored = [(result.index, result.ok) async for result in storage.results("first")]
    assert stored[:4] == [(0, True), (1, True), (2, True), (3, False)]
    assert await runs(storage) == {"sums": "failed"}


async def test_too_many_errors(storage: Storage) -> None:
    """A run with too many errors stops after what was committed was handed over."""

    async def score(value: int) -> bool:
        raise ZeroDivisionError

    seen = []
    with pytest.raises(TooManyErrors, match="max_errors=5"):
        async for result in run(
            sums(score, 1000), storage=storage, experiment="first", middleware=[], max_errors=5, window=1
        ):
            seen.append(result.index)
    assert len(seen) >= 6
    assert await read(storage) == sorted(seen)
    assert await runs(storage) == {"sums": "failed"}


async def test_two_rows_of_one_id(storage: Storage) -> None:
    """Two rows of one id end the run with an error that names them, after all that was committed."""
    rows = [{"id": f"q{number % 7}", "q": number} for number in range(10)]

    async def score(q: int) -> bool:
        return True

    seen = []
    with pytest.raises(
        DatasetError, match=r"row at index 7 has the id 'q0', which another row has too.*id of its own"
    ):
        async for result in run(
            Evaluation(rows, score, name="sums"), storage=storage, experiment="first", middleware=[]
        ):
            seen.append(result.index)
    assert sorted(seen) == list(range(7))
    assert await read(storage) == list(range(7))


async def test_storage_that_fails_half_way(backend: Gated, storage: Storage) -> None:
    """Where the storage fails, its error comes out after everything that was committed."""
    scorer = Scorer(below=10)
    running = run(sums(scorer, 100), storage=storage, experiment="first", middleware=[])
    seen = []
    with pytest.raises(StorageError, match="the disk is full"):
        async for result in running:
            seen.append(result.index)
            if len(seen) == 10:
                backend.broken.add(1)
                scorer.release(50)
    assert sorted(seen) == list(range(10))
    assert running.report.n == 10
    assert await read(storage) == list(range(10))
    assert await runs(storage) == {"sums": "failed"}


async def test_storage_that_fails_for_one_evaluation(backend: Gated, storage: Storage) -> None:
    """What was committed of one evaluation is handed over, though another's could not be."""
    backend.close_gate()
    backend.broken.add(1)
    seen = []
    running = run(
        [sums(Scorer(), 5, "sums"), sums(Scorer(), 5, "words")],
        storage=storage,
        experiment="first",
        middleware=[],
    )

    async def consume() -> None:
        async for result in running:
            seen.append(result.evaluation)

    task = asyncio.ensure_future(consume())
    await backend.came.wait()
    backend.gate.set()
    with pytest.raises(StorageError):
        await task
    words = await read(storage, evaluation="words")
    assert seen == ["words"] * len(words)
    # Of the other one nothing was stored, so that it is not kept.
    assert await runs(storage) == {"words": "failed"}


async def test_storage_that_cannot_be_opened(tmp_path: Path) -> None:
    """A storage that cannot be opened is an error before the first sample."""
    scorer = Scorer()
    with pytest.raises(ConfigurationError, match="is a directory"):
        await run(sums(scorer), storage=f"sqlite:///{tmp_path}", experiment="first")
    assert scorer.started == 0


async def test_dataset_that_cannot_be_opened_leaves_nothing(storage: Storage) -> None:
    """A run that failed before its first sample is not kept."""
    with pytest.raises(DatasetError):
        await run(
            Evaluation(Path("missing.jsonl"), Scorer(), name="sums"),
            storage=storage,
            experiment="first",
            middleware=[],
        )
    assert [name async for name in storage.experiments()] == []


# Bounds.


@pytest.mark.parametrize("way", ["break", "cancel()", "task"])
def test_commit_that_hangs_does_not_hang_the_run(way: str) -> None:
    """A commit that is not answered is given a few seconds once the run is to end, and no more."""

    async def main() -> float:
        backend = Gated()
        now = asyncio.get_running_loop().time
        async with Storage(backend) as storage:
            scorer = Scorer(below=1)
            running = run(sums(scorer), storage=storage, experiment="first", middleware=[])

            async def consume() -> None:
                async for _ in running:
                    backend.came.clear()
                    backend.hanging.add("commit")
                    scorer.release(10)
                    await backend.came.wait()
                    # And more gathers behind it.
                    scorer.release(15)
                    await until(lambda: pending(running) == 5)
                    if way == "break":
                        break
                    if way == "task":
                        running._runner._driver.cancel()
                    else:
                        running.cancel()

            begun = now()
            task = asyncio.ensure_future(consume())
            await asyncio.wait([task])
            await running._runner.join()
            assert isinstance(task.exception(), StorageError) == (way != "break")
            assert await read(storage) == [0]
            return now() - begun

    assert run_virtual(main) <= 11


@pytest.mark.parametrize("way", ["break", "cancel()", "stop()", "end"])
def test_closing_that_hangs_does_not_hang_the_run(way: str) -> None:
    """A storage that does not take note of the run's end is given a few seconds, and no more."""

    async def main() -> float:
        backend = Gated()
        now = asyncio.get_running_loop().time
        async with Storage(backend) as storage:
            scorer = Scorer(below=1)
            running = run(sums(scorer), storage=storage, experiment="first", middleware=[])

            async def consume() -> None:
                async for result in running:
                    if result.index == 0:
                        backend.hanging.add("update_run")
                        scorer.release(20)
                        if way == "break":
                            break
                        if way != "end":
                            running.cancel() if way == "cancel()" else running.stop()

            begun = now()
            await consume()
            await running._runner.join()
            return now() - begun

    assert run_virtual(main) <= 11


def test_opening_that_hangs_can_be_left() -> None:
    """A run whose storage does not answer while it opens can be cancelled."""

    async def main() -> float:
        backend = Gated()
        async with Storage(backend) as storage:
            backend.hanging.add("add_run")
            running = run(sums(Scorer()), storage=storage, experiment="first", middleware=[])
            begun = asyncio.get_running_loop().time()
            async with running:
                await backend.came.wait()
            return asyncio.get_running_loop().time() - begun

    assert 5 <= run_virtual(main) <= 15


def test_heartbeats() -> None:
    """While a run goes on, its owner says often at first, and then every ten seconds, that it lives."""

    async def main() -> list[float]:
        backend = Gated()
        loop = asyncio.get_running_loop()
        beats = []

        async def score(value: int) -> bool:
            await asyncio.sleep(4 * BEAT_SECONDS)
            return True

        async with Storage(backend) as storage:
            update = backend.update_run

            async def noting(given: StoredRun) -> StoredRun | None:
                if given.owner is not None and given.owner.beat != given.owner.since:
                    beats.append(loop.time())
                return await update(given)

            backend.update_run = noting
            await run(sums(score, 1), storage=storage, experiment="first", middleware=[])
        return beats

    beats = run_virtual(main)
    assert [round(beat, 1) for beat in beats][:7] == [0.5, 1.5, 3.5, 7.5, 15.5, 25.5, 35.5]


def test_run_that_is_taken_over() -> None:
    """A run that another process has taken over ends at the next beat, with an error that says so."""

    async def main() -> float:
        backend = Gated()
        async with Storage(backend) as storage:
            scorer = Scorer(below=5)
            running = run(sums(scorer), storage=storage, experiment="first", middleware=[])
            seen = []
            with pytest.raises(RunInProgress, match="taken over"):
                async for result in running:
                    seen.append(result.index)
                    if len(seen) == 5:
                        (stored,) = [run async for run in storage.runs("first")]
                        theirs = attrs.evolve(stored.owner, pid=os.getppid(), born="")
                        assert await SqliteBackend.update_run(backend, attrs.evolve(stored, owner=theirs))
            assert seen == [0, 1, 2, 3, 4]
            # It is the other's now.
            (stored,) = [run async for run in storage.runs("first")]
            assert (stored.status, stored.owner) == ("running", theirs)
            return asyncio.get_running_loop().time()

    assert run_virtual(main) <= 2 * BEAT_SECONDS


def test_git_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is over waits a second for the state of the code, and no longer."""

    async def endless() -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "git_state", endless)

    async def main() -> float:
        await run(sums(Scorer()), storage="memory://", experiment="first")
        return asyncio.get_running_loop().time()

    assert 1 <= run_virtual(main) <= 3


async def test_state_of_the_code_is_noted(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has the state of the code that it ran with, however short it was."""

    async def state() -> tuple[str, bool]:
        return "abc123", True

    monkeypatch.setattr(module, "git_state", state)
    await run(sums(Scorer()), storage=storage, experiment="first", middleware=[Concurrency(3)])
    (stored,) = await storage.latest("first")
    assert stored.session is not None
    assert (stored.session.git_commit, stored.session.git_dirty) == ("abc123", True)
    assert stored.session.middleware == "stack(Concurrency(3))"


# Several evaluations.


async def test_several_evaluations_in_one_experiment(storage: Storage) -> None:
    """Each of several evaluations has a run of its own in the experiment, and each is gone on with."""
    evaluations = [sums(Scorer(), 30, "sums"), sums(Scorer(), 50, "words")]
    report = await run(evaluations, storage=storage, experiment="first", middleware=[])
    assert await runs(storage) == {"sums": "finished", "words": "finished"}
    assert await read(storage, evaluation="words") == list(range(50))
    assert len(await read(storage)) == 80
    assert report.resumed is not None
    assert (report.n, report.resumed.stored) == (80, 0)
    again = [sums(scorer := Scorer(), 40, "sums"), sums(Scorer(), 50, "words")]
    report = await run(again, storage=storage, experiment="first", middleware=[])
    assert scorer.started == 10
    assert (report.n, report.resumed.stored, report.resumed.kept) == (90, 80, 80)
    parts = report.evaluations
    assert [(parts[name].resumed.kept, parts[name].n) for name in ("sums", "words")] == [(30, 40), (50, 50)]


async def test_each_run_is_closed(backend: Gated, storage: Storage) -> None:
    """Where one evaluation's run was taken away, the others' are closed all the same."""
    scorer = Scorer(below=3)
    running = run(
        [sums(scorer, 9, "sums"), sums(scorer, 9, "words")], storage=storage, experiment="first", middleware=[]
    )
    with pytest.raises(StorageError, match="the run was deleted while it was being written"):
        async for _ in running:
            if running.stats.done == 6:
                await backend.delete_run(1)
                scorer.release(3.5)
                running.stop()
                scorer.release(9)
    assert (await runs(storage))["words"] == "failed"


# Where it is kept.


async def test_name_is_made_where_none_is_given() -> None:
    """With a storage and no experiment, results are kept under a name made of the evaluation's and the time."""
    running = run(sums(Scorer()), storage="memory://test-journal-name")
    assert running.experiment is not None
    assert running.experiment.startswith("sums-2")
    report = await running
    assert report.resumed is not None
    assert report.resumed.experiment == running.experiment
    async with open_storage("memory://test-journal-name") as storage:
        assert [name async for name in storage.experiments()] == [running.experiment]
        assert await read(storage, running.experiment) == list(range(20))


async def test_default_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an experiment and no storage, results are kept in `.aeval/results.db` of the working directory."""
    monkeypatch.chdir(tmp_path)
    await run(sums(Scorer()), experiment="first")
    # What was opened for the run is closed with it.
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        ".aeval/results.db"
    ]
    async with open_storage() as storage:
        assert await read(storage) == list(range(20))


async def test_storage_that_is_open_stays_open(storage: Storage) -> None:
    """A storage that was open before a run is open after it."""
    await run(sums(Scorer()), storage=storage, experiment="first", middleware=[])
    assert storage.is_open
    assert await read(storage) == list(range(20))


async def test_nothing_is_kept_without_either() -> None:
    """Without a storage and an experiment nothing is kept, and going on is an error."""
    running = run(sums(Scorer()))
    assert running.experiment is None
    assert (await running).resumed is None
    for option in ("fresh", "replay"):
        with pytest.raises(ConfigurationError, match=f"{option}=True .* none is named: give experiment='name'"):
            run(sums(Scorer()), **{option: True})
    with pytest.raises(ConfigurationError, match="'a/b' has a path separator"):
        run(sums(Scorer()), experiment="a/b")


# Going on.


async def test_what_was_kept_is_counted(storage: Storage) -> None:
    """The figures and the progress of a run that goes on count what was stored as done, but not as its work."""
    await run(sums(Scorer()), storage=storage, experiment="first", middleware=[], samples=12)
    running = run(sums(Scorer()), storage=storage, experiment="first", middleware=[])
    new = [result.index async for result in running]
    assert sorted(new) == list(range(12, 20))
    stats = running.stats
    assert (stats.done, stats.kept, stats.total, stats.attempts, stats.in_flight) == (8, 12, 20, 8, 0)
    told = dict(facts(stats))
    assert (told["done"], told["kept"], told["left"]) == ("20 of 20", "12", "0:00")
    assert share_done(stats) == 1
    report = running.report
    assert report.resumed is not None
    assert (report.n, report.scored, report.attempts) == (20, 20, 20)
    assert (report.resumed.stored, report.resumed.kept, report.resumed.retried) == (12, 12, 0)
    assert report.summary["Scorer"]["n"] == 20


async def test_stored_results_are_given_too(storage: Storage) -> None:
    """With `replay`, the stored results come after the new ones, however many there are."""
    await run(sums(Scorer(), 500), storage=storage, experiment="first", middleware=[], samples=300)
    running = run(sums(Scorer(), 500), storage=storage, experiment="first", middleware=[], replay=True)
    seen: list[Result[Any, Any]] = []
    async for result in running:
        seen.append(result)
        # A consumer who takes its time is waited for.
        if len(seen) % 50 == 0 and len(seen) >= 200:
            await quiet(lambda: len(running._runner.ready))
            assert len(running._runner.ready) <= running._runner.most_ready
    assert sorted(result.index for result in seen[:200]) == list(range(300, 500))
    assert sorted(result.index for result in seen[200:]) == list(range(300))
    assert running.report.n == 500


@pytest.mark.parametrize("way", ["stop", "break"])
async def test_stored_results_can_be_left(storage: Storage, way: str) -> None:
    """A consumer may stop or leave a run while it is given what was stored."""
    await run(sums(Scorer(), 300), storage=storage, experiment="first", middleware=[])
    running = run(sums(Scorer(), 300), storage=storage, experiment="first", middleware=[], replay=True)
    seen = 0
    async for _ in running:
        seen += 1
        if seen == 10:
            await quiet(lambda: len(running._runner.ready))
            if way == "break":
                break
            running.stop()
    await until(lambda: running._runner.status != "running")
    assert seen <= 10 + running._runner.most_ready < 300
    assert await runs(storage) == {"sums": "finished"}


async def test_run_that_was_left_can_be_started_again_at_once(storage: Storage) -> None:
    """A run that was left a moment ago is waited for by the next one of the same process."""
    for _ in range(5):
        async for _ in run(sums(Scorer(), 1000), storage=storage, experiment="first", middleware=[], window=4):
            break
    await run(sums(Scorer(), 1000), storage=storage, experiment="first", middleware=[])
    assert await read(storage) == list(range(1000))
