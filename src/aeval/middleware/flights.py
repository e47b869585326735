"""Flights: of equal calls made at one time, one is made, and the others wait for its answer."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Literal

__all__ = ["Flight", "Flights"]

# What the next in line is told: the call before failed, make it yourself; or: its answer is nobody else's.
LEAD: Literal["lead"] = "lead"
ALONE: Literal["alone"] = "alone"


class Flights:
    """The calls in the making, by their keys. They belong to one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    async def join(self, key: str) -> Flight | bytes | None:
        """Wait for the answer of an equal call that is in the making, if there is one.

        :return: the answer; or the flight, where this call is the one to make, by which it must be ended; or None,
            where this call is to be made for itself
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(self._flights, key)
            return flight
        told = flight.answer or await flight.wait()
        if told == LEAD:
            return flight
        return told if isinstance(told, bytes) else None

    def __len__(self) -> int:
        return len(self._flights)


class Flight:
    """A call in the making, and the equal calls that wait for its answer.

    No task is made for it: the first caller makes the call itself. Where it fails or is cancelled, the next in
    line makes the call: neither the error nor the cancellation is theirs.

    :ivar answer: the answer, once there is one
    """

    __slots__ = ("_flights", "_key", "_line", "answer")

    def __init__(self, flights: dict[str, Flight], key: str) -> None:
        self._flights = flights
        self._key = key
        self._line: deque[asyncio.Future[bytes | str]] = deque()
        self.answer: bytes | None = None

    async def wait(self) -> bytes | str:
        """Wait for the answer, or to be told to make the call."""
        turn: asyncio.Future[bytes | str] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The call was handed over in the very moment of the cancellation: pass it on.
                if turn.result() == LEAD:
                    self.end()
            else:
                with suppress(ValueError):
                    self._line.remove(turn)
            raise

    def land(self, answer: bytes) -> None:
        """Give the answer to all who wait, and to those who come before the end."""
        self.answer = answer
        self._tell_all(answer)

    def disband(self) -> None:
        """Let all who wait make calls of their own: the answer cannot be shared."""
        self._tell_all(ALONE)

    def end(self) -> None:
        """Leave; without an answer, the next in line makes the call."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(LEAD)
                return
        del self._flights[self._key]

    def _tell_all(self, told: bytes | str) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(told)
