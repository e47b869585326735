"""Reply: what a model answered; Prompt: what it was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from aeval.errors import ConfigurationError
from aeval.result import Usage

__all__ = ["Prompt", "Reply", "messages_of"]

# A user's message, or a conversation of messages with a "role" and a "content".
Prompt = str | Sequence[Mapping[str, Any]]


@attrs.frozen
class Reply:
    """What a model answered.

    :param text: the answer's text; empty where there is none, as beside a call of a tool
    :param model: the model that answered, as the provider names it
    :param finish_reason: why it stopped, in the provider's word, as in `"stop"` or `"length"`
    :param usage: the tokens of this one call; all zero where the provider did not say
    :param raw: the whole answer, decoded
    """

    text: str
    model: str
    finish_reason: str | None
    usage: Usage
    raw: Mapping[str, Any] = attrs.field(repr=False)


def messages_of(prompt: Any) -> list[Mapping[str, Any]]:
    """Return a prompt as messages.

    :param prompt: a user's message, or a sequence of messages with a `role` and a `content`
    :raises ConfigurationError: if it is neither
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if not isinstance(prompt, Sequence) or isinstance(prompt, (bytes, bytearray)) or not prompt:
        raise ConfigurationError(
            f"a model was asked with {prompt!r:.200}: give a string, or a sequence of messages as in "
            "[{'role': 'user', 'content': 'Hello'}]"
        )
    for message in prompt:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ConfigurationError(
                f"a message is {message!r:.200}: give a mapping as in {{'role': 'user', 'content': 'Hello'}}"
            )
    return list(prompt)
