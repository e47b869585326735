"""Sample: one row with its identity."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

__all__ = ["Sample", "SampleId"]

RowT = TypeVar("RowT")

SampleId = str | int


# Neither frozen nor slotted: one is made for every sample, and either would triple what that costs.
@attrs.define(slots=False, eq=False)
class Sample(Generic[RowT]):
    """One row with its identity.

    :param id: the row's own `id`, else its index
    :param index: the row's place in the dataset, from 0
    :param repeat: which of the row's repeats this is, from 0
    :param row: the row, as the dataset gave it
    """

    id: SampleId
    index: int
    repeat: int
    row: RowT
