"""Reports of what a storage holds."""

from __future__ import annotations

import time
from typing import Any

import attrs
import pytest

from aeval import Evaluation, Storage, open_storage, record_usage, run
from aeval.report import stored
from aeval.report.report import Report
from aeval.report.stored import seconds_of, stored_report
from aeval.storage.base import Session, StoredRun
from aeval.storage.owner import Owner

pytestmark = pytest.mark.anyio

SESSION = Session(started=0.0, aeval="1", python="3", command_line="")


async def both(
    storage: Storage, *evaluations: Evaluation[Any, Any], **options: Any
) -> list[tuple[Report, Report]]:
    """Run evaluations, and return the report of each, as the run and as the storage gives it."""
    report = await run(evaluations, storage=storage, experiment="a", **options)
    runs = await storage.latest("a")
    return [(report[each.evaluation], await stored_report(storage, each)) for each in runs]


async def checked(value: int) -> object:
    """Give scores of every kind, and errors."""
    if value % 7 == 3:
        raise LookupError("not this one")
    record_usage(input_tokens=value, output_tokens=1)
    return {"even": value % 2 == 0, "size": value / 3, "kind": "xyz"[value % 3]}


async def test_it_is_the_report_of_the_run() -> None:
    """The report of what is stored has the metrics, errors, times and usage of the run's own report."""
    async with open_storage("memory://") as storage:
        ((live, kept),) = await both(storage, Evaluation(range(700), checked, name="checked"))
    assert kept.summary.keys() == live.summary.keys()
    for name, metrics in live.summary.items():
        assert kept.summary[name] == pytest.approx(metrics)
    assert (kept.name, kept.status, kept.n, kept.errored) == ("checked", "finished", 700, 100)
    assert {kind: group.n for kind, group in kept.errors.items()} == {"LookupError": 100}
    assert kept.errors["LookupError"].message == "not this one"
    assert (kept.usage, kept.attempts, kept.refused) == (live.usage, live.attempts, live.refused)
    assert attrs.asdict(kept.timing) == pytest.approx(attrs.asdict(live.timing))
    assert kept.duration == pytest.approx(live.duration, abs=1)


async def test_repeats_are_clustered() -> None:
    """The standard error of repeats is that of the rows' means, as in the run's own report."""

    async def noisy(value: int) -> float:
        return value % 5

    async with open_storage("memory://") as storage:
        ((live, kept),) = await both(storage, Evaluation(range(50), noisy, name="noisy", repeats=3))
    assert kept.summary["noisy"] == pytest.approx(live.summary["noisy"])


async def test_each_evaluation_has_its_own() -> None:
    """Each evaluation of an experiment has a report of its own."""

    async def other(value: int) -> bool:
        return value > 2

    evaluations = [Evaluation(range(10), checked, name="checked"), Evaluation(range(6), other, name="other")]
    async with open_storage("memory://") as storage:
        reports = [kept for _, kept in await both(storage, *evaluations)]
    assert [(report.name, report.n) for report in reports] == [("checked", 10), ("other", 6)]


async def test_what_json_cannot_hold_is_counted_too() -> None:
    """Results in which there is something that JSON cannot hold are in the report like all others."""

    async def odd(value: object) -> object:
        if value == "\ud800":
            raise ValueError("half of a pair: \ud800")
        return {"weird \ud800": True, "size": 2}

    rows = [
        {"id": "\ud800", "value": "\ud800"},
        {"id": "b", "value": "x"},
        {"id": "c", "value": {"$float": "nan"}},
    ]
    async with open_storage("memory://") as storage:
        ((live, kept),) = await both(storage, Evaluation(rows, odd, name="odd", middleware=[]))
    assert (kept.n, kept.errored) == (3, 1)
    assert kept.errors == live.errors
    assert kept.summary == live.summary


async def test_pages_follow_the_length_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the results are, no more of them are read at once than fit into a page."""
    monkeypatch.setattr(stored, "PAGE_BYTES", 5000)
    sizes: list[int] = []

    async def long(value: int) -> bool:
        return True

    async with open_storage("memory://") as storage:
        await run(
            Evaluation(["x" * 1000 for _ in range(300)], long, name="long"), storage=storage, experiment="a"
        )
        page = storage.backend.page

        async def watched(*arguments: Any, **options: Any) -> list[tuple[int, bytes]]:
            rows = await page(*arguments, **options)
            sizes.append(sum(len(body) for _, body in rows))
            return rows

        monkeypatch.setattr(storage.backend, "page", watched)
        (kept,) = await storage.latest("a")
        assert (await stored_report(storage, kept)).n == 300
    assert max(sizes[1:]) <= 5000


async def test_a_run_without_results_has_a_report() -> None:
    """A run that has no results yet has a report that says so."""
    async with open_storage("memory://") as storage:
        ((_, kept),) = await both(storage, Evaluation([], checked, name="checked"))
    assert (kept.n, kept.summary, kept.errors) == (0, {}, {})


def _run(**fields: Any) -> StoredRun:
    return StoredRun(experiment="a", evaluation="b", number=1, started=0.0, seconds=5.0, **fields)


def test_seconds_of_a_run_that_ended() -> None:
    """A run that ended took what its sessions took."""
    assert seconds_of(_run(status="finished", sessions=(SESSION,))) == 5.0


def test_seconds_of_a_run_that_goes_on() -> None:
    """A run that goes on has taken what its sessions took, and what has gone by since it was started."""
    session = attrs.evolve(SESSION, started=time.time() - 100)
    assert seconds_of(_run(sessions=(session,), owner=Owner.mine())) == pytest.approx(105, abs=5)


def test_seconds_of_a_run_that_was_killed() -> None:
    """A run whose process died took as long as that was seen alive."""
    owner = Owner("elsewhere", 1, "", since=1000.0, beat=1060.0)
    session = attrs.evolve(SESSION, started=1000.0)
    assert seconds_of(_run(sessions=(session,), owner=owner)) == 65.0
