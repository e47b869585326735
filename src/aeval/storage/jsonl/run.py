"""RunFile: one run's file of lines, and what is known of it."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from aeval.errors import StorageError
from aeval.storage.base import Counts, DuplicateSample, Entry
from aeval.storage.codec import encode
from aeval.storage.jsonl.about import BLOCK, first_line, identified
from aeval.storage.jsonl.disk import append, lock, unlock
from aeval.storage.jsonl.index import MOST_ROWS, Index, IndexRow, id_form, id_form_of_json

__all__ = ["RunFile"]

# What is added to a result as it was encoded.
_TAIL: Final = re.compile(rb',"digest":\d+(?:,"replaces":\d+)?\}')

MOST_WARNINGS: Final = 20

log = logging.getLogger("aeval")

_NOTHING: Final = msgspec.Raw()


class _Line(msgspec.Struct):
    """What is looked at in a line."""

    id: Any = None
    index: msgspec.Raw = _NOTHING
    repeat: Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)] = 0
    row: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    times: msgspec.Raw = _NOTHING
    digest: Annotated[int, msgspec.Meta(ge=-1, lt=1 << 62)] = -1
    run: msgspec.Raw = _NOTHING

    @property
    def is_result(self) -> bool:
        needed = self.index, self.row, self.times
        return self.id is not None and not any(field is _NOTHING for field in needed)


_line_of = msgspec.json.Decoder(_Line).decode


class RunFile:
    """A run's file. For one thread at a time.

    :param path: where it is
    :param key: of the run
    """

    def __init__(self, path: Path, key: int) -> None:
        self.path = path
        self.key = key
        self._fd = -1
        self._writable = False
        # By these it is told that somebody put another file in the place of this one.
        self._inode = (0, 0)
        self._first = b""
        # Where the last line begins that this process wrote: nobody who recovers from a torn one cuts off more.
        self._safe = 0
        self._forget()

    def _forget(self) -> None:
        self.slot = 0
        self._end = 0
        self._lines = 0
        self._damaged = 0
        self._unended = False
        self._n = self._errored = self._last = 0

    @property
    def counts(self) -> Counts:
        """How many records it has."""
        return Counts(self._n, self._errored, self._last)

    @contextmanager
    def held(self, index: Index, *, write: bool) -> Iterator[bool]:
        """Lock the file, and bring the index up to what it has.

        :return: whether it is still there, and is this run's
        """
        if not self._open(write=write):
            yield False
            return
        lock(self._fd, shared=not write)
        there = True
        try:
            stat = os.fstat(self._fd)
            there = stat.st_nlink > 0
            if there and write and stat.st_size < self._safe:
                raise StorageError(
                    f"the file {str(self.path)!r} was cut off by another program while it was in use, and results of it "
                    "are gone: put it back, and run again with the same experiment to go on"
                )
            if there and stat.st_size != self._end:
                self._refresh(index, stat.st_size)
            yield there
        finally:
            unlock(self._fd)
            if not there:
                self.close()

    def close(self) -> None:
        """Close the file; what is known of it stays."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def forget(self, index: Index | None) -> None:
        """Close the file, and forget what is known of it."""
        self.close()
        if index is not None and self.slot:
            index.drop(self.slot)
        self._forget()

    def _open(self, *, write: bool) -> bool:
        if self._fd >= 0 and (self._writable or not write):
            return True
        self.close()
        flags = (os.O_RDWR | os.O_APPEND if write else os.O_RDONLY) | getattr(os, "O_BINARY", 0)
        try:
            fd = os.open(self.path, flags)
        except FileNotFoundError:
            return False
        try:
            first, run = identified(fd, self.path)
        except BaseException:
            os.close(fd)
            raise
        if run is None or run.key != self.key:
            os.close(fd)
            return False
        self._fd, self._writable = fd, write
        stat = os.fstat(fd)
        inode = stat.st_dev, stat.st_ino
        if (inode, first) != (self._inode, self._first):
            self._inode, self._first = inode, first
            self._safe, self._end = 0, -1
        return True

    # Reading.

    def _refresh(self, index: Index, size: int) -> None:
        """Take in what was written since."""
        if self._end <= 0 or size < self._end or not self._goes_on():
            if self.slot:
                index.drop(self.slot)
            self._forget()
            self.slot = index.new_slot()
            self._first = first_line(self._fd)
        try:
            for start, lines in self._blocks():
                self._take_in(index, start, lines)
        except BaseException:
            self._end = -1
            raise

    def _goes_on(self) -> bool:
        """Tell whether the file was only appended to, as far as its first line and its former end show."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        if os.read(self._fd, len(self._first)) != self._first:
            return False
        os.lseek(self._fd, self._end - 1, os.SEEK_SET)
        return self._unended or os.read(self._fd, 1) == b"\n"

    def _blocks(self) -> Iterator[tuple[int, list[bytes]]]:
        """Read whole lines from the end of what is known."""
        os.lseek(self._fd, self._end, os.SEEK_SET)
        held, start = b"", self._end
        # A longer line is read in longer blocks, so that it is not copied too often.
        while block := os.read(self._fd, max(BLOCK, len(held))):
            held += block
            length = held.rfind(b"\n") + 1
            if length:
                self._unended = False
                self._end = start + length
                yield start, held[: length - 1].split(b"\n")
                start, held = self._end, held[length:]
        if held and _is_object(held):
            # Nobody writes while the file is locked: this is whole, and only its line's end is missing.
            yield start, [held]
            self._lines -= 1
            self._end, self._unended = start + len(held), True

    def _take_in(self, index: Index, start: int, lines: list[bytes]) -> None:
        rows: list[IndexRow] = []
        for line in lines:
            self._lines += 1
            row = self._row(start, line)
            start += len(line) + 1
            if row is not None:
                rows.append(row)
        for first in range(0, len(rows), MOST_ROWS):
            some = rows[first : first + MOST_ROWS]
            try:
                index.add(self.slot, some)
                self._count(some, ())
            except sqlite3.IntegrityError:  # there are lines in it that replace others
                for row in some:
                    former = index.former(self.slot, [(row.id, row.repeat)]).get(0)
                    row = row if former is None else row._replace(former=former[0])
                    index.add(self.slot, [row])
                    self._count([row], () if former is None else (former,))

    def _row(self, start: int, line: bytes) -> IndexRow | None:
        if not line.strip():
            return None
        problem: object = "it is no result"
        try:
            line.decode()  # what is not looked at is not decoded below
            fields = _line_of(line)
            if fields.is_result and start:
                ok = fields.error is _NOTHING or bytes(fields.error) == b"null"
                return IndexRow(start, id_form_of_json(fields.id), fields.repeat, fields.digest, ok, None)
            if fields.run is not _NOTHING:
                return None
        except (msgspec.MsgspecError, ValueError) as error:
            problem = error
        self._damaged += 1
        if self._damaged <= MOST_WARNINGS:
            log.warning("%s: line %d is damaged, and is passed over: %s", self.path, self._lines, problem)
        if self._damaged == MOST_WARNINGS:
            log.warning("%s: no more of its damaged lines are told of", self.path)
        return None

    def _count(self, rows: Sequence[IndexRow], replaced: Sequence[tuple[int, bool]]) -> None:
        self._n += len(rows) - len(replaced)
        self._errored += sum(not row.ok for row in rows) - sum(not ok for _, ok in replaced)
        self._last = rows[-1].offset

    def bodies(self, offsets: Sequence[int]) -> list[tuple[int, bytes]]:
        """Read results, by where their lines begin."""
        found = []
        with open(self._fd, "rb", buffering=1 << 16, closefd=False) as file:
            for offset in offsets:
                file.seek(offset)
                found.append((offset, _body_of(file.readline())))
        return found

    # Writing.

    def append(self, line: bytes, *, sync: bool) -> int:
        """Write a line that is no result.

        :return: the file's former length, for `cut`
        """
        end = self._mended()
        append(self._fd, end, b"\n" + line if self._unended else line, sync=sync)
        return end

    def cut(self, end: int) -> None:
        """Take back what was written last."""
        os.ftruncate(self._fd, end)

    def commit(self, index: Index, entries: Sequence[Entry], *, sync: bool) -> None:
        """Write results.

        :param sync: have them on the disk before returning
        :raises DuplicateSample: if one that does not replace a record would have to
        """
        forms = [(id_form(entry.result.id), entry.result.repeat) for entry in entries]
        places = [place for place, entry in enumerate(entries) if entry.replaces]
        found = index.former(self.slot, [forms[place] for place in places]) if places else {}
        former = {places[at]: record for at, record in found.items()}
        if len({forms[place] for place in places}) < len(places):
            raise self._duplicate(index, entries, forms)
        end = self._mended()
        start = end + self._unended
        lines: list[bytes] = []
        rows: list[IndexRow] = []
        for place, (result, digest, _) in enumerate(entries):
            record = former.get(place)
            mark = b"" if record is None else b',"replaces":%d' % record[0]
            line = b'%b,"digest":%d%b}\n' % (encode(result)[:-1], digest, mark)
            replaced = None if record is None else record[0]
            rows.append(IndexRow(start, *forms[place], digest, result.error is None, replaced))
            lines.append(line)
            start += len(line)
        try:
            index.add(self.slot, rows)
        except sqlite3.IntegrityError:
            if len(rows) > MOST_ROWS:  # what came before it is in the index
                self._end = -1
                self._refresh(index, os.fstat(self._fd).st_size)
            raise self._duplicate(index, entries, forms) from None
        except BaseException:
            self._end = -1
            raise
        try:
            append(self._fd, end, (b"\n" if self._unended else b"") + b"".join(lines), sync=sync)
        except BaseException:
            self._end = -1
            raise
        self._lines += len(lines) + self._unended
        self._end, self._unended = start, False
        self._safe = start - len(lines[-1])
        self._count(rows, list(former.values()))

    def _mended(self) -> int:
        """Cut off a line that was not written to its end, and return the file's length."""
        if os.fstat(self._fd).st_size > self._end:
            os.ftruncate(self._fd, self._end)
        return self._end

    def _duplicate(
        self, index: Index, entries: Sequence[Entry], forms: Sequence[tuple[Any, int]]
    ) -> DuplicateSample:
        """Find the entry that has a record already, or came twice."""
        known = index.former(self.slot, forms)
        seen: set[tuple[Any, int]] = set()
        for place, (form, entry) in enumerate(zip(forms, entries, strict=True)):
            if form in seen or (place in known and not entry.replaces):
                return DuplicateSample(entry.result.id, entry.result.index)
            seen.add(form)
        raise AssertionError(f"{len(entries)} results were refused, though none of them is a duplicate")


def _is_object(line: bytes) -> bool:
    try:
        _line_of(line)
    except (msgspec.MsgspecError, ValueError):
        return False
    return True


def _body_of(line: bytes) -> bytes:
    """Return a result as it was encoded, without what the storage added to it."""
    line = line.strip()
    place = line.rfind(b',"digest":')
    return line[:place] + b"}" if place > 0 and _TAIL.fullmatch(line, place) else line
