"""Clients of the providers' APIs. They are imported when they are first named: httpx and aiohttp are not cheap."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aeval.models.anthropic import AnthropicModel
    from aeval.models.chat import ChatModel
    from aeval.models.reply import Prompt, Reply
    from aeval.models.transport import AiohttpTransport

__all__ = ["AiohttpTransport", "AnthropicModel", "ChatModel", "Prompt", "Reply"]

_HOMES = {
    "AiohttpTransport": "transport",
    "AnthropicModel": "anthropic",
    "ChatModel": "chat",
    "Prompt": "reply",
    "Reply": "reply",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
