"""What a backend is: where runs and their results are kept, behind one small Protocol.

A *run* here is one evaluation's run within an experiment. It may be started many times; each start is a *session*
of it. It holds exactly one *record* for each sample and repeat: the one that counts. What a record replaced is kept
as its history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import attrs

from aeval.errors import AevalError
from aeval.result import Result
from aeval.sample import SampleId
from aeval.storage.owner import Owner

__all__ = ["Backend", "Counts", "DuplicateSample", "Entry", "Known", "Session", "StoredRun"]


@attrs.frozen
class Session:
    """One start of a run: what ran, and where it came from.

    :param started: Unix time, in seconds
    :param aeval: version of aeval
    :param python: version of Python
    :param command_line: the process's, as one text
    :param git_commit: commit of the working directory; None outside of a repository
    :param git_dirty: whether there were changes that are not in that commit; None where that is not known
    :param middleware: the layers, as text
    :param dataset: the dataset's name; None where it has none
    :param source: digest of the source of the task and the scorers
    """

    started: float
    aeval: str
    python: str
    command_line: str
    git_commit: str | None = None
    git_dirty: bool | None = None
    middleware: str = ""
    dataset: str | None = None
    source: str | None = None


@attrs.frozen
class StoredRun:
    """A run of one evaluation, as a storage knows it.

    :param experiment: name of the experiment that it belongs to
    :param evaluation: name of the evaluation
    :param number: which run of that evaluation within the experiment, from 1
    :param started: Unix time of the first session's start, in seconds
    :param status: `"running"`, `"finished"`, `"interrupted"` or `"failed"`, as its last owner left it
    :param ended: Unix time of the last session's end; None while one is running
    :param seconds: time spent in it, all sessions that came to an end together
    :param samples: how many rows of the dataset it is limited to; None for all
    :param repeats: how often each row is evaluated
    :param rescored: number of the run whose outputs were scored again; None for a run that called the task
    :param row_type: `"tuple"` where the rows are tuples, which JSON cannot tell from lists
    :param columns: the names that the evaluation gave to the rows' columns, if it did
    :param owner: the process that writes to it; None where there is none
    :param sessions: its starts, the latest last
    :param key: by which the storage knows it; given by the storage, never 0
    :param version: how often it was changed; given by the storage
    """

    experiment: str
    evaluation: str
    number: int
    started: float
    status: str = "running"
    ended: float | None = None
    seconds: float = 0.0
    samples: int | None = None
    repeats: int = 1
    rescored: int | None = None
    row_type: str | None = None
    columns: tuple[str, ...] | None = None
    owner: Owner | None = None
    sessions: tuple[Session, ...] = ()
    key: int = 0
    version: int = 0

    @property
    def session(self) -> Session | None:
        """The latest session."""
        return self.sessions[-1] if self.sessions else None

    @property
    def state(self) -> str:
        """Its status, as it is now: one whose owner has died was interrupted."""
        if self.status == "running" and (self.owner is None or self.owner.is_dead()):
            return "interrupted"
        return self.status

    @property
    def label(self) -> str:
        """What to call it beside the evaluation's other runs, as in `sums#2`."""
        return self.evaluation if self.number == 1 else f"{self.evaluation}#{self.number}"


class Entry(NamedTuple):
    """A finished sample, to be committed.

    :param result: what became of it
    :param digest: of its id and row, from 0 to 2**52 - 1
    :param replaces: whether there is a record of it already, which this one replaces
    """

    result: Result[Any, Any]
    digest: int
    replaces: bool


class Known(NamedTuple):
    """What a storage knows of a sample.

    :param digest: of the id and row that it had
    :param ok: whether it was scored; False where it errored
    """

    digest: int
    ok: bool


class Counts(NamedTuple):
    """How many records a run has.

    :param n: all of them
    :param errored: those of samples that errored
    :param last: number of the latest one, for `Backend.page`; 0 where there is none
    """

    n: int
    errored: int
    last: int


class DuplicateSample(AevalError):
    """An entry that is said to be new has a record already. Nothing of what was given with it was committed.

    :ivar id: the sample's id
    :ivar index: place of the entry's row in the dataset
    """

    def __init__(self, sample_id: SampleId, index: int) -> None:
        super().__init__(f"the sample {sample_id!r} has a record already")
        self.id = sample_id
        self.index = index


class Backend(Protocol):
    """Where runs and results are kept.

    Each method is atomic: it did all that it says or, where it raises, nothing. Methods may be called from several
    tasks of one event loop at once, and on the same storage by other processes. What is slow happens outside of
    the event loop's thread. What goes wrong is raised as a `StorageError` that names the storage.

    :ivar url: which storage it is, without passwords
    """

    url: str

    async def open(self) -> None:
        """Connect, and create the schema or bring it up to date.

        :raises ConfigurationError: if there can be no such storage, such as a directory where a file belongs
        :raises StorageVersionError: if it was written by a later version; nothing is changed
        """
        ...

    async def aclose(self) -> None:
        """Let go of what was opened."""
        ...

    # Runs.

    async def experiments(self, after: str, limit: int) -> list[str]:
        """Return the names of the next experiments, in alphabetical order (by code points).

        :param after: name of the last one that was returned; at first, an empty text
        """
        ...

    async def runs(self, experiment: str, after: int, limit: int) -> list[StoredRun]:
        """Return the next runs of an experiment, in the order of their keys, which is that of their making.

        :param after: key of the last one that was returned; at first, 0
        """
        ...

    async def add_run(self, run: StoredRun) -> StoredRun | None:
        """Add a run.

        :return: the run with its key and version; None if there is one of this experiment, evaluation and number
        """
        ...

    async def update_run(self, run: StoredRun) -> StoredRun | None:
        """Put a run's fields in the place of those that it has, if nobody else did so before.

        :return: the run with its new version; None if it has another version than the run given, or is gone
        """
        ...

    async def rename(self, experiment: str, name: str) -> bool:
        """Give an experiment another name.

        :return: whether it was renamed; False if the name is taken, or there is no such experiment
        """
        ...

    async def delete_run(self, key: int) -> None:
        """Remove a run with all of its results."""
        ...

    # Results.

    async def commit(self, key: int, entries: Sequence[Entry]) -> None:
        """Write results of a run for good.

        :param entries: at least one, each of another sample or repeat
        :raises DuplicateSample: if one that does not replace a record would have to
        """
        ...

    async def counts(self, key: int) -> Counts:
        """Count the records of a run."""
        ...

    async def settled(self, key: int, ids: Sequence[SampleId], repeats: int, checksum: int) -> bool:
        """Tell whether all of these samples were scored, in all of their repeats, with the rows that they have now.

        This is how resuming passes over many samples at once: it may answer False where it cannot tell.

        :param ids: of the samples, each another one; at most 2,000
        :param checksum: sum of their digests
        """
        ...

    async def lookup(
        self, key: int, ids: Sequence[SampleId], repeats: int
    ) -> dict[tuple[SampleId, int], Known]:
        """Return what is known of these samples, by id and repeat; those that have no record are left out.

        :param ids: at most 2,000
        :param repeats: only repeats below this
        """
        ...

    async def page(
        self, key: int, after: int, limit: int, *, ok: bool | None = None, history: bool = False
    ) -> list[tuple[int, bytes]]:
        """Return the next results of a run, in the order of their commits: each one's number and body.

        :param after: number of the last one that was returned; at first, 0
        :param limit: how many at most
        :param ok: only those that were scored, or only those that errored
        :param history: those that were replaced by a later one, instead of those that count
        """
        ...

    # The cache of responses.

    async def recall(self, key: str) -> bytes | None:
        """Return what was kept under a key; None if there is nothing."""
        ...

    async def keep(self, key: str, value: bytes) -> None:
        """Keep a value under a key, in place of what is there."""
        ...
