"""Score, and what a scorer may return."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeAlias

import attrs

from aeval.errors import ScoreError

__all__ = ["Score", "ScoreValue", "refuse_awaitable"]

ScoreValue: TypeAlias = bool | int | float | str


# Not frozen, since one is made for every sample, and freezing would triple what that costs.
@attrs.define
class Score:
    """What a scorer says of one sample: a named value, and why.

    :param value: a bool (right or wrong), a number, or a label
    :param name: what was measured; where it is None, the scorer's own name is used
    :param reason: why, in words
    :param metadata: anything else worth keeping; may be added to
    """

    value: ScoreValue
    name: str | None = None
    reason: str | None = None
    metadata: dict[str, Any] = attrs.Factory(dict)


def scores_of(returned: object, name: str) -> dict[str, Score]:
    """Make scores out of what a scorer returned.

    :param returned: a `Score`, a bool, a number, a label, a mapping of name to any of those, or a list of
        scores
    :param name: the scorer's name, for a score that has none
    :return: scores by name, in the order given
    :raises ScoreError: if it is none of these, or if two scores have one name
    """
    if returned is True or returned is False:
        return {name: Score(returned, name)}
    if isinstance(returned, Score):
        return _add({}, returned, name)
    if isinstance(returned, Mapping):
        scores: dict[str, Score] = {}
        for key, value in returned.items():
            _add(scores, _score(value, str(key), name), str(key))
        if not scores:
            raise ScoreError(f"the scorer {name!r} returned an empty mapping: return at least one score")
        return scores
    if isinstance(returned, (list, tuple)):
        scores = {}
        for item in returned:
            if not isinstance(item, Score):
                raise ScoreError(
                    f"the scorer {name!r} returned a {type(returned).__name__} that holds {_shown(item)}: "
                    "a list may hold Score objects only; for several values return a mapping of names to them"
                )
            _add(scores, item, name)
        if not scores:
            raise ScoreError(f"the scorer {name!r} returned an empty list: return at least one score")
        return scores
    return {name: _score(returned, name, name)}


def refuse_awaitable(value: object, what: str) -> None:
    """Raise a `ScoreError` that says to await, if a value is an awaitable.

    :param value: any value
    :param what: what the value is to the reader, as in "the output of 'score'"
    :raises ScoreError: if it is one; a coroutine is closed first, so that nothing warns of it later
    """
    if inspect.isawaitable(value):
        shown = _shown(value)
        if inspect.iscoroutine(value):
            value.close()
        raise ScoreError(f"{what} is {shown}, which was not awaited: write `await` before the call")


def _add(scores: dict[str, Score], score: Score, default: str) -> dict[str, Score]:
    if score.name is None:
        score = attrs.evolve(score, name=default)
    if _is_numpy_scalar(score.value):
        score = attrs.evolve(score, value=score.value.item())  # type: ignore[union-attr] # that numpy's have
    name = score.name or default
    if name in scores:
        raise ScoreError(f"two scores are named {name!r}: give each a name of its own")
    _check_value(score.value, name)
    scores[name] = score
    return scores


def _score(value: Any, name: str, scorer: str) -> Score:
    if isinstance(value, Score):
        return attrs.evolve(value, name=name)
    # Before Python's own, of which some of numpy's are subclasses that cannot be written as JSON.
    if _is_numpy_scalar(value):
        return _score(value.item(), name, scorer)
    if isinstance(value, (bool, str)):
        return Score(value, name)
    if isinstance(value, (int, float)):
        _check_value(value, name)
        return Score(value, name)
    if isinstance(value, Real):
        return _score(float(value), name, scorer)
    refuse_awaitable(value, f"what the scorer {scorer!r} returned")
    if value is None:
        raise ScoreError(f"the scorer {scorer!r} returned nothing (None): return a score")
    raise ScoreError(
        f"the scorer {scorer!r} returned {_shown(value)}: return a Score, a Result, a bool, a number, a label, "
        "a mapping of names to those, or a list of scores"
    )


def _check_value(value: object, name: str) -> None:
    refuse_awaitable(value, f"the value of the score {name!r}")
    if not isinstance(value, (bool, int, float, str)):
        raise ScoreError(f"the score {name!r} has the value {_shown(value)}: use a bool, a number, or a label")
    if not isinstance(value, str) and not abs(value) <= sys.float_info.max:
        raise ScoreError(
            f"the score {name!r} has the value {value!r}: raise an error where there is no score, so that it counts as one"
        )


def _is_numpy_scalar(value: Any) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()


def _shown(value: object) -> str:
    text = repr(value)
    return f"a {type(value).__name__}, {text if len(text) <= 80 else text[:77] + '...'}"
