from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from aeval import Timeout, in_process
from aeval.context import Desk, Record, current_record
from aeval.errors import CallTimeout, ConfigurationError
from aeval.threads import Threads, _Visit, is_async

pytestmark = pytest.mark.anyio


async def answer(value: int = 4) -> int:
    return value


class AsyncJudge:
    async def __call__(self) -> int:
        return 1

    async def method(self) -> int:
        return 2


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (answer, True),
        (partial(answer, 5), True),
        (partial(partial(answer), 5), True),
        (AsyncJudge(), True),
        (partial(AsyncJudge()), True),
        (AsyncJudge().method, True),
        (lambda: 4, False),
        (lambda: answer(5), False),
        (partial(max, 1), False),
        (len, False),
        (int, False),
    ],
)
def test_async_calls_are_known(call: Any, expected: bool) -> None:
    """An async function, a partial or a method of one, and an object with an async call are known as such."""
    assert is_async(call) is expected


async def test_call_runs_in_a_thread() -> None:
    """A sync call runs in another thread than the loop's, and gives its result."""
    assert await Threads(1).run(threading.get_ident) != threading.get_ident()


async def test_error_of_the_call_comes_out() -> None:
    """A sync call's error comes out as itself, and its place comes back."""
    threads = Threads(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
    assert await threads.run(lambda: 5) == 5


async def test_awaitable_that_a_sync_call_returns_is_awaited() -> None:
    """Where a sync call gives an awaitable, as a wrapper of an async one does, its result is given."""
    assert await Threads(1).run(lambda: answer(7)) == 7


async def test_as_many_threads_as_the_limit_work_at_once() -> None:
    """As many calls go on at once as the limit allows, however many threads others have in use."""
    together, threads = threading.Barrier(60), Threads(60)
    async with anyio.create_task_group() as group:
        for _ in range(60):
            group.start_soon(threads.run, partial(together.wait, 30))
    assert not together.broken


async def test_never_more_threads_than_the_limit() -> None:
    """Never more calls go on at once than the limit; the others wait in order."""
    lock, working, most = threading.Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        with lock:
            working -= 1
        return number

    threads = Threads(3)
    assert await asyncio.gather(*(threads.run(partial(work, number)) for number in range(50))) == list(
        range(50)
    )
    assert 1 <= most <= 3


async def test_abandoned_call_keeps_its_place_until_it_ends() -> None:
    """A thread whose call was given up counts as one until it ends, so that there are never more than the limit."""
    go_on, working, threads = threading.Event(), threading.Semaphore(0), Threads(2)

    def stuck() -> None:
        working.release()
        go_on.wait()

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(threads.run, stuck)
            await to_thread.run_sync(working.acquire)
        assert threads.abandoned == 0
        group.cancel_scope.cancel()
    assert threads.abandoned == 2
    following = asyncio.create_task(threads.run(lambda: "next"))
    await asyncio.sleep(0)
    assert threads._slots.waiting == 1
    go_on.set()
    assert await following == "next"
    assert await asyncio.gather(*(threads.run(lambda: "all") for _ in range(2))) == ["all"] * 2
    assert threads.abandoned == 0


async def test_call_that_is_cancelled_before_it_starts_gives_its_place_back() -> None:
    """A call that is cancelled before a thread has begun it is never made, and gives its place back."""
    threads, made = Threads(1), list[int]()
    for turns in range(3):
        task = asyncio.create_task(threads.run(partial(made.append, turns)))
        if turns:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (made, threads.abandoned) == ([], 0)
    await threads.run(partial(made.append, 9))
    assert made == [9]


async def test_thread_that_comes_too_late_does_nothing() -> None:
    """A thread that takes up a call after it was cancelled does not make it."""
    threads, made = Threads(1), list[int]()
    threads._slots.free -= 1
    visit = _Visit(partial(made.append, 1), threads)
    visit.leave_unstarted()
    visit.leave_unstarted()
    assert await to_thread.run_sync(visit) is None
    assert (made, threads._slots.free) == ([], 1)


def test_call_may_outlive_its_loop() -> None:
    """An abandoned call may end after its event loop was closed, without an error in its thread."""
    go_on, began, workers = threading.Event(), threading.Event(), list[threading.Thread]()

    def stuck() -> None:
        workers.append(threading.current_thread())
        began.set()
        go_on.wait()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(Threads(1).run, stuck)
            await to_thread.run_sync(began.wait)
            group.cancel_scope.cancel()

    asyncio.run(main())
    go_on.set()
    workers[0].join(30)
    assert not workers[0].is_alive()


async def test_thread_keeps_its_sample(record: Record) -> None:
    """A call in a thread finds its own sample's record, even when its worker has gone on to the next one."""
    desk = Desk(record)
    began, go_on, seen = threading.Event(), threading.Event(), list[Record | None]()

    def late() -> None:
        began.set()
        go_on.wait()
        seen.append(current_record())

    task = asyncio.create_task(Threads(1).run(late))
    await to_thread.run_sync(began.wait)
    desk.record = Record("sample-2", 1, 0, "next")
    go_on.set()
    await task
    assert seen == [record]


# Processes.


async def test_call_runs_in_another_process() -> None:
    """A CPU-bound call runs in another process than this one."""
    assert await in_process(os.getpid)() != os.getpid()


async def test_arguments_result_and_error_cross_over() -> None:
    """Arguments, results and errors cross over to the process and back."""
    assert await in_process(math.comb)(5, 2) == 10
    assert await in_process(partial(int, base=2))("101") == 5
    with pytest.raises(ValueError, match="invalid literal"):
        await in_process(int)("x")


def score(output: str, expected: str) -> bool:
    """Compare."""
    return output == expected


def test_wrapped_call_is_the_call() -> None:
    """The name of the wrapped call is the call's, so that columns bind as they would to it."""
    assert in_process(score).__name__ == "score"
    assert is_async(in_process(score))


def nested() -> Any:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: 1, "<lambda>' cannot be sent to a process: move it to the top level of a module"),
        (partial(lambda x: x, 1), "<lambda>' cannot be sent to a process"),
        (nested(), "nested.<locals>.inner' cannot be sent to a process"),
        (answer, "is async: a process runs sync functions"),
        (AsyncJudge(), "is async"),
        (5, "5 is not callable"),
    ],
)
def test_call_that_cannot_cross_over_is_refused(call: Any, message: str) -> None:
    """What no process could be sent is refused when it is given, with words that say what to do."""
    with pytest.raises(ConfigurationError, match=message):
        in_process(call)


def tell_and_sleep(path: Path) -> None:
    with path.open("w") as pipe:
        pipe.write(str(os.getpid()))
    time.sleep(600)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_call_that_is_cancelled_has_its_process_killed(tmp_path: Path) -> None:
    """A call that is cancelled while it works has its process killed."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    task = asyncio.create_task(in_process(tell_and_sleep)(path))
    pid = int(await to_thread.run_sync(path.read_text))
    assert is_alive(pid)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(pid)


async def test_call_that_times_out_has_its_process_killed() -> None:
    """A call that outlives its timeout has its process killed, and the next one gets another."""
    pid = await in_process(os.getpid)()
    with pytest.raises(CallTimeout):
        await Timeout(0.05)(in_process(time.sleep))(600)
    assert not is_alive(pid)
    assert await in_process(os.getpid)() != pid
