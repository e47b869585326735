"""Memory: what a run of a million samples needs more than one of ten thousand.

    python benchmarks/memory.py [--small 10000] [--large 1000000] [--rounds 1] [--tracemalloc] [--quick] [--check]

The rows come out of a generator. Every run has a process of its own, whose highest resident memory is read at
its end (`VmHWM` of Linux, else `ru_maxrss`); with `--tracemalloc` the peak of Python's own allocations is
measured in further processes, which takes several times as long. aeval runs its default stack with 100 at once:

- streamed: `async for result in run(...)`, each result dropped once it was looked at
- awaited: `report = await run(...)`
- errors: awaited, every tenth sample erring with a message of its own

`asyncio.gather` over a semaphore stands beside them with a tenth of the samples.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import tracemalloc
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from common import Targets, heading, parser_of, table

CONCURRENCY = 100
WAYS = ("streamed", "awaited", "errors")
GATHER = "asyncio.gather"
GROWTH = 5.0
"""Megabytes that the large run may need more than the small one."""


def peak() -> float:
    """Return this process's highest resident memory so far, in megabytes of 2**20 bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which begins with what the parent had when it forked.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if sys.platform == "darwin" else used / 1024


def rows(n: int) -> Iterator[tuple[str, int]]:
    for i in range(n):
        yield f"What is {i}+1? Answer with the number alone.", i + 1


async def score(question: str, answer: int) -> bool:
    return len(question) > answer % 50


async def erring(question: str, answer: int) -> bool:
    if answer % 10 == 0:
        raise ValueError(f"no answer to {question}")
    return True


async def of_aeval(way: str, n: int) -> None:
    from aeval import Concurrency, Evaluation, Retry, run

    evaluation: Evaluation[tuple[str, int], object] = Evaluation(rows(n), erring if way == "errors" else score)
    whole = run(evaluation, middleware=[Retry(attempts=3), Concurrency(CONCURRENCY)], progress=False)
    if way == "streamed":
        seen = 0
        async for _ in whole:
            seen += 1
    else:
        seen = (await whole).n
    assert seen == n


async def of_gather(n: int) -> None:
    semaphore = asyncio.Semaphore(CONCURRENCY)

    async def one(row: tuple[str, int]) -> bool:
        async with semaphore:
            return await score(*row)

    assert len(await asyncio.gather(*(one(row) for row in rows(n)))) == n


def measure_here(way: str, n: int, *, traced: bool) -> None:
    """Run once in this process, and print what was measured."""
    if traced:
        tracemalloc.start()
    begun = time.perf_counter()
    asyncio.run(of_gather(n) if way == GATHER else of_aeval(way, n))
    seconds = time.perf_counter() - begun
    megabytes = tracemalloc.get_traced_memory()[1] / 2**20 if traced else peak()
    print(json.dumps({"megabytes": megabytes, "seconds": seconds}))


def measured(way: str, n: int, *, traced: bool) -> tuple[float, float]:
    """Run once in a process of its own; return megabytes and seconds."""
    command = [sys.executable, __file__, "--one", way, str(n), *(["--tracemalloc"] if traced else [])]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return done["megabytes"], done["seconds"]


def compare(options: Namespace, *, traced: bool) -> dict[str, float]:
    """Measure and print every way; return how much each of aeval's grew."""
    grown: dict[str, float] = {}
    lines = []
    for way in (*WAYS, GATHER):
        sizes = options.small, options.large
        if way == GATHER:
            sizes = sizes[0] // 10, sizes[1] // 10
        runs = [[measured(way, n, traced=traced) for n in sizes] for _ in range(options.rounds)]
        small, large = (median(each[size][0] for each in runs) for size in (0, 1))
        seconds = median(each[1][1] for each in runs)
        growth = median(each[1][0] - each[0][0] for each in runs)
        name = way if way == GATHER else f"aeval, {way}"
        lines.append(
            (
                name,
                f"{sizes[0]:,}",
                f"{small:.1f}",
                f"{sizes[1]:,}",
                f"{large:.1f}",
                f"{growth:.2f}",
                f"{seconds:.1f}",
            )
        )
        if way != GATHER:
            grown[name] = growth
    what = "Python's own allocations, peak" if traced else "resident memory, peak"
    print(f"{what}, in MB:\n")
    table(("run", "samples", "peak", "samples", "peak", "growth", "seconds"), lines)
    return grown


def main(options: Namespace) -> int:
    """Measure, and print."""
    targets = Targets()
    if options.quick:
        options.large = min(options.large, 100_000)
    for name, growth in compare(options, traced=False).items():
        targets.at_most(f"{name}: growth of resident memory", growth, GROWTH, " MB")
    if options.tracemalloc:
        print()
        for name, growth in compare(options, traced=True).items():
            targets.at_most(f"{name}: growth of allocations", growth, GROWTH, " MB")
    return targets.finish(options)


if __name__ == "__main__":
    parser = parser_of(__doc__, rounds=1, loops=False)
    parser.add_argument("--small", type=int, default=10_000, help="samples of the small run (default: 10000)")
    parser.add_argument(
        "--large", type=int, default=1_000_000, help="samples of the large run (default: 1000000)"
    )
    parser.add_argument("--tracemalloc", action="store_true", help="measure Python's own allocations as well")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "N"), help="run once, in this process")
    given = parser.parse_args()
    if given.one:
        measure_here(given.one[0], int(given.one[1]), traced=given.tracemalloc)
        sys.exit(0)
    heading(__doc__)
    sys.exit(main(given))
