"""Reply: what the server sends to one request, whole or broken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from http import HTTPStatus
from typing import Any, TypeAlias

import attrs

from aeval.testing.server.answers import ModelRequest, NoAnswer, Speaker
from aeval.testing.server.anthropic_api import ANTHROPIC
from aeval.testing.server.api import Api, ApiError, Headers, Said
from aeval.testing.server.record import Exchange

__all__ = ["Reply", "Send", "failure", "reply_to"]

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_HTML = (b"content-type", b"text/html")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_PAGE = b"<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"


@attrs.frozen
class Reply:
    """A status, headers, and one body or a stream of parts."""

    status: int
    body: bytes = b""
    headers: Headers = attrs.Factory(list)
    content_type: tuple[bytes, bytes] = _JSON
    parts: Iterator[bytes] | None = None

    async def send_start(self, number: int, send: Send) -> None:
        """Send the status and the headers."""
        length = [(b"content-length", b"%d" % len(self.body))] if self.parts is None else []
        headers = [self.content_type, (b"x-request-id", b"req_%d" % number), *length, *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})

    async def send_half(self, send: Send) -> bytes:
        """Send the first half of the body, or of the parts, and return the rest."""
        if self.parts is None:
            half = len(self.body) // 2
            first, rest = [self.body[:half]], self.body[half:]
        else:
            parts = list(self.parts)
            half = len(parts) // 2
            first, rest = parts[:half], b"".join(parts[half:])
        for part in first:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        return rest


def failure(api: Api, error: ApiError, headers: Headers | None = None) -> Reply:
    """Make the reply that is an error."""
    return Reply(error.status, api.error(error), headers or [])


async def reply_to(
    request: ModelRequest, exchange: Exchange, api: Api, say: Speaker, headers: Headers
) -> Reply:
    """Make the reply to an admitted call: the answer, or what its fault makes of it."""
    fault = exchange.fault
    if fault == "overloaded":
        return failure(api, ApiError(529 if api is ANTHROPIC else 503, "Overloaded"), headers)
    if fault is not None and fault.isdigit():
        return failure(api, ApiError(int(fault), _phrase(int(fault))), headers)
    if fault == "html":
        return Reply(200, _PAGE, headers, _HTML)
    if fault is None:
        try:
            text = await say(request)
        except NoAnswer as error:
            return failure(api, ApiError(400, str(error)), headers)
        except Exception as error:  # noqa: BLE001 - whatever a test's own callable raises is its model's failure
            return failure(api, ApiError(500, f"the answer callable raised {error!r}"), headers)
    else:
        # A call that goes wrong uses up no scripted answer.
        text = "This answer goes wrong on its way."
    said = Said.of(exchange.number, text, request.max_tokens)
    exchange.output_tokens = said.output_tokens
    if request.stream and fault != "malformed":
        return Reply(200, b"", headers, _EVENTS, api.stream(request, said))
    body = api.answer(request, said)
    return Reply(200, body[: len(body) // 2] if fault == "malformed" else body, headers)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "The server failed."
