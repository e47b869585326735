"""Compare HTTP clients for chat completions: calls a second, and CPU of the client for a call.

A server in a process of its own answers every call after 50 ms. Each contender keeps a number of calls in
flight; the rounds of all contenders are interleaved, and the medians shown.

    python benchmarks/http_clients.py [--rounds 3] [--seconds 1.5] [--in-flight 50 100 200 500]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from statistics import median

import aiohttp
import attrs
import httpx

from aeval.models import AiohttpTransport, ChatModel

LATENCY = 0.05
QUESTION = "What is 2+2? Answer with the number alone."
BODY = {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
HEADERS = {"authorization": "Bearer none"}
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "4", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 18,
            "completion_tokens": 1,
            "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }
).encode()
RESPONSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\n"
    b"x-ratelimit-remaining-requests: 100\r\ncontent-length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
)

Call = Callable[[], Awaitable[object]]
Contender = Callable[[str, int], "asynccontextmanager[Call]"]


class Answering(asyncio.Protocol):
    """The server's side of a connection: no more HTTP than the clients send."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer after a while, once a request is whole."""
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if len(body) >= length:
            self.received = body[length:]
            asyncio.get_running_loop().call_later(LATENCY, self.answer)

    def answer(self) -> None:
        """Answer, unless the client has gone."""
        if not self.transport.is_closing():
            self.transport.write(RESPONSE)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@asynccontextmanager
async def bare_aiohttp(url: str, in_flight: int) -> AsyncIterator[Call]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def call() -> str:
            async with session.post(f"{url}/chat/completions", json=BODY, headers=HEADERS) as response:
                answer = await response.json()
                return answer["choices"][0]["message"]["content"]

        yield call


@asynccontextmanager
async def chat_model(url: str, in_flight: int) -> AsyncIterator[Call]:
    async with ChatModel("m", base_url=url, api_key="none", max_connections=in_flight, temperature=0) as model:
        yield lambda: model.generate(QUESTION)


@asynccontextmanager
async def over_httpx(client: httpx.AsyncClient, url: str) -> AsyncIterator[Call]:
    async def call() -> str:
        response = await client.post(f"{url}/chat/completions", json=BODY, headers=HEADERS)
        return response.json()["choices"][0]["message"]["content"]

    async with client:
        yield call


def limits(in_flight: int) -> httpx.Limits:
    return httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)


def httpx_own_pool(url: str, in_flight: int) -> asynccontextmanager[Call]:
    return over_httpx(httpx.AsyncClient(limits=limits(in_flight), timeout=60), url)


def httpx_aeval_transport(url: str, in_flight: int) -> asynccontextmanager[Call]:
    return over_httpx(httpx.AsyncClient(transport=AiohttpTransport(max_connections=in_flight), timeout=60), url)


def httpx_aiohttp(url: str, in_flight: int) -> asynccontextmanager[Call]:
    transport = import_module("httpx_aiohttp").AiohttpTransport(limits=limits(in_flight))
    return over_httpx(httpx.AsyncClient(transport=transport, timeout=60), url)


@asynccontextmanager
async def openai_sdk(url: str, in_flight: int) -> AsyncIterator[Call]:
    # Its own pool takes 1,000 connections.
    assert in_flight <= 1000
    async with import_module("openai").AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def call() -> str:
            completion = await client.chat.completions.create(**BODY)
            return completion.choices[0].message.content

        yield call


# Each with the package that it needs.
CONTENDERS: dict[str, tuple[Contender, str | None]] = {
    "aiohttp": (bare_aiohttp, None),
    "ChatModel": (chat_model, None),
    "httpx, AiohttpTransport": (httpx_aeval_transport, None),
    "httpx, httpx-aiohttp": (httpx_aiohttp, "httpx_aiohttp"),
    "httpx, its own pool": (httpx_own_pool, None),
    "openai SDK": (openai_sdk, "openai"),
}


@attrs.frozen
class Measurement:
    """What one contender reached.

    :param rate: calls a second
    :param cpu: milliseconds of the client's CPU for a call
    """

    rate: float
    cpu: float


async def measure(contender: Contender, url: str, in_flight: int, seconds: float) -> Measurement:
    done = 0

    async def keep_calling(call: Call) -> None:
        nonlocal done
        while True:
            await call()
            done += 1

    async with contender(url, in_flight) as call:
        callers = [asyncio.create_task(keep_calling(call)) for _ in range(in_flight)]
        try:
            await asyncio.sleep(1.0)  # connections are opened
            before, started, cpu = done, time.perf_counter(), time.process_time()
            await asyncio.sleep(seconds)
            calls, elapsed, cpu = done - before, time.perf_counter() - started, time.process_time() - cpu
        finally:
            for caller in callers:
                caller.cancel()
            ended = await asyncio.gather(*callers, return_exceptions=True)
    failures = [end for end in ended if not isinstance(end, asyncio.CancelledError)]
    if failures:
        print(f"  {len(failures)} of {in_flight} callers failed, the first with {failures[0]!r}")
    return Measurement(calls / elapsed, 1000 * cpu / calls if calls else float("inf"))


def available() -> dict[str, Contender]:
    contenders = {}
    for name, (contender, package) in CONTENDERS.items():
        try:
            import_module(package or "aiohttp")
        except ImportError:
            print(f"{name} is left out: {package} is not installed")
        else:
            contenders[name] = contender
    return contenders


def run_all(url: str, arguments: argparse.Namespace) -> dict[tuple[str, int], Measurement]:
    contenders = available()
    measured: dict[tuple[str, int], list[Measurement]] = {}
    for _ in range(arguments.rounds):
        for in_flight in arguments.in_flight:
            for name, contender in contenders.items():
                gc.collect()
                result = asyncio.run(measure(contender, url, in_flight, arguments.seconds))
                measured.setdefault((name, in_flight), []).append(result)
    return {
        place: Measurement(median(m.rate for m in rounds), median(m.cpu for m in rounds))
        for place, rounds in measured.items()
    }


def show(measured: dict[tuple[str, int], Measurement], levels: list[int]) -> None:
    print(f"\n{'calls/s (CPU ms a call)':26}" + "".join(f"{f'{n} in flight':>18}" for n in levels))
    for name in dict.fromkeys(name for name, _ in measured):
        cells = (measured[name, n] for n in levels)
        print(f"{name:26}" + "".join(f"{f'{m.rate:,.0f} ({m.cpu:.2f})':>18}" for m in cells))
    print(f"{'ideal':26}" + "".join(f"{f'{n / LATENCY:,.0f}       ':>18}" for n in levels))
    print(
        f"{'ChatModel / aiohttp, CPU':26}"
        + "".join(f"{measured['ChatModel', n].cpu / measured['aiohttp', n].cpu:>17.2f}x" for n in levels)
        + "   target: at most 2.5x"
    )
    for other, in_flight, target in (("openai SDK", 500, 4), ("httpx, its own pool", 500, 10)):
        if (other, in_flight) in measured:
            ratio = measured["ChatModel", in_flight].rate / max(measured[other, in_flight].rate, 1e-9)
            print(f"calls/s at {in_flight} against {other}: {ratio:.1f}x   target: at least {target}x")
    if ("ChatModel", 100) in measured:
        share = measured["ChatModel", 100].rate / (100 / LATENCY)
        print(f"share of the ideal at 100: {share:.0%}   target: at least 85%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help="be the server, and print the port")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[50, 100, 200, 500])
    arguments = parser.parse_args()
    if arguments.serve:
        try:
            import_module("uvloop").install()
        except ImportError:
            print("uvloop is not installed: the server may be what is measured at 500", file=sys.stderr)
        asyncio.run(serve())
        return
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline())
            show(run_all(f"http://127.0.0.1:{port}/v1", arguments), arguments.in_flight)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
