"""Outcome: what became of a whole sample, as a cache keeps and restores it."""

from __future__ import annotations

from typing import Any

import attrs

from aeval.context import Record
from aeval.middleware.forms import encoded
from aeval.middleware.identity import Identity
from aeval.result import Result
from aeval.score import scores_of

__all__ = ["identities_of", "kept_outcome", "restore_outcome"]


def identities_of(lane: Any, *, lenient: bool) -> list[Identity]:
    """Return what the samples of a lane call: the task and the scorers of its evaluation."""
    evaluation = lane.evaluation
    task = () if evaluation.task is None else (evaluation.task,)
    return [Identity(call, lenient=lenient) for call in (*task, *evaluation.scorer)]


def kept_outcome(record: Record, answer: Any) -> bytes:
    """Write what became of a sample.

    :param answer: what the sample's call returned: the output where there is a task, else what the scorers did
    :raises Formless: if it cannot be restored exactly
    :raises ScoreError: if a scorer returned what is no score, which is an error of the sample
    """
    returned = record.returned
    for name, value in [("score", answer)] if returned is None else returned:
        if not isinstance(value, Result):
            scores_of(value, name)
    if returned is None:
        return encoded((record.output, None, _without_usage(answer)))
    rest = None if answer is record.output else answer
    return encoded((record.output, [(name, _without_usage(value)) for name, value in returned], rest))


def restore_outcome(record: Record, kept: Any) -> Any:
    """Put what became of a sample into its record, and return what its call did."""
    output, returned, rest = kept
    record.output = output
    record.returned = returned
    return output if rest is None else rest


def _without_usage(value: Any) -> Any:
    """Return what a scorer returned without what it used of a provider: that is not used again."""
    if not isinstance(value, Result) or value.usage is None:
        return value
    fields = {field.name: getattr(value, field.name) for field in attrs.fields(Result)}
    return Result.restored(**{**fields, "usage": None})
