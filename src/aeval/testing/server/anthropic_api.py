"""Anthropic's messages."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from aeval.testing.server.answers import ModelRequest
from aeval.testing.server.api import Api, ApiError, Headers, LimitState, Said, event, parts

__all__ = ["ANTHROPIC"]

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_USAGE = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "service_tier": "standard"}


class _Messages(Api):
    route = "/v1/messages"

    def answer(self, request: ModelRequest, said: Said) -> bytes:
        usage = {**_USAGE, "input_tokens": request.input_tokens, "output_tokens": said.output_tokens}
        return msgspec.json.encode(
            {
                **self._message(request, said),
                "content": [{"type": "text", "text": said.text}],
                "stop_reason": self._stop(said),
                "usage": usage,
            }
        )

    def stream(self, request: ModelRequest, said: Said) -> Iterator[bytes]:
        usage = {**_USAGE, "input_tokens": request.input_tokens, "output_tokens": 1}
        message = {**self._message(request, said), "content": [], "stop_reason": None, "usage": usage}
        yield _named_event({"type": "message_start", "message": message})
        block = {"type": "text", "text": ""}
        yield _named_event({"type": "content_block_start", "index": 0, "content_block": block})
        for part in parts(said.text):
            delta = {"type": "text_delta", "text": part}
            yield _named_event({"type": "content_block_delta", "index": 0, "delta": delta})
        yield _named_event({"type": "content_block_stop", "index": 0})
        end = {"stop_reason": self._stop(said), "stop_sequence": None}
        yield _named_event(
            {"type": "message_delta", "delta": end, "usage": {"output_tokens": said.output_tokens}}
        )
        yield _named_event({"type": "message_stop"})

    def _message(self, request: ModelRequest, said: Said) -> dict[str, Any]:
        return {
            "id": f"msg_{said.number}",
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "stop_sequence": None,
        }

    def _stop(self, said: Said) -> str:
        return "max_tokens" if said.cut else "end_turn"

    def error(self, error: ApiError) -> bytes:
        status = error.status
        kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": error.message}})

    def limit_headers(self, limits: list[LimitState]) -> Headers:
        headers: Headers = []
        for limit in limits:
            name = b"anthropic-ratelimit-" + limit.name.encode()
            free_at = datetime.fromtimestamp(math.ceil(time.time() + limit.reset), UTC)
            headers += [
                (name + b"-limit", b"%d" % limit.limit),
                (name + b"-remaining", b"%d" % limit.remaining),
                (name + b"-reset", free_at.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
            ]
        return headers


def _named_event(data: Mapping[str, Any]) -> bytes:
    return b"event: " + str(data["type"]).encode() + b"\n" + event(data)


ANTHROPIC: Api = _Messages()
