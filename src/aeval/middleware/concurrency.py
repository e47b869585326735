"""Concurrency: at most so many calls at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from aeval.clock import clock_of
from aeval.context import current_record
from aeval.errors import ConfigurationError
from aeval.middleware.base import Middleware
from aeval.middleware.slots import Slots

__all__ = ["Concurrency"]

P = ParamSpec("P")
R = TypeVar("R")


class Concurrency(Middleware):
    """Let at most so many calls be in flight at once; the others wait their turn in order.

    The same object may wrap several callables, or be shared by several runs: together they hold its limit.

    :param max_concurrency: calls in flight at once, 1 or more
    :raises ConfigurationError: if it is not a whole number of 1 or more
    """

    def __init__(self, max_concurrency: int) -> None:
        if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int) or max_concurrency < 1:
            raise ConfigurationError(
                f"max_concurrency is {max_concurrency!r}: give a whole number of calls, 1 or more"
            )
        self.max_concurrency = max_concurrency
        self.slots = Slots(max_concurrency)

    def __repr__(self) -> str:
        return f"Concurrency({self.max_concurrency})"

    def __call__(self, call: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]:
        """Wrap a call."""
        slots = self.slots

        @wraps(call)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> R:
            if slots.free:
                slots.free -= 1
            else:
                await _wait(slots)
            try:
                return await call(*args, **kwargs)
            finally:
                slots.release()

        return limited

    @property
    def in_flight(self) -> int:
        """Calls in flight now."""
        return self.max_concurrency - self.slots.free


async def _wait(slots: Slots) -> None:
    now = clock_of(asyncio.get_running_loop())
    started = now()
    try:
        await slots.wait()
    finally:
        record = current_record()
        if record is not None:
            record.wait(slot=now() - started)
