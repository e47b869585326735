"""What the scorers share: what they refuse, how they say that an output is right or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aeval.errors import ScoreError
from aeval.score import Score, refuse_awaitable

_SHOWN = 80  # Characters of a value that a message shows.
_LISTED = 5  # Values that a message lists.
_LEAD = 20  # Characters shown before the first difference of two long texts.


def refuse_unusable(name: str, output: object, expected: object, *, fix: str = "") -> None:
    """Refuse an output that was not awaited, and an expected answer that is missing or was not awaited."""
    refuse_awaitable(output, f"the output given to {name}")
    refuse_awaitable(expected, f"the expected answer given to {name}")
    if expected is None:
        raise ScoreError(
            f"the expected answer given to {name} is None: "
            f"{fix or 'give the right answer, or leave out the rows that have none'}"
        )


def answers(name: str, expected: object) -> list[Any]:
    """List the accepted answers: the items of a list, tuple or set, else the one answer."""
    if not isinstance(expected, (list, tuple, set, frozenset)):
        return [expected]
    if not expected:
        raise ScoreError(
            f"the expected answer given to {name} is an empty {type(expected).__name__}: "
            "give at least one accepted answer"
        )
    for position, answer in enumerate(expected):
        refuse_awaitable(answer, f"accepted answer {position} given to {name}")
        if answer is None:
            raise ScoreError(
                f"accepted answer {position} given to {name} is None: give an answer, or leave it out"
            )
    # A set has no order of its own: sorted, the same row gives the same words in every run.
    return sorted(expected, key=str) if isinstance(expected, (set, frozenset)) else list(expected)


def text_of(value: object) -> str:
    """Make a text of a value: bytes are decoded as UTF-8, anything else goes through `str`."""
    if isinstance(value, str):
        return str.__str__(value)  # The text of an enum's member, not its name.
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", errors="replace")
    return str(value)


def right(name: str, **metadata: Any) -> Score:
    """Say that an output is right."""
    return Score(True, name, metadata=metadata)


def wrong(name: str, reason: str, **metadata: Any) -> Score:
    """Say that an output is wrong, and why."""
    return Score(False, name, reason, metadata)


def nothing(name: str, expected: object, **metadata: Any) -> Score:
    """Say that there was no output, which is a wrong answer."""
    return wrong(name, f"there is no output (None), expected {shown(expected)}", **metadata)


def shown(value: object) -> str:
    """Show a value in a message, cut where it is long."""
    try:
        text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    except (ValueError, RecursionError):  # An int of thousands of digits, a list nested a thousand deep.
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def listed(values: Sequence[object]) -> str:
    """Show several values in a message, the first few of many."""
    more = len(values) - _LISTED
    return ", ".join(map(shown, values[:_LISTED])) + (f" and {more} more" if more > 0 else "")


def contrast(got: str, want: str) -> tuple[str, str]:
    """Show two texts that differ: long ones from a little before their first difference."""
    if max(len(got), len(want)) <= _SHOWN:
        return repr(got), repr(want)
    pairs = enumerate(zip(got, want, strict=False))
    start = max(0, next((place for place, (a, b) in pairs if a != b), min(len(got), len(want))) - _LEAD)
    return _window(got, start), _window(want, start)


def _window(text: str, start: int) -> str:
    part = text[start : start + _SHOWN]
    return f"{'...' if start else ''}{part!r}{'...' if len(text) > start + _SHOWN else ''}"
