import asyncio
import builtins
import logging
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time

import aiohttp
import anthropic
import anyio
import httpx
import openai
import pytest

from aeval.errors import MissingExtraError
from aeval.testing import Faults, Limit, ModelServer, solve_arithmetic
from aeval.testing.server.__main__ import main

pytestmark = pytest.mark.anyio

BODY = {"model": "m", "messages": [{"role": "user", "content": "What is 17 + 25?"}]}


@pytest.fixture
def anyio_backend():
    return "asyncio"


def openai_client(address, **options):
    return openai.AsyncOpenAI(base_url=address.openai_url, api_key="sk-test", max_retries=0, **options)


def anthropic_client(address, **options):
    return anthropic.AsyncAnthropic(base_url=address.anthropic_url, api_key="sk-test", max_retries=0, **options)


def ask_openai(client, **options):
    return client.chat.completions.create(**BODY, **options)


def ask_anthropic(client, **options):
    return client.messages.create(**BODY, max_tokens=100, **options)


async def test_openai_sdk_gets_answers():
    """OpenAI's SDK reads the answer, its usage, its stream and the models."""
    server = ModelServer(solve_arithmetic, api_key="sk-test")
    async with server.serve() as address, openai_client(address) as client:
        completion = await ask_openai(client)
        assert completion.choices[0].message.content == "42"
        assert completion.choices[0].finish_reason == "stop"
        assert completion.usage.total_tokens == 5
        stream = await ask_openai(client, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "42"
        assert chunks[-1].usage.total_tokens == 5
        assert [model.id async for model in client.models.list()] == ["simulated"]
    assert server.stats.answered == 2


async def test_anthropic_sdk_gets_answers():
    """Anthropic's SDK reads the answer, its usage and its stream."""
    server = ModelServer("one two", api_key="sk-test")
    async with server.serve() as address, anthropic_client(address) as client:
        message = await ask_anthropic(client, system="Be brief.")
        assert message.content[0].text == "one two"
        assert message.stop_reason == "end_turn"
        assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 2)
        async with client.messages.stream(**BODY, max_tokens=100) as stream:
            assert [text async for text in stream.text_stream] == ["one", " two"]
            assert (await stream.get_final_message()).usage.output_tokens == 2


@pytest.mark.parametrize(
    ("sdk", "client_of", "ask"),
    [(openai, openai_client, ask_openai), (anthropic, anthropic_client, ask_anthropic)],
    ids=["openai", "anthropic"],
)
async def test_sdks_raise_their_own_errors(sdk, client_of, ask):
    """The SDKs turn refusals, failures, drops, malformed answers and stalls into their own errors."""
    faults = ["500", "overloaded", "drop", "disconnect", "malformed", "stall"]
    server = ModelServer("fine", faults=faults, requests=Limit(6, per=600))
    async with server.serve() as address, client_of(address) as client:
        with pytest.raises(sdk.InternalServerError):
            await ask(client)
        with pytest.raises(sdk.APIStatusError) as overloaded:
            await ask(client)
        assert overloaded.value.status_code == (503 if sdk is openai else 529)
        for _ in ("drop", "disconnect"):
            with pytest.raises(sdk.APIConnectionError):
                await ask(client)
        with pytest.raises((sdk.APIResponseValidationError, ValueError)):
            await ask(client)
        with pytest.raises(sdk.APITimeoutError):
            await ask(client.with_options(timeout=0.05))
        with pytest.raises(sdk.RateLimitError) as refused:
            await ask(client)
        assert refused.value.response.headers["retry-after"] == "600"
    assert [request.fault for request in server.requests] == [*faults, None]
    assert server.stats.refused == 1


async def test_sdks_raise_authentication_errors():
    """A wrong key is an authentication error in both SDKs."""
    server = ModelServer("fine", api_key="sk-another")
    async with (
        server.serve() as address,
        openai_client(address) as asks_openai,
        anthropic_client(address) as asks_anthropic,
    ):
        with pytest.raises(openai.AuthenticationError):
            await ask_openai(asks_openai)
        with pytest.raises(anthropic.AuthenticationError):
            await ask_anthropic(asks_anthropic)


@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
@pytest.mark.parametrize(
    ("fault", "httpx_error", "aiohttp_error"),
    [
        ("drop", httpx.RemoteProtocolError, aiohttp.ClientPayloadError),
        ("disconnect", httpx.TransportError, aiohttp.ClientConnectionError),
    ],
)
async def test_drops_are_connection_errors(fault, httpx_error, aiohttp_error, stream):
    """Both httpx and aiohttp see a dropped connection as what it is, before or in the answer."""
    server = ModelServer("many words are lost here", faults=[fault, None, fault])
    async with server.serve() as address:
        url = f"{address.openai_url}/chat/completions"
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx_error):
                await client.post(url, json={**BODY, "stream": stream})
            assert (await client.post(url, json=BODY)).status_code == 200
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp_error):
                async with session.post(url, json={**BODY, "stream": stream}) as response:
                    await response.read()


async def test_client_that_gives_up_is_noticed():
    """A client that times out ends its call: it is no longer in flight when the next one comes."""
    server = ModelServer("fine", latency=lambda chance: 30.0, faults=["stall"])
    async with server.serve() as address, httpx.AsyncClient(timeout=0.05) as client:
        for _ in range(3):
            with pytest.raises(httpx.ReadTimeout):
                await client.post(f"{address.openai_url}/chat/completions", json=BODY)
    assert server.stats.abandoned == 3
    assert [request.status for request in server.requests] == [None, None, None]


async def test_shutdown_is_prompt_whatever_is_open():
    """Leaving the block closes stalled, slow, computing, idle and half-sent connections at once."""
    computing = threading.Event()

    async def never(request):
        computing.set()
        await asyncio.Event().wait()

    server = ModelServer(answers={"slow": "x", "never": never, "m": "x"}, latency=3600.0, faults=["stall"])
    async with httpx.AsyncClient(timeout=None) as client, anyio.create_task_group() as tasks:

        async def ask(model):
            with pytest.raises(httpx.TransportError):
                await client.post(f"{address.openai_url}/chat/completions", json={**BODY, "model": model})

        async with server.serve() as address:
            await client.get(f"{address.openai_url}/models")
            raw = socket.create_connection((address.host, address.port))
            raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: m\r\ncontent-length: 100\r\n\r\n{")
            for model in ("m", "slow", "never"):
                tasks.start_soon(ask, model)
            await anyio.to_thread.run_sync(computing.wait)
            while server.stats.in_flight < 3:
                await anyio.sleep(0)
            began = time.monotonic()
        assert time.monotonic() - began < 1.0
        with raw:
            assert await anyio.to_thread.run_sync(_ended, raw)
    assert server.stats.in_flight == 0
    assert "aeval model server" not in [thread.name for thread in threading.enumerate()]


def _ended(raw):
    raw.settimeout(10)
    try:
        return raw.recv(1) == b""
    except ConnectionResetError:
        return True


async def test_shutdown_comes_with_cancellation():
    """A block that is cancelled or raises shuts its server down all the same."""
    server = ModelServer()
    with anyio.move_on_after(0.01):
        async with server.serve() as address:
            await anyio.sleep_forever()
    with pytest.raises(KeyError):
        async with server.serve():
            raise KeyError
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(address.url)


async def test_client_that_blocks_its_loop_does_not_stall_the_server():
    """The server answers while the client's event loop is blocked."""
    server = ModelServer("fine")
    async with server.serve() as address:
        response = httpx.post(f"{address.openai_url}/chat/completions", json=BODY)
        assert response.status_code == 200
        assert server.requests[0].status == 200


async def test_server_can_be_served_again():
    """One server can serve several times, keeping its record; a queue of one time does not reach the next."""
    server = ModelServer("fine", latency=0.01, concurrency=1)
    for _ in range(2):
        async with server.serve() as address, httpx.AsyncClient() as client:
            url = f"{address.openai_url}/chat/completions"
            await asyncio.gather(*(client.post(url, json=BODY) for _ in range(3)))
    assert [request.status for request in server.requests] == [200] * 6
    assert server.max_in_flight == 3
    assert server.requests[0].started <= time.monotonic()


async def test_limits_hold_over_real_connections():
    """However many come at once, no more are admitted than the limits allow, nor more in flight."""
    server = ModelServer("fine", latency=0.02, requests=Limit(30, per=600), in_flight=8)
    async with server.serve() as address, aiohttp.ClientSession() as session:
        url = f"{address.openai_url}/chat/completions"

        async def ask():
            async with session.post(url, json=BODY) as response:
                await response.read()
                return response.status

        statuses = [status for _ in range(8) for status in await asyncio.gather(*(ask() for _ in range(12)))]
    assert statuses.count(200) == 30
    assert statuses.count(429) == 66
    assert len(server.refused) == 66
    assert server.max_in_flight == 8
    assert server.mean_in_flight() <= 8
    assert max(count for _, count in server.in_flight_over_time()) == 8


async def test_seed_reproduces_what_happens_over_sockets():
    """With one client at a time the same seed brings the same statuses in the same order."""

    async def statuses(seed):
        server = ModelServer("fine", faults=Faults(server_error=0.3, overloaded=0.2), seed=seed)
        async with server.serve() as address, httpx.AsyncClient() as client:
            url = f"{address.openai_url}/chat/completions"
            return [(await client.post(url, json=BODY)).status_code for _ in range(30)]

    first = await statuses(7)
    assert set(first) == {200, 500, 503}
    assert await statuses(7) == first
    assert await statuses(8) != first


async def test_nothing_is_logged(caplog):
    """Answers, faults and the shutdown write no log, and set up none for the process."""
    level = logging.getLogger("uvicorn.error").level
    with caplog.at_level(logging.INFO):
        async with (
            ModelServer("fine", faults=["drop", "disconnect", "500"]).serve() as address,
            httpx.AsyncClient() as client,
        ):
            for _ in range(4):
                try:
                    await client.post(f"{address.openai_url}/chat/completions", json=BODY)
                except httpx.TransportError:
                    continue
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert logging.getLogger("uvicorn.error").level == level


async def test_date_is_renewed():
    """The Date header follows the clock."""
    async with ModelServer("fine").serve() as address, httpx.AsyncClient() as client:
        first = (await client.get(f"{address.openai_url}/models")).headers["date"]
        with anyio.fail_after(10):
            while (await client.get(f"{address.openai_url}/models")).headers["date"] == first:
                pass


async def test_uvicorn_may_be_missing(monkeypatch):
    """Without uvicorn an error says what to install."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "aeval.testing.server.background", raising=False)
    with pytest.raises(MissingExtraError, match=r"uvicorn.*aeval\[server\]"):
        async with ModelServer().serve():
            pass


async def test_port_that_is_taken_is_an_error():
    """A port on which another listens is an error at once."""
    async with ModelServer().serve() as address:
        with pytest.raises(OSError, match="in use"):
            async with ModelServer().serve(port=address.port):
                pass


def test_serves_code_that_is_not_async():
    """The sync form serves the same, from a thread."""
    server = ModelServer("fine")
    with server.serving() as address, httpx.Client(base_url=address.openai_url) as client:
        assert client.post("/chat/completions", json=BODY).json()["choices"][0]["message"]["content"] == "fine"
    assert server.stats.answered == 1


def test_shell_command_serves_until_it_is_killed():
    """The command prints its URL on a line, serves in a process of its own, and ends when it is terminated."""
    command = [sys.executable, "-m", "aeval.testing.server", "--latency", "0.01", "--requests", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        with httpx.Client() as client:
            answer = client.post(f"{url}/chat/completions", json=BODY).json()
            assert answer["choices"][0]["message"]["content"] == "42"
            assert client.post(f"{url}/chat/completions", json=BODY).status_code == 429
            assert client.get(url.removesuffix("v1") + "stats").json()["refused"] == 1
        process.terminate()
        assert process.stderr.read() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of one's own process are POSIX")
def test_shell_command_ends_quietly_when_interrupted(monkeypatch):
    """An interrupt ends the command without a traceback."""
    answers = []

    def use_and_interrupt(url, **_):
        def use():
            answers.append(httpx.post(f"{url}/chat/completions", json=BODY).json())
            os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=use))
        threads[0].start()

    threads = []
    monkeypatch.setattr(builtins, "print", use_and_interrupt)
    options = ["--answer", "fine", "--latency", "0.001", "--sigma", "0.2", "--tokens", "1000", "--seed", "3"]
    monkeypatch.setattr(sys, "argv", ["server", *options])
    monkeypatch.delitem(sys.modules, "aeval.testing.server.__main__")
    runpy.run_module("aeval.testing.server", run_name="__main__")
    threads[0].join()
    assert answers[0]["choices"][0]["message"]["content"] == "fine"


def test_shell_command_explains_what_cannot_work(capsys):
    """An impossible option is an error of the command line."""
    with pytest.raises(SystemExit):
        main(["--requests", "-5"])
    assert "amount of a limit must be a number above 0, but is -5.0" in capsys.readouterr().err


async def test_many_clients_at_once():
    """Hundreds of calls in flight are all answered, each with its own answer."""
    server = ModelServer(solve_arithmetic, latency=lambda chance: chance.uniform(0.0, 0.05))
    numbers = random.Random(1).sample(range(10_000), 500)
    async with (
        server.serve() as address,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):

        async def ask(number):
            message = {"role": "user", "content": f"What is {number} + 1?"}
            body = {"model": "m", "messages": [message]}
            async with session.post(f"{address.openai_url}/chat/completions", json=body) as response:
                return (await response.json())["choices"][0]["message"]["content"]

        assert await asyncio.gather(*map(ask, numbers)) == [str(number + 1) for number in numbers]
    assert server.max_in_flight > 20
