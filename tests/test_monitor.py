"""The thread beside a run."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings

import pytest

from aeval import Evaluation, LoopBlockedWarning, run

pytestmark = pytest.mark.anyio


def block() -> None:
    """Hold whatever thread calls this for a quarter of a second."""
    time.sleep(0.25)


async def found_in(coroutine) -> list[warnings.WarningMessage]:
    """Return the warnings of a blocked loop that come up while a coroutine runs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await coroutine
    return [warning for warning in caught if warning.category is LoopBlockedWarning]


async def test_a_block_in_the_last_sample_is_reported_too() -> None:
    """A run that ends while its loop is blocked still reports it."""

    async def score(value: int) -> bool:
        block()
        return True

    (warning,) = await found_in(run(Evaluation([1], score, name="last"))._whole())
    assert "evaluation 'last' blocked the event loop for 0.2" in str(warning.message)


async def test_each_evaluation_is_reported_once() -> None:
    """Of several evaluations that block the loop each is named, and none twice."""

    def blocking():
        async def score(value: int) -> bool:
            await asyncio.sleep(0)
            block()
            return True

        return score

    found = await found_in(
        run([Evaluation(range(3), blocking(), name="a"), Evaluation(range(3), blocking(), name="b")])._whole()
    )
    assert sorted(str(warning.message).split("'")[1] for warning in found) == ["a", "b"]


async def test_a_block_in_the_consumers_own_code_is_told_from_the_evaluations() -> None:
    """A consumer that blocks the loop is not blamed on the evaluation."""

    async def score(value: int) -> bool:
        await asyncio.sleep(0.001)
        return True

    async def consume() -> None:
        async for _ in run(Evaluation(range(2), score, name="innocent")):
            block()

    (warning,) = await found_in(consume())
    assert "code beside the evaluation 'innocent' blocked the event loop" in str(warning.message)
    assert warning.filename == __file__


async def test_a_block_in_a_task_that_a_sample_started_is_reported() -> None:
    """Blocking code in a child task of a sample is found by its place."""

    async def child() -> None:
        block()

    async def score(value: int) -> bool:
        await asyncio.create_task(child())
        return True

    (warning,) = await found_in(run(Evaluation([1], score))._whole())
    assert "in block" in str(warning.message)


async def test_the_thread_ends_with_the_run() -> None:
    """However a run ends, its monitor's thread is gone with it."""

    async def score(value: int) -> bool:
        await asyncio.sleep(0)
        if value == 3:
            raise ValueError("three")
        return True

    await run(Evaluation(range(10), score))
    with pytest.raises(ValueError, match="three"):
        await run(Evaluation(range(10), score), on_error="raise")
    assert not [thread for thread in threading.enumerate() if thread.name == "aeval monitor"]
