from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from raw_server import Connection, RawServer, answer

from aeval.errors import (
    AuthenticationError,
    BadRequest,
    MalformedResponse,
    ModelConnectionError,
    ModelError,
    ModelStatusError,
    ModelTimeout,
    RateLimited,
    ServerError,
)
from aeval.models import ChatModel
from aeval.transient import is_transient, retry_after, status_of

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-0123456789"


async def error_of(server: RawServer, **arguments: Any) -> ModelError:
    async with ChatModel("m", base_url=server.url, api_key=KEY, **arguments) as model:
        with pytest.raises(ModelError) as caught:
            await model.generate("?")
    assert f"m at {server.url}/chat/completions: " in str(caught.value)
    assert KEY not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind", "transient"),
    [
        (304, ModelStatusError, False),
        (400, BadRequest, False),
        (401, AuthenticationError, False),
        (403, AuthenticationError, False),
        (404, BadRequest, False),
        (408, ModelStatusError, True),
        (409, ModelStatusError, True),
        (413, BadRequest, False),
        (422, BadRequest, False),
        (425, ModelStatusError, True),
        (429, RateLimited, True),
        (500, ServerError, True),
        (503, ServerError, True),
        (529, ServerError, True),
    ],
)
async def test_each_status_is_its_error(
    server: RawServer, status: int, kind: type[ModelStatusError], transient: bool
) -> None:
    """Every error status is raised as its own class, with what the provider said, and known as transient or not."""
    body = {"error": {"message": "Something is wrong.", "type": "some_type", "code": "some_code"}}
    server.respond = (
        answer(body, status=f"{status} Reason") if status != 304 else answer(b"", status="304 Reason")
    )
    error = await error_of(server)
    assert type(error) is kind
    assert isinstance(error, ModelStatusError)
    assert (error.status_code, status_of(error)) == (status, status)
    assert is_transient(error) is transient
    if status != 304:
        assert error.code == "some_code"
        assert f": {status} Reason (some_code): Something is wrong." in str(error)


async def test_the_headers_are_kept(server: RawServer) -> None:
    """An error has the answer's headers by their names in lower case, and so its `Retry-After` is found."""
    headers = {"Retry-After": "7", "X-RateLimit-Remaining-Requests": "0", "Set-Cookie": "session=1"}
    server.respond = answer({}, status="429 Too Many Requests", headers=headers)
    error = await error_of(server)
    assert isinstance(error, RateLimited)
    assert retry_after(error) == 7.0
    assert error.headers["x-ratelimit-remaining-requests"] == "0"
    assert "set-cookie" not in error.headers


@pytest.mark.parametrize(
    ("body", "text", "code"),
    [
        ({"error": "model 'm' not found"}, ": model 'm' not found", None),
        (
            {"object": "error", "message": "Too long", "type": "invalid", "code": 400},
            " (invalid): Too long",
            "invalid",
        ),
        ({"detail": "Not Found"}, ": Not Found", None),
        ({"error": ["odd"]}, """: '{"error": ["odd"]}'""", None),
        ([1], ": '[1]'", None),
        (b"<html>\n<h1>Bad   Gateway</h1>", ": '<html> <h1>Bad Gateway</h1>'", None),
        (b"", ": an empty body", None),
        (b"[" * 100_000, ": '[[[[", None),
        (b'{"error": "' + b"x" * 1_100_000 + b'"}', """: '{"error": "xxx""", None),
        ({"error": {"message": "x " * 500}}, "x x…", None),
    ],
    ids=["ollama", "vllm", "fastapi", "odd", "list", "html", "empty", "nested", "huge", "long"],
)
async def test_every_provider_is_understood(server: RawServer, body: Any, text: str, code: str | None) -> None:
    """The provider's words are found in the shapes that servers give them, and are kept short."""
    server.respond = answer(body, status="400 Bad Request")
    error = await error_of(server)
    assert isinstance(error, BadRequest)
    assert text in str(error)
    assert error.code == code
    assert len(str(error)) < 400


async def test_a_missing_model_is_told_how_to_look_for_it(server: RawServer) -> None:
    """404 says what to check."""
    server.respond = answer({}, status="404 Not Found")
    assert "Check the name of the model, and base_url" in str(await error_of(server))


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (f"https://me:{KEY}@other.example/v1?key=abc#x", "redirects to https://other.example/v1;"),
        ("/login", "redirects to /login;"),
        ("", "redirects to nowhere;"),
    ],
)
@pytest.mark.parametrize("own_client", [False, True])
async def test_a_redirect_is_named_and_not_followed(
    server: RawServer, location: str, shown: str, own_client: bool
) -> None:
    """A redirect is an error that names the place, without what is secret in it, and the key does not go there."""
    server.respond = answer(b"", status="307 Temporary Redirect", headers={"location": location})
    async with httpx.AsyncClient(follow_redirects=True) as client:
        error = await error_of(server, http_client=client if own_client else None)
    assert type(error) is ModelStatusError
    assert shown in str(error)
    assert "key=abc" not in str(error)
    assert not is_transient(error)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "not JSON (Input data was truncated): an empty body"),
        (b'{"choices": [', "not JSON (Input data was truncated): '{\"choices\": ['"),
        (b"<html><body>Welcome</body></html>", "'<html><body>Welcome</body></html>'"),
        (b'{"a": "\xff"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([1, 2], "not a JSON object: '[1, 2]'"),
        ({"choices": []}, "length >= 1 - at `$.choices`"),
        ({}, "missing required field `choices`"),
        ({"choices": [{}]}, "missing required field `message`"),
        ({"choices": [{"message": {"content": 3}}]}, "at `$.choices[0].message.content`"),
        (
            {"error": {"message": "quota"}},
            'an error in place of an answer: \'{"error": {"message": "quota"}}\'',
        ),
        (json.dumps({"echo": KEY}).encode(), "***"),
    ],
)
async def test_a_useless_answer_is_malformed(server: RawServer, body: Any, text: str) -> None:
    """An answer with status 200 that is no answer says what it is instead, and is worth another try."""
    server.respond = answer(body)
    error = await error_of(server)
    assert type(error) is MalformedResponse
    assert text in str(error)
    assert is_transient(error)


async def test_a_stalled_server_is_a_timeout(server: RawServer) -> None:
    """A server that does not answer is a timeout that names the seconds."""
    server.respond = lambda connection: None
    error = await error_of(server, timeout=0.05)
    assert type(error) is ModelTimeout
    assert "no whole answer within 0.05 s" in str(error)
    assert is_transient(error)


async def test_an_answer_that_stops_half_way_is_a_timeout(server: RawServer) -> None:
    """The time of a call runs until the end of its answer."""
    server.respond = answer()[:-20]
    assert type(await error_of(server, timeout=0.05)) is ModelTimeout


def _half(connection: Connection) -> None:
    connection.write(answer()[:-20])
    connection.close()


def _gone(connection: Connection) -> None:
    connection.close()


def _reset(connection: Connection) -> None:
    connection.transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
    )
    connection.transport.abort()


def _nonsense(connection: Connection) -> None:
    connection.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


@pytest.mark.parametrize("misbehave", [_half, _gone, _reset, _nonsense])
@pytest.mark.parametrize("own_client", [False, True])
async def test_a_lost_connection_is_one(
    server: RawServer, misbehave: Callable[[Connection], None], own_client: bool
) -> None:
    """A connection that is closed, reset or no HTTP is a connection error, worth another try."""
    server.respond = misbehave
    async with httpx.AsyncClient() as client:
        error = await error_of(server, http_client=client if own_client else None)
    assert type(error) is ModelConnectionError
    assert is_transient(error)


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used(server: RawServer) -> None:
    """A connection that the server closed between two calls is replaced unnoticed."""
    async with ChatModel("m", base_url=server.url) as model:
        await model.generate("?")
        server.connections[0].close()
        [pool] = model._transport._pools.values()
        [idle] = pool.session.connector._conns.values()
        while idle[0][0].is_connected():  # until the news has arrived
            await asyncio.sleep(0)
        assert await model.generate("?") == "4"
    assert len(server.connections) == 2


async def test_a_refused_connection_is_a_connection_error(closed_port: int) -> None:
    """A server that is not there is a connection error, worth another try."""
    async with ChatModel("m", base_url=f"http://127.0.0.1:{closed_port}/v1") as model:
        with pytest.raises(ModelConnectionError, match=r"no connection: .*127\.0\.0\.1") as caught:
            await model.generate("?")
    assert is_transient(caught.value)


async def test_a_server_without_tls_is_not_tried_again(server: RawServer) -> None:
    """A server that does not speak TLS will not do so at the next try."""
    async with ChatModel("m", base_url=server.url.replace("http:", "https:")) as model:
        with pytest.raises(ModelConnectionError) as caught:
            call = asyncio.create_task(model.generate("?"))
            while not server.connections:
                await asyncio.sleep(0)
            # What it says to a greeting that it does not understand.
            server.connections[0].write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await call
    assert not is_transient(caught.value)


async def test_a_broken_compression_is_malformed(server: RawServer) -> None:
    """An answer that says that it is compressed and is not, is malformed."""
    server.respond = answer(b"not gzip", headers={"content-encoding": "gzip"})
    error = await error_of(server)
    assert type(error) is MalformedResponse
    assert "cannot be decompressed" in str(error)


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (httpx.ConnectTimeout(""), ModelTimeout, "no connection within 3 s (connect_timeout=)"),
        (httpx.PoolTimeout("full"), ModelTimeout, "http_client had no free connection in time: full"),
        (httpx.ReadTimeout(""), ModelTimeout, "no whole answer within 60 s (timeout=)"),
        (httpx.ProxyError(""), ModelConnectionError, "ProxyError"),
    ],
)
async def test_the_failures_of_a_users_client_are_named(
    raised: Exception, kind: type[ModelError], text: str
) -> None:
    """What a client of the user's own raises becomes the model's error."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise raised

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        model = ChatModel("m", base_url="http://model.test/v1", connect_timeout=3, http_client=client)
        with pytest.raises(kind) as caught:
            await model.generate("?")
    assert text in str(caught.value)


async def test_a_closed_client_is_a_bug_and_not_a_lost_connection() -> None:
    """What is no failure of the network passes as it is."""
    client = httpx.AsyncClient()
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await ChatModel("m", base_url="http://model.test/v1", http_client=client).generate("?")
