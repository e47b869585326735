"""Values that JSON cannot hold, and odd ids."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pydantic

__all__ = ["IDS", "VALUES"]


class Colour(Enum):
    """An enum."""

    RED = "red"


class Model(pydantic.BaseModel):
    """A model of pydantic's."""

    name: str
    tags: set[str]


@attrs.frozen
class Point:
    """An object of attrs'."""

    x: int
    y: Any


class Plain:
    """An object of the user's, the repr of which has an address."""


class Unshowable:
    """An object that cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Lazy(Mapping[str, int]):
    """A mapping that raises when it is read."""

    def __getitem__(self, key: str) -> int:
        raise OSError("gone")

    def __iter__(self) -> Any:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def deep(levels: int) -> list[Any]:
    """Nest lists."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def cyclic() -> list[Any]:
    """Make a list that holds itself."""
    value: list[Any] = [1]
    value.append(value)
    return value


VALUES: dict[str, Any] = {
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"abc"),
    "set": {f"word {n}" for n in range(20)},
    "set of mixed": frozenset([1, "1", (2, 3)]),
    "nan": float("nan"),
    "infinities": [float("inf"), float("-inf")],
    "datetime": datetime(2024, 2, 29, 12, tzinfo=UTC),
    "naive datetime": datetime(2024, 2, 29, 12, 30, 15, 5),  # noqa: DTZ001 - users have them
    "date": date(2024, 2, 29),
    "timedelta": timedelta(days=1, microseconds=1),
    "decimal": Decimal("1.10"),
    "uuid": UUID(int=5),
    "path": PurePosixPath("/a/b"),
    "enum": Colour.RED,
    "pydantic": Model(name="x", tags={"b", "a", "c"}),
    "attrs": Point(1, {"z", "y"}),
    "object": Plain(),
    "class": Plain,
    "function": cyclic,
    "unshowable": Unshowable(),
    "raising mapping": Lazy(),
    "surrogate": "half \ud800 of a pair",
    "surrogate key": {"\udfff": 1},
    "nul": "a\x00b\u2028c",
    "cyclic": cyclic(),
    "deep": deep(500),
    "huge int": 10**5000,
    "big int": 2**64,
    "negative": -(2**63) - 1,
    "int keys": {1: "a", "1": "b", None: "c", (1, 2): "d"},
    "form": {"$float": "nan"},
    "complex": 1 + 2j,
    "range": range(3),
    "exception": ValueError("x"),
    "raw": msgspec.Raw(b"[1,\n2]"),
    "zero": -0.0,
}
IDS: list[Any] = [2**70, -1, 0, "", "a/b\nc", "\ud800", "x" * 5000, "NULL", "0", 10**5000]
