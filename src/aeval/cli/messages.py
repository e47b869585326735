"""What the command line says beside its results, and the codes that it exits with."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import click

from aeval.errors import AevalError, ConfigurationError, RunInProgress, StorageVersionError

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "MISUSED",
    "TERMINATED",
    "call",
    "code_of",
    "complain",
    "confirmed",
    "say",
    "show_log",
]

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130
TERMINATED: Final = 143


def say(text: object) -> None:
    """Print what is not the result of the command, beside it."""
    print(text, file=sys.stderr)  # noqa: T201 - what is not the result goes to stderr


def complain(error: object, code: int) -> int:
    """Print what is wrong, and return the exit code."""
    say(f"aeval: {error}")
    return code


def code_of(error: AevalError) -> int:
    """Return the exit code for an error: whether the command cannot be run, or failed in the middle."""
    misuse = isinstance(error, (ConfigurationError, RunInProgress, StorageVersionError))
    return MISUSED if misuse else FAILED


def call(command: Callable[[], Awaitable[int | None]]) -> int:
    """Run a command that looks at a storage, and return its exit code."""
    try:
        code = anyio.run(command) or 0
        sys.stdout.flush()
    except AevalError as error:
        return complain(error, code_of(error))
    except BrokenPipeError:
        return _close_quietly()
    except OSError as error:
        return complain(f"the output cannot be written: {error}", FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _close_quietly() -> int:
    """Take it that whoever reads the output has seen enough."""
    # Python would flush what is left at its exit, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask whether to go on.

    :param yes: whether it was said beforehand
    :raises ConfigurationError: if nobody can be asked
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} There is no terminal to ask on: give --yes to say so beforehand")
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        raise KeyboardInterrupt from None


class _OnStderr(logging.Handler):
    """Shows what the library logs as lines of the command line's own."""

    def emit(self, record: logging.LogRecord) -> None:
        # To what stderr is by now: the bar of a run's progress makes room for what is printed to it.
        say(f"aeval: {record.getMessage()}")


def show_log() -> None:
    """Show what the library warns of on stderr."""
    log = logging.getLogger("aeval")
    if not any(isinstance(handler, _OnStderr) for handler in log.handlers):
        log.addHandler(_OnStderr(logging.WARNING))
        # Where a user's file sets up logging of its own, lines come once.
        log.propagate = False
