"""Api: what a model's API looks like on the wire, as far as OpenAI's and Anthropic's are alike."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from typing import Any

import attrs
import msgspec

from aeval.testing.server.answers import ModelRequest, count_tokens

__all__ = ["Api", "ApiError", "BadBody", "LimitState", "Said", "event", "parts", "retry_headers"]

Headers = list[tuple[bytes, bytes]]


class BadBody(Exception):
    """A request that the API would answer with status 400."""


@attrs.frozen
class Said:
    """What the model said to one request, in full or cut off at the request's `max_tokens`."""

    number: int
    text: str
    output_tokens: int
    cut: bool

    @classmethod
    def of(cls, number: int, text: str, max_tokens: int | None) -> Said:
        """Cut the text where the request's `max_tokens` ends it."""
        tokens = count_tokens(text)
        if max_tokens is None or tokens <= max_tokens:
            return cls(number, text, tokens, cut=False)
        return cls(number, text[: 4 * max_tokens], max_tokens, cut=True)


@attrs.frozen
class ApiError:
    """An error to answer; its `kind` and `code` are OpenAI's, where they do not follow from the status."""

    status: int
    message: str
    kind: str | None = None
    code: str | None = None


@attrs.frozen
class LimitState:
    """Where one limit stands, for the headers: what it is of, its size, what is left, seconds until all is free."""

    name: str
    limit: float
    remaining: float
    reset: float


class Api(ABC):
    """What the two APIs have in common."""

    route: str

    def parse(self, body: bytes, headers: Headers) -> ModelRequest:
        """Read a request.

        :raises BadBody: if it is not one
        """
        try:
            fields = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadBody(f"We could not parse the JSON body of your request: {error}") from None
        if not isinstance(fields, dict):
            raise BadBody("The body of your request is not a JSON object.")
        model, messages = fields.get("model"), fields.get("messages")
        if not isinstance(model, str) or not model:
            raise BadBody("you must provide a model parameter")
        if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
            raise BadBody("messages: at least one message is required")
        max_tokens = self._max_tokens(fields)
        if max_tokens is not None and (not isinstance(max_tokens, int) or max_tokens < 1):
            raise BadBody(f"max_tokens: {max_tokens!r} is not an integer above 0")
        texts = [_text(message.get("content")) for message in messages]
        users = [text for text, message in zip(texts, messages, strict=True) if message.get("role") == "user"]
        return ModelRequest(
            route=self.route,
            model=model,
            messages=tuple(messages),
            prompt=users[-1] if users else "",
            max_tokens=max_tokens,
            stream=fields.get("stream") is True,
            input_tokens=sum(map(count_tokens, texts)) + count_tokens(_text(fields.get("system"))),
            headers={
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in headers
                if name not in (b"authorization", b"x-api-key")
            },
            body=fields,
        )

    def _max_tokens(self, fields: Mapping[str, Any]) -> Any:
        return fields.get("max_tokens")

    @abstractmethod
    def answer(self, request: ModelRequest, said: Said) -> bytes:
        """Write an answer's body."""

    @abstractmethod
    def stream(self, request: ModelRequest, said: Said) -> Iterator[bytes]:
        """Write an answer as server-sent events."""

    @abstractmethod
    def error(self, error: ApiError) -> bytes:
        """Write an error's body."""

    @abstractmethod
    def limit_headers(self, limits: list[LimitState]) -> Headers:
        """Write where the limits stand."""


def retry_headers(wait: float, style: str | None) -> Headers:
    """Write when a refused request may be sent again.

    :param wait: seconds; infinity where it never may
    :param style: `"seconds"`, `"date"`, or None for nothing
    """
    if style is None or math.isinf(wait):
        return []
    if style == "date":
        return [(b"retry-after", formatdate(math.ceil(time.time() + wait), usegmt=True).encode())]
    return [(b"retry-after", b"%d" % math.ceil(wait)), (b"retry-after-ms", b"%d" % math.ceil(wait * 1000))]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def parts(text: str) -> list[str]:
    """Cut a text into the pieces in which it is streamed: words with the space before them."""
    words = text.split(" ")
    return [word if place == 0 else " " + word for place, word in enumerate(words)]


def event(data: Mapping[str, Any]) -> bytes:
    """Write one server-sent event."""
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
