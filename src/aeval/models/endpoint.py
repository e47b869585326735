"""Endpoint: where a model's calls go and as whom, and what may be said of it in a message."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import attrs
import httpx

from aeval.errors import ConfigurationError

__all__ = [
    "Endpoint",
    "checked_headers",
    "checked_key",
    "checked_seconds",
    "checked_url",
    "secrets_of",
    "told_headers",
]

_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")

# Replacing anything shorter would hide the message and no secret.
_SHORTEST_SECRET = 4


@attrs.frozen
class Endpoint:
    """Where a model's calls go and as whom.

    :param model: the model's name
    :param url: the whole address of the calls
    :param headers: the headers of every call, the key among them
    :param key_advice: what to do where the key is refused
    :param secrets: what must not be shown
    """

    model: str
    url: httpx.URL
    headers: httpx.Headers = attrs.field(repr=False)
    key_advice: str
    secrets: tuple[str, ...] = attrs.field(repr=False)

    def message(self, text: str) -> str:
        """Say of which model and address a text speaks, without anything secret."""
        return self.redacted(f"{self.model} at {self.url}: {text}")

    def redacted(self, text: str) -> str:
        """Replace the secrets in a text: a server may send back what it was sent."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what of the headers must not be shown, the longest first."""
    secrets: set[str] = set()
    for name, value in headers.items():
        if _SECRET_HEADER.search(name):
            # "Bearer sk-..." may come back without its first word.
            secrets.update((value, value.rpartition(" ")[2]))
    return tuple(
        sorted((secret for secret in secrets if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)
    )


def told_headers(headers: Mapping[str, str]) -> str | None:
    """Return a digest of headers by which they can be told from others, without those that hold something secret.

    :return: None where there are no others
    """
    plain = sorted((name, value) for name, value in headers.items() if not _SECRET_HEADER.search(name))
    return sha256(repr(plain).encode()).hexdigest() if plain else None


def checked_url(base_url: Any, path: str) -> httpx.URL:
    """Return the address of the calls under a base URL.

    :param base_url: as in `"https://api.openai.com/v1"`
    :param path: as in `"/chat/completions"`; a `/v1` before it is left out where the base URL ends with one
    :raises ConfigurationError: if it is no http(s) URL, or holds what does not belong there
    """
    example = "give one such as 'https://api.openai.com/v1' or 'http://localhost:8000/v1'"
    if not isinstance(base_url, str):
        raise ConfigurationError(f"base_url is {base_url!r}: {example}")
    if "@" in base_url or "?" in base_url or "#" in base_url:
        # Not shown: these are the places where people put secrets.
        raise ConfigurationError(
            "base_url has a user name, a password, a query or a fragment in it: leave them out, and give what "
            "identifies you as api_key= or headers="
        )
    base = base_url.strip().rstrip("/")
    if base.endswith("/v1"):
        path = path.removeprefix("/v1")
    try:
        parts = urlsplit(base)
        usable = (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and " " not in base
        )
        url = httpx.URL(base + path)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"base_url is {base_url!r} ({error}): {example}") from error
    if not usable:
        raise ConfigurationError(f"base_url is {base_url!r}: {example}")
    if base.endswith(path):
        raise ConfigurationError(f"base_url is {base_url!r}: leave out {path!r}, which is added to it")
    return url


def checked_key(key: str, where: str) -> str:
    """Return a key without the white space around it.

    :param key: the key; empty for none
    :param where: what to call its place in a message
    :raises ConfigurationError: if it is no key; the message does not show it
    """
    if not isinstance(key, str):
        raise ConfigurationError(f"{where} is of type {type(key).__name__}: give the key as a string")
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(f"{where} has characters that no key has, such as a space or a line break")
    return key


def checked_headers(headers: Any) -> dict[str, str]:
    """Return headers with their names in lower case.

    :param headers: a mapping of name to value, or None
    :raises ConfigurationError: if a name or value cannot be sent; the message does not show the value
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise ConfigurationError(
            f"headers is of type {type(headers).__name__}: give a mapping of name to value"
        )
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError(f"headers has the name {name!r}, which no header can have")
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(
                f"the header {name!r} has a value that cannot be sent: give a string of ASCII characters in one line"
            )
    return {name.lower(): value for name, value in headers.items()}


def checked_seconds(name: str, seconds: Any) -> float:
    """Return a time in seconds.

    :param name: what to call it in a message
    :param seconds: a number
    :raises ConfigurationError: if it is not a finite number above 0
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise ConfigurationError(f"{name} is {seconds!r}: give a number of seconds, more than 0")
    return float(seconds)
