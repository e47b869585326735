"""Latency: how long the server takes to answer."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TypeAlias

import attrs

from aeval.errors import ConfigurationError

__all__ = ["Latency", "Lognormal", "latency_of"]


@attrs.frozen
class Lognormal:
    """Latencies as APIs have them: most are near the median, a few are many times as long.

    :param median: in seconds; half of the latencies are longer
    :param sigma: the standard deviation of the latency's logarithm; with 0.5, one in twenty is longer than 2.3
        medians
    :raises ConfigurationError: if the median is not above 0, or sigma is below 0
    """

    median: float
    sigma: float = 0.5

    def __attrs_post_init__(self) -> None:
        if not (math.isfinite(self.median) and self.median > 0):
            raise ConfigurationError(f"the median latency must be above 0 seconds, but is {self.median!r}")
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise ConfigurationError(f"the sigma of a latency must be 0 or more, but is {self.sigma!r}")

    def __call__(self, chance: random.Random) -> float:
        """Draw one latency in seconds."""
        return self.median * math.exp(self.sigma * chance.gauss(0.0, 1.0))


Latency: TypeAlias = float | Lognormal | Callable[[random.Random], float]
"""Seconds, a distribution, or a callable that draws seconds."""


def latency_of(latency: Latency, seed: int) -> Callable[[], float]:
    """Make a callable that gives the latency of one request after another.

    :raises ConfigurationError: if a constant latency is below 0
    """
    if callable(latency):
        chance = random.Random(f"latency {seed}")
        draw = latency
        return lambda: max(0.0, draw(chance))
    if not (math.isfinite(latency) and latency >= 0):
        raise ConfigurationError(f"the latency must be 0 seconds or more, but is {latency!r}")
    return lambda: latency
