"""Batch: entries that are committed together, in the binary form of COPY."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from aeval.storage.base import DuplicateSample, Entry
from aeval.storage.codec import encode
from aeval.storage.postgres.connections import Connected
from aeval.storage.postgres.forms import id_of
from aeval.storage.postgres.schema import LOOKUP

__all__ = ["Batch", "End", "append"]

# As many results as are encoded at a time. So few that the server has some to work on soon; so many that the way into
# the thread and back is short beside.
CHUNK_ROWS: Final = 200
CHUNK_BYTES: Final = 1 << 20
# Results that take no more than this on average are written where the event loop is.
SHORT_BYTES: Final = 2000

_COLUMNS: Final = ("run", "number", "digest", "repeat", "ok", "id", "body")
# The binary form of COPY: a head, then for each row the count of its columns, and before each value its size.
_COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_ROW: Final = struct.Struct("!hiqiqiqiqi?i").pack
_COPY_SIZE: Final = struct.Struct("!i").pack
_COPY_END: Final = b"\xff\xff"
_LAST: Final = "SELECT coalesce(max(number), 0) FROM aeval.results WHERE run = $1"
_REPLACE: Final = """
    UPDATE aeval.results AS old SET current = false
    FROM unnest($2::bytea[], $3::bigint[]) AS new (id, repeat)
    WHERE old.run = $1 AND old.current AND old.id = new.id AND old.repeat = new.repeat
"""
_THERE: Final = """
    SELECT id, repeat, digest, ok, body FROM aeval.results
    WHERE run = $1 AND number BETWEEN $2 AND $3 ORDER BY number
"""

_Row = tuple[bytes, int, int, bool, bytes]


class End:
    """Where a run ends, and whose turn it is to go on there.

    :ivar last: number of the last record, as far as this process knows; None where it must be asked for
    :ivar short: whether the results that were written last were short ones
    """

    __slots__ = ("last", "lock", "short")

    def __init__(self) -> None:
        self.lock = anyio.Lock(fast_acquire=True)
        self.last: int | None = None
        self.short = False


class Batch:
    """Entries to be committed together, written out while they are sent.

    :ivar first: number of the first one, when it was last tried to commit them; None before
    """

    def __init__(self, key: int, entries: Sequence[Entry], end: End, threads: anyio.CapacityLimiter) -> None:
        self.key = key
        self.entries = entries
        self.first: int | None = None
        self._end = end
        self._threads = threads

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give them in the binary form of COPY.

        The next ones are encoded while the server works on those before, and only some are held in this form. Where
        they are short, the way into a thread and back would take longer than that: a thread has to win Python's lock
        from a busy loop.
        """
        assert self.first is not None
        start = 0
        while start < len(self.entries):
            before = start
            if self._end.short:
                chunk, start = _chunk(self.key, self.first, self.entries, start)
            else:
                chunk, start = await anyio.to_thread.run_sync(
                    _chunk, self.key, self.first, self.entries, start, limiter=self._threads
                )
            self._end.short = len(chunk) <= SHORT_BYTES * (start - before)
            yield chunk

    def replaced(self) -> tuple[list[bytes], list[int]]:
        """Return the ids and repeats of those that replace a record."""
        results = [entry.result for entry in self.entries if entry.replaces]
        return [id_of(result.id) for result in results], [result.repeat for result in results]

    async def is_there(self, connection: Connected) -> bool:
        """Tell whether it was committed over a connection that was lost before the server said so."""
        if self.first is None:
            return False
        for start in range(0, len(self.entries), CHUNK_ROWS):
            some = self.entries[start : start + CHUNK_ROWS]
            first = self.first + start
            found = await connection.fetch(_THERE, self.key, first, first + len(some) - 1)
            if await anyio.to_thread.run_sync(_rows_of, some, limiter=self._threads) != [*map(tuple, found)]:
                return False
        return True

    async def refuse_duplicate(self, connection: Connected) -> None:
        """Raise DuplicateSample for the first entry that is said to be new and is not, if there is one."""
        taken: set[tuple[bytes, int]] = set()
        for start in range(0, len(self.entries), CHUNK_ROWS):
            some = self.entries[start : start + CHUNK_ROWS]
            samples = [(id_of(entry.result.id), entry.result.repeat) for entry in some]
            most = max(repeat for _, repeat in samples)
            found = await connection.fetch(LOOKUP, self.key, [stored for stored, _ in samples], most + 1)
            there = {(row["id"], row["repeat"]) for row in found}
            for sample, entry in zip(samples, some, strict=True):
                if sample in taken or (sample in there and not entry.replaces):
                    raise DuplicateSample(entry.result.id, entry.result.index)
                taken.add(sample)


async def append(batch: Batch, end: End, connection: Connected, again: bool) -> None:
    """Write a batch at the end of its run.

    Which numbers come next is known from the commit before. Should another process have taken them meanwhile, the
    index refuses them, and they are asked for: a commit costs one way to the server and back.
    """
    import asyncpg

    if again and await batch.is_there(connection):
        return
    while True:
        # Not known any longer, until the commit is known to have worked.
        last, end.last = end.last, None
        if last is None:
            last = int(await connection.fetchval(_LAST, batch.key))
        batch.first = last + 1
        try:
            await _write(batch, connection)
        except asyncpg.UniqueViolationError as error:
            # The server may have gone on with what was sent over a connection that was lost.
            if again and await batch.is_there(connection):
                return
            if error.constraint_name == "results_sample":
                await batch.refuse_duplicate(connection)
        else:
            end.last = last + len(batch.entries)
            return


async def _write(batch: Batch, connection: Connected) -> None:
    ids, repeats = batch.replaced()
    copy = partial(connection.copy_to_table, "results", schema_name="aeval", columns=_COLUMNS, format="binary")
    if not ids:  # A statement is a transaction of its own.
        await copy(source=batch.chunks())
        return
    async with connection.transaction():
        await connection.execute(_REPLACE, batch.key, ids, repeats)
        await copy(source=batch.chunks())


def _chunk(key: int, first: int, entries: Sequence[Entry], start: int) -> tuple[bytes, int]:
    """Write some entries in the binary form of COPY; return it, and where the next ones start."""
    parts = [] if start else [_COPY_HEAD]
    size = 0
    for place in range(start, min(start + CHUNK_ROWS, len(entries))):
        stored, repeat, digest, ok, body = _row_of(entries[place])
        parts += (
            _COPY_ROW(7, 8, key, 8, first + place, 8, digest, 8, repeat, 1, ok, len(stored)),
            stored,
            _COPY_SIZE(len(body)),
            body,
        )
        start = place + 1
        size += len(body)
        if size >= CHUNK_BYTES:
            break
    if start == len(entries):
        parts.append(_COPY_END)
    return b"".join(parts), start


def _row_of(entry: Entry) -> _Row:
    result = entry.result
    return id_of(result.id), result.repeat, entry.digest, result.error is None, encode(result)


def _rows_of(entries: Sequence[Entry]) -> list[_Row]:
    return [_row_of(entry) for entry in entries]
