"""The window, and what becomes of a sample on its way through it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aeval import (
    Concurrency,
    Evaluation,
    LoopBlockedWarning,
    Rate,
    Result,
    Retry,
    Score,
    Timeout,
    Usage,
    exact_match,
    in_process,
    record_usage,
    run,
    stack,
)
from aeval.testing import run_virtual

pytestmark = pytest.mark.anyio


@st.composite
def runs(draw: st.DrawFn) -> dict:
    """Draw a dataset, a cap, a window, delays, failures, a consumer's pace and an early exit."""
    length = draw(st.integers(0, 60))
    return {
        "length": length,
        "lanes": draw(st.integers(1, 3)),
        "source": draw(st.sampled_from(["list", "generator", "async"])),
        "cap": draw(st.none() | st.integers(1, 8)),
        "window": draw(st.none() | st.integers(1, 20)),
        "delays": draw(st.lists(st.sampled_from([0, 0, 0.1, 1, 3]), min_size=1, max_size=7)),
        "fails": draw(st.sets(st.integers(0, 59), max_size=10)),
        "pace": draw(st.sampled_from([None, 0, 0.05, 2])),
        "leave_after": draw(st.none() | st.integers(1, 20)),
        "way": draw(st.sampled_from(["stream", "block"])),
        "ordered": draw(st.booleans()),
        "repeats": draw(st.integers(1, 2)),
    }


def source_of(kind: str, length: int):
    """Make a dataset of a kind."""
    if kind == "list":
        return list(range(length))
    if kind == "generator":
        return lambda: (n for n in range(length))

    async def rows():
        for n in range(length):
            if n % 5 == 0:
                await asyncio.sleep(0.01)
            yield n

    return rows


@given(plan=runs())
@settings(max_examples=150, deadline=None)
def test_every_sample_once_and_never_more_than_the_window(plan: dict) -> None:  # noqa: C901 - one property of it all
    """Whatever the dataset, cap, window, delays, failures, consumer and exit: every sample is handed over
    exactly once, no more than the window are in flight, and nothing is left running.
    """
    inside = most = 0
    started: list[tuple[int, int]] = []

    def scorer(lane: int):
        async def score(value: int) -> bool:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            started.append((lane, value))
            try:
                await asyncio.sleep(plan["delays"][value % len(plan["delays"])])
                if value in plan["fails"]:
                    raise ValueError(value)
                return True
            finally:
                inside -= 1

        return score

    evaluations = [
        Evaluation(
            source_of(plan["source"], plan["length"]), scorer(lane), name=str(lane), repeats=plan["repeats"]
        )
        for lane in range(plan["lanes"])
    ]
    layers = [] if plan["cap"] is None else [Concurrency(plan["cap"])]
    seen: list[Result] = []

    async def consume(results) -> None:
        async for result in results:
            seen.append(result)
            if plan["pace"] is not None:
                await asyncio.sleep(plan["pace"])
            if len(seen) == plan["leave_after"]:
                break

    async def main() -> None:
        made = run(evaluations, middleware=layers, window=plan["window"], ordered=plan["ordered"])
        if plan["way"] == "block":
            async with made as results:
                await consume(results)
        else:
            await consume(made)
            del made
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main)
    keys = [(result.evaluation, result.index, result.repeat) for result in seen]
    every = {
        (str(e), i, r)
        for e in range(plan["lanes"])
        for i in range(plan["length"])
        for r in range(plan["repeats"])
    }
    assert len(set(keys)) == len(keys)
    assert set(keys) <= every
    assert len(keys) == min(len(every), plan["leave_after"] or len(every))
    assert all(result.ok == (result.index not in plan["fails"]) for result in seen)
    assert inside == 0
    window = plan["window"] or 4 * (plan["cap"] or 100)
    assert most <= min(window, plan["cap"] or window)
    assert len(started) <= len(keys) + 2 * window + 64
    if plan["ordered"]:
        for lane in range(plan["lanes"]):
            places = [(r.index, r.repeat) for r in seen if r.evaluation == str(lane)]
            assert places == sorted(places)


def test_backoff_holds_no_slot_and_is_told_in_the_result() -> None:
    """While a sample sleeps before its next attempt another has its slot, and its result says what that cost."""
    attempts: dict[int, int] = {}

    async def score(value: int) -> bool:
        attempts[value] = attempts.get(value, 0) + 1
        await asyncio.sleep(1)
        if value == 0 and attempts[value] < 3:
            raise ConnectionError("dropped")
        return True

    layers = [Retry(3, wait_initial=10, wait_jitter=0), Concurrency(1)]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        results = {}
        async for result in run(Evaluation(range(5), score), middleware=layers):
            results[result.index] = (result, loop.time())
        first, ended = results[0]
        assert [result.attempts for result, _ in results.values()] == [1, 1, 1, 1, 3]
        assert ended == pytest.approx(1 + 10 + 1 + 20 + 1, abs=0.01)
        assert [(a.kind, a.message, a.refused) for a in first.retried] == [
            ("ConnectionError", "dropped", False)
        ] * 2
        assert [a.duration for a in first.retried] == pytest.approx([1, 1], abs=0.01)
        assert [a.backoff for a in first.retried] == pytest.approx([10, 20], abs=0.01)
        assert first.timing.backoff == pytest.approx(30, abs=0.01)
        assert first.timing.total == pytest.approx(33, abs=0.01)
        assert first.timing.scorers == pytest.approx(3, abs=0.01)
        assert results[1][0].timing.slot == pytest.approx(1, abs=0.01)

    run_virtual(main)


def test_a_full_window_of_sleepers_does_not_empty_the_cap() -> None:
    """With one in five failing its first attempt, calls in flight stay at the cap."""
    in_flight, area, since, failed = 0, 0.0, 0.0, set()

    def change(step: int) -> None:
        nonlocal in_flight, area, since
        now = asyncio.get_running_loop().time()
        area += in_flight * (now - since)
        since = now
        in_flight += step
        assert in_flight <= 50

    async def score(value: int) -> bool:
        change(+1)
        if value == 1999:
            failed.add((area, since))
        await asyncio.sleep(0.2)
        change(-1)
        if value % 5 == 0 and value not in failed:
            failed.add(value)
            raise ConnectionError
        return True

    async def main() -> None:
        layers = [Retry(wait_initial=1, wait_jitter=0), Concurrency(50)]
        report = await run(Evaluation(list(range(2000)), score), middleware=layers)
        assert report.scored == 2000

    run_virtual(main)
    ((total, ended),) = [each for each in failed if isinstance(each, tuple)]
    assert total / ended >= 49


def test_waits_of_a_layer_deep_inside_of_a_task_are_told() -> None:
    """Layers around one client, called in a task group within a task, write into the same sample's record."""

    async def call(prompt: str) -> str:
        await asyncio.sleep(1)
        return prompt

    client = stack(Concurrency(1), Rate(1, per=2))(call)

    async def task(value: int) -> str:
        async with asyncio.TaskGroup() as group:
            first, second = group.create_task(client("a")), group.create_task(client("b"))
        return first.result() + second.result()

    async def main() -> None:
        report = await run(
            Evaluation([(1, "ab")], exact_match, task=task), middleware=[Concurrency(3)], keep=True
        )
        timing = report.results[0].timing
        assert timing.total == pytest.approx(3, abs=0.05)
        assert timing.slot == pytest.approx(1, abs=0.05)
        assert timing.rate == pytest.approx(1, abs=0.05)
        assert report.timing.slot == timing.slot

    run_virtual(main)


def test_a_retried_scorer_does_not_call_the_task_again() -> None:
    """What an attempt has got is kept for the next one: a judge that fails costs no second call of the task."""
    calls: list[str] = []

    async def task(question: str) -> str:
        calls.append("task")
        return question.upper()

    async def first(output: str) -> bool:
        calls.append("first")
        return True

    async def judge(output: str) -> float:
        calls.append("judge")
        if calls.count("judge") < 3:
            raise TimeoutError
        return 0.5

    async def main() -> None:
        report = await run(Evaluation([{"question": "a"}], [first, judge], task=task), keep=True)
        (result,) = report.results
        assert (result.output, result.attempts) == ("A", 3)
        assert {name: score.value for name, score in result.scores.items()} == {"first": True, "judge": 0.5}
        assert result.value is None

    run_virtual(main)
    assert calls == ["task", "first", "judge", "judge", "judge"]


def test_a_refused_result_is_asked_for_again() -> None:
    """With `results=`, an answer that is refused makes the task run anew."""
    answers = iter(["busy", "busy", "ready"])

    async def task(question: str) -> str:
        return next(answers)

    async def main() -> None:
        layers = [Retry(3, results=lambda output: output == "busy")]
        report = await run(Evaluation([("q", "ready")], exact_match, task=task), middleware=layers, keep=True)
        (result,) = report.results
        assert (result.value, result.output, result.attempts) == (True, "ready", 3)
        assert {a.kind for a in result.retried} == {"ResultRefused"}

    run_virtual(main)


def test_output_of_a_task_whose_scorer_failed_is_kept() -> None:
    """An errored sample still shows what the task answered."""

    async def task(question: str) -> str:
        return "an answer"

    async def score(output: str) -> bool:
        raise KeyError("rubric")

    async def main() -> None:
        report = await run(Evaluation([{"question": "a"}], score, task=task), keep=True)
        assert (report.results[0].output, report.results[0].error.kind) == ("an answer", "KeyError")

    run_virtual(main)


async def test_a_scorer_may_build_the_result() -> None:
    """A `Result` of the scorer's own brings its output, metadata and usage; the run fills in the rest."""

    async def score(question: str, answer: str) -> Result:
        record_usage(input_tokens=3)
        return Result(
            exact_match("4", answer), prompt=question, output="4", metadata={"k": 1}, usage=Usage(5, 2)
        )

    report = await run(Evaluation([("2+2?", "4")], score), keep=True)
    (result,) = report.results
    assert (result.id, result.index, result.evaluation, result.row) == (0, 0, "score", ("2+2?", "4"))
    assert (result.value, result.output, result.metadata) == (True, "4", {"prompt": "2+2?", "k": 1})
    assert result.usage == Usage(8, 2, 0, 1)
    assert report.usage == result.usage
    assert report.summary["exact_match"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("returned", "values"),
    [
        (True, {"score": True}),
        (0.25, {"score": 0.25}),
        ("good", {"score": "good"}),
        ({"a": 1, "b": False}, {"a": 1, "b": False}),
        ([Score(1, "x"), Score(0.5, "y")], {"x": 1, "y": 0.5}),
        (Score(2, "named"), {"named": 2}),
        (Score(2), {"score": 2}),
    ],
)
async def test_what_a_scorer_may_return(returned: object, values: dict) -> None:
    """A bool, a number, a label, a mapping, a list of scores, a score: each becomes scores with names."""

    async def score(value: int) -> object:
        return returned

    report = await run(Evaluation([1], score), keep=True)
    assert {name: each.value for name, each in report.results[0].scores.items()} == values


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned nothing"),
        (object(), "return a Score"),
        ([1, 2], "a list may hold"),
        ([], "empty list"),
        ({}, "empty mapping"),
    ],
)
async def test_what_a_scorer_may_not_return(returned: object, message: str) -> None:
    """Anything else is that sample's error, which says what came and what to return."""

    async def score(value: int) -> object:
        return returned

    report = await run(Evaluation([1], score), keep=True)
    assert report.results[0].error.kind == "ScoreError"
    assert message in report.results[0].error.message


async def test_an_unawaited_coroutine_is_that_samples_error() -> None:
    """A coroutine that was returned, or compared, without `await` is an error that says so, and warns of nothing."""

    async def model(prompt: int) -> str:
        return "4"

    async def returns(value: int) -> object:
        return model(value)

    async def compares(value: int) -> object:
        return exact_match(model(value), "4")

    async def task(value: int) -> object:
        return model(value)

    evaluations = [
        Evaluation([1], returns),
        Evaluation([1], compares),
        Evaluation([("a", "b")], exact_match, task=task),
    ]
    report = await run(evaluations, keep=True)
    for result in report.results:
        assert result.error.kind == "ScoreError"
        assert "await" in result.error.message


async def test_a_cancelled_future_inside_of_a_sample_is_that_samples_error() -> None:
    """A sample that awaits something which somebody cancelled errs; the run goes on."""

    async def score(value: int) -> bool:
        if value == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        return True

    report = await run(Evaluation(range(3), score))
    assert (report.scored, report.errored, set(report.errors)) == (2, 1, {"CancelledError"})


async def test_sync_scorers_run_in_threads_side_by_side() -> None:
    """Sync scorers run off the loop's thread, as many at once as the middleware allows."""
    barrier = threading.Barrier(8, timeout=10)
    threads = set()

    def score(value: int) -> bool:
        barrier.wait()
        threads.add(threading.get_ident())
        return True

    report = await run(Evaluation(range(16), score), middleware=[Concurrency(8)])
    assert report.scored == 16
    assert threading.get_ident() not in threads


async def test_a_sync_callable_that_returns_an_awaitable_is_awaited() -> None:
    """A lambda around an async scorer works like the scorer."""

    async def score(value: int, threshold: int) -> bool:
        await asyncio.sleep(0)
        return value > threshold

    report = await run(Evaluation(range(4), lambda value: score(value, 1)))
    assert report.summary["<lambda>"]["accuracy"] == 0.5


async def test_sync_task_that_outlives_its_timeout_errs_on_time() -> None:
    """The sample errs when its time is up; the thread is counted until it ends, and threads stay within the window."""
    release = threading.Event()
    entered = []

    def task(value: int) -> int:
        entered.append(value)
        release.wait(10)
        return value

    async def score(output: int) -> bool:
        return True

    made = run(
        Evaluation([{"value": n} for n in range(6)], score, task=task),
        middleware=[Timeout(0.05)],
        window=2,
        keep=True,
    )
    report = await made
    assert {result.error.kind for result in report.results} == {"CallTimeout"}
    assert len(entered) == 2
    assert report.abandoned_threads == made.stats.abandoned_threads == 2
    release.set()
    while made.stats.abandoned_threads:
        await asyncio.sleep(0.001)


def times_by_process(value: int) -> Score:
    """Score, and tell in which process."""
    return Score(value * 2, metadata={"pid": os.getpid()})


async def test_cpu_bound_scorers_run_in_processes() -> None:
    """`in_process` runs a scorer in another process, with its columns and its score intact."""
    report = await run(Evaluation([1, 2, 3], in_process(times_by_process)), keep=True, ordered=True)
    scores = [result.scores["times_by_process"] for result in report.results]
    assert [score.value for score in scores] == [2, 4, 6]
    assert os.getpid() not in {score.metadata["pid"] for score in scores}


async def test_a_blocked_loop_is_reported_once_with_the_evaluations_name() -> None:
    """Async code that blocks the loop for more than 100 ms is named, with its place, once."""

    async def score(value: int) -> bool:
        time.sleep(0.25)
        return True

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await run(Evaluation(range(3), score, name="slowpoke"))
    found = [warning for warning in caught if warning.category is LoopBlockedWarning]
    assert len(found) == 1
    assert "evaluation 'slowpoke' blocked the event loop" in str(found[0].message)
    assert found[0].filename == __file__


async def test_a_loop_that_is_not_blocked_is_not_reported() -> None:
    """Samples that wait, even in sync code, block nothing."""

    def score(value: int) -> bool:
        time.sleep(0.15)
        return True

    await run(Evaluation(range(3), score))


async def test_a_row_that_does_not_fit_is_that_samples_error() -> None:
    """A row without a column errs alone, naming row and column."""

    async def score(question: str, answer: str) -> bool:
        return True

    rows = [{"id": "a", "question": 1, "answer": 2}, {"id": "b", "question": 1}, ("x", "y")]
    report = await run(Evaluation(rows, score), keep=True, ordered=True)
    first, second, third = report.results
    assert first.ok
    assert (second.id, second.error.kind) == ("b", "RowError")
    assert second.error.message == "row 1 (id 'b') has no column 'answer': it has id, question"
    assert third.error.message.startswith("row 2 is a tuple where the first row is a dict")


async def test_unreadable_rows_of_a_file_are_their_samples_errors(tmp_path) -> None:
    """A malformed line of a file errs alone, naming file and line."""
    path = tmp_path / "rows.jsonl"
    path.write_text('not json\n{"q": 1}\n{"q": \n{"q": 2}\n')

    async def score(q: int) -> bool:
        return True

    report = await run(Evaluation(path, score), keep=True, ordered=True)
    assert [result.ok for result in report.results] == [False, True, False, True]
    assert "rows.jsonl line 3" in report.results[2].error.message


async def test_each_worker_starts_with_the_callers_context() -> None:
    """Context variables of the caller are seen by every sample."""
    from contextvars import ContextVar

    tenant: ContextVar[str] = ContextVar("tenant")
    tenant.set("acme")

    async def score(value: int) -> bool:
        await asyncio.sleep(0)
        return tenant.get() == "acme"

    report = await run(Evaluation(range(50), score))
    assert report.summary["score"]["accuracy"] == 1.0


async def test_two_runs_share_the_limit_of_one_object() -> None:
    """A middleware object that two runs share holds its limit over both."""
    inside = most = 0
    shared = Concurrency(3)

    async def score(value: int) -> bool:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        return True

    await asyncio.gather(*(run(Evaluation(range(50), score), middleware=[shared]) for _ in range(2)))
    assert most == 3


def test_repeats_are_clustered_by_row() -> None:
    """With repeats the standard error is that of the rows' means: asking one question often makes it no surer."""

    async def score(value: int) -> bool:
        return value % 2 == 0

    async def main() -> None:
        once = (await run(Evaluation(list(range(20)), score))).summary["score"]
        often = (await run(Evaluation(list(range(20)), score), repeats=10)).summary["score"]
        assert often["n"] == 200
        assert often["stderr"] >= once["stderr"]
        assert often["ci_low"] == pytest.approx(once["ci_low"], abs=0.02)

    run_virtual(main)


async def test_a_layer_that_answers_for_a_whole_sample_is_an_error() -> None:
    """A layer that never calls what it wraps leaves the scorers uncalled: that is an error, not a sample without scores."""

    def shortcut(call):
        async def answered(*args, **kwargs):
            return "from a cache"

        return answered

    async def task(question: str) -> str:
        return question

    report = await run(Evaluation([("a", "a")], exact_match, task=task), middleware=[shortcut], keep=True)
    assert (report.scored, report.errored) == (0, 1)
    assert "put it around the client's call" in report.results[0].error.message


@pytest.mark.parametrize(
    ("scorer", "value"),
    [
        (lambda answer: answer == "A", True),
        (lambda output: output == "A", True),
        (lambda x, y: (x, y) == ("A", "a"), True),
    ],
)
async def test_behind_a_task_a_single_value_comes_after_the_output(scorer, value: bool) -> None:
    """For rows of one value the output goes to a scorer's first parameter, whatever its name, and the row to the next."""

    async def task(question: str) -> str:
        return question.upper()

    report = await run(Evaluation(["a"], scorer, task=task), keep=True)
    assert report.results[0].value is value


async def test_chats_are_single_values_however_long() -> None:
    """A row that is a list of messages is one value, with one message as with more."""

    async def score(messages: list[dict]) -> float:
        return len(messages)

    rows = [[{"role": "user"}], [{"role": "user"}, {"role": "assistant"}]]
    report = await run(Evaluation(rows, score), keep=True, ordered=True)
    assert [result.value for result in report.results] == [1, 2]


async def test_a_metric_that_fails_does_not_cost_the_report() -> None:
    """A metric of the user's own that raises is NaN in the report, with a warning that names it."""

    def broken(values) -> float:
        raise ZeroDivisionError("no values")

    async def score(value: int) -> bool:
        return True

    made = run(Evaluation([1], score, metrics=[broken]))
    with pytest.warns(RuntimeWarning, match="the metric 'broken' of the score 'score' failed"):
        report = await made
    assert report.summary["score"]["accuracy"] == 1.0
    assert report.summary["score"]["broken"] != report.summary["score"]["broken"]
    assert report["score"] is report


class Odd(BaseException):
    """Neither an error nor a cancellation."""


async def test_what_is_no_exception_ends_the_run_and_is_raised() -> None:
    """A `BaseException` of a sample comes out as itself, and the run is not taken for finished."""

    async def score(value: int) -> bool:
        await asyncio.sleep(0)
        if value == 7:
            raise Odd
        return True

    made = run(Evaluation(range(50), score))
    with pytest.raises(Odd):
        await made
    assert made.report.status == "failed"


async def test_a_sample_that_cancels_its_own_task_errs_alone() -> None:
    """A sample that cancels the task in which it runs is that sample's error; the others go on."""

    async def score(value: int) -> bool:
        if value == 7:
            asyncio.current_task().cancel()
        await asyncio.sleep(0)
        return True

    report = await run(Evaluation(range(50), score))
    assert (report.scored, report.errored, report.status) == (49, 1, "finished")


async def test_an_error_without_a_message_of_its_own_is_still_an_error() -> None:
    """An exception whose `__str__` raises is that sample's error."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    async def score(value: int) -> bool:
        raise Mute

    report = await run(Evaluation([1], score), keep=True)
    assert report.results[0].error.kind == "Mute"
    assert "cannot be shown" in report.results[0].error.message


def test_the_one_error_of_a_task_group_counts_as_itself() -> None:
    """A refusal that comes wrapped in a group of one is retried, and told as what it is."""
    calls = 0

    async def fails() -> None:
        raise ConnectionResetError("cut")

    async def score(value: int) -> bool:
        nonlocal calls
        calls += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
        return True

    async def main() -> None:
        report = await run(Evaluation([1], score), keep=True)
        assert (report.results[0].error.kind, report.results[0].error.message) == (
            "ConnectionResetError",
            "cut",
        )

    run_virtual(main)
    assert calls == 3


async def test_a_broken_dataset_ends_the_run_beside_an_endless_one() -> None:
    """Where one of several datasets breaks, the others do not go on for ever."""

    def breaks():
        yield 1
        raise LookupError("gone")

    def endless():
        while True:
            yield 1

    async def score(value: int) -> bool:
        await asyncio.sleep(0)
        return True

    evaluations = [Evaluation(breaks, score, name="breaks"), Evaluation(endless, score, name="endless")]
    async with asyncio.timeout(10):
        with pytest.raises(LookupError, match="gone"):
            await run(evaluations)


def test_a_slow_evaluation_does_not_starve_the_others() -> None:
    """An evaluation that waits for its own limits takes up no more than its share of the window."""
    ended: dict[str, float] = {}

    async def score(value: int) -> bool:
        await asyncio.sleep(0.1)
        return True

    async def main() -> None:
        evaluations = [
            Evaluation(range(100), score, name="slow", middleware=[Rate(1, per=1), Concurrency(10)]),
            Evaluation(range(500), score, name="fast", middleware=[Concurrency(10)]),
        ]
        async for result in run(evaluations):
            ended[result.evaluation] = asyncio.get_running_loop().time()

    run_virtual(main)
    assert ended["fast"] < 10
    assert 95 < ended["slow"] < 105


async def test_a_file_without_a_readable_row_errs_row_by_row(tmp_path) -> None:
    """Where no row can be read to show the columns, each row is its sample's error."""
    path = tmp_path / "rows.jsonl"
    path.write_text("{nope\n{nope\n")

    async def score(q: int) -> bool:
        return True

    report = await run(Evaluation(path, score), keep=True, ordered=True)
    assert [result.error.kind for result in report.results] == ["RowError", "RowError"]


async def test_a_dataclass_without_the_column_is_not_given_whole() -> None:
    """A scorer that asks for a column which the rows' class does not have is a mistake, not given the row."""
    import dataclasses

    from aeval.errors import BindingError

    @dataclasses.dataclass
    class Row:
        question: str
        answer: str

    async def task(question: str) -> str:
        return question

    with pytest.raises(BindingError, match="'expected' of 'exact_match'"):
        await run(Evaluation([Row("a", "a")], exact_match, task=task))
