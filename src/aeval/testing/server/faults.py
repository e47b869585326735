"""Faults: what goes wrong with a request, by chance or by script."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Literal, TypeAlias, get_args

import attrs

from aeval.errors import ConfigurationError

__all__ = ["Fault", "FaultKind", "FaultSource", "Faults"]

FaultKind = Literal["overloaded", "drop", "disconnect", "stall", "malformed", "html"]
Fault: TypeAlias = FaultKind | str | int
"""One of the kinds, or an HTTP error status, as in `503` or `"503"`."""

_KINDS: tuple[str, ...] = get_args(FaultKind)


def _checked(fault: Fault) -> str:
    name = str(fault)
    if name in _KINDS or (len(name) == 3 and name.isdigit() and name[0] in "45"):
        return name
    known = ", ".join(map(repr, _KINDS))
    raise ConfigurationError(
        f"the fault {fault!r} is unknown: use one of {known}, or an error status such as 500"
    )


def _probability(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigurationError(f"the probability {attribute.name}={value!r} must lie between 0 and 1")


def _chance() -> float:
    return attrs.field(default=0.0, validator=_probability)


@attrs.frozen(kw_only=True)
class Faults:
    """How often each thing goes wrong, as probabilities of one request; at most one goes wrong with each.

    :param server_error: an error 500
    :param overloaded: the provider's "overloaded" error: 503, for Anthropic 529
    :param dropped: the connection is closed in the middle of the answer's body
    :param disconnected: the connection is closed before anything is answered
    :param stalled: nothing is ever answered
    :param malformed: status 200 with half a JSON document
    :param html: status 200 with a page of HTML, as a proxy sends
    :param first_attempts: this fault for the first request with each distinct prompt, whatever the chances
    :raises ConfigurationError: if a probability, or the sum of them, is not between 0 and 1, or if the fault of
        the first attempts is unknown
    """

    server_error: float = _chance()
    overloaded: float = _chance()
    dropped: float = _chance()
    disconnected: float = _chance()
    stalled: float = _chance()
    malformed: float = _chance()
    html: float = _chance()
    first_attempts: Fault | None = None

    def __attrs_post_init__(self) -> None:
        if self.first_attempts is not None:
            _checked(self.first_attempts)
        total = sum(self.chances().values())
        if total > 1 + 1e-9:
            raise ConfigurationError(
                f"the probabilities of faults add up to {total:g}: they may add up to 1 at most"
            )

    def chances(self) -> dict[str, float]:
        """Tell the probability of each fault, by its name in a script."""
        return {
            "500": self.server_error,
            "overloaded": self.overloaded,
            "drop": self.dropped,
            "disconnect": self.disconnected,
            "stall": self.stalled,
            "malformed": self.malformed,
            "html": self.html,
        }


class FaultSource:
    """Tells for one request after another what goes wrong with it.

    :param faults: chances, or a script: a fault or None for one request after another, and none after its end
    :param seed: decides what chance brings
    :raises ConfigurationError: if a scripted fault is unknown; an iterator's are checked as they are used
    """

    def __init__(self, faults: Faults | Iterable[Fault | None] | None, seed: int) -> None:
        self._random = random.Random(f"faults {seed}")
        self._first: Fault | None = None
        self._kinds: list[str] = []
        self._bounds: list[float] = []
        self._script: Iterator[Fault | None] | None = None
        # Digests, not prompts: only whether a prompt was seen matters.
        self._seen: set[int] = set()
        if isinstance(faults, Faults):
            self._first = faults.first_attempts
            chances = faults.chances()
            self._kinds = list(chances)
            self._bounds = list(accumulate(chances.values()))
        elif isinstance(faults, str):
            raise ConfigurationError(
                f"faults is the string {faults!r}: write a list of faults, as in [{faults!r}]"
            )
        elif faults is not None:
            if isinstance(faults, (list, tuple)):
                faults = [None if fault is None else _checked(fault) for fault in faults]
            self._script = iter(faults)

    def next(self, prompt: str) -> str | None:
        """Tell what goes wrong with the next request: a kind, a status in digits, or None."""
        if self._script is not None:
            fault = next(self._script, None)
            return None if fault is None else _checked(fault)
        if not self._kinds:
            return None
        drawn = self._random.random()
        if self._first is not None and (digest := hash(prompt)) not in self._seen:
            self._seen.add(digest)
            return str(self._first)
        return next(
            (kind for kind, bound in zip(self._kinds, self._bounds, strict=True) if drawn < bound), None
        )
