"""Which errors pass by themselves, told by their shape.

Users bring clients of many makes (httpx and its successor, aiohttp, the openai and anthropic SDKs,
requests in a thread). None of them is imported here: an error is known by the status that it carries,
by its place among Python's own errors, and else by the names of its classes.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = ["is_refusal", "is_transient", "leaf_of", "retry_after", "status_of"]

TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
REFUSAL_STATUSES = frozenset({429, 503, 529})

_NETWORK_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "ECONNREFUSED",
        "ECONNRESET",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETRESET",
        "ENETUNREACH",
        "ENOTCONN",
        "EPIPE",
        "ESHUTDOWN",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)

# Names of the classes under which clients file "no (whole) answer arrived", found by looking at httpx,
# httpx2, httpcore, aiohttp, requests, urllib3, openai and anthropic. Their siblings that a retry cannot
# mend (an unsupported scheme, too many redirects, a bad certificate) are not among them.
_TRANSIENT_NAMES = frozenset(
    {
        "APIConnectionError",
        "APITimeoutError",
        "ChunkedEncodingError",
        "ClientConnectionError",
        "ClientPayloadError",
        "ConnectTimeout",
        "ConnectionError",
        "IncompleteRead",
        "MalformedResponse",
        "ModelConnectionError",
        "NetworkError",
        "ProtocolError",
        "ReadTimeout",
        "RemoteProtocolError",
        "SSLEOFError",
        "SSLZeroReturnError",
        "ServerDisconnectedError",
        "ServerTimeoutError",
        "Timeout",
        "TimeoutException",
    }
)
_PERMANENT_NAMES = frozenset(
    {
        "ClientConnectorCertificateError",
        "ClientConnectorSSLError",
        "InvalidURL",
        "LocalProtocolError",
        "SSLCertVerificationError",
        "SSLError",
        "UnsupportedProtocol",
    }
)
# Connections that were cut while TLS was spoken: filed under the permanent SSLError, and yet they pass.
_CUT_NAMES = frozenset({"SSLEOFError", "SSLZeroReturnError"})


def leaf_of(error: BaseException) -> BaseException:
    """Return the one error in a group of one, as a task group raises it; any other error as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error carries, whichever client raised it.

    :param error: any exception
    :return: a status from 100 to 599, or None where it carries none
    """
    error = leaf_of(error)
    response = getattr(error, "response", None)
    for holder, name in (
        (error, "status_code"),
        (error, "status"),
        (response, "status_code"),
        (response, "status"),
        (error, "code"),
    ):
        status = getattr(holder, name, None)
        if isinstance(status, int) and 100 <= status <= 599:
            return int(status)
    return None


def is_transient(error: BaseException) -> bool:
    """Tell whether trying again may help.

    True for connection errors, timeouts and network-related OS errors, and for the HTTP statuses 408,
    409, 425, 429 and 5xx.

    :param error: any exception
    """
    error = leaf_of(error)
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT_STATUSES or status >= 500
    # A bad certificate comes wrapped in what the client files under lost connections, by the SDKs even twice.
    causes = list(_causes(error))
    permanent = any(_is_named(cause, _PERMANENT_NAMES) for cause in causes)
    if permanent and not any(_is_named(cause, _CUT_NAMES) for cause in causes):
        return False
    if isinstance(error, (ConnectionError, TimeoutError, socket.gaierror, socket.herror)):
        return True
    if isinstance(error, OSError) and error.errno in _NETWORK_ERRNOS:
        return True
    return _is_named(error, _TRANSIENT_NAMES)


def is_refusal(error: BaseException) -> bool:
    """Tell whether the error is a server's refusal for load: 429, 503, or 529 (overloaded).

    :param error: any exception
    """
    return status_of(error) in REFUSAL_STATUSES


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that a server asked to wait, from its `Retry-After` header.

    Understands a number of seconds and an HTTP date, and the finer `retry-after-ms` that some providers
    send beside it.

    :param error: any exception; its `response.headers` or its own `headers` are read
    :return: seconds, never negative, or None where the server did not say or what it said is no time
    """
    error = leaf_of(error)
    headers = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        headers = getattr(error, "headers", None)
    if headers is None or not hasattr(headers, "get"):
        return None
    milliseconds = _number(_header(headers, "retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    value = _header(headers, "retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return max(0.0, seconds)
    try:
        at = parsedate_to_datetime(value.strip())
    except ValueError:
        return None
    if at.tzinfo is None:  # "-0000": the time of no place in particular, which is still counted from UTC
        at = at.replace(tzinfo=UTC)
    return max(0.0, at.timestamp() - time.time())


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, the one that it was raised from, and so on."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__


def _is_named(error: BaseException, names: frozenset[str]) -> bool:
    return any(base.__name__ in names for base in type(error).__mro__)


def _header(headers: Mapping[str, Any], name: str) -> str | None:
    # httpx's and aiohttp's headers ignore case; a plain dict does not.
    value = headers.get(name)
    if value is None:
        value = headers.get(name.title())
    return value if isinstance(value, str) else None


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None
