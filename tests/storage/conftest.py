from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from stores import KINDS, Postgres, Store, programs

from aeval.storage.base import Backend


@pytest.fixture(scope="session")
def _server() -> Iterator[Postgres]:
    bin_ = programs()
    if bin_ is None:
        pytest.skip(
            "PostgreSQL's server is not installed: initdb is neither in PATH nor in /usr/lib/postgresql"
        )
    # Not in pytest's own folder, which another user may not enter; and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="aeval-pg-"))
    server = None
    try:
        server = Postgres(bin_, folder)
        yield server
    finally:
        if server is not None and server.running():
            server.stop("immediate")
        shutil.rmtree(folder)


@pytest.fixture
def postgres(_server: Postgres) -> Iterator[Postgres]:
    """Give the session's server; a test may stop it, and the next one finds it running."""
    yield _server
    if not _server.running():
        _server.start()


@pytest.fixture(params=KINDS)
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    kind: str = request.param
    if kind != "postgresql":
        return Store(kind, str(tmp_path / "store"))
    server: Postgres = request.getfixturevalue("postgres")
    return Store(kind, server.url(server.create_database()))


@pytest.fixture
async def store(new_store: Store) -> AsyncIterator[Store]:
    """Give a new empty storage, of every kind one after another."""
    yield new_store
    await new_store.close_all()


@pytest.fixture
async def backend(store: Store) -> Backend:
    """Give a backend that is open on a new empty storage."""
    return await store.open()
