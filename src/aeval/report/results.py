"""StoredResults: the results of runs in a storage, as a collection that is read when it is looked at."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from typing import Any, Generic, Self, TypeVar

import anyio

from aeval.errors import ExperimentError, RunError
from aeval.result import Result
from aeval.storage.base import Counts, StoredRun
from aeval.storage.storage import Storage

__all__ = ["StoredResults"]

RowT = TypeVar("RowT")
OutputT = TypeVar("OutputT")
DoneT = TypeVar("DoneT")

# Pages that are read before they are asked for. Two, so that a page and the word that it was the last one find room.
MOST_PAGES = 2


class StoredResults(Generic[RowT, OutputT]):
    """The results of runs in a storage, in the order in which they were committed.

    They are gone through with `for` or with `async for`, as often as one likes, and are read from the storage each
    time: a page at a time, never held whole. Rows and outputs are as JSON gives them back, but for rows that were
    tuples. `for` and `len` read in a thread of their own, so that they work within a running event loop too, which
    waits meanwhile; `async for` lets it go on.

    :param storage: where they are. It need not be open, unless it is a `memory://` without a name, which is gone when
        it is closed.
    :param runs: as the storage gave them
    :ivar runs: likewise
    """

    def __init__(self, storage: Storage, runs: Sequence[StoredRun]) -> None:
        self.runs = tuple(runs)
        self._storage = storage
        self._last: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<StoredResults of {', '.join(repr(run.label) for run in self.runs)} in {self._storage.url}>"

    def __len__(self) -> int:
        """Count them.

        :raises RunError: if they are gone with a `memory://` that was closed, as do all the ways to read them
        :raises ExperimentError: if they were deleted, likewise
        """
        return sum(counts.n for _, counts in _in_thread(self._state))

    def __iter__(self) -> Iterator[Result[RowT, OutputT]]:
        for page in self.pages():
            yield from page

    async def __aiter__(self) -> AsyncIterator[Result[RowT, OutputT]]:
        async with aclosing(self._pages()) as pages:
            async for page in pages:
                for result in page:
                    yield result

    def pages(self) -> Generator[list[Result[RowT, OutputT]], None, None]:
        """Give them as many at once as fit into a page."""
        reader = _Reader(self._pages)
        reader.start()
        try:
            while (page := reader.next()) is not None:
                yield page
        finally:
            reader.close()

    def until_now(self) -> Self:
        """Return the same results, without those that are committed from now on."""
        state = _in_thread(self._state)
        twin = type(self)(self._storage, [run for run, _ in state])
        twin._last = {run.key: counts.last for run, counts in state}  # noqa: SLF001 - of its own class
        return twin

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Storage, None]:
        storage = self._storage.reopened()
        if storage is None:
            self._refuse_closed()
            yield self._storage
            return
        if not storage.exists():
            raise self._gone(self.runs[0])
        async with storage:
            yield storage

    def _refuse_closed(self) -> None:
        if not self._storage.is_open:
            raise RunError(
                f"the results are gone with the storage {self._storage.url!r}, which was closed: read them before, with "
                "`async with open_storage(...) as storage` around the run, run with keep=True, or give a storage that "
                "lasts, as in 'sqlite:///results.db'"
            )

    def _gone(self, run: StoredRun) -> ExperimentError:
        return ExperimentError(
            f"the run {run.label!r} of the experiment {run.experiment!r} is not in the storage {self._storage.url!r} "
            "any more: it was deleted"
        )

    async def _state(self) -> list[tuple[StoredRun, Counts]]:
        """Return the runs as they are now, each with the counts of its results."""
        async with self._opened() as storage:
            return [await self._state_of(storage, run) for run in self.runs]

    async def _state_of(self, storage: Storage, run: StoredRun) -> tuple[StoredRun, Counts]:
        found = await storage.backend.runs(run.experiment, run.key - 1, 1)
        counts = await storage.counts(run)
        if found and found[0].key == run.key:
            return found[0], counts
        # The experiment may have another name by now.
        if not counts.n and run.key not in [each.key async for each in storage.runs()]:
            raise self._gone(run)
        return run, counts

    async def _pages(self) -> AsyncGenerator[list[Result[RowT, OutputT]], None]:
        async with self._opened() as storage:
            for each in self.runs:
                run, _ = await self._state_of(storage, each)
                async with aclosing(storage.pages_of(run, last=self._last.get(run.key))) as pages:
                    async for page in pages:
                        yield page
                        if storage is self._storage:
                            self._refuse_closed()


def _in_thread(call: Callable[[], Coroutine[Any, Any, DoneT]]) -> DoneT:
    """Call an async function in an event loop of its own, whether or not one is running here."""
    with ThreadPoolExecutor(1, thread_name_prefix="aeval-results") as threads:
        return threads.submit(anyio.run, call).result()


class _Reader(threading.Thread):
    """A thread that reads pages in an event loop of its own, few before they are asked for.

    :param read: gives the pages
    """

    def __init__(self, read: Callable[[], AsyncGenerator[Any, None]]) -> None:
        super().__init__(name="aeval-results", daemon=True)
        self._read = read
        self._pages: queue.Queue[Any] = queue.Queue(MOST_PAGES)
        self._left = False
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Read until the end, or until nobody wants more."""
        try:
            anyio.run(self._read_all)
        except BaseException as error:  # noqa: BLE001 - raised where the pages are asked for
            self._failure = error
        self._pages.put(None)

    async def _read_all(self) -> None:
        async with aclosing(self._read()) as pages:
            async for page in pages:
                # It may wait here: nothing else goes on in this loop.
                self._pages.put(page)
                if self._left:
                    return

    def next(self) -> Any:
        """Return the next page; None after the last one."""
        page = self._pages.get()
        if page is None and self._failure is not None:
            raise self._failure
        return page

    def close(self) -> None:
        """End the thread. As the interpreter ends there are no threads, and none can wait for itself."""
        self._left = True
        while not self._pages.empty():
            self._pages.get_nowait()
        if not sys.is_finalizing() and threading.current_thread() is not self:
            self.join()
