"""What it costs to lose nothing: results committed to a storage, and read back a million at a time.

    python benchmarks/storage.py [--samples 100000] [--stored 1000000] [--rounds 5] [--only PART] [--postgresql URL]
                                 [--quick] [--check]

Four parts, each of which `--only` runs alone:

- throughput: a scorer that does nothing, 100 at once, each result streamed once it is committed to SQLite. Beside it
  stands `asyncio.gather` over a semaphore, which stores nothing, and aeval with a folder of JSON lines, and without
  a storage.
- copy: results committed to PostgreSQL, beside a plain `COPY` of the same bytes into a table with the same columns
  and key, in batches of the same size. Needs `--postgresql URL`, or the server's programs on this machine.
- resume: a run of a million stored results goes on; the time from its start to its first new sample, beside the time
  in which Python reads the ids of the stored samples from the same file with `sqlite3` and does nothing with them.
- memory: the highest resident memory of `aeval show` of the million, and what a process that stores a million
  results needs more than one that stores a tenth of it.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from aeval import Concurrency, Evaluation, Retry, run
from aeval.evaluation import Scorer
from common import Contender, Targets, heading, interleaved, parser_of, run_loop, table
from peers import GATHER, by_gather

CONCURRENCY = 100
SQLITE, JSONL, UNSTORED = "aeval, SQLite", "aeval, JSON lines", "aeval, no storage"
PARTS = ("throughput", "copy", "resume", "memory")
BATCH = 512
MEGABYTES = 150.0


async def score(question: str, answer: str) -> bool:  # noqa: ARG001 - as little work as there can be
    return True


reached: list[float] = []
"""When the samples were reached that `timed` scored."""


async def timed(question: str, answer: str) -> bool:  # noqa: ARG001 - as above
    reached.append(time.perf_counter())
    return True


def rows(n: int, *, named: bool = False) -> Iterator[object]:
    for i in range(n):
        if named:
            yield {"id": f"question-{i:08d}", "question": f"What is {i}+1?", "answer": "one more"}
        else:
            yield f"What is {i}+1?", "one more"


async def stored(n: int, url: str, experiment: str, *, named: bool = False, scorer: Scorer = score) -> int:
    """Run so many samples, and return how many results were streamed."""
    evaluation = Evaluation(rows(n, named=named), scorer)
    layers = [Retry(attempts=3), Concurrency(CONCURRENCY)]
    seen = 0
    async for result in run(evaluation, middleware=layers, storage=url, experiment=experiment):
        seen += result.value is True
    return seen


async def throughput(options: Namespace, folder: Path, targets: Targets) -> None:
    """Compare the cost of a sample whose result is committed with that of one whose result is only held."""
    n, turns = options.samples, iter(range(10**9))

    def ours(url: str | None) -> Contender:
        async def once() -> float:
            begun = time.perf_counter()
            if url is None:
                report = await run(
                    Evaluation(rows(n), score), middleware=[Retry(attempts=3), Concurrency(CONCURRENCY)]
                )
                seen = report.scored
            else:
                seen = await stored(n, url, f"turn-{next(turns)}")
            took = time.perf_counter() - begun
            assert seen == n
            return took / n

        return once

    async def gathered() -> float:
        took, right = await by_gather(score, rows(n), CONCURRENCY)  # type: ignore[arg-type]
        assert right == n
        return took / n

    contenders: dict[str, Contender] = {
        GATHER: gathered,
        SQLITE: ours(f"sqlite:///{folder}/throughput.db"),
        JSONL: ours(f"jsonl://{folder}/throughput"),
        UNSTORED: ours(None),
    }
    print(f"{n:,} samples, {CONCURRENCY} at once, {options.rounds} rounds\n")
    figures = await interleaved(contenders, options.rounds)
    table(
        ("contender", "us a sample", "samples/s", "times gather's throughput"),
        [
            (name, f"{cost * 1e6:.2f}", f"{1 / cost:,.0f}", f"{figures.ratio(GATHER, name):.2f}")
            for name in figures
            if (cost := figures.median(name))
        ],
    )
    print()
    targets.at_least(f"{SQLITE}: throughput over gather's", figures.ratio(GATHER, SQLITE), 1.0)


async def resume(options: Namespace, folder: Path, targets: Targets) -> None:
    """Compare the start of a run that goes on with a bare reading of the ids."""
    lines = []
    for named in (False, True):
        path = folder / f"resume-{named}.db"
        url = f"sqlite:///{path}"
        await stored(options.stored, url, "million", named=named, scorer=timed)
        ratios, starts, scans = [], [], []
        for turn in range(3):
            scan = scanned(path, options.stored + turn)
            start = await first_new(options.stored + turn + 1, url, named=named)
            starts.append(start)
            scans.append(scan)
            ratios.append(start / scan)
        kind = "ids that are texts" if named else "ids that are indices"
        lines.append((kind, f"{median(starts):.2f} s", f"{median(scans):.2f} s", f"{median(ratios):.2f}"))
        targets.at_most(f"first new sample over a scan, {kind}", median(ratios), 2.0)
    print(f"Going on after {options.stored:,} stored results\n")
    table(("", "to the first new sample", "scan of the ids", "ratio"), lines)
    print()


def scanned(path: Path, n: int) -> float:
    """Return how long it takes to read all ids, and do nothing with them."""
    connection = sqlite3.connect(path)
    begun = time.perf_counter()
    seen = 0
    for _ in connection.execute("SELECT id FROM records WHERE run = 1"):
        seen += 1
    took = time.perf_counter() - begun
    connection.close()
    assert seen == n, f"{seen} ids where there should be {n}"
    return took


async def first_new(n: int, url: str, *, named: bool) -> float:
    """Return how long a run that goes on takes to its first new sample."""
    reached.clear()
    # Made beforehand: what a dataset takes to give its rows is its own matter.
    dataset = list(rows(n, named=named))
    begun = time.perf_counter()
    # It ends once the sample is stored: the report of a million results is another matter.
    async with run(Evaluation(dataset, timed), storage=url, experiment="million") as results:
        await anext(aiter(results))
    assert len(reached) == 1, f"{len(reached)} samples were evaluated"
    return reached[0] - begun


def memory(options: Namespace, folder: Path, targets: Targets) -> None:
    """Measure processes that read and write many results."""
    peaks = {}
    for n in (options.stored // 10, options.stored):
        path = folder / f"memory-{n}.db"
        child = [sys.executable, __file__, "--child", str(n), "--folder", str(path)]
        peaks[n] = float(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
    path = folder / f"memory-{options.stored}.db"
    begun = time.perf_counter()
    code = "import sys; from aeval.cli import main; main(sys.argv[1:])"
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            _WITH_PEAK,
            code,
            "show",
            "million",
            "--storage",
            f"sqlite:///{path}",
            "--format",
            "json",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    took = time.perf_counter() - begun
    peak = float(shown.stderr.strip().splitlines()[-1])
    assert f"{options.stored}" in shown.stdout.replace(",", "")
    growth = peaks[options.stored] - peaks[options.stored // 10]
    table(
        ("process", "highest resident memory"),
        [
            *((f"stores {n:,}", f"{megabytes:.1f} MB") for n, megabytes in peaks.items()),
            (f"aeval show of {options.stored:,} ({took:.1f} s)", f"{peak:.1f} MB"),
        ],
    )
    print()
    targets.at_most("memory of aeval show", peak, MEGABYTES, " MB")
    targets.at_most("more memory to store ten times as many", growth, 5.0, " MB")


_WITH_PEAK = """
import atexit, resource, sys
code = sys.argv.pop(1)
def told():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(line.split()[1]) / 1024, file=sys.stderr)
atexit.register(told)
exec(code)
"""


async def main(options: Namespace) -> int:
    """Measure, and print."""
    if options.quick:
        options.samples, options.stored, options.rounds = 20_000, 50_000, 2
    targets = Targets()
    parts = PARTS if options.only is None else (options.only,)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "throughput" in parts:
            await throughput(options, folder, targets)
        if "copy" in parts:
            from copying import copying

            await copying(options, targets)
        if "resume" in parts:
            await resume(options, folder, targets)
        if "memory" in parts:
            await asyncio.to_thread(memory, options, folder, targets)
    return targets.finish(options)


async def child(n: int, path: str) -> int:
    """Store so many results, and print this process's highest resident memory."""
    from memory import peak

    assert await stored(n, f"sqlite:///{path}", "million") == n
    print(json.dumps(peak()))
    return 0


if __name__ == "__main__":
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--samples", type=int, default=100_000, help="samples of a round (default: 100000)")
    parser.add_argument("--stored", type=int, default=1_000_000, help="stored results (default: 1000000)")
    parser.add_argument("--only", choices=PARTS, help="this part only")
    parser.add_argument(
        "--postgresql", metavar="URL", help="a database to write to, in tables that are dropped again"
    )
    parser.add_argument("--child", type=int, help="(used by the script itself)")
    parser.add_argument("--folder", help="(used by the script itself)")
    given = parser.parse_args()
    if given.child is not None:
        sys.exit(asyncio.run(child(given.child, given.folder)))
    heading(__doc__, uvloop=given.uvloop)
    sys.exit(run_loop(lambda: main(given), uvloop=given.uvloop))
