"""Address: where a database is, and with what it is connected to, as its URL says."""

from __future__ import annotations

import math
from typing import Final
from urllib.parse import SplitResult, urlsplit

import attrs

from aeval.errors import ConfigurationError

__all__ = ["Address", "address_of"]

# Seconds to wait for a server that went away, where the URL does not say.
PATIENCE: Final = 60.0


@attrs.frozen
class Address:
    """Where a database is, and with what it is connected to.

    :param dsn: the URL for the driver; it may hold passwords
    :param url: the URL for messages, without them
    :param settings: what the server is told of the connection
    :param patience: how many seconds to wait for a server that went away
    """

    dsn: str = attrs.field(repr=False)
    url: str
    settings: dict[str, str]
    patience: float


def address_of(dsn: str) -> Address:
    """Read a URL.

    :raises ConfigurationError: if it is not one of PostgreSQL
    """
    parts, options = _parts_of(dsn)
    patience = _patience_of([value for name, _, value in options if name == "patience"])
    options = [option for option in options if option[0] != "patience"]
    named = any(name == "application_name" for name, _, _ in options)
    user, at, place = parts.netloc.rpartition("@")
    shown = [option for option in options if option[0] not in {"password", "sslpassword"}]
    return Address(
        dsn=_url_of(parts, parts.netloc, options),
        url=_url_of(parts, user.partition(":")[0] + at + place, shown),
        settings={} if named else {"application_name": "aeval"},
        patience=patience,
    )


def _parts_of(dsn: str) -> tuple[SplitResult, list[tuple[str, str, str]]]:
    """Return a URL's parts and its options; the error does not show it, as it may not be clear what is the password."""
    try:
        parts = urlsplit(dsn)
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    options = [option.partition("=") for option in parts.query.split("&") if option]
    ports = [place.rpartition(":")[2] for place in _places_of(parts) if ":" in place]
    if (
        parts.scheme not in {"postgresql", "postgres"}
        or not dsn.startswith(f"{parts.scheme}://")
        or parts.fragment
        or "@" in parts.netloc.rpartition("@")[0]
        or "@" in parts.path
        or not all(port.isdecimal() and int(port) < 65536 for port in ports)
        or not all(name and value for name, _, value in options)
    ):
        raise ConfigurationError(
            "not a URL of PostgreSQL: it is written as in postgresql://user:password@host:5432/database?option=value, "
            "with the special characters of user and password escaped, as in %40 for an @"
        )
    return parts, options


def _places_of(parts: SplitResult) -> list[str]:
    """Return the hosts, without the brackets of addresses."""
    return [place.rpartition("]")[2] for place in parts.netloc.rpartition("@")[2].split(",")]


def _url_of(parts: SplitResult, place: str, options: list[tuple[str, str, str]]) -> str:
    # Not by urllib, which leaves out the slashes before an empty place.
    query = "&".join("".join(option) for option in options)
    return f"{parts.scheme}://{place}{parts.path}{'?' if query else ''}{query}"


def _patience_of(values: list[str]) -> float:
    try:
        patience = float(values[-1]) if values else PATIENCE
    except ValueError:
        patience = -1.0
    if not (patience >= 0 and math.isfinite(patience)):
        raise ConfigurationError(f"patience={values[-1]} in the URL is not a number of seconds, from 0")
    return patience
