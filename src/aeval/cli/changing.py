"""`aeval rename`, `aeval delete`, `aeval cleanup`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from aeval.cli.messages import call, confirmed, say, show_log
from aeval.cli.options import parse_age
from aeval.cli.stores import existing
from aeval.errors import ExperimentError
from aeval.report.render import counted
from aeval.storage.base import StoredRun
from aeval.storage.storage import Storage

__all__ = ["clean_up", "delete_experiment", "rename_experiment"]


def rename_experiment(experiment: str, name: str, url: str | None) -> int:
    """Give an experiment another name, and return the exit code."""
    show_log()

    async def command() -> None:
        async with existing(url) as storage:
            await storage.rename(experiment, name)
        print(f"{experiment} is now {name}")  # noqa: T201

    return call(command)


def delete_experiment(experiment: str, evaluation: str | None, url: str | None, *, yes: bool) -> int:
    """Remove an experiment, or one evaluation's runs of it, and return the exit code."""
    show_log()

    async def command() -> int:
        async with existing(url) as storage:
            runs = await _runs(storage, experiment, evaluation)
            for run in runs:
                counts = await storage.counts(run)
                print(_line(run, counts.n))  # noqa: T201
            what = f"{counted(len(runs), 'run')} of {experiment!r}"
            if not confirmed(f"Remove {what} for good?", yes=yes):
                say("aeval: nothing was removed")
                return 1
            removed = await storage.delete(experiment, evaluation)
        print(f"removed {counted(removed, 'run')} of {experiment}")  # noqa: T201
        return 0

    return call(command)


def clean_up(older_than: str, url: str | None, *, yes: bool, dry_run: bool) -> int:
    """Remove the experiments that nothing has happened in for long, and return the exit code."""
    show_log()

    async def command() -> int:
        before = time.time() - parse_age(older_than)
        async with existing(url) as storage:
            n = 0
            async for runs in _old(storage, before):
                n += 1
                for run in runs:
                    print(_line(run, (await storage.counts(run)).n))  # noqa: T201
            if not n:
                say(f"aeval: no experiment in {storage.url} is older than {older_than}")
                return 0
            if dry_run:
                print(f"{counted(n, 'experiment')} would be removed")  # noqa: T201
                return 0
            if not confirmed(f"Remove {counted(n, 'experiment')} for good?", yes=yes):
                say("aeval: nothing was removed")
                return 1
            print(f"removed {counted(await _remove(storage, before), 'experiment')}")  # noqa: T201
            return 0

    return call(command)


async def _runs(storage: Storage, experiment: str, evaluation: str | None) -> list[StoredRun]:
    """Return the runs that `Storage.delete` would remove."""
    runs = [run async for run in storage.runs(experiment)]
    if evaluation is None:
        return runs
    await storage.latest(experiment, evaluation)  # raises where there is none of that name
    return [run for run in runs if evaluation in {run.evaluation, run.label}]


async def _remove(storage: Storage, before: float) -> int:
    removed = 0
    async for runs in _old(storage, before):
        try:
            await storage.delete(runs[0].experiment)
            removed += 1
        except ExperimentError as error:  # it was started, or removed by another process, at this moment
            say(f"aeval: {error}")
    return removed


async def _old(storage: Storage, before: float) -> AsyncIterator[Sequence[StoredRun]]:
    """Give the runs of each experiment in which nothing has happened since a time, and nothing does now."""
    async for name in storage.experiments():
        try:
            runs = [run async for run in storage.runs(name)]
        except ExperimentError:  # removed by another process
            continue
        if all(run.state != "running" and _last(run) < before for run in runs):
            yield runs


def _last(run: StoredRun) -> float:
    started = run.started if run.session is None else run.session.started
    return max(started, run.ended or 0.0, run.owner.beat if run.owner is not None else 0.0)


def _line(run: StoredRun, n: int) -> str:
    last = datetime.fromtimestamp(_last(run)).astimezone()
    return (
        f"{run.experiment}  {run.label}  {run.state}  {counted(n, 'result')}  last used {last:%Y-%m-%d %H:%M}"
    )
