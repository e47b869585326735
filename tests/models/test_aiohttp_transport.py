from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest
from raw_server import Connection, RawServer, answer

from aeval.errors import ConfigurationError
from aeval.models import AiohttpTransport

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=AiohttpTransport()) as client:
        yield client


async def test_headers_go_as_they_are(server: RawServer, client: httpx.AsyncClient) -> None:
    """A request goes out with exactly the headers that httpx gave it, in their spelling, and repeated ones too."""
    request = httpx.Request("GET", server.url, headers=[(b"X-Mixed", b"a"), (b"X-Mixed", "ü".encode())])
    await client.send(request)
    sent = [(name, value) for name, value in server.requests[0].raw_headers]
    assert sent == [("Host", f"127.0.0.1:{server.port}"), ("X-Mixed", "a"), ("X-Mixed", "ü")]


async def test_the_answer_is_httpxs(server: RawServer, client: httpx.AsyncClient) -> None:
    """Status, reason, version, repeated headers and body arrive as with httpx's own transport."""
    server.respond = answer(
        b"body", status="418 I'm a teapot", headers={"Set-Cookie": "a=1\r\nSet-Cookie: b=2"}
    )
    response = await client.get(server.url)
    assert (response.status_code, response.reason_phrase, response.http_version) == (
        418,
        "I'm a teapot",
        "HTTP/1.1",
    )
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert response.headers.raw[1] == (b"Set-Cookie", b"a=1")
    assert response.text == "body"


async def test_old_http_is_told(server: RawServer, client: httpx.AsyncClient) -> None:
    """An answer of HTTP/1.0 without a reason is known as such."""
    server.respond = lambda connection: (connection.write(b"HTTP/1.0 200 \r\n\r\nbody"), connection.close())
    response = await client.get(server.url)
    assert (response.http_version, response.text) == ("HTTP/1.0", "body")


async def test_no_cookies_are_kept(server: RawServer) -> None:
    """The transport sends no cookie that it was sent; that is the client's business."""
    server.respond = answer(headers={"set-cookie": "a=1"})
    transport = AiohttpTransport()
    for _ in range(2):
        response = await transport.handle_async_request(httpx.Request("GET", server.url))
        await response.aread()
    await transport.aclose()
    assert "cookie" not in server.requests[1].headers


async def test_redirects_are_the_clients_business(server: RawServer, client: httpx.AsyncClient) -> None:
    """A redirect is an answer like any other."""
    server.respond = answer(b"", status="302 Found", headers={"location": "/other"})
    response = await client.get(server.url)
    assert (response.status_code, len(server.requests)) == (302, 1)


async def test_httpx_decompresses(server: RawServer, client: httpx.AsyncClient) -> None:
    """A compressed body arrives compressed, and httpx decompresses it."""
    server.respond = answer(gzip.compress(b"text"), headers={"content-encoding": "gzip"})
    async with client.stream("GET", server.url) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert gzip.decompress(raw) == b"text"
    assert (await client.get(server.url)).text == "text"


async def test_an_answer_is_streamed(server: RawServer, client: httpx.AsyncClient) -> None:
    """Parts of a body can be read as they come."""
    connections = []
    server.respond = lambda connection: (
        connections.append(connection),
        connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"),
    )
    async with client.stream("GET", server.url) as response:
        parts = response.aiter_bytes()
        assert await anext(parts) == b"one"
        connections[0].write(b"3\r\ntwo\r\n0\r\n\r\n")
        assert [part async for part in parts] == [b"two"]


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
async def test_a_body_is_sent(server: RawServer, client: httpx.AsyncClient, size: int) -> None:
    """Bodies of every size arrive whole, an empty one with its length."""
    await client.post(server.url, content=b"x" * size)
    assert server.requests[0].body == b"x" * size
    assert server.requests[0].headers["content-length"] == str(size)


async def test_a_stream_is_sent(server: RawServer, client: httpx.AsyncClient) -> None:
    """A body that is made while it is sent goes out in chunks."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    await client.post(server.url, content=parts())
    assert server.requests[0].headers["transfer-encoding"] == "chunked"
    assert server.requests[0].body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_connections_are_used_again(server: RawServer, client: httpx.AsyncClient) -> None:
    """One call after another goes over one connection; an answer that was left unread takes its own with it."""
    for _ in range(3):
        await client.get(server.url)
    assert len(server.connections) == 1
    server.respond = answer(b"x" * 10)[:-1]
    async with client.stream("GET", server.url):
        pass
    server.respond = answer()
    await client.get(server.url)
    assert len(server.connections) == 2


async def test_the_number_of_connections_is_limited(server: RawServer) -> None:
    """Calls beyond the limit wait for a connection, as long as httpx's pool timeout allows."""
    held: list[Connection] = []
    server.respond = held.append
    transport = AiohttpTransport(max_connections=1)
    async with httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(None, pool=0.02)) as client:
        first = asyncio.create_task(client.get(server.url))
        await server.asked.wait()
        with pytest.raises(httpx.PoolTimeout, match=r"no free connection within 0\.02 s"):
            await client.get(server.url)
        second = asyncio.create_task(client.get(server.url, timeout=None))
        server.respond = answer()
        held[0].write(answer())
        assert [(await first).status_code, (await second).status_code] == [200, 200]
    assert len(server.connections) == 1


async def test_a_failed_call_gives_its_place_back(server: RawServer, closed_port: int) -> None:
    """A call that fails or is cancelled frees its place."""
    async with httpx.AsyncClient(transport=AiohttpTransport(max_connections=1), timeout=None) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{closed_port}")
        server.respond = lambda connection: None
        call = asyncio.create_task(client.get(server.url))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        server.respond = answer()
        assert (await client.get(server.url)).status_code == 200


async def test_closing_twice_gives_one_place_back(server: RawServer) -> None:
    """A body that is closed again does not free a place that is no longer its own."""
    transport = AiohttpTransport(max_connections=1)
    request = httpx.Request("GET", server.url, extensions={"timeout": {"pool": 0.02}})
    response = await transport.handle_async_request(request)
    await response.aread()
    await response.stream.aclose()
    server.respond = lambda connection: None
    call = asyncio.create_task(transport.handle_async_request(request))
    while len(server.requests) < 2:
        await asyncio.sleep(0)
    with pytest.raises(httpx.PoolTimeout):
        await transport.handle_async_request(request)
    call.cancel()
    await asyncio.wait([call])
    await transport.aclose()


def _drop_half(connection: Connection) -> None:
    connection.write(answer()[:-5])
    connection.close()


@pytest.mark.parametrize(
    ("respond", "kind", "text"),
    [
        (lambda connection: None, httpx.ReadTimeout, "nothing more from the server in time"),
        (answer()[:-5], httpx.ReadTimeout, "nothing more from the server in time"),
        (lambda connection: connection.close(), httpx.RemoteProtocolError, "disconnected without an answer"),
        (_drop_half, httpx.RemoteProtocolError, "not completed"),
        (b"nonsense\r\n\r\n", httpx.RemoteProtocolError, "400, "),
    ],
    ids=["silent", "half", "closed", "cut", "nonsense"],
)
async def test_failures_are_httpxs(
    server: RawServer, client: httpx.AsyncClient, respond: Any, kind: type[Exception], text: str
) -> None:
    """What goes wrong is raised as httpx raises it, with its request, and without the URL in its text."""
    server.respond = respond
    with pytest.raises(httpx.TransportError, match=text) as caught:
        await client.get(f"{server.url}?key=secret", timeout=httpx.Timeout(5, read=0.05))
    assert type(caught.value) is kind
    assert caught.value.request.url.path == "/v1"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            aiohttp.ConnectionTimeoutError("Connection timeout to host http://host/?key=secret"),
            httpx.ConnectTimeout,
        ),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), httpx.ReadError),
        (
            aiohttp.ClientOSError(None, "Can not write request body for http://host/?key=secret"),
            httpx.WriteError,
        ),
        (aiohttp.ClientConnectionError("Connector is closed."), httpx.NetworkError),
    ],
)
async def test_rare_failures_are_httpxs(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    """What a test cannot bring about on a local socket is raised as httpx's too."""

    async def fail(*arguments: Any, **keywords: Any) -> None:
        raise error

    monkeypatch.setattr(aiohttp.ClientSession, "_request", fail)
    async with httpx.AsyncClient(transport=AiohttpTransport()) as client:
        with pytest.raises(httpx.TransportError) as caught:
            await client.get(server.url)
    assert type(caught.value) is kind
    assert str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "kind"), [("ftp://host/", httpx.UnsupportedProtocol), ("http:///path", httpx.UnsupportedProtocol)]
)
async def test_an_impossible_url_is_httpxs_error(url: str, kind: type[Exception]) -> None:
    """A URL that is not HTTP is what httpx calls it."""
    transport = AiohttpTransport(trust_env=False)
    with pytest.raises(kind):
        await transport.handle_async_request(httpx.Request("GET", url))
    await transport.aclose()


async def test_a_header_with_a_line_break_is_refused(server: RawServer, client: httpx.AsyncClient) -> None:
    """A header that would smuggle in another is refused, and not shown."""
    with pytest.raises(httpx.LocalProtocolError) as caught:
        await client.get(server.url, headers={"x-key": "secret\r\nx-other: 1"})
    assert "secret" not in str(caught.value)
    assert not server.requests


async def test_a_proxy_is_asked(server: RawServer) -> None:
    """A given proxy gets the whole URL and its own credentials."""
    proxy = f"http://me:p%20w@127.0.0.1:{server.port}"
    async with httpx.AsyncClient(transport=AiohttpTransport(proxy=proxy)) as client:
        assert (await client.get("http://model.test/v1")).status_code == 200
    [request] = server.requests
    assert request.target == "http://model.test/v1"
    assert request.headers["proxy-authorization"] == aiohttp.encode_basic_auth("me", "p w")


async def test_a_proxy_that_refuses_a_tunnel_is_a_proxy_error(server: RawServer) -> None:
    """For HTTPS the proxy is asked for a tunnel, and its refusal is named without its password."""
    server.respond = answer(b"", status="407 Proxy Authentication Required")
    proxy = f"me:pass@127.0.0.1:{server.port}"
    async with httpx.AsyncClient(transport=AiohttpTransport(proxy=proxy)) as client:
        with pytest.raises(httpx.ProxyError, match="407, Proxy Authentication Required") as caught:
            await client.get("https://model.test/v1", headers={"authorization": "secret"})
    [request] = server.requests
    assert (request.method, request.target) == ("CONNECT", "model.test:443")
    assert request.headers["proxy-authorization"] == aiohttp.encode_basic_auth("me", "pass")
    assert "authorization" not in request.headers
    assert "pass" not in str(caught.value)


async def test_the_environments_proxy_is_asked(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is asked for other hosts, but not for those that it exempts, nor for this machine."""
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "direct.test")
    async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=httpx.Timeout(5, connect=0.2)) as client:
        for _ in range(2):
            await client.get("http://model.test/v1")
        await client.get(server.url)
        await client.get(f"http://localhost:{server.port}/v1")
        with pytest.raises(httpx.TransportError):
            await client.get("http://direct.test/v1")
    assert [request.target for request in server.requests] == ["http://model.test/v1"] * 2 + ["/v1"] * 2


async def test_the_environment_may_be_left_alone(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `trust_env`, the environment's proxies are not looked at."""
    monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{server.port}")
    async with httpx.AsyncClient(transport=AiohttpTransport(trust_env=False)) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://model.invalid/v1")
    async with httpx.AsyncClient(transport=AiohttpTransport()) as client:
        await client.get("http://model.invalid/v1")
    assert [request.target for request in server.requests] == ["http://model.invalid/v1"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"max_connections": 0}, "max_connections is 0"),
        ({"keepalive_expiry": 0}, "keepalive_expiry is 0"),
        ({"keepalive_expiry": float("nan")}, "keepalive_expiry is nan"),
        ({"proxy": "socks5://me:pass@host:1080"}, "socks5://host"),
        ({"proxy": "http://"}, "cannot be used"),
    ],
)
def test_what_cannot_work_is_refused(arguments: dict[str, Any], text: str) -> None:
    """An argument that cannot work is an error at construction, without a password in it."""
    with pytest.raises(ConfigurationError) as caught:
        AiohttpTransport(**arguments)
    assert text in str(caught.value)
    assert "pass@" not in str(caught.value)
    assert repr(AiohttpTransport()) == "AiohttpTransport(max_connections=100)"
