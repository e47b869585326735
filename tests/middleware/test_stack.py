from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from aeval import Concurrency, Rate, Retry, Timeout, stack
from aeval.errors import ConfigurationError
from aeval.middleware import Stack
from aeval.testing import run_virtual

CALL = Callable[..., Awaitable[Any]]


def layer(name: str, log: list[str]) -> Callable[[CALL], CALL]:
    """Return a layer that notes when it is entered and left."""

    def wrap(call: CALL) -> CALL:
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            log.append(f"into {name}")
            try:
                return await call(*args, **kwargs)
            finally:
                log.append(f"out of {name}")

        return wrapped

    return wrap


async def double(value: int) -> int:
    return 2 * value


def test_first_layer_is_the_outermost() -> None:
    """A call goes into the layers in their order, and out of them in the reverse."""
    log: list[str] = []
    composed: Any = stack(*(layer(name, log) for name in "abc"))
    assert run_virtual(partial(composed(double), 4)) == 8
    assert log == ["into a", "into b", "into c", "out of c", "out of b", "out of a"]


def test_no_layers_leave_the_call_as_it_is() -> None:
    """A stack of nothing gives back the call itself."""
    assert stack()(double) is double


def test_stack_within_a_stack_is_its_layers() -> None:
    """Stacks within stacks are taken as their layers, in order."""
    layers = [Retry(), Timeout(1), Concurrency(1), Retry(), Timeout(2)]
    assert list(stack(layers[0], stack(layers[1], stack(layers[2])), stack(), *layers[3:])) == layers


A, B = Rate(1), Rate(2)
C, D = Concurrency(1), Concurrency(2)
T = Timeout(1)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ([A, C], [C, A]),
        ([C, A], [C, A]),
        ([A, B, C], [C, A, B]),
        ([A, C, D], [C, D, A]),
        ([A, C, B, D], [C, D, A, B]),
        ([A, T, C], [A, T, C]),
        ([T, A, C], [T, C, A]),
        ([stack(T, A), stack(C)], [T, C, A]),
    ],
)
def test_rate_directly_around_a_cap_goes_inside(given: list[Any], taken: list[Any]) -> None:
    """A Rate that stands directly around a Concurrency changes places with it; nothing else moves."""
    assert list(stack(*given)) == taken


def test_rate_holds_when_calls_wait_for_slots() -> None:
    """Calls that waited long for a slot do not start faster than the rate when many slots come free at once."""

    async def main() -> list[float]:
        now = asyncio.get_running_loop().time
        starts: list[float] = []

        async def call() -> None:
            starts.append(now())
            await asyncio.sleep(100.0)

        limited = stack(Rate(1, per=1), Concurrency(3))(call)
        await asyncio.gather(*(limited() for _ in range(9)))
        return starts

    starts = run_virtual(main)
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert min(gaps) == pytest.approx(1.0)


def test_call_that_sleeps_before_its_retry_holds_no_slot() -> None:
    """While one call sleeps before its next attempt, another has the only slot."""

    async def main() -> list[tuple[str, float]]:
        now = asyncio.get_running_loop().time
        log: list[tuple[str, float]] = []

        @stack(Retry(attempts=2, wait_initial=10.0, wait_jitter=0.0), Concurrency(1))
        async def call(name: str) -> None:
            log.append((name, now()))
            if name == "fails" and log.count((name, 0.0)) and now() < 10:
                raise ConnectionError
            await asyncio.sleep(1)

        await asyncio.gather(call("fails"), call("goes on"))
        return log

    assert run_virtual(main) == [("fails", 0.0), ("goes on", 0.0), ("fails", 10.0)]


@pytest.mark.parametrize(
    ("layers", "cap"),
    [
        ([], None),
        ([Retry(), Rate(5)], None),
        ([Concurrency(5)], 5),
        ([Concurrency(5), Retry(), Concurrency(50)], 50),
    ],
)
def test_largest_cap_is_told(layers: list[Any], cap: int | None) -> None:
    """A stack tells the largest cap among its layers, or that there is none."""
    assert stack(*layers).max_concurrency == cap


@pytest.mark.parametrize("value", [5, None, "Retry", [Retry()]])
def test_what_is_no_middleware_is_refused(value: Any) -> None:
    """What is not callable is no middleware; the error names it."""
    with pytest.raises(ConfigurationError, match="is not middleware: give a callable") as caught:
        stack(Retry(), value)
    assert repr(value) in str(caught.value)


def test_shows_its_layers() -> None:
    """A stack shows its layers, outermost first."""
    assert repr(stack(Timeout(1), Concurrency(5))) == "stack(Timeout(1), Concurrency(5))"
    assert isinstance(stack(), Stack)
