"""Timeout: a call ends in so many seconds, or errs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from aeval.errors import CallTimeout, ConfigurationError
from aeval.middleware.base import Middleware

__all__ = ["Timeout"]

P = ParamSpec("P")
R = TypeVar("R")


class Timeout(Middleware):
    """End each call after so many seconds with a `CallTimeout`.

    Around `Retry` it bounds the attempts and waits together; inside of it, each attempt.

    :param seconds: how long a call may take; more than 0
    :raises ConfigurationError: if it is zero, negative or not finite
    """

    def __init__(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise ConfigurationError(f"the timeout is {seconds!r}: give a number of seconds")
        if not (math.isfinite(seconds) and seconds > 0):
            raise ConfigurationError(f"the timeout is {seconds!r}: give a number of seconds above 0")
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"Timeout({self.seconds:g})"

    def __call__(self, call: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]:
        """Wrap a call."""
        seconds = self.seconds

        @wraps(call)
        async def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            deadline = asyncio.timeout(seconds)
            try:
                async with deadline:
                    return await call(*args, **kwargs)
            except TimeoutError as error:
                if deadline.expired():
                    raise CallTimeout(f"the call took longer than its timeout of {seconds:g} s") from error
                raise

        return timed
