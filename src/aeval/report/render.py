"""Showing reports and results: as text, as HTML, as what JSON can hold."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import attrs

from aeval.report.report import Report, Resumed
from aeval.result import Result

__all__ = [
    "as_dict",
    "as_html",
    "as_text",
    "counted",
    "facts",
    "metric_rows",
    "result_as_html",
    "resumed_text",
    "seconds_text",
    "short",
]

MAIN = ("accuracy", "mean")
BESIDE = ("stderr", "ci_low", "ci_high", "n")


def as_text(report: Report[Any, Any]) -> str:
    """Return the report as a table of text."""
    lines = [f"{report.name}  ({report.status})", ""]
    lines += _table(("score", "metric", "value", "stderr", "95 % interval", "n"), list(metric_rows(report)))
    lines += ["", *(f"{name:<9} {value}" for name, value in facts(report))]
    for group in report.errors.values():
        first = (
            f"{group.kind} in {counted(group.n, 'sample')}, first in {group.id}: {short(group.message, 600)}"
        )
        lines += ["", *textwrap.wrap(first, 110, subsequent_indent="  ", break_long_words=False)]
    if report.refused > report.n / 10:
        hint = "the server refused many calls: put a Rate below its limit around them, or allow fewer at once"
        lines += ["", f"Hint: {hint}."]
    return "\n".join(lines)


def as_html(report: Report[Any, Any]) -> str:
    """Return the report as a fragment of HTML."""
    metrics = _html_table(("score", "metric", "value", "stderr", "95 % interval", "n"), metric_rows(report))
    told = "<br>".join(f"<b>{escape(name)}</b> {escape(value)}" for name, value in facts(report))
    errors = ""
    if report.errors:
        rows = [(g.kind, str(g.n), str(g.id), short(g.message, 600)) for g in report.errors.values()]
        errors = _html_table(("error", "n", "first in", "message"), rows)
    title = f"<b>{escape(report.name)}</b> ({escape(report.status)})"
    return f'<div class="aeval-report">{title}{metrics}<p>{told}</p>{errors}</div>'


def result_as_html(result: Result[Any, Any]) -> str:
    """Return a result as a fragment of HTML."""
    rows = [("id", str(result.id)), ("evaluation", result.evaluation), ("row", short(repr(result.row), 500))]
    if result.output is not None:
        rows.append(("output", short(str(result.output), 2000)))
    for name, score in result.scores.items():
        reason = f" - {score.reason}" if score.reason else ""
        rows.append((name, f"{score.value}{reason}"))
    if result.error is not None:
        rows.append(("error", str(result.error)))
    timing = f"{seconds_text(result.timing.total)}, {counted(result.attempts, 'attempt')}"
    rows.append(("time", timing))
    return f'<div class="aeval-result">{_html_table((), rows)}</div>'


def as_dict(report: Report[Any, Any]) -> dict[str, Any]:
    """Return the report as what JSON can hold, without the results."""
    return {
        "name": report.name,
        "status": report.status,
        "summary": {name: {key: _jsonable(x) for key, x in m.items()} for name, m in report.summary.items()},
        "n": report.n,
        "scored": report.scored,
        "errored": report.errored,
        "errors": {kind: attrs.asdict(group) for kind, group in report.errors.items()},
        "duration": report.duration,
        "timing": attrs.asdict(report.timing),
        "usage": None if report.usage is None else attrs.asdict(report.usage),
        "attempts": report.attempts,
        "refused": report.refused,
        "abandoned_threads": report.abandoned_threads,
        "resumed": None if report.resumed is None else attrs.asdict(report.resumed),
        "evaluations": {name: as_dict(part) for name, part in report.evaluations.items() if part is not report},
    }


def _jsonable(value: float) -> float | None:
    return value if math.isfinite(value) else None


def metric_rows(report: Report[Any, Any]) -> Iterable[tuple[str, ...]]:
    """Give the rows of the table of metrics: score, metric, value, stderr, interval, n."""
    for name, metrics in report.summary.items():
        interval = f"{_number(metrics.get('ci_low'))} to {_number(metrics.get('ci_high'))}"
        for metric, value in metrics.items():
            if metric in MAIN:
                stderr = _number(metrics.get("stderr"))
                yield name, metric, _number(value), stderr, interval, f"{metrics['n']:.0f}"
            elif metric not in BESIDE:
                yield name, metric, _number(value), "", "", f"{metrics['n']:.0f}"


def facts(report: Report[Any, Any]) -> Iterable[tuple[str, str]]:
    """Give what there is to say of a run beside its metrics, as names and values."""
    empty = "" if report.n or report.status != "finished" else " (the dataset gave no rows)"
    yield "samples", f"{report.n}: {report.scored} scored, {report.errored} errored{empty}"
    if report.resumed is not None and report.resumed.stored:
        yield "resumed", resumed_text(report.resumed)
    yield "attempts", f"{report.attempts}, {report.refused} refused"
    yield "time", f"{seconds_text(report.duration)}, {report.throughput:,.1f} samples/s"
    timing = report.timing
    quantiles = " ".join(f"{q} {seconds_text(getattr(timing, q))}" for q in ("p50", "p95", "p99", "max"))
    yield "a sample", f"{quantiles}, waits included"
    parts = [
        f"{part} {seconds_text(getattr(timing, part))}"
        for part in ("slot", "rate", "backoff", "task", "scorers")
    ]
    yield "spent in", ", ".join(parts)
    if report.usage is not None:
        usage = report.usage
        counts = f"{usage.input_tokens:,} input and {usage.output_tokens:,} output tokens"
        hits = f", {counted(usage.cache_hits, 'call')} answered from the cache" if usage.cache_hits else ""
        yield "usage", f"{counts} in {counted(usage.requests, 'request')}{hits}"
    if report.abandoned_threads:
        yield "threads", f"{report.abandoned_threads} still at work on calls that were given up"


def resumed_text(resumed: Resumed) -> str:
    """Return how a run went on with what was stored, in a few words."""
    parts = [f"{resumed.kept:,} kept", f"{resumed.retried:,} tried again"]
    if resumed.changed:
        parts.append(f"{resumed.changed:,} evaluated anew, since their rows had changed")
    return ", ".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return ["no scores"]
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, ["-" * width for width in widths], *rows)
    ]


def _html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if head else ''}{body}</table>"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return "unknown" if value != value else f"{value:.4g}"


def seconds_text(value: float) -> str:
    """Return a duration in the unit that fits it."""
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def short(text: str, most: int) -> str:
    """Return a text as one line of no more than so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
