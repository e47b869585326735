"""A program that runs evaluations with a storage, and says on its standard output what it gets, a JSON list a line.

    python sums.py '{"url": "sqlite:///results.db", "evaluations": [["once", 300, 1]]}'

The lines are `["begun"]`, `["result", evaluation, id, repeat, value]` with a null for the value of a sample that
errored, `["stopping"]`, `["report", status, n, scored, errored]`, and where the run fails
`["failed", class, message]`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import anyio
import attrs

from aeval import Concurrency, Evaluation, Sample, run


@attrs.frozen
class Plan:
    """What the program is to do.

    :param url: the storage
    :param evaluations: the name, rows and repeats of each
    :param experiment: its name
    :param session: number of this start; a sample's value is `session + n / 10000`
    :param seed: of the times that samples take
    :param longest: how long a sample takes at most, in seconds
    :param concurrency: samples at once
    :param erring: every so many samples error in the first session that begins them; 0 for none
    :param side: file to which a line is appended for each sample that is begun: session, evaluation, id, repeat
    :param stop_after: stop the run after so many results
    :param hold_from: samples from this one on wait until the standard input ends
    :param padding: characters of each output
    :param most_bytes: how large files may become
    :param user: who to be from the start of the run on
    """

    url: str
    evaluations: list[tuple[str, int, int]]
    experiment: str = "kills"
    session: int = 1
    seed: int = 0
    longest: float = 0.0
    concurrency: int = 16
    erring: int = 0
    side: str | None = None
    stop_after: int | None = None
    hold_from: int | None = None
    padding: int = 0
    most_bytes: int | None = None
    user: int | None = None


Call = Callable[[Sample[Any]], Awaitable[Any]]


class Noted:
    """A layer that notes each sample that is begun, and lets some of them error."""

    def __init__(self, plan: Plan, evaluation: str) -> None:
        self._plan = plan
        self._evaluation = evaluation
        self._begun: set[tuple[str, str, int]] = set()
        self._fd = -1
        if plan.side is not None:
            self._fd = os.open(plan.side, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            with open(self._fd, closefd=False) as lines:
                self._begun = {tuple(json.loads(line)[1:]) for line in lines}

    def __call__(self, call: Call) -> Call:
        async def noted(sample: Sample[Any]) -> Any:
            which = self._evaluation, sample.id, sample.repeat
            if self._fd >= 0:
                os.write(self._fd, json.dumps([self._plan.session, *which]).encode() + b"\n")
            returned = await call(sample)
            erring = self._plan.erring
            if erring and sample.index % erring == 0 and which not in self._begun:
                raise ValueError(f"session {self._plan.session}")
            return returned

        return noted


def evaluation_of(plan: Plan, go_on: anyio.Event, name: str, rows: int, repeats: int) -> Evaluation[Any, Any]:
    """Make an evaluation, the samples of which take their time."""
    times = random.Random(f"{plan.seed} {name}")

    async def task(n: int) -> str:
        if plan.hold_from is not None and n >= plan.hold_from:
            await go_on.wait()
        await anyio.sleep(times.random() * plan.longest)
        return "x" * plan.padding

    def right(output: str, n: int) -> float:
        return plan.session + n / 10_000

    return Evaluation(
        [{"id": f"q{n}", "n": n} for n in range(rows)],
        right,
        task=task,
        name=name,
        repeats=repeats,
        middleware=[Concurrency(plan.concurrency), Noted(plan, name)],
    )


def say(*line: object) -> None:
    """Write a line, at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def main(plan: Plan) -> int:
    """Run, and say what comes."""
    go_on = anyio.Event()
    if plan.hold_from is not None:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), go_on.set)
    evaluations = [evaluation_of(plan, go_on, *which) for which in plan.evaluations]
    say("begun")
    got = 0
    try:
        async with run(evaluations, storage=plan.url, experiment=plan.experiment, progress=False) as results:
            async for result in results:
                value = None if result.error is not None else result.value
                say("result", result.evaluation, result.id, result.repeat, value)
                got += 1
                if got == plan.stop_after:
                    results.stop()
                    say("stopping")
        report = results.report
    except Exception as error:
        say("failed", type(error).__name__, str(error))
        return 3
    say("report", report.status, report.n, report.scored, report.errored)
    return 0


async def become(user: int) -> None:
    """Become another user, who may not be allowed to import anything."""
    import_module("aeval.storage.jsonl")
    await run(Evaluation([1], float), storage="memory://", progress=False)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    os.chdir("/")


if __name__ == "__main__":
    given = Plan(**json.loads(sys.argv[1]))
    if given.most_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (given.most_bytes, given.most_bytes))
    if given.user is not None:
        anyio.run(become, given.user)
    sys.exit(anyio.run(main, given))
