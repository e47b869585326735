from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aeval import Rate
from aeval.context import Record
from aeval.errors import ConfigurationError
from aeval.testing import VirtualClockLoop, run_virtual

SLACK = 1 - 1e-9  # what floats lose when times are added up


async def starts_of(rate: Rate, arrivals: list[float]) -> list[float]:
    """Return when calls that arrive at these times start, in the order of their starts."""
    now = asyncio.get_running_loop().time
    starts: list[float] = []

    @rate
    async def call() -> None:
        starts.append(now())

    async def arrive(at: float) -> None:
        await asyncio.sleep(at)
        await call()

    await asyncio.gather(*(arrive(at) for at in arrivals))
    return starts


def most_in_a_window(starts: list[float], per: float) -> int:
    """Return the most starts in any half-open window of so many seconds."""
    return max((sum(begin <= start < begin + per * SLACK for start in starts) for begin in starts), default=0)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_no_window_holds_more_than_the_limit(data: st.DataObject) -> None:
    """Whatever the limit, its burst and the arrivals, no window of `per` seconds holds more than `n` starts."""
    n = data.draw(st.integers(1, 12), "n")
    per = data.draw(st.floats(0.01, 1000), "per")
    burst = data.draw(st.none() | st.integers(1, n), "burst")
    gaps = data.draw(
        st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]) | st.floats(0, 3), max_size=40), "gaps"
    )
    arrivals = [sum(gaps[:place]) * per / n for place in range(len(gaps))]
    starts = run_virtual(partial(starts_of, Rate(n, per, burst=burst), arrivals))
    assert len(starts) == len(arrivals)
    assert most_in_a_window(starts, per) <= n


@given(n=st.floats(0.05, 9), per=st.floats(0.1, 100))
@settings(max_examples=50, deadline=None)
def test_limit_that_is_not_whole_holds_on_average(n: float, per: float) -> None:
    """A limit that is not whole holds on average; a window holds less than one call more than it."""
    starts = run_virtual(partial(starts_of, Rate(n, per), [0.0] * 20))
    assert most_in_a_window(starts, per) <= math.ceil(n)
    assert starts[-1] >= 19 * per / n * SLACK


@pytest.mark.parametrize(("n", "per", "gap"), [(0.5, 60, 120), (1, 60, 60), (2.5, 10, 5), (10, 1, 0.1)])
def test_pace_is_even(n: float, per: float, gap: float) -> None:
    """Calls that come together start one by one, evenly."""
    starts = run_virtual(partial(starts_of, Rate(n, per, burst=1), [0.0] * 5))
    assert starts == pytest.approx([gap * place for place in range(5)])


def test_limit_is_reached() -> None:
    """At least 97 of 100 calls that are allowed in a period start in it, over ten periods."""
    rate = Rate(100, per=60)
    starts = run_virtual(partial(starts_of, rate, [0.0] * 1000))
    assert sum(start < 600 for start in starts) >= 970
    assert most_in_a_window(starts, 60) <= 100


def test_burst_starts_at_once() -> None:
    """After a quiet time a burst starts at once, and the pace behind it is slower by as much."""
    starts = run_virtual(partial(starts_of, Rate(10, per=6, burst=5), [0.0] * 7 + [100.0] * 6))
    assert starts == pytest.approx([0.0] * 5 + [1.0, 2.0] + [100.0] * 5 + [101.0])


@pytest.mark.parametrize(("n", "burst"), [(1, 1), (0.1, 1), (49, 1), (50, 2), (100, 3), (1000, 21)])
def test_burst_grows_with_the_limit(n: float, burst: int) -> None:
    """By default the burst is one call, and one more for every 50 of the limit."""
    assert Rate(n).burst == burst


def test_calls_start_in_order() -> None:
    """Calls start in the order in which they came, also those that come while others wait."""

    async def main() -> list[int]:
        started: list[int] = []

        @Rate(3, per=3)
        async def call(number: int) -> None:
            started.append(number)

        async def arrive(number: int) -> None:
            await asyncio.sleep(number * 0.3)
            await call(number)

        await asyncio.gather(*(arrive(number) for number in range(30)))
        return started

    assert run_virtual(main) == list(range(30))


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("at", [5.0, 10.0])
def test_cancelled_waiter_costs_no_token(place: int, at: float) -> None:
    """A call that is cancelled in line, at whatever place and moment, is none: those behind it start earlier."""

    async def main() -> dict[int, float]:
        now = asyncio.get_running_loop().time
        starts: dict[int, float] = {}

        @Rate(1, per=10)
        async def call(number: int) -> None:
            starts[number] = now()

        tasks = [asyncio.create_task(call(number)) for number in range(5)]
        asyncio.get_running_loop().call_at(at, tasks[place].cancel)
        await asyncio.wait(tasks)
        return starts

    starts = run_virtual(main)
    assert list(starts.values()) == pytest.approx([10.0 * turn for turn in range(len(starts))])
    # The first in line may have started in the very moment in which it was cancelled.
    assert [number for number in starts if number != place] == [
        number for number in range(5) if number != place
    ]


def test_call_that_fails_is_a_call() -> None:
    """A call that raises has used its token."""

    async def main() -> float:
        @Rate(1, per=10)
        async def call() -> None:
            raise LookupError

        for _ in range(2):
            with pytest.raises(LookupError):
                await call()
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == pytest.approx(10.0)


def loop_from(now: float) -> Callable[[], VirtualClockLoop]:
    """Return what makes a loop whose clock starts late, as the real ones go on from loop to loop."""

    def make() -> VirtualClockLoop:
        loop = VirtualClockLoop()
        loop._now = now
        return loop

    return make


@pytest.mark.parametrize(
    ("begin", "expected"),
    [(7.0, [15.0, 25.0]), (15.0, [15.0, 25.0]), (1000.0, [1000.0, 1010.0]), (0.0, [10.0, 20.0])],
)
def test_next_loop_goes_on_where_the_last_one_ended(begin: float, expected: list[float]) -> None:
    """One event loop after another, the limit holds across them; a clock that starts anew is not trusted."""
    rate = Rate(1, per=10)

    async def main(arrivals: list[float]) -> list[float]:
        return await starts_of(rate, arrivals)

    with asyncio.Runner(loop_factory=loop_from(0.0)) as runner:
        assert runner.run(main([5.0])) == [5.0]
    with asyncio.Runner(loop_factory=loop_from(begin)) as runner:
        assert runner.run(main([0.0, 0.0])) == pytest.approx(expected)


def test_one_limit_holds_for_all_that_it_wraps() -> None:
    """Callables that are wrapped by one object share its limit."""

    async def main() -> float:
        rate = Rate(1, per=10)

        async def nothing() -> None: ...

        await asyncio.gather(rate(nothing)(), rate(nothing)(), rate(nothing)())
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == pytest.approx(20.0)


def test_wait_is_noted(record: Record) -> None:
    """The seconds that a sample waited for the rate are in its record."""
    run_virtual(partial(starts_of, Rate(1, per=10), [0.0, 0.0, 0.0]))
    assert record.rate == pytest.approx(30.0)
    assert record.slot == 0.0


def test_wrapped_call_is_the_call() -> None:
    """Arguments, result and name are those of the call that is wrapped."""

    @Rate(1)
    async def call(value: int, *, double: bool) -> int:
        """Count."""
        return 2 * value if double else value

    assert run_virtual(partial(call, 4, double=True)) == 8
    assert (call.__name__, call.__doc__) == ("call", "Count.")


NUMBERS = [0, -1, 0.0, -0.5, True, False, float("nan"), float("inf"), "3", None]


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize("name", ["n", "per"])
def test_number_that_cannot_be_is_refused(name: str, value: Any) -> None:
    """The limit and its period must be finite numbers above 0; the error names what was given."""
    with pytest.raises(ConfigurationError, match=f"Rate's {name} is {value!r}: give a number of "):
        Rate(**{"n": 1, name: value})


@pytest.mark.parametrize("value", [0, -1, 6, True, 1.0, float("nan"), "2"])
def test_burst_that_cannot_be_is_refused(value: Any) -> None:
    """The burst must be a whole number from 1 to the limit; the error names what was given."""
    with pytest.raises(
        ConfigurationError, match=f"Rate's burst is {value!r}: give a whole number from 1 to n, here 5"
    ):
        Rate(5.9, burst=value)


def test_shows_itself() -> None:
    """A rate shows its limit."""
    assert repr(Rate(100, per=60)) == "Rate(100, per=60, burst=3)"
