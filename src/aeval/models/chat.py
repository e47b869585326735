"""ChatModel: a model behind an API that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from aeval.models.answers import count
from aeval.models.client import ModelClient
from aeval.models.reply import Reply
from aeval.result import Usage

__all__ = ["ChatModel"]


class ChatModel(ModelClient):
    """A model behind an API that speaks OpenAI's chat completions, of OpenAI or of another's making.

    ::

        async with ChatModel("gpt-4o-mini", temperature=0) as model:
            text = await model.generate("What is 2+2?")

    It may be made outside of an event loop and be used from several loops, one after the other. It does not
    retry: that is what `Retry` is for, and every error that it raises is understood there.

    :param model: the model's name
    :param base_url: where the API is; OpenAI's own (`https://api.openai.com/v1`) where not given
    :param api_key: the key; where not given, that of the environment variable `OPENAI_API_KEY`, read at the
        first call. A server of your own may need none; `""` sends none
    :param max_connections: calls in flight at once; others wait, and their time does not yet run
    :param timeout: seconds that one call may take, from its connection to the end of its answer
    :param connect_timeout: seconds that the connection may take
    :param headers: headers to send with every call, over those that are sent anyway
    :param http_client: an `httpx.AsyncClient` to send the calls through, as it is: its proxies, certificates and
        hooks apply. It stays yours to close. Without one, the model keeps a pool of its own
    :param defaults: what every request holds, such as `temperature=0` or `max_tokens=512`
    :raises ConfigurationError: if an argument cannot work
    """

    default_url: ClassVar[str] = "https://api.openai.com/v1"
    path: ClassVar[str] = "/chat/completions"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    # The second is Azure's.
    key_headers: ClassVar[frozenset[str]] = frozenset({"authorization", "api-key"})

    def _identity(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"} if key else {}

    def _question(self, messages: list[Mapping[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": self.model, "messages": messages, **options}

    def _usage(self, raw: Mapping[str, Any]) -> Usage:
        usage = raw.get("usage")
        return Usage(
            input_tokens=count(usage, "prompt_tokens"),
            output_tokens=count(usage, "completion_tokens"),
            cached_input_tokens=count(usage, "prompt_tokens_details", "cached_tokens"),
            requests=1,
        )

    def _reply(self, raw: Mapping[str, Any], usage: Usage) -> Reply:
        completion = msgspec.convert(raw, _Completion)
        choice = completion.choices[0]
        content = choice.message.content or choice.message.refusal or ""
        if isinstance(content, list):
            content = "".join(part.text for part in content if part.type == "text")
        return Reply(content, completion.model or self.model, choice.finish_reason, usage, raw)


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Message(msgspec.Struct):
    # Null beside a call of a tool and beside a refusal; a list of parts from some servers.
    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    model: str | None = None
