"""Sync callables off the loop: in worker threads, or in worker processes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial, wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_process, to_thread

from aeval.context import own_desk
from aeval.errors import ConfigurationError
from aeval.middleware.slots import Slots

__all__ = ["Threads", "in_process", "is_async"]

P = ParamSpec("P")
R = TypeVar("R")


def is_async(call: Callable[..., Any]) -> bool:
    """Tell whether calling it gives a coroutine: an async function, a partial of one, or an object with an
    async `__call__`.
    """
    while isinstance(call, partial):
        call = call.func
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


class Threads:
    """Worker threads for sync callables, at most so many at once.

    A thread cannot be stopped. One whose call was given up (its timeout passed, or its run was cancelled)
    keeps its place until it ends by itself, so that however many are given up, there are never more than
    the limit.

    :param limit: threads at once
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.abandoned = 0
        self._slots = Slots(limit)

    async def run(self, call: Callable[[], Any]) -> Any:
        """Run a call in a thread.

        :param call: what to call
        :return: what it returned; if that is an awaitable, what came of awaiting it
        """
        if self._slots.free:
            self._slots.free -= 1
        else:
            await self._slots.wait()
        visit = _Visit(call, self)
        try:
            # The limiter is no limit: anyio's would count a place as free while its thread still works.
            with own_desk():
                returned = await to_thread.run_sync(
                    visit, abandon_on_cancel=True, limiter=CapacityLimiter(float("inf"))
                )
        except asyncio.CancelledError:
            visit.abandon()
            raise
        finally:
            visit.leave_unstarted()
        return await returned if inspect.isawaitable(returned) else returned

    def end(self, *, abandoned: bool) -> None:
        """Take back a place whose thread is done with its call."""
        self.abandoned -= abandoned
        self._slots.release()


class _Visit:
    """One call's visit to a thread: gives the place back once, whoever is last to leave."""

    def __init__(self, call: Callable[[], Any], threads: Threads) -> None:
        self._call = call
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._lock = Lock()
        self._state = "waiting"
        self._abandoned = False

    def __call__(self) -> Any:
        with self._lock:
            if self._state != "waiting":
                return None
            self._state = "working"
        try:
            return self._call()
        finally:
            with self._lock:
                self._state = "done"
            # The loop may have been closed while an abandoned call was still going on.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._leave)

    def abandon(self) -> None:
        with self._lock:
            if self._state == "working":
                self._abandoned = True
                self._threads.abandoned += 1

    def leave_unstarted(self) -> None:
        with self._lock:
            if self._state != "waiting":
                return
            self._state = "done"
        self._leave()

    def _leave(self) -> None:
        self._threads.end(abandoned=self._abandoned)


def in_process(call: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """Run a CPU-bound task or scorer in worker processes, as many as there are processors.

    Write it as `Evaluation(rows, in_process(score))`. A call that is cancelled or times out has its process
    killed.

    :param call: a sync function at the top level of an importable module, whose arguments and result can be
        pickled
    :return: an async function with the same parameters
    :raises ConfigurationError: if it is an async function, a lambda, or a function inside of another
    """
    if is_async(call):
        raise ConfigurationError(f"{call!r} is async: a process runs sync functions; call it directly")
    if not callable(call):
        raise ConfigurationError(f"{call!r} is not callable: give a sync function")
    inner: Any = call
    while isinstance(inner, partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    if "<" in name:
        raise ConfigurationError(
            f"{name!r} cannot be sent to a process: move it to the top level of a module, and give it a name"
        )

    @wraps(call)
    async def elsewhere(*args: P.args, **kwargs: P.kwargs) -> R:
        return await to_process.run_sync(partial(call, *args, **kwargs), cancellable=True)

    return elsewhere
