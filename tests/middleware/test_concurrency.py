from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval import Concurrency
from aeval.context import Record
from aeval.errors import ConfigurationError
from aeval.testing import run_virtual


class Gauge:
    """A call that takes a time, and what was seen of its calls."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.started: list[object] = []

    async def call(self, seconds: float = 1.0, *, name: object = None) -> object:
        """Take so many seconds."""
        self.started.append(name)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.now -= 1
        return name


@given(cap=st.integers(1, 8), seconds=st.lists(st.floats(0, 100), max_size=30))
def test_never_more_calls_than_the_cap(cap: int, seconds: list[float]) -> None:
    """However long each call takes, there are never more in flight than the cap, and as many where there can be."""

    async def main() -> Gauge:
        gauge = Gauge()
        limited = Concurrency(cap)(gauge.call)
        await asyncio.gather(*(limited(each) for each in seconds))
        return gauge

    gauge = run_virtual(main)
    assert len(gauge.started) == len(seconds)
    assert gauge.most == min(cap, len(seconds))


def test_cap_is_kept_full() -> None:
    """As long as calls wait, the cap is full: seven calls of a second over three slots take three seconds."""

    async def main() -> float:
        limited = Concurrency(3)(Gauge().call)
        await asyncio.gather(*(limited() for _ in range(7)))
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == 3.0


def test_calls_wait_their_turn() -> None:
    """Calls start in the order in which they came, and one that comes later overtakes no one."""

    async def main() -> list[object]:
        gauge = Gauge()
        limited = Concurrency(2)(gauge.call)

        async def late(number: int) -> None:
            await asyncio.sleep(number / 10)
            await limited(1.0, name=number)

        await asyncio.gather(*(late(number) for number in range(9)))
        return gauge.started

    assert run_virtual(main) == list(range(9))


def test_cancelled_waiter_holds_nothing_up() -> None:
    """A call that is cancelled in line lets those behind it go at the time they would have gone anyway."""

    async def main() -> tuple[list[object], float]:
        gauge = Gauge()
        limited = Concurrency(1)(gauge.call)
        tasks = [asyncio.create_task(limited(name=number)) for number in range(3)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        await asyncio.wait(tasks)
        return gauge.started, asyncio.get_running_loop().time()

    assert run_virtual(main) == ([0, 2], 2.0)


@pytest.mark.parametrize("end", ["error", "cancelled"])
def test_call_that_fails_gives_its_slot_back(end: str) -> None:
    """A call that raises or is cancelled gives its slot back."""

    async def main() -> None:
        cap = Concurrency(1)

        @cap
        async def fails() -> None:
            assert cap.in_flight == 1
            await asyncio.sleep(1)
            raise ValueError

        with pytest.raises((ValueError, TimeoutError)):
            await asyncio.wait_for(fails(), 0.5 if end == "cancelled" else None)
        assert cap.in_flight == 0

    run_virtual(main)


def test_one_cap_holds_for_all_that_it_wraps() -> None:
    """Callables that are wrapped by one object share its limit."""

    async def main() -> int:
        gauge, cap = Gauge(), Concurrency(2)

        async def other() -> object:
            return await gauge.call(2.0)

        first, second = cap(gauge.call), cap(other)
        await asyncio.gather(*(call() for call in (first, second) * 4))
        return gauge.most

    assert run_virtual(main) == 2


def test_cap_serves_one_loop_after_another() -> None:
    """An object made at a module's top serves one event loop after another, with calls waiting in each."""
    gauge = Gauge()
    limited = Concurrency(2)(gauge.call)

    async def main() -> None:
        await asyncio.gather(*(limited() for _ in range(5)))

    for _ in range(3):
        run_virtual(main)
    assert (gauge.most, len(gauge.started)) == (2, 15)


def test_wait_is_noted(record: Record) -> None:
    """The seconds that a sample waited for a slot are in its record; those of its call are not."""

    async def main() -> None:
        limited = Concurrency(1)(Gauge().call)
        await asyncio.gather(*(limited(3.0) for _ in range(3)))

    run_virtual(main)
    assert record.slot == 3.0 + 6.0


def test_call_that_need_not_wait_notes_nothing(record: Record) -> None:
    """A sample that found a slot free waited for none."""
    run_virtual(Concurrency(1)(Gauge().call))
    assert not record.timed


def test_wait_of_a_cancelled_call_is_noted(record: Record) -> None:
    """What a call waited before it was cancelled is noted."""

    async def main() -> None:
        limited = Concurrency(1)(Gauge().call)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.gather(limited(5.0), limited(5.0))

    run_virtual(main)
    assert record.slot == 2.0


def test_wrapped_call_is_the_call() -> None:
    """Arguments, result and name are those of the call that is wrapped."""
    gauge = Gauge()
    limited = Concurrency(1)(gauge.call)
    assert run_virtual(lambda: limited(0.0, name="x")) == "x"
    assert limited.__name__ == "call"
    assert limited.__doc__ == Gauge.call.__doc__


@pytest.mark.parametrize("value", [0, -1, True, False, 1.5, 2.0, float("nan"), float("inf"), "3", None])
def test_cap_that_cannot_be_is_refused(value: Any) -> None:
    """A cap must be a whole number of 1 or more; the error names what was given."""
    with pytest.raises(
        ConfigurationError, match=f"max_concurrency is {value!r}: give a whole number of calls, 1 or more"
    ):
        Concurrency(value)


def test_shows_itself() -> None:
    """A cap shows its limit."""
    assert repr(Concurrency(5)) == "Concurrency(5)"
    assert Concurrency(5).max_concurrency == 5
