from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import attrs

ANSWER = {
    "model": "m-2025",
    "choices": [{"message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}},
}


@attrs.frozen
class Received:
    method: str
    target: str
    raw_headers: list[tuple[str, str]]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.raw_headers}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(body: Any = ANSWER, *, status: str = "200 OK", headers: dict[str, str] | None = None) -> bytes:
    """Write an answer as it goes over the wire."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


class Connection(asyncio.Protocol):
    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.buffer = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.server.connections.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.decode().split("\r\n")
        headers = [tuple(line.split(": ", 1)) for line in lines]
        named = {name.lower(): value for name, value in headers}
        if named.get("transfer-encoding") == "chunked":
            if not body.endswith(b"0\r\n\r\n"):
                return
            length = len(body)
        else:
            length = int(named.get("content-length", 0))
        if len(body) < length:
            return
        self.buffer = body[length:]
        method, target, _ = first.split(" ")
        self.server.receive(self, Received(method, target, headers, body[:length]))

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        self.transport.close()


class RawServer:
    """A server that says exactly what a test wants it to say, and keeps what it was sent.

    `respond` is the bytes to answer with, or a function of the connection that writes, closes or stays silent.
    """

    def __init__(self) -> None:
        self.respond: bytes | Callable[[Connection], None] = answer()
        self.requests: list[Received] = []
        self.connections: list[Connection] = []
        self.asked = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def receive(self, connection: Connection, request: Received) -> None:
        self.requests.append(request)
        self.asked.set()
        if callable(self.respond):
            self.respond(connection)
        else:
            connection.write(self.respond)
