"""Slots: the server's capacity. Calls beyond it queue, first come first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["Receive", "Slots", "client_gone", "gone_before"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def client_gone(receive: Receive) -> None:
    """Wait until the client has closed its connection."""
    message: MutableMapping[str, Any] = {}
    while message.get("type") != "http.disconnect":
        message = await receive()


async def gone_before(receive: Receive, deadline: asyncio.Timeout) -> bool:
    """Wait until a deadline, or until the client has gone.

    A client that gave up is noticed at once, without a task of its own to watch for it: the wait for the
    client's next message is what the deadline cuts short.

    :return: whether the client has gone
    """
    try:
        async with deadline:
            await client_gone(receive)
    except TimeoutError:
        return False
    return True


class _Turn:
    """One call's place in the queue."""

    def __init__(self) -> None:
        self.deadline = asyncio.timeout(None)
        self.come = False


class Slots:
    """As many calls at once as there are slots.

    :param number: how many, or None for any number
    """

    def __init__(self, number: int | None) -> None:
        self._free = number
        self._queue: deque[_Turn] = deque()

    async def acquire(self, receive: Receive) -> bool:
        """Wait for a slot.

        :return: whether one was given; False if the client has gone before
        """
        if self._free is None:
            return True
        if self._free:
            self._free -= 1
            return True
        turn = _Turn()
        self._queue.append(turn)
        gone = True
        try:
            gone = await gone_before(receive, turn.deadline)
        finally:
            self._settle(turn, gone=gone)
        return not gone

    def release(self) -> None:
        """Hand the slot to the call that has waited longest."""
        if self._free is None:
            return
        if self._queue:
            turn = self._queue.popleft()
            turn.come = True
            # The turn has come: what the call waits for ends at once.
            turn.deadline.reschedule(0)
        else:
            self._free += 1

    def _settle(self, turn: _Turn, *, gone: bool) -> None:
        if not gone:
            return
        if turn.come:
            self.release()
        else:
            self._queue.remove(turn)
