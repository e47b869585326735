"""The runner's own cost for a sample: a scorer that does nothing, 100 samples at once.

    python benchmarks/overhead.py [--samples 100000] [--rounds 7] [--quick] [--check] [--uvloop]

aeval runs its default stack, `[Retry(attempts=3), Concurrency(100)]`, over rows out of a generator, once
streamed with `async for` and once awaited, and streamed again with its progress painted to a terminal that
throws everything away. Beside it stand:

- `asyncio.gather` over a semaphore, which is what is written by hand. It makes results of bare values, has no
  retry, and holds everything until the end.
- aiometer's `amap`, with the rows as the list that it asks for.
- pydantic-evals' `Dataset.evaluate`, with fewer samples since it is slower; the making of its cases is not
  counted.

Throughput is compared by the median of the rounds' ratios, each round running every contender once.
"""

from __future__ import annotations

import io
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator

from aeval import Concurrency, Evaluation, Retry, Run, run
from common import Contender, Figures, Targets, heading, interleaved, parser_of, run_loop, table
from peers import AIOMETER, GATHER, PYDANTIC, Peer, peers

CONCURRENCY = 100
STREAMED, AWAITED, PAINTED = "aeval, async for", "aeval, await", "aeval, async for, with progress"


class NullTerminal(io.StringIO):
    """A terminal of which nobody sees anything; it counts what is written to it."""

    written = 0

    def isatty(self) -> bool:
        """Say that someone is looking."""
        return True

    def write(self, text: str, /) -> int:
        """Throw the text away."""
        self.written += len(text)
        return len(text)


async def score(question: str, answer: str) -> bool:  # noqa: ARG001 - as little work as there can be
    return True


def rows(n: int) -> Iterator[tuple[str, str]]:
    for i in range(n):
        yield f"What is {i}+1?", "one more"


def started(n: int, *, progress: bool = False) -> Run[tuple[str, str], object]:
    evaluation: Evaluation[tuple[str, str], object] = Evaluation(rows(n), score)
    return run(evaluation, middleware=[Retry(attempts=3), Concurrency(CONCURRENCY)], progress=progress)


async def streamed(n: int, *, progress: bool = False) -> int:
    seen = 0
    async for result in started(n, progress=progress):
        seen += result.value is True
    return seen


def contenders_for(samples: int, few: int) -> dict[str, Contender]:
    """Return the contenders, each of which returns its seconds for a sample."""

    async def aeval_streamed() -> float:
        begun = time.perf_counter()
        seen = await streamed(samples)
        took = time.perf_counter() - begun
        assert seen == samples
        return took / samples

    async def aeval_awaited() -> float:
        begun = time.perf_counter()
        report = await started(samples)
        took = time.perf_counter() - begun
        assert report.scored == samples
        return took / samples

    async def aeval_painted() -> float:
        terminal, stderr = NullTerminal(), sys.stderr
        sys.stderr = terminal
        try:
            begun = time.perf_counter()
            seen = await streamed(samples, progress=True)
            took = time.perf_counter() - begun
        finally:
            sys.stderr = stderr
        assert seen == samples
        assert terminal.written, "no progress was painted"
        return took / samples

    def measured(by: Peer, n: int) -> Contender:
        async def once() -> float:
            took, right = await by(score, rows(n), CONCURRENCY)
            assert right == n
            return took / n

        return once

    ours: dict[str, Contender] = {STREAMED: aeval_streamed, AWAITED: aeval_awaited, PAINTED: aeval_painted}
    theirs = {name: measured(by, few if name == PYDANTIC else samples) for name, by in peers().items()}
    return ours | theirs


def show(figures: Figures) -> None:
    """Print each contender's cost and its throughput against gather's."""
    lines = []
    for name in figures:
        cost, against = figures.median(name), figures.ratio(GATHER, name)
        lines.append((name, f"{cost * 1e6:.2f}", f"{1 / cost:,.0f}", f"{against:.2f}"))
    table(("contender", "us a sample", "samples/s", "times gather's throughput"), lines)


async def main(options: Namespace) -> int:
    """Measure, and print."""
    samples, rounds = (20_000, 3) if options.quick else (options.samples, options.rounds)
    few = max(1, samples // 20)
    os.environ["TERM"] = "xterm-256color"
    contenders = contenders_for(samples, few)
    print(f"{samples:,} samples ({few:,} for pydantic-evals), {CONCURRENCY} at once, {rounds} rounds\n")
    figures = await interleaved(contenders, rounds)
    show(figures)
    targets = Targets()
    for name in (STREAMED, AWAITED):
        targets.at_least(f"{name}: throughput over gather's", figures.ratio(GATHER, name), 2.0)
        for other in (AIOMETER, PYDANTIC):
            if other in figures:
                targets.at_least(f"{name}: throughput over {other}", figures.ratio(other, name), 1.0)
    targets.at_most("time with progress over time without", figures.ratio(PAINTED, STREAMED), 1.05)
    return targets.finish(options)


if __name__ == "__main__":
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--samples", type=int, default=100_000, help="samples of a round (default: 100000)")
    given = parser.parse_args()
    heading(__doc__, uvloop=given.uvloop)
    sys.exit(run_loop(lambda: main(given), uvloop=given.uvloop))
