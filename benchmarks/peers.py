"""What one would use instead of aeval: each maps an async call over rows, so many at once, and is timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

from common import peer

__all__ = ["AIOMETER", "GATHER", "PYDANTIC", "Call", "Peer", "peers"]

GATHER, AIOMETER, PYDANTIC = "asyncio.gather", "aiometer.amap", "pydantic-evals"

Call: TypeAlias = Callable[..., Awaitable[bool]]
Peer: TypeAlias = Callable[[Call, Iterable[tuple[Any, ...]], int], Awaitable[tuple[float, int]]]
"""Takes a call of a row's columns, the rows, and how many at once; returns seconds, and how many came out true."""


async def by_gather(call: Call, rows: Iterable[tuple[Any, ...]], concurrency: int) -> tuple[float, int]:
    """Do what is written by hand: a task for every row, gathered, and a semaphore."""
    begun = time.perf_counter()
    semaphore = asyncio.Semaphore(concurrency)

    async def one(row: tuple[Any, ...]) -> bool:
        async with semaphore:
            return await call(*row)

    right = sum(await asyncio.gather(*(one(row) for row in rows)))
    return time.perf_counter() - begun, right


def peers() -> dict[str, Peer]:
    """Return those that are installed, `asyncio.gather` first."""
    found: dict[str, Peer] = {GATHER: by_gather}
    if (aiometer := peer("aiometer")) is not None:

        async def by_aiometer(
            call: Call, rows: Iterable[tuple[Any, ...]], concurrency: int
        ) -> tuple[float, int]:
            begun = time.perf_counter()

            async def one(row: tuple[Any, ...]) -> bool:
                return await call(*row)

            right = 0
            async with aiometer.amap(one, list(rows), max_at_once=concurrency) as results:
                async for value in results:
                    right += value
            return time.perf_counter() - begun, right

        found[AIOMETER] = by_aiometer
    if (evals := peer("pydantic_evals", "pydantic-evals")) is not None:

        async def by_pydantic(
            call: Call, rows: Iterable[tuple[Any, ...]], concurrency: int
        ) -> tuple[float, int]:
            async def one(inputs: tuple[Any, ...]) -> bool:
                return await call(*inputs)

            # Its cases could be kept from one evaluation to the next: their making is not counted.
            dataset = evals.Dataset(name="benchmark", cases=[evals.Case(inputs=row) for row in rows])
            begun = time.perf_counter()
            report = await dataset.evaluate(one, max_concurrency=concurrency, progress=False)
            return time.perf_counter() - begun, sum(case.output for case in report.cases)

        found[PYDANTIC] = by_pydantic
    return found
