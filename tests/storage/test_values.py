"""Values that JSON cannot hold, on their way through a whole run."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from children import Child
from killing import url_of
from programs.odd import IDS, VALUES
from stores import Store

from aeval.result import Result
from aeval.storage import open_storage
from aeval.storage.codec import decode_value, encode_value


@pytest.mark.parametrize("new_store", ["sqlite", "jsonl", "postgresql"], indirect=True)
def test_values_that_json_cannot_hold_are_stored_in_a_stated_form(new_store: Store) -> None:
    """Whatever rows, outputs and metadata hold, a run stores it in its stated form, and a later process finds it unchanged."""
    url = url_of(new_store.kind, new_store._place)
    names = [*VALUES, *(f"id {place}" for place in range(len(IDS)))]
    with ExitStack() as children:
        first = children.enter_context(Child({"url": url}, program="values.py"))
        assert first.wait() == 0, first.errors
        assert first.last("report") == ["finished", len(names), len(names), {}]
        assert sorted(first.last("seen")[0]) == sorted(names)
        second = children.enter_context(Child({"url": url}, program="values.py"))
        assert second.wait() == 0, second.errors
        assert second.last("seen") == [[]]
        assert second.last("report") == ["finished", len(names), len(names), {}]
    found = {result.row["name"]: result for result in asyncio.run(_results(url))}
    for name, value in VALUES.items():
        form = _sorted(decode_value(encode_value(value)))
        metadata = found[name].metadata
        for stored in (found[name].row["value"], metadata["value"], metadata["output"]):
            assert encode_value(_sorted(stored)) == encode_value(form), name
    assert [found[f"id {place}"].id for place in range(len(IDS))] == IDS


def _sorted(value: Any) -> Any:
    """Sort what may have been a set, the order of which is another one in each process."""
    if isinstance(value, list):
        return sorted(map(_sorted, value), key=encode_value)
    return {key: _sorted(item) for key, item in value.items()} if isinstance(value, dict) else value


async def _results(url: str) -> list[Result[Any, Any]]:
    async with open_storage(url) as storage:
        return [result async for result in storage.results("kills")]
