"""Scoring stored outputs again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from aeval import Evaluation, Result, Score, run
from aeval.errors import BindingError, ConfigurationError, ExperimentError, TooManyErrors
from aeval.rescoring import rescore
from aeval.storage import Storage, open_storage

pytestmark = pytest.mark.anyio

ROWS = [{"id": f"q{number}", "question": number, "answer": number * 2} for number in range(40)]


class Task:
    """Doubles, or fails on some questions; counts its calls."""

    def __init__(self, *, fails: range = range(0), silent: range = range(0)) -> None:
        self.calls = 0
        self._fails = fails
        self._silent = silent

    async def __call__(self, question: int) -> int | None:
        self.calls += 1
        if question in self._fails:
            raise ZeroDivisionError(f"no answer to {question}")
        return None if question in self._silent else question * 2


async def right(output: int, answer: int) -> bool:
    return output == answer


def size(output: int) -> int:
    """Score in a thread."""
    return output


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with open_storage("memory://") as storage:
        yield storage


async def made(
    storage: Storage, task: Task, *, name: str = "sums", scorer: Any = right, **options: Any
) -> None:
    await run(Evaluation(ROWS, scorer, task=task, name=name), storage=storage, experiment="first", **options)


async def labels(storage: Storage) -> list[tuple[str, int | None, str]]:
    return [(run.label, run.rescored, run.state) async for run in storage.runs("first")]


async def test_several_scorers(storage: Storage) -> None:
    """Stored outputs are scored by several scorers, sync and async, and the task is not called."""
    task = Task()
    await made(storage, task)
    rescoring = rescore("first", [right, size], storage=storage, keep=True)
    assert rescoring.experiment == "first"
    report = await rescoring
    assert task.calls == len(ROWS)
    assert (report.n, report.scored, report.status) == (40, 40, "finished")
    assert report.summary["right"]["accuracy"] == 1
    assert report.summary["size"]["mean"] == pytest.approx(39)
    assert {(result.id, result.output, result.scores["size"].value) for result in report.results} == {
        (row["id"], row["answer"], row["answer"]) for row in ROWS
    }
    assert all(result.row in ROWS and result.evaluation == "sums" for result in report.results)


async def test_new_run_beside_the_old(storage: Storage) -> None:
    """The scores belong to a new run, and the old one is as it was and is the one that is gone on with."""
    task = Task()
    await made(storage, task, samples=30)
    before = await storage.latest("first")
    for _ in range(2):
        await rescore("first", size, storage=storage)
    assert await labels(storage) == [
        ("sums", None, "finished"),
        ("sums#2", 1, "finished"),
        ("sums#3", 1, "finished"),
    ]
    assert await storage.latest("first") == before
    assert [result.scores.keys() async for result in storage.results("first", "sums#2")] == [{"size"}] * 30
    # The rest is evaluated as a part of the first run.
    await made(storage, task)
    assert task.calls == 40
    assert len([result async for result in storage.results("first")]) == 40
    assert len([result async for result in storage.results("first", "sums#2")]) == 30


async def test_repeats(storage: Storage) -> None:
    """Each repeat's output is scored again."""
    await made(storage, Task(), repeats=3)
    report = await rescore("first", right, storage=storage, keep=True)
    assert report.n == 120
    assert {(result.id, result.repeat) for result in report.results} == {
        (row["id"], repeat) for row in ROWS for repeat in range(3)
    }
    assert (await rescore("first", right, storage=storage, samples=5)).n == 15


async def test_samples_that_errored(storage: Storage) -> None:
    """A sample that errored before it had an output errs again and says why; one with an output is scored."""

    async def picky(output: int, answer: int) -> bool:
        if output >= 60:
            raise ValueError("too large")
        return True

    await made(storage, Task(fails=range(20)), scorer=picky)
    report = await rescore("first", right, storage=storage, keep=True)
    assert (report.n, report.scored, report.errored) == (40, 20, 20)
    assert list(report.errors) == ["NoOutput"]
    errors = {result.index: result.error.message for result in report.results if result.error is not None}
    assert errors.keys() == set(range(20))
    assert errors[3].startswith("the sample errored before it had an output: ")
    assert "no answer to 3" in errors[3]


async def test_nothing_but_errors_at_first(storage: Storage) -> None:
    """Where all of the first page errored before they had an output, the others are scored all the same."""
    await made(storage, Task(fails=range(30)), ordered=True, window=1)
    report = await rescore("first", right, storage=storage)
    assert (report.scored, report.errored) == (10, 30)


async def test_output_that_is_none(storage: Storage) -> None:
    """An output of None is scored like any other, where there are others."""
    await made(storage, Task(silent=range(5)))

    async def silent(output: int | None) -> bool:
        return output is None

    report = await rescore("first", silent, storage=storage)
    assert (report.scored, report.errored) == (40, 0)
    assert report.summary["silent"]["accuracy"] == 5 / 40


async def test_run_without_outputs(storage: Storage) -> None:
    """A run without outputs cannot be scored again, and the attempt leaves nothing behind."""

    async def score(question: int) -> bool:
        return True

    await run(Evaluation(ROWS, score, name="sums"), storage=storage, experiment="first")
    with pytest.raises(
        ConfigurationError, match=r"'sums' of 'first' has no outputs to score: give the evaluation a task"
    ):
        await rescore("first", right, storage=storage)
    await run(Evaluation([], score, name="none"), storage=storage, experiment="empty")
    with pytest.raises(ConfigurationError, match="'none' of 'empty' has no outputs"):
        await rescore("empty", right, storage=storage)
    assert await labels(storage) == [("sums", None, "finished")]


async def test_outputs_that_scorers_returned(storage: Storage) -> None:
    """Outputs that a scorer returned with its score are scored again, and may be replaced."""

    async def score(question: int) -> Result[Any, Any]:
        return Result(True, output=question * 2)

    async def half(output: int) -> Result[Any, Any]:
        return Result(Score(output % 4 == 0, "half"), output=output // 2)

    await run(Evaluation(ROWS, score, name="sums"), storage=storage, experiment="first")
    report = await rescore("first", half, storage=storage, keep=True)
    assert report.summary["half"]["accuracy"] == 0.5
    assert sorted(result.output for result in report.results) == list(range(40))
    assert (await rescore("first", right, storage=storage, evaluation="sums#2")).summary["right"][
        "accuracy"
    ] == 1 / 40


async def test_evaluations(storage: Storage) -> None:
    """Of several evaluations each is scored again, or the one that is named, of the run that is named."""
    await made(storage, Task())
    await made(storage, Task(), name="words", samples=7)
    await made(storage, Task(), samples=5, fresh=True)
    report = await rescore("first", right, storage=storage)
    assert report.n == 12
    assert {name: part.n for name, part in report.evaluations.items()} == {"words": 7, "sums": 5}
    counts = {"sums": 5, "sums#1": 40, "sums#2": 5, "words": 7}
    for evaluation, n in counts.items():
        assert (await rescore("first", right, storage=storage, evaluation=evaluation)).n == n
    rescored = [(label, number) for label, number, _ in await labels(storage) if number is not None]
    assert rescored == [
        ("sums#3", 2),
        ("words#2", 1),
        ("sums#4", 2),
        ("sums#5", 1),
        ("sums#6", 2),
        ("words#3", 1),
    ]


async def test_first_outputs_only(storage: Storage) -> None:
    """Only so many outputs are scored as are asked for, also of several pages."""
    await made(storage, Task())
    assert (await rescore("first", right, storage=storage, samples=3)).n == 3
    assert (await rescore("first", right, storage=storage, samples=20)).n == 20
    assert (await rescore("first", right, storage=storage, samples=4000)).n == 40


@pytest.mark.parametrize("columns", [None, "prompt,target"])
async def test_tuples(storage: Storage, columns: str | None) -> None:
    """Rows that are tuples are tuples again, with the columns that the evaluation gave them."""

    async def ask(prompt: str) -> str:
        return prompt.upper()

    async def same(output: str, expected: str) -> bool:
        return output == expected

    async def named(output: str, target: str) -> bool:
        return output == target

    rows = [("a", "A"), ("b", "x")]
    scorer = same if columns is None else named
    evaluation = Evaluation(rows, scorer, task=ask, name="sums", columns=columns)
    await run(evaluation, storage=storage, experiment="first")
    report = await rescore("first", scorer, storage=storage, keep=True)
    assert report.summary[scorer.__name__]["accuracy"] == 0.5
    assert sorted(result.row for result in report.results) == rows
    (again,) = await storage.latest("first", "sums#2")
    assert (again.row_type, again.columns) == ("tuple", None if columns is None else ("prompt", "target"))

    async def other(output: str, wanted: str) -> bool:
        return output == wanted

    report = await rescore("first", other, storage=storage, columns="given,wanted")
    assert report.summary["other"]["accuracy"] == 0.5


async def test_scorer_with_a_column_that_is_not_there(storage: Storage) -> None:
    """A scorer's parameter that no column can fill is an error before anything is scored."""
    await made(storage, Task())

    async def odd(output: int, missing: str) -> bool:
        return True

    with pytest.raises(BindingError, match="missing"):
        await rescore("first", odd, storage=storage)
    assert len(await labels(storage)) == 1


async def test_unknown_names(storage: Storage) -> None:
    """An experiment or evaluation that is not there is an error when the run is used, with the nearest name."""
    await made(storage, Task())
    with pytest.raises(ExperimentError, match=r"no experiment 'fist' in '.*': did you mean 'first'\?"):
        await rescore("fist", right, storage=storage)
    with pytest.raises(ExperimentError, match=r"called 'sum': did you mean 'sums'\?"):
        await rescore("first", right, storage=storage, evaluation="sum")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples is 0: give a whole number"),
        ({"window": 0}, "window is 0: give a whole number"),
        ({"max_errors": -1}, "max_errors is -1"),
        ({"storage": "results.db"}, "'results.db' is no URL"),
    ],
)
def test_arguments_that_cannot_work(options: dict[str, Any], message: str) -> None:
    """An argument that cannot work is an error at once."""
    with pytest.raises(ConfigurationError, match=message):
        rescore("first", right, **options)


async def test_options_of_a_run(storage: Storage) -> None:
    """The middleware, the window and the bound on errors hold as they do for `run`."""
    await made(storage, Task(fails=range(30)))
    called = []

    def layer(call: Any) -> Any:
        async def counted(*args: Any, **kwargs: Any) -> Any:
            called.append(args)
            return await call(*args, **kwargs)

        return counted

    report = await rescore("first", right, storage=storage, middleware=layer, window=2)
    # What has no output comes to no layer.
    assert (report.n, len(called)) == (40, 10)
    with pytest.raises(TooManyErrors):
        await rescore("first", right, storage=storage, max_errors=5)


async def test_rescoring_may_be_left(storage: Storage) -> None:
    """Leaving the loop stops the scoring, and what was scored is kept."""
    await made(storage, Task())
    async with rescore("first", right, storage=storage, window=1) as results:
        async for _ in results:
            break
    runs = [run async for run in storage.runs("first")]
    assert [run.state for run in runs] == ["finished", "interrupted"]
    assert (await storage.counts(runs[1])).n >= 1
