"""The clock by which durations are measured: the event loop's, so that a virtual clock moves them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["clock_of"]


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return the loop's clock, as a function that gives seconds.

    asyncio's own loops read `time.monotonic`, by way of a method that takes longer than the reading.
    """
    return time.monotonic if type(loop).time is asyncio.BaseEventLoop.time else loop.time
