"""VirtualClockLoop: an event loop whose clock jumps over the time in which nothing happens.

What waits, waits for nothing: `asyncio.sleep`, `anyio.sleep`, timeouts, limiters. A test of a night's run takes
as long as its computing.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, Unpack
from weakref import WeakSet

from aeval.errors import AevalError, ConfigurationError
from aeval.monitor import MonitorThread

__all__ = ["VirtualClockLoop", "VirtualDeadlock", "run_virtual"]

T = TypeVar("T")
ArgsT = TypeVarTuple("ArgsT")

# Selectors cannot count the milliseconds of a wait of months.
_LONGEST_WAIT = 3600.0
# Timers that are set for the very moment in which they fire, one after another, before the clock moves by itself.
_MOST_AT_ONCE = 100
_NANOSECOND = 1e-9


class VirtualDeadlock(AevalError, RuntimeError):
    """Everything waits, and nothing is left that could happen."""


def run_virtual(
    async_fn: Callable[[Unpack[ArgsT]], Coroutine[Any, Any, T]],
    *args: *ArgsT,
    grace: float = 0.02,
    patience: float = 10.0,
) -> T:
    """Run an async function on a `VirtualClockLoop` of its own.

    :param async_fn: the function
    :param args: its arguments
    :param grace: see `VirtualClockLoop`
    :param patience: see `VirtualClockLoop`
    :return: what the function returns
    :raises VirtualDeadlock: if everything waits and nothing can happen any more
    """
    with asyncio.Runner(loop_factory=partial(VirtualClockLoop, grace=grace, patience=patience)) as runner:
        return runner.run(async_fn(*args))


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock starts at 0 and jumps to the next timer when nothing else can happen.

    Use it with `run_virtual`, with `asyncio.Runner(loop_factory=VirtualClockLoop)`, or with
    `anyio.run(main, backend_options={"loop_factory": VirtualClockLoop})`.

    While tasks compute, the clock stands still. What comes from outside of the loop takes real time, and the clock
    cannot know how long. Before it jumps, therefore, the loop waits:

    - where calls are at work in worker threads (`anyio.to_thread`, `asyncio.to_thread`, `run_in_executor`): `grace`
      seconds for one to end, in which the clock stands still; and then for as long as they take, while the clock
      runs as fast as the real one. No timeout fires because a thread computes, unless it would in reality.
    - where sockets or other file descriptors are watched, or where other threads were started since the loop was
      made: `grace` seconds. A peer that answers later than that is slower than any timer: serve such tests in
      process, or give more grace.

    :param grace: real seconds to wait for what is outside before the clock jumps
    :param patience: real seconds to wait for what is outside where no timer is set, before a `VirtualDeadlock`;
        where nothing is outside it is raised at once; infinity waits without end
    :raises ConfigurationError: if one of them is below 0
    """

    # Of the base loop, which tells them to no one else.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float

    def __init__(self, *, grace: float = 0.02, patience: float = 10.0) -> None:
        self._now = 0.0
        self._timers_at_once = 0
        self._grace = grace
        self._patience = patience
        self._calls_outside = 0
        self._known_threads = set(threading.enumerate())
        self._executor_threads: WeakSet[threading.Thread] = WeakSet()
        selector = _JumpingSelector(self)
        super().__init__(selector)
        self._files = selector.get_map()
        self._own_files = len(self._files)
        for name, seconds in (("grace", grace), ("patience", patience)):
            if not seconds >= 0:
                self.close()
                raise ConfigurationError(f"{name}={seconds!r} of a virtual clock must be 0 seconds or more")

    def time(self) -> float:
        """Tell the virtual time, in seconds since the loop was made."""
        return self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[ArgsT]], T], *args: *ArgsT
    ) -> asyncio.Future[T]:
        """Call a function in a thread or process; the clock does not jump until it returns."""

        def noting_thread(*args: *ArgsT) -> T:
            self._executor_threads.add(threading.current_thread())
            return func(*args)

        # What goes to a process must be picklable, which this function within a function is not.
        in_thread = executor is None or isinstance(executor, ThreadPoolExecutor)
        future = super().run_in_executor(executor, noting_thread if in_thread else func, *args)
        self._calls_outside += 1
        future.add_done_callback(self._call_returned)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the default executor's threads to end; the clock does not jump until they have."""
        self._calls_outside += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._calls_outside -= 1

    def _call_returned(self, _: asyncio.Future[Any]) -> None:
        self._calls_outside -= 1

    def wait_or_jump(self, select: Callable[[float], list[Any]]) -> list[Any]:
        """Wait for I/O, or jump: called when nothing is ready.

        :param select: waits for I/O, so many real seconds
        """
        if ready := select(0):
            return ready
        timer = self._scheduled[0].when() if self._scheduled else math.inf
        working, others = self._threads()
        outside = working or others or len(self._files) > self._own_files
        if outside and (ready := select(self._grace)):
            return ready
        if working:
            return self._run_with_real_time(select, timer)
        if math.isfinite(timer):
            self._jump(timer)
            return []
        if outside and (
            (ready := select(min(self._patience, _LONGEST_WAIT))) or self._patience > _LONGEST_WAIT
        ):
            return ready
        raise VirtualDeadlock(self._describe_deadlock(waited=outside))

    def _run_with_real_time(self, select: Callable[[float], list[Any]], timer: float) -> list[Any]:
        began = time.monotonic()
        ready = select(min(timer - self._now, _LONGEST_WAIT))
        self._jump(min(timer, self._now + time.monotonic() - began))
        return ready

    def keep_moving(self) -> None:
        """Move the clock by a nanosecond where timers are set for now again and again.

        So does aiolimiter when a rounding error is all that it lacks: on a real clock that time passes meanwhile.
        """
        if not self._ready:
            self._timers_at_once += 1
            if self._timers_at_once > _MOST_AT_ONCE:
                self._jump(max(self._now + _NANOSECOND, math.nextafter(self._now, math.inf)))

    def _jump(self, moment: float) -> None:
        self._timers_at_once = 0
        self._now = moment
        # The base loop runs the timers that are due within the clock's resolution, which late in a long
        # run must not be finer than a float can tell.
        self._clock_resolution = max(self._clock_resolution, 2 * math.ulp(moment))

    def _threads(self) -> tuple[bool, bool]:
        """Tell whether a worker thread is at work for this loop, and whether other threads may wake it."""
        working, others = self._calls_outside > 0, False
        mine = threading.current_thread()
        thread: Any
        for thread in threading.enumerate():
            if getattr(thread, "loop", None) is self and hasattr(thread, "idle_workers"):
                # anyio hands work to its threads without telling the loop: those that are not idle work.
                working = working or (thread in thread.workers and thread not in thread.idle_workers)
            elif isinstance(thread, MonitorThread):
                continue  # it looks on, and nobody waits for it
            elif not (thread is mine or thread in self._known_threads or thread in self._executor_threads):
                others = True
        return working, others

    def _describe_deadlock(self, *, waited: bool) -> str:
        tasks = sorted(f"{task.get_name()} at {_place(task)}" for task in asyncio.all_tasks(self))
        shown = "; ".join(tasks[:5]) + (f"; and {len(tasks) - 5} more" if len(tasks) > 5 else "")
        outside = f" and nothing came from outside in {self._patience:g} real seconds" if waited else ""
        return (
            f"nothing can happen any more at virtual time {self._now:g}: no task is ready, no timer is set,"
            f"{outside or ' and no thread or socket is left that could wake the loop'}. "
            f"Waiting: {shown or 'no task'}"
        )


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that leaves it to its loop how to wait."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            self._loop.keep_moving()
            return super().select(0)
        return self._loop.wait_or_jump(super().select)


def _place(task: asyncio.Task[Any]) -> str:
    """Tell where a task waits: the innermost line that is not of asyncio or anyio."""
    coroutine: Any = task.get_coro()
    place = repr(coroutine)
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("asyncio", "anyio"):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        coroutine = coroutine.cr_await
    return place
