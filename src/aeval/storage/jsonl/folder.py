"""Folder: the folder of a storage, and which of those in it belongs to which experiment."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final

from aeval.errors import ConfigurationError, StorageError
from aeval.storage.jsonl.about import FORMAT, newer, sidecar_of
from aeval.storage.jsonl.disk import fix_of, locked, replace_file, sync_folder
from aeval.storage.jsonl.names import chosen, is_marked, matches, unquoted

__all__ = ["ENDING", "Folder", "entries", "experiment_of", "has_runs", "tidy"]

ENDING: Final = ".jsonl"

log = logging.getLogger("aeval")


class Folder:
    """The folder of a storage. For one thread at a time.

    :param root: where it is
    :param url: which storage it is, for messages
    :param sync: have changes on the disk before returning
    """

    def __init__(self, root: Path, url: str, *, sync: bool) -> None:
        self.root = root
        self._url = url
        self._sync = sync
        self._about = root / "aeval.json"

    def make(self) -> None:
        """Make it, if it is not there.

        :raises ConfigurationError: if it cannot be a folder
        :raises StorageVersionError: if a later version of aeval wrote to it
        """
        for path in (self.root, *self.root.parents):
            if path.exists():
                if not path.is_dir():
                    raise ConfigurationError(
                        f"the storage {self._url!r} cannot be a folder: {str(path)!r} is a file; give another path"
                    )
                break
        self._last_key()
        if not self._about.exists():
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                with self.locked():
                    if not self._about.exists():
                        self._keep_last_key(0)
            except OSError as error:
                raise StorageError(
                    f"the folder of the storage {self._url!r} cannot be written to: {error}: {fix_of(error, 'make it writable, or give another path')}"
                ) from error

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from adding, changing, renaming and deleting runs."""
        return locked(self.root / ".lock")

    # Keys.

    def new_key(self) -> int:
        """Return a key for a run, greater than all before."""
        # Keys of folders that were made apart differ, so that their experiments may be moved into one.
        key = max(self._last_key() + 1, time.time_ns() // 1000)
        self._keep_last_key(key)
        return key

    def _last_key(self) -> int:
        try:
            fields = json.loads(self._about.read_bytes())
            version, key = fields["format"], int(fields.get("key", 0))
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("%s: it is damaged, and will be written anew", self._about)
            return 0
        if not isinstance(version, int) or version > FORMAT:
            raise newer(self._about, version)
        return key

    def _keep_last_key(self, key: int) -> None:
        text = json.dumps({"format": FORMAT, "key": key}).encode()
        replace_file(self._about, text + b"\n", sync=self._sync)

    # Experiments.

    def experiments(self) -> Iterator[tuple[str, Path]]:
        """Give the names of what may be experiments, with their folders; see `has_runs`."""
        for path in self._folders():
            yield experiment_of(path), path

    def find(self, experiment: str) -> Path | None:
        """Return an experiment's folder, if it has runs."""
        return next((path for path in self._named(experiment) if has_runs(path)), None)

    def add(self, experiment: str) -> Path:
        """Make a folder for an experiment that has no runs."""
        path = self._free(experiment)
        path.mkdir()
        self._label(path, path, experiment)
        self._settle()
        return path

    def rename(self, path: Path, name: str) -> None:
        """Give an experiment another name, which no other one has."""
        renamed = self._free(name)
        self._label(path, renamed, name)
        path.rename(renamed)
        if is_marked(path.name):
            (renamed / _label_of(path).name).unlink(missing_ok=True)
        self._settle()

    def _folders(self) -> Iterator[Path]:
        return (path for path in entries(self.root) if not path.name.startswith(".") and path.is_dir())

    def _named(self, experiment: str) -> Iterator[Path]:
        return (path for path in self._folders() if matches(path.name, experiment))

    def _free(self, experiment: str) -> Path:
        for path in self._named(experiment):
            tidy(path)
        return self.root / chosen(experiment, "", (path.name for path in entries(self.root)))

    def _label(self, folder: Path, path: Path, experiment: str) -> None:
        """Write down a name that cannot be read from its folder's."""
        if is_marked(path.name):
            text = json.dumps({"name": experiment}).encode()
            replace_file(folder / _label_of(path).name, text, sync=self._sync)

    def _settle(self) -> None:
        if self._sync:
            sync_folder(self.root)


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder, if it is there."""
    try:
        return [folder / name for name in os.listdir(folder)]  # noqa: PTH208 - it is read whole before any is changed
    except FileNotFoundError:
        return []


def has_runs(folder: Path) -> bool:
    """Tell whether there are files of runs in a folder."""
    return any(_is_run(path) for path in entries(folder) if path.suffix == ENDING)


def _is_run(path: Path) -> bool:
    with suppress(FileNotFoundError, IsADirectoryError), path.open("rb") as file:
        return file.read(6) == b'{"run"' or sidecar_of(path).exists()
    return False


def experiment_of(folder: Path) -> str:
    """Return the name of the experiment that a folder is for."""
    if is_marked(folder.name):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(_label_of(folder).read_bytes())["name"])
    return unquoted(folder.name)


def _label_of(folder: Path) -> Path:
    return folder / f"{folder.name.rpartition('~')[2]}.name"


def tidy(folder: Path) -> None:
    """Remove an experiment's folder, if there is nothing in it."""
    if not any(_is_run(path) for path in entries(folder)):
        if is_marked(folder.name):
            _label_of(folder).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
