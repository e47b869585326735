from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import threading
from collections import UserList
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aeval import Dataset
from aeval import dataset as dataset_module
from aeval.dataset import CHUNK_ROWS, UnreadableRow
from aeval.errors import ConfigurationError, DatasetError, MissingExtraError

pytestmark = pytest.mark.anyio

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


async def read(source: Any) -> list[Any]:
    """Read a dataset to its end."""
    rows = (source if isinstance(source, Dataset) else Dataset(source)).open()
    found: list[Any] = []
    try:
        while True:
            found.extend(rows.chunk)
            if not await rows.refill():
                return found
    finally:
        await rows.aclose()


async def letters() -> AsyncIterator[str]:
    for letter in "abc":
        yield letter


class Letters:
    def __aiter__(self) -> AsyncIterator[str]:
        return letters()


def breaks_at(place: int) -> Iterator[int]:
    yield from range(place)
    raise LookupError("the source broke")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ([("q", "a")], [("q", "a")]),
        ((1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        (UserList(["a"]), ["a"]),
        ({"x": 1}.items(), [("x", 1)]),
        (lambda: [1, 2], [1, 2]),
        (lambda: (number for number in (1, 2)), [1, 2]),
        (letters, ["a", "b", "c"]),
        (Letters(), ["a", "b", "c"]),
        ([], []),
    ],
)
async def test_every_kind_of_source_gives_its_rows_again_and_again(source: Any, rows: list[Any]) -> None:
    """Iterables, async iterables and callables that open one give their rows in order, in every run."""
    dataset: Dataset[Any] = Dataset(source)
    assert await read(dataset) == rows
    assert await read(dataset) == rows


@pytest.mark.parametrize("make", [lambda: iter([1, 2]), lambda: (n for n in (1, 2)), letters])
async def test_iterator_that_was_read_is_refused(make: Callable[[], Any]) -> None:
    """An iterator is read once; a second run is an error that says what to give instead."""
    dataset: Dataset[Any] = Dataset(make())
    assert len(await read(dataset)) in {2, 3}
    with pytest.raises(DatasetError, match="already read: give a list, or a callable that opens it anew"):
        dataset.open()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (5, "the dataset is a int: give an iterable"),
        (None, "the dataset is a NoneType"),
        (b"rows", "the dataset is bytes"),
        (bytearray(b"rows"), "the dataset is bytes"),
        ({"train": [], "test": []}, "a dict with the keys 'train', 'test'.*choose one of them"),
        ("rows.txt", r"the dataset 'rows.txt' has an unknown file type, '.txt': give a .jsonl"),
        ("What is 2+2?", "unknown file type"),
        (Path("rows"), "'no ending'"),
        ("rows.gz", "'.gz'"),
        ("rows.parquet.gz", "'.gz'"),
    ],
)
def test_what_is_no_dataset_is_refused(source: Any, message: str) -> None:
    """What cannot be a dataset is refused when it is given, with words that name it and say what to give."""
    with pytest.raises(ConfigurationError, match=message):
        Dataset(source)


async def open_late() -> list[int]:
    return [1]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (lambda: 5, DatasetError, "the dataset's callable returned a int"),
        (lambda: {"train": []}, ConfigurationError, "with the keys 'train'"),
        (lambda: "rows.txt", ConfigurationError, "unknown file type"),
        (open_late, DatasetError, "the dataset's callable returned a coroutine"),
    ],
)
def test_callable_that_returns_no_dataset_is_refused(source: Any, error: type[Exception], message: str) -> None:
    """What a dataset's callable returns is checked as a dataset is."""
    with pytest.raises(error, match=message):
        Dataset(source).open()


def test_length_is_that_of_the_source() -> None:
    """A dataset is as long as its source."""
    assert len(Dataset([1, 2, 3])) == 3


@pytest.mark.parametrize("source", ["rows.jsonl", iter([1]), Letters(), lambda: [1]])
def test_length_that_is_not_known_is_not_told(source: Any) -> None:
    """Where the length is not known without reading the rows, asking for it is a TypeError."""
    with pytest.raises(TypeError):
        len(Dataset(source))


@pytest.mark.parametrize(
    ("source", "name"), [("a/quiz.jsonl.gz", "quiz.jsonl.gz"), (Path("a/q.csv"), "q.csv"), ([1], None)]
)
def test_name_is_the_files(source: Any, name: str | None) -> None:
    """A dataset that is a file has the file's name."""
    assert Dataset(source).name == name


def test_generator_is_read_no_further_than_asked() -> None:
    """Rows are taken from a generator one by one, and an endless one is as good as any."""
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    rows: Any = Dataset(endless()).open()
    assert taken == []
    assert list(itertools.islice(rows.chunk, 3)) == [0, 1, 2]
    assert taken == [0, 1, 2]


async def test_async_iterable_is_read_one_row_at_a_time() -> None:
    """Of an async iterable one row is awaited at a time; the next may be long in coming."""
    taken: list[int] = []

    async def endless() -> AsyncIterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    rows: Any = Dataset(endless).open()
    assert await rows.refill()
    assert await rows.refill()
    assert list(rows.chunk) == [1]
    assert taken == [0, 1]
    await rows.aclose()


@pytest.mark.parametrize("given_itself", [True, False])
async def test_async_generator_is_closed_by_whom_it_was_opened(given_itself: bool) -> None:
    """An async generator that the dataset opened is closed with it; one that was given stays the giver's."""
    closed: list[bool] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    class Numbers:
        def __aiter__(self) -> AsyncIterator[int]:
            return numbers()

    source: Any = numbers() if given_itself else Numbers()
    rows = Dataset(source).open()
    await rows.refill()
    await rows.aclose()
    assert closed == ([] if given_itself else [True])
    if given_itself:
        await source.aclose()


async def test_async_iterator_without_aclose_is_let_go() -> None:
    """An async iterator need not know how to be closed."""

    class Once:
        async def __anext__(self) -> int:
            raise StopAsyncIteration

    class Source:
        def __aiter__(self) -> Any:
            once: Any = Once()
            once.__class__.__aiter__ = lambda self: self
            return once

    assert await read(Source()) == []


@pytest.mark.parametrize("blocking", [False, True])
async def test_rows_before_a_break_are_handed_over(blocking: bool) -> None:
    """Where a source breaks, the rows before the break come first, and then the source's own error."""
    place = CHUNK_ROWS + 3
    rows: Any = Dataset(Blocking(lambda: breaks_at(place)) if blocking else breaks_at(place)).open()
    found: list[int] = []
    with pytest.raises(LookupError, match="the source broke"):
        while True:
            for row in rows.chunk:
                found += [row]
            await rows.refill()
    assert found == list(range(place))
    await rows.aclose()


async def test_rows_of_an_async_iterable_before_a_break_are_handed_over() -> None:
    """Where an async iterable breaks, its own error comes at its place."""

    async def broken() -> AsyncIterator[int]:
        yield 1
        raise LookupError("the source broke")

    rows = Dataset(broken).open()
    assert await rows.refill()
    assert list(rows.chunk) == [1]
    with pytest.raises(LookupError, match="the source broke"):
        await rows.refill()


class Blocking:
    """A table whose rows come from the disk or the network, as its module's name says."""

    __module__ = "datasets.blocking"

    def __init__(self, rows: Callable[[], Iterator[Any]]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return self._rows()


# Files.

FILES = [
    ("rows.jsonl", '{"q": "é", "a": 1}\n{"q": "y", "a": 2}\n', [{"q": "é", "a": 1}, {"q": "y", "a": 2}]),
    ("rows.ndjson", '["q", "a"]\r\n"x"\r\n3', [["q", "a"], "x", 3]),
    ("rows.jsonl.gz", '{"q": 1}\n\n   \n{"q": 2}\n', [{"q": 1}, {"q": 2}]),
    ("ROWS.JSONL", "1\n", [1]),
    ("rows.v1.jsonl", "1\n", [1]),
    ("bom.jsonl", '\ufeff{"q": 1}\n', [{"q": 1}]),
    ("empty.jsonl", "", []),
    ("nan.jsonl", '{"x": Infinity}\n', [{"x": float("inf")}]),
    ("rows.csv", 'q,a\nx,"1,\n2"\n\n"say ""é""",2\n', [{"q": "x", "a": "1,\n2"}, {"q": 'say "é"', "a": "2"}]),
    ("rows.csv.gz", "q,a\r\nx,1\r\n", [{"q": "x", "a": "1"}]),
    ("rows.tsv", "q\ta\nx, y\t1\n", [{"q": "x, y", "a": "1"}]),
    ("bom.csv", "\ufeffq,a\nx,1\n", [{"q": "x", "a": "1"}]),
    ("late.csv", "\n\nq,a\nx,1\n", [{"q": "x", "a": "1"}]),
    ("head.csv", "q,a\n", []),
    ("empty.csv", "", []),
]


@pytest.mark.parametrize(("name", "content", "rows"), FILES, ids=[name for name, _, _ in FILES])
async def test_file_gives_its_rows(
    write: Callable[..., Path], name: str, content: str, rows: list[Any]
) -> None:
    """A file gives its rows by its ending, by path or string, with or without gzip, BOM and blank lines."""
    path = write(name, content)
    assert await read(path) == rows
    assert await read(str(path)) == rows


@given(rows=st.lists(JSON))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_jsonl_gives_back_what_was_written(write: Callable[..., Path], rows: list[Any]) -> None:
    """Whatever JSON was written to a file's lines comes out of it."""
    path = write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert anyio.run(read, path) == rows


@given(rows=st.lists(st.tuples(TEXT, TEXT)), ending=st.sampled_from([("csv", ","), ("tsv", "\t")]))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_csv_gives_back_what_was_written(
    write: Callable[..., Path], rows: list[tuple[str, str]], ending: tuple[str, str]
) -> None:
    """Whatever text was written to a file's fields comes out of it."""
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=ending[1]).writerows([("q", "a"), *rows])
    path = write(f"rows.{ending[0]}", file.getvalue())
    assert anyio.run(read, path) == [{"q": q, "a": a} for q, a in rows]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"q": 1}\n\n{"q": \n{"q": 4}\n', r"is not JSON: .* \(x.jsonl line 3\)"),
        ("x.jsonl.gz", '{"q": 1}\n{} {}\n{"q": 4}\n', r"is not JSON: .* \(x.jsonl.gz line 2\)"),
        ("x.jsonl", '{"q": 1}\n' + "[" * 100_000 + '\n{"q": 4}\n', r"is not JSON: .* \(x.jsonl line 2\)"),
        ("x.csv", "q,a\n1,2\n3\n4,5\n", r"has no field for the column 'a': 1 fields .* \(x.csv line 3\)"),
        ("x.csv", "q,a\n1,2\n3,4,5\n6,7\n", r"has a field '5' beyond its last column 'a'.* \(x.csv line 3\)"),
    ],
)
async def test_unreadable_row_stands_in_its_place(
    write: Callable[..., Path], name: str, content: str, message: str
) -> None:
    """A row that cannot be read is one row with an error that tells its line; those around it are sound."""
    before, unreadable, after = await read(write(name, content))
    assert isinstance(unreadable, UnreadableRow)
    with pytest.raises(type(unreadable.error), match=message):
        raise unreadable.error
    assert isinstance(before, dict)
    assert isinstance(after, dict)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"q\n\xff\n", "x.csv' is not UTF-8 text: "),
        ("x.csv", b"q,a,q\n1,2,3\n", "x.csv has two columns named 'q': rename one of them"),
        ("x.parquet", b"no parquet", "x.parquet is not a readable Parquet file: "),
    ],
)
async def test_file_that_cannot_be_read_is_an_error(
    write: Callable[..., Path], name: str, content: bytes, message: str
) -> None:
    """A file that is not what its ending says is an error that names the file and what is wrong."""
    if name == "x.parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with pytest.raises(DatasetError, match=message):
        await read(write(name, content))


async def test_line_that_is_not_utf8_stands_in_its_place(tmp_path: Path) -> None:
    """Of a JSONL file with a stray byte, every line but that one is read."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"q": 1}\n{"q": "\xff"}\n{"q": 3}\n')
    first, second, third = await read(path)
    assert (first, third) == ({"q": 1}, {"q": 3})
    assert "x.jsonl line 2" in str(second.error)


async def test_long_field_of_csv_is_read(tmp_path: Path) -> None:
    """A prompt longer than the limit that Python sets on a field of CSV is read whole."""
    path = tmp_path / "x.csv"
    path.write_text("q\n" + "x" * 300_000)
    assert await read(path) == [{"q": "x" * 300_000}]


async def test_field_beyond_the_limit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field of CSV beyond the limit is an error that names the line."""
    monkeypatch.setattr("aeval.dataset.MOST_CHARACTERS", 10)
    path = tmp_path / "x.csv"
    path.write_text("q\n" + "x" * 100)
    before = csv.field_size_limit(10)
    try:
        with pytest.raises(DatasetError, match=r"x\.csv line 2 is not CSV"):
            await read(path)
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize(
    "damage", [lambda data: b"no gzip", lambda data: data[:-12], lambda data: data[:12] + b"\xff" * 99]
)
async def test_damaged_gzip_is_an_error(tmp_path: Path, kind: str, damage: Callable[[bytes], bytes]) -> None:
    """A gzipped file that is cut or damaged is an error that names it."""
    path = tmp_path / f"rows.{kind}.gz"
    path.write_bytes(damage(gzip.compress("\n".join(map(str, range(1000))).encode())))
    with pytest.raises(DatasetError, match=f"rows.{kind}.gz' cannot be read: "):
        await read(path)


@pytest.mark.parametrize(
    ("name", "what"), [("none.jsonl", "does not exist"), ("folder.jsonl", "is a directory")]
)
def test_file_that_is_not_there_is_an_error_at_once(tmp_path: Path, name: str, what: str) -> None:
    """A path that leads to no file is an error before anything runs."""
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(DatasetError, match=f"{name}' {what}"):
        Dataset(tmp_path / name).open()


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv.gz"])
async def test_file_that_may_not_be_read_is_an_error(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A file that the system refuses to open is an error that names it."""

    def refuse(*_: Any, **__: Any) -> IO[str]:
        raise PermissionError(13, "Permission denied")

    path = write(name, "1\n")
    monkeypatch.setattr(gzip, "open", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DatasetError, match=f"{name}' cannot be read: .*Permission denied"):
        await read(path)


async def test_file_is_read_in_a_thread_a_chunk_at_a_time(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is read off the loop's thread, and never more of it than a chunk is held."""
    threads: set[int] = set()
    decode = dataset_module._json_row
    monkeypatch.setattr(
        dataset_module, "_json_row", lambda *args: (threads.add(threading.get_ident()), decode(*args))[1]
    )
    rows: Any = Dataset(write("rows.jsonl", "1\n" * 3 * CHUNK_ROWS)).open()
    sizes = []
    while await rows.refill():
        sizes.append(len(list(rows.chunk)))
    assert sizes == [CHUNK_ROWS] * 3
    assert threads
    assert threading.get_ident() not in threads


async def test_slow_rows_come_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are slow to read are handed over before a chunk is full."""
    seconds = itertools.count(step=0.02)
    monkeypatch.setattr(dataset_module, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    rows: Any = Dataset(Blocking(lambda: iter(range(9)))).open()
    assert await rows.refill()
    assert list(rows.chunk) == [0, 1, 2]


async def test_file_is_closed_when_it_is_left(write: Callable[..., Path]) -> None:
    """A file that is left half-way is closed with the rows."""
    rows: Any = Dataset(write("rows.jsonl", "1\n" * 3 * CHUNK_ROWS)).open()
    await rows.refill()
    await rows.aclose()
    assert rows._rows.gi_frame is None


async def test_read_that_was_cancelled_is_not_waited_for() -> None:
    """A read that hangs can be cancelled, and closing the rows does not wait for it."""
    reading, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        reading.set()
        go_on.wait()
        yield 1

    rows = Dataset(Blocking(slow)).open()
    async with anyio.create_task_group() as group:
        group.start_soon(rows.refill)
        await anyio.to_thread.run_sync(reading.wait)
        group.cancel_scope.cancel()
    await rows.aclose()
    go_on.set()


# Tables.


async def test_parquet_file_gives_its_rows(tmp_path: Path) -> None:
    """A Parquet file gives its rows as mappings of Python's own values."""
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    data = [{"q": f"q{number}", "n": number, "tags": ["a"]} for number in range(CHUNK_ROWS + 1)]
    parquet.write_table(pa.Table.from_pylist(data), tmp_path / "rows.parquet")
    assert await read(tmp_path / "rows.parquet") == data


def test_parquet_without_its_package_says_what_to_install(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyarrow a Parquet file is an error, before anything runs, that says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'aeval\[parquet\]'"):
        Dataset(write("rows.parquet", b"")).open()


async def test_pandas_table_gives_its_rows() -> None:
    """A pandas table gives its rows as mappings, whatever its index, and a series its values."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame({"q": ["x", "y"], "n": [1, 2], 3: [0.5, 1.5]}, index=[7, 8])
    assert await read(table) == [{"q": "x", "n": 1, "3": 0.5}, {"q": "y", "n": 2, "3": 1.5}]
    assert await read(table["q"]) == ["x", "y"]
    assert len(Dataset(table)) == 2


async def test_polars_table_gives_its_rows() -> None:
    """A polars table is read by its named rows."""

    class Table(list[Any]):
        __module__ = "polars.dataframe"

        def iter_rows(self, *, named: bool) -> Iterator[dict[str, int]]:
            return iter([{"q": 1}, {"q": 2}] if named else [])

    assert await read(Table()) == [{"q": 1}, {"q": 2}]


async def test_hugging_face_dataset_gives_its_rows() -> None:
    """A Hugging Face dataset, held or streamed, gives its rows as mappings."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    data = [{"q": "x", "a": 1}, {"q": "y", "a": 2}]
    held = datasets.Dataset.from_list(data)
    assert await read(held) == data
    assert await read(held.to_iterable_dataset()) == data
    assert len(Dataset(held)) == 2


def test_hugging_face_splits_are_refused() -> None:
    """Of a Hugging Face dataset with several splits one must be chosen; the error names them."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    held = datasets.Dataset.from_list([{"q": "x"}])
    with pytest.raises(ConfigurationError, match=r"with the keys 'train', 'test'.*choose one of them"):
        Dataset(datasets.DatasetDict({"train": held, "test": held}))
