from __future__ import annotations

import asyncio

import pytest
from anyio import to_thread

from aeval import Usage, record_usage
from aeval.context import Desk, Record, current_record, own_desk
from aeval.result import RetriedAttempt

pytestmark = pytest.mark.anyio


def test_outside_of_a_sample_there_is_no_record() -> None:
    """Outside of a run there is no record, and noting usage does nothing."""
    record_usage(input_tokens=1)
    assert current_record() is None


def test_usage_adds_up_on_the_record(record: Record) -> None:
    """Usage noted by several calls of one sample adds up."""
    record_usage(input_tokens=10, output_tokens=5)
    record_usage(input_tokens=1, cached_input_tokens=1, requests=0)
    record_usage(requests=0, cache_hits=1)
    assert record.usage == Usage(11, 5, 1, 1, 1)


async def test_record_is_found_in_tasks_and_threads(record: Record) -> None:
    """Whatever runs for a sample finds its record, in other tasks and in threads."""

    async def elsewhere() -> Record | None:
        return current_record()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(elsewhere())
    assert task.result() is record
    assert await to_thread.run_sync(current_record) is record


def test_waits_add_up(record: Record) -> None:
    """Seconds waited for slots, for the rate and in backoff add up, each kind by itself and all together."""
    assert not record.timed
    record.wait(slot=1.0)
    record.wait(slot=0.5, rate=2.0)
    record.retry(RetriedAttempt("E", "m", 429, refused=True, duration=0.1, backoff=4.0))
    record.retry(RetriedAttempt("E", "m", None, refused=False, duration=0.1, backoff=8.0))
    assert (record.slot, record.rate, record.backoff, record.waited) == (1.5, 2.0, 12.0, 15.5)
    assert (record.lane.totals.retried, record.lane.totals.refused) == (2, 1)
    assert record.timed


def test_records_share_nothing() -> None:
    """What is noted of one sample is not seen in another."""
    first, second = Record("1", 0, 0, "a"), Record("2", 1, 0, "b")
    first.wait(slot=1.0)
    first.usage = Usage(1)
    assert (second.slot, second.usage, second.timed) == (0.0, None, False)


def test_own_desk_keeps_the_record_for_what_is_started_inside(record: Record) -> None:
    """A desk of its own still shows the sample when the worker has gone on to the next one."""
    worker = Desk(record)
    following = Record("sample-2", 1, 0, ("next",))
    with own_desk():
        worker.record = following
        assert current_record() is record
    assert current_record() is following
