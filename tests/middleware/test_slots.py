from __future__ import annotations

import asyncio

import pytest

from aeval.errors import RunError
from aeval.middleware.slots import Slots
from aeval.testing import VirtualClockLoop, run_virtual


async def take(slots: Slots) -> None:
    if slots.free:
        slots.free -= 1
    else:
        await slots.wait()


def test_place_goes_to_the_first_in_line() -> None:
    """A place that comes free goes to who has waited longest, and no newcomer finds it free."""

    async def main() -> None:
        slots, served = Slots(1), list[int]()
        await take(slots)

        async def guest(number: int) -> None:
            await take(slots)
            served.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(guest(number))
            await asyncio.sleep(0)
            assert slots.waiting == 3
            for number in range(3):
                slots.release()
                assert slots.free == 0
                await asyncio.sleep(0)
                assert served == list(range(number + 1))
        slots.release()
        assert (slots.free, slots.waiting) == (1, 0)

    run_virtual(main)


@pytest.mark.parametrize("then", ["nothing", "release first", "release later"])
def test_cancelled_waiter_takes_no_place(then: str) -> None:
    """Whoever is cancelled in line leaves it, whether or not a place comes free in that very moment."""

    async def main() -> None:
        slots = Slots(1)
        await take(slots)
        waiter = asyncio.create_task(take(slots))
        behind = asyncio.create_task(take(slots))
        await asyncio.sleep(0)
        if then == "release first":
            slots.release()
        waiter.cancel()
        if then == "release later":
            slots.release()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        if then == "nothing":
            assert (slots.free, slots.waiting) == (0, 1)
            slots.release()
        await behind
        assert (slots.free, slots.waiting) == (0, 0)

    run_virtual(main)


def test_everyone_is_cancelled_at_once() -> None:
    """When all who hold places and all who wait are cancelled together, every place comes back."""

    async def main() -> None:
        slots = Slots(2)

        async def guest() -> None:
            await take(slots)
            try:
                await asyncio.sleep(10)
            finally:
                slots.release()

        guests = [asyncio.create_task(guest()) for _ in range(9)]
        await asyncio.sleep(1)
        for task in guests:
            task.cancel()
        ends = await asyncio.gather(*guests, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        assert (slots.free, slots.waiting) == (2, 0)

    run_virtual(main)


def test_two_loops_at_once_are_refused() -> None:
    """A line in which another event loop's tasks wait is an error that says what to do."""
    slots = Slots(0)
    with (
        asyncio.Runner(loop_factory=VirtualClockLoop) as first,
        asyncio.Runner(loop_factory=VirtualClockLoop) as second,
    ):

        async def line_up() -> asyncio.Task[None]:
            task = asyncio.create_task(slots.wait())
            await asyncio.sleep(0)
            return task

        waiting = first.run(line_up())
        with pytest.raises(RunError, match="in two event loops at once: give each loop a limiter of its own"):
            second.run(slots.wait())
        assert not waiting.done()
    assert waiting.cancelled()
