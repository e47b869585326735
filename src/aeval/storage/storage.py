"""Storage: experiments, runs and results, read back page by page."""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

import anyio
from anyio import to_thread

from aeval.errors import ConfigurationError, ExperimentError, RunInProgress
from aeval.result import Result
from aeval.storage.base import Backend, Counts, StoredRun
from aeval.storage.codec import decode
from aeval.storage.names import checked_name, not_there

__all__ = ["DEFAULT_URL", "Storage", "decoded", "open_storage"]

DEFAULT_URL = "sqlite:///.aeval/results.db"
PAGE = 500
FIRST_PAGE = 16
PAGE_BYTES = 4_000_000
_SCHEMES = ("sqlite", "jsonl", "postgresql", "memory")
_DURABILITIES = ("process", "full")
# The databases in memory that were given a name, which live as long as the process.
_NAMED: dict[str, Backend] = {}


class Storage:
    """Where results are kept. Made by `open_storage`; entered with `async with`.

    :ivar url: which storage it is, without passwords
    :ivar is_open: whether it is open
    """

    def __init__(
        self,
        backend: Backend,
        *,
        closing: bool = True,
        path: Path | None = None,
        again: Callable[[], Backend] | None = None,
    ) -> None:
        self.backend = backend
        self.url = backend.url
        self.is_open = False
        # Several runs may use one storage at a time.
        self._users = 0
        self._changing = anyio.Lock()
        self._closing = closing
        self._path = path
        self._again = again

    def reopened(self) -> Storage | None:
        """Return another storage of the same place, which may be opened in another event loop.

        :return: not opened yet; None if this one is gone when it is closed, so that there is no other
        """
        if self._again is None:
            return None
        return Storage(self._again(), closing=self._closing, path=self._path, again=self._again)

    def exists(self) -> bool:
        """Tell whether there is a file or folder of it yet: opening it would make one. A database is said to exist."""
        return self._path is None or self._path.exists()

    async def open(self) -> None:
        """Connect; done by `async with`.

        :raises ConfigurationError: if there can be no such storage
        :raises StorageError: if it cannot be read, or was written by a later version of aeval
        """
        self._users += 1
        try:
            async with self._changing:
                if not self.is_open:
                    await self.backend.open()
                    self.is_open = True
        except BaseException:
            self._users -= 1
            raise

    async def aclose(self) -> None:
        """Let go of it; done by `async with`. It is closed once everyone did who opened it."""
        self._users = max(0, self._users - 1)
        async with self._changing:
            if self.is_open and not self._users:
                self.is_open = False
                if self._closing:
                    await self.backend.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Storage {self.url}>"

    async def experiments(self) -> AsyncIterator[str]:
        """Give the names of the experiments, in alphabetical order."""
        after = ""
        while names := await self.backend.experiments(after, PAGE):
            for name in names:
                yield name
            after = names[-1]

    async def runs(self, experiment: str | None = None) -> AsyncIterator[StoredRun]:
        """Give the runs of an experiment in the order of their making; of all experiments, one after another.

        :raises ExperimentError: if there is no such experiment
        """
        if experiment is None:
            async for name in self.experiments():
                async for run in self._runs(name):
                    yield run
            return
        found = False
        async for run in self._runs(experiment):
            found = True
            yield run
        if not found:
            raise await self.no_such(experiment)

    async def _runs(self, experiment: str) -> AsyncIterator[StoredRun]:
        after = 0
        while runs := await self.backend.runs(experiment, after, PAGE):
            for run in runs:
                yield run
            after = runs[-1].key

    async def latest(self, experiment: str, evaluation: str | None = None) -> list[StoredRun]:
        """Return the runs of an experiment that count: the latest one of each evaluation that called its task.

        :param evaluation: only the one of this evaluation; `"sums#2"` is its second run, whichever that is
        :raises ExperimentError: if there is no such experiment, or no such evaluation in it
        """
        runs = [run async for run in self.runs(experiment)]
        if evaluation is None:
            return list({run.evaluation: run for run in runs if run.rescored is None}.values())
        found = [
            run for run in runs if run.label == evaluation or f"{run.evaluation}#{run.number}" == evaluation
        ]
        found += [run for run in runs if run.evaluation == evaluation and run.rescored is None]
        if not found:
            raise _no_such_evaluation(evaluation, runs)
        return [found[-1]]

    async def counts(self, run: StoredRun) -> Counts:
        """Count the results of a run."""
        return await self.backend.counts(run.key)

    async def results(
        self,
        experiment: str,
        evaluation: str | None = None,
        *,
        ok: bool | None = None,
        history: bool = False,
    ) -> AsyncIterator[Result[Any, Any]]:
        """Give the results of an experiment, in the order in which they were committed.

        Rows and outputs are as JSON gives them back, but for rows that were tuples.

        :param evaluation: only those of this evaluation; `"sums#2"` is its second run. By default, those of the
            latest run of each.
        :param ok: only those that were scored (True), or only those that errored (False)
        :param history: those that were replaced by a later one, instead of those that count
        :raises ExperimentError: if there is no such experiment, or no such evaluation in it
        """
        for run in await self.latest(experiment, evaluation):
            async for result in self.results_of(run, ok=ok, history=history):
                yield result

    async def results_of(
        self, run: StoredRun, *, ok: bool | None = None, history: bool = False, last: int | None = None
    ) -> AsyncGenerator[Result[Any, Any], None]:
        """Give the results of a run, in the order in which they were committed.

        :param ok: as for `results`, as is `history`
        :param last: number of the last one to give
        """
        async for page in self.pages_of(run, ok=ok, history=history, last=last):
            for result in page:
                yield result

    async def pages_of(
        self, run: StoredRun, *, ok: bool | None = None, history: bool = False, last: int | None = None
    ) -> AsyncGenerator[list[Result[Any, Any]], None]:
        """Give the results of a run, as many at once as fit into a page.

        :param ok: as for `results_of`, as are `history` and `last`
        """
        async for bodies in self.bodies_of(run, ok=ok, history=history, last=last):
            yield await to_thread.run_sync(decoded, bodies, run)

    async def bodies_of(
        self, run: StoredRun, *, ok: bool | None = None, history: bool = False, last: int | None = None
    ) -> AsyncGenerator[list[bytes], None]:
        """Give the results of a run as they are stored, as many at once as fit into a page; `decoded` reads them.

        :param ok: as for `results_of`, as are `history` and `last`
        """
        after, limit = 0, FIRST_PAGE
        while rows := await self.backend.page(run.key, after, limit, ok=ok, history=history):
            after = rows[-1][0]
            # As many as fit into a page, whose outputs may be long or short.
            limit = max(1, min(PAGE, PAGE_BYTES * len(rows) // sum(len(body) for _, body in rows)))
            if last is not None:
                rows = [row for row in rows if row[0] <= last]
            if not rows:
                return
            yield [body for _, body in rows]

    async def rename(self, experiment: str, name: str) -> None:
        """Give an experiment another name.

        :raises ExperimentError: if there is no such experiment, the name is taken, or it cannot be a name
        :raises RunInProgress: if a process is writing to it
        """
        checked_name(name)
        runs = [run async for run in self.runs(experiment)]
        _refuse_live(runs, "renamed")
        if not await self.backend.rename(experiment, name):
            raise ExperimentError(
                f"the experiment {experiment!r} cannot be renamed: the name {name!r} is taken"
            )

    async def delete(self, experiment: str, evaluation: str | None = None) -> int:
        """Remove an experiment with all of its results, or one evaluation's runs of it.

        :param evaluation: all of this evaluation's runs; `"sums#2"` is only its second one
        :return: how many runs were removed
        :raises ExperimentError: if there is no such experiment or evaluation
        :raises RunInProgress: if a process is writing to it
        """
        runs = [run async for run in self.runs(experiment)]
        if evaluation is not None:
            chosen = [run for run in runs if evaluation in {run.evaluation, f"{run.evaluation}#{run.number}"}]
            if not chosen:
                raise _no_such_evaluation(evaluation, runs)
            runs = chosen
        _refuse_live(runs, "deleted")
        for run in runs:
            await self.backend.delete_run(run.key)
        return len(runs)

    async def recall(self, key: str) -> bytes | None:
        """Return a response that was kept for `Cache`; None if there is none."""
        return await self.backend.recall(key)

    async def keep(self, key: str, value: bytes) -> None:
        """Keep a response for `Cache`."""
        await self.backend.keep(key, value)

    async def no_such(self, experiment: str) -> ExperimentError:
        """Return the error for an experiment that is not there, with the nearest names."""
        names = [name async for name in self.experiments()]
        return not_there("experiment", experiment, names, f" in {self.url!r}")


def decoded(bodies: Sequence[bytes], run: StoredRun) -> list[Result[Any, Any]]:
    """Read results of a run from what is stored of them."""
    return [decode(body, run.evaluation, run.row_type) for body in bodies]


def _no_such_evaluation(evaluation: str, runs: list[StoredRun]) -> ExperimentError:
    what = f"evaluation in the experiment {runs[0].experiment!r} called"
    return not_there(what, evaluation, [run.label for run in runs])


def _refuse_live(runs: list[StoredRun], what: str) -> None:
    for run in runs:
        if run.state == "running":
            raise RunInProgress(
                f"the experiment {run.experiment!r} cannot be {what} while {run.evaluation!r} is being run by "
                f"{run.owner}: stop that process first"
            )


def open_storage(url: str | Storage | None = None) -> Storage:
    """Return the storage of a URL, to be entered with `async with`.

    ===============================  ================================================================
    `sqlite:///results.db`           a file, relative to the working directory; `sqlite:////tmp/results.db` an absolute
                                     path. `?durability=full` survives a power cut, and not only a crash.
    `jsonl://results`                a folder with a file of JSON lines for each run; `jsonl:///tmp/results`
    `postgresql://user@host/name`    a PostgreSQL database (`pip install 'aeval[postgresql]'`)
    `memory://`                      nothing that outlives it; `memory://name` is one for the whole process
    ===============================  ================================================================

    :param url: by default `sqlite:///.aeval/results.db`
    :raises ConfigurationError: if there is no such kind of storage
    """
    if isinstance(url, Storage):
        return url
    given = DEFAULT_URL if url is None else str(url)
    scheme, separator, rest = given.partition("://")
    shown = _without_password(given)
    if not separator:
        path = given if re.fullmatch(r"[^:@?]+", given) else "results"
        raise ConfigurationError(
            f"the storage {shown!r} is no URL: write 'sqlite:///{path}' for a file, or 'jsonl://{path}' for a folder"
        )
    if scheme in {"postgresql", "postgres"}:
        from aeval.storage.postgres import PostgresBackend

        return _storage(partial(PostgresBackend, given))
    if scheme not in _SCHEMES:
        near = difflib.get_close_matches(scheme, _SCHEMES, n=1, cutoff=0.5)
        hint = (
            f"did you mean {near[0] + '://'!r}?" if near else f"give {', '.join(f'{s}://' for s in _SCHEMES)}"
        )
        raise ConfigurationError(f"the storage {shown!r} is of an unknown kind, {scheme!r}: {hint}")
    place, _, query = rest.partition("?")
    durability = _durability(query, given)
    if scheme == "memory":
        return _memory(place)
    if scheme == "jsonl":
        from aeval.storage.jsonl import JsonlBackend

        if not place:
            raise ConfigurationError(f"the storage {given!r} names no folder: write 'jsonl://results'")
        # Absolute, so that it is found again from another working directory.
        folder = Path(place).expanduser().absolute()
        make = partial(JsonlBackend, folder, url=f"jsonl://{place}", durability=durability)
        return _storage(make, path=folder / "aeval.json")
    return _sqlite(place, durability, given)


def _without_password(url: str) -> str:
    """Return a URL as it may be shown, whatever it is."""
    url = re.sub(r"(?<=://)[^/@]*@|^[^/@]*@", "***@", url)
    return re.sub(r"(?i)((?:password|passwd|pwd|token|key|secret)=)[^&]*", r"\1***", url)


def _sqlite(place: str, durability: str, given: str) -> Storage:
    from aeval.storage.sqlite import SqliteBackend

    if not place.startswith("/") or place == "/":
        path = place.strip("/") or "results.db"
        raise ConfigurationError(
            f"the storage {given!r} has no path: write 'sqlite:///{path}', or with four slashes an absolute path"
        )
    file = Path(place[1:]).expanduser().absolute()
    return _storage(partial(SqliteBackend, file, url=f"sqlite://{place}", durability=durability), path=file)


def _memory(name: str) -> Storage:
    from aeval.storage.sqlite import SqliteBackend

    if not name:
        return Storage(SqliteBackend(None, url="memory://"))
    backend = _NAMED.setdefault(name, SqliteBackend(None, url=f"memory://{name}"))
    return _storage(lambda: backend, closing=False)


def _storage(make: Callable[[], Backend], *, closing: bool = True, path: Path | None = None) -> Storage:
    return Storage(make(), closing=closing, path=path, again=make)


def _durability(query: str, given: str) -> str:
    options = dict(parse_qsl(query, keep_blank_values=True))
    durability = options.pop("durability", "process")
    if options:
        raise ConfigurationError(
            f"the storage {given!r} has an unknown option, {next(iter(options))!r}: there is durability=full"
        )
    if durability not in _DURABILITIES:
        raise ConfigurationError(f"the storage's durability is {durability!r}: give 'process' or 'full'")
    return durability
