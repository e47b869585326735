"""SQLite: the embedded default.

Results are appended to one table, with what they replaced; a second, narrow one has the record of each sample and
repeat, and is all that a resume needs to read. A batch is one statement, which commits itself: a thread that works
in SQLite has to win back Python's lock after each step, and would wait for a busy event loop every time.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar

import attrs
import msgspec

from aeval.errors import ConfigurationError, StorageError, StorageVersionError
from aeval.sample import SampleId
from aeval.storage.base import Counts, DuplicateSample, Entry, Known, StoredRun
from aeval.storage.codec import decode_value, encode, encode_value

__all__ = ["SqliteBackend"]

T = TypeVar("T")

FIRST_BYTES: Final = b"SQLite format 3\0"
# By these SQLite's own tools, and we, know the file as aeval's.
APPLICATION_ID: Final = 0x61_65_76_6C
# How many results a run may have; a run's results have numbers of its own, so that they lie side by side.
NUMBER_BITS: Final = 40
# Fewer than the variables that one statement may have, in any build of SQLite, divided by those of a result.
MOST_ROWS: Final = 4000
FEW: Final = 2048
MOST_INTEGER: Final = (1 << 63) - 1
# From so many results on, a batch is handed over to the thread, and for how long that may take, in seconds.
HAND_OVER_FROM: Final = 128
HAND_OVER_SECONDS: Final = 0.005
DEFAULT_PATIENCE: Final = 60.0
# How long SQLite waits for a lock before it is looked whether there is still somebody who waits for it.
TURN_SECONDS: Final = 0.5

# Each brings the schema from the version that is its place in the list to the next one.
MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE runs (
        key INTEGER PRIMARY KEY AUTOINCREMENT,
        experiment TEXT NOT NULL,
        evaluation TEXT NOT NULL,
        number INTEGER NOT NULL,
        version INTEGER NOT NULL,
        about BLOB NOT NULL,
        UNIQUE (experiment, evaluation, number)
    );
    CREATE TABLE results (
        number INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        id BLOB NOT NULL,
        repeat INTEGER NOT NULL,
        digest INTEGER NOT NULL,
        ok INTEGER NOT NULL,
        superseded INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX errors ON results (run, number) WHERE ok = 0;
    CREATE INDEX history ON results (run, number) WHERE superseded = 1;
    CREATE TABLE records (
        run INTEGER NOT NULL,
        id BLOB NOT NULL,
        repeat INTEGER NOT NULL,
        digest INTEGER NOT NULL,
        ok INTEGER NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (run, id, repeat)
    ) WITHOUT ROWID;
    CREATE TRIGGER record AFTER INSERT ON results BEGIN
        INSERT INTO records VALUES (NEW.run, NEW.id, NEW.repeat, NEW.digest, NEW.ok, NEW.number);
    END;
    CREATE TABLE cache (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """,
)


class SqliteBackend:
    """A database file, or one in memory.

    :param path: of the file; None for a database in memory, which is gone when it is closed
    :param url: which storage it is, for messages
    :param durability: `"process"` survives a crash of the process, `"full"` a power cut too
    :param patience: how long to wait for a file that another program has locked, in seconds
    """

    def __init__(
        self,
        path: Path | None,
        *,
        url: str,
        durability: str = "process",
        patience: float = DEFAULT_PATIENCE,
    ) -> None:
        self.url = url
        self._path = path
        self._synchronous = "FULL" if durability == "full" else "NORMAL"
        self.patience = patience
        self._writing = _Thread(self)
        # What is read at length does not hold up what is written.
        self._reading = _Thread(self) if path is not None else self._writing
        self._numbers: dict[int, int] = {}
        # Which file it is, once something was committed.
        self._file: tuple[int, int] | None = None

    async def open(self) -> None:
        """Connect, and create the schema or bring it up to date."""
        if self._path is not None:
            self._prepare(self._path)
        try:
            await self._writing.call(self._open)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Close the database."""
        try:
            await self._reading.aclose()
        finally:
            await self._writing.aclose()

    def _refuse_if_gone(self) -> None:
        """See to it that what is written can be found: SQLite goes on with a file that was removed."""
        if self._path is None:
            return
        try:
            stat = self._path.stat()
        except OSError:
            stat = None
        if self._file is None and stat is not None:
            self._file = stat.st_dev, stat.st_ino
        elif stat is None or (stat.st_dev, stat.st_ino) != self._file:
            raise StorageError(
                f"the storage {self.url!r} failed: its file was removed or replaced while it was being written: put it "
                "back, and run again with the same experiment to go on"
            )

    def _prepare(self, path: Path) -> None:
        if path.is_dir():
            raise ConfigurationError(
                f"the storage {self.url!r} is a directory: give the path of a file, as in '{self.url}/results.db'"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the folder of the storage {self.url!r} cannot be made: {error}: give another path"
            ) from None
        with suppress(OSError), path.open("rb") as file:
            # SQLite itself would write over a short one.
            if file.read(len(FIRST_BYTES)) not in {b"", FIRST_BYTES}:
                raise ConfigurationError(
                    f"the file {str(path)!r} is not an SQLite database: give the path of another file"
                )

    def connect(self) -> sqlite3.Connection:
        """Open a connection, for the thread that this is called in."""
        target = (
            ":memory:" if self._path is None else f"{self._path.absolute().as_uri()}?{_mode_of(self._path)}"
        )
        connection = sqlite3.connect(
            target,
            uri=True,
            timeout=min(TURN_SECONDS, self.patience),
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA cache_size = -16000")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def described(self, error: sqlite3.Error) -> StorageError:
        """Return what to raise for an error of SQLite's."""
        text = str(error)
        code = getattr(error, "sqlite_errorname", "") or ""
        fix = next(
            (fix for start, fix in _FIXES.items() if code.startswith(start)), "look at the file, and run again"
        )
        if code.startswith("SQLITE_BUSY"):
            text = f"another program has kept it locked for {self.patience:g} s"
        return StorageError(f"the storage {self.url!r} failed: {text}: {fix}")

    def _open(self, connection: sqlite3.Connection) -> None:
        # At one moment: another process may be making the schema.
        with _Transaction(connection, "BEGIN"):
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID and tables:
            raise ConfigurationError(
                f"the file {str(self._path)!r} is a database of another program: give the path of another file"
            )
        if version > len(MIGRATIONS):
            raise StorageVersionError(
                f"the storage {self.url!r} has the schema's version {version}, and this aeval knows versions up to "
                f"{len(MIGRATIONS)}: upgrade aeval, or give another file; nothing was changed"
            )
        if version < len(MIGRATIONS):
            if self._path is not None:
                connection.execute("PRAGMA journal_mode = WAL")
            _migrate(connection)

    # Runs.

    async def experiments(self, after: str, limit: int) -> list[str]:
        """Return the names of the next experiments."""
        sql = "SELECT DISTINCT experiment FROM runs WHERE experiment > ? ORDER BY experiment LIMIT ?"
        return [name for (name,) in await self._rows(sql, after, limit)]

    async def runs(self, experiment: str, after: int, limit: int) -> list[StoredRun]:
        """Return the next runs of an experiment."""
        sql = "SELECT key, experiment, version, about FROM runs WHERE experiment = ? AND key > ? ORDER BY key LIMIT ?"
        return [_run_of(*row) for row in await self._rows(sql, experiment, after, limit)]

    async def add_run(self, run: StoredRun) -> StoredRun | None:
        """Add a run."""

        def add(connection: sqlite3.Connection) -> int | None:
            with suppress(sqlite3.IntegrityError):
                return connection.execute(
                    "INSERT INTO runs (experiment, evaluation, number, version, about) VALUES (?, ?, ?, 1, ?)",
                    (run.experiment, run.evaluation, run.number, encode_value(run)),
                ).lastrowid
            return None

        key = await self._writing.call(add)
        return None if key is None else attrs.evolve(run, key=key, version=1)

    async def update_run(self, run: StoredRun) -> StoredRun | None:
        """Put a run's fields in the place of those that it has, if nobody else did so before."""

        def update(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE runs SET about = ?, version = version + 1 WHERE key = ? AND version = ?",
                (encode_value(run), run.key, run.version),
            ).rowcount

        updated = await self._writing.call(update)
        return attrs.evolve(run, version=run.version + 1) if updated else None

    async def rename(self, experiment: str, name: str) -> bool:
        """Give an experiment another name."""

        def rename(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE runs SET experiment = ?, version = version + 1 "
                "WHERE experiment = ? AND NOT EXISTS (SELECT 1 FROM runs WHERE experiment = ?)",
                (name, experiment, name),
            ).rowcount

        return await self._writing.call(rename) > 0

    async def delete_run(self, key: int) -> None:
        """Remove a run with all of its results."""
        await self._writing.call(lambda connection: _delete_run(connection, key))
        self._numbers.pop(key, None)

    # Results.

    async def commit(self, key: int, entries: Sequence[Entry]) -> None:
        """Write results of a run for good."""
        if len(entries) < HAND_OVER_FROM:
            await self._writing.call(lambda connection: self._commit(connection, key, entries))
            return
        handed = Event()
        committed = self._writing.submit(lambda connection: self._commit(connection, key, entries, handed.set))
        # A loop that is as busy as this holds Python's lock for milliseconds on end, in which the thread could not
        # even begin. So it is given the lock until it is in SQLite, where it needs none: then both can work.
        handed.wait(HAND_OVER_SECONDS)
        await committed

    def _commit(
        self,
        connection: sqlite3.Connection,
        key: int,
        entries: Sequence[Entry],
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        number = self._numbers.get(key) or _last_number(connection, key) + 1
        try:
            values = _plain_values(number, key, entries)
            if values is None:
                self._commit_any(connection, key, number, entries)
            else:
                statement = _plain_insert(len(entries))
                ready()
                connection.execute(statement, values)
        except sqlite3.IntegrityError:
            # Another process may have written to the run since this one last did.
            if self._numbers.pop(key, None) not in {None, _last_number(connection, key) + 1}:
                self._commit(connection, key, entries)
                return
            raise _duplicate(connection, key, entries) from None
        self._refuse_if_gone()
        if connection.execute("SELECT 1 FROM runs WHERE key = ?", (key,)).fetchone() is None:
            _delete_run(connection, key)
            raise StorageError(
                f"the storage {self.url!r} failed: the run was deleted while it was being written: run it again"
            )
        self._numbers[key] = number + len(entries)

    def _commit_any(
        self, connection: sqlite3.Connection, key: int, number: int, entries: Sequence[Entry]
    ) -> None:
        rows = [
            (
                number + place,
                key,
                _id_form(result.id),
                result.repeat,
                digest,
                result.error is None,
                encode(result),
            )
            for place, (result, digest, _) in enumerate(entries)
        ]
        replaced = [(key, row[2], row[3]) for row, entry in zip(rows, entries, strict=True) if entry.replaces]
        with _Transaction(connection):
            for record in replaced:
                _supersede(connection, record)
            for start in range(0, len(rows), MOST_ROWS):
                some = rows[start : start + MOST_ROWS]
                connection.execute(
                    _INSERT + ",".join(["(?,?,?,?,?,0,?,?)"] * len(some)), list(chain.from_iterable(some))
                )

    async def counts(self, key: int) -> Counts:
        """Count the records of a run."""

        def counts(connection: sqlite3.Connection) -> Counts:
            sql = "SELECT count(*), count(*) - coalesce(sum(ok), 0) FROM records WHERE run = ?"
            n, errored = connection.execute(sql, (key,)).fetchone()
            last = _last_number(connection, key)
            return Counts(n, errored, last if last >= _numbers_of(key)[0] else 0)

        # Where the commits are made: after one that was sent there and is not waited for any longer.
        return await self._writing.call(counts)

    async def settled(self, key: int, ids: Sequence[SampleId], repeats: int, checksum: int) -> bool:
        """Tell whether all of these samples were scored, in all of their repeats, with the rows that they have now."""
        wanted = len(ids) * repeats, checksum * repeats
        # Ids that are indices lie side by side, as texts may that are in alphabetical order: read at a stroke.
        in_a_row = isinstance(ids, range)
        forms: list[Any] = [ids[0], ids[-1]] if in_a_row else _id_forms(ids)

        # The sum of more digests than these may be more than SQLite's integers hold; two sums take longer.
        sums = "sum(digest), 0" if wanted[0] < FEW else "sum(digest & 67108863), sum(digest >> 26)"

        def settled(connection: sqlite3.Connection) -> bool:
            given: list[Any] = [key, repeats, min(forms), max(forms)] if _are_alike(forms) else []
            if in_a_row:
                return _total(connection, _SETTLED_RANGE.format(sums), given) == wanted
            if given and _total(connection, _SETTLED_BETWEEN.format(sums), [*given, wanted[0] + 1]) == wanted:
                return True
            marks = ",".join("?" * len(forms))
            return _total(connection, _SETTLED_IN.format(sums, marks), [key, repeats, *forms]) == wanted

        return await self._reading.call(settled)

    async def lookup(
        self, key: int, ids: Sequence[SampleId], repeats: int
    ) -> dict[tuple[SampleId, int], Known]:
        """Return what is known of these samples, by id and repeat."""
        by_form = {_id_form(sample_id): sample_id for sample_id in ids}
        marks = ",".join("?" * len(by_form))
        sql = f"SELECT id, repeat, digest, ok FROM records WHERE run = ? AND repeat < ? AND id IN ({marks})"  # noqa: S608 - of constants
        return {
            (by_form[form], repeat): Known(digest, bool(ok))
            for form, repeat, digest, ok in await self._rows(sql, key, repeats, *by_form)
        }

    async def page(
        self, key: int, after: int, limit: int, *, ok: bool | None = None, history: bool = False
    ) -> list[tuple[int, bytes]]:
        """Return the next results of a run, in the order of their commits."""
        first, last = _numbers_of(key)
        which = "" if ok is None else f" AND ok = {int(ok)}"
        if history or ok is False:
            which += f" AND run = {key:d}"  # of which there are indices
        sql = (
            f"SELECT number, body FROM results WHERE number > ? AND number <= ? AND superseded = {int(history)}"  # noqa: S608 - of constants
            f"{which} ORDER BY number LIMIT ?"
        )
        rows: list[tuple[int, bytes]] = await self._rows(sql, max(after, first - 1), last, limit)
        return rows

    # The cache of responses.

    async def recall(self, key: str) -> bytes | None:
        """Return what was kept under a key."""
        rows = await self._rows("SELECT value FROM cache WHERE key = ?", key)
        return rows[0][0] if rows else None

    async def keep(self, key: str, value: bytes) -> None:
        """Keep a value under a key."""
        await self._writing.call(
            lambda connection: connection.execute("INSERT OR REPLACE INTO cache VALUES (?, ?)", (key, value))
        )

    async def _rows(self, sql: str, *given: Any) -> list[Any]:
        return await self._reading.call(lambda connection: connection.execute(sql, given).fetchall())


class _Thread:
    """A thread with a connection of its own, made when it is first needed."""

    def __init__(self, backend: SqliteBackend) -> None:
        self._backend = backend
        # The connection, once there is one; touched in the thread only.
        self._held: list[sqlite3.Connection] = []
        self._executor: ThreadPoolExecutor | None = None

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with the connection, in the thread."""
        return await self.submit(work)

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have a function called with the connection, in the thread."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="aeval-sqlite")
        return asyncio.get_running_loop().run_in_executor(self._executor, self._work, self._held, work)

    def _work(self, held: list[sqlite3.Connection], work: Callable[[sqlite3.Connection], T]) -> T:
        until = time.monotonic() + self._backend.patience
        while True:
            try:
                if not held:
                    held.append(self._backend.connect())
                return work(held[0])
            except sqlite3.Error as error:
                # What another program's lock kept from being done was not done in part. SQLite itself waits in short
                # turns only: a run that is ended does not wait for somebody else's lock.
                waits = _is_locked(error) and held is self._held and time.monotonic() < until
                if not waits:
                    raise self._backend.described(error) from error

    async def aclose(self) -> None:
        """Close the connection, after what is still being done with it."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        held, self._held = self._held, []
        try:
            await asyncio.get_running_loop().run_in_executor(executor, _close, held)
        finally:
            executor.submit(_close, held)  # which was taken back, where this has been cancelled
            executor.shutdown(wait=False)


def _is_locked(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorname", "") or "").startswith("SQLITE_BUSY")


def _close(held: list[sqlite3.Connection]) -> None:
    while held:
        with suppress(sqlite3.Error):  # it moves the log into the file, which can be done another time
            held.pop().close()


class _Transaction:
    """All or nothing."""

    def __init__(self, connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> None:
        self._connection = connection
        self._begin = begin

    def __enter__(self) -> None:
        self._connection.execute(self._begin)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        elif self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


_FIXES = {
    "SQLITE_FULL": "free some space, and run again with the same experiment to go on",
    "SQLITE_IOERR": "free some space or look at the disk, and run again with the same experiment to go on",
    "SQLITE_READONLY": "make the file and its folder writable, or give another --storage",
    "SQLITE_CANTOPEN": "see that its folder exists and may be written to, or give another --storage",
    "SQLITE_BUSY": "close that program, and run again with the same experiment to go on",
    "SQLITE_CORRUPT": "the file is damaged: recover what can be read with `sqlite3 FILE .recover`",
    "SQLITE_NOTADB": "the file is damaged, or no database: give another --storage",
}


def _mode_of(path: Path) -> str:
    if not path.exists() or os.access(path, os.W_OK):
        return "mode=rwc"
    # Where nothing can be written beside it, there can be no log of changes either, once there is none.
    log = path.with_name(f"{path.name}-wal")
    return "mode=ro" if os.access(path.parent, os.W_OK) or log.exists() else "mode=ro&immutable=1"


def _migrate(connection: sqlite3.Connection) -> None:
    with _Transaction(connection):
        # Another process may have been quicker.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for script in MIGRATIONS[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _statements(script: str) -> list[str]:
    statements, statement = [], ""
    for line in script.strip().splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            statement = ""
    return statements


_INSERT = "INSERT INTO results (number, run, id, repeat, digest, superseded, ok, body) VALUES "


def _plain_values(number: int, key: int, entries: Sequence[Entry]) -> list[Any] | None:
    """Return what is bound for results that are scored, new, and none of a row's repeats, as most are; else None."""
    if len(entries) > MOST_ROWS:
        return None
    values: list[Any] = [number, key]
    for result, digest, replaces in entries:
        if replaces or result.repeat or result.error is not None:
            return None
        sample_id = result.id
        is_small = type(sample_id) is int and -MOST_INTEGER <= sample_id <= MOST_INTEGER
        values += (sample_id if is_small else _id_form(sample_id), digest, encode(result))
    return values


_PLAIN_INSERT = """
    INSERT INTO results (number, run, id, repeat, digest, superseded, ok, body)
    SELECT batch.first + column1, batch.run, column2, 0, column3, 0, 1, column4
    FROM (SELECT ? AS first, ? AS run) AS batch CROSS JOIN
"""


@lru_cache(maxsize=64)
def _plain_insert(n: int) -> str:
    """Return the statement for n results of which only id, digest and body differ: each value has to be bound."""
    rows = ",".join(f"({place},?,?,?)" for place in range(n))
    return f"{_PLAIN_INSERT} (VALUES {rows}) AS rows"


_SETTLED = "FROM records WHERE run = ? AND repeat < ? AND ok = 1 AND id "
_SETTLED_IN = f"SELECT count(*), {{}} {_SETTLED} IN ({{}})"
_SETTLED_RANGE = f"SELECT count(*), {{}} {_SETTLED} BETWEEN ? AND ?"
_SETTLED_BETWEEN = f"SELECT count(*), {{}} FROM (SELECT digest {_SETTLED} BETWEEN ? AND ? LIMIT ?)"  # noqa: S608 - of constants


def _are_alike(forms: Sequence[Any]) -> bool:
    return len(set(map(type, forms))) == 1


def _total(connection: sqlite3.Connection, sql: str, given: list[Any]) -> tuple[int, int]:
    n, low, high = connection.execute(sql, given).fetchone()
    return n, ((high or 0) << 26) + (low or 0)


def _delete_run(connection: sqlite3.Connection, key: int) -> None:
    with _Transaction(connection):
        connection.execute("DELETE FROM results WHERE number BETWEEN ? AND ?", _numbers_of(key))
        connection.execute("DELETE FROM records WHERE run = ?", (key,))
        connection.execute("DELETE FROM runs WHERE key = ?", (key,))


def _supersede(connection: sqlite3.Connection, record: tuple[Any, ...]) -> None:
    connection.execute(
        "UPDATE results SET superseded = 1 "
        "WHERE number = (SELECT number FROM records WHERE run = ? AND id = ? AND repeat = ?)",
        record,
    )
    connection.execute("DELETE FROM records WHERE run = ? AND id = ? AND repeat = ?", record)


def _duplicate(connection: sqlite3.Connection, key: int, entries: Sequence[Entry]) -> DuplicateSample:
    """Find the entry that could not be inserted, by what is there already or by what came before it."""
    sql = "SELECT 1 FROM records WHERE run = ? AND id = ? AND repeat = ?"
    seen: set[tuple[Any, int]] = set()
    for result, _, replaces in entries:
        form = _id_form(result.id)
        there = not replaces and connection.execute(sql, (key, form, result.repeat)).fetchone()
        if there or (form, result.repeat) in seen:
            return DuplicateSample(result.id, result.index)
        seen.add((form, result.repeat))
    raise StorageError(f"a batch of {len(entries)} results was refused, though none of them is a duplicate")


def _numbers_of(key: int) -> tuple[int, int]:
    return (key << NUMBER_BITS) + 1, (key + 1 << NUMBER_BITS) - 1


def _last_number(connection: sqlite3.Connection, key: int) -> int:
    first, last = _numbers_of(key)
    sql = "SELECT max(number) FROM results WHERE number BETWEEN ? AND ?"
    (found,) = connection.execute(sql, (first, last)).fetchone()
    return first - 1 if found is None else int(found)


def _id_forms(ids: Sequence[SampleId]) -> list[Any]:
    # The texts of a thousand samples are looked through in one go.
    if set(map(type, ids)) == {str} and "".join(ids).isascii():  # type: ignore[arg-type]
        return list(ids)
    return [_id_form(sample_id) for sample_id in ids]


def _id_form(sample_id: SampleId) -> Any:
    """Return an id as SQLite can hold it, each as another value."""
    if isinstance(sample_id, int):
        return sample_id if -(1 << 63) <= sample_id < 1 << 63 else b"i%x" % sample_id
    try:
        sample_id.encode()
    except UnicodeEncodeError:
        return b"s" + sample_id.encode("utf-8", "surrogatepass")
    return sample_id


def _run_of(key: int, experiment: str, version: int, about: bytes) -> StoredRun:
    run = msgspec.convert(decode_value(about), StoredRun)
    return attrs.evolve(run, key=key, version=version, experiment=experiment)
