"""What is special to SQLite."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from stores import added, entries, entry, outputs, pages

from aeval.errors import ConfigurationError, StorageError, StorageVersionError
from aeval.storage import open_storage
from aeval.storage import sqlite as module
from aeval.storage.base import DuplicateSample
from aeval.storage.sqlite import APPLICATION_ID, MIGRATIONS, MOST_ROWS, SqliteBackend

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def backend_of(path: Path | None, **options: Any) -> SqliteBackend:
    url = "memory://" if path is None else f"sqlite:///{path}"
    return SqliteBackend(path, url=url, **options)


@pytest.fixture
async def opened(path: Path) -> AsyncIterator[SqliteBackend]:
    """Give a backend that is open on a new file."""
    backend = backend_of(path)
    await backend.open()
    yield backend
    await backend.aclose()


@contextmanager
def peek(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection of another program, in which each statement commits itself."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def ask(path: Path, sql: str) -> list[Any]:
    with peek(path) as connection:
        return connection.execute(sql).fetchall()


def digest(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


# The file.


async def test_file_is_made_with_its_folders(tmp_path: Path) -> None:
    """A new storage makes its folders, and a file that SQLite's own tools know as aeval's."""
    path = tmp_path / "a" / "b" / "results.db"
    backend = backend_of(path)
    await backend.open()
    await added(backend)
    await backend.aclose()
    assert ask(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]
    # Nothing is left beside it.
    assert [file.name for file in path.parent.iterdir()] == ["results.db"]


async def test_place_that_cannot_be_a_file(tmp_path: Path) -> None:
    """A directory, and a folder that cannot be made, are refused by their names."""
    with pytest.raises(
        ConfigurationError, match=f"'sqlite:///{tmp_path}' is a directory.*{tmp_path}/results.db"
    ):
        await backend_of(tmp_path).open()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"folder of the storage .* cannot be made.*give another path"):
        await backend_of(tmp_path / "file" / "results.db").open()


@pytest.mark.parametrize("content", [b"question,answer\n" * 1000, b"x" * 200, b"x"])
async def test_file_that_is_no_database(path: Path, content: bytes) -> None:
    """A file that is no database is refused, and stays as it is."""
    path.write_bytes(content)
    with pytest.raises(
        ConfigurationError, match=f"'{path}' is not an SQLite database: give the path of another file"
    ):
        await backend_of(path).open()
    assert path.read_bytes() == content


async def test_database_of_another_program(path: Path) -> None:
    """Another program's database is refused, and stays as it is."""
    with peek(path) as connection:
        connection.execute("CREATE TABLE mine (a)")
    before = digest(path.parent)
    with pytest.raises(
        ConfigurationError, match="a database of another program: give the path of another file"
    ):
        await backend_of(path).open()
    assert digest(path.parent) == before


async def test_later_version_is_left_as_it_is(path: Path, opened: SqliteBackend) -> None:
    """A file of a later version of aeval is refused, and not a byte of it is changed."""
    await added(opened)
    await opened.aclose()
    with peek(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = digest(path.parent)
    with pytest.raises(
        StorageVersionError, match=f"version {len(MIGRATIONS) + 1}, and .* up to {len(MIGRATIONS)}: upgrade"
    ):
        await backend_of(path).open()
    assert digest(path.parent) == before


async def test_file_whose_head_alone_is_sound(path: Path) -> None:
    """A file that only begins like a database is an error of the storage, and stays as it is."""
    path.write_bytes(module.FIRST_BYTES + b"x" * 5000)
    before = digest(path.parent)
    with pytest.raises(StorageError, match="not a database: the file is damaged, or no database"):
        await backend_of(path).open()
    assert digest(path.parent) == before


# Migrations.

MADE_UP = """
    ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT 'a; b';
    INSERT INTO cache VALUES ('migrated', x'01');
"""


async def test_migrations_run_in_order_and_once(
    path: Path, opened: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is brought up to date by the migrations that it lacks, each once, and keeps what it has."""
    run = await added(opened)
    await opened.commit(run.key, entries(3))
    await opened.aclose()
    last = "UPDATE runs SET note = note || ', then c';"
    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, MADE_UP, last))
    for _ in range(2):
        backend = backend_of(path)
        await backend.open()
        assert await backend.runs("first", 0, 10) == [run]
        assert (await backend.counts(run.key)).n == 3
        assert await backend.recall("migrated") == b"\x01"
        await backend.aclose()
        assert ask(path, "SELECT note FROM runs") == [("a; b, then c",)]
        assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS) + 2,)]


async def test_new_file_gets_every_migration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file begins with the latest schema."""
    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, MADE_UP))
    backend = backend_of(path)
    await backend.open()
    assert await backend.recall("migrated") == b"\x01"
    await backend.aclose()


async def test_migration_that_fails_changes_nothing(
    path: Path, opened: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose migration fails half-way is as it was."""
    run = await added(opened)
    await opened.aclose()
    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, MADE_UP, "INSERT INTO missing VALUES (1);"))
    with pytest.raises(StorageError, match="no such table: missing"):
        await backend_of(path).open()
    monkeypatch.undo()
    backend = backend_of(path)
    await backend.open()
    assert await backend.runs("first", 0, 10) == [run]
    assert await backend.recall("migrated") is None
    await backend.aclose()
    assert ask(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]


async def test_many_open_a_new_file_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several that open a new file at once, one makes the schema and all can use it."""
    monkeypatch.setattr(module, "MIGRATIONS", (*MIGRATIONS, MADE_UP))
    backends = [backend_of(path) for _ in range(6)]
    async with anyio.create_task_group() as tasks:
        for backend in backends:
            tasks.start_soon(backend.open)
    for number, backend in enumerate(backends, 1):
        await added(backend, number=number)
    assert len(await backends[0].runs("first", 0, 10)) == 6
    for backend in backends:
        await backend.aclose()


# How it is opened.


@pytest.mark.parametrize(("durability", "synchronous"), [("process", 1), ("full", 2)])
async def test_durability_decides_what_is_waited_for(path: Path, durability: str, synchronous: int) -> None:
    """With `durability=full` each commit waits for the disk, else only those that the log is emptied by."""
    async with open_storage(f"sqlite:///{path}?durability={durability}") as storage:
        assert isinstance(storage.backend, SqliteBackend)
        connection = storage.backend.connect()
        assert connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        connection.close()


async def test_path_may_have_any_characters(tmp_path: Path) -> None:
    """What stands for something else in a URL may be in a path."""
    path = tmp_path / "a #1 %20 \u00e9?mode=ro" / "r&s.db"
    backend = backend_of(path)
    await backend.open()
    run = await added(backend)
    await backend.aclose()
    assert path.is_file()
    assert await backend.runs("first", 0, 10) == [run]
    await backend.aclose()


async def test_file_that_may_only_be_read(
    path: Path, opened: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file that may not be written results are read, and writing says what to do."""
    run = await added(opened)
    await opened.commit(run.key, entries(3))
    await opened.aclose()
    # The file's mode tells nothing to root, as whom tests may run.
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    backend = backend_of(path)
    await backend.open()
    assert len(await pages(backend, run.key)) == 3
    for write in (backend.commit(run.key, entries(1, 3)), backend.delete_run(run.key), backend.keep("a", b"")):
        with pytest.raises(
            StorageError, match=r"readonly.*: make the file and its folder writable, or give another --storage"
        ):
            await write
    assert (await backend.counts(run.key)).n == 3
    await backend.aclose()


async def test_new_file_that_may_only_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file that may not be written cannot be used."""
    path.touch()
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match="readonly"):
        await backend_of(path).open()
    assert path.read_bytes() == b""


async def test_file_that_another_program_locks(path: Path, opened: SqliteBackend) -> None:
    """A file that stays locked is an error that says for how long was waited; once it is free, all goes on."""
    run = await added(opened)
    impatient = backend_of(path, patience=0.01)
    await impatient.open()
    with peek(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for batch in (entries(3), [entry(1, error="no")]):
            with pytest.raises(StorageError, match=r"kept it locked for 0.01 s: close that program"):
                await impatient.commit(run.key, batch)
        # Who reads does not wait.
        assert (await impatient.counts(run.key)).n == 0
    await impatient.commit(run.key, entries(3))
    assert (await opened.counts(run.key)).n == 3
    await impatient.aclose()


async def test_damaged_file(path: Path, opened: SqliteBackend) -> None:
    """Of a file that is damaged the error says how to save what can be read."""
    run = await added(opened)
    await opened.commit(run.key, entries(2000))
    await opened.aclose()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))
    backend = backend_of(path)
    with pytest.raises(StorageError, match=r"malformed.*sqlite3 FILE .recover"):
        await backend.open()
        await pages(backend, run.key)
    await backend.aclose()


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("SQLITE_FULL", "free some space, and run again"),
        ("SQLITE_IOERR_WRITE", "look at the disk"),
        ("SQLITE_CANTOPEN", "see that its folder exists"),
        ("SQLITE_NOTADB", "the file is damaged, or no database"),
        ("SQLITE_ERROR", "look at the file, and run again"),
        (None, "look at the file, and run again"),
    ],
)
def test_errors_say_what_to_do(path: Path, name: str | None, fix: str) -> None:
    """An error of SQLite's names the storage, and comes with what to do."""
    error = sqlite3.OperationalError("it went wrong")
    if name is not None:
        error.sqlite_errorname = name
    with pytest.raises(StorageError, match=f"'sqlite:///{path}' failed: it went wrong: .*{fix}"):
        raise backend_of(path).described(error)


async def test_closing_twice_and_going_on(path: Path, opened: SqliteBackend) -> None:
    """A backend may be closed twice, and before it was opened."""
    await opened.aclose()
    await opened.aclose()
    await backend_of(path).aclose()


async def test_closing_that_is_cancelled_closes(path: Path) -> None:
    """A backend whose closing is cancelled closes its file all the same."""
    backend = backend_of(path)
    await backend.open()
    run = await added(backend)
    assert await backend.page(run.key, 0, 1) == []
    workers = [
        worker for thread in (backend._writing, backend._reading) for worker in thread._executor._threads
    ]
    held, free = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        held.set()
        free.wait(10)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backend._writing.call, hold)
        await anyio.to_thread.run_sync(held.wait)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await backend.aclose()
        assert scope.cancelled_caught
        free.set()
    for worker in workers:
        await anyio.to_thread.run_sync(worker.join)
    # The last one to close a file takes its log away.
    assert [file.name for file in path.parent.iterdir()] == ["results.db"]


async def test_in_memory_is_for_one_backend() -> None:
    """A database in memory is of its backend alone, and gone when that is closed."""
    one, other = backend_of(None), backend_of(None)
    for backend in (one, other):
        await backend.open()
    run = await added(one)
    assert await other.runs("first", 0, 10) == []
    await one.aclose()
    await one.open()
    assert await one.runs("first", 0, 10) == []
    assert (await added(one)).key == run.key
    for backend in (one, other):
        await backend.aclose()


# Results.


@pytest.mark.parametrize(
    "sample_id",
    [
        0,
        -1,
        2**63 - 1,
        -(2**63),
        2**63,
        -(2**63) - 1,
        10**40,
        "",
        "0",
        "a",
        "\u00e9",
        "i9",
        "\x00",
        "\ud800",
        "s\udfff",
        "x" * 5000,
    ],
)
async def test_ids_of_every_kind(opened: SqliteBackend, sample_id: int | str) -> None:
    """A sample may have any whole number or text for an id, and is found again by it and by no other."""
    run = await added(opened)
    others: list[int | str] = ["0x", 7, f"i{sample_id}", f"s{sample_id}"]
    await opened.commit(run.key, [entry(sample_id), entry(sample_id, 1), *map(entry, others)])
    known = await opened.lookup(run.key, [sample_id], 2)
    assert known.keys() == {(sample_id, 0), (sample_id, 1)}
    assert (await opened.lookup(run.key, [str(sample_id) if isinstance(sample_id, int) else 12345], 2)) == {}
    with pytest.raises(DuplicateSample) as caught:
        await opened.commit(run.key, [entry("new"), entry(sample_id, 1, index=3)])
    assert (caught.value.id, caught.value.index) == (sample_id, 3)
    checksum = entry(sample_id).digest
    assert await opened.settled(run.key, [sample_id], 2, checksum)
    assert not await opened.settled(run.key, [sample_id], 2, checksum + 1)
    mixed = [sample_id, "0x"]
    assert await opened.settled(run.key, mixed, 1, checksum + entry("0x").digest)


@pytest.mark.parametrize("repeat", [0, 1])
async def test_more_than_one_statement_can_take(opened: SqliteBackend, repeat: int) -> None:
    """A commit may have more entries than one statement takes, and is still all or nothing."""
    run = await added(opened)
    count = 2 * MOST_ROWS + 7
    await opened.commit(run.key, entries(count, repeat=repeat))
    assert (await opened.counts(run.key)).n == count
    with pytest.raises(DuplicateSample):
        await opened.commit(run.key, [*entries(count, count, repeat=repeat), entry(5, repeat)])
    found = await outputs(opened, run.key)
    assert [sample_id for sample_id, _ in found] == list(range(count))


async def test_exactly_one_statement(opened: SqliteBackend) -> None:
    """A commit may have as many entries as one statement takes."""
    run = await added(opened)
    await opened.commit(run.key, entries(MOST_ROWS))
    assert (await opened.counts(run.key)).n == MOST_ROWS


@pytest.mark.parametrize("error", [None, "no"])
async def test_numbers_after_another_process_wrote(
    path: Path, opened: SqliteBackend, error: str | None
) -> None:
    """Results go behind those that another process wrote to the run meanwhile, and duplicates are still found."""
    other = backend_of(path)
    await other.open()
    run = await added(opened)
    await opened.commit(run.key, entries(3))
    await other.commit(run.key, entries(3, 3))
    await opened.commit(run.key, entries(3, 6, error=error))
    await other.commit(run.key, entries(3, 9, error=error))
    assert [sample_id for sample_id, _ in await outputs(opened, run.key)] == list(range(12))
    await other.commit(run.key, entries(1, 12))
    with pytest.raises(DuplicateSample):
        await opened.commit(run.key, [entry(20, error=error), entry(4, error=error)])
    assert (await other.counts(run.key)).n == 13
    await other.aclose()


async def test_two_of_one_batch(opened: SqliteBackend) -> None:
    """The second entry of a sample within one batch is the one that is refused."""
    run = await added(opened)
    with pytest.raises(DuplicateSample) as caught:
        await opened.commit(run.key, [entry("a", index=1), entry("b", index=2), entry("a", index=3)])
    assert (caught.value.id, caught.value.index) == ("a", 3)


@pytest.mark.parametrize("way", ["ABORT", "ROLLBACK"])
@pytest.mark.parametrize("error", [None, "no"])
async def test_batch_that_is_refused_for_another_reason(
    path: Path, opened: SqliteBackend, way: str, error: str | None
) -> None:
    """A batch that is refused though it has no duplicate is an error of the storage."""
    run = await added(opened)
    with peek(path) as connection:
        connection.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON results BEGIN SELECT RAISE({way}, 'no'); END"
        )
    with pytest.raises(StorageError, match="a batch of 2 results was refused"):
        await opened.commit(run.key, entries(2, error=error))
    with peek(path) as connection:
        connection.execute("DROP TRIGGER refuse")
    await opened.commit(run.key, entries(2, error=error))
    assert (await opened.counts(run.key)).n == 2


async def test_runs_lie_side_by_side(opened: SqliteBackend) -> None:
    """Each run's results have numbers of its own, and deleting one touches no other."""
    first, second = await added(opened), await added(opened, number=2)
    await opened.commit(first.key, entries(5))
    await opened.commit(second.key, entries(5))
    numbers = [{number for number, _ in await pages(opened, run.key)} for run in (first, second)]
    assert max(numbers[0]) < min(numbers[1])
    await opened.delete_run(first.key)
    assert len(await pages(opened, second.key)) == 5
    third = await added(opened, number=3)
    assert third.key > second.key
    await opened.commit(third.key, entries(5))


async def test_indices_that_are_not_all_there(opened: SqliteBackend) -> None:
    """Of samples in a row that are not all scored, it is not said that they are."""
    run = await added(opened)
    await opened.commit(run.key, [entry(number) for number in (0, 1, 3, 4)])
    total = sum(entry(number).digest for number in (0, 1, 3, 4))
    assert await opened.settled(run.key, [0, 1, 3, 4], 1, total)
    assert await opened.settled(run.key, range(2), 1, entry(0).digest + entry(1).digest)
    assert not await opened.settled(run.key, range(5), 1, total)
    assert not await opened.settled(run.key, range(4), 1, total)


async def test_reading_does_not_wait_for_writing(opened: SqliteBackend) -> None:
    """Results are read while a batch is being written."""
    run = await added(opened)
    held, free = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        held.set()
        assert free.wait(10)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opened._writing.call, hold)
        await anyio.to_thread.run_sync(held.wait)
        assert await opened.page(run.key, 0, 1) == []
        free.set()
