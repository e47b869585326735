"""Where a run comes from: what code ran, of which version, started how."""

from __future__ import annotations

import hashlib
import inspect
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from anyio import to_thread

from aeval.storage.base import Session

__all__ = ["git_state", "session_of", "source_of"]

GIT_SECONDS = 5.0


def session_of(*, dataset: str | None, source: str | None) -> Session:
    """Return what is known of this process at once."""
    try:
        installed = version("aeval")
    except PackageNotFoundError:  # it runs from a folder of sources
        installed = "unknown"
    return Session(
        started=time.time(),
        aeval=installed,
        python=platform.python_version(),
        command_line=shlex.join(_without_secrets(_arguments())),
        dataset=dataset,
        source=source,
    )


def _arguments() -> list[str]:
    # Of the command, what was typed, and not where it was found.
    if Path(sys.argv[0]).stem == "aeval":
        return ["aeval", *sys.argv[1:]]
    return sys.orig_argv


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def source_of(calls: Iterable[Callable[..., Any]]) -> str:
    """Return a digest of the source of some callables, or of their compiled code where there is none."""
    digest = hashlib.sha256()
    for call in calls:
        digest.update(_text_of(call).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


def _text_of(call: Any) -> str:
    while isinstance(call, partial):
        call = call.func
    for source in (call, type(call)):
        try:
            return inspect.getsource(source)
        except Exception:  # noqa: BLE001, S110 - no file, or one that somebody is editing: then its code will do
            pass
    code = getattr(call, "__code__", None)
    if code is None:
        return type(call).__qualname__
    # The code of a function inside of it has an address in its repr, which is another one in each process.
    return _ADDRESS.sub("", repr((code.co_code, code.co_consts, code.co_names)))


def _without_secrets(arguments: Iterable[str]) -> list[str]:
    """Leave out what looks like a password or a key."""
    shown: list[str] = []
    hide = False
    for argument in arguments:
        if hide:
            shown.append("***")
        else:
            for pattern, safe in _SECRETS:
                argument = pattern.sub(safe, argument)
            shown.append(argument)
        hide = not hide and _OPTION.fullmatch(argument) is not None
    return shown


# Names of what is secret; `max_tokens` is not.
_NAME = r"(?<![\w.-])[\w.-]*(?:key|token(?!s)|secret|password)[\w.-]*"
_OPTION = re.compile(rf"(?=-){_NAME}", re.IGNORECASE)
# Values of such names, what stands before a URL's host, and keys as providers give them out.
_SECRETS = (
    (re.compile(rf"({_NAME}=)[^\s&]+", re.IGNORECASE), r"\1***"),
    (re.compile(r"(\w://)\S*@"), r"\1***@"),
    (re.compile(r"(\bbearer\s+)\S+", re.IGNORECASE), r"\1***"),
    (re.compile(r"\bsk-[\w-]+"), "***"),
)


async def git_state() -> tuple[str | None, bool | None]:
    """Return the commit of the working directory, and whether there are changes beside it.

    :return: None and None where there is no repository, or no git; None for the changes where to tell them
        takes too long
    """
    return await to_thread.run_sync(_git_state, abandon_on_cancel=True)


def _git_state() -> tuple[str | None, bool | None]:
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no") if commit is not None else None
    return commit or None, None if changes is None else bool(changes)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - of constants
            ["git", "--no-optional-locks", *arguments],  # noqa: S607 - the git that is in the path
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
