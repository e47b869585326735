"""Slots: a number of places, given out first-come-first-served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from aeval.errors import RunError

__all__ = ["Slots"]


class Slots:
    """A number of places, given out first-come-first-served.

    asyncio's semaphore would do, but binds itself for ever to the first loop in which someone had to
    wait; an object that is made at module level and used by one `run_sync` after another must not.

    Whoever takes a place writes ::

        if slots.free:
            slots.free -= 1
        else:
            await slots.wait()
        try:
            ...
        finally:
            slots.release()

    so that the common case costs neither a call nor a turn of the loop. While anyone waits, `free` is 0:
    a place that comes free goes straight to the first in line, and nobody can overtake.
    """

    __slots__ = ("_loop", "_waiters", "free", "idle")

    def __init__(self, total: int) -> None:
        self.free = total
        # Called, once each, when a place comes free and nobody is in line for it.
        self.idle: set[Callable[[], None]] = set()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def wait(self) -> None:
        """Wait for a place that someone gives up. Cancelled, it takes none."""
        loop = asyncio.get_running_loop()
        if self._waiters and self._loop is not loop:
            raise RunError(
                "a limit is being waited for in two event loops at once: give each loop a limiter of its own"
            )
        self._loop = loop
        turn: asyncio.Future[None] = loop.create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The place was handed over in the very moment of the cancellation: pass it on.
                self.release()
            else:
                # A release between the cancellation and now has taken the turn out of the line already.
                with suppress(ValueError):
                    self._waiters.remove(turn)
            raise

    def release(self) -> None:
        """Give a place to the first in line, or back."""
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1
        while self.idle:
            self.idle.pop()()

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._waiters)
