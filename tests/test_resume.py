"""Experiments that are run again: what is evaluated, what is kept, and what the report covers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aeval import Concurrency, Evaluation, Report, Result, run
from aeval.errors import ConfigurationError, DatasetError
from aeval.storage import Storage, StoredRun, open_storage

pytestmark = pytest.mark.anyio

Row = dict[str, Any]


@pytest.fixture(params=["memory", "sqlite", "jsonl"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage | str]:
    """Give a storage that lasts for the test: an open one in memory, the URLs of those in files."""
    if request.param != "memory":
        yield {"sqlite": f"sqlite:///{tmp_path}/results.db", "jsonl": f"jsonl://{tmp_path}/results"}[
            request.param
        ]
        return
    async with open_storage("memory://") as opened:
        yield opened


class Probe:
    """A scorer that notes whom it has seen, and errors for whom it is told to."""

    def __init__(self, *erring: Any) -> None:
        self.seen: list[Any] = []
        self.erring = set(erring)

    async def __call__(self, n: int) -> float:
        self.seen.append(n)
        if n in self.erring:
            raise ValueError(f"no {n}")
        return float(n)


def rows_of(*numbers: int) -> list[Row]:
    """Make rows, each with its number for an id."""
    return [{"id": f"q{n}", "n": n} for n in numbers]


async def session(
    storage: Storage | str, rows: Any, probe: Probe | None = None, **options: Any
) -> tuple[list[Any], Report[Any, Any], list[Result[Any, Any]]]:
    """Run the experiment once more; return what was evaluated, the report, and the stream's results."""
    probe = probe or Probe()
    before = len(probe.seen)
    evaluation = Evaluation(rows, probe, name="sums", middleware=[Concurrency(4)])
    async with run(evaluation, storage=storage, experiment="first", **options) as results:
        stream = [result async for result in results]
    return sorted(probe.seen[before:]), results.report, stream


async def stored_in(
    storage: Storage | str, evaluation: str | None = None, **wanted: Any
) -> list[Result[Any, Any]]:
    opened = open_storage(storage)
    if opened.is_open:
        return [result async for result in opened.results("first", evaluation, **wanted)]
    async with opened:
        return [result async for result in opened.results("first", evaluation, **wanted)]


async def runs_in(storage: Storage | str) -> list[StoredRun]:
    opened = open_storage(storage)
    if opened.is_open:
        return [found async for found in opened.runs("first")]
    async with opened:
        return [found async for found in opened.runs("first")]


def values(results: Sequence[Result[Any, Any]]) -> dict[tuple[Any, int], Any]:
    found = {(result.id, result.repeat): result.value if result.ok else None for result in results}
    assert len(found) == len(results), "a sample has two records"
    return found


async def test_finished_experiment_evaluates_nothing(storage: Storage | str) -> None:
    """Run again, a finished experiment calls no scorer, gives no result, and reports on all of them."""
    evaluated, first, _ = await session(storage, rows_of(*range(20)))
    assert evaluated == list(range(20))
    evaluated, again, stream = await session(storage, rows_of(*range(20)))
    assert (evaluated, stream) == ([], [])
    assert (again.n, again.scored, again.status) == (20, 20, "finished")
    assert again.summary == first.summary
    assert again.resumed is not None
    assert (again.resumed.stored, again.resumed.kept) == (20, 20)


async def test_stopped_run_goes_on_with_what_is_left(storage: Storage | str) -> None:
    """What a stopped run had got is not evaluated again; the stream gives the rest, and the report all."""
    go_on = anyio.Event()

    async def held(n: int) -> float:
        if n >= 10:
            await go_on.wait()
        return float(n)

    got = []
    evaluation = Evaluation(rows_of(*range(30)), held, name="sums", middleware=[Concurrency(2)])
    async with run(evaluation, storage=storage, experiment="first", window=2) as results:
        async for result in results:
            got.append(result.id)
            if len(got) == 10:
                results.stop()
                go_on.set()
    assert len(got) == 12
    (stored,) = await runs_in(storage)
    assert stored.state == "interrupted"
    evaluated, report, stream = await session(storage, rows_of(*range(30)))
    assert sorted([*evaluated, *(int(name[1:]) for name in got)]) == list(range(30))
    assert {result.id for result in stream} == {f"q{n}" for n in evaluated}
    assert report.n == 30
    assert {result.id for result in await stored_in(storage)} == {f"q{n}" for n in range(30)}


async def test_changed_row_is_evaluated_again(storage: Storage | str) -> None:
    """A row that changed is evaluated again, its new result counts, and its former one is in the history."""
    await session(storage, rows_of(*range(6)))
    rows = rows_of(*range(6))
    rows[2]["n"] = 200
    rows[5] |= {"hint": "a new column"}
    evaluated, report, _ = await session(storage, rows)
    assert evaluated == [5, 200]
    assert report.n == 6
    assert report.resumed is not None
    assert report.resumed.changed == 2
    found = values(await stored_in(storage))
    assert len(found) == 6
    assert found["q2", 0] == 200.0
    assert values(await stored_in(storage, history=True)) == {("q2", 0): 2.0, ("q5", 0): 5.0}
    assert (await session(storage, rows))[0] == []


async def test_rows_with_ids_may_be_inserted_removed_and_moved(storage: Storage | str) -> None:
    """Of a dataset with ids only the new rows are evaluated, wherever the others are now."""
    await session(storage, rows_of(*range(8)))
    assert (await session(storage, rows_of(100, *range(8))))[0] == [100]
    assert (await session(storage, rows_of(3, 7, 100, 0)))[0] == []
    assert (await session(storage, rows_of(7, 6, 5, 101, 4, 3, 2, 1, 0, 100)))[0] == [101]
    assert len(values(await stored_in(storage))) == 10


async def test_rows_without_ids_are_known_by_their_place(storage: Storage | str) -> None:
    """Without ids a row is the one at its place: those after an inserted one count as changed."""
    numbers = [(n,) for n in range(6)]
    await session(storage, numbers)
    assert (await session(storage, [*numbers, (6,)]))[0] == [6]
    evaluated, report, _ = await session(storage, [*numbers[:4], (100,), *numbers[4:]])
    assert evaluated == [4, 5, 100]
    assert report.resumed is not None
    assert report.resumed.changed == 2 + 1
    assert len(values(await stored_in(storage))) == 7


async def test_first_rows_are_the_same_in_every_session(storage: Storage | str) -> None:
    """`samples=N` is the dataset's first N rows in every session, whatever is stored of them."""
    assert (await session(storage, rows_of(*range(20)), samples=5))[0] == [0, 1, 2, 3, 4]
    assert (await session(storage, rows_of(*range(20)), samples=5))[0] == []
    evaluated, report, _ = await session(storage, rows_of(*range(20)), samples=8)
    assert evaluated == [5, 6, 7]
    assert report.n == 8
    assert (await session(storage, rows_of(*range(20)), samples=3))[0] == []
    assert (await session(storage, rows_of(*range(20))))[0] == list(range(8, 20))


@pytest.mark.parametrize("stored", [7, 1030, 2500])
async def test_more_samples_than_are_looked_up_at_once(storage: Storage | str, stored: int) -> None:
    """Whatever part of a large dataset is stored, exactly the rest is evaluated, also from a lazy one."""
    await session(storage, rows_of(*range(2500)), samples=stored)

    async def lazy() -> AsyncIterator[Row]:
        for row in rows_of(*range(2500)):
            yield row

    evaluated, report, _ = await session(storage, lazy)
    assert evaluated == list(range(stored, 2500))
    assert report.n == 2500


async def test_rows_are_read_as_they_are_needed(storage: Storage | str) -> None:
    """Behind what is stored, rows are taken as there is room for them, also on resuming."""
    taken: list[int] = []

    def endless() -> Iterator[Row]:
        n = 0
        while True:
            taken.append(n)
            yield {"id": f"q{n}", "n": n}
            n += 1

    await session(storage, endless, samples=10)
    assert len(taken) <= 11
    taken.clear()
    evaluated, _, _ = await session(storage, endless, samples=15)
    assert evaluated == list(range(10, 15))
    assert len(taken) <= 16


async def test_raised_repeats_evaluate_the_new_ones(storage: Storage | str) -> None:
    """More repeats than before evaluate those that are new, and lowering them evaluates none."""
    await session(storage, rows_of(*range(5)))
    evaluated, report, stream = await session(storage, rows_of(*range(5)), repeats=3)
    assert Counter(evaluated) == dict.fromkeys(range(5), 2)
    assert {result.repeat for result in stream} == {1, 2}
    assert report.n == 15
    assert len(values(await stored_in(storage))) == 15
    assert (await session(storage, rows_of(*range(5)), repeats=2))[0] == []


@pytest.mark.parametrize("at_first", [True, False])
async def test_two_rows_with_one_id_are_an_error(storage: Storage | str, at_first: bool) -> None:
    """A second row with an id ends the run with an error that names both, once what had finished is stored."""
    rows = [*rows_of(*range(10)), {"id": "q3", "n": 30}]
    if not at_first:
        await session(storage, rows_of(*range(5)))
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"index 10.*id 'q3'"):
            await session(storage, rows)
    found = values(await stored_in(storage))
    assert found.items() >= {(f"q{n}", 0): float(n) for n in range(5)}.items()
    assert found["q3", 0] == 3.0
    evaluated, report, _ = await session(storage, rows_of(*range(10)))
    assert 3 not in evaluated
    assert report.n == 10


async def test_errored_samples_are_tried_again(storage: Storage | str) -> None:
    """A sample that errored is tried again in the next session; its error stays in the history."""
    _, report, _ = await session(storage, rows_of(*range(6)), Probe(1, 4))
    assert (report.n, report.errored) == (6, 2)
    evaluated, report, stream = await session(storage, rows_of(*range(6)), Probe(4))
    assert evaluated == [1, 4]
    assert len(stream) == 2
    assert (report.n, report.errored) == (6, 1)
    assert report.resumed is not None
    assert report.resumed.retried == 2
    history = await stored_in(storage, history=True)
    assert sorted(result.id for result in history) == ["q1", "q4"]
    assert all(result.error is not None for result in history)
    assert [result.id for result in await stored_in(storage, ok=False)] == ["q4"]


async def test_errored_samples_may_be_left_as_they_are(storage: Storage | str) -> None:
    """With `retry_errors=False` samples that errored keep their errors, and are in the report."""
    await session(storage, rows_of(*range(6)), Probe(1, 4))
    evaluated, report, _ = await session(storage, rows_of(*range(8)), retry_errors=False)
    assert evaluated == [6, 7]
    assert (report.n, report.errored) == (8, 2)
    assert (await session(storage, rows_of(*range(8))))[0] == [1, 4]


async def test_fresh_run_stands_beside_the_old_one(storage: Storage | str) -> None:
    """`fresh=True` evaluates everything in a run of its own, and later sessions go on with that one."""
    await session(storage, rows_of(*range(4)))
    evaluated, report, _ = await session(storage, rows_of(*range(4)), fresh=True, samples=2)
    assert evaluated == [0, 1]
    assert report.n == 2
    assert [found.label for found in await runs_in(storage)] == ["sums", "sums#2"]
    assert (await session(storage, rows_of(*range(4))))[0] == [2, 3]
    assert len(await stored_in(storage, "sums#1")) == 4
    assert len(await stored_in(storage, "sums#2")) == 4
    assert len(await stored_in(storage)) == 4


async def test_replay_gives_what_is_stored_too(storage: Storage | str) -> None:
    """With `replay=True` the stream has every result, those of earlier sessions after the new ones, each once."""
    await session(storage, rows_of(*range(100)), Probe(0))
    evaluated, report, stream = await session(storage, rows_of(*range(103)), replay=True)
    assert evaluated == [0, 100, 101, 102]
    assert {result.id for result in stream[:4]} == {"q0", "q100", "q101", "q102"}
    assert values(stream) == {(f"q{n}", 0): float(n) for n in range(103)}
    assert report.n == 103


async def test_replay_may_be_left(storage: Storage | str) -> None:
    """Leaving the loop while stored results are given ends the run and changes nothing."""
    await session(storage, rows_of(*range(200)))
    probe = Probe()
    evaluation = Evaluation(rows_of(*range(200)), probe, name="sums")
    async with run(evaluation, storage=storage, experiment="first", replay=True) as results:
        async for _ in results:
            break
    assert probe.seen == []
    (found,) = await runs_in(storage)
    assert found.state == "finished"
    assert len(await stored_in(storage)) == 200


async def test_changed_code_is_told(storage: Storage | str, caplog: pytest.LogCaptureFixture) -> None:
    """A scorer whose code is another one than that of the stored results is told, and they are kept."""

    async def scorer(n: int) -> float:
        return float(n)

    former: Callable[..., Any] = scorer

    async def scorer(n: int) -> float:  # type: ignore[no-redef]
        return float(n) + 1

    caplog.set_level(logging.WARNING, "aeval")
    rows = rows_of(*range(4))
    await run(Evaluation(rows, former, name="sums"), storage=storage, experiment="first", samples=2)
    await run(Evaluation(rows, former, name="sums"), storage=storage, experiment="first", samples=3)
    assert not caplog.records
    report = await run(Evaluation(rows, scorer, name="sums"), storage=storage, experiment="first")
    (record,) = caplog.records
    assert "'sums' has changed since its 3 stored results" in record.getMessage()
    assert "fresh=True" in record.getMessage()
    assert report.n == 4
    assert values(await stored_in(storage)) == {("q0", 0): 0.0, ("q1", 0): 1.0, ("q2", 0): 2.0, ("q3", 0): 4.0}


async def test_several_evaluations_are_resumed_each_for_itself(storage: Storage | str) -> None:
    """Evaluations that are run together each go on where they stopped, and each is in the report."""
    first, second = Probe(), Probe()
    one = Evaluation(rows_of(*range(10)), first, name="one")
    other = Evaluation(rows_of(*range(20)), second, name="other")
    await run(one, storage=storage, experiment="first", samples=4)
    report = await run([one, other], storage=storage, experiment="first")
    assert sorted(first.seen) == list(range(10))
    assert sorted(second.seen) == list(range(20))
    assert (report["one"].n, report["other"].n, report.n) == (10, 20, 30)
    await run([other, one], storage=storage, experiment="first")
    assert (len(first.seen), len(second.seen)) == (10, 20)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/results.db", "jsonl://{}/results"])
async def test_storage_stays_open_for_as_long_as_a_run_uses_it(url: str, tmp_path: Path) -> None:
    """Of two runs that are given one storage which is not open, the first to end does not close it under the other."""
    shared = open_storage(url.format(tmp_path))
    begun, go_on = anyio.Event(), anyio.Event()
    reports: list[Report[Any, Any]] = []

    async def short(n: int) -> bool:
        await begun.wait()
        return True

    async def long(n: int) -> bool:
        begun.set()
        await go_on.wait()
        return True

    async def first() -> None:
        reports.append(await run(Evaluation([1, 2], short), storage=shared, experiment="first"))
        go_on.set()

    async def second() -> None:
        reports.append(await run(Evaluation([1, 2, 3], long), storage=shared, experiment="second"))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            tasks.start_soon(second)
    assert [report.n for report in reports] == [2, 3]
    assert not shared.is_open


@pytest.mark.parametrize("option", ["fresh", "replay"])
async def test_going_on_needs_an_experiment(option: str) -> None:
    """What says how to go on with an experiment is refused where none is named."""
    with pytest.raises(ConfigurationError, match=f"{option}=True.*experiment='name'"):
        run(Evaluation([1], Probe()), **{option: True})


# Any history.

Edit = tuple[dict[int, int], list[int], int, int | None, set[int]]
edits = st.tuples(
    st.dictionaries(st.integers(0, 11), st.integers(0, 2), max_size=12),  # ids, and which version of their rows
    st.permutations(range(12)),  # the order of the rows
    st.integers(1, 3),  # repeats
    st.none() | st.integers(1, 8),  # stop after so many results
    st.sets(st.integers(0, 11), max_size=4),  # rows that error
)


@settings(max_examples=60, deadline=None)
@given(st.lists(edits, min_size=1, max_size=5))
def test_any_history_of_sessions_leaves_each_sample_its_latest_result(history: list[Edit]) -> None:
    """However a dataset is edited and sessions are stopped, what is evaluated is what has no score for its row yet."""
    anyio.run(_live_through, history)


async def _live_through(history: list[Edit]) -> None:
    known: dict[tuple[str, int], tuple[int, bool]] = {}
    async with open_storage("memory://") as storage:
        for versions, order, repeats, stop_after, erring in history:
            rows = [{"id": f"q{n}", "n": n, "version": versions[n]} for n in order if n in versions]
            wanted = {
                (row["id"], repeat)
                for row in rows
                for repeat in range(repeats)
                if known.get((row["id"], repeat)) != (row["version"], True)
            }
            got: set[tuple[str, int]] = set()

            async def scorer(n: int, version: int, erring: set[int] = erring) -> float:
                if n in erring:
                    raise ValueError(f"no {n}")
                return float(version)

            evaluation = Evaluation(rows, scorer, name="sums", repeats=repeats, middleware=[Concurrency(3)])
            async with run(evaluation, storage=storage, experiment="first") as results:
                async for result in results:
                    assert (result.id, result.repeat) not in got
                    got.add((str(result.id), result.repeat))
                    known[str(result.id), result.repeat] = result.row["version"], result.ok
                    if len(got) == stop_after:
                        results.stop()
            assert got <= wanted
            assert got == wanted or stop_after is not None
            if not [name async for name in storage.experiments()]:
                assert not known
                continue
            records = [result async for result in storage.results("first")]
            assert {(r.id, r.repeat): (r.row["version"], r.ok) for r in records} == known
            assert len(records) == len(known)
            (stored,) = [found async for found in storage.runs("first")]
            counts = await storage.counts(stored)
            assert (counts.n, counts.errored) == (len(known), sum(not ok for _, ok in known.values()))
