"""What the shell offers to complete a word with. It is silent about whatever goes wrong."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from aeval.storage.storage import Storage

__all__ = ["complete_evaluations", "complete_experiments", "complete_files"]

# Longer than this nobody waits for a name.
SECONDS = 1.5
MOST = 200
# The shells would take what stands behind one of these for another word.
_UNFIT = re.compile(r"[\s:'\"\\$`!&|;()<>*?]")


def complete_files(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Have the shell offer files."""
    return [CompletionItem(incomplete, type="file")]


def complete_experiments(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of experiments that begin as the word does."""

    async def find(storage: Storage) -> list[str]:
        backend = storage.backend
        names = await backend.experiments(incomplete, MOST)
        whole = [incomplete] if incomplete and await backend.runs(incomplete, 0, 1) else []
        return [*whole, *names]

    return _found(context, incomplete, find)


def complete_evaluations(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the experiment's evaluations and runs that begin as the word does."""

    async def find(storage: Storage) -> list[str]:
        experiment = context.params.get("experiment")
        runs = [run async for run in storage.runs(experiment)] if experiment else []
        return list(dict.fromkeys(name for run in runs for name in (run.evaluation, run.label)))

    return _found(context, incomplete, find)


def _found(
    context: click.Context, incomplete: str, find: Callable[[Storage], Awaitable[list[str]]]
) -> list[str]:
    # Whatever hangs, a locked file or a database that does not answer, hangs in a thread or on the loop.
    limit = threading.Timer(SECONDS, os._exit, (0,))
    limit.daemon = True
    limit.start()
    try:
        return [
            name
            for name in _read(context.params.get("storage"), find)
            if name.startswith(incomplete) and not _UNFIT.search(name)
        ]
    except Exception:  # noqa: BLE001 - a shell has no use for an error in the middle of a line
        return []
    finally:
        limit.cancel()


def _read(url: str | None, find: Callable[[Storage], Awaitable[list[str]]]) -> list[str]:
    import logging

    import anyio

    from aeval.storage.storage import open_storage

    logging.disable()

    async def read() -> list[str]:
        storage = open_storage(url)
        if not storage.exists():
            return []
        async with storage:
            return await find(storage)

    return anyio.run(read)
