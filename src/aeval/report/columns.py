"""Columns: results as the cells of a table.

The columns are known only once all results were seen, since each may have scores, metadata or columns of the row that
no other one has. So results are gone through twice: once to note what there is, and once to take the cells.

A column is of one type: bools, whole numbers of 64 bits, floats, or text. Where its values differ, bools beside numbers
are 1 and 0, whole numbers beside floats are floats, if they can be that exactly, and anything else is text: texts as
they are, other values as JSON, in the stated form of `aeval.storage.codec`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Literal

import attrs

from aeval.report.cells import (
    BOOL,
    EXACT,
    FLOAT,
    LONG,
    Cells,
    Names,
    as_text,
    key_text,
    kind_of,
    mapping_cells,
    plain,
    row_cells,
    utf8,
)  # fmt: skip
from aeval.result import Result, Timing, Usage

__all__ = ["Column", "Columns", "Type"]

Type = Literal["bool", "int", "float", "text"]

# A row, scores or metadata with more names than this, all results together, are one column of JSON: where names are
# data, the table would grow as wide as it is long.
MOST_NAMES = 1000


@attrs.frozen
class Column:
    """A column of the table.

    :param name: another one for each column
    :param type: what its values are, where they are not None
    """

    name: str
    type: Type
    _take: Callable[[Sequence[Result[Any, Any]]], Iterable[Any]] = attrs.field(repr=False, alias="take")

    def values(self, results: Sequence[Result[Any, Any]]) -> list[Any]:
        """Return the values of some results, each of the column's type, or None."""
        kind, change = _CHANGES[self.type]
        return [
            value if value is None or (type(value) is kind and kind is not str) else change(value)
            for value in self._take(results)
        ]


class Columns:
    """The columns that some results have; which they are is known once all were noted.

    :param names: as of `Names`
    """

    def __init__(self, names: Names) -> None:
        self._id = _Kinds()
        self._output = _Kinds()
        self._row = _Group("row", lambda result: row_cells(result, names))
        self._scores = _Group("score", lambda result: {name: s.value for name, s in result.scores.items()})
        self._reasons = _Group(
            "score.reason",
            lambda result: {name: s.reason for name, s in result.scores.items() if s.reason is not None},
        )
        self._details = _Group(
            "score.metadata",
            lambda result: {name: s.metadata for name, s in result.scores.items() if s.metadata},
        )
        self._metadata = _Group("metadata", lambda result: mapping_cells(result.metadata))

    def note(self, results: Iterable[Result[Any, Any]]) -> None:
        """Take in which columns some results have, and of what type."""
        groups = (self._row, self._scores, self._reasons, self._details, self._metadata)
        for result in results:
            self._id.note(result.id)
            self._output.note(result.output)
            for group in groups:
                group.note(result)

    def all(self) -> list[Column]:
        """Return the columns, in their order."""
        columns = [
            Column("id", self._id.type, _attribute("id")),
            Column("index", "int", _attribute("index")),
            Column("repeat", "int", _attribute("repeat")),
            Column("evaluation", "text", _attribute("evaluation")),
            *self._row.columns("row.{}"),
            Column("output", self._output.type, _attribute("output")),
            *self._score_columns(),
            Column("error.kind", "text", _of_error("kind")),
            Column("error.message", "text", _of_error("message")),
            Column("attempts", "int", _attribute("attempts")),
            *(Column(_time_name(part), "float", _of_times(place)) for place, part in enumerate(_TIMES)),
            Column("seconds.scorers", "float", lambda results: [result.timing.scorers for result in results]),
            *(Column(f"usage.{field.name}", "int", _of_usage(field.name)) for field in attrs.fields(Usage)),
            *self._metadata.columns("metadata.{}"),
        ]
        return _with_own_names(columns)

    def _score_columns(self) -> list[Column]:
        """Return the scores' columns, beside each what else was said of it."""
        columns = self._scores.columns("score.{}")
        beside = self._reasons.columns("score.{}.reason") + self._details.columns("score.{}.metadata")
        of_score: dict[str, list[Column]] = {}
        for column in beside:
            of_score.setdefault(column.name.rpartition(".")[0], []).append(column)
        together = [each for column in columns for each in (column, *of_score.pop(column.name, ()))]
        return together + list(chain.from_iterable(of_score.values()))


class _Kinds:
    """What a column has met."""

    __slots__ = ("met",)

    def __init__(self) -> None:
        self.met = 0

    def note(self, value: Any) -> None:
        self.met |= kind_of(value)

    @property
    def type(self) -> Type:
        met = self.met
        if met == BOOL:
            return "bool"
        if met and not met & ~(BOOL | EXACT | LONG):
            return "int"
        return "float" if met and not met & ~(BOOL | EXACT | FLOAT) else "text"


class _Group:
    """Columns whose names come out of the results.

    :param name: of the one column that stands for them where they are too many
    :param cells: gives a result's cells by key; under None what has no name of its own
    """

    def __init__(self, name: str, cells: Callable[[Result[Any, Any]], Cells]) -> None:
        self._name = name
        self._cells = cells
        self._kinds: dict[Any, _Kinds] | None = {}

    def note(self, result: Result[Any, Any]) -> None:
        if self._kinds is None:
            return
        for key, value in self._cells(result).items():
            kinds = self._kinds.get(key)
            if kinds is None:
                if len(self._kinds) >= MOST_NAMES:
                    self._kinds = None
                    return
                kinds = self._kinds[key] = _Kinds()
            kinds.note(value)

    def columns(self, form: str) -> list[Column]:
        """Return the columns.

        :param form: of their names, as in `"row.{}"`
        """
        if self._kinds is None:
            return [Column(self._name, "text", self._whole)]
        # All columns of some results are taken one after another: their cells are made once.
        last: list[Any] = [None, []]

        def cells(results: Sequence[Result[Any, Any]]) -> list[Cells]:
            if last[0] is not results:
                last[:] = results, [self._cells(result) for result in results]
            found: list[Cells] = last[1]
            return found

        def column(key: Any, kinds: _Kinds) -> Column:
            name = self._name if key is None else form.format(key_text(key))
            return Column(name, kinds.type, lambda results: (each.get(key) for each in cells(results)))

        return [column(key, kinds) for key, kinds in self._kinds.items()]

    def _whole(self, results: Sequence[Result[Any, Any]]) -> Iterable[Any]:
        for result in results:
            cells = self._cells(result)
            if cells:
                yield cells[None] if None in cells else {key_text(key): value for key, value in cells.items()}
            else:
                yield None


def _as_number(value: Any, kind: Callable[[Any], Any]) -> Any:
    value = plain(value)
    return None if value is None else kind(value)


# For each type, the class of its values, and how others become one.
_CHANGES: dict[Type, tuple[type, Callable[[Any], Any]]] = {
    "bool": (bool, plain),
    "int": (int, lambda value: _as_number(value, int)),
    "float": (float, lambda value: _as_number(value, float)),
    "text": (str, as_text),
}


_TIMES = tuple(field.name for field in attrs.fields(Timing))


def _time_name(part: str) -> str:
    return "seconds" if part == "total" else f"seconds.{part}"


def _attribute(name: str) -> Callable[[Sequence[Result[Any, Any]]], Iterable[Any]]:
    return lambda results: [getattr(result, name) for result in results]


def _of_error(name: str) -> Callable[[Sequence[Result[Any, Any]]], Iterable[Any]]:
    return lambda results: [None if result.error is None else getattr(result.error, name) for result in results]


def _of_times(place: int) -> Callable[[Sequence[Result[Any, Any]]], Iterable[Any]]:
    # The times at the end are left out where there was nothing to wait for.
    return lambda results: [result.times[place] if place < len(result.times) else 0.0 for result in results]


def _of_usage(name: str) -> Callable[[Sequence[Result[Any, Any]]], Iterable[Any]]:
    return lambda results: [None if result.usage is None else getattr(result.usage, name) for result in results]


def _with_own_names(columns: list[Column]) -> list[Column]:
    """Give the later one of two columns of one name another one, as in `score.a.reason_2`."""
    taken: set[str] = set()
    named = []
    for column in columns:
        first = name = utf8(column.name)
        number = 1
        while name in taken:
            number += 1
            name = f"{first}_{number}"
        taken.add(name)
        named.append(attrs.evolve(column, name=name))
    return named
