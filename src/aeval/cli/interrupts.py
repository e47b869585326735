"""What Ctrl-C and SIGTERM do to a run: once, it stops; twice, the process does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any, NoReturn

from aeval.cli.messages import INTERRUPTED, TERMINATED, say
from aeval.stream import Run

__all__ = ["Interrupts", "exit_now"]

# How long the samples in flight may take to finish, in seconds.
GRACE = 3.0
_CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}


class Interrupts:
    """Stops a run at the first signal, and ends the process at the second.

    :param last_words: what to print before the process ends at the second
    :ivar code: the exit code for the first signal that came; 0 where none did
    """

    def __init__(self, made: Run[Any, Any], last_words: str = "") -> None:
        self.code = 0
        self._run = made
        self._last_words = last_words
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        # Not handlers of the loop's: those would wait for a loop which is blocked.
        self._before = {number: signal.signal(number, self._signalled) for number in _CODES}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _signalled(self, number: int, _: object) -> None:
        if self.code:
            if self._last_words:
                # The process may be in the middle of printing, which cannot be begun twice.
                os.write(2, f"{self._last_words}\n".encode(errors="backslashreplace"))
            exit_now(self.code)
        self.code = _CODES[signal.Signals(number)]
        self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        self._run.stop()
        again = " Ctrl-C again ends at once." if self.code == INTERRUPTED else ""
        say(f"\nStopping: {self._run.stats.in_flight} in flight have {GRACE:.0f} s to finish.{again}")
        self._loop.call_later(GRACE, self._run.cancel)


def exit_now(code: int) -> NoReturn:
    """End the process, whatever its threads are doing."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
