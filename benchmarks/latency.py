"""Latency of a result: from the scorer's return to the stream, by way of the storage.

    python benchmarks/latency.py [--samples 300] [--rounds 3] [--quick] [--check] [--uvloop]

One sample at a time, each of which takes 10 ms, so that its result is the only one there is: it is not to wait for
others that could be committed with it. What is measured is the time from the scorer's return to the moment at which
the consumer's `async for` has the result, and so the result is committed. `durability=full` has the disk confirm
each commit. The server of the storage in PostgreSQL is one of its own, on this machine, which does not wait for the
disk (`fsync = off`); where `initdb` is not installed, it is left out.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from aeval import Concurrency, Evaluation, run
from common import Targets, heading, parser_of, run_loop, table

sys.path.append(str(Path(__file__).parents[1] / "tests" / "storage"))

from stores import Postgres, programs

SECONDS = 0.01
NONE, SQLITE = "no storage", "SQLite"


async def latencies(storage: str | None, samples: int) -> list[float]:
    """Return the seconds from the scorer's return to the stream, of each sample."""
    returned: dict[int, float] = {}

    async def score(n: int) -> bool:
        await asyncio.sleep(SECONDS)
        returned[n] = time.perf_counter()
        return True

    evaluation = Evaluation(range(samples), score, middleware=[Concurrency(1)])
    results = run(evaluation, window=1, storage=storage, progress=False)
    taken = [time.perf_counter() - returned.pop(result.index) async for result in results]
    # The first ones pay for what is made once.
    return taken[samples // 10 :]


@contextmanager
def server(folder: Path) -> Iterator[Postgres | None]:
    """Start a server, where there is one."""
    found = programs()
    if found is None:
        print("PostgreSQL's server is not installed and is left out\n")
        yield None
        return
    folder.mkdir()
    started = Postgres(found, folder)
    try:
        yield started
    finally:
        started.stop("immediate")


async def main(options: Namespace) -> int:
    """Measure, and print."""
    samples, rounds = (100, 1) if options.quick else (options.samples, options.rounds)
    root = Path(tempfile.mkdtemp(prefix="aeval-latency-"))
    root.chmod(0o755)
    try:
        with server(root / "server") as postgres:
            storages = {
                NONE: None,
                SQLITE: f"sqlite:///{root}/results.db",
                f"{SQLITE}, durability=full": f"sqlite:///{root}/full.db?durability=full",
                "JSONL": f"jsonl://{root}/results",
                "JSONL, durability=full": f"jsonl://{root}/full?durability=full",
            }
            if postgres is not None:
                storages["PostgreSQL"] = postgres.url(postgres.create_database())
            measured: dict[str, list[float]] = {name: [] for name in storages}
            for _ in range(rounds):
                for name, storage in storages.items():
                    measured[name] += await latencies(storage, samples)
    finally:
        shutil.rmtree(root)
    print(f"{samples:,} samples of {SECONDS * 1000:g} ms, one at a time, {rounds} rounds\n")
    lines = [
        (name, f"{median(taken) * 1000:.2f}", f"{quantiles(taken, n=100)[98] * 1000:.2f}")
        for name, taken in measured.items()
    ]
    table(("storage", "median, ms", "p99, ms"), lines)
    targets = Targets()
    targets.at_most("median with SQLite", median(measured[SQLITE]) * 1000, 5, " ms")
    return targets.finish(options)


if __name__ == "__main__":
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("--samples", type=int, default=300, help="samples of a round (default: 300)")
    given = parser.parse_args()
    heading(__doc__, uvloop=given.uvloop)
    sys.exit(run_loop(lambda: main(given), uvloop=given.uvloop))
