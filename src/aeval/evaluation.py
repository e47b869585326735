"""Evaluation: the frozen description of what is run."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypedDict, Unpack, overload

import attrs

from aeval.binding import columns_of
from aeval.dataset import Dataset
from aeval.errors import ConfigurationError
from aeval.metrics import Metric
from aeval.middleware.base import Middleware, name_of
from aeval.middleware.stack import Stack, stack

__all__ = ["Evaluation", "Scorer"]

if TYPE_CHECKING:
    # Its default makes `Evaluation[Row]` one of Any output; Python has them from 3.13 on.
    from typing_extensions import TypeVar

    RowT = TypeVar("RowT")
    OutputT = TypeVar("OutputT", default=Any)
    NewRowT = TypeVar("NewRowT")
    NewOutputT = TypeVar("NewOutputT")
else:
    from typing import TypeVar

    RowT, OutputT = TypeVar("RowT"), TypeVar("OutputT")

Rows: TypeAlias = Iterable[RowT] | AsyncIterable[RowT]
Scorer: TypeAlias = Callable[..., Any]


class Options(TypedDict, total=False):
    """The keywords of `Evaluation` besides its task."""

    name: str | None
    columns: str | Sequence[str] | None
    metrics: Sequence[Metric] | None
    repeats: int
    middleware: Middleware | Sequence[Middleware] | None


@attrs.frozen(init=False)
class Evaluation(Generic[RowT, OutputT]):
    """A dataset, a scorer, and the task between them. It runs nothing by itself: give it to `run`.

    Columns are bound to parameters by name for mappings, dataclasses and their like, by position (or by the
    names in `columns`) for tuples; a single value is the one column. With a task, the task takes the columns
    that its parameters name, and a scorer takes `output` and the columns that its parameters name; of rows
    that are pairs without names the task takes the first, a scorer `(output, expected)`. A parameter named
    `row`, where no column has that name, takes the whole row.

    :param dataset: rows, as an iterable, an async iterable, a file's path, a Hugging Face, pandas or polars
        table, or a callable that opens one of these anew
    :param scorer: an (async) callable, or a sequence of them, from columns (and output) to a score
    :param task: the system under test: an (async) callable from columns to an output
    :param name: what to call it; by default the scorer's name
    :param columns: names for the columns of tuples, as `"question,answer"` or a sequence
    :param metrics: further metrics, each a function of all values of a score
    :param repeats: how often each row is evaluated, 1 or more
    :param middleware: layers around each sample, outermost first, for when `run` is given none
    :raises ConfigurationError: if an argument cannot work
    """

    dataset: Dataset[RowT]
    scorer: tuple[Scorer, ...]
    task: Callable[..., Awaitable[OutputT] | OutputT] | None
    name: str
    columns: tuple[str, ...] | None
    metrics: tuple[Metric, ...]
    repeats: int
    middleware: Stack | None

    @overload
    def __init__(
        self: Evaluation[dict[str, Any], Any],
        dataset: str | Path,
        scorer: Scorer | Sequence[Scorer],
        *,
        task: None = None,
        **options: Unpack[Options],
    ) -> None: ...

    @overload
    def __init__(
        self: Evaluation[dict[str, Any], NewOutputT],
        dataset: str | Path,
        scorer: Scorer | Sequence[Scorer],
        *,
        task: Callable[..., Awaitable[NewOutputT]],
        **options: Unpack[Options],
    ) -> None: ...

    @overload
    def __init__(
        self: Evaluation[dict[str, Any], NewOutputT],
        dataset: str | Path,
        scorer: Scorer | Sequence[Scorer],
        *,
        task: Callable[..., NewOutputT],
        **options: Unpack[Options],
    ) -> None: ...

    @overload
    def __init__(
        self: Evaluation[NewRowT, Any],
        dataset: Rows[NewRowT] | Dataset[NewRowT] | Callable[[], Rows[NewRowT]],
        scorer: Scorer | Sequence[Scorer],
        *,
        task: None = None,
        **options: Unpack[Options],
    ) -> None: ...

    @overload
    def __init__(
        self: Evaluation[NewRowT, NewOutputT],
        dataset: Rows[NewRowT] | Dataset[NewRowT] | Callable[[], Rows[NewRowT]],
        scorer: Scorer | Sequence[Scorer],
        *,
        task: Callable[..., Awaitable[NewOutputT]],
        **options: Unpack[Options],
    ) -> None: ...

    @overload
    def __init__(
        self: Evaluation[NewRowT, NewOutputT],
        dataset: Rows[NewRowT] | Dataset[NewRowT] | Callable[[], Rows[NewRowT]],
        scorer: Scorer | Sequence[Scorer],
        *,
        task: Callable[..., NewOutputT],
        **options: Unpack[Options],
    ) -> None: ...

    def __init__(
        self,
        dataset: Any,
        scorer: Scorer | Sequence[Scorer],
        *,
        task: Any = None,
        name: str | None = None,
        columns: str | Sequence[str] | None = None,
        metrics: Sequence[Metric] | None = None,
        repeats: int = 1,
        middleware: Middleware | Sequence[Middleware] | None = None,
    ) -> None:
        scorers, further = _calls("scorer", scorer), _calls("metric", metrics or ())
        _check_callables(scorers, task)
        _check_names(further)
        fields = {
            "dataset": dataset if isinstance(dataset, Dataset) else Dataset(dataset),
            "scorer": scorers,
            "task": task,
            "name": _checked_name(name, scorers),
            "columns": columns_of(columns),
            "metrics": further,
            "repeats": checked_repeats(repeats),
            "middleware": None if middleware is None else layers_of(middleware),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)


def layers_of(middleware: Middleware | Sequence[Middleware]) -> Stack:
    """Make a stack out of one layer or a sequence of them."""
    layers: Any = middleware
    if callable(middleware) or not isinstance(middleware, Iterable):
        layers = [middleware]
    return stack(*layers)


def checked_repeats(repeats: int) -> int:
    """Return the number of repeats.

    :raises ConfigurationError: if it is not a whole number of 1 or more
    """
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ConfigurationError(f"repeats is {repeats!r}: give a whole number, 1 or more")
    return repeats


def _calls(what: str, given: Any) -> tuple[Callable[..., Any], ...]:
    """Return what was given, one callable or a sequence of them, as a tuple."""
    calls: tuple[Any, ...] = (given,)
    if isinstance(given, Iterable) and not isinstance(given, str) and not callable(given):
        calls = tuple(given)
    for call in calls:
        if not callable(call):
            called = inspect.iscoroutine(call)
            if called:
                call.close()
            fix = (
                "it was called already; give the function itself, without (...)"
                if called
                else "give an (async) callable"
            )
            raise ConfigurationError(f"the {what} is {call!r}: {fix}")
    return calls


def _check_callables(scorers: Sequence[Scorer], task: object) -> None:
    if not scorers:
        raise ConfigurationError("there is no scorer: give a callable, or a sequence of them")
    if task is not None and not callable(task):
        raise ConfigurationError(f"the task is {task!r}: give an (async) callable")
    names = [name_of(scorer) for scorer in scorers]
    for name in names:
        # Lambdas may well give scores that have names of their own.
        if name != "<lambda>" and names.count(name) > 1:
            raise ConfigurationError(f"two scorers are named {name!r}: rename one of them")


def _check_names(metrics: Sequence[Metric]) -> None:
    taken = ["accuracy", "mean", "stderr", "ci_low", "ci_high", "n"]
    for name in map(name_of, metrics):
        if name in taken:
            raise ConfigurationError(
                f"the metric's name {name!r} is taken in the report: give it another __name__"
            )
        taken.append(name)


def _checked_name(name: str | None, scorers: Sequence[Scorer]) -> str:
    if name is None:
        name = name_of(scorers[0])
        return "evaluation" if name == "<lambda>" else name
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"the evaluation's name is {name!r}: give a text")
    return name
