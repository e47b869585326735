"""A PostgreSQL server, and storages of every kind, for the tests of this folder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from aeval.context import Record, result_of
from aeval.result import Failure
from aeval.sample import SampleId
from aeval.score import Score
from aeval.storage.base import Backend, Entry, StoredRun
from aeval.storage.codec import decode, digest_of

KINDS = ("memory", "sqlite", "jsonl", "postgresql")
USER = "aeval"
PASSWORD = "sesame"


def programs() -> Path | None:
    """Find the folder of PostgreSQL's programs: that of the PATH, or of the latest version that Debian has."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    places = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(
        places, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0, default=None
    )


class Postgres:
    """A server of its own, in a temporary folder; passwords are asked for over TCP."""

    def __init__(self, bin_: Path, folder: Path) -> None:
        self._bin = bin_
        self._folder = folder
        self._data = folder / "data"
        self._databases = count(1)
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:  # The server refuses to run as root.
            names = {entry.pw_name for entry in pwd.getpwall()}
            entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self._user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        folder.chmod(0o755)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        password = folder / "password"
        password.write_text(PASSWORD)
        self._run(
            "initdb", "--pgdata", self._data, "--no-sync", "--username", USER, "--pwfile", password,
            "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C",
        )  # fmt: skip
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n"
                "fsync = off\nfull_page_writes = off\nmax_connections = 60\nshared_buffers = 32MB\n"
            )
        self.start()

    def _run(self, program: str, *arguments: object) -> str:
        # Into a file: the server inherits it, and a pipe would stay open for as long as it runs.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [self._bin / program, *map(str, arguments)],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=120,
                check=False,
                env={**os.environ, "HOME": str(self._folder), "LC_ALL": "C"},
                **self._user,
            )
            output.seek(0)
            text = output.read().decode(errors="replace")
        assert done.returncode == 0, f"{program} failed: {text}"
        return text

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", self._folder / "log")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` ends its connections, `immediate` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def running(self) -> bool:
        return (self._data / "postmaster.pid").exists()

    def url(self, database: str, user: str = USER, password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def sql(self, database: str, statement: str) -> str:
        """Run statements as the superuser, over the socket; return what they give, a row a line."""
        return self._run(
            "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
            "-h", self._folder, "-p", self.port, "-U", USER, "-d", database, "-c", statement,
        ).strip()  # fmt: skip

    def create_database(self) -> str:
        """Create an empty database and return its name."""
        name = f"test_{next(self._databases)}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return name


class Store:
    """A new empty storage, as which any number of backends can be opened."""

    def __init__(self, kind: str, place: str) -> None:
        self.kind = kind
        self.shared = kind != "memory"
        self._place = place
        self._opened: list[Backend] = []

    def backend(self) -> Backend:
        """Return a backend that is not open yet."""
        if self.kind == "postgresql":
            from aeval.storage.postgres import PostgresBackend

            return PostgresBackend(self._place)
        if self.kind == "jsonl":
            from aeval.storage.jsonl import JsonlBackend

            return JsonlBackend(Path(self._place), url=f"jsonl://{self._place}")
        from aeval.storage.sqlite import SqliteBackend

        if self.kind == "memory":
            return SqliteBackend(None, url="memory://")
        return SqliteBackend(Path(self._place), url=f"sqlite:///{self._place}")

    async def open(self) -> Backend:
        """Open one more backend; it is closed at the end of the test, unless the test does so."""
        backend = self.backend()
        await backend.open()
        self._opened.append(backend)
        return backend

    async def close(self, backend: Backend) -> None:
        self._opened.remove(backend)
        await backend.aclose()

    async def close_all(self) -> None:
        while self._opened:
            await self._opened.pop().aclose()


def entry(
    sample_id: SampleId,
    repeat: int = 0,
    *,
    output: Any = "out",
    row: Any = None,
    error: str | None = None,
    replaces: bool = False,
    index: int = 0,
) -> Entry:
    """Make a finished sample; with an error, one that errored."""
    row = {"question": "what"} if row is None else row
    record = Record(sample_id, index, repeat, row)
    scores = {"exact": Score(True, "exact")} if error is None else {}
    # With an empty traceback, as which it comes back.
    failure = None if error is None else Failure("ValueError", error, chain=(((), "", ""),))
    result = result_of(record, "sums", 0.5, output, scores, failure, None, {})
    return Entry(result, digest_of(sample_id, row), replaces)


def entries(count: int, start: int = 0, **fields: Any) -> list[Entry]:
    return [entry(number, index=number, **fields) for number in range(start, start + count)]


async def added(
    backend: Backend, evaluation: str = "sums", number: int = 1, experiment: str = "first"
) -> StoredRun:
    run = await backend.add_run(StoredRun(experiment, evaluation, number, 1000.5))
    assert run is not None
    return run


async def pages(backend: Backend, key: int, size: int = 1000, **wanted: Any) -> list[tuple[int, bytes]]:
    """Read all results of a run, in pages."""
    found: list[tuple[int, bytes]] = []
    while page := await backend.page(key, found[-1][0] if found else 0, size, **wanted):
        assert len(page) <= size
        found += page
    return found


async def outputs(backend: Backend, key: int, **wanted: Any) -> list[tuple[SampleId, Any]]:
    """Read the ids and outputs of a run, in the order of their commits."""
    read = [decode(body, "sums") for _, body in await pages(backend, key, **wanted)]
    return [(result.id, result.output) for result in read]
