from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from aeval import Retry, Timeout, stack
from aeval.errors import CallTimeout, ConfigurationError
from aeval.testing import run_virtual
from aeval.threads import Threads


async def nap(seconds: float) -> float:
    """Sleep."""
    await asyncio.sleep(seconds)
    return seconds


def test_call_ends_after_exactly_its_seconds() -> None:
    """A call that takes too long ends with a CallTimeout after exactly the seconds it had."""

    async def main() -> float:
        with pytest.raises(CallTimeout, match=r"the call took longer than its timeout of 2.5 s"):
            await Timeout(2.5)(nap)(10.0)
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == 2.5


def test_call_in_time_is_the_call() -> None:
    """A call that ends in time gives its result, and keeps its name."""
    timed = Timeout(5)(nap)
    assert run_virtual(partial(timed, seconds=4.0)) == 4.0
    assert (timed.__name__, timed.__doc__) == ("nap", "Sleep.")


def test_own_timeout_of_the_call_passes_untouched() -> None:
    """A TimeoutError that the call itself raises comes out as it is."""
    own = TimeoutError("of the client")

    async def call() -> None:
        raise own

    with pytest.raises(TimeoutError) as caught:
        run_virtual(Timeout(5)(call))
    assert caught.value is own


def test_other_errors_pass_untouched() -> None:
    """Any other error of the call comes out as it is."""

    async def call() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_virtual(Timeout(5)(call))


def test_inner_timeout_is_told_from_the_outer_one() -> None:
    """Of two timeouts around a call the one that passed is the one that is told."""
    with pytest.raises(CallTimeout, match="timeout of 1 s"):
        run_virtual(partial(Timeout(5)(Timeout(1)(nap)), 10.0))


def test_cancellation_is_no_timeout() -> None:
    """A call that is cancelled from outside ends as cancelled."""

    async def main() -> None:
        task = asyncio.create_task(Timeout(5)(nap)(10.0))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main)


@pytest.mark.parametrize(("outside", "seconds"), [(True, 3.0), (False, 3 * 3.0 + 1.0 + 2.0)])
def test_around_retry_it_bounds_all_attempts(outside: bool, seconds: float) -> None:
    """Around a Retry the timeout bounds attempts and waits together; inside of it, each attempt."""
    retry, timeout = Retry(attempts=3, wait_jitter=0.0), Timeout(3)

    async def main() -> float:
        with pytest.raises(CallTimeout):
            await stack(*((timeout, retry) if outside else (retry, timeout)))(nap)(10.0)
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == pytest.approx(seconds)


@pytest.mark.anyio
async def test_sync_call_is_given_up() -> None:
    """A sync call in a thread is given up at its timeout, though its thread goes on."""
    go_on, threads = threading.Event(), Threads(1)
    try:
        with pytest.raises(CallTimeout):
            await Timeout(0.01)(threads.run)(go_on.wait)
        assert threads.abandoned == 1
    finally:
        go_on.set()
    assert await threads.run(lambda: "next") == "next"
    assert threads.abandoned == 0


@pytest.mark.parametrize("value", [0, -1, 0.0, True, False, float("nan"), float("inf"), "3", None])
def test_timeout_that_cannot_be_is_refused(value: Any) -> None:
    """A timeout must be a finite number of seconds above 0; the error names what was given."""
    with pytest.raises(ConfigurationError, match=f"the timeout is {value!r}: give a number of seconds"):
        Timeout(value)


def test_shows_itself() -> None:
    """A timeout shows its seconds."""
    assert repr(Timeout(2.5)) == "Timeout(2.5)"
