"""Admission: which calls the limits let through, and what the answers tell of the limits."""

from __future__ import annotations

import attrs

from aeval.errors import ConfigurationError
from aeval.testing.server.answers import ModelRequest
from aeval.testing.server.api import Api, ApiError, Headers, LimitState, retry_headers
from aeval.testing.server.limits import Limit, Meter
from aeval.testing.server.record import Exchange, RequestLog

__all__ = ["Admission", "Refusal"]


@attrs.frozen
class Refusal:
    """Why a call was refused, and what its headers say of another try."""

    error: ApiError
    headers: Headers


class Admission:
    """The limits of one server.

    :param log: what counts the calls in flight
    :param requests: the limit on requests
    :param tokens: the limit on tokens
    :param in_flight: calls in flight at one time
    :param retry_after: `"seconds"`, `"date"`, or None
    :param headers: whether answers tell where the limits stand
    """

    def __init__(
        self,
        log: RequestLog,
        *,
        requests: Limit | None,
        tokens: Limit | None,
        in_flight: int | None,
        retry_after: str | None,
        headers: bool,
    ) -> None:
        if in_flight is not None and in_flight < 1:
            raise ConfigurationError(f"in_flight={in_flight!r} must be 1 or more")
        if retry_after not in ("seconds", "date", None):
            raise ConfigurationError(f"retry_after={retry_after!r} is unknown: use 'seconds', 'date', or None")
        self._log = log
        self._in_flight = in_flight
        self._retry_after = retry_after
        self._headers = headers
        self._meters: dict[str, tuple[Limit, Meter]] = {
            name: (limit, limit.meter())
            for name, limit in (("requests", requests), ("tokens", tokens))
            if limit
        }

    def refusal(self, exchange: Exchange, request: ModelRequest, now: float) -> Refusal | None:
        """Admit a call, which then uses its share of the limits, or tell why not: then it uses nothing."""
        # Nothing is awaited in here: between the question and the use no other call can come.
        exchange.in_flight_at_start = self._log.in_flight + 1
        costs = {"requests": 1, "tokens": request.input_tokens + (request.max_tokens or 0)}
        waits = {name: meter.wait(costs[name], now) for name, (_, meter) in self._meters.items()}
        slowest = max(waits, key=waits.__getitem__, default="")
        if slowest and waits[slowest] > 0:
            exchange.refused = True
            limit = self._meters[slowest][0]
            message = (
                f"Rate limit reached for {request.model} on {slowest}: "
                f"Limit {limit.capacity:g} per {limit.per:g}s, Requested {costs[slowest]}."
            )
            return self._refuse(message, slowest, retry_headers(waits[slowest], self._retry_after))
        if self._in_flight is not None and exchange.in_flight_at_start > self._in_flight:
            exchange.refused = True
            return self._refuse(f"Too many concurrent requests: Limit {self._in_flight}.", "requests", [])
        for name, (_, meter) in self._meters.items():
            meter.take(costs[name], now)
        if "tokens" in self._meters:
            exchange.charged_tokens = costs["tokens"]
        self._log.admit(exchange)
        return None

    def headers(self, api: Api, now: float) -> Headers:
        """Write where the limits stand."""
        if not self._headers or not self._meters:
            return []
        return api.limit_headers(
            [
                LimitState(name, limit.capacity, meter.remaining(now), meter.reset(now))
                for name, (limit, meter) in self._meters.items()
            ]
        )

    def _refuse(self, message: str, kind: str, headers: Headers) -> Refusal:
        return Refusal(ApiError(429, message, kind=kind, code="rate_limit_exceeded"), headers)
