"""Serving an ASGI app on a socket, from a thread with an event loop of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import attrs

from aeval.errors import MissingExtraError

if TYPE_CHECKING:
    from aeval.testing.server.background import BackgroundServer

__all__ = ["AsgiApp", "Dropped", "ServerAddress", "Serving"]

AsgiApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


class Dropped(ConnectionResetError):
    """Raised by an app to have the connection closed as it is, whatever of the answer was sent."""


@attrs.frozen
class ServerAddress:
    """Where a server can be reached. As a string it is `openai_url`.

    :param host: the address that it listens on
    :param port: the port
    """

    host: str
    port: int

    @property
    def url(self) -> str:
        """The root, as in `"http://127.0.0.1:43121"`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def openai_url(self) -> str:
        """The `base_url` for OpenAI's clients, which ends in `/v1`."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The `base_url` for Anthropic's clients, which add `/v1` themselves."""
        return self.url

    def __str__(self) -> str:
        return self.openai_url


class Serving:
    """One app on one socket, in one thread.

    :param app: the app
    :param host: the address to listen on
    :param port: the port; 0 chooses a free one
    """

    def __init__(self, app: AsgiApp, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._server: BackgroundServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> ServerAddress:
        """Where it listens; known once it was started."""
        return ServerAddress(self._host, self._port)

    def start(self) -> None:
        """Listen, and return once requests are being answered.

        :raises MissingExtraError: if uvicorn is not installed
        :raises OSError: if the address cannot be listened on
        """
        try:
            from aeval.testing.server.background import BackgroundServer
        except ImportError as error:
            raise MissingExtraError("serving the simulated model server", "uvicorn", "server") from error
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._server = BackgroundServer(self._app)
        listener = socket.create_server((self._host, self._port), family=family, backlog=2048)
        self._port = listener.getsockname()[1]
        # A daemon: a program that ends without leaving the block is not kept from ending.
        self._thread = threading.Thread(
            target=self._server.run_until_stopped, args=(listener,), name="aeval model server", daemon=True
        )
        self._thread.start()
        self._server.ready.wait()

    def stop(self) -> None:
        """Close every connection, and return once the thread has ended."""
        assert self._server is not None
        assert self._thread is not None
        self._server.request_stop()
        self._thread.join()
