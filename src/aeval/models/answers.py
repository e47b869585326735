"""Answers of a provider, and their absence, made into data or into the error that they are."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import httpx
import msgspec

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
from aeval.models.endpoint import Endpoint

__all__ = ["count", "decoded", "failure", "malformed", "status_error"]

# Decoding takes about 5 ms a megabyte; above this, it is done in a thread.
_LARGE = 1_000_000

_SHOWN = 200
_KINDS: dict[int, type[ModelStatusError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    408: ModelStatusError,
    409: ModelStatusError,
    425: ModelStatusError,
    429: RateLimited,
}


async def decoded(endpoint: Endpoint, response: httpx.Response) -> dict[str, Any]:
    """Return the object that an answer holds.

    :raises MalformedResponse: if it holds none, or a report of an error
    """
    content = response.content
    try:
        if len(content) > _LARGE:
            raw = await anyio.to_thread.run_sync(msgspec.json.decode, content)
        else:
            raw = msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:
        raise malformed(endpoint, response, f"an answer that is not JSON ({error})") from error
    if not isinstance(raw, dict):
        raise malformed(endpoint, response, "an answer that is not a JSON object")
    if raw.get("error"):
        raise malformed(endpoint, response, "an error in place of an answer")
    return raw


def count(usage: Any, *names: str) -> int:
    """Return the number under the names in an answer's usage, or 0: a good answer is not lost for a missing count.

    :param usage: a mapping, or whatever stands in its place
    :param names: the way to the number
    """
    for name in names:
        usage = usage.get(name) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) else 0


def malformed(endpoint: Endpoint, response: httpx.Response, what: str) -> MalformedResponse:
    """Describe an answer that is not what the API promises."""
    return MalformedResponse(
        endpoint.message(
            f"the server sent status {response.status_code} with {what}: {_shown(endpoint, response)}"
        )
    )


def status_error(endpoint: Endpoint, response: httpx.Response) -> ModelStatusError:
    """Return the error that an answer's status stands for."""
    status = response.status_code
    told, code = _told(response)
    text = f"{status} {response.reason_phrase}".rstrip()
    if code:
        text += f" ({code})"
    text += f": {_shortened(told) if told else _shown(endpoint, response)}"
    advice = _advice(endpoint, response)
    return _kind(status)(
        endpoint.message(text.rstrip(".") + advice if advice else text),
        status_code=status,
        code=None if code is None else endpoint.redacted(code),
        headers={
            name.lower(): endpoint.redacted(value)
            for name, value in response.headers.items()
            if name.lower() != "set-cookie"
        },
    )


def failure(endpoint: Endpoint, error: Exception, *, timeout: float, connect_timeout: float) -> ModelError:
    """Return what it is for a caller that no whole answer arrived.

    :param error: what httpx raised, or a `TimeoutError`
    :param timeout: seconds that the call could take
    :param connect_timeout: seconds that the connection could take
    """
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        return ModelTimeout(endpoint.message(f"no connection within {connect_timeout:g} s (connect_timeout=)"))
    if isinstance(error, httpx.PoolTimeout):
        return ModelTimeout(endpoint.message(f"http_client had no free connection in time: {reason}"))
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return ModelTimeout(endpoint.message(f"no whole answer within {timeout:g} s (timeout=)"))
    if isinstance(error, httpx.DecodingError):
        return MalformedResponse(
            endpoint.message(f"the server sent an answer that cannot be decompressed: {reason}")
        )
    if isinstance(error, httpx.ConnectError):
        return ModelConnectionError(endpoint.message(f"no connection: {reason}"))
    return ModelConnectionError(
        endpoint.message(f"the connection was lost before a whole answer came: {reason}")
    )


def _kind(status: int) -> type[ModelStatusError]:
    if status >= 500:
        return ServerError
    return _KINDS.get(status, BadRequest if status >= 400 else ModelStatusError)


def _advice(endpoint: Endpoint, response: httpx.Response) -> str:
    status = response.status_code
    if status in {401, 403}:
        return f". {endpoint.key_advice}"
    if status == 404:
        return ". Check the name of the model, and base_url: does it lack its /v1?"
    if 300 <= status < 400:
        place = response.headers.get("location", "").partition("?")[0].partition("#")[0]
        scheme, separator, rest = place.rpartition("//")
        host, slash, path = rest.partition("/")
        place = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
        return (
            f". The server redirects to {place or 'nowhere'}; the key is not sent on to another address: "
            "if that one is right, make it the base_url"
        )
    return ""


def _told(response: httpx.Response) -> tuple[str | None, str | None]:
    """Return a provider's own words for an error, and its code or type for it, where it gave them."""
    if len(response.content) > _LARGE:
        return None, None
    try:
        raw = msgspec.json.decode(response.content)
    except (ValueError, RecursionError):
        return None, None
    error = raw.get("error") or raw if isinstance(raw, dict) else None
    if isinstance(error, str):
        return error, None
    if not isinstance(error, dict):
        return None, None
    message = next((error[name] for name in ("message", "detail") if isinstance(error.get(name), str)), None)
    code = next((error[name] for name in ("code", "type") if isinstance(error.get(name), str)), None)
    return message, code


def _shown(endpoint: Endpoint, response: httpx.Response) -> str:
    """Return the start of an answer."""
    # A secret is replaced before the text is cut: half of one would not be found.
    text = endpoint.redacted(response.content[: 20 * _SHOWN].decode("utf-8", "replace"))
    return repr(_shortened(text)) if text else "an empty body"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
