"""What the clients of the providers share: one call over HTTP, its limits, and its errors."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx
import msgspec

from aeval.context import record_usage
from aeval.errors import ConfigurationError
from aeval.middleware.concurrency import Concurrency
from aeval.models.answers import decoded, failure, malformed, status_error
from aeval.models.endpoint import (
    Endpoint,
    checked_headers,
    checked_key,
    checked_seconds,
    checked_url,
    secrets_of,
    told_headers,
)
from aeval.models.reply import Prompt, Reply, messages_of
from aeval.models.transport import AiohttpTransport
from aeval.result import Usage

__all__ = ["ModelClient"]

_RESERVED = frozenset({"messages", "model", "stream"})
_USER_AGENT = "aeval"


class ModelClient(ABC):
    """A client of one model. A subclass says how its provider's API asks and answers."""

    default_url: ClassVar[str]
    path: ClassVar[str]
    key_variable: ClassVar[str]
    # The headers by which the provider knows who asks.
    key_headers: ClassVar[frozenset[str]]

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        max_connections: int = 100,
        timeout: float = 60.0,
        connect_timeout: float = 10.0,
        headers: Mapping[str, str] | None = None,
        http_client: httpx.AsyncClient | None = None,
        **defaults: Any,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise ConfigurationError(f"model is {model!r}: give its name, as the provider spells it")
        if isinstance(max_connections, bool) or not isinstance(max_connections, int) or max_connections < 1:
            raise ConfigurationError(f"max_connections is {max_connections!r}: give a whole number, 1 or more")
        if http_client is not None and not isinstance(http_client, httpx.AsyncClient):
            raise ConfigurationError(
                f"http_client is a {type(http_client).__name__}: give an httpx.AsyncClient"
            )
        self.model = model
        self.base_url = self.default_url if base_url is None else base_url
        self.max_connections = max_connections
        self.timeout = checked_seconds("timeout", timeout)
        self.connect_timeout = checked_seconds("connect_timeout", connect_timeout)
        self.defaults = self._checked_options(defaults)
        self._url = checked_url(self.base_url, self.path)
        self._api_key = None if api_key is None else checked_key(api_key, "api_key")
        self._headers = checked_headers(headers)
        self._endpoint: Endpoint | None = None
        self._http_client = http_client
        # The calls themselves are limited here, so that the time of a call begins when it has a connection.
        self._transport = AiohttpTransport(max_connections=None) if http_client is None else None
        # Not bound to this object: kept by it, that would make a cycle, and the connections of a model that was
        # dropped would stay open until the cycle is found.
        self._limited = Concurrency(max_connections)(ModelClient._exchange)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, base_url={self.base_url!r})"

    @property
    def settings(self) -> dict[str, Any]:
        """What an answer depends on besides the prompt: the model's name, its address, and the parameters.

        Never the key. Of the headers that were given there is a digest, without those that hold something secret.
        """
        settings = {"model": self.model, "base_url": self.base_url, "parameters": dict(self.defaults)}
        headers = told_headers(self._headers)
        return {**settings, "headers": headers} if headers else settings

    async def __call__(self, prompt: Prompt) -> str:
        """Return the text of the model's answer: a model is a task.

        :param prompt: a user's message, or a sequence of messages with a `role` and a `content`
        """
        return (await self.chat(prompt)).text

    async def generate(self, prompt: Prompt, /, **options: Any) -> str:
        """Return the text of the model's answer.

        :param prompt: a user's message, or a sequence of messages with a `role` and a `content`
        :param options: what else the request holds, over the defaults; None leaves a default out
        :return: the text; empty where the answer has none
        :raises ModelError: one of its kinds, if no good answer arrives
        """
        return (await self.chat(prompt, **options)).text

    async def chat(self, prompt: Prompt, /, **options: Any) -> Reply:
        """Return the model's answer with what came beside its text.

        :param prompt: a user's message, or a sequence of messages with a `role` and a `content`
        :param options: what else the request holds, over the defaults; None leaves a default out
        :return: the text, the tokens used, why the model stopped, and the whole answer
        :raises ModelError: one of its kinds, if no good answer arrives
        """
        endpoint = self._endpoint or self._resolve()
        options = {**self.defaults, **self._checked_options(options)} if options else self.defaults
        body = _encoded(self._question(messages_of(prompt), options))
        response = await self._limited(self, endpoint, body)
        if response.status_code == 401:
            # Look for the key anew at the next call: someone may have corrected the environment.
            self._endpoint = None
        if not response.is_success:
            raise status_error(endpoint, response)
        raw = await decoded(endpoint, response)
        usage = self._usage(raw)
        record_usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_input_tokens=usage.cached_input_tokens,
        )
        try:
            return self._reply(raw, usage)
        except msgspec.ValidationError as error:
            raise malformed(
                endpoint, response, f"an answer that is not what the API promises ({error})"
            ) from error

    async def aclose(self) -> None:
        """Close the connections of the running event loop. Called again, the model opens new ones."""
        if self._transport is not None:
            await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @abstractmethod
    def _question(self, messages: list[Mapping[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the body of a request holds."""

    @abstractmethod
    def _usage(self, raw: Mapping[str, Any]) -> Usage:
        """Return the tokens of which an answer speaks."""

    @abstractmethod
    def _reply(self, raw: Mapping[str, Any], usage: Usage) -> Reply:
        """Return what an answer says.

        :raises msgspec.ValidationError: if the answer is not what the API promises
        """

    @abstractmethod
    def _identity(self, key: str) -> dict[str, str]:
        """Return the headers that carry a key and whatever else the API asks for; without a key, if it is empty."""

    def _checked_options(self, options: dict[str, Any]) -> dict[str, Any]:
        reserved = _RESERVED.intersection(options)
        if reserved:
            raise ConfigurationError(
                f"{min(reserved)!r} cannot be an option of {type(self).__name__}: it sets the model and the messages "
                "itself, and does not stream"
            )
        return options

    def _resolve(self) -> Endpoint:
        """Find the key. Not before the first call: an evaluation can be looked at by whoever has none."""
        variable = self.key_variable
        missing = f"set the environment variable {variable}, or pass api_key="
        given = {**(self._http_client.headers if self._http_client is not None else {}), **self._headers}
        if self._api_key:
            key, advice = self._api_key, "The key was given as api_key=: check it, and what it may be used for"
        elif not self.key_headers.isdisjoint(given):
            key, advice = "", "The key was given in the headers: check it, and what it may be used for"
        elif self._api_key is None and (
            key := checked_key(os.environ.get(variable, ""), f"the environment variable {variable}")
        ):
            advice = (
                f"The key is that of the environment variable {variable}: check it, or pass another as api_key="
            )
        elif self.base_url == self.default_url and self._http_client is None:
            raise ConfigurationError(f"{self.model} at {self._url} needs a key: {missing}")
        else:
            key, advice = "", f"No key was sent: {missing}"
        headers = {
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": _USER_AGENT,
            **self._identity(key),
            **self._headers,
        }
        self._endpoint = Endpoint(
            model=self.model,
            url=self._url,
            headers=httpx.Headers(headers),
            key_advice=advice,
            secrets=secrets_of({**given, **headers}),
        )
        return self._endpoint

    async def _send(self, endpoint: Endpoint, body: bytes) -> httpx.Response:
        if self._transport is not None:
            # httpx's client would add cookies, authentication, redirects and hooks, of which there are none here,
            # at twice the cost of the request itself.
            timeouts = {"connect": self.connect_timeout, "read": None, "write": None, "pool": None}
            request = httpx.Request(
                "POST", endpoint.url, headers=endpoint.headers, content=body, extensions={"timeout": timeouts}
            )
            return await self._transport.handle_async_request(request)
        assert self._http_client is not None
        request = self._http_client.build_request(
            "POST",
            endpoint.url,
            headers=endpoint.headers,
            content=body,
            timeout=httpx.Timeout(self.timeout, connect=self.connect_timeout),
        )
        return await self._http_client.send(request, stream=True, follow_redirects=False)

    async def _exchange(self, endpoint: Endpoint, body: bytes) -> httpx.Response:
        try:
            async with asyncio.timeout(self.timeout):
                response = await self._send(endpoint, body)
                try:
                    await response.aread()
                finally:
                    await response.aclose()
                return response
        except (TimeoutError, httpx.HTTPError) as error:
            raise failure(
                endpoint, error, timeout=self.timeout, connect_timeout=self.connect_timeout
            ) from error


def _encoded(question: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode({name: value for name, value in question.items() if value is not None})
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"a request cannot be written as JSON: {error}") from error
