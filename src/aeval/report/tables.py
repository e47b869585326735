"""Tables: results for pyarrow, pandas and polars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from aeval.errors import MissingExtraError
from aeval.report.cells import Names
from aeval.report.columns import Column, Columns
from aeval.report.results import StoredResults
from aeval.result import Result

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["arrow_schema", "arrow_table", "import_arrow", "to_arrow", "to_pandas", "to_polars"]

Results = Sequence[Result[Any, Any]] | StoredResults[Any, Any]

# Results that are made into a part of the table at once; from a storage, as many as its pages have.
PART = 8192


def to_arrow(results: Results, names: Names) -> pa.Table:
    """Return results as a table of pyarrow.

    :param names: the names that evaluations gave to their rows' columns, by evaluation
    :raises MissingExtraError: if pyarrow is not installed
    """
    pa = import_arrow("to_arrow()")
    columns, parts = _surveyed(results, names)
    schema = arrow_schema(columns)
    return pa.concat_tables([schema.empty_table(), *(arrow_table(part, columns, schema) for part in parts)])


def to_pandas(results: Results, names: Names) -> pd.DataFrame:
    """Return results as a table of pandas, in which bools and whole numbers may be missing.

    :param names: as for `to_arrow`
    :raises MissingExtraError: if pandas is not installed
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("to_pandas()", "pandas", "pandas") from None
    types = {"bool": "boolean", "int": "Int64", "float": "float64", "text": "str"}
    columns, parts = _surveyed(results, names)

    def frame(part: Sequence[Result[Any, Any]]) -> pd.DataFrame:
        return pd.DataFrame(
            {column.name: pd.Series(column.values(part), dtype=types[column.type]) for column in columns}
        )

    return pd.concat([frame(part) for part in parts] or [frame(())], ignore_index=True)


def to_polars(results: Results, names: Names) -> pl.DataFrame:
    """Return results as a table of polars.

    :param names: as for `to_arrow`
    :raises MissingExtraError: if polars is not installed
    """
    try:
        import polars as pl
    except ImportError:
        raise MissingExtraError("to_polars()", "polars", "polars") from None
    types: dict[str, Any] = {"bool": pl.Boolean, "int": pl.Int64, "float": pl.Float64, "text": pl.String}
    columns, parts = _surveyed(results, names)

    def frame(part: Sequence[Result[Any, Any]]) -> pl.DataFrame:
        return pl.DataFrame(
            [pl.Series(column.name, column.values(part), dtype=types[column.type]) for column in columns]
        )

    return pl.concat([frame(()), *map(frame, parts)])


def import_arrow(what: str) -> Any:
    """Return the module pyarrow.

    :param what: what needs it, for the message
    :raises MissingExtraError: if it is not installed
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError(what, "pyarrow", "parquet") from None
    return pa


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the columns as pyarrow's."""
    import pyarrow as pa

    types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    return pa.schema([(column.name, types[column.type]) for column in columns])


def arrow_table(results: Sequence[Result[Any, Any]], columns: Sequence[Column], schema: pa.Schema) -> pa.Table:
    """Return some results as a part of a table of pyarrow."""
    import pyarrow as pa

    values = zip(columns, schema.types, strict=True)
    return pa.table([pa.array(column.values(results), kind) for column, kind in values], schema=schema)


def _surveyed(results: Results, names: Names) -> tuple[list[Column], Iterator[Sequence[Result[Any, Any]]]]:
    """Return the columns of results, and the results in parts."""
    if isinstance(results, StoredResults):
        results = results.until_now()
        names = {run.evaluation: run.columns for run in results.runs}
    columns = Columns(names)
    for part in _parts(results):
        columns.note(part)
    return columns.all(), _parts(results)


def _parts(results: Results) -> Iterator[Sequence[Result[Any, Any]]]:
    if isinstance(results, StoredResults):
        yield from results.pages()
        return
    for start in range(0, len(results), PART):
        yield results[start : start + PART]
