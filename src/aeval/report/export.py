"""Export: the results of runs in a storage, as one file for other programs."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol
from uuid import uuid4

from anyio import to_thread

from aeval.errors import ConfigurationError, StorageError
from aeval.report.columns import Column, Columns
from aeval.report.tables import arrow_schema, arrow_table, import_arrow
from aeval.storage.base import StoredRun
from aeval.storage.codec import encode_value
from aeval.storage.storage import Storage, decoded

__all__ = ["FORMS", "export"]

FORMS: Final = ("jsonl", "csv", "parquet")
BUFFER: Final = 1 << 18
# What a row group of Parquet has at most: results, and pages of the storage, whose sizes are bounded.
GROUP: Final = 8192
GROUP_PAGES: Final = 16


async def export(storage: Storage, runs: Sequence[StoredRun], path: Path | None, form: str) -> int:
    """Write the results of runs to a file, in the order in which they were committed.

    What is committed meanwhile is left out. The file is written beside its place and moved there when it is whole; one
    that was there before is replaced. Memory does not grow with the number of results.

    :param storage: an open storage
    :param runs: as the storage gives them
    :param path: of the file; None for the standard output
    :param form: `"jsonl"` for lines of JSON in the stated form of `aeval.storage.codec`, each with its evaluation;
        `"csv"` or `"parquet"` for the columns of a report's tables
    :return: how many results were written
    :raises ConfigurationError: if there is no such form, or it cannot be written to the standard output
    :raises MissingExtraError: for Parquet, if pyarrow is not installed
    :raises StorageError: if the file cannot be written, or the storage cannot be read
    """
    if form not in FORMS:
        raise ConfigurationError(f"there is no form {form!r} of an export: give {', '.join(map(repr, FORMS))}")
    if form == "parquet":
        if path is None:
            raise ConfigurationError("Parquet is not written to the standard output: give the path of a file")
        import_arrow("an export as Parquet")
    todo = [(run, (await storage.counts(run)).last) for run in runs]
    columns = [] if form == "jsonl" else await _columns_of(storage, todo)
    writing = _Writing(_File(path), partial(_WRITERS[form], columns=columns))
    try:
        await to_thread.run_sync(writing.start)
        async for run, bodies in _bodies(storage, todo):
            await to_thread.run_sync(writing.add, run, bodies)
        await to_thread.run_sync(writing.finish)
    except BaseException:
        writing.abandon()
        raise
    return writing.n


async def _bodies(
    storage: Storage, todo: list[tuple[StoredRun, int]]
) -> AsyncGenerator[tuple[StoredRun, list[bytes]], None]:
    for run, last in todo:
        async with aclosing(storage.bodies_of(run, last=last)) as pages:
            async for bodies in pages:
                yield run, bodies


async def _columns_of(storage: Storage, todo: list[tuple[StoredRun, int]]) -> list[Column]:
    columns = Columns({run.evaluation: run.columns for run, _ in todo})
    async for run, bodies in _bodies(storage, todo):
        await to_thread.run_sync(lambda bodies, run: columns.note(decoded(bodies, run)), bodies, run)
    return columns.all()


class _File:
    """The file that is written: beside its place until it is whole.

    What is no file, such as a pipe or a device, is written to as it is.
    """

    def __init__(self, path: Path | None) -> None:
        self.name = "the standard output" if path is None else f"the file {str(path)!r}"
        self._path = path
        self._place: Path | None = None
        self._temporary: Path | None = None
        self._file: BinaryIO | None = None

    def open(self) -> BinaryIO:
        if self._path is None:
            sys.stdout.flush()
            return sys.stdout.buffer
        place = self._path.resolve()
        if place.exists() and not place.is_file() and not place.is_dir():
            self._file = place.open("wb", BUFFER)
            return self._file
        if place.is_dir():
            raise IsADirectoryError("it is a folder: give the path of a file in it")
        # With a name of its own, and short, however long the file's is.
        temporary = place.with_name(f".aeval-{uuid4().hex}~")
        self._file = temporary.open("xb", BUFFER)
        self._place, self._temporary = place, temporary
        return self._file

    def keep(self) -> None:
        """Put the file into its place."""
        if self._file is None:
            sys.stdout.buffer.flush()
            return
        self._file.flush()
        if self._temporary is not None and self._place is not None:
            # Otherwise a power cut could leave the name without what was written.
            os.fsync(self._file.fileno())
        self._file.close()
        if self._temporary is not None and self._place is not None:
            self._temporary.replace(self._place)
            self._temporary = None

    def drop(self) -> None:
        """Leave nothing of it."""
        if self._file is not None:
            with suppress(OSError, ValueError):
                self._file.close()
        if self._temporary is not None:
            with suppress(OSError):
                self._temporary.unlink()


class _Writer(Protocol):
    def add(self, run: StoredRun, bodies: Sequence[bytes]) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class _Writing:
    """An export on its way into its file; its methods block.

    :ivar n: results that were written
    """

    def __init__(self, file: _File, make: Callable[[BinaryIO], _Writer]) -> None:
        self.n = 0
        self._file = file
        self._make = make
        self._writer: _Writer | None = None

    @property
    def writer(self) -> _Writer:
        assert self._writer is not None
        return self._writer

    def start(self) -> None:
        with self._described():
            self._writer = self._make(self._file.open())

    def add(self, run: StoredRun, bodies: Sequence[bytes]) -> None:
        with self._described():
            self.writer.add(run, bodies)
        self.n += len(bodies)

    def finish(self) -> None:
        with self._described():
            self.writer.finish()
            self._file.keep()

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
        self._file.drop()

    @contextmanager
    def _described(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # Whoever read it has enough: that is the command line's to deal with.
            raise
        except OSError as error:
            raise StorageError(
                f"{self._file.name} cannot be written: {error}: free some space, or give another path"
            ) from error


class _Jsonl:
    """Lines of JSON: what is stored, with the evaluation before it."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:  # noqa: ARG002 - as of the others
        self._file = file

    def add(self, run: StoredRun, bodies: Sequence[bytes]) -> None:
        start = b'{"evaluation":' + encode_value(run.evaluation) + b","
        self._file.write(b"".join(start + body[1:] + b"\n" for body in bodies))

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class _Csv:
    """CSV as in RFC 4180, in UTF-8."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._file = file
        self._columns = columns
        self._write([[column.name for column in columns]])

    def add(self, run: StoredRun, bodies: Sequence[bytes]) -> None:
        results = decoded(bodies, run)
        columns = [column.values(results) for column in self._columns]
        for place, column in enumerate(self._columns):
            if column.type == "bool":
                columns[place] = [_CELLS[value] for value in columns[place]]
        self._write(zip(*columns, strict=True))

    def _write(self, rows: Any) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self._file.write(text.getvalue().encode())

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


_CELLS = {True: "true", False: "false", None: None}


class _Parquet:
    """Parquet, a row group for many pages."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        from pyarrow import parquet

        self._columns = columns
        self._schema = arrow_schema(columns)
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._tables: list[Any] = []

    def add(self, run: StoredRun, bodies: Sequence[bytes]) -> None:
        self._tables.append(arrow_table(decoded(bodies, run), self._columns, self._schema))
        if len(self._tables) >= GROUP_PAGES or sum(table.num_rows for table in self._tables) >= GROUP:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa

        if self._tables:
            self._writer.write_table(pa.concat_tables(self._tables))
            self._tables = []

    def finish(self) -> None:
        self._write()
        self._writer.close()

    def abandon(self) -> None:
        # It would write the end of the file when it is collected.
        with suppress(Exception):
            self._writer.close()
        self._writer.is_open = False


_WRITERS: dict[str, Callable[..., _Writer]] = {"jsonl": _Jsonl, "csv": _Csv, "parquet": _Parquet}
