"""AiohttpTransport: httpx's requests over aiohttp's connections.

httpx's own pool looks through all of its connections several times for every request: work that grows with
the square of the calls in flight, and at some hundreds of them takes longer than the calls. aiohttp finds a
connection in constant time, and reads and writes HTTP in C.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, cast

import aiohttp
import attrs
import httpx
import yarl

from aeval.errors import ConfigurationError
from aeval.middleware.slots import Slots
from aeval.models.proxy import Proxy, proxy_at, proxy_from_environment

__all__ = ["AiohttpTransport"]

# aiohttp would add these where a request has none of its own.
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

# aiohttp warns of larger bodies that are given as bytes.
_LARGE_BODY = 1 << 20

# How aiohttp's error begins where the body could not be sent.
_UNWRITTEN = "Can not write request body"

# What each of aiohttp's errors is to httpx; the first that fits.
_KINDS: tuple[tuple[type[Exception], type[httpx.RequestError], str | None], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout, "no connection in time"),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout, "nothing more from the server in time"),
    (aiohttp.ClientConnectorError, httpx.ConnectError, None),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError, "the server disconnected without an answer"),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError, None),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError, None),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError, None),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol, None),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol, None),
    (aiohttp.ClientOSError, httpx.ReadError, None),
    (aiohttp.ClientError, httpx.NetworkError, None),
    # A header that holds a line break, for example.
    (ValueError, httpx.LocalProtocolError, None),
)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Carry httpx's requests over aiohttp's connections.

    ::

        async with httpx.AsyncClient(transport=AiohttpTransport(max_connections=500)) as client:
            ...

    It keeps no cookies, follows no redirects, changes no header, and leaves decompression to httpx. Of httpx's
    timeouts it knows `connect`, `read` and `pool`; `write` is not looked at. It may be made outside of an
    event loop, and be used from several loops: each gets connections of its own, which are closed by
    `aclose()`, and at the latest when the loop is shut down.

    :param max_connections: connections open at once in one event loop; None for no limit
    :param keepalive_expiry: seconds for which an idle connection is kept. Servers close theirs too, many after
        5 seconds, and a request that meets the closing is lost: so be the first to close
    :param verify: whether to verify certificates, or the TLS context to use
    :param proxy: URL of an HTTP proxy for every request
    :param trust_env: whether to take proxies from the environment (`HTTPS_PROXY`, `NO_PROXY` ...) where
        `proxy` is not given. This machine itself is always reached directly
    :raises ConfigurationError: if `max_connections`, `keepalive_expiry` or `proxy` cannot work
    """

    def __init__(
        self,
        *,
        max_connections: int | None = 100,
        keepalive_expiry: float = 4.0,
        verify: ssl.SSLContext | bool = True,
        proxy: str | None = None,
        trust_env: bool = True,
    ) -> None:
        if max_connections is not None and max_connections < 1:
            raise ConfigurationError(
                f"max_connections is {max_connections!r}: give a number of 1 or more, or None for no limit"
            )
        if not keepalive_expiry > 0:
            raise ConfigurationError(f"keepalive_expiry is {keepalive_expiry!r}: give seconds, more than 0")
        self._max_connections = max_connections
        self._keepalive_expiry = keepalive_expiry
        self._ssl = httpx.create_ssl_context(verify=verify, trust_env=trust_env)
        self._proxy = None if proxy is None else proxy_at(proxy)
        self._trust_env = trust_env
        # The environment's proxy for each scheme and host that was asked for.
        self._proxies: dict[tuple[str, str], Proxy | None] = {}
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}

    def __repr__(self) -> str:
        return f"AiohttpTransport(max_connections={self._max_connections})"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer, the body still to be read.

        :param request: an httpx request
        :return: the answer; close it, or read it to its end, to give the connection back
        :raises httpx.TransportError: one of its kinds, if no answer arrives
        """
        pool = self._pools.get(asyncio.get_running_loop()) or await self._open()
        timeouts = request.extensions.get("timeout") or {}
        await pool.take(timeouts.get("pool"))
        proxy = self._proxy or self._environment_proxy(request.url)
        answered = False
        try:
            answer = await pool.session.request(
                request.method,
                yarl.URL(str(request.url), encoded=True),
                headers=_headers_of(request, proxy),
                data=_body_of(request),
                timeout=_timeout(timeouts.get("connect"), timeouts.get("read")),
                allow_redirects=False,
                proxy=proxy.url if proxy else None,
                proxy_headers=proxy.headers if proxy else None,
                server_hostname=request.extensions.get("sni_hostname"),
            )
            answered = True
        except (aiohttp.ClientError, ValueError) as error:
            raise _httpx_error(error, request) from error
        finally:
            # From here on the body holds the place, and gives it back when it is closed.
            if not answered:
                pool.give_back()
        return httpx.Response(
            answer.status,
            headers=cast("list[tuple[bytes, bytes]]", answer.raw_headers),
            stream=_Body(answer, pool, request),
            request=request,
            extensions=_extensions(answer),
        )

    async def aclose(self) -> None:
        """Close the connections of the running event loop. Used again, the transport opens new ones."""
        self._forget_closed_loops()
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.life.aclose()

    async def _open(self) -> _Pool:
        self._forget_closed_loops()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=self._keepalive_expiry, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
        )
        slots = None if self._max_connections is None else Slots(self._max_connections)
        pool = _Pool(session, slots, _life(session))
        await anext(pool.life)
        self._pools[asyncio.get_running_loop()] = pool
        return pool

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._pools if loop.is_closed()]:
            self._pools.pop(loop).forget()

    def _environment_proxy(self, url: httpx.URL) -> Proxy | None:
        if not self._trust_env:
            return None
        place = (url.scheme, url.host)
        if place not in self._proxies:
            self._proxies[place] = proxy_from_environment(*place)
        return self._proxies[place]


@attrs.define(eq=False)
class _Pool:
    """The connections of one event loop."""

    session: aiohttp.ClientSession
    slots: Slots | None
    life: AsyncGenerator[None, None]

    async def take(self, seconds: float | None) -> None:
        """Wait for one of the connections that may be open at once."""
        if self.slots is None:
            return
        if self.slots.free:
            self.slots.free -= 1
            return
        try:
            async with asyncio.timeout(seconds):
                await self.slots.wait()
        except TimeoutError as error:
            raise httpx.PoolTimeout(f"no free connection within {seconds} s") from error

    def give_back(self) -> None:
        if self.slots is not None:
            self.slots.release()

    def forget(self) -> None:
        """Drop the session of a closed loop: nothing in it can be waited for any more."""
        with suppress(StopIteration):
            self.session.close().send(None)


async def _life(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    # An event loop closes the asynchronous generators that were started in it before it is closed itself, and
    # one that is dropped while the loop runs: so whoever forgets `aclose()` leaves no open connection behind.
    try:
        yield
    finally:
        await session.close()


class _Body(httpx.AsyncByteStream):
    """An answer's body, which holds its connection until it is closed."""

    def __init__(self, answer: aiohttp.ClientResponse, pool: _Pool, request: httpx.Request) -> None:
        self._answer = answer
        self._pool: _Pool | None = pool
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_any():
                yield chunk
        except aiohttp.ClientError as error:
            raise _httpx_error(error, self._request) from error

    async def aclose(self) -> None:
        # An answer that was not read to its end takes its connection with it.
        self._answer.release()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.give_back()


@lru_cache(maxsize=64)
def _timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)


def _headers_of(request: httpx.Request, proxy: Proxy | None) -> list[tuple[str, str]]:
    # aiohttp sets the transfer encoding itself, and refuses to find one there.
    encoding = request.headers.encoding
    headers = [
        (name.decode("ascii"), value.decode(encoding))
        for name, value in request.headers.raw
        if name.lower() != b"transfer-encoding"
    ]
    if proxy is not None and request.url.scheme == "http":
        # There is no tunnel to ask for first: the proxy reads the request itself.
        headers.extend(proxy.headers.items())
    return headers


def _body_of(request: httpx.Request) -> io.BytesIO | bytes | AsyncIterable[bytes] | None:
    try:
        body = request.content
    except httpx.RequestNotRead:
        return cast("AsyncIterable[bytes]", request.stream)
    return io.BytesIO(body) if len(body) > _LARGE_BODY else body or None


def _extensions(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    version = answer.version
    extensions = {"http_version": b"HTTP/1.0" if version == aiohttp.HttpVersion10 else b"HTTP/1.1"}
    if answer.reason:
        extensions["reason_phrase"] = answer.reason.encode("ascii", "replace")
    return extensions


def _httpx_error(error: Exception, request: httpx.Request) -> httpx.RequestError:
    kind, message = next((kind, message) for raised, kind, message in _KINDS if isinstance(error, raised))
    # aiohttp's own texts would name the whole URL, or speak of TLS where there is none.
    if isinstance(error, aiohttp.ClientResponseError):
        message = f"{error.status}, {error.message}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        message = f"cannot connect to {error.host}:{error.port}: {error.__cause__}"
    elif isinstance(error, aiohttp.ClientOSError) and (error.strerror or "").startswith(_UNWRITTEN):
        kind, message = httpx.WriteError, "the connection was closed while the request was sent"
    return kind(message or str(error) or type(error).__name__, request=request)
