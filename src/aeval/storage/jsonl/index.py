"""Index: where in its file each record of a run is, in a scratch database that is gone when it is closed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec

from aeval.sample import SampleId
from aeval.storage.base import Known
from aeval.storage.codec import encode_value

__all__ = ["Index", "IndexRow", "id_form", "id_form_of_json"]

# Runs have numbers of their own for their lines, side by side: files of up to 16 TiB.
OFFSET_BITS: Final = 44
# Fewer than the variables that one statement may have, divided by those of a row.
MOST_ROWS: Final = 4000
_LOW: Final = (1 << 26) - 1

# A batch is one statement, by way of a view: a thread has to win back Python's lock after each step of SQLite's,
# which takes long where the event loop is busy; and a statement that fails has changed nothing. Temporary tables
# live in memory while they are small and in an unnamed file beyond that.
_SCHEMA: Final = """
    PRAGMA temp_store = FILE;
    PRAGMA temp.cache_size = -16000;
    PRAGMA temp.journal_mode = MEMORY;
    PRAGMA temp.synchronous = OFF;
    CREATE TEMP TABLE lines (number INTEGER PRIMARY KEY, ok INTEGER NOT NULL, superseded INTEGER NOT NULL);
    CREATE INDEX temp.errors ON lines (number) WHERE ok = 0;
    CREATE INDEX temp.history ON lines (number) WHERE superseded = 1;
    CREATE TEMP TABLE records (
        run INTEGER NOT NULL,
        id BLOB NOT NULL,
        repeat INTEGER NOT NULL,
        digest INTEGER NOT NULL,
        ok INTEGER NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (run, id, repeat)
    ) WITHOUT ROWID;
    CREATE TEMP VIEW incoming AS
        SELECT 0 AS number, 0 AS run, 0 AS id, 0 AS repeat, 0 AS digest, 0 AS ok, 0 AS former;
    CREATE TEMP TRIGGER record INSTEAD OF INSERT ON incoming BEGIN
        UPDATE lines SET superseded = 1 WHERE number = NEW.former;
        DELETE FROM records
            WHERE NEW.former IS NOT NULL AND run = NEW.run AND id = NEW.id AND repeat = NEW.repeat;
        INSERT INTO records VALUES (NEW.run, NEW.id, NEW.repeat, NEW.digest, NEW.ok, NEW.number);
        INSERT INTO lines VALUES (NEW.number, NEW.ok, 0);
    END;
"""


class IndexRow(NamedTuple):
    """A line of a run's file that is a result.

    :param offset: where it begins
    :param id: of the sample, as of `id_form`
    :param repeat: which of its repeats
    :param digest: of its id and row
    :param ok: whether it was scored
    :param former: where the line begins that it replaces; None if there is none
    """

    offset: int
    id: Any
    repeat: int
    digest: int
    ok: bool
    former: int | None


class Index:
    """Which lines the files of runs have. For one thread at a time."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.executescript(_SCHEMA)
        self._slots = 0

    def close(self) -> None:
        """Let go of it, with its file."""
        self._connection.close()

    def new_slot(self) -> int:
        """Return a number for a run that nothing is known of yet."""
        self._slots += 1
        return self._slots

    def drop(self, slot: int) -> None:
        """Forget what is known of a run."""
        first = slot << OFFSET_BITS
        self._connection.execute(
            "DELETE FROM lines WHERE number BETWEEN ? AND ?", (first, first + (1 << OFFSET_BITS) - 1)
        )
        self._connection.execute("DELETE FROM records WHERE run = ?", (slot,))

    def add(self, slot: int, rows: Sequence[IndexRow]) -> None:
        """Add lines of a run.

        :raises sqlite3.IntegrityError: if one without a former line has one; of `MOST_ROWS` or fewer, nothing was
            added then
        """
        first = slot << OFFSET_BITS
        for start in range(0, len(rows), MOST_ROWS):
            some = rows[start : start + MOST_ROWS]
            marks = ",".join(["(?,?,?,?,?,?,?)"] * len(some))
            values = (
                (first + offset, slot, form, repeat, digest, ok, None if former is None else first + former)
                for offset, form, repeat, digest, ok, former in some
            )
            self._connection.execute(f"INSERT INTO incoming VALUES {marks}", list(chain.from_iterable(values)))  # noqa: S608 - of constants

    def former(self, slot: int, samples: Sequence[tuple[Any, int]]) -> dict[int, tuple[int, bool]]:
        """Return where the records of samples begin, and whether they were scored.

        :param samples: their ids, as of `id_form`, and repeats
        :return: by place in the samples; those that have no record are left out
        """
        first = slot << OFFSET_BITS
        found: dict[int, tuple[int, bool]] = {}
        for start in range(0, len(samples), MOST_ROWS):
            some = samples[start : start + MOST_ROWS]
            marks = ",".join(["(?,?,?)"] * len(some))
            sql = (
                f"WITH given (place, id, repeat) AS (VALUES {marks}) "  # noqa: S608 - of constants
                "SELECT json_group_array(json_array(place, number, ok)) FROM given CROSS JOIN records "
                "ON run = ? AND records.id = given.id AND records.repeat = given.repeat"
            )
            values = chain.from_iterable(
                (place, form, repeat) for place, (form, repeat) in enumerate(some, start)
            )
            (text,) = self._connection.execute(sql, [*values, slot]).fetchone()
            found |= {place: (number - first, bool(ok)) for place, number, ok in json.loads(text)}
        return found

    def settled(self, slot: int, forms: Sequence[Any], repeats: int, checksum: int) -> bool:
        """Tell what `Backend.settled` tells."""
        marks = ",".join("?" * len(forms))
        # The sum of many repeats does not fit into 64 bits.
        sql = (
            f"SELECT count(*), sum(digest >> 26), sum(digest & {_LOW}) FROM records "  # noqa: S608 - of constants
            f"WHERE run = ? AND repeat < ? AND ok = 1 AND id IN ({marks})"
        )
        n, high, low = self._connection.execute(sql, [slot, repeats, *forms]).fetchone()
        return bool(n == len(forms) * repeats and n and (high << 26) + low == checksum * repeats)

    def known(self, slot: int, forms: Sequence[Any], repeats: int) -> dict[tuple[Any, int], Known]:
        """Return what is known of samples, by their id's form and repeat."""
        marks = ",".join("?" * len(forms))
        sql = f"SELECT id, repeat, digest, ok FROM records WHERE run = ? AND repeat < ? AND id IN ({marks})"  # noqa: S608 - of constants
        return {
            (form, repeat): Known(digest, bool(ok))
            for form, repeat, digest, ok in self._connection.execute(sql, [slot, repeats, *forms])
        }

    def page(self, slot: int, after: int, limit: int, ok: bool | None, history: bool) -> list[int]:
        """Return where the next lines begin."""
        first = slot << OFFSET_BITS
        which = "" if ok is None else f" AND ok = {int(ok)}"
        sql = (
            f"SELECT number FROM lines WHERE number > ? AND number < ? AND superseded = {int(history)}"  # noqa: S608 - of constants
            f"{which} ORDER BY number LIMIT ?"
        )
        found = self._connection.execute(sql, (first + after, first + (1 << OFFSET_BITS), limit))
        return [number - first for (number,) in found]


def id_form(sample_id: SampleId) -> Any:
    """Return an id as SQLite can hold it, each as another value."""
    if isinstance(sample_id, int):
        return int(sample_id) if -(1 << 63) <= sample_id < 1 << 63 else encode_value(sample_id)
    if not sample_id.isascii():
        try:
            sample_id.encode()
        except UnicodeEncodeError:
            return encode_value(sample_id)
    return str.__str__(sample_id)  # of an enumeration's member too


def id_form_of_json(value: Any) -> Any:
    """Return the same for an id as it stands in a line."""
    return id_form(value) if isinstance(value, (int, str)) else msgspec.json.encode(value)
