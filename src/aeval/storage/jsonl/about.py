"""What a file says of its run, in lines of its own and in a file beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import attrs
import msgspec

from aeval.errors import StorageVersionError
from aeval.storage.base import StoredRun
from aeval.storage.codec import decode_value, encode_value

__all__ = ["BLOCK", "FORMAT", "first_line", "identified", "newer", "read_run", "run_line", "sidecar_of"]

# The version of how the folder and its files are laid out.
FORMAT: Final = 1
# How much is read at once.
BLOCK: Final = 1 << 20
_START: Final = b'{"run"'


def newer(path: Path, version: object) -> StorageVersionError:
    """Return the error for what a later version of aeval wrote."""
    return StorageVersionError(
        f"{str(path)!r} has the format {version}, and this aeval knows formats up to {FORMAT}: upgrade aeval, or give "
        "another folder; nothing was changed"
    )


def run_line(run: StoredRun) -> bytes:
    """Write a run as a line."""
    fields = attrs.asdict(run)
    # What it is known by comes first.
    about = {name: fields.pop(name) for name in ("key", "version", "experiment", "evaluation", "number")}
    return encode_value({"run": {"format": FORMAT, **about, **fields}}) + b"\n"


def sidecar_of(path: Path) -> Path:
    """Return where a run's latest fields are, of which its own file has only what should outlive it."""
    return path.with_suffix(".run.json")


def read_run(path: Path, experiment: str) -> StoredRun | None:
    """Read what a run's file and the one beside it say of the run.

    :return: the run; None if this is no run's file, or none any more
    :raises StorageVersionError: if a later version of aeval wrote it
    """
    try:
        with path.open("rb") as file:
            first, run = identified(file.fileno(), path)
            if run is None:
                return None
            latest = _sidecar(path)
            if latest is None or latest.key != run.key:
                latest = _last_of(file.fileno(), path) if first else run
    except (FileNotFoundError, IsADirectoryError):
        return None
    return attrs.evolve(latest or run, experiment=experiment)


def identified(fd: int, path: Path) -> tuple[bytes, StoredRun | None]:
    """Return a file's first line, and the run that it is of, by whatever of it is not damaged.

    :raises StorageVersionError: if a later version of aeval wrote it
    """
    first = first_line(fd)
    run = _parsed(first, path) or _sidecar(path)
    return first, run or (_last_of(fd, path) if first else None)


def _parsed(line: bytes, path: Path) -> StoredRun | None:
    try:
        fields = decode_value(line)["run"]
        version = fields["format"]
        if version > FORMAT:
            raise newer(path, version)
        return msgspec.convert(fields, StoredRun)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return None


def first_line(fd: int) -> bytes:
    """Return the first line, of a file that may be a run's; else nothing."""
    os.lseek(fd, 0, os.SEEK_SET)
    text = os.read(fd, 1 << 16)
    if not text.startswith(_START):
        return b""
    while b"\n" not in text and (more := os.read(fd, BLOCK)):
        text += more
    return text.partition(b"\n")[0]


def _sidecar(path: Path) -> StoredRun | None:
    beside = sidecar_of(path)
    try:
        return _parsed(beside.read_bytes(), beside)
    except FileNotFoundError:
        return None


def _last_of(fd: int, path: Path) -> StoredRun | None:
    """Return what the last one of a file's lines that describe the run says."""
    mark = b"\n" + _START
    end = os.fstat(fd).st_size
    # By reading, not by mapping: whoever takes back a line meanwhile would end this process.
    while end > 0:
        start = max(0, end - BLOCK)
        os.lseek(fd, start, os.SEEK_SET)
        text = os.read(fd, end - start + len(mark) - 1)  # it may lie across two blocks
        place = text.rfind(mark)
        while place >= 0:
            found = _parsed(_line_at(fd, start + place + 1), path)
            if found is not None:
                return found
            place = text.rfind(mark, 0, place)
        end = start
    return _parsed(_line_at(fd, 0), path)


def _line_at(fd: int, start: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        file.seek(start)
        return file.readline()
