"""PostgresBackend: runs and results in a PostgreSQL database, shared by many processes and hosts.

Its tables stand in a schema of their own, `aeval`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio
import attrs

from aeval.sample import SampleId
from aeval.storage.base import Counts, Entry, Known, StoredRun
from aeval.storage.postgres.address import address_of
from aeval.storage.postgres.batch import Batch, End, append
from aeval.storage.postgres.connections import MOST_CONNECTIONS, Connected, Connections
from aeval.storage.postgres.forms import bytes_of, fields_of, id_of, restored, text_of
from aeval.storage.postgres.schema import LOOKUP, make_schema

__all__ = ["PostgresBackend"]

_COUNTS: Final = """
    SELECT coalesce(max(number), 0) AS last,
        (SELECT count(*) FROM aeval.results WHERE run = $1 AND NOT current) AS replaced,
        (SELECT count(*) FROM aeval.results WHERE run = $1 AND NOT ok AND current) AS errored
    FROM aeval.results WHERE run = $1
"""
_SETTLED: Final = f"SELECT count(*), coalesce(sum(digest), 0) FROM ({LOOKUP}) AS known WHERE ok"  # noqa: S608 - of constants


class PostgresBackend:
    """Keeps runs and results in a PostgreSQL database.

    A server that goes away is waited for, and what was being done is tried again: a commit that was cut off in the
    middle is looked for first, so that it is there exactly once.

    :param dsn: `postgresql://user:password@host:port/database`, with options as the command `psql` takes them, and
        `patience`: how many seconds to wait for a server that went away, 60 unless told
    :raises ConfigurationError: if it is not such a URL
    """

    def __init__(self, dsn: str) -> None:
        address = address_of(dsn)
        self.url = address.url
        self._connections = Connections(address, self._forget_ends)
        # Its own threads: those that everybody shares may all be taken by somebody who waits for this commit.
        self._threads = anyio.CapacityLimiter(MOST_CONNECTIONS)
        self._ends: dict[int, End] = {}

    async def open(self) -> None:
        """Connect, and create the schema or bring it up to date.

        :raises MissingExtraError: if asyncpg is not installed
        :raises ConfigurationError: if the URL has options that cannot work
        :raises StorageVersionError: if the schema was made by a later version; nothing is changed
        """
        self._connections.open()
        await self._connections.do(partial(make_schema, self.url), opening=True)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    def _forget_ends(self) -> None:
        # What is known of them may not hold for the server that comes back.
        for end in self._ends.values():
            end.last = None

    # Runs.

    async def experiments(self, after: str, limit: int) -> list[str]:
        """Return the names of the next experiments."""
        found = await self._connections.fetch(
            "SELECT DISTINCT experiment FROM aeval.runs WHERE experiment > $1 ORDER BY experiment LIMIT $2",
            bytes_of(after),
            limit,
        )
        return [text_of(experiment) for (experiment,) in found]

    async def runs(self, experiment: str, after: int, limit: int) -> list[StoredRun]:
        """Return the next runs of an experiment."""
        found = await self._connections.fetch(
            "SELECT key, version, experiment, data FROM aeval.runs"
            " WHERE experiment = $1 AND key > $2 ORDER BY key LIMIT $3",
            bytes_of(experiment),
            after,
            limit,
        )
        return [restored(*row) for row in found]

    async def add_run(self, run: StoredRun) -> StoredRun | None:
        """Add a run; return None if there is one of this experiment, evaluation and number."""
        fields = fields_of(run)

        async def work(connection: Connected, again: bool) -> StoredRun | None:
            key = await connection.fetchval(
                "INSERT INTO aeval.runs (version, experiment, evaluation, number, data) VALUES (0, $1, $2, $3, $4)"
                " ON CONFLICT DO NOTHING RETURNING key",
                *fields,
            )
            if key is None and again:
                key = await connection.fetchval(
                    "SELECT key FROM aeval.runs WHERE version = 0"
                    " AND experiment = $1 AND evaluation = $2 AND number = $3 AND data = $4",
                    *fields,
                )
            return None if key is None else attrs.evolve(run, key=key, version=0)

        return await self._connections.do(work)

    async def update_run(self, run: StoredRun) -> StoredRun | None:
        """Put a run's fields in the place of those that it has, if it still has the version given."""
        fields = (run.key, run.version + 1, *fields_of(run))

        async def work(connection: Connected, again: bool) -> StoredRun | None:
            version = await connection.fetchval(
                "UPDATE aeval.runs SET version = $2, experiment = $3, evaluation = $4, number = $5, data = $6"
                " WHERE key = $1 AND version = $2 - 1 RETURNING version",
                *fields,
            )
            if version is None and again:
                version = await connection.fetchval(
                    "SELECT version FROM aeval.runs WHERE key = $1 AND version = $2"
                    " AND experiment = $3 AND evaluation = $4 AND number = $5 AND data = $6",
                    *fields,
                )
            return None if version is None else attrs.evolve(run, version=version)

        return await self._connections.do(work)

    async def rename(self, experiment: str, name: str) -> bool:
        """Give an experiment another name; return whether there is such an experiment, and the name was free."""
        names = (bytes_of(experiment), bytes_of(name))
        tried = False

        async def work(connection: Connected, again: bool) -> bool:
            nonlocal tried
            async with connection.transaction():
                # No run may come under the new name in between.
                await connection.execute("LOCK TABLE aeval.runs IN SHARE ROW EXCLUSIVE MODE")
                found = await connection.fetch(
                    "SELECT DISTINCT experiment FROM aeval.runs WHERE experiment IN ($1, $2)", *names
                )
                if [old for (old,) in found] != [names[0]] or experiment == name:
                    # One that was about to be renamed when the connection broke, and has its new name now, was.
                    return again and tried and [new for (new,) in found] == [names[1]]
                await connection.execute(
                    "UPDATE aeval.runs SET experiment = $2, version = version + 1 WHERE experiment = $1", *names
                )
                tried = True
            return True

        return await self._connections.do(work)

    async def delete_run(self, key: int) -> None:
        """Remove a run with all of its results."""

        async def work(connection: Connected, _again: bool) -> None:
            async with connection.transaction():
                # The run first: this waits for commits to it, and keeps others from beginning.
                await connection.execute("DELETE FROM aeval.runs WHERE key = $1", key)
                await connection.execute("DELETE FROM aeval.results WHERE run = $1", key)

        await self._connections.do(work)
        self._ends.pop(key, None)

    # Results.

    async def commit(self, key: int, entries: Sequence[Entry]) -> None:
        """Write results of a run for good.

        :raises DuplicateSample: if one that does not replace a record would have to
        """
        end = self._ends.setdefault(key, End())
        batch = Batch(key, entries, end, self._threads)
        async with end.lock:
            await self._connections.do(partial(append, batch, end))

    async def counts(self, key: int) -> Counts:
        """Count the records of a run."""
        ((last, replaced, errored),) = await self._connections.fetch(_COUNTS, key)
        return Counts(last - replaced, errored, last)

    async def settled(self, key: int, ids: Sequence[SampleId], repeats: int, checksum: int) -> bool:
        """Tell whether all of these samples were scored, in all of their repeats, with the rows of this checksum."""
        ((count, total),) = await self._connections.fetch(
            _SETTLED, key, [id_of(sample_id) for sample_id in ids], repeats
        )
        return bool(count == len(ids) * repeats and int(total) == checksum * repeats)

    async def lookup(
        self, key: int, ids: Sequence[SampleId], repeats: int
    ) -> dict[tuple[SampleId, int], Known]:
        """Return what is known of these samples, by id and repeat."""
        named = {id_of(sample_id): sample_id for sample_id in ids}
        found = await self._connections.fetch(LOOKUP, key, list(named), repeats)
        return {(named[stored], repeat): Known(digest, ok) for stored, repeat, digest, ok in found}

    async def page(
        self, key: int, after: int, limit: int, *, ok: bool | None = None, history: bool = False
    ) -> list[tuple[int, bytes]]:
        """Return the number and body of the next results of a run, in the order of their commits."""
        # Written out, not bound: a partial index is used only where the statement has its condition.
        current = "NOT current" if history else "current"
        wanted = "" if ok is None else " AND ok" if ok else " AND NOT ok"
        found = await self._connections.fetch(
            f"SELECT number, body FROM aeval.results WHERE run = $1 AND number > $2 AND {current}{wanted}"  # noqa: S608
            " ORDER BY number LIMIT $3",
            key,
            after,
            limit,
        )
        return [(number, body) for number, body in found]

    # The cache of responses.

    async def recall(self, key: str) -> bytes | None:
        """Return what was kept under a key; None if there is nothing."""
        found = await self._connections.fetch("SELECT value FROM aeval.responses WHERE key = $1", id_of(key))
        return found[0][0] if found else None

    async def keep(self, key: str, value: bytes) -> None:
        """Keep a value under a key, in place of what is there."""
        await self._connections.fetch(
            "INSERT INTO aeval.responses (key, value) VALUES ($1, $2)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            id_of(key),
            value,
        )
