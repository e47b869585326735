"""Connections: a few to one server, which is waited for when it goes away."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import anyio

from aeval.errors import ConfigurationError, MissingExtraError, StorageError
from aeval.storage.postgres.address import Address

if TYPE_CHECKING:
    from asyncpg import Connection, Record

__all__ = ["MOST_CONNECTIONS", "Connected", "Connections"]

# Quoted, as the driver may not be installed.
Connected: TypeAlias = "Connection[Record]"

DoneT = TypeVar("DoneT")

# As many as a backend has at once.
MOST_CONNECTIONS: Final = 4
CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0

# Conditions of a server that pass by themselves, beside a connection that is lost (class 08): shutting down, crashed,
# starting up, idle for too long, too many connections; and transactions that got in each other's way.
_PASSING: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "53300", "40001", "40P01"})
_STARTING: Final = "57P03"
_FIXES: Final = {
    "28P01": "check the user and the password in the URL, or in PGPASSWORD or ~/.pgpass",
    "28000": "check the user and the password in the URL, and what the server's pg_hba.conf allows",
    "3D000": "create the database, as with `createdb`, or correct its name in the URL",
    "53100": "free some space on the server; what was committed before is safe",
    "25006": "connect to a server that can be written to: this one is a standby, or was made read-only",
    "42501": "let the database's owner open the storage once, then "
    "`GRANT USAGE ON SCHEMA aeval` and `GRANT ALL ON ALL TABLES IN SCHEMA aeval` to the user",
    "42P01": "somebody removed its tables; open the storage anew to make them",
    "3F000": "somebody removed its schema; open the storage anew to make it",
}


class Connections:
    """The connections to one server: over one that is free, or a new one, work is done.

    :param address: where the server is
    :param lost: called when the server is away: what is known of it may not hold when it comes back
    """

    def __init__(self, address: Address, lost: Callable[[], None]) -> None:
        self._address = address
        self._lost = lost
        self._idle: list[Connected] = []
        self._closed = True
        self._room = anyio.Semaphore(MOST_CONNECTIONS, fast_acquire=True)

    def open(self) -> None:
        """Allow connecting.

        :raises MissingExtraError: if asyncpg is not installed
        """
        try:
            import asyncpg  # noqa: F401 - only whether it is there
        except ImportError as error:
            raise MissingExtraError("A storage in PostgreSQL", "asyncpg", "postgresql") from error
        self._closed = False

    async def aclose(self) -> None:
        """Close them, and connect no more."""
        self._closed = True
        while self._idle:
            await _hang_up(self._idle.pop())

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        """Return the rows of a statement that does no harm where it is run twice."""

        async def work(connection: Connected, _again: bool) -> list[Any]:
            return await connection.fetch(statement, *values)

        return await self.do(work)

    async def do(self, work: Callable[[Connected, bool], Awaitable[DoneT]], *, opening: bool = False) -> DoneT:
        """Do something over a connection; if that is lost, over another one, for as long as there is patience.

        :param work: takes the connection, and whether a connection was lost at which it may have been done already
        :param opening: wait only for a server that is starting up
        """
        deadline: float | None = None
        pause = 0.1
        while True:
            if deadline is None:
                seconds = CONNECT_SECONDS
            else:
                seconds = min(CONNECT_SECONDS, max(1.0, deadline - anyio.current_time()))
            try:
                return await self._do_once(work, again=deadline is not None, seconds=seconds)
            except _Passing as passing:
                error = passing.error
                starting = getattr(error, "sqlstate", None) == _STARTING
                now = anyio.current_time()
                deadline = now + self._address.patience if deadline is None else deadline
                self._lost()
                if now >= deadline or (opening and not starting):
                    waited = "" if opening and not starting else f" (waited {self._address.patience:g} s)"
                    raise StorageError(f"{self._refusal(error)}{waited}") from error
            await anyio.sleep(min(pause, deadline - now))
            pause = min(2 * pause, 2.0)

    async def _do_once(
        self, work: Callable[[Connected, bool], Awaitable[DoneT]], *, again: bool, seconds: float
    ) -> DoneT:
        import asyncpg

        async with self._room:
            connection: Connected | None = None
            sound = False
            try:
                connection = self._idle.pop() if self._idle else await self._connect(seconds)
                done = await work(connection, again)
                sound = True
            except (
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
                OSError,
            ) as error:
                if _is_passing(error, connection):
                    # What lies idle was connected to the server that is gone.
                    while self._idle:
                        await _hang_up(self._idle.pop())
                    raise _Passing(error) from error
                if (
                    connection is None
                    and isinstance(error, ValueError)
                    and isinstance(error, asyncpg.InterfaceError)
                ):
                    raise ConfigurationError(f"{self._address.url} cannot be connected to: {error}") from error
                raise StorageError(self._refusal(error)) from error
            finally:
                if connection is not None:
                    if sound and not self._closed:
                        self._idle.append(connection)
                    else:
                        await _hang_up(connection)
            return done

    async def _connect(self, seconds: float) -> Connected:
        import asyncpg

        if self._closed:
            raise StorageError(f"{self._address.url} is not open")
        connection = await asyncpg.connect(
            self._address.dsn, timeout=seconds, server_settings=self._address.settings
        )
        _watch(connection)
        return connection

    def _refusal(self, error: Exception) -> str:
        fix = _FIXES.get(getattr(error, "sqlstate", None) or "")
        reason = str(error) or type(error).__name__
        if fix is None and isinstance(error, OSError):
            fix = "see that the server runs there and can be reached from here"
        return f"{self._address.url}: {reason}" if fix is None else f"{self._address.url}: {reason}: {fix}"


class _Passing(Exception):
    """What was to be done failed in a way that passes by itself."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _is_passing(error: Exception, connection: Connected | None) -> bool:
    """Tell whether an error means that the server is away, or that trying again may help."""
    state: str | None = getattr(error, "sqlstate", None)
    if state is not None:
        return state in _PASSING or state.startswith("08")
    if connection is None:
        return isinstance(error, OSError)
    # What has no state comes from this side of the connection: that is closed, or the server's farewell arrived while
    # nothing was asked, and the driver cannot go on. A ValueError is about what was given to it.
    return connection.is_closed() or not isinstance(error, ValueError)


async def _hang_up(connection: Connected) -> None:
    """Close a connection, also where this task is being cancelled."""
    with anyio.CancelScope(shield=True), suppress(Exception):
        # Over other connections the driver asks the server to give up what this one was doing. It would stop that in
        # the middle, and have the loop report it.
        requests: set[asyncio.Future[Any]] = set(getattr(connection, "_cancellations", ()))
        if requests:
            await asyncio.wait(requests, timeout=CLOSE_SECONDS)
        await connection.close(timeout=CLOSE_SECONDS)


def _watch(connection: Connected) -> None:
    """Have a server that vanished without a word noticed within a minute; else it takes a quarter of an hour."""
    transport = getattr(connection, "_transport", None)
    line = None if transport is None else transport.get_extra_info("socket")
    if line is None or line.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 15),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 30_000),
    ):
        if hasattr(socket, name):  # Not every system has all of them.
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
