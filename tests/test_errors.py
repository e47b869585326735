from __future__ import annotations

import inspect

import pytest

from aeval import errors
from aeval.errors import (
    AevalError,
    CallTimeout,
    MissingExtraError,
    ModelStatusError,
    ModelTimeout,
    RateLimited,
    ResultRefused,
    RowError,
    TooManyErrors,
)

CLASSES = [getattr(errors, name) for name in errors.__all__]


def test_public_names_are_sorted_and_complete() -> None:
    """Every class that the module defines is public, and the list is sorted."""
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert sorted(errors.__all__) == list(errors.__all__)
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("error", CLASSES)
def test_one_except_catches_every_error(error: type[Exception]) -> None:
    """Every error of the library is an AevalError."""
    assert issubclass(error, AevalError)


@pytest.mark.parametrize("error", CLASSES)
def test_tree_in_the_docstring_is_the_tree(error: type[Exception]) -> None:
    """The tree that the module draws shows every class with Python's own class that it also is."""
    assert errors.__doc__ is not None
    (line,) = [
        line
        for line in errors.__doc__.splitlines()
        if line.replace("│", " ").strip("├└─ ").split(" ")[0] == error.__name__
    ]
    for base in error.__bases__:
        assert base is Exception or base.__module__ != "builtins" or f"({base.__name__})" in line


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        ("ConfigurationError", ValueError),
        ("BindingError", ValueError),
        ("MissingExtraError", ImportError),
        ("RunError", RuntimeError),
        ("TooManyErrors", RuntimeError),
        ("ScoreError", TypeError),
        ("CallTimeout", TimeoutError),
        ("ModelTimeout", TimeoutError),
    ],
)
def test_errors_are_also_what_python_calls_them(error: str, builtin: type[Exception]) -> None:
    """Code that knows nothing of the library catches its errors by Python's own classes."""
    assert issubclass(getattr(errors, error), builtin)


def test_missing_extra_names_the_command() -> None:
    """The error for a package that is not installed says what to install, and how."""
    assert str(MissingExtraError("reading Parquet files", "pyarrow", "parquet")) == (
        "reading Parquet files needs the package 'pyarrow', which is not installed: run `pip install 'aeval[parquet]'`"
    )


def test_status_error_carries_the_answer() -> None:
    """An error status comes with its number, the provider's code and the headers."""
    error = RateLimited("slow down", status_code=429, code="rate_limit", headers={"retry-after": "3"})
    assert isinstance(error, ModelStatusError)
    assert (str(error), error.status_code, error.code) == ("slow down", 429, "rate_limit")
    assert error.headers["retry-after"] == "3"


def test_status_error_without_headers_has_none() -> None:
    """An error status without headers has an empty mapping, never None."""
    error = ModelStatusError("bad", status_code=400)
    assert error.code is None
    assert dict(error.headers) == {}


def test_too_many_errors_carries_the_counts() -> None:
    """The error that ends a run says how many samples errored, and of how many."""
    error = TooManyErrors("too many", errored=3, finished=9)
    assert (error.errored, error.finished) == (3, 9)


def test_refused_result_is_kept() -> None:
    """The error for refused results holds the last one."""
    assert ResultRefused("refused", ["last"]).result == ["last"]


@pytest.mark.parametrize("error", [CallTimeout("late"), ModelTimeout("late"), RowError("late")])
def test_message_is_the_text(error: AevalError) -> None:
    """An error's text is its message, whatever else its class inherits."""
    assert str(error) == "late"
