"""The record of what the server was asked: RecordedRequest, and the log that keeps them."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from operator import attrgetter

import attrs

__all__ = ["RecordedRequest", "RequestLog", "ServerStats"]


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """One request as the server saw it.

    :param number: its place in the order of arrival, from 0
    :param started: when it came, in seconds of the server's clock
    :param ended: when its answer was sent, or the client was gone
    :param route: the path, as in `"/v1/chat/completions"`
    :param model: the model's name; empty where the request named none
    :param prompt: the text of the last message of the user
    :param status: the status that was answered; None where nothing was, because the client gave up first
    :param admitted: whether it was a call to a model that every limit let through
    :param refused: whether a limit refused it
    :param fault: what was made to go wrong, or None
    :param in_flight_at_start: calls in flight when it came, counting itself; 0 where it was no call to a model
    :param charged_tokens: what it used of the token limit
    :param input_tokens: tokens of its messages
    :param output_tokens: tokens of its answer
    """

    number: int
    started: float
    ended: float
    route: str
    model: str
    prompt: str
    status: int | None
    admitted: bool
    refused: bool
    fault: str | None
    in_flight_at_start: int
    charged_tokens: int
    input_tokens: int
    output_tokens: int

    @property
    def duration(self) -> float:
        """Seconds from its arrival to the end of its answer."""
        return self.ended - self.started


@attrs.frozen
class ServerStats:
    """Counts since the server was made; they are not bounded by what the record keeps.

    :param received: requests that came
    :param answered: calls to a model that were answered with status 200
    :param refused: calls that a limit refused
    :param faults: calls that were made to go wrong
    :param abandoned: requests that were given up by the client before they were answered
    :param in_flight: calls in flight now
    :param max_in_flight: the most calls that ever were in flight at one time
    """

    received: int = 0
    answered: int = 0
    refused: int = 0
    faults: int = 0
    abandoned: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


@attrs.define(eq=False, kw_only=True)
class Exchange:
    """A request while it is being served: what will become its record."""

    number: int
    started: float
    route: str
    model: str = ""
    prompt: str = ""
    status: int | None = None
    admitted: bool = False
    refused: bool = False
    fault: str | None = None
    in_flight_at_start: int = 0
    charged_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def recorded(self, ended: float) -> RecordedRequest:
        """Make the record of it, as of a moment."""
        return RecordedRequest(
            number=self.number,
            started=self.started,
            ended=ended,
            route=self.route,
            model=self.model,
            prompt=self.prompt,
            status=self.status,
            admitted=self.admitted,
            refused=self.refused,
            fault=self.fault,
            in_flight_at_start=self.in_flight_at_start,
            charged_tokens=self.charged_tokens,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
        )


class RequestLog:
    """Keeps what was asked. One thread writes it, any may read it.

    :param keep: how many finished requests are remembered
    """

    def __init__(self, keep: int) -> None:
        self._lock = threading.Lock()
        self._finished: deque[RecordedRequest] = deque(maxlen=keep)
        self._open: dict[int, Exchange] = {}
        self.received = self.answered = self.refused = self.faults = self.abandoned = 0
        self.in_flight = self.max_in_flight = 0

    def arrive(self, route: str, now: float) -> Exchange:
        """Note that a request has come in full."""
        with self._lock:
            exchange = Exchange(number=self.received, started=now, route=route)
            self.received += 1
            self._open[exchange.number] = exchange
        return exchange

    def admit(self, exchange: Exchange) -> None:
        """Note that a call is in flight from now on."""
        with self._lock:
            exchange.admitted = True
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def finish(self, exchange: Exchange, now: float) -> None:
        """Note that a request is over; a second time changes nothing."""
        with self._lock:
            if self._open.pop(exchange.number, None) is None:
                return
            record = exchange.recorded(now)
            self._finished.append(record)
            self.in_flight -= record.admitted
            self.refused += record.refused
            self.faults += record.fault is not None
            self.abandoned += record.status is None and record.fault != "disconnect"
            self.answered += record.status == 200 and record.admitted and record.fault is None

    def stats(self) -> ServerStats:
        """Tell the counts as they are now."""
        with self._lock:
            return ServerStats(
                received=self.received,
                answered=self.answered,
                refused=self.refused,
                faults=self.faults,
                abandoned=self.abandoned,
                in_flight=self.in_flight,
                max_in_flight=self.max_in_flight,
            )

    def requests(self) -> list[RecordedRequest]:
        """Tell the finished requests that are remembered, in the order in which they came."""
        with self._lock:
            finished = list(self._finished)
        return sorted(finished, key=attrgetter("number"))

    def steps(self, now: float) -> Iterator[tuple[float, int]]:
        """Give the moments at which the number of calls in flight changed, and what it was from then on."""
        changes: dict[float, int] = {}
        for started, ended in self._calls(now):
            changes[started] = changes.get(started, 0) + 1
            changes[ended] = changes.get(ended, 0) - 1
        count = 0
        for moment in sorted(changes):
            count += changes[moment]
            yield moment, count

    def mean(self, now: float, since: float | None, until: float | None) -> float:
        """Tell the mean number of calls in flight between two moments."""
        calls = list(self._calls(now))
        if since is None:
            since = min((started for started, _ in calls), default=now)
        if until is None:
            until = max((ended for _, ended in calls), default=now)
        if until <= since:
            return 0.0
        busy = math.fsum(max(0.0, min(ended, until) - max(started, since)) for started, ended in calls)
        return busy / (until - since)

    def _calls(self, now: float) -> list[tuple[float, float]]:
        with self._lock:
            open_calls = [
                (e.started, now) for e in self._open.values() if e.in_flight_at_start and not e.refused
            ]
            finished = [(r.started, r.ended) for r in self._finished if r.admitted]
        return finished + open_calls
