"""AnthropicModel: a model behind Anthropic's messages API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from aeval.models.answers import count
from aeval.models.client import ModelClient
from aeval.models.reply import Reply
from aeval.result import Usage

__all__ = ["AnthropicModel"]

_VERSION = "2023-06-01"
_MAX_TOKENS = 1024


class AnthropicModel(ModelClient):
    """A model behind Anthropic's messages API.

    ::

        async with AnthropicModel("claude-sonnet-4-5", max_tokens=512) as model:
            text = await model.generate("What is 2+2?")

    The API takes instructions apart from the conversation: messages with the role `system` are sent as its
    `system`. It counts the tokens that its cache served or stored apart from the other tokens of a prompt: here
    `input_tokens` holds them all, as with other providers, and `cached_input_tokens` those that the cache served.

    :param model: the model's name
    :param base_url: where the API is; Anthropic's own (`https://api.anthropic.com/v1`) where not given. The `/v1`
        at its end may be left out, as Anthropic's own SDK does
    :param api_key: the key; where not given, that of the environment variable `ANTHROPIC_API_KEY`, read at the
        first call; `""` sends none
    :param max_connections: calls in flight at once; others wait, and their time does not yet run
    :param timeout: seconds that one call may take, from its connection to the end of its answer
    :param connect_timeout: seconds that the connection may take
    :param headers: headers to send with every call, over those that are sent anyway, as in
        `{"anthropic-version": "2023-06-01"}`
    :param http_client: an `httpx.AsyncClient` to send the calls through, as it is; it stays yours to close
    :param defaults: what every request holds, such as `temperature=0`; `max_tokens`, which the API demands, is
        1024 where not given
    :raises ConfigurationError: if an argument cannot work
    """

    default_url: ClassVar[str] = "https://api.anthropic.com/v1"
    path: ClassVar[str] = "/v1/messages"
    key_variable: ClassVar[str] = "ANTHROPIC_API_KEY"
    key_headers: ClassVar[frozenset[str]] = frozenset({"authorization", "x-api-key"})

    def _identity(self, key: str) -> dict[str, str]:
        version = {"anthropic-version": _VERSION}
        return {"x-api-key": key, **version} if key else version

    def _question(self, messages: list[Mapping[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
        system = [message.get("content") for message in messages if message["role"] == "system"]
        question: dict[str, Any] = {"model": self.model, "max_tokens": _MAX_TOKENS}
        if system:
            question["system"] = _joined(system)
            messages = [message for message in messages if message["role"] != "system"]
        question["messages"] = messages
        # One that is None leaves out the default, but the API does not do without this one.
        question.update(
            (name, value) for name, value in options.items() if name != "max_tokens" or value is not None
        )
        return question

    def _usage(self, raw: Mapping[str, Any]) -> Usage:
        usage = raw.get("usage")
        cached = count(usage, "cache_read_input_tokens")
        return Usage(
            input_tokens=count(usage, "input_tokens") + cached + count(usage, "cache_creation_input_tokens"),
            output_tokens=count(usage, "output_tokens"),
            cached_input_tokens=cached,
            requests=1,
        )

    def _reply(self, raw: Mapping[str, Any], usage: Usage) -> Reply:
        answer = msgspec.convert(raw, _Answer)
        text = "".join(block.text for block in answer.content if block.type == "text")
        return Reply(text, answer.model or self.model, answer.stop_reason, usage, raw)


def _joined(contents: list[Any]) -> Any:
    """Return the contents of several messages as one: a text, or a list of blocks where one of them is a list."""
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    blocks: list[Any] = []
    for content in contents:
        blocks.extend([{"type": "text", "text": content}] if isinstance(content, str) else content)
    return blocks


class _Block(msgspec.Struct):
    type: str
    text: str = ""


class _Answer(msgspec.Struct):
    content: list[_Block]
    stop_reason: str | None = None
    model: str | None = None
