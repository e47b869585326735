"""What type checkers see of the library's generics; running these shows that they are true as well."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, assert_type

import pytest

from aeval import (
    Concurrency,
    Dataset,
    Evaluation,
    Middleware,
    Rate,
    Report,
    Result,
    Retry,
    Run,
    Score,
    Timeout,
    in_process,
    run,
    run_sync,
    stack,
)

pytestmark = pytest.mark.anyio

P = ParamSpec("P")
R = TypeVar("R")

PAIRS = [("What is 2+2?", "4")]
MAPPINGS = [{"question": "What is 2+2?", "answer": "4"}]


def right(output: str, expected: str) -> bool:
    return output == expected


async def answer(question: str) -> int:
    return 4


def answer_in_a_thread(question: str) -> int:
    return 4


async def judge(output: int, expected: str) -> Score:
    return Score(str(output) == expected)


async def stream() -> AsyncIterator[tuple[str, str]]:
    for pair in PAIRS:
        yield pair


def opened() -> Iterator[tuple[str, str]]:
    return iter(PAIRS)


def test_rows_are_the_datasets() -> None:
    """An evaluation's rows have the type of its dataset's, and its output may be anything without a task."""
    assert_type(Evaluation(PAIRS, right), Evaluation[tuple[str, str], Any])
    assert_type(Evaluation(MAPPINGS, right), Evaluation[dict[str, str], Any])
    assert_type(Evaluation(["text"], right), Evaluation[str, Any])
    assert_type(Evaluation(stream(), right), Evaluation[tuple[str, str], Any])
    assert_type(Evaluation(stream, right), Evaluation[tuple[str, str], Any])
    assert_type(Evaluation(opened, right), Evaluation[tuple[str, str], Any])
    assert_type(Evaluation(Dataset(PAIRS), [right, judge]), Evaluation[tuple[str, str], Any])


def test_rows_of_a_file_are_mappings() -> None:
    """The rows of a file are mappings of anything."""
    assert_type(Evaluation("rows.jsonl", right), Evaluation[dict[str, Any], Any])
    assert_type(Evaluation(Path("rows.csv"), right, task=answer), Evaluation[dict[str, Any], int])
    assert_type(Evaluation("rows.csv", right, task=answer_in_a_thread), Evaluation[dict[str, Any], int])


def test_output_is_the_tasks() -> None:
    """An evaluation's output has the type that its task gives, be it async or sync."""
    assert_type(Evaluation(PAIRS, judge, task=answer), Evaluation[tuple[str, str], int])
    assert_type(Evaluation(PAIRS, judge, task=answer_in_a_thread), Evaluation[tuple[str, str], int])
    assert_type(Evaluation(MAPPINGS, judge, task=answer, repeats=2), Evaluation[dict[str, str], int])
    assert_type(Evaluation(PAIRS, judge, task=None), Evaluation[tuple[str, str], Any])


async def test_run_of_an_evaluation_has_its_types() -> None:
    """Results and report have the types of the evaluation's rows and output."""
    evaluation = Evaluation(PAIRS, judge, task=answer)
    async for result in run(evaluation, progress=False):
        assert_type(result, Result[tuple[str, str], int])
        assert_type(result.row, tuple[str, str])
        assert_type(result.output, int | None)
        assert_type(result.value, bool | int | float | str | None)
    async with run(evaluation, ordered=True, progress=False) as results:
        assert_type(results, Run[tuple[str, str], int])
        async for result in results:
            assert_type(result, Result[tuple[str, str], int])
    one = run(evaluation, samples=1, progress=False)
    assert_type(one, Run[tuple[str, str], int])
    report = await one
    assert_type(report, Report[tuple[str, str], int])
    assert report.n == 1


async def test_run_of_several_evaluations_may_have_any() -> None:
    """Results of several evaluations may have rows and outputs of any type."""
    several = [Evaluation(PAIRS, judge, task=answer, name="a"), Evaluation(PAIRS, judge, task=answer, name="b")]
    async for result in run(several, progress=False):
        assert_type(result, Result[Any, Any])
    both = run(several, progress=False)
    assert_type(both, Run[Any, Any])
    assert_type(await both, Report[Any, Any])


def test_sync_run_gives_the_report() -> None:
    """The sync way to run gives the report, with the evaluation's types."""
    report = run_sync(Evaluation(PAIRS, judge, task=answer), progress=False)
    assert_type(report, Report[tuple[str, str], int])
    assert report.summary["judge"]["accuracy"] == 1.0


@Retry(attempts=2)
async def generate(prompt: str, *, temperature: float = 0.0) -> str:
    return f"{prompt} {temperature}"


async def test_middleware_keeps_the_signature() -> None:
    """What middleware wraps keeps its parameters and its result."""
    layers = stack(Retry(), Rate(100), Concurrency(5), Timeout(5))
    wrapped = layers(answer)
    assert_type(await wrapped("x"), int)
    assert_type(await wrapped(question="x"), int)
    assert_type(await generate("x", temperature=0.5), str)
    for layer in (Retry(), Rate(100), Concurrency(5), Timeout(5)):
        assert_type(await layer(answer)("x"), int)


async def test_calls_that_do_not_fit_are_told() -> None:
    """Type checkers tell a call that does not fit the signature that was wrapped."""
    with pytest.raises(TypeError):
        await Concurrency(1)(answer)(5, 6)  # type: ignore[call-arg, arg-type] # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):
        await generate("x", heat=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_layers_are_middleware() -> None:
    """Every layer, and a stack of them, is middleware, as is any function with its signature."""

    def nothing(call: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]:
        return call

    layers: list[Middleware] = [Retry(), Rate(1), Concurrency(1), Timeout(1), stack(Retry()), nothing]
    assert len(list(stack(*layers))) == len(layers)


async def test_in_process_keeps_the_signature() -> None:
    """A call in a process keeps its parameters, and becomes async."""
    elsewhere = in_process(operator.contains)
    assert_type(await elsewhere([1, 2], 2), bool)
