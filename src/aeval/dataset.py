"""Dataset: rows out of iterables, async iterables, files and tables, read lazily."""

from __future__ import annotations

import codecs
import csv
import gzip
import inspect
import io
import json
import time
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Generic, TypeAlias, TypeVar, cast

import attrs
import msgspec

from aeval.errors import ConfigurationError, DatasetError, MissingExtraError, RowError

__all__ = ["Dataset", "Rows", "UnreadableRow"]

RowT = TypeVar("RowT")
Source: TypeAlias = Iterable[RowT] | AsyncIterable[RowT] | str | Path | Callable[[], Any]

# A chunk is what one visit to a reading thread brings back: enough rows to make the visit cheap, and
# never more than a moment's work.
CHUNK_ROWS = 256
CHUNK_SECONDS = 0.05
# The longest field of a CSV file.
MOST_CHARACTERS = 1 << 30

FILE_TYPES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


@attrs.frozen
class UnreadableRow:
    """What stands in for a row of a file that could not be read; its sample errs with the error."""

    error: RowError


class Rows(Generic[RowT]):
    """Rows in chunks: an iterator of those at hand, and a way to get more.

    :ivar chunk: iterator over the rows at hand
    """

    def __init__(self, chunk: Iterator[RowT] | None = None) -> None:
        self.chunk: Iterator[RowT] = iter(()) if chunk is None else chunk

    async def refill(self) -> bool:
        """Put the next rows into `chunk`.

        :return: whether there are any; False at the dataset's end
        """
        return False

    async def aclose(self) -> None:
        """Let go of what was opened."""


class _AsyncRows(Rows[RowT]):
    """Rows of an async iterable: one at a time, since the next may be long in coming."""

    def __init__(self, source: AsyncIterable[RowT]) -> None:
        super().__init__()
        self._iterator: AsyncIterator[RowT] = aiter(source)
        self._opened = self._iterator is not source

    async def refill(self) -> bool:
        try:
            self.chunk = iter((await anext(self._iterator),))
        except StopAsyncIteration:
            return False
        return True

    async def aclose(self) -> None:
        close = getattr(self._iterator, "aclose", None)
        if self._opened and close is not None:
            await close()


class _ThreadedRows(Rows[RowT]):
    """Rows whose reading blocks: read in a thread, a chunk at a time."""

    def __init__(self, rows: Iterator[RowT]) -> None:
        super().__init__()
        self._rows = rows
        self._chunks = _in_chunks(rows)
        self._reading = False

    async def refill(self) -> bool:
        from anyio import to_thread

        self._reading = True
        chunk = await to_thread.run_sync(next, self._chunks, None, abandon_on_cancel=True)
        self._reading = False
        if chunk is None:
            return False
        self.chunk = iter(chunk)
        return True

    async def aclose(self) -> None:
        from anyio import to_thread

        close = getattr(self._rows, "close", None)
        # A read that was cancelled may still be going on in its thread, which will let go by itself.
        if close is not None and not self._reading:
            await to_thread.run_sync(close)


class Dataset(Generic[RowT]):
    """Where an evaluation's rows come from.

    :param source: an iterable or async iterable of rows; the path of a `.jsonl`, `.csv`, `.tsv` or
        `.parquet` file (JSONL, CSV and TSV may be gzipped: `.jsonl.gz`); a Hugging Face, pandas or polars
        table; or a callable that returns one of these anew
    :raises ConfigurationError: if it is none of these, or the type of the file is not known
    """

    def __init__(self, source: Source[RowT]) -> None:
        self.source = source
        self._used = False
        if isinstance(source, (str, Path)):
            _file_type(Path(source))
        elif not _is_readable(source) and not callable(source):
            raise ConfigurationError(
                f"the dataset is a {type(source).__name__}: give an iterable or async iterable of rows, "
                f"the path of a file ({', '.join(FILE_TYPES)}), or a callable that returns one of these"
            )
        _refuse_lookalikes(source)

    @property
    def name(self) -> str | None:
        """The file's name, for a file."""
        return Path(self.source).name if isinstance(self.source, (str, Path)) else None

    def __len__(self) -> int:
        """Return how many rows there are.

        :raises TypeError: if that is not known without reading them
        """
        if isinstance(self.source, (str, Path)):
            raise TypeError("the length of a file is not known before it is read")
        return len(self.source)  # type: ignore[arg-type] # raises the TypeError that is promised

    def open(self) -> Rows[RowT]:
        """Open the dataset from its start.

        :raises DatasetError: if it is an iterator that was already read, or a file that cannot be opened
        """
        source: Any = self.source
        if _is_readable(source) and (iter_once(source)):
            if self._used:
                raise DatasetError(
                    f"the dataset is a {type(source).__name__} that an earlier run already read: "
                    "give a list, or a callable that opens it anew, to run the evaluation again"
                )
            self._used = True
        if not _is_readable(source):
            source = source()
            if not _is_readable(source):
                if inspect.iscoroutine(source):
                    source.close()  # so that nothing warns of it beside the error
                raise DatasetError(
                    f"the dataset's callable returned a {type(source).__name__}: "
                    "it must return an iterable, an async iterable or a path"
                )
            _refuse_lookalikes(source)
        return _open(source)


def iter_once(source: object) -> bool:
    """Tell whether a source can be read only once: whether it is an iterator."""
    return hasattr(source, "__next__") or hasattr(source, "__anext__")


def _is_readable(source: object) -> bool:
    return isinstance(source, (str, Path, Iterable, AsyncIterable))


def _refuse_lookalikes(source: object) -> None:
    if isinstance(source, (bytes, bytearray)):
        raise ConfigurationError("the dataset is bytes: give rows, or the path of a file")
    if isinstance(source, Mapping):
        keys = ", ".join(repr(key) for key in islice(source, 5))
        raise ConfigurationError(
            f"the dataset is a {type(source).__name__} with the keys {keys}: give a list of rows; "
            "where these are the splits of a dataset, choose one of them"
        )


def _open(source: Any) -> Rows[Any]:
    if isinstance(source, (str, Path)):
        return _ThreadedRows(_file_rows(Path(source)))
    if isinstance(source, AsyncIterable):
        return _AsyncRows(source)
    library = type(source).__module__.partition(".")[0]
    if library == "datasets":
        # Reads from the disk or the network on every chunk of its own.
        return _ThreadedRows(iter(source))
    if library == "pandas" and hasattr(source, "itertuples"):
        columns = [str(column) for column in source.columns]
        tuples = source.itertuples(index=False, name=None)
        return Rows(dict(zip(columns, row, strict=True)) for row in tuples)
    if library == "polars" and hasattr(source, "iter_rows"):
        return Rows(source.iter_rows(named=True))
    return Rows(iter(source))


def _in_chunks(rows: Iterator[RowT]) -> Generator[list[RowT], None, None]:
    """Gather rows for a moment at a time; where they break, give those before the break first."""
    failure: Exception | None = None
    while failure is None:
        chunk: list[RowT] = []
        until = time.monotonic() + CHUNK_SECONDS
        try:
            for row in islice(rows, CHUNK_ROWS):
                chunk.append(row)
                if time.monotonic() > until:
                    break
        except Exception as error:  # noqa: BLE001 - raised below, after the rows before it
            failure = error
        if chunk:
            yield chunk
        elif failure is None:
            return
    raise failure


def _file_type(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz" and len(suffixes) > 1 and suffixes[-2] != ".parquet":
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in FILE_TYPES:
        raise ConfigurationError(
            f"the dataset {str(path)!r} has an unknown file type, {suffix or 'no ending'!r}: "
            f"give a {', '.join(FILE_TYPES)} file, or a list of rows"
        )
    return suffix


def _file_rows(path: Path) -> Generator[Any, None, None]:
    """Check that the file can be read, and return its rows."""
    kind = _file_type(path)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise DatasetError(f"the dataset {str(path)!r} {what}: give the path of a file")
    if kind == ".parquet":
        try:
            import pyarrow as pa  # noqa: F401 - found missing before the run starts
        except ImportError:
            raise MissingExtraError("reading Parquet files", "pyarrow", "parquet") from None
        return _parquet_rows(path)
    if kind in {".csv", ".tsv"}:
        return _csv_rows(path, "\t" if kind == ".tsv" else ",")
    return _jsonl_rows(path)


@contextmanager
def _opened(path: Path) -> Generator[IO[bytes], None, None]:
    """Open a file; what goes wrong with it, then or while it is read, is a `DatasetError`."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield cast("IO[bytes]", file)
    except UnicodeDecodeError as error:
        raise DatasetError(f"the dataset {str(path)!r} is not UTF-8 text: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"the dataset {str(path)!r} cannot be read: {error}") from error


def _jsonl_rows(path: Path) -> Generator[Any, None, None]:
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if text.strip():
                row = _json_row(text, path, number)
                if number == 1 and isinstance(row, UnreadableRow) and text.lstrip().startswith(b"["):
                    raise DatasetError(f"{path.name} is one JSON array: JSONL has one object on each line")
                yield row


def _json_row(line: bytes, path: Path, number: int) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as strict:
        try:
            # The standard library reads NaN and Infinity, which other writers of JSON put out.
            return json.loads(line)
        except (ValueError, RecursionError):
            error = RowError(f"is not JSON: {strict} ({path.name} line {number})")
            return UnreadableRow(error)


def _csv_rows(path: Path, delimiter: str) -> Generator[Any, None, None]:
    # Python's limit on a field is shorter than a long prompt; it belongs to the process, and is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), MOST_CHARACTERS))
    with _opened(path) as file:
        reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), delimiter=delimiter)
        try:
            columns = next(filter(None, reader), [])
            repeated = sorted({column for column in columns if columns.count(column) > 1})
            if repeated:
                raise DatasetError(f"{path.name} has two columns named {repeated[0]!r}: rename one of them")
            for fields in reader:
                if fields:
                    yield _csv_row(columns, fields, path, reader.line_num)
        except csv.Error as error:
            raise DatasetError(f"{path.name} line {reader.line_num} is not CSV: {error}") from error


def _csv_row(columns: list[str], fields: list[str], path: Path, line: int) -> Any:
    if len(fields) == len(columns):
        return dict(zip(columns, fields, strict=True))
    if len(fields) < len(columns):
        what = f"no field for the column {columns[len(fields)]!r}"
    else:
        what = f"a field {fields[len(columns)]!r} beyond its last column {columns[-1]!r}"
    error = RowError(f"has {what}: {len(fields)} fields for {len(columns)} columns ({path.name} line {line})")
    return UnreadableRow(error)


def _parquet_rows(path: Path) -> Generator[Any, None, None]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=CHUNK_ROWS):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise DatasetError(f"{path.name} is not a readable Parquet file: {error}") from error
