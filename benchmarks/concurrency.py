"""How full the cap is kept: 2,000 calls of 50 ms, 100 at once, take 1.0 s at best.

    python benchmarks/concurrency.py [--rounds 5] [--quick] [--check] [--uvloop]

Each call is an `asyncio.sleep`. The time is that of the whole run, from its start to its last result, and is
given as a multiple of the ideal, `calls / concurrency * seconds`. Sleeps themselves end a little late on a busy
loop; the bar for that is `asyncio.gather` over a semaphore, which is beside it, as are aiometer and
pydantic-evals, and the floor: 100 loops that take the next row and sleep, with no runner at all. A round that does
not count goes first, so that nobody's imports are in the time.
"""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import Iterator

from aeval import Concurrency, Evaluation, Retry, run
from common import Contender, Targets, heading, interleaved, parser_of, run_loop, table
from peers import Peer, peers

CONCURRENCY = 100
SECONDS = 0.05
AEVAL, FLOOR = "aeval", "100 bare loops"


async def score(number: int) -> bool:
    await asyncio.sleep(SECONDS)
    return number >= 0


def rows(n: int) -> Iterator[tuple[int]]:
    for i in range(n):
        yield (i,)


def contenders_for(calls: int) -> dict[str, Contender]:
    """Return the contenders, each of which returns its time as a multiple of the ideal."""
    ideal = calls / CONCURRENCY * SECONDS

    async def aeval() -> float:
        begun = time.perf_counter()
        seen = 0
        evaluation: Evaluation[tuple[int], object] = Evaluation(rows(calls), score)
        async for result in run(
            evaluation, middleware=[Retry(attempts=3), Concurrency(CONCURRENCY)], progress=False
        ):
            seen += result.value is True
        took = time.perf_counter() - begun
        assert seen == calls
        return took / ideal

    async def floor() -> float:
        begun = time.perf_counter()
        left = rows(calls)

        async def loop() -> int:
            return sum([await score(*row) for row in left])

        seen = sum(await asyncio.gather(*(loop() for _ in range(CONCURRENCY))))
        took = time.perf_counter() - begun
        assert seen == calls
        return took / ideal

    def measured(by: Peer) -> Contender:
        async def once() -> float:
            took, right = await by(score, rows(calls), CONCURRENCY)
            assert right == calls
            return took / ideal

        return once

    return {AEVAL: aeval, FLOOR: floor, **{name: measured(by) for name, by in peers().items()}}


async def main(options: Namespace) -> int:
    """Measure, and print."""
    calls, rounds = (1_000, 3) if options.quick else (2_000, options.rounds)
    contenders = contenders_for(calls)
    print(f"{calls:,} calls of {SECONDS * 1000:g} ms, {CONCURRENCY} at once, {rounds} rounds\n")
    figures = await interleaved(contenders, rounds)
    ideal = calls / CONCURRENCY * SECONDS
    lines = [(name, f"{figures.median(name) * ideal:.3f}", f"{figures.median(name):.3f}") for name in figures]
    table(("contender", "seconds", "times the ideal"), lines)
    targets = Targets()
    targets.at_most("aeval: time over the ideal", figures.median(AEVAL), 1.03)
    return targets.finish(options)


if __name__ == "__main__":
    given = parser_of(__doc__, rounds=5).parse_args()
    heading(__doc__, uvloop=given.uvloop)
    sys.exit(run_loop(lambda: main(given), uvloop=given.uvloop))
