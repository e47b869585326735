from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from aeval import Concurrency, Dataset, Evaluation, Rate, Retry
from aeval.errors import ConfigurationError
from aeval.evaluation import layers_of
from aeval.middleware import Stack
from aeval.score import ScoreValue

ROWS = [("What is 2+2?", "4")]


def right(output: str, expected: str) -> bool:
    return output == expected


async def brief(output: str, expected: str) -> bool:
    return len(output) < 9


def best(values: Sequence[ScoreValue]) -> float:
    return float(max(values))


async def answer(question: str) -> str:
    return "4"


def test_evaluation_holds_what_it_was_given() -> None:
    """An evaluation describes a run, and runs nothing by itself."""
    evaluation = Evaluation(
        ROWS, [right, brief], task=answer, name="sums", columns="question,answer", metrics=[best], repeats=3
    )
    assert evaluation.dataset.source is ROWS
    assert evaluation.scorer == (right, brief)
    assert evaluation.task is answer
    assert (evaluation.name, evaluation.columns, evaluation.repeats) == ("sums", ("question", "answer"), 3)
    assert evaluation.metrics == (best,)


def test_defaults() -> None:
    """Of an evaluation only the dataset and the scorer must be given."""
    evaluation = Evaluation(ROWS, right)
    assert evaluation.scorer == (right,)
    assert (evaluation.task, evaluation.columns, evaluation.metrics, evaluation.repeats) == (None, None, (), 1)
    assert evaluation.middleware is None


def test_dataset_that_was_made_before_is_taken() -> None:
    """A Dataset may be given instead of its source."""
    dataset = Dataset(ROWS)
    assert Evaluation(dataset, right).dataset is dataset


class Judge:
    def __call__(self, output: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("scorer", "name", "expected"),
    [
        (right, None, "right"),
        ([brief, right], None, "brief"),
        (lambda q: True, None, "evaluation"),
        (functools.partial(right, expected="4"), None, "right"),
        (Judge(), None, "Judge"),
        (right, "my quiz", "my quiz"),
    ],
)
def test_name_is_the_scorers_unless_one_is_given(scorer: Any, name: str | None, expected: str) -> None:
    """An evaluation without a name is called as its first scorer is."""
    assert Evaluation(ROWS, scorer, name=name).name == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scorer": 5}, r"the scorer is 5: give an \(async\) callable"),
        ({"scorer": None}, "the scorer is None"),
        ({"scorer": "exact"}, "the scorer is 'exact'"),
        ({"scorer": [right, 5]}, "the scorer is 5"),
        ({"scorer": []}, "there is no scorer"),
        ({"scorer": [right, right]}, "two scorers are named 'right': rename one of them"),
        ({"task": "answer"}, "the task is 'answer'"),
        ({"metrics": [5]}, "the metric is 5"),
        ({"metrics": 5}, "the metric is 5"),
        ({"repeats": 0}, "repeats is 0: give a whole number, 1 or more"),
        ({"repeats": -1}, "repeats is -1"),
        ({"repeats": True}, "repeats is True"),
        ({"repeats": 2.0}, "repeats is 2.0"),
        ({"repeats": "3"}, "repeats is '3'"),
        ({"name": ""}, "the evaluation's name is ''"),
        ({"name": "  "}, "the evaluation's name is '  '"),
        ({"name": 5}, "the evaluation's name is 5"),
        ({"columns": "a,,b"}, "the column ''"),
        ({"middleware": 5}, "5 is not middleware"),
        ({"middleware": "Retry"}, "'R' is not middleware"),
        ({"middleware": [Retry(), None]}, "None is not middleware"),
        ({"dataset": {"train": []}}, "choose one of them"),
    ],
)
def test_argument_that_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    """An argument that cannot work is refused when it is given, with words that name it."""
    dataset, scorer = options.pop("dataset", ROWS), options.pop("scorer", right)
    with pytest.raises(ConfigurationError, match=message):
        Evaluation(dataset, scorer, **options)


def test_two_lambdas_are_no_two_of_one_name() -> None:
    """Scorers without names are not held to have the same one."""
    assert len(Evaluation(ROWS, [lambda q: True, lambda q: False]).scorer) == 2


def test_one_metric_needs_no_sequence() -> None:
    """A single metric is taken as a single scorer is."""
    metric: Any = best
    assert Evaluation(ROWS, right, metrics=metric).metrics == (best,)


def test_evaluation_is_frozen() -> None:
    """An evaluation cannot be changed, and has a hash."""
    evaluation = Evaluation(ROWS, right)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        evaluation.repeats = 2  # type: ignore[misc]
    assert hash(evaluation) == hash(evaluation)


@pytest.mark.parametrize("several", [False, True])
def test_middleware_becomes_a_stack(several: bool) -> None:
    """One layer or a sequence of them becomes a stack."""
    layers = [Retry(), Concurrency(2)] if several else [Concurrency(2)]
    made = Evaluation(ROWS, right, middleware=layers if several else layers[0]).middleware
    assert isinstance(made, Stack)
    assert list(made) == layers


def test_stack_stays_as_it_is() -> None:
    """A stack of layers, or one within a sequence, is taken as its layers."""
    retry, rate, cap = Retry(), Rate(1), Concurrency(2)
    assert list(layers_of([retry, layers_of([rate, cap])])) == [retry, cap, rate]
    assert list(layers_of(layers_of([retry, cap]))) == [retry, cap]
    assert list(layers_of([])) == []


@pytest.mark.parametrize("name", ["mean", "n", "stderr"])
def test_metric_whose_name_is_taken_is_refused(name: str) -> None:
    """A metric may not have the name of what the report says anyway, nor that of another metric."""

    def metric(values: object) -> float:
        return 0.0

    metric.__name__ = name
    with pytest.raises(ConfigurationError, match=f"the metric's name '{name}' is taken"):
        Evaluation([1], lambda value: True, metrics=[metric])
    metric.__name__ = "spread"
    with pytest.raises(ConfigurationError, match="'spread' is taken"):
        Evaluation([1], lambda value: True, metrics=[metric, metric])
