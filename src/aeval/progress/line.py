"""What a line of progress says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aeval.standing import Stats

__all__ = ["clock", "facts", "share_done"]


def facts(stats: Stats) -> Iterator[tuple[str, str]]:
    """Return what there is to say of a run, as names and values in the order of their importance."""
    done = stats.done + stats.kept
    yield "done", f"{done:,}" if stats.total is None else f"{done:,} of {stats.total:,}"
    if stats.kept:
        yield "kept", f"{stats.kept:,}"
    yield "rate", f"{stats.throughput:,.1f}/s"
    yield "in flight", f"{stats.in_flight:,}"
    if stats.metric is not None:
        yield stats.metric[0], f"{stats.metric[1]:.3g}"
    if stats.errored:
        yield "errors", f"{stats.errored:,}"
    if stats.retried:
        yield "retries", f"{stats.retried:,}"
    if stats.refused:
        yield "refused", f"{stats.refused:,}"
    left = _seconds_left(stats)
    yield ("left", clock(left)) if left is not None else ("for", clock(stats.seconds))


def share_done(stats: Stats) -> float | None:
    """Return how much of the run is done, from 0 to 1; None where that is not known."""
    if not stats.total:
        return None
    return min(1.0, (stats.done + stats.kept) / stats.total)


def clock(seconds: float) -> str:
    """Return a duration as `1:02:03` or `2:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _seconds_left(stats: Stats) -> float | None:
    if stats.total is None or not stats.throughput:
        return None
    return max(0, stats.total - stats.done - stats.kept) / stats.throughput
