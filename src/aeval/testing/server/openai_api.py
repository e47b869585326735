"""OpenAI's chat completions."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from aeval.testing.server.answers import ModelRequest
from aeval.testing.server.api import Api, ApiError, Headers, LimitState, Said, event, parts

__all__ = ["OPENAI", "duration"]


class _ChatCompletions(Api):
    route = "/v1/chat/completions"

    def _max_tokens(self, fields: Mapping[str, Any]) -> Any:
        newer = fields.get("max_completion_tokens")
        return fields.get("max_tokens") if newer is None else newer

    def answer(self, request: ModelRequest, said: Said) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": said.text,
            "refusal": None,
            "annotations": [],
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said)}
        return msgspec.json.encode(
            {
                **_completion(request, said, "chat.completion"),
                "choices": [choice],
                "usage": _usage(request, said),
            }
        )

    def stream(self, request: ModelRequest, said: Said) -> Iterator[bytes]:
        chunk = _completion(request, said, "chat.completion.chunk")
        for delta in (
            {"role": "assistant", "content": ""},
            *({"content": part} for part in parts(said.text)),
            {},
        ):
            finish = None if delta else _finish(said)
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            yield event({**chunk, "choices": [choice]})
        options = request.body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            yield event({**chunk, "choices": [], "usage": _usage(request, said)})
        yield b"data: [DONE]\n\n"

    def error(self, error: ApiError) -> bytes:
        kind = error.kind or ("server_error" if error.status >= 500 else "invalid_request_error")
        return msgspec.json.encode(
            {"error": {"message": error.message, "type": kind, "param": None, "code": error.code}}
        )

    def limit_headers(self, limits: list[LimitState]) -> Headers:
        headers: Headers = []
        for limit in limits:
            name = limit.name.encode()
            headers += [
                (b"x-ratelimit-limit-" + name, b"%d" % limit.limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % limit.remaining),
                (b"x-ratelimit-reset-" + name, duration(limit.reset).encode()),
            ]
        return headers


def duration(seconds: float) -> str:
    """Write a duration as OpenAI's headers do: `"120ms"`, `"1s"`, `"6m0s"`, `"1h0m0s"`."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _completion(request: ModelRequest, said: Said, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{said.number}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


def _usage(request: ModelRequest, said: Said) -> dict[str, Any]:
    return {
        "prompt_tokens": request.input_tokens,
        "completion_tokens": said.output_tokens,
        "total_tokens": request.input_tokens + said.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _finish(said: Said) -> str:
    return "length" if said.cut else "stop"


OPENAI: Api = _ChatCompletions()
