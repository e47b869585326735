"""Monitor: a thread beside a run that notices a blocked loop, and paints the progress.

It is a thread since a blocked loop cannot notice itself, and since writing to a terminal may block.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from types import CodeType, FrameType
from typing import Protocol

import attrs
from anyio import CapacityLimiter, to_thread

__all__ = ["Display", "LoopBlockedWarning", "Monitor"]

TICK = 0.02
BLOCKED_AFTER = 0.1


class LoopBlockedWarning(UserWarning):
    """The event loop was blocked, so that nothing else of the run could go on."""


class Display(Protocol):
    """What shows a run's progress."""

    interval: float
    """Seconds between two paintings."""

    def paint(self, *, last: bool) -> None:
        """Show how far the run is. Called from a thread."""
        ...


class MonitorThread(threading.Thread):
    """The thread of a monitor, which can be told from those that work."""


class Monitor:
    """Watch a run's loop from a thread of its own.

    :param names: the evaluations' names
    :param place: given a frame of the loop's thread, tells which evaluation it belongs to, if any
    :param display: what shows the progress; None for nothing
    """

    def __init__(
        self, names: Sequence[str], place: Callable[[FrameType], str | None], display: Display | None = None
    ) -> None:
        self._names = names
        self._place = place
        self._display = display
        self._stop = threading.Event()
        self._thread: MonitorThread | None = None
        self._reported: set[str | None] = set()
        self._answered = True

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch the running loop; called from its thread."""
        watched = threading.get_ident()
        context = copy_context()  # a notebook's output finds its cell by it
        self._thread = MonitorThread(
            target=partial(context.run, self._watch, loop, watched), name="aeval monitor", daemon=True
        )
        self._thread.start()

    async def aclose(self) -> None:
        """Paint for the last time, and wait for the thread's end."""
        if self._thread is not None:
            self._stop.set()
            await to_thread.run_sync(self._thread.join, limiter=CapacityLimiter(1))
            self._thread = None

    def _watch(self, loop: asyncio.AbstractEventLoop, watched: int) -> None:
        asked = painted = ticked = time.monotonic()
        # Who held the loop while it did not answer, and for how many ticks: one after another may have.
        culprits: dict[str | None, tuple[_Culprit, int]] = {}
        while not self._stop.wait(TICK):
            now = time.monotonic()
            if not loop.is_running():  # a prompt that was interrupted goes on with it some other time
                asked = painted = ticked = now
                culprits.clear()
                continue
            late, ticked = now - ticked > 2 * TICK, now
            if self._answered:
                self._report(loop, culprits, now - asked)
                culprits.clear()
                asked, self._answered = now, False
                try:
                    loop.call_soon_threadsafe(self._answer)
                except RuntimeError:
                    return  # the loop was closed under the run
            # Where this thread came late itself, the machine was busy, and the loop need not be blocked.
            elif not late and now - asked > BLOCKED_AFTER - TICK:
                found = self._find(watched)
                if found is not None:
                    first, ticks = culprits.get(found.evaluation, (found, 0))
                    culprits[found.evaluation] = first, ticks + 1
            if self._display is not None and now - painted >= self._display.interval:
                painted = now
                self._paint(last=False)
        self._report(loop, culprits, time.monotonic() - asked)
        self._paint(last=True)

    def _paint(self, *, last: bool) -> None:
        if self._display is not None:
            try:
                self._display.paint(last=last)
            except Exception:  # noqa: BLE001 - a stream that was closed under the run must not end its watch
                self._display = None

    def _answer(self) -> None:
        self._answered = True

    def _find(self, watched: int) -> _Culprit | None:
        """Return whose code holds the loop: the evaluation, and the innermost place outside of Python's own library."""
        frame = sys._current_frames().get(watched)  # noqa: SLF001 - the one way to look at another thread
        innermost: tuple[str, int, str] | None = None
        own = __file__.rpartition("monitor.py")[0]
        if frame is not None and frame.f_code.co_filename == selectors.__file__:
            return None  # the loop waits for something to do: it was late for want of a processor
        while frame is not None:
            place = frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
            evaluation = self._place(frame)
            if evaluation is not None:
                if evaluation not in self._names:
                    return None  # another run's, whose own monitor sees it
                return _Culprit(evaluation, *(innermost or place))
            if (
                innermost is None
                and not place[0].startswith((own, _LIBRARY))
                and "site-packages" not in place[0]
            ):
                innermost = place
            frame = frame.f_back
        return None if innermost is None else _Culprit(None, *innermost)

    def _report(
        self, loop: asyncio.AbstractEventLoop, culprits: dict[str | None, tuple[_Culprit, int]], blocked: float
    ) -> None:
        """Warn of those who held the loop too long, each once."""
        for culprit, ticks in culprits.values():
            seconds = blocked if len(culprits) == 1 else ticks * TICK
            if seconds < BLOCKED_AFTER or culprit.evaluation in self._reported:
                continue
            self._reported.add(culprit.evaluation)
            if culprit.evaluation is not None:
                whose = f"evaluation {culprit.evaluation!r}"
            else:
                whose = f"code beside the evaluation {', '.join(map(repr, self._names))}"
            message = (
                f"{whose} blocked the event loop for {seconds:.2f} s, in {culprit.function}: meanwhile no other sample "
                "could go on. Await an async call there, or make the function sync: aeval runs those in threads"
            )
            place = culprit.filename, culprit.line
            loop.call_soon_threadsafe(
                partial(warnings.warn_explicit, message, LoopBlockedWarning, *place, registry={})
            )


@attrs.frozen
class _Culprit:
    """Code that holds the loop: of which evaluation, if of any, and where."""

    evaluation: str | None
    filename: str
    line: int
    function: str


_LIBRARY = asyncio.__file__.rpartition("asyncio")[0]


def frame_finder(code: CodeType, find: Callable[[FrameType], str | None]) -> Callable[[FrameType], str | None]:
    """Return a function that finds the evaluation of a frame, if the frame runs a certain code."""
    return lambda frame: find(frame) if frame.f_code is code else None
