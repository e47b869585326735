"""Reports of what a storage holds, made in memory that does not grow with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from anyio import to_thread

from aeval.report.fold import Fold
from aeval.report.report import Report
from aeval.report.results import StoredResults
from aeval.result import RetriedAttempt, Usage
from aeval.storage.base import StoredRun
from aeval.storage.codec import decode
from aeval.storage.storage import Storage

__all__ = ["seconds_of", "stored_report"]

# Results that are read at once: enough that the way to the storage and back costs them next to nothing.
FIRST_PAGE, MOST_PAGE = 100, 4000
PAGE_BYTES = 2_000_000


async def stored_report(storage: Storage, run: StoredRun) -> Report[Any, Any]:
    """Return the report of a run in a storage, of the results that it has by now.

    Metrics of the user's own are not in it: a storage does not know them.

    :param storage: an open storage
    :param run: as the storage gives it
    """
    fold = Fold(run.repeats)
    after, limit = 0, FIRST_PAGE
    while rows := await storage.backend.page(run.key, after, limit):
        await to_thread.run_sync(_fold, fold, rows, run)
        after = rows[-1][0]
        # As many as fit into a page, whose outputs may be long or short.
        limit = max(1, min(MOST_PAGE, PAGE_BYTES * len(rows) // sum(len(body) for _, body in rows)))
    return Report(
        name=run.label,
        status=run.state,
        summary=fold.summary(),
        n=fold.n,
        errored=fold.errored,
        errors=fold.errors,
        duration=seconds_of(run),
        timing=fold.durations.report(),
        usage=fold.usage,
        attempts=fold.n + fold.retried,
        refused=fold.refused,
        results=StoredResults(storage, [run]),
        columns={run.evaluation: run.columns},
    )


def seconds_of(run: StoredRun) -> float:
    """Return how long a run took: all of its sessions, up to now or to where its process was last seen alive."""
    if run.status != "running" or run.session is None or run.owner is None:
        return run.seconds
    until = time.time() if run.state == "running" else run.owner.beat
    return run.seconds + max(0.0, until - run.session.started)


class _Score(msgspec.Struct, gc=False):
    """A score, without what no metric looks at."""

    value: bool | int | float | str


class _Error(msgspec.Struct, gc=False):
    """An error, without its traceback."""

    kind: str
    message: str = ""
    refused: bool = False


class _Lean(msgspec.Struct, gc=False):
    """What a report takes from a result: reading the rest would take most of the time."""

    id: int | str
    index: int
    times: tuple[float, ...]
    scores: dict[str, _Score] = {}
    error: _Error | None = None
    usage: Usage | None = None
    retried: tuple[RetriedAttempt, ...] = ()


_decode = msgspec.json.Decoder(_Lean).decode


def _fold(fold: Fold, rows: Sequence[tuple[int, bytes]], run: StoredRun) -> None:
    result: Any
    for _, body in rows:
        try:
            result = _decode(body)
        except (msgspec.ValidationError, RecursionError):  # a form of what JSON cannot hold, or too deep a row
            result = decode(body, run.evaluation)
        if result.error is None:
            fold.add_scored(result)
        else:
            fold.add(result)
