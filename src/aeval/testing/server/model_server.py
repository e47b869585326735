"""ModelServer: an ASGI app that behaves as a model's API does, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

import anyio
import anyio.to_thread
import msgspec

from aeval.errors import ConfigurationError
from aeval.testing.server.admission import Admission
from aeval.testing.server.answers import Answer, ModelRequest, Speaker, speaker
from aeval.testing.server.anthropic_api import ANTHROPIC
from aeval.testing.server.api import Api, ApiError, BadBody, Headers
from aeval.testing.server.faults import Fault, Faults, FaultSource
from aeval.testing.server.latency import Latency, latency_of
from aeval.testing.server.limits import Limit
from aeval.testing.server.openai_api import OPENAI
from aeval.testing.server.record import Exchange, RecordedRequest, RequestLog, ServerStats
from aeval.testing.server.replies import Reply, Send, failure, reply_to
from aeval.testing.server.serving import Dropped, ServerAddress, Serving
from aeval.testing.server.slots import Receive, Slots, gone_before

__all__ = ["ModelServer"]

_APIS = {api.route: api for api in (OPENAI, ANTHROPIC)}
_METHODS = {OPENAI.route: "POST", ANTHROPIC.route: "POST", "/v1/models": "GET", "/stats": "GET"}


class ModelServer:
    """A model's API for tests: OpenAI's and Anthropic's routes, with limits, latency and faults.

    It is an ASGI app, and serves itself on a socket::

        server = ModelServer(answer=solve_arithmetic, latency=0.3, requests=Limit(100, per=60))
        async with server.serve() as address:
            client = openai.AsyncOpenAI(base_url=address.openai_url, api_key="any")
            ...
        assert not server.refused

    A call is admitted by the limits or refused; then something may be made to go wrong with it; then it waits
    for a slot, for the answer and for its latency. A refused call uses nothing of any limit, and draws no fault,
    no latency and no scripted answer.

    :param answer: what the model says: a string, strings in order, a mapping of prompts to strings, or an
        (async) callable that takes a `ModelRequest`; a sync one must not block
    :param answers: answers for models by name; without an `answer`, other models do not exist
    :param latency: seconds from admission to answer, a `Lognormal`, or a callable that draws seconds
    :param concurrency: calls worked on at once; those beyond it queue
    :param requests: the limit on requests
    :param tokens: the limit on tokens; a call costs those of its messages and its `max_tokens`, as at OpenAI
    :param in_flight: calls in flight at one time; those beyond it are refused
    :param retry_after: how a refused call is told when to come again: `"seconds"` (the headers `Retry-After` and
        `retry-after-ms`), `"date"` (an HTTP date), or None
    :param headers: whether each answer tells where the limits stand
    :param faults: chances, or a script: a fault or None for one admitted call after another
    :param seed: decides the latencies and faults that chance brings
    :param api_key: the key that clients must present; None asks for none
    :param keep: how many finished requests are remembered
    :raises ConfigurationError: if an argument cannot work
    """

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        answers: Mapping[str, Answer] | None = None,
        latency: Latency = 0.0,
        concurrency: int | None = None,
        requests: Limit | None = None,
        tokens: Limit | None = None,
        in_flight: int | None = None,
        retry_after: Literal["seconds", "date"] | None = "seconds",
        headers: bool = True,
        faults: Faults | Iterable[Fault | None] | None = None,
        seed: int = 0,
        api_key: str | None = None,
        keep: int = 100_000,
    ) -> None:
        for name, number in (("concurrency", concurrency), ("keep", keep)):
            if number is not None and number < 1:
                raise ConfigurationError(f"{name}={number!r} must be 1 or more")
        if answer is None and answers is None:
            answer = "This is the simulated model's answer."
        self._say = None if answer is None else speaker(answer)
        self._say_by_model = {model: speaker(each) for model, each in (answers or {}).items()}
        self._latency = latency_of(latency, seed)
        self._faults = FaultSource(faults, seed)
        self._api_key = api_key
        self._log = RequestLog(keep)
        self._admission = Admission(
            self._log,
            requests=requests,
            tokens=tokens,
            in_flight=in_flight,
            retry_after=retry_after,
            headers=headers,
        )
        self._concurrency = concurrency
        self._slots = Slots(concurrency)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clock: Callable[[], float] = time.monotonic

    @property
    def requests(self) -> list[RecordedRequest]:
        """The finished requests that are remembered, in the order in which they came."""
        return self._log.requests()

    @property
    def refused(self) -> list[RecordedRequest]:
        """Those of `requests` that a limit refused."""
        return [request for request in self._log.requests() if request.refused]

    @property
    def stats(self) -> ServerStats:
        """The counts of all requests, remembered or not."""
        return self._log.stats()

    @property
    def max_in_flight(self) -> int:
        """The most calls that ever were in flight at one time; refused ones were not."""
        return self._log.max_in_flight

    def in_flight_over_time(self) -> list[tuple[float, int]]:
        """Tell how many calls were in flight: the moments of change, and the number from each on.

        :return: pairs of a time in seconds and a number of calls, in order; from the requests remembered
        """
        return list(self._log.steps(self._clock()))

    def mean_in_flight(self, since: float | None = None, until: float | None = None) -> float:
        """Tell the mean number of calls in flight between two moments.

        :param since: in seconds of the server's clock; the first call's start where it is None
        :param until: likewise; the last call's end
        :return: the mean over time, from the requests remembered; 0 where there were none
        """
        return self._log.mean(self._clock(), since, until)

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[ServerAddress]:
        """Serve on a socket while the block is entered, from a thread with an event loop of its own.

        A server's times are then those of `time.monotonic()`. At the block's end every connection is closed,
        whatever is open.

        :param host: the address to listen on
        :param port: the port; 0 chooses a free one
        :return: a context manager that gives the `ServerAddress`
        :raises MissingExtraError: if uvicorn is not installed
        :raises OSError: if the address cannot be listened on
        """
        serving = Serving(self._serve_request, host, port)
        await anyio.to_thread.run_sync(serving.start)
        try:
            yield serving.address
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(serving.stop)

    @contextmanager
    def serving(self, host: str = "127.0.0.1", port: int = 0) -> Iterator[ServerAddress]:
        """Serve while the block is entered, like `serve`, for code that is not async.

        :param host: the address to listen on
        :param port: the port; 0 chooses a free one
        :return: a context manager that gives the `ServerAddress`
        :raises MissingExtraError: if uvicorn is not installed
        :raises OSError: if the address cannot be listened on
        """
        serving = Serving(self._serve_request, host, port)
        serving.start()
        try:
            yield serving.address
        finally:
            serving.stop()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request: the ASGI app itself. Its times are those of the running loop's clock."""
        await self._respond(scope, receive, send, asyncio.get_running_loop().time)

    async def _serve_request(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        # uvloop's own clock stands still within an iteration, and counts milliseconds.
        await self._respond(scope, receive, send, time.monotonic)

    async def _respond(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send, clock: Callable[[], float]
    ) -> None:
        if scope["type"] != "http":
            raise ConfigurationError(f"the simulated model server speaks HTTP only, not {scope['type']!r}")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._slots, self._clock = loop, Slots(self._concurrency), clock
        body = await _read(receive)
        if body is None:
            return
        exchange = self._log.arrive(scope["path"], clock())
        try:
            reply = await self._reply(exchange, scope, body, receive)
            if reply is not None:
                await self._send(exchange, reply, send)
        finally:
            self._log.finish(exchange, clock())

    async def _reply(
        self, exchange: Exchange, scope: MutableMapping[str, Any], body: bytes, receive: Receive
    ) -> Reply | None:
        route, method = exchange.route, scope["method"]
        api = _APIS.get(route, OPENAI)
        if route not in _METHODS:
            return failure(api, ApiError(404, f"Unknown request URL: {method} {route}.", code="unknown_url"))
        if method != _METHODS[route]:
            return failure(api, ApiError(405, f"{route} takes {_METHODS[route]}, not {method}."))
        if not self._authorized(scope["headers"]):
            return failure(api, ApiError(401, "Incorrect API key provided.", code="invalid_api_key"))
        if route == "/stats":
            return Reply(200, msgspec.json.encode(self.stats))
        if route == "/v1/models":
            return Reply(200, self._models())
        try:
            request = api.parse(body, scope["headers"])
        except BadBody as error:
            return failure(api, ApiError(400, str(error)))
        exchange.model, exchange.prompt = request.model, request.prompt
        exchange.input_tokens = request.input_tokens
        say = self._say_by_model.get(request.model, self._say)
        if say is None:
            message = f"The model `{request.model}` does not exist or you do not have access to it."
            return failure(api, ApiError(404, message, code="model_not_found"))
        now = self._clock()
        if refusal := self._admission.refusal(exchange, request, now):
            return failure(api, refusal.error, refusal.headers + self._admission.headers(api, now))
        return await self._work(exchange, api, request, say, receive)

    async def _work(
        self, exchange: Exchange, api: Api, request: ModelRequest, say: Speaker, receive: Receive
    ) -> Reply | None:
        """Answer an admitted call; None where the client has gone."""
        headers = self._admission.headers(api, self._clock())
        exchange.fault = self._faults.next(request.prompt)
        latency = self._latency()
        if not await self._slots.acquire(receive):
            return None
        try:
            if exchange.fault == "stall":
                await gone_before(receive, asyncio.timeout(None))
                return None
            reply = await reply_to(request, exchange, api, say, headers)
            if latency > 0 and await gone_before(receive, asyncio.timeout(latency)):
                return None
            return reply
        finally:
            self._slots.release()

    async def _send(self, exchange: Exchange, reply: Reply, send: Send) -> None:
        # The record is completed before the client can see that its answer is.
        if exchange.fault == "disconnect":
            self._log.finish(exchange, self._clock())
            raise Dropped("the simulated server closed the connection before it answered")
        exchange.status = reply.status
        if exchange.fault != "drop" and reply.parts is None:
            self._log.finish(exchange, self._clock())
            await reply.send_start(exchange.number, send)
            await send({"type": "http.response.body", "body": reply.body})
            return
        await reply.send_start(exchange.number, send)
        rest = await reply.send_half(send)
        self._log.finish(exchange, self._clock())
        if exchange.fault == "drop":
            raise Dropped("the simulated server dropped the connection in the middle of its answer")
        await send({"type": "http.response.body", "body": rest})

    def _authorized(self, headers: Headers) -> bool:
        if self._api_key is None:
            return True
        key = self._api_key.encode()
        return (b"authorization", b"Bearer " + key) in headers or (b"x-api-key", key) in headers

    def _models(self) -> bytes:
        models = list(self._say_by_model) if self._say is None else [*self._say_by_model, "simulated"]
        data = [{"id": model, "object": "model", "created": 0, "owned_by": "aeval"} for model in models]
        return msgspec.json.encode({"object": "list", "data": data, "has_more": False})


async def _read(receive: Receive) -> bytes | None:
    """Read a request's body; None where the client has gone before its end."""
    parts = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)
