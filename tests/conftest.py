from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from aeval.context import Desk, Record, Totals, own_desk


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def record() -> Iterator[Record]:
    """Put the record of a sample that is being run on the desk, as a worker does."""
    with own_desk():
        made = Record("sample-1", 0, 0, ("row",))
        made.lane = SimpleNamespace(totals=Totals())
        Desk(made)
        yield made
