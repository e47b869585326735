"""Storages that fail: full disks, files that are none of ours, locks, files that vanish."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from children import Child
from killing import Which, records_of, stored_in, url_of

from aeval import Concurrency, Evaluation, run
from aeval.errors import ConfigurationError, StorageError, StorageVersionError
from aeval.storage import Storage, open_storage
from aeval.storage.sqlite import SqliteBackend

FILES = pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
PADDED = {"evaluations": [["sums", 300, 1]], "padding": 20_000, "longest": 0.002}


@pytest.fixture
def children() -> Iterator[ExitStack]:
    """Keep track of programs, and kill those that are left."""
    with ExitStack() as started:
        yield started


def given_by(child: Child) -> dict[Which, Any]:
    """Return the values that a program said that it got."""
    return {result[:3]: result[3] for result in child.results()}


class Disk:
    """A file system in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._do("mount", "-t", "tmpfs", "-o", "size=2m", "aeval", folder)

    def _do(self, *command: object) -> None:
        try:
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            pytest.skip(f"no file system can be mounted here: {error}")
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")

    def remount(self, options: str) -> None:
        self._do("mount", "-o", f"remount,{options}", self.folder)

    def remove(self) -> None:
        self._do("umount", "--lazy", self.folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Give a disk of 2 MB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a file system, and only on Linux is it known how")
    made = Disk(tmp_path / "disk")
    yield made
    made.remove()


# Full disks.


@FILES
def test_full_disk_ends_the_run_and_loses_nothing(kind: str, disk: Disk, children: ExitStack) -> None:
    """A full disk ends the run with an error that says what to do, and with space again it goes on to its end."""
    place = str(disk.folder / "results")
    url = url_of(kind, place)
    first = children.enter_context(Child(PADDED | {"url": url}))
    assert first.wait() == 3
    assert first.results()
    error, message = first.last("failed")
    assert error == "StorageError"
    assert url in message
    assert "free some space, and run again with the same experiment" in message
    disk.remount("size=32m")
    given = given_by(first)
    assert stored_in(url).items() >= given.items()
    second = children.enter_context(Child(PADDED | {"url": url, "session": 2}))
    assert second.wait() == 0
    assert second.last("report") == ["finished", 300, 300, 0]
    assert stored_in(url).items() >= given.items()
    assert not given.keys() & given_by(second).keys()
    assert len(records_of(kind, place)) == 300


@FILES
def test_disk_that_is_full_from_the_start_is_an_error(kind: str, disk: Disk, children: ExitStack) -> None:
    """Where there is no space for a storage at all, the run ends before its first sample, with an error that says so."""
    filler = disk.folder / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    url = url_of(kind, str(disk.folder / "results"))
    child = children.enter_context(Child(PADDED | {"url": url}))
    assert child.wait() == 3
    assert child.results() == []
    error, message = child.last("failed")
    assert error == "StorageError"
    assert url in message
    assert "free some space" in message
    filler.unlink()
    again = children.enter_context(Child(PADDED | {"url": url, "evaluations": [["sums", 20, 1]]}))
    assert again.wait() == 0


@FILES
@pytest.mark.parametrize("most", [50_000, 1_000_000])
def test_file_that_may_not_grow_ends_the_run_and_loses_nothing(
    kind: str, most: int, tmp_path: Path, children: ExitStack
) -> None:
    """A limit on the size of files ends the run with an error that says what to do; without the limit it goes on."""
    place = str(tmp_path / "results")
    url = url_of(kind, place)
    plan = PADDED | {"url": url}
    first = children.enter_context(Child(plan | {"most_bytes": most}))
    assert first.wait() == 3
    error, message = first.last("failed")
    assert error == "StorageError"
    assert url in message
    assert "run again with the same experiment" in message
    given = given_by(first)
    if given or most > 50_000:
        assert stored_in(url).items() >= given.items()
    second = children.enter_context(Child(plan | {"session": 2}))
    assert second.wait() == 0
    assert second.last("report") == ["finished", 300, 300, 0]
    assert stored_in(url).items() >= given.items()
    assert len(records_of(kind, place)) == 300


# Files that may not be written.


@FILES
def test_storage_on_a_read_only_disk_is_an_error(kind: str, disk: Disk, children: ExitStack) -> None:
    """A storage on a disk that became read-only cannot be run into, and says so; it can still be read."""
    url = url_of(kind, str(disk.folder / "results"))
    plan: dict[str, Any] = {"url": url, "evaluations": [["sums", 20, 1]]}
    assert children.enter_context(Child(plan)).wait() == 0
    before = stored_in(url)
    disk.remount("ro")
    child = children.enter_context(Child(plan | {"evaluations": [["sums", 30, 1]]}))
    assert child.wait() == 3
    error, message = child.last("failed")
    assert error == "StorageError"
    assert url in message
    assert "writable" in message or "written" in message
    assert child.results() == []
    assert stored_in(url) == before


@FILES
def test_storage_of_somebody_else_is_an_error(kind: str, children: ExitStack) -> None:
    """A storage that this user may only read cannot be run into, and says so."""
    # Not in pytest's own folder, which another user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="aeval-closed-"))
    children.callback(shutil.rmtree, folder)
    folder.chmod(0o755)
    url = url_of(kind, str(folder / "results"))
    plan: dict[str, Any] = {"url": url, "evaluations": [["sums", 20, 1]]}
    assert children.enter_context(Child(plan)).wait() == 0
    before = stored_in(url)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    # Root may write whatever the mode is.
    plan |= {"evaluations": [["sums", 30, 1]], "user": 65534 if os.geteuid() == 0 else None}
    child = children.enter_context(Child(plan))
    assert child.wait() == 3, child.errors
    error, message = child.last("failed")
    assert error == "StorageError"
    assert url in message
    assert "writable" in message or "written" in message
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    assert stored_in(url) == before


# Files that are no databases of ours.


def sums(count: int = 20) -> Evaluation[int, object]:
    async def right(n: int) -> bool:
        return True

    return Evaluation(range(count), right, name="sums", middleware=[Concurrency(8)])


def ours(path: Path) -> str:
    """Make a database with a finished run; return its URL."""
    url = f"sqlite:///{path}"

    async def make() -> None:
        await run(sums(), storage=url, experiment="first")

    asyncio.run(make())
    return url


def changed(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


@pytest.mark.anyio
async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file that is not a database is named in the error, and left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but something that somebody wrote\n" * 100)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"notes\.txt.*is not an SQLite database"):
        await run(sums(), storage=f"sqlite:///{path}", experiment="first")
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.anyio
async def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """A database that another program made is named in the error, and left as it is."""
    path = tmp_path / "places.db"
    changed(path, "CREATE TABLE places (name TEXT); INSERT INTO places VALUES ('here')")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"places\.db.*of another program"):
        await run(sums(), storage=f"sqlite:///{path}", experiment="first")
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["places.db"]


def test_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """A database that a later version wrote is an error that says to upgrade, and not a byte of it is changed."""
    path = tmp_path / "results.db"
    url = ours(path)
    changed(path, "PRAGMA user_version = 99")
    before = path.read_bytes()

    async def try_both() -> None:
        with pytest.raises(StorageVersionError, match=r"version 99.*upgrade aeval"):
            await run(sums(), storage=url, experiment="first")
        with pytest.raises(StorageVersionError, match=r"version 99.*upgrade aeval"):
            async with open_storage(url):
                pass

    asyncio.run(try_both())
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["results.db"]


@pytest.mark.anyio
async def test_directory_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """A directory where the file belongs is an error that names a file."""
    with pytest.raises(ConfigurationError, match=r"is a directory: give the path of a file"):
        await run(sums(), storage=f"sqlite:///{tmp_path}", experiment="first")


@pytest.mark.anyio
async def test_folders_that_are_missing_are_made(tmp_path: Path) -> None:
    """The folders above the file are made, where they are missing."""
    report = await run(sums(), storage=f"sqlite:///{tmp_path}/a/b/results.db", experiment="first")
    assert report.n == 20
    assert (tmp_path / "a" / "b" / "results.db").is_file()


@pytest.mark.anyio
async def test_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    """A file where a folder belongs is an error that says so."""
    (tmp_path / "a").write_text("")
    with pytest.raises(ConfigurationError, match=r"folder of the storage.*cannot be made"):
        await run(sums(), storage=f"sqlite:///{tmp_path}/a/results.db", experiment="first")


@pytest.mark.anyio
async def test_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """A file with nothing in it, such as `mktemp` makes, is used."""
    (tmp_path / "results.db").touch()
    report = await run(sums(), storage=f"sqlite:///{tmp_path}/results.db", experiment="first")
    assert report.n == 20


# Locks.


class Gate:
    """A scorer the first samples of which pass, and the others wait until they may."""

    def __init__(self, passing: int = 1) -> None:
        self._passing = passing
        self.inside = 0
        self.returned = 0
        self.go_on = anyio.Event()

    async def __call__(self, n: int) -> bool:
        self.inside += 1
        if n >= self._passing:
            await self.go_on.wait()
        self.returned += 1
        return True


async def until_returned(gate: Gate, count: int) -> None:
    with anyio.fail_after(60):
        while gate.returned < count:
            await anyio.sleep(0)


def gated(gate: Gate, count: int = 8) -> Evaluation[int, object]:
    return Evaluation(range(count), gate, name="gated", middleware=[Concurrency(count)])


@pytest.mark.anyio
async def test_run_waits_for_who_has_locked_the_file(tmp_path: Path, children: ExitStack) -> None:
    """While another process has the database locked the run waits and gives nothing, and then it goes on."""
    path = tmp_path / "results.db"
    gate = Gate()
    given = []
    async with run(gated(gate), storage=f"sqlite:///{path}", experiment="first") as results:
        stream = aiter(results)
        given.append(await anext(stream))
        locker = children.enter_context(Child({"path": str(path)}, program="lock.py"))
        assert await anyio.to_thread.run_sync(locker.until, "locked")
        gate.go_on.set()
        await until_returned(gate, 8)
        for _ in range(1000):
            await anyio.sleep(0)
        assert results.stats.done == 1
        locker.go_on()
        given += [result async for result in stream]
    assert sorted(result.index for result in given) == list(range(8))
    assert stored_in_file(path) == 8


@pytest.mark.anyio
async def test_patience_with_a_lock_ends(tmp_path: Path, children: ExitStack) -> None:
    """A database that stays locked for too long ends the run with an error that says so; what was given is kept."""
    path = tmp_path / "results.db"
    gate = Gate()
    given = []
    url = f"sqlite:///{path}"
    storage = Storage(SqliteBackend(path, url=url, patience=0.2))
    with pytest.raises(StorageError, match=r"results\.db.*locked for 0\.2 s: close that program") as raised:
        async with run(gated(gate), storage=storage, experiment="first") as results:
            async for result in results:
                given.append(result.index)
                locker = children.enter_context(Child({"path": str(path)}, program="lock.py"))
                assert await anyio.to_thread.run_sync(locker.until, "locked")
                gate.go_on.set()
    assert url in str(raised.value)
    assert given == [0]
    locker.go_on()
    assert await anyio.to_thread.run_sync(locker.wait) == 0
    report = await run(gated(gate), storage=url, experiment="first")
    assert (report.n, report.errored) == (8, 0)
    assert stored_in_file(path) == 8


def test_ctrl_c_ends_a_run_that_waits_for_a_lock(tmp_path: Path, children: ExitStack) -> None:
    """Ctrl-C ends a run while another process has the database locked, however long that one keeps it."""
    path = tmp_path / "results.db"
    plan = {"url": f"sqlite:///{path}", "evaluations": [["sums", 40, 1]], "side": str(tmp_path / "begun")}
    child = children.enter_context(Child(plan | {"hold_from": 20}))
    assert child.until("result", 20)
    locker = children.enter_context(Child({"path": str(path)}, program="lock.py"))
    assert locker.until("locked")
    child.go_on()
    # The last sample began, so that some before it are waiting to be committed.
    with (tmp_path / "begun").open() as side:
        begun = 0
        while begun < 40:
            begun += sum(1 for _ in side)
    os.kill(child.pid, signal.SIGINT)
    assert child.process.wait(30) == -signal.SIGINT  # half of the patience with locks
    assert locker.process.poll() is None


def stored_in_file(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM records").fetchone()[0])


# Files that vanish.


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        for found in path.parent.glob(f"{path.name}*"):
            found.unlink()


def empty(path: Path) -> None:
    for found in [path] if path.is_file() else path.rglob("*.jsonl"):
        os.truncate(found, 0)


def halve(path: Path) -> None:
    for found in [path] if path.is_file() else path.rglob("*.jsonl"):
        os.truncate(found, found.stat().st_size // 2)


@FILES
@pytest.mark.anyio
@pytest.mark.parametrize("damage", [remove, empty, halve])
@pytest.mark.parametrize("count", [8, 3000])
async def test_storage_that_is_damaged_meanwhile_is_no_silent_loss(
    kind: str, damage: Any, count: int, tmp_path: Path
) -> None:
    """A storage that somebody removes or cuts in the middle of a run ends it with an error, or all is there at its end."""
    path = tmp_path / "results"
    url = url_of(kind, str(path))
    gate = Gate(passing=count // 2)
    given = []
    error: Exception | None = None
    try:
        with anyio.fail_after(60):
            evaluation = Evaluation(range(count), gate, name="gated", middleware=[Concurrency(8)])
            async with run(evaluation, storage=url, experiment="first") as results:
                async for result in results:
                    given.append(result.index)
                    if len(given) == count // 2:
                        damage(path)
                        gate.go_on.set()
    except (StorageError, ConfigurationError) as raised:
        error = raised
    if error is None:
        async with open_storage(url) as storage:
            found = [result.index async for result in storage.results("first")]
        assert sorted(found) == sorted(given) == list(range(count))
    else:
        assert "results" in str(error)
