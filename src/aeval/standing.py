"""How a run stands: its figures of the moment, and its report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

from aeval.report.fold import Fold, merged
from aeval.report.report import ErrorGroup, Report, Resumed
from aeval.report.results import StoredResults
from aeval.result import Result, Usage
from aeval.runner import Limits, Runner

__all__ = ["Stats", "report_of", "stats_of"]


@attrs.frozen
class Stats:
    """A run at one moment.

    :param done: samples that finished, the errored ones among them
    :param errored: samples that errored
    :param in_flight: samples that were started and have not finished
    :param total: how many there will be, those that were kept among them; None where that is not known
    :param attempts: attempts made
    :param retried: attempts that failed and were tried again
    :param refused: attempts that a server refused for load
    :param waits: seconds waited, by what for: `slot`, `rate`, `backoff`; of the samples that finished
    :param tokens: tokens used by the samples that finished
    :param seconds: since the run's start
    :param throughput: samples finished in a second
    :param abandoned_threads: threads still working on sync calls that were given up
    :param metric: the first score's name and mean so far
    :param kept: samples of which a storage had the result, so that they are not evaluated again
    """

    done: int
    errored: int
    in_flight: int
    total: int | None
    attempts: int
    retried: int
    refused: int
    waits: Mapping[str, float]
    tokens: int
    seconds: float
    throughput: float
    abandoned_threads: int
    metric: tuple[str, float] | None
    kept: int = 0


def stats_of(runner: Runner, limits: Limits) -> Stats:
    """Return a run's figures of this moment."""
    folds = [lane.fold for lane in runner.lanes]
    retried = sum(lane.totals.retried for lane in runner.lanes)
    seconds = runner.duration
    usages = [fold.usage for fold in folds if fold.usage is not None]
    waits = {name: sum(getattr(fold.durations, name) for fold in folds) for name in ("slot", "rate", "backoff")}
    return Stats(
        done=runner.finished,
        errored=runner.errored,
        in_flight=runner.in_flight,
        kept=sum(ledger.kept for ledger in runner.ledgers),
        total=limits.total,
        attempts=runner.finished + runner.in_flight + retried,
        retried=retried,
        refused=sum(lane.totals.refused + lane.fold.refused_last for lane in runner.lanes),
        waits=waits,
        tokens=sum(usage.total_tokens for usage in usages),
        seconds=seconds,
        throughput=runner.finished / seconds if seconds > 0 else 0.0,
        abandoned_threads=runner.threads.abandoned,
        metric=next((first for fold in folds if (first := fold.first) is not None), None),
    )


def report_of(runner: Runner, kept: list[Result[Any, Any]] | None) -> Report[Any, Any]:
    """Return the report of what has finished."""
    folds = {lane.name: lane.fold for lane in runner.lanes}
    parts = {name: _report(name, {name: fold}, runner, _kept_of(kept, name)) for name, fold in folds.items()}
    if len(parts) == 1:
        return next(iter(parts.values()))
    return attrs.evolve(_report(", ".join(folds), folds, runner, kept), evaluations=parts)


def _report(
    name: str, folds: Mapping[str, Fold], runner: Runner, kept: list[Result[Any, Any]] | None
) -> Report[Any, Any]:
    usage: Usage | None = None
    errors: dict[str, ErrorGroup] = {}
    summary: dict[str, dict[str, float]] = {}
    for evaluation, fold in folds.items():
        if fold.usage is not None:
            usage = fold.usage if usage is None else usage + fold.usage
        for kind, group in fold.errors.items():
            earlier = errors.get(kind)
            errors[kind] = group if earlier is None else attrs.evolve(earlier, n=earlier.n + group.n)
        for score, metrics in fold.summary().items():
            summary[score if len(folds) == 1 else f"{evaluation}/{score}"] = metrics
    return Report(
        name=name,
        status="stopped" if runner.left else runner.status,
        summary=summary,
        n=sum(fold.n for fold in folds.values()),
        errored=sum(fold.errored for fold in folds.values()),
        errors=errors,
        duration=runner.duration,
        timing=merged(folds.values()).report(),
        usage=usage,
        attempts=sum(fold.n + fold.retried for fold in folds.values()),
        refused=sum(fold.refused for fold in folds.values()),
        abandoned_threads=runner.threads.abandoned,
        resumed=_resumed(runner, folds),
        results=_results(runner, kept, folds),
        columns={lane.name: lane.columns for lane in runner.lanes if lane.name in folds},
    )


def _resumed(runner: Runner, evaluations: Collection[str]) -> Resumed | None:
    if runner.journal is None:
        return None
    lanes = [lane for lane in runner.lanes if lane.name in evaluations]
    ledgers = [lane.ledger for lane in lanes if lane.ledger is not None]
    return Resumed(
        experiment=runner.journal.terms.experiment,
        stored=sum(ledger.before.n for ledger in ledgers),
        kept=sum(ledger.kept for ledger in ledgers),
        retried=sum(ledger.retried for ledger in ledgers),
        changed=sum(ledger.changed for ledger in ledgers),
        recalled=sum(lane.recalled for lane in lanes),
    )


def _results(
    runner: Runner, kept: list[Result[Any, Any]] | None, evaluations: Collection[str]
) -> tuple[Result[Any, Any], ...] | StoredResults[Any, Any] | None:
    if kept is not None:
        return tuple(kept)
    if runner.journal is None:
        return None
    ledgers = [lane.ledger for lane in runner.lanes if lane.name in evaluations and lane.ledger is not None]
    runs = [ledger.run for ledger in ledgers if ledger.run.key]
    return StoredResults(runner.journal.storage, runs)


def _kept_of(kept: list[Result[Any, Any]] | None, name: str) -> list[Result[Any, Any]] | None:
    return None if kept is None else [result for result in kept if result.evaluation == name]
