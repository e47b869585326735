"""A program that keeps everybody from writing results into PostgreSQL until its standard input ends.

    python busy.py '{"url": "postgresql://user@host/database"}'

Once it does so, it writes `["locked"]`.
"""

from __future__ import annotations

import asyncio
import json
import sys

import asyncpg


async def main(url: str) -> None:
    """Hold a lock that lets others read."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE aeval.results IN SHARE MODE")
        print('["locked"]', flush=True)
        sys.stdin.read()
    await connection.close()


asyncio.run(main(json.loads(sys.argv[1])["url"]))
