"""What is PostgreSQL's own: a server that goes away, several processes, passwords, the schema."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import asyncpg
import attrs
import pytest
from stores import PASSWORD, Postgres, added, entries, entry, outputs, pages

from aeval.errors import ConfigurationError, MissingExtraError, StorageError, StorageVersionError
from aeval.storage.base import Counts, DuplicateSample, StoredRun
from aeval.storage.postgres import PostgresBackend
from aeval.storage.postgres.schema import STEPS

pytestmark = pytest.mark.anyio

# By which a server says that it waits for the next statement, with no transaction open.
DONE = b"Z\0\0\0\5I"


@pytest.fixture
async def lost_futures() -> AsyncIterator[None]:
    """Let pass that the driver leaves a lost connection's error on a future of its own that nobody waits for."""
    loop = asyncio.get_running_loop()
    handle = loop.get_exception_handler()

    def pass_over(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if handle is not None and not isinstance(context.get("exception"), ConnectionError):
            handle(loop, context)

    loop.set_exception_handler(pass_over)
    yield
    loop.set_exception_handler(handle)


@pytest.fixture
def database(postgres: Postgres) -> str:
    return postgres.create_database()


@pytest.fixture
async def backend(postgres: Postgres, database: str) -> AsyncIterator[PostgresBackend]:
    async with opened(postgres.url(database)) as backend:
        yield backend


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresBackend]:
    backend = PostgresBackend(url)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.aclose()


class Line:
    """A line to the server that can be cut.

    :ivar cut_at: what the server says when it is cut, before the client hears it; None to let all pass
    :ivar cuts: how often it was cut
    :ivar refusals: how many connections are yet to be told that the server is starting up
    """

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.cut_at: bytes | None = None
        self.cuts = 0
        self.refusals = 0
        self._server_port = server_port
        self._ends: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    def url(self, url: str) -> str:
        return url.replace(f":{self._server_port}/", f":{self.port}/")

    def cut(self) -> None:
        self.cuts += 1
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.current_task())
        if self.refusals:
            self.refusals -= 1
            await reader.readexactly(8)  # Asks for TLS.
            writer.write(b"N")
            await reader.read(1)
            fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
            writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._ends += [writer, server_writer]
        self._tasks.append(asyncio.create_task(self._pass_on(reader, server_writer)))
        await self._pass_on(server_reader, writer, cutting=True)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, cutting: bool = False
    ) -> None:
        with suppress(OSError):
            while text := await reader.read(65536):
                if cutting and self.cut_at is not None and self.cut_at in text:
                    self.cut_at = None
                    self.cut()
                    return
                writer.write(text)
                await writer.drain()
        writer.close()

    async def end(self) -> None:
        for end in self._ends:
            end.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def line(postgres: Postgres) -> AsyncIterator[Line]:
    line = Line(postgres.port)
    server = await asyncio.start_server(line.connected, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    yield line
    server.close()
    await line.end()
    await server.wait_closed()


# A server that goes away.


@pytest.mark.usefixtures("lost_futures")
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_restart_loses_and_doubles_nothing(
    backend: PostgresBackend, postgres: Postgres, mode: str
) -> None:
    """A server that is stopped, or crashes, and comes back amid commits has every committed entry exactly once."""
    keys = [(await added(backend, number=number)).key for number in (1, 2, 3)]
    committed = dict.fromkeys(keys, 0)
    under_way, restarted = anyio.Event(), anyio.Event()

    async def write(key: int) -> None:
        while not restarted.is_set() or committed[key] < 200:
            await backend.commit(key, entries(20, committed[key]))
            committed[key] += 20
            under_way.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for key in keys:
                tasks.start_soon(write, key)
            await under_way.wait()
            await anyio.to_thread.run_sync(partial(postgres.restart, mode))
            restarted.set()
    for key in keys:
        assert (await backend.counts(key)).n == committed[key]
        assert await outputs(backend, key) == [(number, "out") for number in range(committed[key])]


async def test_ended_connections_lose_and_double_nothing(backend: PostgresBackend, postgres: Postgres) -> None:
    """A server that ends the connections again and again has every committed entry exactly once."""
    run = await added(backend)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'aeval'"
    committed = anyio.Semaphore(0)

    async def disturb() -> None:
        for _ in range(8):
            await committed.acquire()
            await anyio.to_thread.run_sync(partial(postgres.sql, "postgres", kill))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(disturb)
        for start in range(0, 100, 20):
            await backend.commit(run.key, entries(20, start))
            committed.release()
            await backend.commit(run.key, entries(20, start, output="new", replaces=True))
            committed.release()
    assert await outputs(backend, run.key) == [(number, "new") for number in range(100)]
    assert await outputs(backend, run.key, history=True) == [(number, "out") for number in range(100)]
    assert (await backend.counts(run.key)).n == 100


@pytest.mark.usefixtures("lost_futures")
@pytest.mark.parametrize("known", [False, True])
async def test_commit_whose_answer_was_lost_is_there_once(
    line: Line, postgres: Postgres, database: str, known: bool
) -> None:
    """A commit that was made, but whose answer did not arrive, is not made twice, nor taken for a duplicate."""
    async with opened(line.url(postgres.url(database))) as backend:
        run = await added(backend)
        if known:  # the number of the next one
            await backend.commit(run.key, entries(5, 100))
        line.cut_at = b"COPY 3\0"
        await backend.commit(run.key, entries(3))
        line.cut_at = b"COMMIT\0"
        await backend.commit(run.key, [entry(1, output="new", replaces=True), entry(3)])
        await backend.commit(run.key, entries(3, 4))
        assert line.cuts == 2
        assert (await outputs(backend, run.key))[-7:] == [
            *((number, "out") for number in (0, 2)),
            (1, "new"),
            *((number, "out") for number in range(3, 7)),
        ]
        assert (await backend.counts(run.key)).n == 7 + 5 * known
        assert await outputs(backend, run.key, history=True) == [(1, "out")]
        # What is a duplicate is still found to be one.
        line.cut_at = b"results_sample"
        with pytest.raises(DuplicateSample):
            await backend.commit(run.key, [entry(7), entry(2)])
        assert line.cuts == 3


async def test_commit_that_the_server_goes_on_with_is_there_once(
    line: Line, postgres: Postgres, database: str
) -> None:
    """A commit that the server is still at when it is tried again over another connection is not made twice."""
    async with opened(line.url(postgres.url(database))) as backend:
        run = await added(backend)
        await backend.commit(run.key, entries(2))
        other = await asyncpg.connect(postgres.url(database))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        try:
            async with anyio.create_task_group() as tasks, other.transaction():
                # As long as somebody has the run, no commit to it gets through.
                await other.execute("SELECT FROM aeval.runs FOR UPDATE")
                tasks.start_soon(backend.commit, run.key, entries(3, 2))
                for waiters in (1, 2):
                    with anyio.fail_after(20):
                        while await other.fetchval(waiting) != waiters:
                            await anyio.sleep(0.001)
                    if waiters == 1:
                        line.cut()
        finally:
            await other.close()
        assert await outputs(backend, run.key) == [(number, "out") for number in range(5)]
        assert await backend.counts(run.key) == Counts(5, 0, 5)


@pytest.mark.usefixtures("lost_futures")
async def test_changes_whose_answers_were_lost_are_made_once(
    line: Line, postgres: Postgres, database: str
) -> None:
    """A run that is added, changed, renamed or deleted while the connection breaks is so once, and is told so."""
    async with opened(line.url(postgres.url(database))) as backend:
        line.cut_at = DONE
        run = await added(backend)
        assert await backend.add_run(StoredRun("first", "sums", 1, 9.0)) is None
        line.cut_at = DONE
        updated = await backend.update_run(attrs.evolve(run, status="finished"))
        assert updated is not None
        line.cut_at = DONE
        assert await backend.rename("first", "second")
        assert [(one.key, one.status) for one in await backend.runs("second", 0, 9)] == [(run.key, "finished")]
        line.cut_at = DONE
        await backend.delete_run(run.key)
        assert await backend.experiments("", 9) == []
        line.cut_at = DONE
        await backend.keep("key", b"value")
        assert await backend.recall("key") == b"value"
        assert line.cuts == 5


async def test_change_by_another_is_not_taken_for_ones_own(
    line: Line, postgres: Postgres, database: str
) -> None:
    """Who lost the connection and then finds that somebody else was first is told so."""
    async with opened(postgres.url(database)) as other, opened(line.url(postgres.url(database))) as backend:
        run = await added(other)
        assert await other.update_run(attrs.evolve(run, status="failed")) is not None
        for change in (
            partial(backend.add_run, StoredRun("first", "sums", 1, 9.0)),
            partial(backend.update_run, attrs.evolve(run, status="finished")),
        ):
            line.cut()
            assert await change() is None
        line.cut()
        assert not await backend.rename("missing", "first")


@pytest.mark.usefixtures("lost_futures")
async def test_server_that_stays_away_is_named(postgres: Postgres, database: str) -> None:
    """A server that is gone for longer than there is patience ends in an error that names it, without the password."""
    async with opened(postgres.url(database) + "?patience=0.3") as backend:
        run = await added(backend)
        await backend.commit(run.key, entries(3))
        await anyio.to_thread.run_sync(postgres.stop)
        calls = [
            partial(backend.commit, run.key, entries(3, 3)),
            partial(backend.counts, run.key),
            partial(backend.add_run, run),
        ]
        for call in calls:
            with anyio.fail_after(20), pytest.raises(StorageError) as caught:
                await call()
            assert f"postgresql://aeval@127.0.0.1:{postgres.port}/{database}" in str(caught.value)
            assert "waited 0.3 s" in str(caught.value)
            assert PASSWORD not in str(caught.value)
        await anyio.to_thread.run_sync(postgres.start)
        await backend.commit(run.key, entries(3, 3))
        assert await outputs(backend, run.key) == [(number, "out") for number in range(6)]


async def test_waiting_for_the_server_can_be_cancelled(postgres: Postgres, database: str) -> None:
    """Who waits for a server that is away can be cancelled, and nothing was written."""
    async with opened(postgres.url(database)) as backend:
        run = await added(backend)
        await anyio.to_thread.run_sync(postgres.stop)
        with anyio.move_on_after(0.3) as scope:
            await backend.commit(run.key, entries(3))
        assert scope.cancelled_caught
        await anyio.to_thread.run_sync(postgres.start)
        assert await backend.counts(run.key) == Counts(0, 0, 0)


async def test_server_that_is_starting_is_waited_for(line: Line, postgres: Postgres, database: str) -> None:
    """Opening waits for a server that says that it is starting up, for as long as there is patience."""
    url = line.url(postgres.url(database))
    line.refusals = 3
    async with opened(url) as backend:
        assert await backend.experiments("", 9) == []
    assert line.refusals == 0
    line.refusals = 100
    backend = PostgresBackend(f"{url}?patience=0.2")
    with anyio.fail_after(20), pytest.raises(StorageError, match="starting up"):
        await backend.open()
    line.refusals = 0


# What cannot be opened.


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wrong"}, "password authentication failed.*check the user and the password"),
        ({"user": "nobody"}, "password authentication failed.*check the user and the password"),
        ({"database": "missing"}, '"missing" does not exist.*create the database'),
        ({"host": "127.0.0.1:{closed}"}, "see that the server runs there"),
        ({"host": "nowhere.invalid"}, "see that the server runs there"),
        ({"options": "?no_such_setting=1"}, "no_such_setting"),
    ],
)
async def test_what_cannot_be_opened_is_named_at_once(
    postgres: Postgres, database: str, change: dict[str, str], says: str
) -> None:
    """A wrong password, user, database, host or option is named with the fix, without waiting or the password."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = change.pop("host", f"127.0.0.1:{postgres.port}").format(closed=free.getsockname()[1])
        options = change.pop("options", "")
        url = postgres.url(**{"database": database, **change})
        url = url.replace(f"127.0.0.1:{postgres.port}", host) + options
        backend = PostgresBackend(url)
        with anyio.fail_after(20), pytest.raises(StorageError, match=says) as caught:
            await backend.open()
    assert str(caught.value).startswith("postgresql://")
    assert host in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert "wrong" not in str(caught.value)
    await backend.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:",
        "postgresql:/host/db",
        "postgresql:host",
        "mysql://user:sesame@host/db",
        "postgresql://user:ses@ame@host/db",
        "postgresql://user:sesa/me@host/db",
        "postgresql://user:sesa#me@host/db",
        "postgresql://user:sesa?me@host/db",
        "postgresql://user:sesame@host:port/db",
        "postgresql://user:sesame@host:99999/db",
        "postgresql://user:sesame@[::1/db",
        "postgresql://user:sesame@host/db?option",
        "postgresql://user:sesame@host/db?=1",
    ],
)
def test_nonsense_is_refused_without_being_shown(url: str) -> None:
    """What is not a URL of PostgreSQL is refused with an example, and nothing of it is shown."""
    with pytest.raises(ConfigurationError, match="as in postgresql://user:password@host") as caught:
        PostgresBackend(url)
    assert "ses" not in str(caught.value)


@pytest.mark.parametrize("patience", ["-1", "nan", "inf", "soon"])
def test_nonsensical_patience_is_refused(patience: str) -> None:
    """A patience that is not a number of seconds is refused by its name."""
    with pytest.raises(ConfigurationError, match=f"patience={patience} "):
        PostgresBackend(f"postgresql://host/db?patience={patience}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:sesame@host:5433/db", "postgresql://user@host:5433/db"),
        ("postgres://user@host/db", "postgres://user@host/db"),
        ("postgresql://host/db?patience=5", "postgresql://host/db"),
        ("postgresql://:sesame@host", "postgresql://@host"),
        ("postgresql://u:%73esame@a:1,b:2/db?x=1&patience=5&y=2", "postgresql://u@a:1,b:2/db?x=1&y=2"),
        ("postgresql://h/db?user=u&password=sesame&sslpassword=sesame", "postgresql://h/db?user=u"),
        ("postgresql://user:sesame@[::1]:5433/db", "postgresql://user@[::1]:5433/db"),
        ("postgresql://user:sesame@[::1]/db", "postgresql://user@[::1]/db"),
        ("postgresql:///db?host=/var/run/postgresql", "postgresql:///db?host=/var/run/postgresql"),
    ],
)
def test_url_is_without_password(url: str, shown: str) -> None:
    """The URL by which a storage is named has neither the password nor the patience."""
    backend = PostgresBackend(url)
    assert backend.url == shown
    assert "sesame" not in repr(backend)


async def test_options_are_the_drivers(postgres: Postgres, database: str) -> None:
    """Options of the URL reach the driver: the application's name, and one that it does not take is refused."""
    async with opened(postgres.url(database) + "?patience=5&application_name=other") as backend:
        await backend.experiments("", 1)
        assert (
            postgres.sql("postgres", "SELECT 1 FROM pg_stat_activity WHERE application_name = 'other'") == "1"
        )
    with pytest.raises(ConfigurationError, match="sslmode"):
        await PostgresBackend(postgres.url(database) + "?sslmode=sometimes").open()


async def test_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asyncpg the error says what to install."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'aeval\[postgresql\]'"):
        await PostgresBackend("postgresql://host/db").open()


async def test_closed_backend_says_so(backend: PostgresBackend) -> None:
    """A backend that is not open says so, and closing it twice does nothing."""
    await backend.aclose()
    await backend.aclose()
    with pytest.raises(StorageError, match="is not open"):
        await backend.experiments("", 9)


# The schema.


async def test_later_schema_is_left_alone(postgres: Postgres, database: str) -> None:
    """A schema of a later version is refused by both versions and the fix, and stays as it is."""
    async with opened(postgres.url(database)) as backend:
        await added(backend)
    postgres.sql(database, "UPDATE aeval.schema_version SET version = 99; DROP TABLE aeval.responses")
    backend = PostgresBackend(postgres.url(database))
    with pytest.raises(StorageVersionError, match=rf"version 99.* up to {len(STEPS)}.*upgrade") as caught:
        await backend.open()
    await backend.aclose()
    assert database in str(caught.value)
    tables = "SELECT version, (SELECT count(*) FROM aeval.runs), to_regclass('aeval.responses') FROM aeval.schema_version"
    assert postgres.sql(database, tables) == "99|1|"


async def test_earlier_schema_is_brought_up_to_date(
    postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schema of an earlier version is brought up to date by the steps that it lacks, and keeps what it has."""
    async with opened(postgres.url(database)) as backend:
        await added(backend)
    later = (*STEPS, "ALTER TABLE aeval.runs ADD extra text", "UPDATE aeval.runs SET extra = 'new'")
    monkeypatch.setattr("aeval.storage.postgres.schema.STEPS", later)
    for _ in range(2):
        async with opened(postgres.url(database)) as backend:
            assert len(await backend.runs("first", 0, 9)) == 1
    assert postgres.sql(database, "SELECT extra FROM aeval.runs") == "new"
    assert postgres.sql(database, "SELECT version FROM aeval.schema_version") == str(len(later))


async def test_step_that_fails_changes_nothing(
    postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database in which the schema cannot be made is left as it was."""
    monkeypatch.setattr("aeval.storage.postgres.schema.STEPS", (*STEPS, "SELECT 1 / 0"))
    backend = PostgresBackend(postgres.url(database))
    with pytest.raises(StorageError, match="division by zero"):
        await backend.open()
    await backend.aclose()
    assert postgres.sql(database, "SELECT to_regnamespace('aeval') IS NULL") == "t"


OPEN = """
import anyio, sys
from aeval.storage.base import StoredRun
from aeval.storage.postgres import PostgresBackend

async def main():
    backend = PostgresBackend(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    await backend.open()
    run = await backend.add_run(StoredRun("first", "sums", int(sys.argv[2]), 0.0))
    await backend.aclose()
    assert run is not None

anyio.run(main)
"""


def test_several_processes_open_an_empty_database_at_once(postgres: Postgres, database: str) -> None:
    """Of several processes that open an empty database at once one makes the schema, and all can use it."""
    command = [sys.executable, "-W", "error", "-c", OPEN, postgres.url(database)]
    processes = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(1, 6)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            process.communicate(timeout=60)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [process.returncode for process in processes] == [0] * 5
    assert postgres.sql(database, "SELECT count(*) FROM aeval.runs") == "5"
    assert postgres.sql(database, "SELECT version FROM aeval.schema_version") == str(len(STEPS))


async def test_schema_may_be_made_by_the_owner_alone(postgres: Postgres, database: str) -> None:
    """A user who may not make the schema is told what to grant, and can use one that was made."""
    postgres.sql(
        database, f"DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}' NOSUPERUSER"
    )
    backend = PostgresBackend(postgres.url(database, user="reader"))
    with pytest.raises(StorageError, match=r"permission denied.*GRANT"):
        await backend.open()
    await backend.aclose()
    async with opened(postgres.url(database)):
        pass
    postgres.sql(
        database, "GRANT USAGE ON SCHEMA aeval TO reader; GRANT ALL ON ALL TABLES IN SCHEMA aeval TO reader"
    )
    async with opened(postgres.url(database, user="reader")) as backend:
        run = await added(backend)
        await backend.commit(run.key, entries(3))
        await backend.commit(run.key, entries(3, replaces=True))
        assert await backend.counts(run.key) == Counts(3, 0, 6)
        await backend.delete_run(run.key)
    postgres.sql(database, "DROP OWNED BY reader; DROP ROLE reader")


# What goes wrong in the middle.


async def test_run_that_was_deleted_takes_no_results(postgres: Postgres, database: str) -> None:
    """Who writes to a run that somebody deleted is told so, and leaves nothing behind."""
    async with opened(postgres.url(database)) as backend, opened(postgres.url(database)) as other:
        run = await added(backend)
        await backend.commit(run.key, entries(3))
        await other.delete_run(run.key)
        for batch in (entries(3, 3), [entry(1, replaces=True)]):
            with pytest.raises(StorageError, match="deleted"):
                await backend.commit(run.key, batch)
        with pytest.raises(StorageError, match="deleted"):
            await backend.commit(12345, entries(3))
    assert postgres.sql(database, "SELECT count(*) FROM aeval.results") == "0"


async def test_schema_that_was_removed_is_named(
    backend: PostgresBackend, postgres: Postgres, database: str
) -> None:
    """Where somebody removed the schema, each method says so; opening makes it anew."""
    run = await added(backend)
    postgres.sql(database, "DROP SCHEMA aeval CASCADE")
    for call in (
        partial(backend.commit, run.key, entries(3)),
        partial(backend.runs, "first", 0, 9),
        partial(backend.rename, "first", "second"),
        partial(backend.delete_run, run.key),
        partial(backend.keep, "key", b"value"),
    ):
        with pytest.raises(StorageError, match=rf"{database}.*open the storage anew"):
            await call()
    await backend.open()
    await backend.commit((await added(backend)).key, entries(3))


async def test_database_that_became_read_only_is_named(postgres: Postgres, database: str) -> None:
    """A database that cannot be written to can be read, and says what to do when it is written to."""
    async with opened(postgres.url(database)) as backend:
        run = await added(backend)
        await backend.commit(run.key, entries(3))
    postgres.sql("postgres", f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    async with opened(postgres.url(database)) as backend:
        assert len(await pages(backend, run.key)) == 3
        for batch in (entries(3, 3), [entry(1, replaces=True)]):
            with pytest.raises(StorageError, match=r"read-only.*can be written to"):
                await backend.commit(run.key, batch)


async def test_full_disk_is_named(backend: PostgresBackend, postgres: Postgres, database: str) -> None:
    """A server whose disk is full is named, and goes on when there is space again."""
    run = await added(backend)
    postgres.sql(
        database,
        """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE disk_full USING MESSAGE = ''No space left on device''; END';
        CREATE TRIGGER full_disk BEFORE INSERT ON aeval.results EXECUTE FUNCTION full_disk();
        """,
    )
    with pytest.raises(StorageError, match=r"No space left on device.*free some space"):
        await backend.commit(run.key, entries(3))
    postgres.sql(database, "DROP TRIGGER full_disk ON aeval.results")
    await backend.commit(run.key, entries(3))
    assert (await backend.counts(run.key)).n == 3


async def test_cancelled_commits_leak_no_connections(postgres: Postgres, database: str) -> None:
    """Commits that are cancelled at any time leave no connection behind, and each wrote all or nothing."""
    here = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'"
    async with opened(postgres.url(database)) as backend:
        run = await added(backend)
        wrote = 0
        for attempt in range(40):
            batch = [entry(number, output="x" * 2000) for number in range(300 * attempt, 300 * attempt + 300)]
            with anyio.move_on_after(0.0005 * attempt):
                await backend.commit(run.key, batch)
            counted = (await backend.counts(run.key)).n
            assert counted - wrote in {0, 300}
            wrote = counted
        assert int(postgres.sql("postgres", here)) <= 4
    with anyio.fail_after(20):
        while postgres.sql("postgres", here) != "0":
            await anyio.sleep(0.01)


async def test_busy_backend_opens_few_connections(
    backend: PostgresBackend, postgres: Postgres, database: str
) -> None:
    """However many tasks use a backend at once, it opens a few connections."""
    keys = [(await added(backend, number=number)).key for number in range(1, 21)]
    async with anyio.create_task_group() as tasks:
        for key in keys:
            tasks.start_soon(backend.commit, key, entries(50))
    assert [(await backend.counts(key)).n for key in keys] == [50] * 20
    here = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'"
    assert 1 <= int(postgres.sql("postgres", here)) <= 4


async def test_two_processes_on_one_run_are_told_apart(postgres: Postgres, database: str) -> None:
    """Two backends that write to one run at once, which they should not, lose nothing and number without gaps."""
    async with opened(postgres.url(database)) as one, opened(postgres.url(database)) as other:
        run = await added(one)

        async def write(backend: PostgresBackend, start: int) -> None:
            for first in range(start, start + 300, 10):
                await backend.commit(run.key, entries(10, first))
                await backend.commit(run.key, entries(5, first, output="new", replaces=True))

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write, one, 0)
                tasks.start_soon(write, other, 1000)
        assert await one.counts(run.key) == Counts(600, 0, 900)
        numbers = [
            number for history in (False, True) for number, _ in await pages(one, run.key, history=history)
        ]
        assert sorted(numbers) == list(range(1, 901))
