"""Rate: so many calls in a period."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from aeval.context import current_record
from aeval.errors import ConfigurationError
from aeval.middleware.base import Middleware
from aeval.middleware.slots import Slots

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

__all__ = ["Rate"]

P = ParamSpec("P")
R = TypeVar("R")


class Rate(Middleware):
    """Start at most so many calls in any period of so many seconds, first come first served.

    The pace is even: a leaky bucket lets `burst` calls go at once and then one every `per / (n - burst + 1)`
    seconds, so that no window of `per` seconds holds more than `n` starts. What a server counts is when calls reach
    it, which takes some longer than others: where it refuses one now and then, stay a few percent below its limit.

    The same object may wrap several callables, or be shared by several runs: together they hold its limit.

    :param n: calls in a period; more than 0. Of a number above 1 the whole part counts.
    :param per: the period, in seconds
    :param burst: how many may start at once after a quiet time, from 1 to `n`; each one of them makes the
        steady pace a little slower, by one call in a period. By default one, and one more for every 50
        in `n`, which makes good what a busy event loop wakes too late for.
    :raises ConfigurationError: if a number is zero, negative or not finite, or the burst is above `n`
    """

    def __init__(self, n: float, per: float = 60.0, *, burst: int | None = None) -> None:
        for name, value, unit in (("n", n, "calls"), ("per", per, "seconds")):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ConfigurationError(f"Rate's {name} is {value!r}: give a number of {unit}")
            if not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"Rate's {name} is {value!r}: give a number of {unit} above 0")
        whole = max(1, math.floor(n))
        if burst is None:
            burst = 1 + whole // 50
        elif isinstance(burst, bool) or not isinstance(burst, int) or not 1 <= burst <= whole:
            raise ConfigurationError(
                f"Rate's burst is {burst!r}: give a whole number from 1 to n, here {whole}"
            )
        self.n = n
        self.per = per
        self.burst = burst
        self._pace = (whole - burst + 1 if n >= 1 else n) / per
        self._turn = Slots(1)
        self._limiter: AsyncLimiter | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last = -math.inf

    def __repr__(self) -> str:
        return f"Rate({self.n:g}, per={self.per:g}, burst={self.burst})"

    def __call__(self, call: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]:
        """Wrap a call."""

        @wraps(call)
        async def paced(*args: P.args, **kwargs: P.kwargs) -> R:
            await self._start()
            return await call(*args, **kwargs)

        return paced

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        turn = self._turn
        # The limiter serves its own waiters by amount and lets a newcomer overtake them; only the first
        # in line is let near it.
        if turn.free:
            turn.free -= 1
        else:
            await turn.wait()
        try:
            await (await self._limiter_of(loop)).acquire()
            self._last = loop.time()
        finally:
            turn.release()
            record = current_record()
            if record is not None:
                record.wait(rate=loop.time() - began)

    async def _limiter_of(self, loop: asyncio.AbstractEventLoop) -> AsyncLimiter:
        if self._limiter is None or self._loop is not loop:
            from aiolimiter import AsyncLimiter

            limiter = AsyncLimiter(self.burst, self.burst / self._pace)
            # A limiter belongs to one loop. The next one starts as full as this one was left.
            idle = max(0.0, loop.time() - self._last)
            level = min(float(self.burst), max(0.0, self.burst - idle * self._pace))
            if level:
                await limiter.acquire(level)
            self._limiter, self._loop = limiter, loop
        return self._limiter
