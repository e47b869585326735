"""Going on where a stored run stopped: which rows of a dataset there is something left to do for."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from aeval.context import Record
from aeval.dataset import Rows
from aeval.sample import SampleId
from aeval.storage.codec import digest_of, digests_of
from aeval.storage.ledger import Ledger, two_rows

__all__ = ["Unfinished"]

# How many rows are looked up at once. That many are read ahead while there may be stored results for them, and
# no further than that: from then on rows are read one by one, as they are needed.
STEP = 2000
STEP_SECONDS = 0.02
SLICE = 50


class _Some(NamedTuple):
    """Rows that are looked up at once."""

    indices: range
    ids: Sequence[SampleId]
    rows: list[Any]
    digests: list[int]


class Unfinished(Rows[Record]):
    """The samples of a dataset that have no result yet, or not the right one.

    :param rows: all of them
    :param ledger: what is stored
    :param id_of: gives a row's id; None where the ids are the indices
    :param limit: how many rows there are to be at most
    """

    def __init__(
        self,
        rows: Rows[Any],
        ledger: Ledger,
        id_of: Callable[[Any, int], SampleId] | None,
        limit: int | None,
        repeats: int,
    ) -> None:
        super().__init__()
        self._rows = rows
        self._ledger = ledger
        self._id_of = id_of
        self._limit = limit
        self._index = 0
        self._repeats = range(repeats)
        self._broken: Exception | None = None
        self._reading_on = False

    async def refill(self) -> bool:
        """Put the next samples that there is something to do for into `chunk`."""
        while self._ledger.unmet > 0:
            some = self._take()
            if some is not None:
                records = await self._left_of(some)
                if records:
                    self.chunk = iter(records)
                    return True
            elif self._broken is not None:
                break
            elif self._is_full():
                return False
            elif not await self._rows.refill():
                self._ledger.tell_of_gone()
                return False
        if self._broken is not None:
            raise self._broken
        # The storage knows of no other sample: from here on, rows are given as they are asked for.
        if self._is_full() or (self._reading_on and not await self._rows.refill()):
            return False
        self._reading_on = True
        self.chunk = self._fresh(self._rows.chunk)
        return True

    async def aclose(self) -> None:
        """Let go of the dataset."""
        await self._rows.aclose()

    def _is_full(self) -> bool:
        return self._limit is not None and self._index >= self._limit

    def _take(self) -> _Some | None:
        """Take the next rows, as many as are at hand and looked up at once; None if there are none."""
        if self._broken is not None:
            return None
        most = STEP if self._limit is None else min(STEP, self._limit - self._index)
        rows: list[Any] = []
        try:
            # Rows at hand come at a stroke; of those that take their time, no more than fit into a moment.
            until = time.monotonic() + STEP_SECONDS
            while len(rows) < most and time.monotonic() < until:
                before = len(rows)
                rows.extend(islice(self._rows.chunk, min(SLICE, most - before)))
                if len(rows) == before:
                    break
        except Exception as error:  # noqa: BLE001 - raised later, once the rows before it are done with
            self._broken = error
        if not rows:
            return None
        indices = range(self._index, self._index + len(rows))
        self._index += len(rows)
        if self._id_of is None:
            return _Some(indices, indices, rows, digests_of(indices, rows))
        ids = _ids(rows, indices, self._id_of)
        if len(set(ids)) < len(ids):
            first = dict(zip(reversed(ids), reversed(range(len(ids))), strict=True))
            place = next(place for place, each in enumerate(ids) if first[each] < place)
            self._broken = self._broken or two_rows(ids[place], indices[place])
            ids, indices, rows = ids[:place], indices[:place], rows[:place]
        return _Some(indices, ids, rows, digests_of(ids, rows))

    async def _left_of(self, some: _Some) -> list[Record]:
        left = await self._ledger.unfinished(some.ids, some.digests)
        if left is None:
            return []
        return [
            _record(sample_id, index, repeat, row, digest, replaces=replaces)
            for index, sample_id, row, digest, todo in zip(*some, left, strict=True)
            for repeat, replaces in todo
        ]

    def _fresh(self, rows: Iterator[Any]) -> Generator[Record, None, None]:
        id_of, limit, repeats = self._id_of, self._limit, self._repeats
        while limit is None or self._index < limit:
            try:
                row = next(rows)
            except StopIteration:
                return
            index = self._index
            self._index = index + 1
            sample_id = index if id_of is None else id_of(row, index)
            digest = digest_of(sample_id, row)
            for repeat in repeats:
                record = Record(sample_id, index, repeat, row)
                record.digest = digest
                yield record


def _ids(rows: list[Any], indices: range, id_of: Callable[[Any, int], SampleId]) -> list[SampleId]:
    # Most rows are mappings with a text for an id, and calls cost more than all else here.
    return [
        found if type(row) is dict and type(found := row.get("id")) is str else id_of(row, index)
        for row, index in zip(rows, indices, strict=True)
    ]


def _record(sample_id: SampleId, index: int, repeat: int, row: Any, digest: int, *, replaces: bool) -> Record:
    record = Record(sample_id, index, repeat, row)
    record.digest = digest
    record.replaces = replaces
    return record
