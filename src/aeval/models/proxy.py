"""Proxies: which one the environment names for a host."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.request import getproxies, proxy_bypass

import aiohttp
import attrs
import yarl

from aeval.errors import ConfigurationError

__all__ = ["Proxy", "proxy_at", "proxy_from_environment"]


@attrs.frozen
class Proxy:
    """An HTTP proxy.

    :param url: its address, without the user name and password
    :param headers: what makes the proxy know its user
    """

    url: yarl.URL
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)


def proxy_at(address: str) -> Proxy:
    """Return the proxy at an address.

    :param address: a URL, or a host and port
    :raises ConfigurationError: if it is no HTTP proxy; the message does not show its password
    """
    url = yarl.URL(address if "://" in address else f"http://{address}")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(
            f"the proxy {url.scheme}://{url.host} cannot be used: only HTTP proxies can, as in 'http://proxy.example:8080'"
        )
    if url.user is None:
        return Proxy(url)
    # aiohttp would keep the password in the URL, and show it in messages about the connection.
    user = aiohttp.encode_basic_auth(url.user, url.password or "")
    return Proxy(url.with_user(None), {"Proxy-Authorization": user})


def proxy_from_environment(scheme: str, host: str) -> Proxy | None:
    """Return the proxy through which the environment wants a host to be reached, or None.

    :param scheme: `http` or `https`
    :param host: the host's name or address; this machine itself is never behind a proxy
    :raises ConfigurationError: if the proxy is none that can be used
    """
    if _is_this_machine(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return proxy_at(proxy) if proxy else None


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
