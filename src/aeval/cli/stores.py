"""Opening the storage that a command is about."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aeval.errors import ConfigurationError
from aeval.storage.storage import DEFAULT_URL, Storage, open_storage

__all__ = ["checked", "existing", "make_folder", "with_storage"]

FOLDER = Path(".aeval")


def checked(url: str | None) -> Storage:
    """Return a storage that something was written to, which is not open yet.

    :raises ConfigurationError: if there is none
    """
    storage = open_storage(url)
    if not storage.exists():
        hint = "; give another one with --storage, or go to the folder of the run" if url is None else ""
        raise ConfigurationError(f"there is no storage at {storage.url!r}: nothing was run with it yet{hint}")
    return storage


@asynccontextmanager
async def existing(url: str | None) -> AsyncIterator[Storage]:
    """Open a storage that something was written to, without making one.

    :raises ConfigurationError: if there is none
    """
    async with checked(url) as storage:
        yield storage


def make_folder(url: str | None) -> None:
    """Make the folder of the default storage, and keep it out of version control."""
    if url in {None, DEFAULT_URL} and not FOLDER.exists():
        # What stands in the way of the folder is said when the storage is opened.
        with suppress(OSError):
            FOLDER.mkdir()
            (FOLDER / ".gitignore").write_text("*\n")


def with_storage(command: list[str], url: str | None) -> str:
    """Return a command as it is typed, with the storage that it is about.

    :param url: as it was given; a password in it is left out
    """
    if url is not None:
        command = [*command, "--storage", open_storage(url).url if url.startswith("postgres") else url]
    return shlex.join(command)
