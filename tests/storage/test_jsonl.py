"""What is special to JSONL: the files, how they are mended, and who else reads and writes them."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from aeval.context import Record, result_of
from aeval.errors import ConfigurationError, StorageError, StorageVersionError
from aeval.result import Failure
from aeval.sample import SampleId
from aeval.score import Score
from aeval.storage.base import Counts, DuplicateSample, Entry, Known, StoredRun
from aeval.storage.codec import decode, encode
from aeval.storage.jsonl import JsonlBackend
from aeval.storage.jsonl.names import chosen, is_marked, matches, unquoted
from aeval.storage.owner import Owner

pytestmark = pytest.mark.anyio
posix = pytest.mark.skipif(sys.platform == "win32", reason="has neither limits on files nor SIGKILL")

# What a process of its own needs to write to a storage.
PRELUDE = """
import os, sys, time
from pathlib import Path
import anyio
from aeval.context import Record, result_of
from aeval.errors import StorageError
from aeval.score import Score
from aeval.storage.base import Entry, StoredRun
from aeval.storage.jsonl import JsonlBackend

def entry(i, output="out"):
    scores = {"exact": Score(True, "exact")}
    return Entry(result_of(Record(i, 0, 0, "row"), "sums", 0.5, output, scores, None, None, {}), 7, False)

async def opened():
    backend = JsonlBackend(Path(sys.argv[1]), url="jsonl://store")
    await backend.open()
    return backend
"""


def process(store: Path, script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that runs a script, with the storage's folder as its first argument."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(store), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def ended(running: subprocess.Popen[str]) -> str:
    """Wait for a process to end well, and return what it printed."""
    out, err = await anyio.to_thread.run_sync(running.communicate)
    assert running.returncode == 0, err
    return out


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@asynccontextmanager
async def opened(store: Path, **given: Any) -> AsyncIterator[JsonlBackend]:
    backend = JsonlBackend(store, url=f"jsonl://{store}", **given)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.aclose()


@pytest.fixture
async def backend(store: Path) -> AsyncIterator[JsonlBackend]:
    async with opened(store) as made:
        yield made


def entry(
    sample_id: SampleId, output: Any = "out", *, repeat: int = 0, replaces: bool = False, error: bool = False
) -> Entry:
    record = Record(sample_id, 3, repeat, {"question": "what"})
    scores = {} if error else {"exact": Score(True, "exact")}
    failure = Failure("ValueError", "broken") if error else None
    return Entry(result_of(record, "sums", 0.5, output, scores, failure, None, {}), 7, replaces)


async def added(
    backend: JsonlBackend, experiment: str = "first", evaluation: str = "sums", number: int = 1
) -> StoredRun:
    run = await backend.add_run(StoredRun(experiment, evaluation, number, 1000.5))
    assert run is not None
    return run


async def outputs(backend: JsonlBackend, key: int, **wanted: Any) -> list[tuple[SampleId, Any]]:
    read = [decode(body, "sums") for _, body in await backend.page(key, 0, 10_000, **wanted)]
    return [(result.id, result.output) for result in read]


# The files.


async def test_files_are_lines_of_json(backend: JsonlBackend, store: Path) -> None:
    """A run's file is read by whatever reads JSON lines: the run first, then its results and its changes."""
    run = await added(backend)
    await backend.commit(run.key, [entry(1), entry("b", error=True)])
    await backend.commit(run.key, [entry("b", "new", replaces=True)])
    await backend.update_run(attrs.evolve(run, status="finished", ended=5.0))
    path = store / "first" / "sums-1.jsonl"
    text = path.read_bytes()
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[0]["run"]["evaluation"] == "sums"
    assert lines[0]["run"]["format"] == 1
    assert [(line["id"], line["digest"]) for line in lines[1:4]] == [(1, 7), ("b", 7), ("b", 7)]
    assert lines[1] == json.loads(encode(entry(1).result)) | {"digest": 7}
    replaced = text[lines[3]["replaces"] :].partition(b"\n")[0]
    assert json.loads(replaced) == lines[2]
    assert (lines[4]["run"]["status"], lines[4]["run"]["ended"]) == ("finished", 5.0)
    assert len(lines) == 5
    assert json.loads((store / "aeval.json").read_text())["format"] == 1


async def test_bodies_are_as_they_were_encoded(backend: JsonlBackend) -> None:
    """What the storage adds to a line is not in the body that it gives back."""
    run = await added(backend)
    tricky = entry("a", ',"digest":1,"replaces":2}')
    await backend.commit(run.key, [tricky])
    await backend.commit(run.key, [again := entry("a", replaces=True)])
    assert [body for _, body in await backend.page(run.key, 0, 9, history=True)] == [encode(tricky.result)]
    assert [body for _, body in await backend.page(run.key, 0, 9)] == [encode(again.result)]


async def test_beating_does_not_lengthen_the_file(backend: JsonlBackend, store: Path) -> None:
    """An owner's signs of life are kept, and leave no trace among the results."""
    run = await added(backend)
    claimed = await backend.update_run(attrs.evolve(run, owner=Owner("host", 1, "", 1.0, 1.0)))
    size = (store / "first" / "sums-1.jsonl").stat().st_size
    for beat in range(5):
        assert claimed is not None
        claimed = await backend.update_run(attrs.evolve(claimed, owner=Owner("host", 1, "", 1.0, 2.0 + beat)))
    assert (store / "first" / "sums-1.jsonl").stat().st_size == size
    assert await backend.runs("first", 0, 9) == [claimed]


@pytest.mark.parametrize("lost", [b"", b"{", b'{"run":{"format":1}}', None])
async def test_run_is_known_without_the_file_beside_it(
    backend: JsonlBackend, store: Path, lost: bytes | None
) -> None:
    """Where the file with a run's latest state is lost or damaged, the last line about it in its own file counts."""
    run = await added(backend)
    await backend.commit(run.key, [entry(number, "x" * 5000) for number in range(500)])
    updated = await backend.update_run(attrs.evolve(run, status="finished", samples=7))
    await backend.commit(run.key, [entry(number, "x" * 5000) for number in range(500, 1000)])
    beside = store / "first" / "sums-1.run.json"
    beside.unlink() if lost is None else beside.write_bytes(lost)
    assert await backend.runs("first", 0, 9) == [updated]
    assert updated is not None
    assert await backend.update_run(attrs.evolve(updated, samples=8)) is not None


async def test_run_with_a_damaged_first_line_is_read(backend: JsonlBackend, store: Path, caplog: Any) -> None:
    """A run whose first line is damaged is known by its later ones."""
    run = await added(backend)
    updated = await backend.update_run(attrs.evolve(run, status="finished"))
    await backend.commit(run.key, [entry(1)])
    path = store / "first" / "sums-1.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format:1\x00', 1))
    path.with_suffix(".run.json").unlink()
    async with opened(store) as other:
        assert await other.runs("first", 0, 9) == [updated]
        assert (await other.counts(run.key)).n == 1
        assert await other.add_run(run) is None
    assert "line 1 is damaged" in caplog.text


async def test_file_that_is_no_runs_is_left_alone(backend: JsonlBackend, store: Path) -> None:
    """Other files in the folder, an empty one with a run's name among them, are neither runs nor written to."""
    await added(backend)
    for name, text in (("data-1.jsonl", b'{"a": 1}\n'), ("words-1.jsonl", b""), ("x-1.jsonl", b"\x00\xff")):
        (store / "first" / name).write_bytes(text)
    (store / "first" / "folder-1.jsonl").mkdir()
    (store / "other").mkdir()
    (store / "other" / "data.jsonl").write_bytes(b'{"a": 1}\n')
    assert [run.evaluation for run in await backend.runs("first", 0, 9)] == ["sums"]
    assert await backend.experiments("", 9) == ["first"]
    await added(backend, evaluation="words")
    await added(backend, experiment="other", evaluation="data")
    assert (store / "first" / "words-1.jsonl").read_bytes() == b""
    assert (store / "other" / "data.jsonl").read_bytes() == b'{"a": 1}\n'
    assert await backend.experiments("", 9) == ["first", "other"]


async def test_copied_run_is_told(backend: JsonlBackend, store: Path) -> None:
    """Two files that claim to be the same run are an error that names both, not results that are mixed up."""
    await added(backend)
    (store / "copy").mkdir()
    copy = store / "copy" / "sums-1.jsonl"
    copy.write_bytes((store / "first" / "sums-1.jsonl").read_bytes())
    await backend.runs("first", 0, 9)
    with pytest.raises(StorageError, match="the same run") as caught:
        await backend.runs("copy", 0, 9)
    assert str(copy) in str(caught.value)
    copy.unlink()
    assert len(await backend.runs("first", 0, 9)) == 1


async def test_keys_grow_when_the_clock_does_not(backend: JsonlBackend, store: Path) -> None:
    """A later run has a greater key, whatever the clock says."""
    (store / "aeval.json").write_text(json.dumps({"format": 1, "key": 1 << 60}))
    assert (await added(backend)).key == (1 << 60) + 1
    assert (await added(backend, number=2)).key == (1 << 60) + 2


# Names.

NAMES = [
    "a/b", "..", ".", ".hidden", "Ünï", "U\u0308n", "x" * 300, "é" * 300, "CON", "con.txt", "nul ", "end.", "end..", " ",
    "a%2Fb", "%", "~", "a~b", 'a"b*?<>|:\\', "line\nbreak", "\x00", "\ud800", "aeval.json", "COM1", ".lock", ".cache",
    "😀", "日本", "-rf", "a-1", "a", "A", "ß", "ẞ",
]  # fmt: skip


async def test_any_name_is_a_file_name(backend: JsonlBackend, store: Path) -> None:
    """Experiments and evaluations may have any names; each has files of its own, inside of the folder."""
    for name in NAMES:
        run = await added(backend, name, name)
        await backend.commit(run.key, [entry(name)])
    async with opened(store) as other:
        assert await other.experiments("", 1000) == sorted(NAMES)
        for name in NAMES:
            (run,) = await other.runs(name, 0, 9)
            assert (run.experiment, run.evaluation) == (name, name)
            assert await outputs(other, run.key) == [(name, "out")]
            assert await other.add_run(StoredRun(name, name, 1, 0.0)) is None
    names = [path.name for path in store.iterdir()]
    assert len({name.casefold() for name in names}) == len(names) == len(NAMES) + 2
    assert not {path.name for path in store.parent.iterdir()} - {"store"}
    for path in store.rglob("*"):
        assert len(path.name.encode()) < 255
        assert path.name.partition(".")[0].casefold() not in {"con", "nul", "com1"}
        assert path.name[-1] not in ". "


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_can_be_taken_and_given_up(backend: JsonlBackend, store: Path, name: str) -> None:
    """An experiment is renamed to any name and back, and leaves no folder behind when its run is deleted."""
    run = await added(backend, "FIRST")
    await backend.commit(run.key, [entry(1)])
    assert await backend.rename("FIRST", name)
    assert await backend.experiments("", 9) == [name]
    async with opened(store) as other:
        assert await other.experiments("", 9) == [name]
        assert await outputs(other, run.key) == [(1, "out")]
        assert await other.rename(name, "first")
    assert await backend.experiments("", 9) == ["first"]
    assert await outputs(backend, run.key) == [(1, "out")]
    await backend.delete_run(run.key)
    assert {path.name for path in store.iterdir()} == {"aeval.json", ".lock"}


@pytest.mark.parametrize("name", NAMES)
def test_name_is_read_from_its_file_name(name: str) -> None:
    """A file name stands for one name only, which is read from it unless it was too long."""
    text = chosen(name, "", ())
    assert matches(text, name)
    assert not any(matches(text, other) for other in NAMES if other != name)
    assert is_marked(text) or unquoted(text) == name
    assert is_marked(chosen(name, "-1", [text.upper() + "-1"]))


async def test_evaluations_that_differ_in_case_have_files_of_their_own(
    backend: JsonlBackend, store: Path
) -> None:
    """Names that some file systems take for one are kept apart."""
    for name in ("sums", "Sums", "SUMS"):
        await added(backend, evaluation=name)
    files = [path.name for path in (store / "first").iterdir()]
    assert len({name.casefold() for name in files}) == 3
    assert [run.evaluation for run in await backend.runs("first", 0, 9)] == ["sums", "Sums", "SUMS"]


# Lines that are damaged, or cut off.

LAST = encode(entry("last").result)[:-1] + b',"digest":7}\n'


@pytest.mark.parametrize("kept", range(len(LAST) + 1))
async def test_torn_last_line(backend: JsonlBackend, store: Path, kept: int) -> None:
    """Wherever a crash cuts the last line off, the others are read, and what is written next is whole."""
    run = await added(backend)
    await backend.commit(run.key, [entry(1), entry(2)])
    await backend.commit(run.key, [entry("last")])
    path = store / "first" / "sums-1.jsonl"
    text = path.read_bytes()
    assert text.endswith(LAST)
    os.truncate(path, len(text) - len(LAST) + kept)
    whole = kept >= len(LAST) - 1
    for reader in (backend, None):
        async with opened(store) as other:
            at = reader or other
            assert (await at.counts(run.key)).n == 2 + whole
            known = await at.lookup(run.key, ["last"], 1)
            assert known == ({("last", 0): Known(7, True)} if whole else {})
    await backend.commit(run.key, [entry("last", "new", replaces=whole), entry("after")])
    wanted = [(1, "out"), (2, "out"), ("last", "new"), ("after", "out")]
    async with opened(store) as other:
        assert await outputs(backend, run.key) == await outputs(other, run.key) == wanted
        assert await other.counts(run.key) == await backend.counts(run.key)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


async def test_torn_line_is_mended_by_a_change_of_the_run(backend: JsonlBackend, store: Path) -> None:
    """A line about the run is not glued to one that was cut off."""
    run = await added(backend)
    await backend.commit(run.key, [entry(1)])
    path = store / "first" / "sums-1.jsonl"
    for torn in (b'{"id":2,"ind', LAST[:-1]):
        with path.open("ab") as file:
            file.write(torn)
        changed = await backend.update_run(attrs.evolve(run, samples=len(torn)))
        assert changed is not None
        run = changed
        assert all(json.loads(line) for line in path.read_bytes().splitlines())
    assert await outputs(backend, run.key) == [(1, "out"), ("last", "out")]


DAMAGED = [
    b"\x00" * 40, b"{}", b"[]", b"nonsense", b'{"id":5}', b'{"id":5,"index":1,"row":1,"times":[1],"rep', b"null",
    LAST.strip() + LAST.strip(), LAST.strip().replace(b"out", b"\xff\xfe"), LAST.strip().replace(b"7}", b'"x"}'),
]  # fmt: skip


DAMAGED += [
    LAST.strip().replace(b"7}", b"9" * 25 + b"}"),
    LAST.strip().replace(b'"index"', b'"repeat":-1,"index"'),
]


@pytest.mark.parametrize("damaged", DAMAGED)
async def test_damaged_line_is_passed_over(
    backend: JsonlBackend, store: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that is no result is passed over with a warning that names the file and the line."""
    run = await added(backend)
    await backend.commit(run.key, [entry(1)])
    path = store / "first" / "sums-1.jsonl"
    with path.open("ab") as file:
        file.write(damaged + b"\n\n")
    with caplog.at_level(logging.WARNING, "aeval"):
        await backend.commit(run.key, [entry(2)])
    assert [record.getMessage().partition(" is damaged")[0] for record in caplog.records] == [f"{path}: line 3"]
    async with opened(store) as other:
        assert await outputs(other, run.key) == await outputs(backend, run.key) == [(1, "out"), (2, "out")]
    assert damaged in path.read_bytes()


async def test_warnings_are_few(backend: JsonlBackend, store: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of which much is damaged does not fill the log."""
    run = await added(backend)
    with (store / "first" / "sums-1.jsonl").open("ab") as file:
        file.write(b"nonsense\n" * 1000)
    assert (await backend.counts(run.key)).n == 0
    assert len(caplog.records) == 21
    assert "line 21 is damaged" in caplog.text


async def test_lines_that_other_tools_wrote_are_read(backend: JsonlBackend, store: Path) -> None:
    """A file whose lines were written anew with blanks, in another order or with other escapes is read as before."""
    run = await added(backend)
    await backend.commit(run.key, [entry("ü", "ä"), entry(1), entry(1 << 70), entry(1 << 63)])
    await backend.commit(run.key, [entry(1, "new", replaces=True)])
    path = store / "first" / "sums-1.jsonl"
    lines = [dict(reversed(json.loads(line).items())) for line in path.read_bytes().splitlines()]
    path.write_text("".join(json.dumps(line) + "\r\n" for line in lines), newline="")
    wanted = [("ü", "ä"), (1 << 70, "out"), (1 << 63, "out"), (1, "new")]
    async with opened(store) as other:
        for at in (backend, other):
            assert await outputs(at, run.key) == wanted
            assert await outputs(at, run.key, history=True) == [(1, "out")]
            assert len(await at.lookup(run.key, ["ü", 1, 1 << 70, 1 << 63], 1)) == 4


async def test_line_of_many_megabytes(backend: JsonlBackend, store: Path) -> None:
    """A line may be longer than what is read at once."""
    run = await added(backend)
    await backend.commit(run.key, [entry(1), entry(2, "x" * 5_000_000), entry(3)])
    async with opened(store) as other:
        found = await outputs(other, run.key)
    assert [(sample_id, len(output)) for sample_id, output in found] == [(1, 3), (2, 5_000_000), (3, 3)]


async def test_file_that_became_shorter_is_read_anew(backend: JsonlBackend, store: Path) -> None:
    """What somebody takes out of a file is gone, whether it was cut or put in the place of the former one."""
    run = await added(backend)
    await backend.commit(run.key, [entry(number) for number in range(10)])
    path = store / "first" / "sums-1.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]))
    assert [sample_id for sample_id, _ in await outputs(backend, run.key)] == [0, 1, 2, 3, 4]
    path.with_name("new").write_bytes(b"".join(lines[:1] + lines[3:]))
    path.with_name("new").replace(path)
    assert [sample_id for sample_id, _ in await outputs(backend, run.key)] == [*range(2, 10)]


# Disks that are full.


@posix
async def test_write_that_does_not_fit_is_taken_back(backend: JsonlBackend, store: Path) -> None:
    """A batch of which the disk took only a part is an error, and nothing of it stays; later ones are written."""
    run = await added(backend)
    script = """
        import resource
        async def main():
            backend = await opened()
            (run,) = await backend.runs("first", 0, 9)
            await backend.commit(run.key, [entry(1)])
            path = Path(sys.argv[1], "first", "sums-1.jsonl")
            before = path.read_bytes()
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 1000, resource.RLIM_INFINITY))
            for _ in range(2):
                try:
                    await backend.commit(run.key, [entry(2), entry(3, "x" * 5000)])
                except StorageError as error:
                    print(error)
                assert path.read_bytes() == before
                assert (await backend.counts(run.key)).n == 1
            await backend.commit(run.key, [entry(2)])
            await backend.aclose()
        anyio.run(main)
    """
    printed = await ended(process(store, script))
    assert printed.count("File too large") == printed.count("free some space") == 2
    assert "jsonl://store" in printed
    assert await outputs(backend, run.key) == [(1, "out"), (2, "out")]
    await backend.commit(run.key, [entry(3)])


@posix
async def test_run_that_does_not_fit_is_not_added(backend: JsonlBackend, store: Path) -> None:
    """Where there is no room for a run, or for a change of one, there is none afterwards."""
    run = await added(backend)
    script = """
        import attrs, resource
        async def main():
            backend = await opened()
            (run,) = await backend.runs("first", 0, 9)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            for call in (
                backend.add_run(StoredRun("second", "sums", 1, 1.0)),
                backend.update_run(attrs.evolve(run, status="failed")),
                backend.keep("key", bytes(1000)),
            ):
                try:
                    await call
                except StorageError:
                    print("refused")
            await backend.aclose()
        anyio.run(main)
    """
    assert (await ended(process(store, script))).split() == ["refused"] * 3
    assert await backend.experiments("", 9) == ["first"]
    assert await backend.runs("first", 0, 9) == [run]
    assert await backend.recall("key") is None
    assert not list(store.rglob("*~"))
    assert await backend.update_run(attrs.evolve(run, status="failed")) is not None


# Other processes.


async def test_another_process_goes_on_with_the_run(backend: JsonlBackend, store: Path) -> None:
    """What another process appended is known at the next question, and counts as a record."""
    run = await added(backend)
    await backend.commit(run.key, [entry(1)])
    script = """
        async def main():
            backend = await opened()
            await backend.commit(int(sys.argv[2]), [entry(2), entry(3)])
            await backend.aclose()
        anyio.run(main)
    """
    await ended(process(store, script, run.key))
    assert (await backend.counts(run.key)).n == 3
    with pytest.raises(DuplicateSample):
        await backend.commit(run.key, [entry(4), entry(3)])
    await backend.commit(run.key, [entry(4)])
    assert [sample_id for sample_id, _ in await outputs(backend, run.key)] == [1, 2, 3, 4]


async def test_processes_add_runs_at_once(backend: JsonlBackend, store: Path) -> None:
    """Of runs that two processes add at the same time under one number one is made, and keys are never given twice."""
    script = """
        async def main():
            backend = await opened()
            print("ready", flush=True)
            sys.stdin.readline()
            for number in range(1, 101):
                made = await backend.add_run(StoredRun("first", "sums", number, 1.0, samples=int(sys.argv[2])))
                if made is not None:
                    await backend.commit(made.key, [entry(number)])
                    print(number, made.key)
            await backend.aclose()
        anyio.run(main)
    """
    running = [process(store, script, place) for place in range(2)]
    made = [line.split() for one in running for line in (await ended(one)).splitlines() if line != "ready"]
    assert sorted(int(number) for number, _ in made) == list(range(1, 101))
    assert len({key for _, key in made}) == 100
    runs = await backend.runs("first", 0, 1000)
    assert [(run.number, str(run.key)) for run in runs] == sorted((int(n), key) for n, key in made)
    for run in runs:
        assert await outputs(backend, run.key) == [(run.number, "out")]


async def test_processes_write_to_one_run_at_once(backend: JsonlBackend, store: Path) -> None:
    """Two processes that write to one run at the same time lose nothing, and no sample gets two records."""
    run = await added(backend)
    script = """
        from aeval.storage.base import DuplicateSample
        async def main():
            backend = await opened()
            for number in range(200):
                try:
                    await backend.commit(int(sys.argv[2]), [entry(number, "x" * 3000)])
                    print(number)
                except DuplicateSample:
                    pass
            await backend.aclose()
        anyio.run(main)
    """
    running = [process(store, script, run.key) for _ in range(2)]
    made = [int(line) for one in running for line in (await ended(one)).split()]
    assert sorted(made) == list(range(200))
    assert [sample_id for sample_id, _ in await outputs(backend, run.key)] == list(range(200))


@posix
@pytest.mark.parametrize("size", [100, 200_000])
async def test_killed_writer(backend: JsonlBackend, store: Path, size: int) -> None:
    """Killed while it writes, a process loses nothing that it was told was committed, and another goes on."""
    run = await added(backend)
    script = """
        async def main():
            backend = await opened()
            for number in range(10**9):
                await backend.commit(int(sys.argv[2]), [entry(2 * number, "x" * int(sys.argv[3])), entry(2 * number + 1)])
                print(2 * number + 1, flush=True)
        anyio.run(main)
    """
    for attempt in range(3):
        run = await added(backend, number=2 + attempt)
        writer = process(store, script, run.key, size)
        assert writer.stdout is not None
        told = [await anyio.to_thread.run_sync(writer.stdout.readline) for _ in range(3 + 7 * attempt)]
        writer.send_signal(signal.SIGKILL)
        rest, _ = await anyio.to_thread.run_sync(writer.communicate)
        committed = int(("".join(told) + rest[: rest.rfind("\n") + 1]).split()[-1])
        found = [sample_id for sample_id, _ in await outputs(backend, run.key)]
        assert found == list(range(len(found)))
        assert len(found) > committed
        await backend.commit(run.key, [entry("after")])
        assert (await outputs(backend, run.key))[-1] == ("after", "out")
        path = store / "first" / f"sums-{run.number}.jsonl"
        assert all(json.loads(line) for line in path.read_bytes().splitlines())


async def test_run_is_found_wherever_it_was_moved(backend: JsonlBackend, store: Path) -> None:
    """Results go to the run that was meant, though its experiment was renamed and another one has its place."""
    run = await added(backend)
    await backend.commit(run.key, [entry(1)])
    async with opened(store) as other:
        assert await other.rename("first", "renamed")
        usurper = await added(other)
        await other.commit(usurper.key, [entry("u")])
    await backend.commit(run.key, [entry(2)])
    await backend.aclose()
    await backend.open()
    await backend.commit(run.key, [entry(3)])
    assert await outputs(backend, run.key) == [(1, "out"), (2, "out"), (3, "out")]
    assert await outputs(backend, usurper.key) == [("u", "out")]


async def test_commit_to_a_deleted_run_is_refused(backend: JsonlBackend, store: Path) -> None:
    """Results of a run that another process deleted are refused, not written to a file that has no name any more."""
    run = await added(backend)
    await backend.commit(run.key, [entry(1)])
    async with opened(store) as other:
        await other.delete_run(run.key)
    with pytest.raises(StorageError, match="was deleted"):
        await backend.commit(run.key, [entry(2)])
    assert await backend.counts(run.key) == Counts(0, 0, 0)


# The folder.


async def test_newer_folder_is_left_as_it_is(store: Path) -> None:
    """A folder that a later version wrote to is refused by an error that names both versions and the fix."""
    store.mkdir()
    (store / "aeval.json").write_text('{"format": 2}')
    with pytest.raises(
        StorageVersionError, match=r"format 2, and this aeval knows formats up to 1: upgrade"
    ) as caught:
        await JsonlBackend(store, url="jsonl://store").open()
    assert str(store) in str(caught.value)
    assert [path.name for path in store.iterdir()] == ["aeval.json"]
    assert (store / "aeval.json").read_text() == '{"format": 2}'


@pytest.mark.parametrize("name", ["sums-1.jsonl", "sums-1.run.json"])
async def test_newer_run_is_left_as_it_is(backend: JsonlBackend, store: Path, name: str) -> None:
    """A run that a later version wrote is neither read nor written to."""
    run = await added(backend)
    await backend.update_run(attrs.evolve(run, status="finished"))
    path = store / "first" / name
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":7'))
    before = {path: path.read_bytes() for path in (store / "first").iterdir()}
    async with opened(store) as other:
        for call in (
            other.runs("first", 0, 9),
            other.add_run(StoredRun("first", "sums", 1, 0.0)),
            other.commit(run.key, [entry(1)]),
            other.update_run(run),
        ):
            with pytest.raises(StorageVersionError, match="format 7"):
                await call
    assert {path: path.read_bytes() for path in (store / "first").iterdir()} == before


async def test_damaged_folder_file_is_written_anew(backend: JsonlBackend, store: Path) -> None:
    """An empty `aeval.json`, as a power cut may leave it, is no loss: keys go on to grow."""
    first = await added(backend)
    (store / "aeval.json").write_bytes(b"")
    async with opened(store) as other:
        assert (await added(other, number=2)).key > first.key
    assert json.loads((store / "aeval.json").read_text())["format"] == 1


@pytest.mark.parametrize("below", ["", "deeper/still"])
async def test_path_that_is_a_file(tmp_path: Path, below: str) -> None:
    """A file where the folder belongs, or above it, is an error that names it."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"file' is a file; give another path"):
        await JsonlBackend(tmp_path / "file" / below, url="jsonl://file").open()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="has no folder that root may not write to")
async def test_folder_that_cannot_be_made() -> None:
    """A folder that cannot be made is an error that names it and the fix."""
    with pytest.raises(StorageError, match=r"/proc/aeval.*make it writable, or give another path"):
        await JsonlBackend(Path("/proc/aeval"), url="jsonl:///proc/aeval").open()


async def test_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    """The folder need not be there, nor those above it."""
    async with opened(tmp_path / "a" / "b") as backend:
        await added(backend)
    assert (tmp_path / "a" / "b" / "first" / "sums-1.jsonl").exists()


async def test_full_durability(store: Path) -> None:
    """With `durability="full"` all goes as without."""
    async with opened(store, durability="full") as backend:
        run = await added(backend)
        await backend.commit(run.key, [entry(1)])
        assert await backend.update_run(attrs.evolve(run, status="finished")) is not None
        await backend.keep("ab12", b"value")
        assert await backend.rename("first", "second")
        assert await backend.recall("ab12") == b"value"
        assert await outputs(backend, run.key) == [(1, "out")]


# The cache, and what it all costs.


async def test_damaged_cache_is_no_answer(backend: JsonlBackend, store: Path) -> None:
    """A kept value that was damaged is not given back."""
    await backend.keep("ab12", b"value")
    path = store / ".cache" / "ab" / "ab12"
    for damaged in (b"", path.read_bytes()[:-1], b"\x00" * 30):
        path.write_bytes(damaged)
        assert await backend.recall("ab12") is None


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="does not tell which files are open")
async def test_nothing_stays_open(store: Path) -> None:
    """The index of a long run is in a file outside of the folder, which is gone with all others when it is closed."""

    def files() -> list[str]:
        return sorted(str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())

    before = [file for file in files() if "etilqs" in file or str(store) in file]
    async with opened(store) as backend:
        run = await added(backend)
        for start in range(0, 300_000, 10_000):
            await backend.commit(
                run.key, [entry(f"sample-with-a-long-id-{i}") for i in range(start, start + 10_000)]
            )
        assert any("etilqs" in file for file in files())
        assert (await backend.counts(run.key)).n == 300_000
    assert [file for file in files() if "etilqs" in file or str(store) in file] == before == []


async def test_open_files_are_few(backend: JsonlBackend) -> None:
    """However many runs are written to, only so many files are open, and none of them is read again for it."""
    keys = [(await added(backend, number=number)).key for number in range(1, 101)]
    for sample in range(3):
        for key in keys:
            await backend.commit(key, [entry(sample)])
    if Path("/proc/self/fd").is_dir():
        assert len(list(Path("/proc/self/fd").iterdir())) < 64 + 40
    assert {(await backend.counts(key)).n for key in keys} == {3}


async def test_loop_does_not_wait(backend: JsonlBackend, store: Path) -> None:
    """While another process holds a run's file, the event loop goes on."""
    fcntl = pytest.importorskip("fcntl")
    run = await added(backend)
    loop_thread = threading.get_ident()
    with (store / "first" / "sums-1.jsonl").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backend.commit, run.key, [entry(1)])
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            assert threading.get_ident() == loop_thread
            assert b'"id":1' not in Path(file.name).read_bytes()
            fcntl.flock(file, fcntl.LOCK_UN)
    assert await outputs(backend, run.key) == [(1, "out")]


async def test_more_entries_than_a_statement_takes(backend: JsonlBackend) -> None:
    """A batch of any size is written whole, or refused whole."""
    run = await added(backend)
    await backend.commit(run.key, [entry(number) for number in range(9_000)])
    for late in (entry(5), entry(20_000)):
        with pytest.raises(DuplicateSample):
            await backend.commit(run.key, [*(entry(number) for number in range(10_000, 21_000)), late])
        assert (await backend.counts(run.key)).n == 9_000
    again = [entry(number, "new", replaces=True) for number in range(9_000)]
    await backend.commit(run.key, again)
    with pytest.raises(DuplicateSample):
        await backend.commit(run.key, [again[0], again[0]])
    assert (await backend.counts(run.key)).n == 9_000
    assert {output for _, output in await outputs(backend, run.key)} == {"new"}


async def test_many_repeats_are_settled(backend: JsonlBackend) -> None:
    """The sum of digests may be as large as it gets with a thousand samples of many repeats."""
    run = await added(backend)
    most = (1 << 52) - 1
    for repeat in range(8):
        await backend.commit(run.key, [entry(i, repeat=repeat)._replace(digest=most) for i in range(1024)])
    assert await backend.settled(run.key, range(1024), 8, 1024 * most)
    assert not await backend.settled(run.key, range(1024), 8, 1024 * most - 1)
    assert not await backend.settled(run.key, range(1024), 9, 1024 * most)
