from __future__ import annotations

import asyncio
import csv
import json
import math
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from aeval import Evaluation, Report, Result, Score, run
from aeval.errors import ConfigurationError, ExperimentError, MissingExtraError, RunError, StorageError
from aeval.report import columns as columns_module
from aeval.report.export import FORMS, export
from aeval.report.results import StoredResults
from aeval.report.tables import to_arrow, to_pandas, to_polars
from aeval.result import Failure, Usage
from aeval.storage.base import Entry, StoredRun
from aeval.storage.codec import decode, digest_of, encode
from aeval.storage.postgres import PostgresBackend
from aeval.storage.storage import Storage, open_storage

pytestmark = pytest.mark.anyio

KINDS = ("sqlite:///{}/r.db", "jsonl://{}/r", "memory://{}")
FIXED_BEFORE = ["id", "index", "repeat", "evaluation"]
FIXED_AFTER = [
    "error.kind", "error.message", "attempts",
    "seconds", "seconds.slot", "seconds.rate", "seconds.backoff", "seconds.task", "seconds.scorers",
    "usage.input_tokens", "usage.output_tokens", "usage.cached_input_tokens", "usage.requests", "usage.cache_hits",
]  # fmt: skip


def result_of(number: int = 0, **fields: Any) -> Result[Any, Any]:
    return Result.restored(
        **{
            "id": number,
            "index": number,
            "repeat": 0,
            "evaluation": "sums",
            "row": {"question": "2+2"},
            "output": "4",
            "scores": {"match": Score(True, "match")},
            "error": None,
            "attempts": 1,
            "times": (0.5,),
            "usage": None,
            "metadata": {},
            "retried": (),
            **fields,
        }
    )


def cells(results: list[Result[Any, Any]], names: Mapping[str, tuple[str, ...] | None] | None = None) -> Any:
    """Return the table of some results as a mapping of columns to values."""
    return to_arrow(results, names or {}).to_pydict()


def values(name: str, results: list[Result[Any, Any]]) -> tuple[Any, list[Any]]:
    """Return a column's type and values."""
    column = to_arrow(results, {}).column(name)
    return column.type, column.to_pylist()


async def filled(storage: Storage, results: list[Result[Any, Any]], **about: Any) -> StoredRun:
    """Commit results to a new run."""
    added = await storage.backend.add_run(
        StoredRun(**{"experiment": "first", "evaluation": "sums", "number": 1, "started": 1.0, **about})
    )
    assert added is not None
    for start in range(0, len(results), 1000):
        some = results[start : start + 1000]
        await storage.backend.commit(
            added.key, [Entry(each, digest_of(each.id, each.row), False) for each in some]
        )
    return added


def many(count: int) -> list[Result[Any, Any]]:
    return [result_of(number, output=f"answer {number}") for number in range(count)]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.partition(":")[0])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """Give an open storage of a kind that can be opened again."""
    async with open_storage(request.param.format(tmp_path)) as storage:
        yield storage


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("aeval-results")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not readers()


# Columns.


def test_columns_of_a_result() -> None:
    """A table has the result's fields, the row's columns, scores with reasons, errors, times, usage and metadata."""
    results = [
        result_of(
            scores={
                "match": Score(True, "match", "same"),
                "length": Score(3, "length", None, {"unit": "words"}),
            },
            usage=Usage(1, 2, 3, 4, 5),
            times=(9.0, 1.0, 2.0, 0.5, 3.0),
            metadata={"prompt": "Add"},
        ),
        result_of(1, output=None, scores={}, error=Failure("KeyError", "'x'"), attempts=3),
    ]
    assert cells(results) == {
        "id": [0, 1],
        "index": [0, 1],
        "repeat": [0, 0],
        "evaluation": ["sums", "sums"],
        "row.question": ["2+2", "2+2"],
        "output": ["4", None],
        "score.match": [True, None],
        "score.match.reason": ["same", None],
        "score.length": [3, None],
        "score.length.metadata": ['{"unit":"words"}', None],
        "error.kind": [None, "KeyError"],
        "error.message": [None, "'x'"],
        "attempts": [1, 3],
        "seconds": [9.0, 0.5],
        "seconds.slot": [1.0, 0.0],
        "seconds.rate": [2.0, 0.0],
        "seconds.backoff": [0.5, 0.0],
        "seconds.task": [3.0, 0.0],
        "seconds.scorers": [2.5, 0.5],
        "usage.input_tokens": [1, None],
        "usage.output_tokens": [2, None],
        "usage.cached_input_tokens": [3, None],
        "usage.requests": [4, None],
        "usage.cache_hits": [5, None],
        "metadata.prompt": ["Add", None],
    }


def test_no_results() -> None:
    """A run without results has a table with no rows, in all three libraries."""
    for make in (to_arrow, to_pandas, to_polars):
        table: Any = make([], {})
        assert list(getattr(table, "column_names", None) or table.columns) == [
            *FIXED_BEFORE,
            "output",
            *FIXED_AFTER,
        ]
        assert len(table) == 0


class Pair(NamedTuple):
    left: int
    right: int


@attrs.frozen
class Question:
    text: str
    level: int


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"a": 1, "b": "x"}, {"row.a": 1, "row.b": "x"}),
        (MappingProxyType({"a": 1}), {"row.a": 1}),
        ({1: "x"}, {"row.1": "x"}),
        ({1: "x", "1": "y", None: "z"}, {"row.1": "x", "row.1_2": "y", "row.null": "z"}),
        ({"": 1}, {"row.": 1}),
        ((1, "x"), {"row.0": 1, "row.1": "x"}),
        ([1, "x"], {"row.0": 1, "row.1": "x"}),
        (Pair(1, 2), {"row.0": 1, "row.1": 2}),
        ([{"role": "user"}], {"row": '[{"role":"user"}]'}),
        ((), {"row": "[]"}),
        (Question("what", 1), {"row.text": "what", "row.level": 1}),
        ("text", {"row": "text"}),
        (7, {"row": 7}),
        (None, {"row": None}),
        ({}, {}),
    ],
)
def test_columns_of_a_row(row: Any, found: dict[str, Any]) -> None:
    """Mappings and objects give columns by name, tuples and lists by place, and anything else is one column."""
    table = cells([result_of(row=row)])
    assert {name: column[0] for name, column in table.items() if name.startswith("row")} == found


def test_names_of_a_tuples_columns() -> None:
    """Tuples whose columns the evaluation named have columns of these names."""
    table = cells([result_of(row=("2+2", "4", "x"))], {"sums": ("question", "answer")})
    assert [name for name in table if name.startswith("row")] == ["row.question", "row.answer", "row.2"]


def test_two_columns_of_one_name() -> None:
    """Of two columns that would have one name, the later one is numbered."""
    scores = {"a": Score(1, "a", "why"), "a.reason": Score(2, "a.reason")}
    table = cells([result_of(scores=scores)])
    assert (table["score.a"], table["score.a.reason"], table["score.a.reason_2"]) == ([1], ["why"], [2])


@pytest.mark.parametrize(
    ("given", "type_", "found"),
    [
        ([True, None], pa.bool_(), [True, None]),
        ([1, 2**62], pa.int64(), [1, 2**62]),
        ([True, 2], pa.int64(), [1, 2]),
        ([1, 0.5], pa.float64(), [1.0, 0.5]),
        ([True, False, 0.5], pa.float64(), [1.0, 0.0, 0.5]),
        ([2**53 + 1, 0.5], pa.string(), [str(2**53 + 1), "0.5"]),
        ([2**63, 1], pa.string(), [str(2**63), "1"]),
        ([1, "a"], pa.string(), ["1", "a"]),
        ([True, "a"], pa.string(), ["true", "a"]),
        (["a", math.nan, math.inf], pa.string(), ["a", "nan", "inf"]),
        ([{"a": [1]}, "a", None], pa.string(), ['{"a":[1]}', "a", None]),
        ([[math.nan], (1,)], pa.string(), ['[{"$float":"nan"}]', "[1]"]),
        ([None, None], pa.string(), [None, None]),
        (["half \ud800", "é"], pa.string(), ["half \\ud800", "é"]),
        ([datetime(2024, 5, 1, tzinfo=UTC), Decimal("1.50")], pa.string(), ["2024-05-01T00:00:00Z", "1.50"]),
        ([np.int64(3), np.float64(0.5), np.True_], pa.float64(), [3.0, 0.5, 1.0]),
        ([b"abc", 10**5000], pa.string(), ["YWJj", json.dumps({"$int": hex(10**5000)}, separators=(",", ":"))]),
    ],
)
def test_type_of_a_column(given: list[Any], type_: Any, found: list[Any]) -> None:
    """A column is of the narrowest type that holds its values exactly; text, with JSON in it, holds them all."""
    assert values("output", [result_of(output=value) for value in given]) == (type_, found)


def test_ids_of_two_types_are_text() -> None:
    """Ids that are numbers and texts are text in the table."""
    assert values("id", [result_of(id=1), result_of(id="a")]) == (pa.string(), ["1", "a"])


def test_types_are_those_of_all_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of another type that comes late makes the whole column of a type that holds it."""
    monkeypatch.setattr("aeval.report.tables.PART", 2)
    results = [result_of(number, output=number) for number in range(5)] + [result_of(5, output="x")]
    assert values("output", results) == (pa.string(), ["0", "1", "2", "3", "4", "x"])
    assert to_pandas(results, {})["output"].tolist() == to_polars(results, {})["output"].to_list()


def test_names_that_are_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more names than a table may have columns, one column holds them as JSON."""
    monkeypatch.setattr(columns_module, "MOST_NAMES", 3)
    results = [
        result_of(
            number,
            row={f"r{number}": 1},
            scores={f"s{number}": Score(number, reason="why", metadata={"a": 1})},
            metadata={f"m{number}": [number]} if number else {},
        )
        for number in range(5)
    ]
    table = cells(results)
    assert table["row"] == [f'{{"r{number}":1}}' for number in range(5)]
    assert table["score"] == [f'{{"s{number}":{number}}}' for number in range(5)]
    assert table["score.reason"][0] == '{"s0":"why"}'
    assert table["score.metadata"][0] == '{"s0":{"a":1}}'
    assert table["metadata"] == [None] + [f'{{"m{number}":[{number}]}}' for number in range(1, 5)]


# pandas and polars.


def test_pandas_types() -> None:
    """Bools and whole numbers may be missing in pandas; a whole number stays exact where one is missing."""
    results = [result_of(output=2**60 + 1), result_of(1, output=None, scores={}, error=Failure("E", "e"))]
    table = to_pandas(results, {})
    assert table["output"].tolist() == [2**60 + 1, pd.NA]
    assert table["score.match"].tolist() == [True, pd.NA]
    kinds = {name: str(table[name].dtype) for name in ("output", "score.match", "seconds", "row.question")}
    assert kinds == {"output": "Int64", "score.match": "boolean", "seconds": "float64", "row.question": "str"}


def test_polars_types() -> None:
    """What is missing is null in polars, and everything else has its type."""
    results = [result_of(output=2**60 + 1), result_of(1, output=None, scores={}, error=Failure("E", "e"))]
    table = to_polars(results, {})
    assert table["output"].to_list() == [2**60 + 1, None]
    kinds = [table.schema[name] for name in ("output", "score.match", "seconds", "row.question")]
    assert kinds == [pl.Int64, pl.Boolean, pl.Float64, pl.String]


@pytest.mark.parametrize(
    ("make", "package", "extra"),
    [(to_arrow, "pyarrow", "parquet"), (to_pandas, "pandas", "pandas"), (to_polars, "polars", "polars")],
)
def test_missing_package(
    make: Callable[..., Any], package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is not installed is an error that names the extra."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'aeval\[{extra}\]'"):
        make([], {})


@pytest.mark.parametrize(("name", "others"), [("to_pandas", ["pyarrow"]), ("to_polars", ["pyarrow", "pandas"])])
def test_other_packages_are_not_needed(name: str, others: list[str]) -> None:
    """Those of pandas are made without pyarrow, those of polars without pyarrow and pandas."""
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({others!r}))\n"
        "from aeval import Evaluation, run_sync\n"
        "async def right(question, answer): return answer == '4'\n"
        "rows = [{'question': '2+2', 'answer': '4'}, {'question': 'é', 'answer': '5'}]\n"
        f"table = run_sync(Evaluation(rows, right), keep=True, progress=False).{name}()\n"
        "print([*map(bool, table['score.right'])], [*table['row.question']])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("[True, False] ['2+2', 'é']", 0), done.stderr


# Reports.


async def right(question: str, answer: str) -> bool:
    return answer == "4"


ROWS = [{"question": "2+2", "answer": "4"}, {"question": "3+3", "answer": "5"}]


async def report(**options: Any) -> Report[Any, Any]:
    return await run(Evaluation(ROWS, right), progress=False, **options)


async def test_report_of_kept_results() -> None:
    """A report's kept results become a table in each of the three libraries."""
    kept = await report(keep=True)
    assert kept.to_arrow()["score.right"].to_pylist() == [True, False]
    assert kept.to_pandas()["score.right"].tolist() == [True, False]
    assert kept.to_polars()["score.right"].to_list() == [True, False]


@pytest.mark.parametrize("name", ["to_arrow", "to_pandas", "to_polars"])
async def test_report_without_results(name: str) -> None:
    """A report without results says how to have them."""
    with pytest.raises(RunError, match="keep=True, or with a storage"):
        getattr(await report(), name)()


async def test_report_of_stored_results(tmp_path: Path) -> None:
    """A report's stored results become the same table as kept ones."""
    url = f"sqlite:///{tmp_path}/r.db"
    kept = await report(keep=True, storage=url, experiment="first")
    async with open_storage(url) as storage:
        stored = attrs.evolve(kept, results=StoredResults(storage, await storage.latest("first")))
    for name in ("to_arrow", "to_polars", "to_pandas"):
        assert getattr(stored, name)().equals(getattr(kept, name)()), name


# Stored results.


async def test_stored_results_are_read_each_time(storage: Storage) -> None:
    """Stored results have a length, and are gone through as often as one likes, with `for` and with `async for`."""
    stored = StoredResults[Any, Any](storage, [await filled(storage, many(1234))])
    for _ in range(2):
        assert len(stored) == 1234
        assert [result.index for result in stored] == list(range(1234))
        assert [result.output async for result in stored] == [f"answer {number}" for number in range(1234)]


async def test_stored_results_of_a_closed_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored results are read from a storage that was closed, from another working directory too."""
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///r.db", "jsonl://r", "memory://closed"):
        async with open_storage(url) as storage:
            stored = StoredResults[Any, Any](storage, [await filled(storage, many(20))])
        monkeypatch.chdir("/")
        assert len(list(stored)) == len([result async for result in stored]) == len(stored) == 20
        monkeypatch.chdir(tmp_path)


def test_stored_results_from_a_script(tmp_path: Path) -> None:
    """Stored results are read where no event loop runs."""

    async def fill() -> StoredResults[Any, Any]:
        async with open_storage(f"sqlite:///{tmp_path}/r.db") as storage:
            return StoredResults(storage, [await filled(storage, many(20))])

    stored = asyncio.run(fill())
    assert [result.index for result in stored] == list(range(len(stored)))
    assert to_pandas(stored, {})["index"].tolist() == list(range(20))


async def test_stored_results_of_several_runs(storage: Storage) -> None:
    """The results of several runs come one run after another, each with its evaluation's name and columns."""
    runs = [
        await filled(storage, [result_of(row=("a",))], row_type="tuple", columns=("question",)),
        await filled(storage, [result_of(row=("b",), evaluation="b")], evaluation="b", row_type="tuple"),
    ]
    stored = StoredResults[Any, Any](storage, runs)
    assert [(result.evaluation, result.row) for result in stored] == [("sums", ("a",)), ("b", ("b",))]
    table = to_arrow(stored, {})
    assert (table["row.question"].to_pylist(), table["row.0"].to_pylist()) == (["a", None], [None, "b"])
    assert repr(stored) == f"<StoredResults of 'sums', 'b' in {storage.url}>"


async def test_what_was_noted_later_is_known(storage: Storage) -> None:
    """What the storage has come to know of a run since is heeded, such as that its rows are tuples."""
    early = await filled(storage, [result_of(row=("a",))])
    await storage.backend.update_run(attrs.evolve(early, row_type="tuple", columns=("question",)))
    stored = StoredResults[Any, Any](storage, [early])
    assert [result.row for result in stored] == [("a",)]
    assert to_arrow(stored, {})["row.question"].to_pylist() == ["a"]


async def test_left_early_the_thread_ends(storage: Storage) -> None:
    """Who leaves the loop early, or drops the iterator, leaves no thread behind."""
    stored = StoredResults[Any, Any](storage, [await filled(storage, many(5000))])
    for result in stored:
        if result.index == 700:
            break
    del result
    iterator = iter(stored)
    next(iterator)
    assert readers()
    del iterator
    assert not readers()
    with pytest.raises(ZeroDivisionError):
        for _ in stored:
            raise ZeroDivisionError
    async for _ in stored:
        break


def test_process_ends_in_the_middle(tmp_path: Path) -> None:
    """A process that ends while results are being read ends without a word."""
    code = (
        "import asyncio, sys\n"
        "from aeval import Evaluation, open_storage, run\n"
        "from aeval.report.results import StoredResults\n"
        "async def right(n): return True\n"
        "async def main():\n"
        "    await run(Evaluation(range(5000), right), storage=sys.argv[1], experiment='e', progress=False)\n"
        "    async with open_storage(sys.argv[1]) as storage:\n"
        "        return StoredResults(storage, await storage.latest('e'))\n"
        "reading = iter(asyncio.run(main()))\n"
        "print(next(reading).index)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code, f"sqlite:///{tmp_path}/r.db"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


async def test_error_while_reading(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in the storage comes out as itself, after the results before it."""
    stored = StoredResults[Any, Any](storage, [await filled(storage, many(100))])
    page = type(storage.backend).page

    async def failing(backend: Any, key: int, after: int, *rest: Any, **options: Any) -> Any:
        if after:
            raise StorageError("the disk is gone")
        return await page(backend, key, after, *rest, **options)

    monkeypatch.setattr(type(storage.backend), "page", failing)
    seen = []
    with pytest.raises(StorageError, match="the disk is gone"):
        for result in stored:
            seen.append(result.index)
    assert seen == list(range(16))


async def test_run_that_was_renamed_or_deleted(storage: Storage) -> None:
    """Results are found under the experiment's new name; those that were deleted are an error, not none."""
    stored = StoredResults[Any, Any](storage, [await filled(storage, many(3), status="finished")])
    await storage.rename("first", "second")
    assert len(list(stored)) == len(stored) == 3
    await storage.delete("second")
    with pytest.raises(ExperimentError, match="it was deleted"):
        list(stored)
    with pytest.raises(ExperimentError, match="it was deleted"):
        len(stored)


@pytest.mark.parametrize("url", ["sqlite:///{}/r.db", "jsonl://{}/r"])
async def test_storage_that_was_deleted(url: str, tmp_path: Path) -> None:
    """Results whose storage was deleted are an error, and no empty one is made in its place."""
    async with open_storage(url.format(tmp_path)) as storage:
        stored = StoredResults[Any, Any](storage, [await filled(storage, many(3))])
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(ExperimentError, match="it was deleted"):
        list(stored)
    assert not list(tmp_path.iterdir())


async def test_storage_in_memory() -> None:
    """Results in a nameless memory:// are read while it is open; once closed, the error says what to do."""
    async with open_storage("memory://") as storage:
        stored = StoredResults[Any, Any](storage, [await filled(storage, many(1234))])
        assert len(stored) == len(list(stored)) == len([result async for result in stored]) == 1234
        assert to_polars(stored, {})["index"].to_list() == list(range(1234))
        half_read = iter(stored)
        next(half_read)
    with pytest.raises(RunError, match="keep=True"):
        len(stored)
    with pytest.raises(RunError, match="keep=True"):
        list(stored)
    with pytest.raises(RunError, match="keep=True"):
        to_arrow(stored, {})
    with pytest.raises(RunError, match="keep=True"):
        list(half_read)


async def test_results_that_come_meanwhile(storage: Storage) -> None:
    """A table has the results that there were when it was asked for, although the run goes on."""
    added = await filled(storage, many(3))
    fixed = StoredResults[Any, Any](storage, [added]).until_now()
    late = result_of(3, output={"other": 1}, row="other")
    await storage.backend.commit(added.key, [Entry(late, 1, False)])
    assert [result.index for result in fixed] == [0, 1, 2]
    assert to_arrow(fixed, {})["index"].to_pylist() == [0, 1, 2, 3]


def test_password_is_kept_and_not_shown() -> None:
    """Another storage of the same place has the password, and none of them shows it."""
    storage = open_storage("postgresql://ada:sesame@localhost/evals")
    again = storage.reopened()
    assert again is not None
    assert isinstance(again.backend, PostgresBackend)
    assert "sesame" in again.backend._connections._address.dsn
    assert "sesame" not in f"{storage!r} {again!r} {storage.url} {again.url} {StoredResults(storage, [])!r}"


# Export.

# How often the storage is asked before a part of the results is written: those of a table are gone through first.
BEFORE = {"jsonl": 1, "csv": 5, "parquet": 5}


def read(path: Path, form: str) -> list[dict[str, Any]]:
    """Read an export back, as rows of its columns."""
    if form == "jsonl":
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    if form == "csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file, strict=True))
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


@pytest.mark.parametrize("form", FORMS)
async def test_export(storage: Storage, form: str, tmp_path: Path) -> None:
    """An export has a row for each result of each run, with its evaluation, and says how many there are."""
    runs = [
        await filled(storage, many(1500)),
        await filled(storage, [result_of(row="x", evaluation="b", output=[1])], evaluation="b"),
    ]
    path = tmp_path / f"out.{form}"
    assert await export(storage, runs, path, form) == 1501
    rows = read(path, form)
    assert [row["evaluation"] for row in rows] == ["sums"] * 1500 + ["b"]
    assert [int(row["index"]) for row in rows] == [*range(1500), 0]
    assert [row["output"] for row in rows[:3]] == ["answer 0", "answer 1", "answer 2"]
    assert rows[-1]["output"] in ([1], "[1]")
    assert [entry.name for entry in tmp_path.iterdir() if "aeval-" in entry.name] == []


async def test_export_is_the_table(storage: Storage, tmp_path: Path) -> None:
    """A Parquet file is the report's table; a CSV file is too, as far as text goes."""
    results = [
        result_of(
            0, output='a "b", c\r\nd\re\0', scores={"m": Score(True), "n": Score(0.5)}, row={"x": "=1+1"}
        ),
        result_of(1, output=None, scores={"m": Score(False), "n": Score(2)}, row={"x": "é\ud800"}),
        result_of(2, output="", scores={}, error=Failure("KeyError", "'x'"), row={"x": None}),
    ]
    stored = StoredResults[Any, Any](storage, [await filled(storage, results)])
    table = to_arrow(stored, {})
    await export(storage, stored.runs, tmp_path / "out.parquet", "parquet")
    assert parquet.read_table(tmp_path / "out.parquet").equals(table)
    await export(storage, stored.runs, tmp_path / "out.csv", "csv")
    rows = read(tmp_path / "out.csv", "csv")
    assert list(rows[0]) == table.column_names
    assert [row["score.m"] for row in rows] == ["true", "false", ""]
    assert [row["score.n"] for row in rows] == ["0.5", "2.0", ""]
    assert [row["output"] for row in rows] == ['a "b", c\r\nd\re\0', "", ""]
    assert [row["row.x"] for row in rows] == ["=1+1", "é\\ud800", ""]
    assert tmp_path.joinpath("out.csv").read_bytes().count(b"\r\n") == 4 + 1


async def test_exported_lines_are_results(storage: Storage, tmp_path: Path) -> None:
    """A line of a JSONL export is read back as the result that it was."""
    results = [result_of(row=("2+2", "4"), output={"x": math.inf}), result_of(1, row=("a", "\ud800"))]
    stored = await filled(storage, results, row_type="tuple")
    await export(storage, [stored], tmp_path / "out.jsonl", "jsonl")
    lines = tmp_path.joinpath("out.jsonl").read_bytes().splitlines()
    assert [decode(line, "sums", "tuple") for line in lines] == results
    assert [json.loads(line)["evaluation"] for line in lines] == ["sums", "sums"]


@pytest.mark.parametrize("form", FORMS)
async def test_export_of_no_results(storage: Storage, form: str, tmp_path: Path) -> None:
    """A run without results is a file without rows."""
    path = tmp_path / "out"
    assert await export(storage, [await filled(storage, [])], path, form) == 0
    assert read(path, form) == []


@pytest.mark.parametrize("form", ["jsonl", "csv"])
async def test_export_to_the_standard_output(
    storage: Storage, form: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Without a path, the same is written to the standard output, which stays open."""
    stored = [await filled(storage, many(3))]
    await export(storage, stored, tmp_path / "out", form)
    assert await export(storage, stored, None, form) == 3
    assert capfdbinary.readouterr().out == tmp_path.joinpath("out").read_bytes()
    print("more")


async def test_export_that_cannot_be(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown form, Parquet to the standard output, and Parquet without pyarrow are errors of the arguments."""
    with pytest.raises(ConfigurationError, match="no form 'xlsx'"):
        await export(storage, [], tmp_path / "out", "xlsx")
    with pytest.raises(ConfigurationError, match="give the path of a file"):
        await export(storage, [], None, "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="parquet"):
        await export(storage, [], tmp_path / "out", "parquet")


@pytest.mark.parametrize("form", FORMS)
async def test_export_replaces_the_file_at_its_end(
    storage: Storage, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an export is written, and if it fails, the former file is there; then the whole new one is."""
    stored = [await filled(storage, many(1000))]
    folder = tmp_path / "exports"
    folder.mkdir()
    path = folder / ("x" * 250)
    path.write_text("former")
    page, calls = type(storage.backend).page, []

    async def failing(backend: Any, *rest: Any, **options: Any) -> Any:
        calls.append(rest)
        assert path.read_text() == "former"
        if broken and len(calls) > BEFORE[form]:
            raise StorageError("the disk is gone")
        return await page(backend, *rest, **options)

    monkeypatch.setattr(type(storage.backend), "page", failing)
    for broken in (True, False):
        if broken:
            with pytest.raises(StorageError, match="the disk is gone"):
                await export(storage, stored, path, form)
        else:
            assert await export(storage, stored, path, form) == 1000
        assert list(folder.iterdir()) == [path]
    assert len(read(path, form)) == 1000


@pytest.mark.parametrize("form", FORMS)
async def test_export_that_is_cancelled(
    storage: Storage, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled export leaves nothing behind."""
    stored = [await filled(storage, many(1000))]
    folder = tmp_path / "exports"
    folder.mkdir()
    page, calls, reached = type(storage.backend).page, [], asyncio.Event()

    async def hanging(backend: Any, *rest: Any, **options: Any) -> Any:
        calls.append(rest)
        if len(calls) > BEFORE[form]:
            reached.set()
            await asyncio.Event().wait()
        return await page(backend, *rest, **options)

    monkeypatch.setattr(type(storage.backend), "page", hanging)
    task = asyncio.create_task(export(storage, stored, folder / "out", form))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("form", FORMS)
async def test_disk_that_is_full(storage: Storage, form: str) -> None:
    """A disk that is full is a StorageError that names the file; a device is never replaced by a file."""
    stored = [await filled(storage, many(3000))]
    with pytest.raises(StorageError, match=r"'/dev/full' cannot be written: .*No space left"):
        await export(storage, stored, Path("/dev/full"), form)
    assert Path("/dev/full").is_char_device()
    assert await export(storage, stored, Path("/dev/null"), form) == 3000
    assert Path("/dev/null").is_char_device()


async def test_place_that_cannot_be_written(storage: Storage, tmp_path: Path) -> None:
    """A folder that is not there, and one in the file's place, are StorageErrors that name the file."""
    with pytest.raises(StorageError, match=r"nowhere/out\.csv' cannot be written"):
        await export(storage, [], tmp_path / "nowhere" / "out.csv", "csv")
    with pytest.raises(StorageError, match="it is a folder"):
        await export(storage, [], tmp_path, "csv")


async def test_link_stays_a_link(storage: Storage, tmp_path: Path) -> None:
    """An export to a link replaces what the link points to."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("former")
    link.symlink_to(target)
    await export(storage, [await filled(storage, many(1))], link, "jsonl")
    assert link.is_symlink()
    assert len(target.read_text().splitlines()) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_memory_does_not_grow(form: str, tmp_path: Path) -> None:
    """Exporting ten times as many results, and reading them, takes no more memory."""
    peaks = []
    for count in (3_000, 30_000):
        async with open_storage(f"sqlite:///{tmp_path}/{count}.db") as storage:
            stored = StoredResults[Any, Any](storage, [await filled(storage, many(count))])
            await export(storage, stored.runs, tmp_path / "out", form)
            tracemalloc.start()
            try:
                await export(storage, stored.runs, tmp_path / "out", form)
                assert sum(1 for _ in stored) == count
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 500_000


# Anything.

texts = st.text(st.characters(), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.integers(-3, 3) | st.floats() | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
rows = st.dictionaries(texts, anything, max_size=3) | st.lists(anything, max_size=3).map(tuple) | anything
score_values = (
    st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
scores = st.dictionaries(
    st.sampled_from(["a", "b", "a.reason", "a.metadata", ""]) | texts,
    st.builds(
        lambda value, reason, metadata: Score(value, None, reason, metadata),
        score_values, st.none() | texts, st.dictionaries(texts, anything, max_size=2),
    ),
    max_size=3,
)  # fmt: skip
samples = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**65), 2**65) | texts,
        "row": rows,
        "output": anything,
        "scores": scores,
        "metadata": st.dictionaries(texts, anything, max_size=3),
        "error": st.none() | st.builds(Failure, texts, texts),
        "usage": st.none() | st.builds(Usage, st.integers(0, 9)),
    }
)


def made(drawn: list[dict[str, Any]]) -> list[Result[Any, Any]]:
    results = []
    for index, fields in enumerate(drawn):
        for name, score in fields["scores"].items():
            score.name = name
        results.append(result_of(**{**fields, "index": index, **({"scores": {}} if fields["error"] else {})}))
    return results


@given(drawn=st.lists(samples, max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_results_are_a_table(drawn: list[dict[str, Any]]) -> None:
    """Whatever results hold, they are a table of as many rows, the same whether or not they were stored before."""
    results = made(drawn)
    tables: list[Any] = [make(results, {}) for make in (to_arrow, to_pandas, to_polars)]
    assert [len(table) for table in tables] == [len(results)] * 3
    names = tables[0].column_names
    assert len(names) == len(set(names))
    assert names == list(tables[1].columns) == tables[2].columns
    stored = [decode(encode(result), "sums", "tuple") for result in results]
    assert all(not isinstance(result.row, list) for result in results) or len(stored) == len(results)
    if not any(isinstance(result.row, list) for result in results):
        assert_same(to_arrow(stored, {}).to_pydict(), tables[0].to_pydict())


def assert_same(a: dict[str, list[Any]], b: dict[str, list[Any]]) -> None:
    """Compare tables in which NaN is NaN."""
    assert repr(a) == repr(b)


@given(drawn=st.lists(samples, max_size=4, unique_by=lambda fields: (type(fields["id"]), fields["id"])))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_results_are_exported(
    drawn: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever results hold, all forms of an export have a row for each, and JSONL gives the very results back."""
    results = made(drawn)
    folder = tmp_path_factory.mktemp("any")

    async def exported() -> list[int]:
        async with open_storage("memory://") as storage:
            stored = [await filled(storage, results, row_type="tuple")]
            return [await export(storage, stored, folder / form, form) for form in FORMS]

    assert asyncio.run(exported()) == [len(results)] * 3
    lines = folder.joinpath("jsonl").read_bytes().splitlines()
    assert [encode(decode(line, "sums", "tuple")) for line in lines] == [encode(result) for result in results]
    assert parquet.read_table(folder / "parquet").num_rows == len(results)
    with folder.joinpath("csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file, strict=True))) == len(results) + 1
