"""The forms in which `aeval show` prints: a text with tables, Markdown, JSON. Each prints as it is given."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from aeval.cli.about import facts_of, fields_of
from aeval.report.render import as_dict, as_text, counted, facts, metric_rows, seconds_text, short
from aeval.report.report import Report
from aeval.result import Result
from aeval.storage.base import StoredRun
from aeval.storage.codec import encode, encode_value

__all__ = ["FORMS", "Form", "JsonForm", "MarkdownForm", "TextForm"]

AnyResult = Result[Any, Any]
METRICS = ("score", "metric", "value", "stderr", "95 % interval", "n")


class Form(Protocol):
    """Prints an experiment: its runs one after another, each with its results if they are wanted."""

    def begin(self, experiment: str, url: str) -> None:
        """Say which experiment it is."""
        ...

    def run(self, run: StoredRun, report: Report[Any, Any], listed: str) -> None:
        """Print a run's report.

        :param listed: what follows of its results: `"errors"`, `"results"`, or nothing
        """
        ...

    def result(self, result: AnyResult) -> None:
        """Print one of the results that follow."""
        ...

    def end(self, earlier: Sequence[str]) -> None:
        """Come to the end.

        :param earlier: runs that were not shown, since later ones count
        """
        ...


class TextForm:
    """A text, as a terminal shows it.

    :param full: with all of the sessions and, of each result, all that there is
    """

    def __init__(self, *, full: bool) -> None:
        self._full = full
        self._experiment = ""

    def begin(self, experiment: str, url: str) -> None:
        """Say which experiment it is."""
        self._experiment = experiment
        _print(f"{experiment}  in {url}")

    def run(self, run: StoredRun, report: Report[Any, Any], listed: str) -> None:
        """Print a run's report."""
        _print(f"\n{as_text(report)}\n")
        for name, value in facts_of(run, full=self._full):
            _print(f"{name:<9} {value}")
        if listed:
            _print(f"\n{'errored samples' if listed == 'errors' else 'results'} of {run.label}:")

    def result(self, result: AnyResult) -> None:
        """Print one of the results that follow."""
        if not self._full:
            _print(f"  {_name(result)}  {short(str(result.error), 600)}")
            return
        _print(f"\n  {_name(result)}")
        for name, value in _parts(result):
            lines = value.splitlines() or [""]
            _print(f"    {name:<9} {lines[0]}")
            for line in lines[1:]:
                _print(f"{'':14}{line}")

    def end(self, earlier: Sequence[str]) -> None:
        """Come to the end."""
        if earlier:
            _print(f"\nearlier runs, shown by `aeval show {self._experiment} NAME`: {', '.join(earlier)}")


class MarkdownForm:
    """Markdown, as for an issue or a notebook."""

    def __init__(self, *, full: bool) -> None:
        self._full = full
        self._experiment = ""

    def begin(self, experiment: str, url: str) -> None:
        """Say which experiment it is."""
        self._experiment = experiment
        _print(f"# {_escaped(experiment)}\n\nin `{url}`")

    def run(self, run: StoredRun, report: Report[Any, Any], listed: str) -> None:
        """Print a run's report."""
        _print(f"\n## {_escaped(report.name)}\n\n{report.status}\n")
        _print_table(METRICS, metric_rows(report))
        _print()
        for name, value in (*facts(report), *facts_of(run, full=self._full)):
            _print(f"- {name}: {_escaped(value)}")
        if report.errors:
            _print()
            groups = ((g.kind, str(g.n), str(g.id), short(g.message, 600)) for g in report.errors.values())
            _print_table(("error", "n", "first in", "message"), groups)
        if listed:
            _print(f"\n### {'Errored samples' if listed == 'errors' else 'Results'} of {_escaped(run.label)}\n")
            if not self._full:
                _print_table(("sample", "error", "message"), ())

    def result(self, result: AnyResult) -> None:
        """Print one of the results that follow."""
        if not self._full:
            error = result.error
            _print_row((_name(result), error.kind if error else "", short(error.message if error else "", 600)))
            return
        _print(f"- {_escaped(_name(result))}\n")
        for name, value in _parts(result):
            _print(textwrap.indent(f"{name}:\n\n    " + value.replace("\n", "\n    ") + "\n", "    "))

    def end(self, earlier: Sequence[str]) -> None:
        """Come to the end."""
        if earlier:
            _print(f"\nEarlier runs: {', '.join(map(_escaped, earlier))}")


class JsonForm:
    """One JSON object, written bit by bit."""

    def __init__(self, *, full: bool) -> None:
        self._full = full
        self._runs = self._results = 0
        self._listed = ""

    def begin(self, experiment: str, url: str) -> None:
        """Say which experiment it is."""
        _print(f'{{"experiment": {json.dumps(experiment)},\n"storage": {json.dumps(url)},\n"runs": [', end="")

    def run(self, run: StoredRun, report: Report[Any, Any], listed: str) -> None:
        """Print a run's report."""
        self._close()
        fields = fields_of(run, full=self._full) | {"report": as_dict(report)}
        _print(",\n" if self._runs else "\n", json.dumps(fields, indent=2).removesuffix("\n}"), sep="", end="")
        if listed:
            _print(f',\n  "{listed}": [', end="")
        self._runs += 1
        self._results, self._listed = 0, listed

    def result(self, result: AnyResult) -> None:
        """Print one of the results that follow."""
        line = encode(result).decode()
        if not self._full and result.error is not None:
            error = result.error
            fields = {"id": result.id, "index": result.index, "repeat": result.repeat}
            line = json.dumps(fields | {"kind": error.kind, "message": error.message})
        _print(",\n    " if self._results else "\n    ", line, sep="", end="")
        self._results += 1

    def end(self, earlier: Sequence[str]) -> None:
        """Come to the end."""
        self._close()
        _print(f'\n],\n"earlier": {json.dumps(list(earlier))}}}')

    def _close(self) -> None:
        """End the run that was begun."""
        if self._runs:
            _print("\n  ]\n}" if self._listed else "\n}", end="")


FORMS: dict[str, Any] = {"table": TextForm, "markdown": MarkdownForm, "json": JsonForm}


def _print(*parts: str, sep: str = " ", end: str = "\n") -> None:
    print(*parts, sep=sep, end=end)  # noqa: T201 - this is what was asked for


def _name(result: AnyResult) -> str:
    return f"{result.id}" if not result.repeat else f"{result.id} (repeat {result.repeat})"


def _parts(result: AnyResult) -> Iterable[tuple[str, str]]:
    yield "row", _shown(result.row)
    if result.output is not None:
        yield "output", _shown(result.output)
    for name, score in result.scores.items():
        yield name, f"{score.value}" + (f"  {score.reason}" if score.reason else "")
    if result.metadata:
        yield "metadata", _shown(result.metadata)
    yield "time", f"{seconds_text(result.timing.total)}, {counted(result.attempts, 'attempt')}"
    if result.error is not None:
        yield "error", str(result.error)
        yield "traceback", result.error.traceback


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return repr(value)
    except ValueError:  # an integer with more digits than Python writes
        return encode_value(value).decode()


def _print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    _print_row(head)
    _print_row(["---"] * len(head))
    for row in rows:
        _print_row(row)


def _print_row(cells: Iterable[str]) -> None:
    _print("|", " | ".join(map(_escaped, cells)), "|")


def _escaped(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    for sign in "\\`*_<>[]|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
