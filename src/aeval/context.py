"""The ambient record of the sample that is being run.

The runner makes a `Record` of each sample. Whatever runs for that sample, however deep and in whichever
task or thread, finds it here and notes what it waited for, what was retried and what was used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from aeval.result import Failure, Fields, Result, RetriedAttempt, Usage
from aeval.sample import Sample
from aeval.score import Score

__all__ = ["Desk", "Record", "Totals", "current_record", "own_desk", "record_usage", "result_of"]


class Record(Sample[Any]):
    """A sample, with what has been noted of it so far. Times are in seconds of the event loop's clock."""

    # Class attributes are the starting values: most samples never write most of these, and an instance
    # with nothing in it costs a third of one that sets eight attributes.
    # The lane that the sample runs in, which keeps its totals.
    lane: Any
    # Whether any of the times below was written.
    timed: bool = False
    slot: float = 0.0
    rate: float = 0.0
    backoff: float = 0.0
    task: float = 0.0
    retried: tuple[RetriedAttempt, ...] = ()
    usage: Usage | None = None
    output: Any = None
    # For a storage: the digest of its id and row, and whether there is a record of it already.
    digest: int = 0
    replaces: bool = False
    # What each scorer returned so far, by the scorer's name; None until the task has its output.
    returned: list[tuple[str, Any]] | None = None

    @property
    def waited(self) -> float:
        """Seconds spent waiting, of whatever kind."""
        return self.slot + self.rate + self.backoff

    def wait(self, *, slot: float = 0.0, rate: float = 0.0) -> None:
        """Note seconds spent waiting for a concurrency slot, or for the rate."""
        self.timed = True
        self.slot += slot
        self.rate += rate

    def retry(self, attempt: RetriedAttempt) -> None:
        """Note an attempt that failed and is tried again."""
        self.retried += (attempt,)
        self.timed = True
        self.backoff += attempt.backoff
        self.lane.totals.retried += 1
        self.lane.totals.refused += attempt.refused


class Totals:
    """What the samples of an evaluation add up to while they are still in flight."""

    __slots__ = ("refused", "retried")

    def __init__(self) -> None:
        self.retried = 0
        self.refused = 0


class Desk:
    """Where a worker keeps the record of the sample that it is running.

    Each worker puts its desk into its context once: setting a context variable for every sample would cost
    as much as a middleware layer.
    """

    __slots__ = ("record",)

    def __init__(self, record: Record | None = None) -> None:
        self.record = record
        _desk.set(self)


_desk: ContextVar[Desk | None] = ContextVar("aeval_desk", default=None)


def current_record() -> Record | None:
    """Return the record of the sample that is being run; None outside of one."""
    desk = _desk.get()
    return None if desk is None else desk.record


@contextmanager
def own_desk() -> Iterator[None]:
    """Give what is started inside a desk of its own.

    A thread that is given up must not find the worker's next sample on the desk when it comes to an end.
    """
    desk = _desk.get()
    Desk(current_record())
    try:
        yield
    finally:
        _desk.set(desk)


def record_usage(
    *,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cached_input_tokens: int = 0,
    requests: int = 1,
    cache_hits: int = 0,
) -> None:
    """Add to the usage of the sample that is being run; outside of one, do nothing.

    :param input_tokens: tokens of the prompt
    :param output_tokens: tokens of the answer
    :param cached_input_tokens: those of the prompt's tokens that the provider read from its cache
    :param requests: requests made
    :param cache_hits: calls that were answered from a cache, without a request
    """
    record = current_record()
    if record is None:
        return
    used = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached_input_tokens,
        requests=requests,
        cache_hits=cache_hits,
    )
    record.usage = used if record.usage is None else record.usage + used


def result_of(
    record: Record,
    evaluation: str,
    total: float,
    output: Any,
    scores: Mapping[str, Score],
    error: Failure | None,
    usage: Usage | None,
    metadata: dict[str, Any],
) -> Result[Any, Any]:
    """Make the result of a sample.

    :param total: seconds from the sample's start to its end
    """
    retried = record.retried
    fields: Any = Fields(
        record.id,
        record.index,
        record.repeat,
        evaluation,
        record.row,
        output,
        scores,
        error,
        1 + len(retried),
        (total, record.slot, record.rate, record.backoff, record.task) if record.timed else (total,),
        usage,
        metadata,
        retried,
    )
    # Filled in as an object that can be changed, then made one that cannot: a frozen class sets each field
    # by a call, which took as long as the rest of a sample's way through the runner.
    fields.__class__ = Result
    result: Result[Any, Any] = fields
    return result
