"""What the command line's words mean."""

from __future__ import annotations

import re
from typing import Any

from aeval.errors import ConfigurationError
from aeval.evaluation import Evaluation
from aeval.middleware import Concurrency, Middleware, Rate, Stack, Timeout, stack
from aeval.stream import default_stack

__all__ = ["parse_age", "parse_max_errors", "parse_rate", "with_limits"]

_PERIODS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
}
_AGES = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(r"(?P<n>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]+)", re.ASCII)
_RATE = re.compile(r"(?P<n>\d+(?:\.\d+)?)\s*/\s*(?P<number>\d+(?:\.\d+)?)?\s*(?P<unit>[a-z]*)", re.ASCII)


def parse_rate(text: str) -> Rate:
    """Return the rate that a text such as `100/min`, `5/s` or `1000/10s` means.

    :raises ConfigurationError: if it means none
    """
    found = _RATE.fullmatch(text.strip().lower())
    if found is not None and (found["number"] or found["unit"]):
        unit = 1 if not found["unit"] else _PERIODS.get(found["unit"])
        if unit is not None:
            return Rate(float(found["n"]), per=float(found["number"] or 1) * unit)
    raise ConfigurationError(f"the rate is {text!r}: write N/PERIOD, as in 100/min, 5/s, 1000/10s or 50/hour")


def parse_age(text: str) -> float:
    """Return the seconds that a text such as `12h`, `30d` or `4w` means.

    :raises ConfigurationError: if it means none
    """
    found = _AGE.fullmatch(text.strip().lower())
    if found is None or found["unit"] not in _AGES:
        raise ConfigurationError(
            f"the age is {text!r}: write a number and min, h, d or w, as in 90min, 12h, 30d or 4w"
        )
    return float(found["n"]) * _AGES[found["unit"]]


def parse_max_errors(text: str) -> int | float:
    """Return the count or fraction that a text means.

    :raises ConfigurationError: if it is neither
    """
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise ConfigurationError(
            f"max-errors is {text!r}: write a count, as in 10, or a fraction, as in 0.1"
        ) from None


def with_limits(evaluation: Evaluation[Any, Any], limits: list[Middleware]) -> Stack:
    """Return an evaluation's layers with limits put in.

    A limit takes the place of the evaluation's own of that kind; else it goes inside of all others, in the order
    cap, rate, timeout: what a call waits for then counts neither as retry nor against its timeout.

    :param limits: `Concurrency`, `Rate` and `Timeout` objects, at most one of each
    """
    layers: list[Middleware] = list(evaluation.middleware or default_stack())
    for kind in (Concurrency, Rate, Timeout):
        for limit in limits:
            if isinstance(limit, kind):
                places = [place for place, layer in enumerate(layers) if isinstance(layer, kind)]
                if places:
                    layers[places[0]] = limit
                else:
                    layers.append(limit)
    return stack(*layers)
