"""Programs that run evaluations in processes of their own, to be killed."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Child"]

PROGRAMS = Path(__file__).parent / "programs"
# Nothing here takes that long unless it hangs.
DEADLINE = 60.0


class Child:
    """A process that runs `programs/sums.py`, or another of the programs.

    :param plan: what it is to do, as for the program
    :ivar said: the lines that it has written and that were taken, parsed
    """

    def __init__(self, plan: dict[str, Any], *, program: str = "sums.py") -> None:
        self.begun = time.monotonic()
        self.said: list[list[Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", PROGRAMS / program, json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._lines: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()
        self._errors: list[bytes] = []
        self._threads = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def errors(self) -> str:
        """What it wrote to its standard error, once it has ended."""
        return b"".join(self._errors).decode(errors="replace")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors += self.process.stderr

    def line(self, seconds: float = DEADLINE) -> list[Any] | None:
        """Take the next line; None at the end, or if there is none within that time."""
        try:
            line = self._lines.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if line is None:
            self._lines.put(None)
            return None
        self.said.append(line)
        return line

    def until(self, kind: str, count: int = 1) -> bool:
        """Take lines until so many of a kind came; False at the end."""
        while count:
            line = self.line()
            if line is None:
                return False
            count -= line[0] == kind
        return True

    def read_for(self, seconds: float) -> None:
        """Take the lines of that time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and (
            self.line(end - time.monotonic()) is not None or self.process.poll() is None
        ):
            pass

    def go_on(self) -> None:
        """End its standard input, for which some of its samples wait."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> int:
        """Kill it, and take what it had written; return its code."""
        self.process.kill()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, and take what it has written; return its code."""
        code = self.process.wait(DEADLINE)
        for thread in self._threads:
            thread.join(DEADLINE)
        while self.line(0) is not None:
            pass
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code

    def results(self) -> list[tuple[str, str, int, float | None]]:
        """Return what it said of results: evaluation, id, repeat, value."""
        return [(line[1], line[2], line[3], line[4]) for line in self.said if line[0] == "result"]

    def last(self, kind: str) -> list[Any]:
        """Return the last line of a kind, without the kind."""
        return next((line[1:] for line in reversed(self.said) if line[0] == kind), [])
