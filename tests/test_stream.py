"""The three uses of `run`, and all the ways of leaving one."""

from __future__ import annotations

import asyncio
import gc

import anyio
import pytest

from aeval import Concurrency, Evaluation, Report, Retry, Run, run, run_sync
from aeval.errors import ConfigurationError, RunError, TooManyErrors
from aeval.testing import run_virtual

pytestmark = pytest.mark.anyio


class Probe:
    """A scorer that counts who comes in, and notices who leaves."""

    def __init__(self, *, hold_from: int | None = None) -> None:
        self.started = 0
        self.inside = 0
        self.most_inside = 0
        self.cancelled = 0
        self._hold_from = hold_from

    async def __call__(self, value: int) -> bool:
        self.started += 1
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await asyncio.sleep(0)
            if self._hold_from is not None and value >= self._hold_from:
                await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1
        return value % 2 == 0


def others() -> set[asyncio.Task]:
    """Every task of the loop but the one that asks, and the test runner's own."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return {task for task in tasks if "TestRunner" not in task.get_coro().__qualname__}


async def settled() -> None:
    """Wait until no other task is left; a run that leaks one makes this time out."""
    with anyio.fail_after(5):
        while others():
            await asyncio.sleep(0)


async def test_streaming_gives_every_result() -> None:
    """`async for` over a run gives the result of every sample."""
    indices = [result.index async for result in run(Evaluation(range(50), Probe()))]
    assert sorted(indices) == list(range(50))
    assert not others()


async def test_block_gives_every_result_and_leaves_nothing() -> None:
    """`async with` gives the run itself, and at the block's end nothing of it is left."""
    probe = Probe()
    async with run(Evaluation(range(50), probe)) as results:
        assert isinstance(results, Run)
        indices = [result.index async for result in results]
    assert sorted(indices) == list(range(50))
    assert not others()


async def test_awaiting_gives_the_report() -> None:
    """Awaiting a run gives the report of the whole of it."""
    report = await run(Evaluation(range(50), Probe(), name="even"))
    assert isinstance(report, Report)
    assert (report.n, report.scored, report.errored, report.status) == (50, 50, 0, "finished")
    assert report.summary["Probe"]["accuracy"] == 0.5
    assert not others()


async def test_break_stops_the_run() -> None:
    """Leaving the loop by `break` cancels what is in flight and starts nothing more."""
    probe = Probe(hold_from=3)
    async for _ in run(Evaluation(range(10_000), probe)):
        break
    await settled()
    assert probe.inside == 0
    assert probe.started <= 40


async def test_exception_in_the_body_stops_the_run() -> None:
    """An exception in the consumer's body comes out as itself, and the run ends."""
    probe = Probe(hold_from=3)
    with pytest.raises(ZeroDivisionError):
        async for _ in run(Evaluation(range(10_000), probe)):
            raise ZeroDivisionError
    await settled()
    assert probe.inside == 0


async def test_timeout_around_the_loop_stops_the_run() -> None:
    """A timeout around the loop ends the wait and the run, before it is passed on."""
    probe = Probe(hold_from=3)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            async for _ in run(Evaluation(range(10_000), probe)):
                pass
    assert probe.inside == 0
    assert not others()


async def test_anyio_scope_around_the_loop_stops_the_run() -> None:
    """A cancel scope around the loop ends the run too, and the scope swallows its own cancellation."""
    probe = Probe(hold_from=3)
    with anyio.move_on_after(0.05) as scope:
        async for _ in run(Evaluation(range(10_000), probe)):
            pass
    assert scope.cancelled_caught
    assert probe.inside == 0
    assert not others()


@pytest.mark.parametrize("use", ["stream", "block", "await"])
async def test_cancellation_from_outside_stops_the_run(use: str) -> None:
    """Cancelling the task that uses a run ends the run before the cancellation is passed on."""
    probe = Probe(hold_from=3)
    evaluation = Evaluation(range(10_000), probe)

    async def consume() -> None:
        if use == "await":
            await run(evaluation)
        elif use == "stream":
            async for _ in run(evaluation):
                pass
        else:
            async with run(evaluation) as results:
                async for _ in results:
                    pass

    task = asyncio.create_task(consume())
    while probe.inside < 10:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert probe.inside == 0
    assert not others()


@pytest.mark.parametrize("way", ["break", "raise", "cancel"])
async def test_leaving_a_block_leaves_nothing(way: str) -> None:
    """However an `async with` block is left, nothing of the run outlives it."""
    probe = Probe(hold_from=3)

    async def consume() -> None:
        async with run(Evaluation(range(10_000), probe)) as results:
            async for _ in results:
                if way == "break":
                    break
                if way == "raise":
                    raise ZeroDivisionError
                asyncio.current_task().cancel()
                await asyncio.sleep(0)

    task = asyncio.create_task(consume())
    await asyncio.wait([task])
    assert probe.inside == 0
    assert not others()
    assert (way == "cancel") == task.cancelled()
    assert task.cancelled() or (way == "raise") == isinstance(task.exception(), ZeroDivisionError)


async def test_run_dropped_half_way_is_collected() -> None:
    """A run whose stream nobody holds any more ends by itself."""
    probe = Probe(hold_from=3)
    stream = aiter(run(Evaluation(range(10_000), probe)))
    await anext(stream)
    assert probe.inside > 0
    del stream
    gc.collect()
    await settled()
    assert probe.inside == 0


async def test_stream_can_be_closed() -> None:
    """A stream's `aclose` ends the run before it returns."""
    probe = Probe(hold_from=3)
    stream = aiter(run(Evaluation(range(10_000), probe)))
    await anext(stream)
    await stream.aclose()
    assert probe.inside == 0
    assert not others()


def test_loop_that_ends_under_a_run_leaves_nothing_to_warn_of() -> None:
    """A run that is broken off as the program's last act ends with the loop."""
    probe = Probe(hold_from=3)

    async def main() -> None:
        async for _ in run(Evaluation(range(10_000), probe)):
            break

    anyio.run(main)
    gc.collect()
    assert probe.inside == 0


async def test_nothing_is_yielded_inside_of_a_task_group() -> None:
    """The consumer may open and close cancel scopes between two results in any order."""
    run_ = run(Evaluation(range(20), Probe()))
    stream = aiter(run_)
    outer = anyio.CancelScope()
    outer.__enter__()
    await anext(stream)
    outer.__exit__(None, None, None)
    with anyio.CancelScope():
        await anext(stream)
    async with anyio.create_task_group() as group:
        group.start_soon(asyncio.sleep, 0)
        await anext(stream)
    assert len([result async for result in stream]) == 17


async def test_iterating_twice_is_an_error() -> None:
    """A run that was used says to call `run` again."""
    run_ = run(Evaluation(range(3), Probe()))
    await run_
    with pytest.raises(RunError, match="call run\\(\\) again"):
        await run_


async def test_coming_back_to_a_run_that_was_left_is_an_error() -> None:
    """A stream that was closed does not pretend to be at its end."""
    stream = aiter(run(Evaluation(range(100), Probe(hold_from=3))))
    await anext(stream)
    await stream.aclose()
    with pytest.raises(RunError, match="was left before its end"):
        while True:
            await anext(stream)


async def test_block_can_be_iterated_in_parts() -> None:
    """Inside of a block, leaving the loop does not stop the run: a second loop goes on where it stopped."""
    seen = []
    async with run(Evaluation(range(30), Probe())) as results:
        async for result in results:
            seen.append(result.index)
            if len(seen) == 10:
                break
        seen.extend([result.index async for result in results])
    assert sorted(seen) == list(range(30))


async def test_two_consumers_share_a_stream() -> None:
    """Several tasks that receive from one stream get each result once."""
    stream = aiter(run(Evaluation(range(200), Probe())))
    seen = []

    async def consume() -> None:
        async for result in stream:
            seen.append(result.index)
            await asyncio.sleep(0)

    await asyncio.gather(consume(), consume(), consume())
    assert sorted(seen) == list(range(200))


async def test_stop_lets_what_is_in_flight_finish() -> None:
    """After `stop` no sample starts, those in flight finish, and the report says that it was stopped."""
    gate = asyncio.Event()
    started = []

    async def score(value: int) -> bool:
        started.append(value)
        await gate.wait()
        return True

    run_ = run(Evaluation(range(1000), score), middleware=[Concurrency(5)], window=5)
    async with run_ as results:
        while run_.stats.in_flight < 5:
            await asyncio.sleep(0)
        run_.stop()
        gate.set()
        seen = [result.index async for result in results]
    assert sorted(seen) == sorted(started) == list(range(5))
    assert run_.report.status == "stopped"


async def test_stop_wakes_a_run_that_waits_for_its_dataset() -> None:
    """A run whose dataset gives nothing more stops all the same."""

    async def rows():
        yield 1
        await asyncio.sleep(3600)
        yield 2

    run_ = run(Evaluation(rows, Probe()))
    seen = []
    async for result in run_:
        seen.append(result.row)
        run_.stop()
    assert seen == [1]


async def test_cancel_ends_the_stream_after_what_finished() -> None:
    """After `cancel` the samples in flight are gone, and the finished ones are still handed over."""
    probe = Probe(hold_from=3)
    run_ = run(Evaluation(range(100), probe))
    async with run_ as results:
        while run_.stats.done < 3:
            await asyncio.sleep(0)
        run_.cancel()
        seen = [result.index async for result in results]
    assert run_.report.status == "stopped"
    assert sorted(seen) == [0, 1, 2]
    assert probe.inside == 0


async def test_stats_are_live() -> None:
    """`Run.stats` tells what is done, in flight and to come, at any moment."""
    run_ = run(Evaluation(list(range(20)), Probe(hold_from=12)), window=8)
    async with run_ as results:
        stream = aiter(results)
        for _ in range(12):
            await anext(stream)
        while run_.stats.in_flight < 8:
            await asyncio.sleep(0)
        stats = run_.stats
        assert (stats.done, stats.in_flight, stats.total, stats.errored) == (12, 8, 20, 0)
        assert stats.attempts == 20
        assert stats.throughput > 0
        assert stats.metric == ("Probe", 0.5)
    assert run_.stats.in_flight == 0


def test_run_sync_gives_the_report() -> None:
    """`run_sync` runs to the end and returns the report."""
    report = run_sync(Evaluation(range(10), Probe()), samples=4)
    assert report.n == 4


async def test_run_sync_in_a_running_loop_says_to_await() -> None:
    """`run_sync` in a notebook or an async function raises an error that says what to write instead."""
    with pytest.raises(RunError, match="await run"):
        run_sync(Evaluation(range(10), Probe()))


async def test_unused_run_warns() -> None:
    """A run that was made and never used is not silently nothing."""
    with pytest.warns(RuntimeWarning, match="never awaited"):
        run(Evaluation(range(10), Probe()))


async def test_kept_results_are_in_the_report() -> None:
    """With `keep=True` the report has the results; without it, None."""
    report = await run(Evaluation(range(10), Probe()), keep=True, ordered=True)
    assert [result.index for result in report.results] == list(range(10))
    assert (await run(Evaluation(range(10), Probe()))).results is None


@pytest.mark.parametrize("ordered", [False, True])
async def test_dataset_that_breaks_hands_over_what_finished(ordered: bool) -> None:
    """A dataset that raises in the middle ends the run with its error, after all that it gave was evaluated."""

    def rows():
        yield from range(25)
        raise LookupError("row 25 is gone")

    seen = []
    with pytest.raises(LookupError, match="row 25 is gone"):
        async for result in run(Evaluation(rows, Probe()), ordered=ordered):
            seen.append(result.index)
    assert sorted(seen) == list(range(25))
    assert not others()


async def test_errors_are_results() -> None:
    """A sample that errors is a result with an error, no score, and no part in the metric."""

    async def score(value: int) -> bool:
        if value % 5 == 0:
            raise ValueError(f"no {value}")
        return True

    run_ = run(Evaluation(range(20), score))
    failed = [result async for result in run_ if not result.ok]
    assert sorted(result.index for result in failed) == [0, 5, 10, 15]
    assert all(result.scores == {} and result.value is None for result in failed)
    assert failed[0].error.kind == "ValueError"
    assert "in score" in failed[0].error.traceback
    assert "aeval" not in failed[0].error.traceback.replace(__file__, "")
    report = run_.report
    assert (report.n, report.scored, report.errored) == (20, 16, 4)
    assert report.summary["score"]["accuracy"] == 1.0
    assert report.errors["ValueError"].n == 4


@pytest.mark.parametrize(("most", "finished"), [(0, 1), (3, 4)])
async def test_too_many_errors_stop_the_run(most: int, finished: int) -> None:
    """More errors than `max_errors` end the run with an error that names the count, after the results."""

    async def score(value: int) -> bool:
        raise ValueError

    seen = []
    with pytest.raises(TooManyErrors, match=f"{finished} of {finished} finished samples errored") as caught:
        async for result in run(Evaluation(range(1000), score), max_errors=most, window=1):
            seen.append(result)
    assert caught.value.errored == len(seen) == finished


async def test_a_fraction_of_errors_counts_against_the_total() -> None:
    """With a known number of samples, a fraction stops the run as soon as it is certain to be exceeded."""

    async def score(value: int) -> bool:
        if value % 2:
            raise ValueError
        return True

    with pytest.raises(TooManyErrors) as caught:
        await run(Evaluation(list(range(100)), score), max_errors=0.1, window=1)
    assert caught.value.errored == 11
    report = await run(Evaluation(list(range(100)), score), max_errors=0.5)
    assert report.errored == 50


async def test_a_fraction_of_an_unknown_number_is_judged_from_the_hundredth_on() -> None:
    """Where the number of samples is not known, some bad luck at the start does not end the run."""

    async def score(value: int) -> bool:
        if value < 20:
            raise ValueError
        return True

    report = await run(Evaluation((n for n in range(400)), score), max_errors=0.25, window=1)
    assert report.errored == 20
    with pytest.raises(TooManyErrors):
        await run(Evaluation((n for n in range(50)), score), max_errors=0.25, window=1)


async def test_on_error_raise_raises_the_error_itself() -> None:
    """With `on_error="raise"` the first error comes out as the very object, not wrapped in a group."""
    error = ValueError("the one")

    async def score(value: int) -> bool:
        if value == 7:
            raise error
        return True

    seen = []
    with pytest.raises(ValueError, match="the one") as caught:
        async for result in run(Evaluation(range(1000), score), on_error="raise", window=1):
            seen.append(result.index)
    assert caught.value is error
    assert seen == list(range(7))


async def test_results_in_order() -> None:
    """With `ordered=True` results come in the dataset's order, whichever finishes first."""

    async def score(value: int) -> bool:
        for _ in range(20 - value % 20):
            await asyncio.sleep(0)
        return True

    indices = [
        r.index async for r in run(Evaluation(range(200), score), ordered=True, middleware=[Concurrency(16)])
    ]
    assert indices == list(range(200))


async def test_samples_and_repeats() -> None:
    """`samples` takes the first rows, and not one more out of the dataset; `repeats` runs each so often."""
    drawn = []

    def rows():
        for value in range(1000):
            drawn.append(value)
            yield value

    results = [r async for r in run(Evaluation(rows, Probe(), repeats=2), samples=5, repeats=3)]
    assert sorted((r.index, r.repeat) for r in results) == [(i, k) for i in range(5) for k in range(3)]
    assert drawn == list(range(5))


async def test_endless_dataset_is_read_as_it_is_needed() -> None:
    """An endless dataset starts at once, and is read no further than the window and the hand-over reach."""
    drawn = 0

    async def rows():
        nonlocal drawn
        while True:
            drawn += 1
            yield drawn

    seen = 0
    async for _ in run(Evaluation(rows, Probe()), middleware=[Concurrency(4)]):
        seen += 1
        assert drawn <= seen + 16 + 64
        if seen == 500:
            break
    await settled()


async def test_empty_dataset_gives_an_empty_report() -> None:
    """A dataset without rows ends the run at once, with nothing scored."""
    report = await run(Evaluation([], Probe()))
    assert (report.n, report.summary, report.status) == (0, {}, "finished")
    assert "no scores" in str(report)


async def test_several_evaluations_share_one_window() -> None:
    """Several evaluations run in turn over one window, each result naming its own."""
    a, b = Probe(), Probe()
    run_ = run([Evaluation(range(40), a, name="a"), Evaluation(list(range(30)), b, name="b")], keep=True)
    names = [result.evaluation async for result in run_]
    assert (names.count("a"), names.count("b")) == (40, 30)
    assert abs(names[:40].count("a") - 20) <= 10
    report = run_.report
    assert report["a"].n == 40
    assert report["b"].summary["Probe"]["n"] == 30
    assert set(report.summary) == {"a/Probe", "b/Probe"}
    assert len(report.results) == 70
    assert {result.evaluation for result in report["a"].results} == {"a"}


async def test_a_slow_dataset_does_not_hold_up_the_others() -> None:
    """While one evaluation waits for its rows, another's samples go on."""
    release = asyncio.Event()

    async def slow():
        yield 0
        await release.wait()
        yield 1

    seen = []
    async for result in run(
        [Evaluation(slow, Probe(), name="slow"), Evaluation(range(50), Probe(), name="fast")]
    ):
        seen.append(result.evaluation)
        if seen.count("fast") == 50:
            release.set()
    assert seen.count("slow") == 2
    assert seen[-1] == "slow"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"samples": True}, "samples is True"),
        ({"repeats": -1}, "repeats is -1"),
        ({"window": 0}, "window is 0"),
        ({"max_errors": -1}, "max_errors is -1"),
        ({"max_errors": 1.5}, "max_errors is 1.5"),
        ({"max_errors": float("nan")}, "max_errors is nan"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"middleware": [3]}, "3 is not middleware"),
    ],
)
async def test_arguments_that_cannot_work_are_named_before_anything_runs(options: dict, message: str) -> None:
    """A wrong argument is an error at the call, which names it and its value."""
    probe = Probe()
    with pytest.raises(ConfigurationError, match=message):
        run(Evaluation(range(3), probe), **options)
    assert probe.started == 0


def shared_rows() -> list[Evaluation]:
    """Two evaluations over one generator."""
    rows = (n for n in range(10))
    return [Evaluation(rows, Probe(), name=name) for name in "ab"]


@pytest.mark.parametrize(
    ("evaluations", "message"),
    [
        ([], "sequence is empty"),
        ([Evaluation([1], Probe()), Evaluation([1], Probe())], "2 evaluations are named 'Probe'"),
        ([lambda: None], "is not an Evaluation"),
        (shared_rows(), "read one and the same iterator"),
    ],
)
async def test_evaluations_that_cannot_run_together_are_refused(evaluations: list, message: str) -> None:
    """No evaluation, two of one name, or something else: each is an error that says so."""
    with pytest.raises(ConfigurationError, match=message):
        run(evaluations)


async def test_parameter_that_no_column_fills_is_an_error_before_the_first_sample() -> None:
    """A scorer whose parameter no column can fill stops the run before any sample."""
    called = []

    async def score(question: str, reference: str) -> bool:
        called.append(question)
        return True

    with pytest.raises(ConfigurationError, match="'reference' of 'score' can be filled by no column"):
        await run(Evaluation([{"question": "a", "answer": "b"}], score))
    assert called == []


async def test_used_up_iterator_is_an_error() -> None:
    """Running an evaluation again over an iterator that was read says so."""
    evaluation = Evaluation(iter(range(3)), Probe())
    await run(evaluation)
    with pytest.raises(Exception, match="an earlier run already read"):
        await run(evaluation)


@pytest.mark.parametrize(
    ("middleware", "width"),
    [([Concurrency(3), Concurrency(2)], 12), ([Concurrency(5)], 20), (None, 40), ([], 400)],
)
def test_default_window_is_four_times_the_largest_cap(middleware: list | None, width: int) -> None:
    """Four times the largest cap are in flight where all of them sleep in backoff, and 400 where there is no cap."""

    async def score(value: int) -> bool:
        raise ConnectionError

    async def main() -> None:
        backoff = Retry(2, wait_initial=1000, wait_max=1000, wait_jitter=0)
        layers = [backoff, Concurrency(10)] if middleware is None else [backoff, *middleware]
        async with run(Evaluation(range(1000), score), middleware=layers) as results:
            await asyncio.sleep(500)
            assert results.stats.in_flight == width

    run_virtual(main)


async def test_samples_that_could_only_wait_in_line_are_not_admitted() -> None:
    """While every slot is taken, no more of the dataset is read than makes up a short line."""
    drawn = []
    release = asyncio.Event()

    def rows():
        for value in range(1000):
            drawn.append(value)
            yield value

    async def score(value: int) -> bool:
        await release.wait()
        return True

    async with run(Evaluation(rows, score), middleware=[Concurrency(16)], samples=100) as results:
        for _ in range(1000):
            await asyncio.sleep(0)
        assert 16 <= results.stats.in_flight <= 20
        release.set()
        assert len([result async for result in results]) == 100


async def test_middleware_of_run_replaces_the_evaluations_own() -> None:
    """The evaluation's own layers are used where `run` is given none."""
    probe = Probe()
    evaluation = Evaluation(range(50), probe, middleware=[Concurrency(2)])
    await run(evaluation)
    assert probe.most_inside == 2
    probe.most_inside = 0
    await run(evaluation, middleware=[Concurrency(5)])
    assert probe.most_inside == 5


@pytest.mark.parametrize("steps", [0, 5])
async def test_a_driver_that_somebody_cancels_does_not_hang_the_consumer(steps: int) -> None:
    """Code that cancels every task of the loop ends the run with an error, not as if it had finished."""
    made = run(Evaluation(range(1000), Probe(hold_from=3)))

    async def consume() -> list[int]:
        return [result.index async for result in made]

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(0)
    for _ in range(steps):
        await asyncio.sleep(0)
    (driver,) = [task for task in asyncio.all_tasks() if task.get_name() == "aeval run"]
    driver.cancel()
    with pytest.raises(RunError, match="cancelled"):
        await consumer
    assert made.report.status == "failed"
    assert not others()


async def test_stop_before_the_first_row_ends_the_run() -> None:
    """A run that still waits for its dataset's first row can be stopped."""

    async def rows():
        await asyncio.sleep(3600)
        yield 1

    made = run(Evaluation(rows, Probe()))
    async with made as results:
        await asyncio.sleep(0)
        made.stop()
        assert [result async for result in results] == []
    assert made.report.status == "stopped"
