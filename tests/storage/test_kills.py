"""Processes that are killed and interrupted, and several at once: runs go on where they stopped."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from children import Child
from killing import Trial, Which, records_of, stored_in, url_of
from stores import Postgres, Store

from aeval.storage import StoredRun, open_storage

SHARED = pytest.mark.parametrize("new_store", ["sqlite", "jsonl", "postgresql"], indirect=True)


@pytest.fixture
def url(new_store: Store) -> str:
    return url_of(new_store.kind, new_store._place)


def runs_in(url: str) -> list[StoredRun]:
    """Read the experiment's runs, as another process sees them."""

    async def read() -> list[StoredRun]:
        async with open_storage(url) as storage:
            return [run async for run in storage.runs("kills")]

    return asyncio.run(read())


def read_of(*children: Child) -> dict[Which, Any]:
    """Return what the programs said that they got."""
    results = [result for child in children for result in child.results()]
    found = {result[:3]: result[3] for result in results}
    assert len(found) == len(results), "a sample was given twice"
    return found


@pytest.fixture
def children() -> Iterator[ExitStack]:
    """Keep track of programs, and kill those that are left."""
    with ExitStack() as started:
        yield started


@SHARED
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_any_moment_nothing_is_lost_or_done_twice(
    new_store: Store, number: signal.Signals, tmp_path: Path
) -> None:
    """However often a run is killed, what it gave is stored, is not evaluated again, and in the end all is there once."""
    folder = tmp_path / "trial"
    folder.mkdir()
    trial = Trial(new_store.kind, new_store._place, folder, seed=20, number=number)
    trial.play(most_kills=8)
    assert not trial.violations, "\n".join(trial.violations)
    assert trial.kills.total() >= 4


@SHARED
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_goes_on(url: str, number: signal.Signals, children: ExitStack) -> None:
    """A script that gets Ctrl-C or SIGTERM leaves an interrupted run with all that it had got, which the next one finishes."""
    plan = {"url": url, "evaluations": [["sums", 60, 1]]}
    first = children.enter_context(Child(plan | {"hold_from": 20}))
    assert first.until("result", 20)
    os.kill(first.pid, number)
    assert first.wait() == -number
    (run,) = runs_in(url)
    assert run.state == "interrupted"
    assert stored_in(url) == read_of(first)
    second = children.enter_context(Child(plan | {"session": 2}))
    assert second.wait() == 0
    assert second.last("report") == ["finished", 60, 60, 0]
    assert stored_in(url) == read_of(first, second)
    (run,) = runs_in(url)
    assert run.state == "finished"
    assert len(run.sessions) == 2


@SHARED
def test_run_that_is_being_run_is_refused_to_another_process(url: str, children: ExitStack) -> None:
    """Who runs what another process is running is told which one and since when, and that one goes on unharmed."""
    plan = {"url": url, "evaluations": [["sums", 60, 1]]}
    first = children.enter_context(Child(plan | {"hold_from": 20}))
    assert first.until("result", 20)
    for _ in range(2):
        second = children.enter_context(Child(plan))
        assert second.wait() == 3
        kind, message = second.last("failed")
        assert kind == "RunInProgress"
        assert f"process {first.pid} on {socket.gethostname()}, since " in message
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", message)
        assert second.results() == []
    first.go_on()
    assert first.wait() == 0
    assert first.last("report") == ["finished", 60, 60, 0]
    assert stored_in(url) == read_of(first)
    (run,) = runs_in(url)
    assert len(run.sessions) == 1


@SHARED
def test_killed_owner_is_succeeded_at_once(url: str, children: ExitStack) -> None:
    """Another process that is refused while the first lives takes over as soon as that one was killed."""
    plan = {"url": url, "evaluations": [["sums", 60, 1]]}
    first = children.enter_context(Child(plan | {"hold_from": 20}))
    assert first.until("result", 20)
    first.kill()
    second = children.enter_context(Child(plan | {"session": 2}))
    assert second.wait() == 0
    assert len(second.results()) == 40
    assert stored_in(url) == read_of(first, second)


@SHARED
def test_killed_owner_that_nobody_waited_for_is_dead(url: str, children: ExitStack) -> None:
    """A process that ended and is still in the system's table, since its parent has not asked for it, is no owner."""
    plan = {"url": url, "evaluations": [["sums", 60, 1]]}
    first = children.enter_context(Child(plan | {"hold_from": 20}))
    assert first.until("result", 20)
    os.kill(first.pid, signal.SIGKILL)
    assert not first.until("report")
    second = children.enter_context(Child(plan | {"session": 2}))
    assert second.wait() == 0
    assert second.last("report") == ["finished", 60, 60, 0]


@SHARED
def test_processes_write_to_one_experiment_at_once(new_store: Store, url: str, children: ExitStack) -> None:
    """Processes that begin at once with different evaluations of a new experiment all come to their end."""
    names = ["a", "b", "c", "d"]
    plan = {"url": url, "longest": 0.01, "concurrency": 8}
    started = [
        children.enter_context(Child(plan | {"evaluations": [[name, 150, 2]], "seed": number}))
        for number, name in enumerate(names)
    ]
    for child in started:
        assert child.wait() == 0, (child.last("failed"), child.errors)
        assert child.last("report") == ["finished", 300, 300, 0]
    assert stored_in(url) == read_of(*started)
    assert [run.state for run in runs_in(url)] == ["finished"] * 4
    assert set(records_of(new_store.kind, new_store._place).values()) == {1}


@SHARED
def test_of_processes_that_begin_the_same_at_once_one_runs_it(url: str, children: ExitStack) -> None:
    """Of several processes that begin the same evaluation at once, one runs it and the others are refused."""
    plan = {"url": url, "evaluations": [["sums", 40, 1]], "hold_from": 0}
    started = [children.enter_context(Child(plan)) for _ in range(4)]
    refused = set()
    # The one that holds it says nothing more until it may go on.
    while len(refused) < 3:
        for child in started:
            child.line(0.02)
            if child.last("failed"):
                refused.add(child.pid)
    (winner,) = [child for child in started if child.pid not in refused]
    for child in started:
        child.go_on()
    assert winner.wait() == 0
    assert winner.last("report") == ["finished", 40, 40, 0]
    for child in started:
        if child is not winner:
            assert child.wait() == 3
            assert child.last("failed")[0] == "RunInProgress"
    assert stored_in(url) == read_of(winner)
    (run,) = runs_in(url)
    assert run.state == "finished"
    assert len(run.sessions) == 1


@pytest.mark.parametrize("new_store", ["postgresql"], indirect=True)
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_server_that_restarts_does_not_end_the_run(
    new_store: Store, url: str, postgres: Postgres, mode: str, children: ExitStack
) -> None:
    """A run goes on over restarts and crashes of the server, and each result is there once."""
    plan = {"url": url, "evaluations": [["sums", 600, 1]], "longest": 0.03, "concurrency": 8}
    child = children.enter_context(Child(plan))
    for _ in range(2):
        assert child.until("result", 50)
        postgres.restart(mode)
    assert child.wait() == 0, (child.last("failed"), child.errors)
    assert child.last("report") == ["finished", 600, 600, 0]
    assert stored_in(url) == read_of(child)
    records = records_of(new_store.kind, new_store._place)
    assert len(records) == 600
    assert set(records.values()) == {1}


@pytest.mark.parametrize("new_store", ["postgresql"], indirect=True)
def test_commit_that_outlives_its_process_is_no_error_of_the_next(
    new_store: Store, url: str, postgres: Postgres, children: ExitStack
) -> None:
    """What a killed process had sent to a busy server may come to be stored after another one took over, and is there once."""
    database = url.rpartition("/")[2]

    def waiting() -> int:
        return int(
            postgres.sql(
                database,
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aeval' AND wait_event_type = 'Lock'",
            )
        )

    plan = {"url": url, "evaluations": [["sums", 60, 1]]}
    first = children.enter_context(Child(plan | {"hold_from": 20}))
    assert first.until("result", 20)
    busy = children.enter_context(Child({"url": url}, program="busy.py"))
    assert busy.until("locked")
    first.go_on()
    while waiting() < 1:
        pass
    first.kill()
    second = children.enter_context(Child(plan | {"session": 2}))
    while waiting() < 2:
        pass
    busy.go_on()
    assert second.wait() == 0, second.last("failed")
    assert second.last("report") == ["finished", 60, 60, 0]
    records = records_of(new_store.kind, new_store._place)
    assert len(records) == 60
    assert set(records.values()) == {1}
