"""Limit: how much of something a provider allows in a period, and the three ways of counting it."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal, Protocol

import attrs

from aeval.errors import ConfigurationError

__all__ = ["Limit", "Meter"]

Algorithm = Literal["sliding-window", "fixed-window", "token-bucket"]

# A client that waits exactly as long as it was told arrives early by the rounding of a float.
_ROUNDING = 1e-9


def _positive(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigurationError(
            f"{attribute.name} of a limit must be a number above 0, but is {value!r}: "
            "for no limit at all pass None in the limit's place"
        )


@attrs.frozen
class Limit:
    """So many requests or tokens in a period.

    :param amount: how many
    :param per: the period in seconds
    :param algorithm: how they are counted. `"sliding-window"`: never more than `amount` in any period;
        `"fixed-window"`: at most `amount` in each of the periods that follow one another from the first request
        on, so up to twice that around a boundary; `"token-bucket"`: `burst` at once, and `amount / per` a second
    :param burst: the bucket's size; `amount` where it is None
    :raises ConfigurationError: if a number is not above 0, if the algorithm is unknown, or if a burst is given
        to another algorithm than the bucket
    """

    amount: float = attrs.field(validator=_positive)
    per: float = attrs.field(default=60.0, kw_only=True, validator=_positive)
    algorithm: Algorithm = attrs.field(default="sliding-window", kw_only=True)
    burst: float | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(_positive)
    )

    def __attrs_post_init__(self) -> None:
        if self.algorithm not in _METERS:
            known = ", ".join(map(repr, _METERS))
            raise ConfigurationError(f"the algorithm of a limit is {self.algorithm!r}: use one of {known}")
        if self.burst is not None and self.algorithm != "token-bucket":
            raise ConfigurationError(
                f"burst={self.burst!r} was given to a {self.algorithm} limit: only a token bucket has a burst"
            )

    @property
    def capacity(self) -> float:
        """The most that is ever allowed at once."""
        return self.amount if self.burst is None else self.burst

    def meter(self) -> Meter:
        """Begin to count against this limit, with nothing used."""
        return _METERS[self.algorithm](self)


class Meter(Protocol):
    """What has been used of one limit. Every method is told the time, in seconds of any one clock."""

    def wait(self, cost: float, now: float) -> float:
        """Tell how many seconds from now the cost would be allowed.

        :return: 0 if it is allowed now, infinity if it never will be
        """
        ...

    def take(self, cost: float, now: float) -> None:
        """Use the cost, whether or not it is allowed."""
        ...

    def remaining(self, now: float) -> float:
        """Tell how much is left."""
        ...

    def reset(self, now: float) -> float:
        """Tell how many seconds from now the whole limit would be free again."""
        ...


class _SlidingWindow:
    """Every use is remembered until it is a period old."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._uses: deque[tuple[float, float]] = deque()
        self._used = 0.0

    def wait(self, cost: float, now: float) -> float:
        if cost > self._limit.amount:
            return math.inf
        self._forget(now)
        excess = self._used + cost - self._limit.amount
        free_at = now
        for used_at, amount in self._uses:
            if excess <= 0:
                break
            excess -= amount
            free_at = used_at + self._limit.per
        return max(0.0, free_at - now)

    def take(self, cost: float, now: float) -> None:
        self._uses.append((now, cost))
        self._used += cost

    def remaining(self, now: float) -> float:
        self._forget(now)
        return max(0.0, self._limit.amount - self._used)

    def reset(self, now: float) -> float:
        self._forget(now)
        return max(0.0, self._uses[-1][0] + self._limit.per - now) if self._uses else 0.0

    def _forget(self, now: float) -> None:
        while self._uses and now - self._uses[0][0] >= self._limit.per - _ROUNDING:
            self._used -= self._uses.popleft()[1]


class _FixedWindow:
    """The use is forgotten whenever a period ends; the first period begins with the first use."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._began = -math.inf
        self._used = 0.0

    def wait(self, cost: float, now: float) -> float:
        if cost > self._limit.amount:
            return math.inf
        return 0.0 if cost <= self.remaining(now) else self.reset(now)

    def take(self, cost: float, now: float) -> None:
        self._turn(now)
        if math.isinf(self._began):
            self._began = now
        self._used += cost

    def remaining(self, now: float) -> float:
        self._turn(now)
        return max(0.0, self._limit.amount - self._used)

    def reset(self, now: float) -> float:
        self._turn(now)
        return max(0.0, self._began + self._limit.per - now) if self._used else 0.0

    def _turn(self, now: float) -> None:
        if math.isfinite(self._began):
            ended = math.floor((now - self._began + _ROUNDING) / self._limit.per)
            if ended > 0:
                self._began += ended * self._limit.per
                self._used = 0.0


class _TokenBucket:
    """A bucket that starts full and is refilled evenly."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._rate = limit.amount / limit.per
        self._level = limit.capacity
        self._filled_at = -math.inf

    def wait(self, cost: float, now: float) -> float:
        if cost > self._limit.capacity:
            return math.inf
        missing = cost - self.remaining(now)
        return missing / self._rate if missing > _ROUNDING * self._rate else 0.0

    def take(self, cost: float, now: float) -> None:
        self._level = self.remaining(now) - cost

    def remaining(self, now: float) -> float:
        self._level = min(self._limit.capacity, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return max(0.0, self._level)

    def reset(self, now: float) -> float:
        return (self._limit.capacity - self.remaining(now)) / self._rate


_METERS: dict[str, type[_SlidingWindow | _FixedWindow | _TokenBucket]] = {
    "sliding-window": _SlidingWindow,
    "fixed-window": _FixedWindow,
    "token-bucket": _TokenBucket,
}
