"""The part of `storage.py` that holds aeval's commits to PostgreSQL against a plain `COPY`."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import ExitStack

import asyncpg

from aeval import open_storage
from common import Targets, interleaved, table
from kills import server_of
from storage import BATCH, stored

COPY, COMMITTED = "plain COPY", "aeval, PostgreSQL"
TABLE = """
DROP TABLE IF EXISTS copied;
CREATE TABLE copied (
    run bigint NOT NULL, number bigint NOT NULL, digest bigint NOT NULL, repeat bigint NOT NULL, ok boolean NOT NULL,
    id bytea NOT NULL, body bytea NOT NULL, PRIMARY KEY (run, id, repeat)
)
"""


async def copying(options: Namespace, targets: Targets) -> None:
    """Compare a run whose results are committed to PostgreSQL with a bare COPY of what it wrote."""
    with ExitStack() as stack:
        url = options.postgresql
        if url is None:
            server = stack.enter_context(server_of("postgresql"))
            assert server is not None
            url = server.url(server.create_database())
        n = options.samples
        turn = 0

        async def committed() -> float:
            nonlocal turn
            turn += 1
            begun = time.perf_counter()
            assert await stored(n, url, f"turn-{turn}") == n
            return (time.perf_counter() - begun) / n

        await committed()
        bodies = [body async for body in bodies_of(url)]
        connection = await asyncpg.connect(url)

        async def copied() -> float:
            await connection.execute(TABLE)
            records = [(1, i, i * 31, 0, True, b"i%d" % i, body) for i, body in enumerate(bodies)]
            begun = time.perf_counter()
            for start in range(0, n, BATCH):
                await connection.copy_records_to_table("copied", records=records[start : start + BATCH])
            return (time.perf_counter() - begun) / n

        try:
            figures = await interleaved({COPY: copied, COMMITTED: committed}, options.rounds)
            await connection.execute("DROP TABLE copied")
        finally:
            await connection.close()
        async with open_storage(url) as storage:
            for number in range(1, turn + 1):
                await storage.delete(f"turn-{number}")
    print(f"{n:,} samples, batches of at most {BATCH}\n")
    table(
        ("contender", "us a sample", "samples/s"),
        [(name, f"{figures.median(name) * 1e6:.2f}", f"{1 / figures.median(name):,.0f}") for name in figures],
    )
    print()
    targets.at_least("throughput over a plain COPY's", figures.ratio(COPY, COMMITTED), 1 / 3)


async def bodies_of(url: str) -> AsyncIterator[bytes]:
    """Give the stored form of each result of the first run."""
    async with open_storage(url) as storage:
        (run,) = await storage.latest("turn-1")
        after = 0
        while page := await storage.backend.page(run.key, after, 1000):
            for _, body in page:
                yield body
            after = page[-1][0]
