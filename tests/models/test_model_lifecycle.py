from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest

from aeval.models import AiohttpTransport, ChatModel
from aeval.testing.server import ModelServer


@pytest.fixture
def url() -> Iterator[str]:
    with ModelServer(answer="4").serving() as address:
        yield address.openai_url


@pytest.fixture(autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """Have whatever was left open warn now, and so fail this test."""
    yield
    gc.collect()


async def ask(model: ChatModel) -> list[str]:
    return await asyncio.gather(*(model.generate("?") for _ in range(3)))


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_one_model_serves_several_loops(url: str, use_uvloop: bool) -> None:
    """A model made outside of a loop is used by one `anyio.run` after another, without ever being closed."""
    if use_uvloop:
        pytest.importorskip("uvloop")
    model = ChatModel("m", base_url=url)
    for _ in range(3):
        assert anyio.run(ask, model, backend_options={"use_uvloop": use_uvloop}) == ["4"] * 3
    # The loops before the last one are forgotten, and nothing of them is kept.
    assert len(model._transport._pools) == 1


def test_a_closed_model_opens_again(url: str) -> None:
    """`async with` closes the connections, and the next call opens new ones, in the same loop and in another."""
    model = ChatModel("m", base_url=url)

    async def twice() -> None:
        for _ in range(2):
            async with model:
                assert await model.generate("?") == "4"
            assert not model._transport._pools
        await model.aclose()

    asyncio.run(twice())
    asyncio.run(twice())


def test_a_dropped_model_closes_its_connections(url: str) -> None:
    """A model that is dropped while its loop runs leaves no connection open."""

    async def drop() -> None:
        model = ChatModel("m", base_url=url)
        await model.generate("?")
        [pool] = model._transport._pools.values()
        session = pool.session
        del model, pool
        while not session.closed:
            await asyncio.sleep(0)

    asyncio.run(drop())


def test_a_loop_that_was_cut_off_is_forgotten(url: str) -> None:
    """Where a loop was closed without closing what was opened in it, the model drops it without a word."""
    model = ChatModel("m", base_url=url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(model.generate("?"))
    [pool] = model._transport._pools.values()
    for transport in [
        proto.transport for conns in pool.session.connector._conns.values() for proto, _ in conns
    ]:
        transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert asyncio.run(ask(model)) == ["4"] * 3
    assert pool.session.closed


def test_two_threads_have_connections_of_their_own(url: str) -> None:
    """Loops in two threads use one model at the same time, and closing it in one does not disturb the other."""
    model = ChatModel("m", base_url=url)
    first_closed, second_asked = threading.Event(), threading.Event()
    answers: list[Any] = []

    async def first() -> None:
        await model.generate("?")
        await asyncio.to_thread(second_asked.wait)
        await model.aclose()
        first_closed.set()

    async def second() -> None:
        await model.generate("?")
        second_asked.set()
        await asyncio.to_thread(first_closed.wait)
        answers.append(await model.generate("?"))

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for main in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["4"]


def test_a_transport_without_a_limit(url: str) -> None:
    """A transport may have no limit of its own."""

    async def main() -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport(max_connections=None)) as client:
            response = await client.get(f"{url}/models")
            assert response.status_code in {200, 404}

    asyncio.run(main())
