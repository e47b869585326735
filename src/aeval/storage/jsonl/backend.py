"""JSONL: a folder with a file of JSON lines for each run, which any tool can read.

::

    results/
    ├── aeval.json            {"format": 1, ...}: of what version the folder is
    └── baseline/             an experiment
        ├── sums-1.jsonl      its evaluation's first run
        └── sums-1.run.json   that run's latest state, while and after it runs

The first line of a run's file is `{"run": {...}}`, and so is one more at each start and end: the last one counts. Every
other line is a result, with the digest of its row. One that replaces an earlier one says which by the byte at which
that line begins; the earlier one stays as history. Names are percent-encoded where a file name cannot hold them.

Lines are only ever appended. A line that a crash cut off is passed over, and cut off by whoever writes next.
"""

from __future__ import annotations

import heapq
import re
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import attrs
from anyio import CapacityLimiter, to_thread
from xxhash import xxh3_64_hexdigest

from aeval.errors import StorageError
from aeval.sample import SampleId
from aeval.storage.base import Counts, Entry, Known, StoredRun
from aeval.storage.jsonl.about import read_run, run_line, sidecar_of
from aeval.storage.jsonl.disk import fix_of, replace_file
from aeval.storage.jsonl.folder import ENDING, Folder, entries, experiment_of, has_runs, tidy
from aeval.storage.jsonl.index import Index, id_form
from aeval.storage.jsonl.names import chosen, matches
from aeval.storage.jsonl.run import RunFile

__all__ = ["JsonlBackend"]

T = TypeVar("T")

# Files that are kept open: more than are written to at once, and fewer than a process may have.
MOST_OPEN: Final = 64
_DIGEST: Final = re.compile("[0-9a-f]{4,128}")


class JsonlBackend:
    """A folder of files of JSON lines.

    :param directory: the folder; it is made if it is not there
    :param url: which storage it is, for messages
    :param durability: `"process"` survives a crash of the process, `"full"` a power cut too
    """

    def __init__(self, directory: Path, *, url: str, durability: str = "process") -> None:
        self.url = url
        self._sync = durability == "full"
        self._folder = Folder(directory.absolute(), url, sync=self._sync)
        self._limiter: CapacityLimiter | None = None
        self._index: Index | None = None
        # Where runs were last seen, and those of them whose results were asked for, the latest last.
        self._places: dict[int, Path] = {}
        self._files: OrderedDict[int, RunFile] = OrderedDict()

    async def open(self) -> None:
        """Make the folder, if it is not there."""
        self._limiter = CapacityLimiter(1)
        await self._do(self._open)

    async def aclose(self) -> None:
        """Close the files."""
        await self._do(self._close)

    async def _do(self, call: Callable[[], T]) -> T:
        return await to_thread.run_sync(self._guarded, call, limiter=self._limiter)

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"the storage {self.url!r} failed: {error}: {fix_of(error)}") from error

    def _open(self) -> None:
        self._folder.make()
        self._index = Index()

    def _close(self) -> None:
        self._close_files()
        self._files.clear()
        index, self._index = self._index, None
        if index is not None:
            index.close()

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()

    # Runs.

    async def experiments(self, after: str, limit: int) -> list[str]:
        """Return the names of the next experiments."""
        return await self._do(lambda: self._experiments(after, limit))

    def _experiments(self, after: str, limit: int) -> list[str]:
        found = sorted((name, path) for name, path in self._folder.experiments() if name > after)
        return list(islice((name for name, path in found if has_runs(path)), limit))

    async def runs(self, experiment: str, after: int, limit: int) -> list[StoredRun]:
        """Return the next runs of an experiment."""
        return await self._do(lambda: self._runs(experiment, after, limit))

    def _runs(self, experiment: str, after: int, limit: int) -> list[StoredRun]:
        folder = self._folder.find(experiment)
        if folder is None:
            return []
        found = (run for run in self._read(folder, experiment) if run.key > after)
        return heapq.nsmallest(limit, found, key=lambda run: run.key)

    def _read(self, folder: Path, experiment: str) -> Iterator[StoredRun]:
        for path in entries(folder):
            run = read_run(path, experiment) if path.suffix == ENDING else None
            if run is None:
                continue
            other = self._places.get(run.key, path)
            if other != path and _is_key(other, run.key) and not _same(other, path):
                raise StorageError(
                    f"{str(path)!r} and {str(other)!r} are the same run, so that one of them is a copy: move it into a "
                    "folder of its own, and give that as the storage"
                )
            self._places[run.key] = path
            yield run

    async def add_run(self, run: StoredRun) -> StoredRun | None:
        """Add a run."""
        return await self._do(lambda: self._add_run(run))

    def _add_run(self, run: StoredRun) -> StoredRun | None:
        with self._folder.locked():
            folder = self._folder.find(run.experiment)
            for path in entries(folder) if folder is not None else ():
                text, _, number = path.stem.rpartition("-")
                named = path.suffix == ENDING and number == str(run.number) and matches(text, run.evaluation)
                # A power cut may have left a file with nothing in it.
                if named and read_run(path, run.experiment) is not None:
                    return None
            run = attrs.evolve(run, key=self._folder.new_key(), version=1)
            folder = folder or self._folder.add(run.experiment)
            ending = f"-{run.number}{ENDING}"
            path = folder / chosen(run.evaluation, ending, (path.name for path in entries(folder)))
            replace_file(path, run_line(run), sync=self._sync)
        self._places[run.key] = path
        return run

    async def update_run(self, run: StoredRun) -> StoredRun | None:
        """Put a run's fields in the place of those that it has, if nobody else did so before."""
        return await self._do(lambda: self._update_run(run))

    def _update_run(self, run: StoredRun) -> StoredRun | None:
        with self._held(run.key):  # a long file is read before others are kept waiting
            pass
        with self._folder.locked(), self._held(run.key, write=True) as file:
            former = None if file is None else read_run(file.path, experiment_of(file.path.parent))
            if file is None or former is None:
                return None
            if (former.version, former.experiment) != (run.version, run.experiment):
                return None
            updated = attrs.evolve(run, version=run.version + 1)
            line = run_line(updated)
            # An owner says that it lives every few seconds: of this the file of results has nothing.
            lasting = _lasting(updated) != _lasting(former)
            end = file.append(line, sync=self._sync) if lasting else 0
            try:
                replace_file(sidecar_of(file.path), line, sync=self._sync)
            except BaseException:
                if lasting:
                    file.cut(end)
                raise
            return updated

    async def rename(self, experiment: str, name: str) -> bool:
        """Give an experiment another name."""
        return await self._do(lambda: self._rename(experiment, name))

    def _rename(self, experiment: str, name: str) -> bool:
        with self._folder.locked():
            folder = self._folder.find(experiment)
            if folder is None or self._folder.find(name) is not None:
                return False
            self._close_files()  # some systems rename nothing that is open
            self._folder.rename(folder, name)
            return True

    async def delete_run(self, key: int) -> None:
        """Remove a run with all of its results."""
        await self._do(lambda: self._delete_run(key))

    def _delete_run(self, key: int) -> None:
        with self._folder.locked():
            with self._held(key, write=True) as file:
                if file is None:
                    return
            self._files.pop(key).forget(self._index)
            sidecar_of(file.path).unlink(missing_ok=True)
            file.path.unlink(missing_ok=True)
            tidy(file.path.parent)
            self._places.pop(key, None)

    # Results.

    @contextmanager
    def _held(self, key: int, *, write: bool = False) -> Iterator[RunFile | None]:
        """Lock a run's file, wherever it is by now, and bring its index up to date; None if it is gone."""
        assert self._index is not None
        for search in (False, True):
            path = self._search(key) if search else self._places.get(key)
            if path is None:
                continue
            file = self._files.setdefault(key, RunFile(path, key))
            file.path = path
            with file.held(self._index, write=write) as there:
                if there:
                    self._files.move_to_end(key)
                    for other in list(self._files.values())[:-MOST_OPEN]:
                        other.close()
                    yield file
                    return
        yield None

    def _search(self, key: int) -> Path | None:
        for name, folder in self._folder.experiments():
            for run in self._read(folder, name):
                if run.key == key:
                    return self._places[key]
        return None

    async def commit(self, key: int, entries: Sequence[Entry]) -> None:
        """Write results of a run for good."""
        await self._do(lambda: self._commit(key, entries))

    def _commit(self, key: int, entries: Sequence[Entry]) -> None:
        with self._held(key, write=True) as file:
            if file is None or self._index is None:
                raise StorageError(
                    f"the storage {self.url!r} has no run {key} any more: it was deleted while it was written to"
                )
            file.commit(self._index, entries, sync=self._sync)

    async def counts(self, key: int) -> Counts:
        """Count the records of a run."""
        return await self._ask(key, Counts(0, 0, 0), lambda file, _: file.counts)

    async def settled(self, key: int, ids: Sequence[SampleId], repeats: int, checksum: int) -> bool:
        """Tell whether all of these samples were scored, in all of their repeats, with the rows that they have now."""
        forms = [id_form(sample_id) for sample_id in ids]
        return await self._ask(
            key, False, lambda file, index: index.settled(file.slot, forms, repeats, checksum)
        )

    async def lookup(
        self, key: int, ids: Sequence[SampleId], repeats: int
    ) -> dict[tuple[SampleId, int], Known]:
        """Return what is known of these samples, by id and repeat."""
        by_form = {id_form(sample_id): sample_id for sample_id in ids}
        nothing: dict[tuple[SampleId, int], Known] = {}
        known = await self._ask(key, nothing, lambda file, index: index.known(file.slot, [*by_form], repeats))
        return {(by_form[form], repeat): record for (form, repeat), record in known.items()}

    async def page(
        self, key: int, after: int, limit: int, *, ok: bool | None = None, history: bool = False
    ) -> list[tuple[int, bytes]]:
        """Return the next results of a run, in the order of their commits; their numbers are places in the file."""
        nothing: list[tuple[int, bytes]] = []
        return await self._ask(
            key, nothing, lambda file, index: file.bodies(index.page(file.slot, after, limit, ok, history))
        )

    async def _ask(self, key: int, nothing: T, question: Callable[[RunFile, Index], T]) -> T:
        def ask() -> T:
            with self._held(key) as file:
                return nothing if file is None or self._index is None else question(file, self._index)

        return await self._do(ask)

    # The cache of responses.

    async def recall(self, key: str) -> bytes | None:
        """Return what was kept under a key."""
        return await self._do(lambda: self._recall(self._kept(key)))

    def _recall(self, path: Path) -> bytes | None:
        try:
            digest, _, value = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        # After a power cut, a file may have its name and not what was written to it.
        return value if digest == xxh3_64_hexdigest(value).encode() else None

    async def keep(self, key: str, value: bytes) -> None:
        """Keep a value under a key."""
        await self._do(lambda: self._keep(self._kept(key), value))

    def _keep(self, path: Path, value: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, xxh3_64_hexdigest(value).encode() + b"\n" + value, sync=self._sync)

    def _kept(self, key: str) -> Path:
        name = key if _DIGEST.fullmatch(key) else f"~{sha256(key.encode()).hexdigest()}"
        return self._folder.root / ".cache" / name[:2] / name


def _is_key(path: Path, key: int) -> bool:
    run = read_run(path, "")
    return run is not None and run.key == key


def _same(path: Path, other: Path) -> bool:
    # A folder may be seen under two names while it is being renamed.
    with suppress(FileNotFoundError):
        return path.samefile(other)
    return True


def _lasting(run: StoredRun) -> StoredRun:
    return attrs.evolve(run, owner=None, version=0, seconds=0.0)
