"""Evaluations that are killed again and again, and what must hold of their storage."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from children import Child

from aeval.storage import open_storage

__all__ = ["MOMENTS", "Trial", "Which", "records_of", "stored_in", "url_of"]

# When a process is killed: while it starts, at some time, after some results, while it closes.
MOMENTS = ("starting", "time", "results", "closing")
EVALUATIONS = [("once", 300, 1), ("twice", 150, 2)]

Which = tuple[str, str, int]


class Trial:
    """One experiment, run and killed until it is done.

    :param kind: of storage
    :param place: its URL; for files, where they are
    :param folder: an empty one, for this trial alone
    :param seed: of the moments
    :param number: the signal that it is killed with
    :ivar kills: how many times a process was killed, by the moment
    :ivar violations: what was promised and did not hold
    """

    def __init__(
        self, kind: str, place: str, folder: Path, seed: int, number: signal.Signals = signal.SIGKILL
    ) -> None:
        self.kind = kind
        self.kills: Counter[str] = Counter()
        self.sessions = 0
        self.violations: list[str] = []
        self._place = place
        self._folder = folder
        self._seed = seed
        self._number = number
        self._random = random.Random(seed)
        self._side = folder / "begun"
        self._read: dict[Which, tuple[int, float]] = {}
        self._errors: set[Which] = set()
        self._warm = 0.5
        self._all = {
            (name, f"q{n}", repeat)
            for name, rows, repeats in EVALUATIONS
            for n in range(rows)
            for repeat in range(repeats)
        }

    def url(self, place: str | None = None) -> str:
        return url_of(self.kind, place or self._place)

    def play(self, most_kills: int) -> None:
        """Run it to its end, with so many kills at most."""
        done = False
        while not done and not self.violations:
            moment = self._random.choice(MOMENTS) if self.kills.total() < most_kills else "end"
            done = self._session(moment)
            self._check(moment)
        if not self.violations:
            self._check_whole()

    # A session.

    def _session(self, moment: str) -> bool:
        """Start the program, and kill it; return whether it came to its end with nothing left to do."""
        chance = self._random
        self.sessions += 1
        plan: dict[str, Any] = {
            "url": self.url(),
            "evaluations": EVALUATIONS,
            "session": self.sessions,
            "seed": f"{self._seed} {self.sessions}",
            "longest": 0.06,
            "concurrency": 16,
            "erring": 7,
            "side": str(self._side),
        }
        if moment == "closing":
            plan["stop_after"] = chance.randint(1, 40)
        with Child(plan) as child:
            self._wait(child, moment)
            if moment != "end":
                child.process.send_signal(self._number)
            code = child.wait()
        self._take(child)
        # What Python was importing may have turned Ctrl-C into an error of its own.
        killed = code == -self._number or (self._number == signal.SIGINT and not child.said)
        self.kills[moment] += killed
        if code and not killed:
            self._violated(f"the program ended with {code}: {child.last('failed') or child.errors}")
        report = child.last("report")
        return code == 0 and report == ["finished", len(self._all), len(self._all), 0]

    def _wait(self, child: Child, moment: str) -> None:
        chance = self._random
        if moment == "starting":
            child.read_for(chance.uniform(0.0, 1.2 * self._warm))
        elif moment == "time":
            child.read_for(chance.uniform(0.8, 1.5) * self._warm)
        elif moment == "closing":
            if child.until("stopping"):
                child.read_for(chance.uniform(0.0, 0.1))
        elif child.until("result"):
            self._warm = time.monotonic() - child.begun
            child.until("result", chance.randint(0, 60) if moment == "results" else len(self._all))
            child.read_for(chance.uniform(0.0, 0.01))

    def _take(self, child: Child) -> None:
        for *which, value in child.results():
            name, sample_id, repeat = which
            if value is None:
                self._errors.add((name, sample_id, repeat))
            elif (name, sample_id, repeat) in self._read:
                self._violated(f"{which} was given again, in session {self.sessions}")
            else:
                self._read[name, sample_id, repeat] = self.sessions, value

    # What must hold.

    def _violated(self, what: str) -> None:
        self.violations.append(f"{self.kind}, seed {self._seed}, session {self.sessions}: {what}")

    def _check(self, moment: str) -> None:
        """Look at the storage as the killed process left it; at a copy, since looking may mend it."""
        try:
            stored, errored, replaced = asyncio.run(self._stored(self._copied()))
        finally:
            shutil.rmtree(self._folder / "copy", ignore_errors=True)
        for which, (_, value) in self._read.items():
            if stored.get(which) != value:
                self._violated(f"after {moment}: {which} was given as {value} and is {stored.get(which)}")
        for which in self._errors - set(stored) - errored:
            self._violated(f"after {moment}: {which} was given as an error and is not there")
        for which in self._errors & set(stored) - replaced:
            self._violated(f"after {moment}: the error of {which} was replaced and is not in the history")
        for session, *which in map(json.loads, self._lines_of_side()):
            seen = self._read.get(tuple(which))
            if seen is not None and session > seen[0]:
                self._violated(f"{which} was given in session {seen[0]} and evaluated again in {session}")

    def _copied(self) -> str:
        """Copy a storage of files; return where it is."""
        if self.kind == "postgresql":
            return self._place
        copy, original = self._folder / "copy", Path(self._place)
        copy.mkdir()
        for path in original.parent.glob(f"{original.name}*"):
            if path.is_dir():
                shutil.copytree(path, copy / path.name)
            else:
                shutil.copy(path, copy)
        return str(copy / original.name)

    def _lines_of_side(self) -> Iterable[str]:
        return self._side.read_text().splitlines() if self._side.exists() else ()

    async def _stored(self, place: str) -> tuple[dict[Which, float], set[Which], set[Which]]:
        stored: dict[Which, float] = {}
        errored: set[Which] = set()
        replaced: set[Which] = set()
        async with open_storage(self.url(place)) as storage:
            if "kills" not in [name async for name in storage.experiments()]:
                return stored, errored, replaced
            async for run in storage.runs("kills"):
                if run.state == "running":
                    self._violated(f"the run of {run.evaluation} is said to be running")
            async for result in storage.results("kills"):
                which = result.evaluation, str(result.id), result.repeat
                if which in stored or which in errored:
                    self._violated(f"{which} has two records")
                if result.error is None:
                    assert isinstance(result.value, float)
                    stored[which] = result.value
                else:
                    errored.add(which)
            async for result in storage.results("kills", history=True):
                replaced.add((result.evaluation, str(result.id), result.repeat))
        return stored, errored, replaced

    def _check_whole(self) -> None:
        """Look at the storage once the run is done."""
        stored, errored, _ = asyncio.run(self._stored(self._place))
        if set(stored) != self._all or errored:
            self._violated(f"{len(stored)} of {len(self._all)} samples are scored, and {len(errored)} errored")
        raw = records_of(self.kind, self._place)
        wrong = {which: count for which, count in raw.items() if count != 1}
        if len(raw) != len(self._all) or wrong:
            self._violated(f"the storage holds {len(raw)} records, and not once: {wrong}")
        with Child({"url": self.url(), "evaluations": EVALUATIONS}) as child:
            child.wait()
        if child.results() or child.last("report") != ["finished", len(self._all), len(self._all), 0]:
            self._violated(f"another session of the finished run said {child.said}")


def url_of(kind: str, place: str) -> str:
    """Return the URL of a storage that is a file or folder at that place, or that place itself."""
    return {"sqlite": f"sqlite:///{place}", "jsonl": f"jsonl://{place}"}.get(kind, place)


def stored_in(url: str) -> dict[Which, Any]:
    """Read the value of each sample by the library, as another process does; None for one that errored."""

    async def read() -> list[Any]:
        async with open_storage(url) as storage:
            return [result async for result in storage.results("kills")]

    results = asyncio.run(read())
    found = {
        (result.evaluation, result.id, result.repeat): result.value if result.ok else None for result in results
    }
    assert len(found) == len(results), "a sample has two records"
    return found


def records_of(kind: str, place: str) -> Counter[tuple[Any, ...]]:
    """Count the records that count, by run, id and repeat, past the library."""
    if kind == "sqlite":
        with closing(sqlite3.connect(place)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            records = connection.execute(
                "SELECT run, id, repeat, number FROM records ORDER BY number"
            ).fetchall()
            rows = connection.execute(
                "SELECT run, id, repeat, number FROM results WHERE superseded = 0 ORDER BY number"
            ).fetchall()
        assert records == rows
        return Counter(row[:3] for row in rows)
    if kind == "jsonl":
        return Counter(which for path in Path(place).glob("*/*.jsonl") for which in _lines(path))
    return asyncio.run(_rows(place))


def _lines(path: Path) -> Iterable[tuple[Any, ...]]:
    found: dict[int, tuple[Any, ...]] = {}
    start = 0
    for line in path.read_bytes().splitlines(keepends=True):
        fields = json.loads(line)
        if "run" not in fields:
            if "replaces" in fields:
                assert found.pop(fields["replaces"])[1:] == (fields["id"], fields.get("repeat", 0))
            found[start] = (path.name, fields["id"], fields.get("repeat", 0))
        start += len(line)
    return found.values()


async def _rows(url: str) -> Counter[tuple[Any, ...]]:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT run, id, repeat FROM aeval.results WHERE current")
    finally:
        await connection.close()
    return Counter(tuple(row) for row in rows)
