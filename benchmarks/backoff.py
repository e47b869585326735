"""Backoff outside of the slot: calls in flight while one sample in five sleeps before its second attempt.

    python benchmarks/backoff.py [--samples 3000] [--rounds 1] [--quick] [--check] [--uvloop]

A call takes 200 ms and at most 50 are in flight. Of every fifth sample the first call ends in a
`ConnectionError`, after its 200 ms; the sample then sleeps for 1 s and is called again. aeval runs
`[Retry(wait_initial=1, wait_jitter=0), Concurrency(50)]`: a sample asleep has left its slot to another. Beside it
stands what most runners do, a retry (tenacity's) inside the slot.

The number of calls in flight is counted in the scorer itself, where a call begins and ends, and averaged over
time, from the end of the ramp-up, which is the moment at which the 50th call first began, until

- the dataset ends: its generator was asked for a row and had none left; this is what the target is about. It
  cannot be told where all rows are taken at the start.
- the last sample begins its first call. This is later, and there are no more new samples then to take the place
  of those asleep.

A third figure is for the whole run, with its end, where nothing is left but samples asleep.
"""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from statistics import median

import attrs

from aeval import Concurrency, Evaluation, Retry, run
from common import Targets, heading, parser_of, peer, run_loop, table

CAP = 50
SECONDS = 0.2
ASLEEP = 1.0
ONE_IN = 5


class Service:
    """Calls of 200 ms, some of which fail at first; it knows how many were in flight at any moment."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._failed: set[int] = set()
        self._in_flight = 0
        self._changes: list[tuple[float, int]] = []
        self.most = 0
        self.begun = time.perf_counter()
        self.full: float | None = None
        self.dataset_ended = self.last_began = self.begun

    def rows(self) -> Iterator[tuple[int]]:
        """Give the rows, and note when there are no more."""
        for i in range(self._samples):
            yield (i,)
        self.dataset_ended = time.perf_counter()

    async def call(self, number: int) -> bool:
        """Take 200 ms; fail where it is the first call for one of every five samples."""
        self._note(+1)
        if number == self._samples - 1 and number not in self._failed:
            self.last_began = time.perf_counter()
        try:
            await asyncio.sleep(SECONDS)
        finally:
            self._note(-1)
        if number % ONE_IN == 0 and number not in self._failed:
            self._failed.add(number)
            raise ConnectionError("the connection was reset by the server")
        return True

    def _note(self, change: int) -> None:
        now = time.perf_counter()
        self._in_flight += change
        self.most = max(self.most, self._in_flight)
        if self.full is None and self._in_flight == CAP:
            self.full = now
        self._changes.append((now, self._in_flight))

    def mean_in_flight(self, since: float, until: float) -> float:
        """Return the mean number of calls in flight over time, between two moments."""
        area, at, level = 0.0, since, 0
        for moment, in_flight in self._changes:
            if moment >= until:
                break
            if moment > at:
                area += level * (moment - at)
                at = moment
            level = in_flight
        return (area + level * (until - at)) / (until - since)


@attrs.frozen
class Measured:
    """What one run came to."""

    until_dataset_ended: float | None
    until_last_began: float
    whole: float
    seconds: float
    most: int

    @classmethod
    def of(cls, service: Service, *, lazy: bool) -> Measured:
        """Read a service's record at the run's end.

        :param lazy: whether rows were taken as they were needed
        """
        ended = time.perf_counter()
        assert service.full is not None, "the cap was never filled"
        mean = service.mean_in_flight
        return cls(
            until_dataset_ended=mean(service.full, service.dataset_ended) if lazy else None,
            until_last_began=mean(service.full, service.last_began),
            whole=mean(service.begun, ended),
            seconds=ended - service.begun,
            most=service.most,
        )


async def by_aeval(samples: int) -> Measured:
    """Run with the retry outside of the slot."""
    service = Service(samples)
    evaluation: Evaluation[tuple[int], object] = Evaluation(service.rows(), service.call)
    retry = Retry(attempts=3, wait_initial=ASLEEP, wait_jitter=0)
    report = await run(evaluation, middleware=[retry, Concurrency(CAP)], progress=False)
    assert report.scored == samples
    assert report.attempts == samples + -(-samples // ONE_IN)
    return Measured.of(service, lazy=True)


async def by_tenacity(samples: int) -> Measured:
    """Run with the retry inside of the slot."""
    tenacity = peer("tenacity")
    service = Service(samples)
    semaphore = asyncio.Semaphore(CAP)
    call = tenacity.retry(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_fixed(ASLEEP),
        retry=tenacity.retry_if_exception_type(ConnectionError),
    )(service.call)

    async def one(row: tuple[int]) -> bool:
        async with semaphore:
            return await call(*row)

    assert sum(await asyncio.gather(*(one(row) for row in service.rows()))) == samples
    return Measured.of(service, lazy=False)


async def main(options: Namespace) -> int:
    """Measure, and print."""
    samples = 1_000 if options.quick else options.samples
    contenders = {"aeval: retry outside, slot inside": by_aeval}
    if peer("tenacity") is not None:
        contenders["tenacity inside a semaphore"] = by_tenacity
    calls = samples + -(-samples // ONE_IN)
    ideal = calls * SECONDS / CAP
    print(f"{samples:,} samples, {calls:,} calls of {SECONDS:g} s, {CAP} at once: {ideal:.1f} s at best\n")
    measured: dict[str, list[Measured]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, contender in contenders.items():
            measured[name].append(await contender(samples))
    lines = []
    for name, runs in measured.items():
        ends = [each.until_dataset_ended for each in runs if each.until_dataset_ended is not None]
        lines.append(
            (
                name,
                f"{median(ends):.2f}" if ends else "-",
                f"{median(each.until_last_began for each in runs):.2f}",
                f"{median(each.whole for each in runs):.2f}",
                f"{max(each.most for each in runs)}",
                f"{median(each.seconds for each in runs):.2f}",
            )
        )
    header = ("mean calls in flight until:", "dataset ends", "last one begins", "run ends", "most", "seconds")
    table(header, lines)
    targets = Targets()
    ours = next(iter(measured.values()))
    ends = [each.until_dataset_ended or 0.0 for each in ours]
    targets.at_least("aeval: mean in flight until the dataset ends", median(ends), 47)
    targets.at_least(
        "aeval: the same until the last sample begins", median(each.until_last_began for each in ours), 47
    )
    targets.at_most("aeval: most in flight", max(each.most for each in ours), CAP)
    return targets.finish(options)


if __name__ == "__main__":
    parser = parser_of(__doc__, rounds=1)
    parser.add_argument("--samples", type=int, default=3_000, help="samples (default: 3000)")
    given = parser.parse_args()
    heading(__doc__, uvloop=given.uvloop)
    sys.exit(run_loop(lambda: main(given), uvloop=given.uvloop))
