"""The schema: its tables, and how they are made and brought up to date."""

from __future__ import annotations

from typing import Final

from aeval.errors import StorageVersionError
from aeval.storage.postgres.connections import Connected

__all__ = ["LOOKUP", "STEPS", "make_schema"]

# Held while the schema is made, so that of several processes that open an empty database one makes it.
_LOCK: Final = 0x6165_7661_6C

# Each step takes the schema from the version that is its place in here to the next one. What was released is never
# changed: what another version needs is a step at the end.
#
# A run's records are numbered from 1 without gaps, in the order of their commits, so that counting them is looking at
# the last one. A record that was replaced stays, and is not `current` any longer. A foreign key would look for the
# run once for each record, which takes as long as writing it; the trigger looks once for each commit, and its
# lock keeps the run from being deleted until the commit is through.
STEPS: Final = (
    """
    CREATE TABLE aeval.runs (
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        version bigint NOT NULL,
        number bigint NOT NULL,
        experiment bytea NOT NULL,
        evaluation bytea NOT NULL,
        data bytea NOT NULL,
        CONSTRAINT runs_name UNIQUE (experiment, evaluation, number)
    );
    CREATE TABLE aeval.results (
        run bigint NOT NULL,
        number bigint NOT NULL,
        digest bigint NOT NULL,
        repeat bigint NOT NULL,
        ok boolean NOT NULL,
        current boolean NOT NULL DEFAULT true,
        id bytea NOT NULL,
        body bytea NOT NULL
    );
    CREATE UNIQUE INDEX results_number ON aeval.results (run, number);
    CREATE UNIQUE INDEX results_sample ON aeval.results (run, id, repeat) WHERE current;
    CREATE INDEX results_errored ON aeval.results (run, number) WHERE NOT ok;
    CREATE INDEX results_replaced ON aeval.results (run, number) WHERE NOT current;
    CREATE FUNCTION aeval.hold_run() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM FROM aeval.runs WHERE key = (SELECT run FROM added LIMIT 1) FOR KEY SHARE;
        IF NOT FOUND AND EXISTS (SELECT FROM added) THEN
            RAISE foreign_key_violation USING MESSAGE = 'the run was deleted';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER hold_run AFTER INSERT ON aeval.results REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION aeval.hold_run();
    CREATE TABLE aeval.responses (
        key bytea PRIMARY KEY,
        value bytea NOT NULL
    );
    -- The usual compression of what is larger than 2 kB takes five times as long as writing it. Before version 14, or
    -- where the server was built without LZ4, it is stored as it is.
    DO $$
    BEGIN
        EXECUTE 'ALTER TABLE aeval.results ALTER body SET COMPRESSION lz4';
        EXECUTE 'ALTER TABLE aeval.responses ALTER value SET COMPRESSION lz4';
    EXCEPTION WHEN OTHERS THEN
        ALTER TABLE aeval.results ALTER body SET STORAGE EXTERNAL;
        ALTER TABLE aeval.responses ALTER value SET STORAGE EXTERNAL;
    END $$;
    """,
)

# What is known of some samples of a run. Each id is looked for in the index by itself (`OFFSET 0` keeps the planner from
# joining): with `id = ANY(...)` it takes to reading the whole run, of which there may be a thousand times as much.
LOOKUP: Final = """
    SELECT found.* FROM unnest($2::bytea[]) AS wanted (id), LATERAL (
        SELECT id, repeat, digest, ok FROM aeval.results
        WHERE run = $1 AND id = wanted.id AND repeat < $3 AND current OFFSET 0
    ) AS found
"""


async def make_schema(url: str, connection: Connected, _again: bool) -> None:
    """Create the schema or bring it up to date; one that is up to date is only looked at.

    :param url: which storage it is, for messages
    :raises StorageVersionError: if the schema was made by a later version; nothing is changed
    """
    if await _version(url, connection) == len(STEPS):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        version = await _version(url, connection)
        if version is None:
            # Asked for first: whoever may not create schemas may use one that was made for them.
            if not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'aeval')"
            ):
                await connection.execute("CREATE SCHEMA aeval")
            await connection.execute("CREATE TABLE aeval.schema_version (version integer NOT NULL)")
            await connection.execute("INSERT INTO aeval.schema_version VALUES (0)")
        for step in STEPS[version or 0 :]:
            await connection.execute(step)
        await connection.execute("UPDATE aeval.schema_version SET version = $1", len(STEPS))


async def _version(url: str, connection: Connected) -> int | None:
    # Not by to_regclass, which does not see what another process made while this one waited for the lock.
    if not await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'schema_version' AND relkind = 'r'"
        " AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'aeval'))"
    ):
        return None
    version: int = await connection.fetchval("SELECT version FROM aeval.schema_version")
    if version > len(STEPS):
        raise StorageVersionError(
            f"{url} was written by a later version of aeval: its schema has version {version}, and this one "
            f"knows versions up to {len(STEPS)}: upgrade it, with `pip install --upgrade aeval`"
        )
    return version
