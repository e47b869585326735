import asyncio
import contextlib
import queue
import socket
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from aiolimiter import AsyncLimiter

from aeval.errors import ConfigurationError
from aeval.testing import VirtualClockLoop, VirtualDeadlock, run_virtual


def now():
    return asyncio.get_running_loop().time()


@contextlib.contextmanager
def real_time_below(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def test_returns_what_the_function_returns():
    """The result of the function comes out, and its arguments go in."""

    async def add(left, right):
        return left + right

    assert run_virtual(add, 1, 2) == 3


def test_sleeps_pass_at_once_and_in_order():
    """Sleepers wake in the order of their times, at exactly those times, without real waiting."""
    woken = []

    async def sleeper(seconds, sleep):
        await sleep(seconds)
        woken.append((seconds, now()))

    async def main():
        assert now() == 0.0
        await asyncio.gather(
            sleeper(3600, asyncio.sleep),
            sleeper(0.001, anyio.sleep),
            sleeper(30, anyio.sleep),
            sleeper(86400 * 3, asyncio.sleep),
        )

    with real_time_below(5):
        run_virtual(main)
    assert woken == [(0.001, 0.001), (30, 30.0), (3600, 3600.0), (259200, 259200.0)]


def test_centuries_pass():
    """Timers far apart still fire, where a float can no longer tell nanoseconds."""

    async def main():
        for _ in range(3):
            await asyncio.sleep(3e9)
            await asyncio.sleep(0.5)
        await anyio.sleep(1e-3)
        return now()

    with real_time_below(5):
        assert run_virtual(main) == pytest.approx(9e9 + 1.5)


def test_timeouts_of_both_libraries_fire():
    """`asyncio.timeout`, `anyio.fail_after` and `anyio.move_on_after` end a wait at their virtual deadline."""

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(11)
        assert now() == 10.0
        with pytest.raises(TimeoutError), anyio.fail_after(10):
            await anyio.sleep_forever()
        assert now() == 20.0
        with anyio.move_on_after(5) as scope:
            await anyio.sleep(4)
        assert not scope.cancelled_caught
        assert now() == 24.0

    with real_time_below(5):
        run_virtual(main)


def test_runs_under_anyio_run():
    """The loop can be given to `anyio.run`."""

    async def main():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 100)
            tasks.start_soon(anyio.sleep, 200)
        return anyio.current_time()

    with real_time_below(5):
        assert anyio.run(main, backend_options={"loop_factory": VirtualClockLoop}) == 200.0


def test_aiolimiter_limits_by_the_virtual_clock():
    """A leaky bucket lets its burst go at once and the rest at its rate."""
    taken = []

    async def take(limiter):
        async with limiter:
            taken.append(now())

    async def main():
        limiter = AsyncLimiter(10, 60)
        await asyncio.gather(*(take(limiter) for _ in range(20)))

    with real_time_below(5):
        run_virtual(main)
    assert taken == pytest.approx([0.0] * 10 + [6.0 * step for step in range(1, 11)])


def test_clock_stands_still_while_tasks_compute():
    """Real time that passes on the loop moves no timer."""

    async def main():
        for _ in range(1000):
            await asyncio.sleep(0)
        return now()

    assert run_virtual(main) == 0.0


@pytest.mark.parametrize("call", [anyio.to_thread.run_sync, asyncio.to_thread], ids=["anyio", "asyncio"])
def test_quick_thread_takes_no_time(call):
    """A worker thread that ends within the grace takes no virtual time, and no timeout fires."""

    async def main():
        async with asyncio.timeout(0.001):
            assert await call(lambda: 42) == 42
        return now()

    assert run_virtual(partial(main), grace=5.0) == 0.0


def test_timeouts_survive_a_computing_thread():
    """While a worker thread is at work the clock runs as fast as the real one: a longer timeout does not fire."""
    release = threading.Event()

    async def main():
        asyncio.get_running_loop().call_later(0.05, release.set)
        async with asyncio.timeout(60):
            assert await anyio.to_thread.run_sync(release.wait, 30)
        assert 0.05 <= now() < 30
        with ThreadPoolExecutor(1) as executor:
            release.clear()
            asyncio.get_running_loop().call_later(0.05, release.set)
            async with asyncio.timeout(60):
                assert await asyncio.get_running_loop().run_in_executor(executor, release.wait, 30)
            before = now()
            await asyncio.sleep(1000)
            assert now() == before + 1000

    with real_time_below(10):
        run_virtual(main)


def test_timeout_ends_a_thread_that_is_too_slow():
    """A timeout fires for a thread that is slower in reality."""
    release = threading.Event()

    async def main():
        with anyio.move_on_after(0.05) as scope:
            await anyio.to_thread.run_sync(release.wait, 30, abandon_on_cancel=True)
        release.set()
        return scope.cancelled_caught

    with real_time_below(10):
        assert run_virtual(main)


def test_thread_may_call_into_the_loop():
    """A worker thread can wait for virtual time through `from_thread`."""

    async def main():
        await anyio.to_thread.run_sync(anyio.from_thread.run, anyio.sleep, 0.05)
        return now()

    with real_time_below(10):
        assert run_virtual(main) == pytest.approx(0.05, abs=0.01)


def test_processes_may_be_called():
    """What goes to a process executor stays picklable."""

    async def main():
        with ProcessPoolExecutor(1) as executor:
            return await asyncio.get_running_loop().run_in_executor(executor, abs, -42)

    assert run_virtual(main, grace=30.0) == 42


def test_other_threads_are_given_the_grace():
    """A thread of the user's own wakes the loop before the clock jumps."""
    requests = queue.Queue()

    def worker():
        while (item := requests.get()) is not None:
            loop, future = item
            loop.call_soon_threadsafe(future.set_result, "answered")

    async def main():
        thread = threading.Thread(target=worker)
        thread.start()
        loop = asyncio.get_running_loop()
        try:
            for _ in range(5):
                future = loop.create_future()
                requests.put((loop, future))
                async with asyncio.timeout(60):
                    assert await future == "answered"
            assert now() == 0.0
            future = loop.create_future()
            requests.put((loop, future))
            assert await future == "answered"
        finally:
            requests.put(None)
            thread.join()

    run_virtual(main, grace=5.0)


def test_loop_in_a_thread_of_its_own():
    """The loop may run in another thread than the one that made it."""
    loop = VirtualClockLoop()
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.sleep(1000),))
    with real_time_below(5):
        thread.start()
        thread.join()
    assert loop.time() == 1000.0
    loop.close()


def test_sockets_work():
    """Bytes that cross a real socket arrive before the clock jumps to a timeout."""

    async def echo(reader, writer):
        writer.write(await reader.readexactly(5))
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            async with asyncio.timeout(60):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"hello")
                assert await reader.read() == b"hello"
                writer.close()
                await writer.wait_closed()
        assert now() == 0.0

    run_virtual(main, grace=5.0)


def test_idle_socket_costs_only_the_grace():
    """A socket on which nothing comes does not keep the clock from jumping."""

    async def main():
        left, right = socket.socketpair()
        with left, right:
            reader, writer = await asyncio.open_connection(sock=left)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3600):
                    await reader.read(1)
            writer.close()
            await writer.wait_closed()
        return now()

    with real_time_below(5):
        assert run_virtual(main) == 3600.0


def test_deadlock_is_an_error_that_names_the_waiting():
    """Where nothing can happen any more, an error says so at once, and where each task waits."""

    async def wait_in_vain():
        await asyncio.Event().wait()

    async def main():
        await asyncio.sleep(7)
        tasks = [asyncio.create_task(wait_in_vain(), name=f"vain {number}") for number in range(6)]
        await asyncio.gather(*tasks)

    with (
        real_time_below(5),
        pytest.raises(
            VirtualDeadlock, match=r"virtual time 7: .*socket.*test_clock.py:\d+ in .*wait_in_vain.*2 more"
        ),
    ):
        run_virtual(main)


def test_sleeping_for_ever_is_a_deadlock():
    """A timer that never fires is no timer."""

    async def main():
        asyncio.get_running_loop().call_later(float("inf"), print)
        await anyio.sleep_forever()

    with pytest.raises(VirtualDeadlock, match="no timer is set"):
        run_virtual(main)


def test_deadlock_beside_a_socket_is_told_after_the_patience():
    """Where a socket might still bring something, the error waits for the patience."""

    async def main():
        left, right = socket.socketpair()
        with left, right:
            reader, writer = await asyncio.open_connection(sock=left)
            try:
                await reader.read(1)
            finally:
                writer.close()

    with (
        real_time_below(5),
        pytest.raises(VirtualDeadlock, match=r"nothing came from outside in 0.01 real seconds"),
    ):
        run_virtual(main, grace=0.0, patience=0.01)


@pytest.mark.parametrize("patience", [30.0, float("inf")])
def test_patience_waits_for_the_outside(patience):
    """Without a timer, what a thread of the user's own brings late still wakes the loop."""
    never = threading.Event()

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def worker():
            never.wait(0.05)
            loop.call_soon_threadsafe(future.set_result, "late")

        thread = threading.Thread(target=worker)
        thread.start()
        answer = await future
        thread.join()
        return answer

    assert run_virtual(main, grace=0.0, patience=patience) == "late"


@pytest.mark.parametrize("name", ["grace", "patience"])
def test_negative_waits_are_refused(name):
    """A negative grace or patience is an error that names it."""
    with pytest.raises(ConfigurationError, match=f"{name}=-1"):
        VirtualClockLoop(**{name: -1})


class TestPytestPlugin:
    """anyio's pytest plugin runs whole tests on the virtual clock."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self):
        return "asyncio", {"loop_factory": VirtualClockLoop}

    async def test_plugin_runs_tests_on_the_virtual_clock(self):
        """A day of a test's passes at once."""
        with real_time_below(5):
            before = now()
            await anyio.sleep(86400)
            assert now() == before + 86400
