"""The part of serving that needs uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

import uvicorn

from aeval.testing.server.serving import AsgiApp, Dropped
from aeval.testing.server.slots import client_gone

__all__ = ["BackgroundServer"]


class BackgroundServer(uvicorn.Server):
    """A uvicorn server that is told to stop from another thread, and stops at once.

    uvicorn's own shutdown waits for open connections, and looks only ten times a second whether it should begin.

    :param app: the app
    """

    def __init__(self, app: AsgiApp) -> None:
        # No logging is set up: it would be set up for the whole process.
        config = uvicorn.Config(
            cast("Any", self._close_when_dropped(app)),
            lifespan="off",
            ws="none",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            log_config=None,
            timeout_keep_alive=60,
        )
        config.load()
        super().__init__(config)
        self.ready = threading.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run_until_stopped(self, listener: socket.socket) -> None:
        """Serve, on a new event loop, until `request_stop`.

        :param listener: a socket that listens; closed at the end
        """
        try:
            with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
                self._loop = runner.get_loop()
                runner.run(self.serve(sockets=[listener]))
        finally:
            # Had it failed to start, whoever waits for it would wait for ever.
            self.ready.set()

    def request_stop(self) -> None:
        """Have the server stop, from any thread, once it is ready."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)

    async def main_loop(self) -> None:
        """Serve until told to stop, renewing the Date header each second."""
        await self.on_tick(0)
        self.ready.set()
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(1):
                    await self._stop.wait()
            except TimeoutError:
                await self.on_tick(0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what listens and what is connected, and end the calls that are being answered."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        self._abort(lambda _: True)
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _close_when_dropped(self, app: AsgiApp) -> AsgiApp:
        async def closing(
            scope: MutableMapping[str, Any],
            receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
            send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
        ) -> None:
            try:
                await app(scope, receive, send)
            except (Dropped, asyncio.CancelledError):
                self._abort(lambda connection: connection.client == scope["client"])
                # uvicorn complains of an app that leaves an answer unfinished while the client is connected.
                await client_gone(receive)

        return closing

    def _abort(self, chosen: Callable[[Any], bool]) -> None:
        connections: list[Any] = [*filter(chosen, self.server_state.connections)]
        for connection in connections:
            connection.transport.abort()
