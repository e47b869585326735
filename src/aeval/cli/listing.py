"""`aeval list`: what a storage holds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import attrs

from aeval.cli.messages import call, say, show_log
from aeval.cli.stores import existing
from aeval.report.render import MAIN, seconds_text
from aeval.report.stored import seconds_of, stored_report
from aeval.storage.base import StoredRun
from aeval.storage.storage import Storage

__all__ = ["list_experiments"]

# A metric has to be worked out of the results: it is, for so many results of one run, and of all runs together.
MOST_OF_A_RUN, MOST_OF_ALL = 10_000, 100_000
# Lines whose columns are made as wide as they need; those that follow keep the widths.
BLOCK = 200
HEAD = ("experiment", "evaluation", "status", "n", "errored", "metric", "started", "took")
_NUMBERS = {"n", "errored"}


@attrs.frozen
class Line:
    """A run, as it is listed."""

    experiment: str
    evaluation: str
    rescored: int | None
    status: str
    n: int
    errored: int
    metric: str | None
    value: float | None
    started: str
    seconds: float

    def cells(self) -> tuple[str, ...]:
        """Return it as the cells of a table's row."""
        metric = "" if self.metric is None or self.value is None else f"{self.metric} {self.value:.4g}"
        return (
            self.experiment,
            self.evaluation,
            self.status,
            f"{self.n:,}",
            f"{self.errored:,}",
            metric,
            self.started.replace("T", " ")[:16],
            seconds_text(self.seconds),
        )


def list_experiments(url: str | None, form: str) -> int:
    """Print the runs of all experiments, and return the exit code."""
    show_log()

    async def command() -> None:
        async with existing(url) as storage:
            lines = _lines(storage)
            await (_print_json(lines) if form == "json" else _print_table(lines, storage.url))

    return call(command)


async def _lines(storage: Storage) -> AsyncIterator[Line]:
    left = MOST_OF_ALL
    async for run in storage.runs():
        counts = await storage.counts(run)
        name, value = None, None
        if counts.n <= min(MOST_OF_A_RUN, left):
            left -= counts.n
            name, value = await _first_metric(storage, run)
        yield Line(
            experiment=run.experiment,
            evaluation=run.label,
            rescored=run.rescored,
            status=run.state,
            n=counts.n,
            errored=counts.errored,
            metric=name,
            value=value,
            started=datetime.fromtimestamp(run.started).astimezone().isoformat(timespec="seconds"),
            seconds=seconds_of(run),
        )


async def _first_metric(storage: Storage, run: StoredRun) -> tuple[str, float] | tuple[None, None]:
    summary = (await stored_report(storage, run)).summary
    for score, metrics in summary.items():
        for metric, value in metrics.items():
            if metric in MAIN or metric.startswith("share of"):
                # "exact_match accuracy" says no more than its first word.
                return (score if metric in MAIN else f"{score} {metric}"), value
    return None, None


async def _print_json(lines: AsyncIterator[Line]) -> None:
    between = "["
    async for line in lines:
        print(between, json.dumps(attrs.asdict(line)), sep="\n", end="")  # noqa: T201
        between = ","
    print("[]" if between == "[" else "\n]")  # noqa: T201


async def _print_table(lines: AsyncIterator[Line], url: str) -> None:
    block: list[Sequence[str]] = [HEAD]
    widths: list[int] = []
    async for line in lines:
        block.append(line.cells())
        if len(block) > BLOCK:
            widths = _print_block(block, widths)
            block = []
    if block == [HEAD]:
        say(f"aeval: there is no experiment in {url} yet")
    else:
        _print_block(block, widths)


def _print_block(block: Sequence[Sequence[str]], widths: list[int]) -> list[int]:
    widths = widths or [max(len(row[place]) for row in block) for place in range(len(HEAD))]
    for row in block:
        print("  ".join(_cell(*each) for each in zip(row, widths, HEAD, strict=True)).rstrip())  # noqa: T201
        if row is HEAD:
            print("  ".join("-" * width for width in widths))  # noqa: T201
    return widths


def _cell(text: Any, width: int, name: str) -> str:
    padded: str = text.rjust(width) if name in _NUMBERS else text.ljust(width)
    return padded
