"""Store: where a cache keeps answers, opened when it is needed; one that fails costs no sample."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from aeval.errors import ConfigurationError

__all__ = ["CacheStore", "Store"]

# A storage that failed is left alone for so long: it may be one that takes its time to fail.
PAUSE_SECONDS = 60.0


class CacheStore(Protocol):
    """Where a cache keeps answers."""

    async def recall(self, key: str, /) -> bytes | None:
        """Return what was kept under a key; None if there is nothing."""
        ...

    async def keep(self, key: str, value: bytes, /) -> None:
        """Keep a value under a key, in place of what is there."""
        ...


class Store:
    """A cache's storage in one event loop.

    :param storage: its URL, or the storage itself
    :param failed: called with each error of the storage's
    """

    def __init__(self, storage: str | CacheStore, failed: Callable[[Exception], None]) -> None:
        self._storage = storage
        self._failed = failed
        self._opening = asyncio.Lock()
        self._life = _life(storage)
        self._opened: CacheStore | None = None
        self._paused_until = float("-inf")

    async def recall(self, key: str) -> bytes | None:
        """Return what was kept under a key; None if there is nothing, or if the storage fails."""
        store = await self._open()
        try:
            return None if store is None else await store.recall(key)
        except Exception as error:  # noqa: BLE001 - whatever a storage raises, the call can still be made
            self._pause(error)
            return None

    async def keep(self, key: str, value: bytes) -> None:
        """Keep a value under a key, unless the storage fails."""
        store = await self._open()
        try:
            if store is not None:
                await store.keep(key, value)
        except Exception as error:  # noqa: BLE001 - whatever a storage raises, the call has its answer
            self._pause(error)

    async def aclose(self) -> None:
        """Close what was opened."""
        life, self._life, self._opened = self._life, _life(self._storage), None
        await life.aclose()

    async def _open(self) -> CacheStore | None:
        """Return the storage, opened; None while it is left alone.

        :raises ConfigurationError: if its URL cannot work
        """
        if self._opened is not None and self._paused_until == float("-inf"):
            return self._opened
        async with self._opening:
            if asyncio.get_running_loop().time() < self._paused_until:
                return None
            self._paused_until = float("-inf")
            if self._opened is None:
                try:
                    self._opened = await anext(self._life)
                except ConfigurationError:
                    raise
                except Exception as error:  # noqa: BLE001 - as above
                    self._pause(error)
                finally:
                    if self._opened is None:
                        self._life = _life(self._storage)
            return self._opened

    def _pause(self, error: Exception) -> None:
        self._paused_until = asyncio.get_running_loop().time() + PAUSE_SECONDS
        self._failed(error)


async def _life(storage: str | CacheStore) -> AsyncGenerator[CacheStore, None]:
    if not isinstance(storage, str):
        yield storage
        return
    from aeval.storage import open_storage

    opened = open_storage(storage)
    # An event loop closes the asynchronous generators that were started in it before it is closed itself, and
    # one that is dropped while the loop runs: so whoever forgets `aclose()` leaves no storage open.
    try:
        await opened.open()
        yield opened
    finally:
        await opened.aclose()
