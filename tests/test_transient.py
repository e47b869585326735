from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.errors import (
    AuthenticationError,
    ConfigurationError,
    MalformedResponse,
    ModelConnectionError,
    ModelTimeout,
    RateLimited,
)
from aeval.models import AiohttpTransport
from aeval.transient import is_refusal, is_transient, retry_after, status_of

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")
httpx2 = pytest.importorskip("httpx2")

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Server:
    """Answers everything with the same bytes, and closes; with None, it does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answer: bytes | None = b""

    def says(self, status: str, **headers: str) -> None:
        lines = [
            f"HTTP/1.1 {status}",
            "content-length: 2",
            "content-type: application/json",
            "connection: close",
        ]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.answer = "\r\n".join([*lines, "", "{}"]).encode()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        await reader.readexactly(length)
        if server.answer is not None:
            writer.write(server.answer)
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    server = Server(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    yield server
    listening.close()
    for writer in writers:
        writer.close()
        await writer.wait_closed()
    await listening.wait_closed()


MESSAGES: Any = [{"role": "user", "content": "?"}]


async def by_openai(url: str, timeout: float) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0, timeout=timeout) as client:
        await client.chat.completions.create(model="m", messages=MESSAGES)


async def by_anthropic(url: str, timeout: float) -> None:
    async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0, timeout=timeout) as client:
        await client.messages.create(model="m", messages=MESSAGES, max_tokens=5)


async def by_httpx(url: str, timeout: float) -> None:
    async with httpx.AsyncClient(timeout=timeout) as client:
        (await client.post(url, json={})).raise_for_status()


async def by_httpx_over_aiohttp(url: str, timeout: float) -> None:
    async with httpx.AsyncClient(timeout=timeout, transport=AiohttpTransport()) as client:
        (await client.post(url, json={})).raise_for_status()


async def by_httpx2(url: str, timeout: float) -> None:
    async with httpx2.AsyncClient(timeout=timeout) as client:
        (await client.post(url, json={})).raise_for_status()


async def by_aiohttp(url: str, timeout: float) -> None:
    limits = aiohttp.ClientTimeout(total=timeout)
    async with aiohttp.ClientSession(timeout=limits) as session, session.post(url, json={}) as response:
        response.raise_for_status()
        await response.read()


Client = Callable[[str, float], Awaitable[None]]

CLIENTS = pytest.mark.parametrize(
    "call",
    [by_openai, by_anthropic, by_httpx, by_httpx_over_aiohttp, by_httpx2, by_aiohttp],
    ids=lambda c: c.__name__[3:],
)


async def error_of(call: Client, url: str, timeout: float = 5.0) -> Exception:
    try:
        await call(url, timeout)
    except Exception as error:
        return error
    pytest.fail("there was no error")


@CLIENTS
@pytest.mark.parametrize(
    ("status", "transient", "refusal"),
    [
        ("400 Bad Request", False, False),
        ("401 Unauthorized", False, False),
        ("403 Forbidden", False, False),
        ("404 Not Found", False, False),
        ("408 Request Timeout", True, False),
        ("409 Conflict", True, False),
        ("422 Unprocessable Entity", False, False),
        ("425 Too Early", True, False),
        ("429 Too Many Requests", True, True),
        ("500 Internal Server Error", True, False),
        ("503 Service Unavailable", True, True),
        ("529 Overloaded", True, True),
    ],
)
async def test_a_status_is_understood(
    server: Server, call: Client, status: str, transient: bool, refusal: bool
) -> None:
    """The status of every client's error is found, and says whether to try again and whether it was for load."""
    server.says(status)
    error = await error_of(call, server.url)
    assert status_of(error) == int(status[:3])
    assert (is_transient(error), is_refusal(error)) == (transient, refusal)
    assert retry_after(error) is None


@CLIENTS
async def test_retry_after_is_found(server: Server, call: Client) -> None:
    """The time that a server asks to wait is found in every client's error, the finer one first."""
    server.says("429 Too Many Requests", Retry_After="3")
    assert retry_after(await error_of(call, server.url)) == 3.0
    server.says("429 Too Many Requests", retry_after="3", Retry_After_Ms="2500")
    assert retry_after(await error_of(call, server.url)) == 2.5


@CLIENTS
async def test_a_refused_connection_is_transient(call: Client, unused_port: int) -> None:
    """Nobody listening is worth another try, whichever client says so."""
    error = await error_of(call, f"http://127.0.0.1:{unused_port}")
    assert (status_of(error), is_transient(error), is_refusal(error)) == (None, True, False)


@CLIENTS
async def test_a_timeout_is_transient(server: Server, call: Client) -> None:
    """A server that does not answer is worth another try, whichever client says so."""
    server.answer = None
    assert is_transient(await error_of(call, server.url, timeout=0.1))


@CLIENTS
@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"],
    ids=["nothing", "half"],
)
async def test_a_dropped_connection_is_transient(server: Server, call: Client, answer: bytes) -> None:
    """A connection that is closed before the answer or in the middle of it is worth another try."""
    server.answer = answer
    error = await error_of(call, server.url)
    assert (status_of(error), is_transient(error)) == (None, True)


@CLIENTS
async def test_a_scheme_that_nobody_speaks_is_permanent(call: Client) -> None:
    """A wrong URL does not become right, however deep the client has wrapped its error."""
    assert not is_transient(await error_of(call, "ftp://127.0.0.1/v1"))


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wrapped(error: Exception, *causes: Exception) -> Exception:
    """Chain errors as `raise ... from ...` does."""
    outer = error
    for cause in causes:
        outer.__cause__, outer = cause, cause
    return error


REQUEST = httpx.Request("POST", "http://model.test")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ConnectError(""), True),
        (httpx.ReadError(""), True),
        (httpx.ReadTimeout(""), True),
        (httpx.PoolTimeout(""), True),
        (httpx.RemoteProtocolError(""), True),
        (httpx.LocalProtocolError(""), False),
        (httpx.UnsupportedProtocol(""), False),
        (httpx.TooManyRedirects(""), False),
        (httpx.InvalidURL(""), False),
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ClientPayloadError(), True),
        (aiohttp.ClientOSError(errno.ECONNRESET, ""), True),
        (aiohttp.ConnectionTimeoutError(), True),
        (aiohttp.InvalidURL("x"), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError(errno.EHOSTUNREACH, ""), True),
        (OSError(errno.ENOSPC, ""), False),
        (FileNotFoundError(), False),
        (ModelConnectionError(), True),
        (ModelTimeout(), True),
        (MalformedResponse(), True),
        (RateLimited("", status_code=429), True),
        (AuthenticationError("", status_code=401), False),
        (ConfigurationError(), False),
        (ValueError(), False),
        (asyncio.CancelledError(), False),
        (ssl.SSLError(1, "wrong version number"), False),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), True),
        (wrapped(httpx.ConnectError(""), ssl.SSLCertVerificationError(1, "self-signed")), False),
        (wrapped(httpx.ConnectError(""), ssl.SSLEOFError(8, "EOF")), True),
        (
            wrapped(
                openai.APIConnectionError(request=REQUEST),
                httpx2.ConnectError(""),
                ssl.SSLCertVerificationError(),
            ),
            False,
        ),
        (wrapped(openai.APIConnectionError(request=REQUEST), httpx2.LocalProtocolError("")), False),
        (
            wrapped(openai.APIConnectionError(request=REQUEST), httpx2.ReadError(""), ConnectionResetError()),
            True,
        ),
        (wrapped(ValueError(), httpx.ConnectError("")), False),
        (wrapped(ValueError(), ssl.SSLEOFError(8, "EOF")), False),
    ],
    ids=repr,
)
def test_errors_are_told_by_their_shape(error: BaseException, expected: bool) -> None:
    """An error is transient for what it is, and permanent where its cause is one that no retry mends."""
    assert is_transient(error) is expected


def test_a_circle_of_causes_ends() -> None:
    """Errors that name each other as their cause are looked at once."""
    first, second = httpx.ConnectError(""), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert is_transient(first)


class Carrying(Exception):
    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.__dict__.update(attributes)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Carrying(status_code=503), 503),
        (Carrying(status=503), 503),
        (Carrying(code=503), 503),
        (Carrying(response=SimpleNamespace(status_code=503)), 503),
        (Carrying(response=SimpleNamespace(status=503)), 503),
        (Carrying(code="rate_limit_exceeded"), None),
        (Carrying(code=7), None),
        (Carrying(response=None), None),
    ],
)
def test_a_status_is_found_wherever_it_is(error: Exception, status: int | None) -> None:
    """A status is found on the error or its response, under each of its usual names."""
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"Retry-After": "20"}, 20.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": 20}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"Retry-After-Ms": "1500"}, 1.5),
        ({"retry-after-ms": "-3"}, 0.0),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({}, None),
        ([("retry-after", "20")], None),
    ],
)
@pytest.mark.parametrize("on_response", [False, True])
def test_retry_after_is_read(headers: Any, seconds: float | None, on_response: bool) -> None:
    """Seconds, milliseconds and dates are read, none is negative, and what is no time is none."""
    error = Carrying(response=SimpleNamespace(headers=headers)) if on_response else Carrying(headers=headers)
    assert retry_after(error) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_retry_after_may_be_a_date(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A date in the future is the time until then, wherever this machine stands."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True).replace("GMT", zone)
    error = RateLimited("", status_code=429, headers={"retry-after": date})
    try:
        assert 55 < (retry_after(error) or 0) <= 60
    finally:
        monkeypatch.undo()
        time.tzset()


def test_without_headers_nothing_was_asked() -> None:
    """An error without headers asks for no time."""
    assert retry_after(ValueError()) is None


@given(st.text())
def test_no_header_breaks_it(value: str) -> None:
    """Whatever a server sends as `Retry-After`, it is a time or none."""
    seconds = retry_after(Carrying(headers={"retry-after": value}))
    assert seconds is None or 0 <= seconds < float("inf")
