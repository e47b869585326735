"""`Storage` and `open_storage`: what is stored, read back page by page."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
from stores import added, entries, entry

from aeval.errors import ConfigurationError, ExperimentError, RunInProgress, StorageVersionError
from aeval.storage import Storage, open_storage
from aeval.storage import storage as module
from aeval.storage.base import Backend, StoredRun
from aeval.storage.jsonl import JsonlBackend
from aeval.storage.owner import Owner
from aeval.storage.sqlite import SqliteBackend

pytestmark = pytest.mark.anyio


class Watched(SqliteBackend):
    """A database in memory that notes how large the pages were that it was asked for."""

    def __init__(self) -> None:
        super().__init__(None, url="memory://watched")
        self.limits: list[int] = []
        self.bytes: list[int] = []

    async def page(self, key: int, after: int, limit: int, **wanted: bool | None) -> list[tuple[int, bytes]]:
        rows = await super().page(key, after, limit, **wanted)
        self.limits.append(limit)
        self.bytes.append(sum(len(body) for _, body in rows))
        return rows


@pytest.fixture
async def watched() -> AsyncIterator[Storage]:
    async with Storage(Watched()) as storage:
        yield storage


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with open_storage("memory://") as storage:
        yield storage


async def rescored(backend: Backend, number: int, of: int = 1) -> StoredRun:
    run = await backend.add_run(StoredRun("first", "sums", number, 1.0, rescored=of))
    assert run is not None
    return run


async def living(backend: Backend, owner: Owner) -> StoredRun:
    run = await added(backend)
    taken = await backend.update_run(attrs.evolve(run, status="running", owner=owner))
    assert taken is not None
    return taken


# Opening and closing.


async def test_entering_opens_and_leaving_closes(tmp_path: Path) -> None:
    """A storage is open inside of its block, and for as long as anybody else has it open."""
    storage = open_storage(f"sqlite:///{tmp_path}/results.db")
    assert not storage.exists()
    assert repr(storage) == f"<Storage sqlite:///{tmp_path}/results.db>"
    async with storage:
        assert storage.is_open
        assert storage.exists()
        await storage.open()
        assert open_storage(storage) is storage
    assert storage.is_open
    for _ in range(2):
        await storage.aclose()
        assert not storage.is_open


async def test_storage_that_cannot_be_opened_is_not_open(tmp_path: Path) -> None:
    """A storage whose opening failed is not open, and can be tried again."""
    path = tmp_path / "results.db"
    path.write_text("no database")
    storage = open_storage(f"sqlite:///{path}")
    with pytest.raises(ConfigurationError):
        await storage.open()
    assert not storage.is_open
    path.unlink()
    async with storage:
        assert [name async for name in storage.experiments()] == []


async def test_memory_is_private_without_a_name() -> None:
    """Each `memory://` is a storage of its own, which is gone when it is closed."""
    one = open_storage("memory://")
    assert one.reopened() is None
    assert one.exists()
    async with one, open_storage("memory://") as other:
        await added(one.backend)
        assert [name async for name in other.experiments()] == []
    async with one:
        assert [name async for name in one.experiments()] == []


async def test_memory_with_a_name_is_shared_in_the_process() -> None:
    """`memory://name` is one and the same storage, wherever in the process it is opened and closed."""
    async with open_storage("memory://test-shared") as one, open_storage("memory://test-shared") as other:
        await added(one.backend)
        assert [name async for name in other.experiments()] == ["first"]
    gc.collect()
    again = open_storage("memory://test-shared").reopened()
    assert again is not None
    async with again, open_storage("memory://test-other") as stranger:
        assert [name async for name in again.experiments()] == ["first"]
        assert [name async for name in stranger.experiments()] == []


async def test_file_is_found_again_from_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path is relative to the directory in which the storage was named, also for another opening of it."""
    monkeypatch.chdir(tmp_path)
    storages = [open_storage("sqlite:///results.db"), open_storage("jsonl://results")]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for storage in storages:
        async with storage:
            await added(storage.backend)
        again = storage.reopened()
        assert again is not None
        assert again.backend is not storage.backend
        assert again.exists()
        async with again:
            assert [name async for name in again.experiments()] == ["first"]
    assert list(elsewhere.iterdir()) == []


# URLs.


async def test_default_is_a_file_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a URL, results are kept in `.aeval/results.db`."""
    monkeypatch.chdir(tmp_path)
    async with open_storage() as storage:
        assert storage.url == "sqlite:///.aeval/results.db"
    assert (tmp_path / ".aeval" / "results.db").is_file()


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        ("sqlite:///a.db", SqliteBackend, "sqlite:///a.db"),
        ("sqlite:///~/a.db?durability=full", SqliteBackend, "sqlite:///~/a.db"),
        ("sqlite:////tmp/a.db?durability=process", SqliteBackend, "sqlite:////tmp/a.db"),
        ("jsonl://a", JsonlBackend, "jsonl://a"),
        ("jsonl:///tmp/a?durability=full", JsonlBackend, "jsonl:///tmp/a"),
        ("memory://", SqliteBackend, "memory://"),
        ("memory://test-urls", SqliteBackend, "memory://test-urls"),
    ],
)
def test_urls(url: str, kind: type, shown: str) -> None:
    """The scheme of a URL says what kind of storage it is."""
    storage = open_storage(url)
    assert isinstance(storage.backend, kind)
    assert storage.url == shown
    assert not storage.is_open


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_url_of_a_database_is_shown_without_its_password(scheme: str) -> None:
    """A PostgreSQL URL may begin with either name, and its password is shown nowhere."""
    storage = open_storage(f"{scheme}://user:sesame@localhost/name")
    assert "sesame" not in repr(storage)
    assert "localhost" in repr(storage)
    assert storage.exists()


@pytest.mark.parametrize(
    ("url", "value", "fix"),
    [
        (
            "results.db",
            "'results.db'",
            "write 'sqlite:///results.db' for a file, or 'jsonl://results.db' for a folder",
        ),
        ("", "''", "write 'sqlite:///"),
        ("sqllite:///a.db", "'sqllite:///a.db'.*'sqllite'", "did you mean 'sqlite://'"),
        ("json://a", "'json'", "did you mean 'jsonl://'"),
        ("s3://bucket", "'s3'", "give sqlite://, jsonl://, postgresql://, memory://"),
        (
            "sqlite://results.db",
            "'sqlite://results.db'",
            "write 'sqlite:///results.db', or with four slashes an absolute",
        ),
        ("sqlite:///", "'sqlite:///'", "write 'sqlite:///results.db'"),
        ("sqlite://", "'sqlite://'", "write 'sqlite:///results.db'"),
        ("jsonl://", "'jsonl://'", "write 'jsonl://results'"),
        ("sqlite:///a.db?durable=full", "'sqlite:///a.db.durable=full'.*'durable'", "there is durability=full"),
        ("jsonl://a?x", "'x'", "there is durability=full"),
        ("sqlite:///a.db?durability=fully", "'fully'", "give 'process' or 'full'"),
        ("memory://?durability=", "''", "give 'process' or 'full'"),
    ],
)
def test_urls_that_cannot_work(url: str, value: str, fix: str) -> None:
    """A URL that cannot work is refused at once, with its value and what to write instead."""
    with pytest.raises(ConfigurationError, match=f"{value}.*{fix}"):
        open_storage(url)


async def test_later_version_is_an_error_of_the_storage(tmp_path: Path) -> None:
    """A storage that a later aeval wrote is not opened."""
    path = tmp_path / "results.db"
    async with open_storage(f"sqlite:///{path}") as storage:
        await storage.backend._writing.call(lambda connection: connection.execute("PRAGMA user_version = 99"))
    with pytest.raises(StorageVersionError, match="version 99"):
        await open_storage(f"sqlite:///{path}").open()


# Experiments and runs.


async def test_experiments_and_runs_of_many_pages(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """All experiments and runs are given, however many pages they take."""
    monkeypatch.setattr(module, "PAGE", 3)
    names = [f"e{number:02}" for number in range(10)]
    for name in reversed(names):
        for number in range(1, 8):
            await added(storage.backend, number=number, experiment=name)
    assert [name async for name in storage.experiments()] == names
    assert [run.number async for run in storage.runs("e04")] == list(range(1, 8))
    every = [(run.experiment, run.number) async for run in storage.runs()]
    assert every == [(name, number) for name in names for number in range(1, 8)]


async def test_empty_storage_has_nothing(storage: Storage) -> None:
    """A storage without experiments has no runs, and says so of any that is asked for."""
    assert [name async for name in storage.experiments()] == []
    assert [run async for run in storage.runs()] == []
    with pytest.raises(ExperimentError, match=r"no experiment 'first' in '.*': there is none yet"):
        await storage.latest("first")


async def test_unknown_names_come_with_the_nearest(storage: Storage) -> None:
    """An experiment or evaluation that is not there is an error with those that it could have been."""
    await added(storage.backend)
    await added(storage.backend, number=2)
    with pytest.raises(ExperimentError, match=r"no experiment 'fist' in '.*': did you mean 'first'\?"):
        [run async for run in storage.runs("fist")]
    with pytest.raises(ExperimentError, match=r"no experiment 'fist' in '.*': did you mean 'first'\?"):
        [result async for result in storage.results("fist")]
    for act in (storage.rename("fist", "other"), storage.delete("fist")):
        with pytest.raises(ExperimentError, match="no experiment 'fist'"):
            await act
    unknown = r"no evaluation in the experiment 'first' called 'sum': did you mean 'sums', 'sums#2'\?"
    for act in (storage.latest("first", "sum"), storage.delete("first", "sum")):
        with pytest.raises(ExperimentError, match=unknown):
            await act


async def test_latest_run_of_each_evaluation_counts(storage: Storage) -> None:
    """Of each evaluation the latest run counts that called its task, and any other one can be named."""
    backend = storage.backend
    await added(backend)
    await added(backend, "words")
    await added(backend, number=2)
    await rescored(backend, 3)

    async def labels(evaluation: str | None = None) -> list[str]:
        return [run.label for run in await storage.latest("first", evaluation)]

    assert sorted(await labels()) == ["sums#2", "words"]
    assert await labels("sums") == ["sums#2"]
    assert await labels("sums#1") == ["sums"]
    assert await labels("sums#2") == ["sums#2"]
    assert await labels("sums#3") == ["sums#3"]
    assert await labels("words#1") == ["words"]
    with pytest.raises(ExperimentError, match=r"'sums#4': did you mean"):
        await labels("sums#4")


async def test_scores_given_again_are_found_by_their_number_only(storage: Storage) -> None:
    """Where only scores that were given again are left of an evaluation, they are offered by their label."""
    run = await added(storage.backend)
    await rescored(storage.backend, 2)
    await storage.backend.delete_run(run.key)
    assert await storage.latest("first") == []
    with pytest.raises(ExperimentError, match=r"'sums': did you mean 'sums#2'\?"):
        await storage.latest("first", "sums")
    assert [run.number for run in await storage.latest("first", "sums#2")] == [2]


async def test_evaluation_whose_own_name_is_like_a_label(storage: Storage) -> None:
    """An evaluation that is called like another one's run is found by its name."""
    await added(storage.backend, "sums#2")
    assert [run.evaluation for run in await storage.latest("first", "sums#2")] == ["sums#2"]


# Results.


async def test_results_of_many_pages(watched: Storage) -> None:
    """Many small results are read in pages that grow up to a bound, in the order of their commits."""
    run = await added(watched.backend)
    await watched.backend.commit(run.key, entries(3000))
    assert [result.id async for result in watched.results("first")] == list(range(3000))
    limits = watched.backend.limits
    assert limits[0] == module.FIRST_PAGE
    assert set(limits[1:]) == {module.PAGE}


@pytest.mark.parametrize(("parts", "most"), [(4, 4), (1, 1), (0.2, 1)])
async def test_pages_of_large_outputs_are_small(watched: Storage, parts: float, most: int) -> None:
    """However large outputs are, a page has no more bytes than its bound, or else one result."""
    run = await added(watched.backend)
    large = "x" * int(module.PAGE_BYTES / parts - 1000)
    await watched.backend.commit(run.key, [entry(number, output=large) for number in range(20)])
    pages = [len(page) async for page in watched.pages_of(run)]
    assert pages == [module.FIRST_PAGE, *[most] * (4 // most)]


async def test_results_that_were_scored_or_errored(storage: Storage) -> None:
    """Results can be read by whether they were scored; what was replaced is apart."""
    backend = storage.backend
    run = await added(backend)
    await backend.commit(run.key, [entry(1), entry(2, error="first"), entry(3, error="broken")])
    await backend.commit(run.key, [entry(2, error="again", replaces=True)])
    await backend.commit(run.key, [entry(2, output="at last", replaces=True)])

    async def found(**wanted: bool) -> list[tuple[object, str | None]]:
        return [
            (result.id, result.error and result.error.message)
            async for result in storage.results("first", **wanted)
        ]

    assert await found() == [(1, None), (3, "broken"), (2, None)]
    assert await found(ok=True) == [(1, None), (2, None)]
    assert await found(ok=False) == [(3, "broken")]
    assert await found(history=True) == [(2, "first"), (2, "again")]
    assert await found(history=True, ok=True) == []
    counts = await storage.counts(run)
    assert (counts.n, counts.errored) == (3, 1)


async def test_results_of_several_evaluations(storage: Storage) -> None:
    """An experiment's results are those of the latest run of each evaluation, with the evaluation's name."""
    backend = storage.backend
    for evaluation, number in (("sums", 1), ("words", 1), ("sums", 2)):
        run = await added(backend, evaluation, number)
        await backend.commit(run.key, [entry(f"{evaluation}{number}")])
    found = [(result.evaluation, result.id) async for result in storage.results("first")]
    assert sorted(found) == [("sums", "sums2"), ("words", "words1")]
    assert [result.id async for result in storage.results("first", "sums#1")] == ["sums1"]


async def test_rows_that_were_tuples_are_tuples(storage: Storage) -> None:
    """The rows of a run whose rows were tuples come back as tuples."""
    run = await storage.backend.add_run(StoredRun("first", "sums", 1, 1.0, row_type="tuple"))
    assert run is not None
    await storage.backend.commit(run.key, [entry(1, row=("a", 1))])
    assert [result.row async for result in storage.results("first")] == [("a", 1)]


async def test_results_up_to_a_number(storage: Storage) -> None:
    """A reader who stops at a number sees nothing of what was committed behind it."""
    backend = storage.backend
    run = await added(backend)
    await backend.commit(run.key, entries(10))
    last = (await backend.counts(run.key)).last
    await backend.commit(run.key, entries(10, 10))
    assert [result.id async for result in storage.results_of(run, last=last)] == list(range(10))
    assert [result.id async for result in storage.results_of(run, last=last - 4)] == list(range(6))
    assert [result.id async for result in storage.results_of(run, last=0)] == []


async def test_reading_may_be_left(storage: Storage) -> None:
    """Who leaves a loop over results half-way may read on, and write."""
    run = await added(storage.backend)
    await storage.backend.commit(run.key, entries(100))
    results = storage.results_of(run)
    async for result in results:
        assert result.id == 0
        break
    await results.aclose()
    await storage.backend.commit(run.key, entries(1, 100))
    assert len([result async for result in storage.results("first")]) == 101


async def test_responses_are_kept(storage: Storage) -> None:
    """A response is found under its key."""
    assert await storage.recall("key") is None
    await storage.keep("key", b"response")
    assert await storage.recall("key") == b"response"


# Renaming and deleting.


async def test_renaming(storage: Storage) -> None:
    """A renamed experiment is found under its new name, and not under the old one."""
    run = await added(storage.backend)
    await storage.backend.commit(run.key, entries(3))
    await storage.rename("first", "second")
    assert [name async for name in storage.experiments()] == ["second"]
    assert len([result async for result in storage.results("second")]) == 3
    with pytest.raises(ExperimentError, match="'first'"):
        await storage.latest("first")


async def test_renaming_that_is_refused(storage: Storage) -> None:
    """No experiment gets a name that is taken, or that cannot be one."""
    await added(storage.backend)
    await added(storage.backend, experiment="second")
    with pytest.raises(ExperimentError, match="'first' cannot be renamed: the name 'second' is taken"):
        await storage.rename("first", "second")
    with pytest.raises(ExperimentError, match="'a/b' has a path separator in it: write 'a-b'"):
        await storage.rename("first", "a/b")
    assert [name async for name in storage.experiments()] == ["first", "second"]


async def test_deleting_an_experiment(storage: Storage) -> None:
    """A deleted experiment is gone with all of its runs, and no other is."""
    for number in (1, 2):
        await added(storage.backend, number=number)
    await added(storage.backend, experiment="second")
    assert await storage.delete("first") == 2
    assert [name async for name in storage.experiments()] == ["second"]


@pytest.mark.parametrize(
    ("evaluation", "left"),
    [
        ("sums", ["words"]),
        ("sums#1", ["words", "sums#2", "sums#3"]),
        ("sums#2", ["sums", "words", "sums#3"]),
        ("sums#3", ["sums", "words", "sums#2"]),
        ("words", ["sums", "sums#2", "sums#3"]),
    ],
)
async def test_deleting_one_evaluation(storage: Storage, evaluation: str, left: list[str]) -> None:
    """By its name all runs of an evaluation are deleted, and by a label one of them."""
    backend = storage.backend
    await added(backend)
    await added(backend, "words")
    await added(backend, number=2)
    await rescored(backend, 3)
    assert await storage.delete("first", evaluation) == 4 - len(left)
    assert [run.label async for run in storage.runs("first")] == left


async def test_scores_given_again_are_deleted_with_their_evaluation(storage: Storage) -> None:
    """An evaluation of which only scores that were given again are left can be deleted by its name."""
    run = await added(storage.backend)
    await rescored(storage.backend, 2)
    await storage.backend.delete_run(run.key)
    assert await storage.delete("first", "sums") == 1


async def test_experiment_of_a_living_process_is_left_alone(storage: Storage) -> None:
    """While a process writes to an experiment, it is neither renamed nor deleted; once it is dead, it may be."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        owner = attrs.evolve(Owner.mine(), pid=process.pid, born="")
        run = await living(storage.backend, owner)
        assert run.state == "running"
        await added(storage.backend, "words")
        who = f"while 'sums' is being run by process {process.pid} on {owner.host}, since .*: stop that process first"
        with pytest.raises(RunInProgress, match=f"'first' cannot be renamed {who}"):
            await storage.rename("first", "second")
        for evaluation in (None, "sums", "sums#1"):
            with pytest.raises(RunInProgress, match=f"'first' cannot be deleted {who}"):
                await storage.delete("first", evaluation)
        # What it does not write to may go.
        assert await storage.delete("first", "words") == 1
        process.kill()
    assert run.state == "interrupted"
    await storage.rename("first", "second")
    assert await storage.delete("second") == 1
