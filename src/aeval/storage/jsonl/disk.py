"""Files, so that no crash leaves half of a change: locks, replacements, appends."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["append", "fix_of", "lock", "locked", "replace_file", "sync_folder", "unlock"]

# How long to wait for a file that another program has locked, in seconds.
PATIENCE = 30.0

if sys.platform == "win32":
    import msvcrt

    # Windows locks bytes, and nobody else may touch them meanwhile: one that no file has.
    _PLACE = 1 << 62

    def lock(fd: int, *, shared: bool = False) -> None:  # noqa: ARG001 - there are no shared locks
        """Wait until no other process, and no other opening of the file, has locked it."""
        while True:
            os.lseek(fd, _PLACE, os.SEEK_SET)
            with suppress(OSError):  # it gives up after ten seconds
                msvcrt.locking(fd, msvcrt.LK_LOCK, 1)
                return

    def unlock(fd: int) -> None:
        """Let others lock it."""
        os.lseek(fd, _PLACE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def lock(fd: int, *, shared: bool = False) -> None:
        """Wait until no other process, and no other opening of the file, has locked it.

        :param shared: others may lock it as well that share it too
        :raises TimeoutError: if somebody keeps it for longer than `PATIENCE`
        """
        until, pause = time.monotonic() + PATIENCE, 0.001
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(f"another program has kept it locked for {PATIENCE:g} s") from None
            else:
                return
            time.sleep(pause)
            pause = min(0.05, 2 * pause)

    def unlock(fd: int) -> None:
        """Let others lock it."""
        fcntl.flock(fd, fcntl.LOCK_UN)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if it is not there."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock(fd)
        try:
            yield
        finally:
            unlock(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes, *, sync: bool) -> None:
    """Write a whole file: whoever reads it meanwhile finds the former one, or this one.

    :param sync: have it on the disk before returning
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}~")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk, where the system allows it."""
    if sys.platform != "win32":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def append(fd: int, end: int, data: bytes, *, sync: bool) -> None:
    """Write at a file's end, or leave it as it was.

    :param fd: opened with `O_APPEND`, and locked
    :param end: the file's length
    :param sync: have it on the disk before returning
    """
    try:
        written = os.write(fd, data)
        # A full disk takes a part, and refuses the rest.
        while written < len(data):
            written += os.write(fd, memoryview(data)[written:])
        if sync:
            os.fsync(fd)
    except BaseException:
        os.ftruncate(fd, end)
        raise


_FULL = "free some space, and run again with the same experiment to go on"
_CLOSED = "make the folder and its files writable, or give another --storage"
_LOOK = "look at the folder, and run again with the same experiment to go on"
_FIXES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EROFS: _CLOSED,
}


def fix_of(error: Exception, otherwise: str = _LOOK) -> str:
    """Return what to do about an error of the file system's, or of the index's.

    :param otherwise: what to do about one that says nothing of itself
    """
    if isinstance(error, sqlite3.Error):
        return "free some space in the folder for temporary files, or set SQLITE_TMPDIR to another one"
    if isinstance(error, TimeoutError):
        return "close that program, and run again with the same experiment to go on"
    return _FIXES.get(getattr(error, "errno", None) or 0, otherwise)
