from __future__ import annotations

from typing import Any

import pytest
from raw_server import RawServer, answer

from aeval.errors import MalformedResponse, ServerError
from aeval.models import AnthropicModel, Reply
from aeval.result import Usage
from aeval.testing.server import ModelServer

pytestmark = pytest.mark.anyio

ANSWER = {
    "type": "message",
    "model": "claude-2025",
    "content": [
        {"type": "thinking", "thinking": "..."},
        {"type": "text", "text": "fo"},
        {"type": "text", "text": "ur"},
    ],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 2,
    },
}


@pytest.fixture(autouse=True)
def _answer(server: RawServer) -> None:
    server.respond = answer(ANSWER)


async def test_the_reply_is_read(server: RawServer) -> None:
    """The text blocks are joined, and the input tokens hold those that the cache served or stored."""
    async with AnthropicModel("claude", base_url=server.url, api_key="sk-ant-1") as model:
        reply = await model.chat("2+2?")
    assert reply == Reply("four", "claude-2025", "end_turn", Usage(125, 2, 100, 1), ANSWER)


async def test_the_request_is_as_the_api_wants_it(server: RawServer) -> None:
    """The key and the version are headers, and `max_tokens` is always there."""
    async with AnthropicModel("claude", base_url=server.url, api_key="sk-ant-1") as model:
        await model.generate("2+2?", max_tokens=None)
    [request] = server.requests
    assert request.target == "/v1/messages"
    assert request.headers["x-api-key"] == "sk-ant-1"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers
    assert request.json == {
        "model": "claude",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "2+2?"}],
    }


async def test_defaults_are_sent(server: RawServer) -> None:
    """`max_tokens` and other defaults go over what is sent anyway."""
    async with AnthropicModel("claude", base_url=server.url, max_tokens=9, temperature=0) as model:
        await model.generate("2+2?")
    assert (server.requests[0].json["max_tokens"], server.requests[0].json["temperature"]) == (9, 0)


@pytest.mark.parametrize(
    ("contents", "system"),
    [
        (["Be brief."], "Be brief."),
        (["Be brief.", "Be kind."], "Be brief.\n\nBe kind."),
        (
            ["Be brief.", [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]],
            [
                {"type": "text", "text": "Be brief."},
                {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
            ],
        ),
    ],
)
async def test_system_messages_go_apart(server: RawServer, contents: list[Any], system: Any) -> None:
    """System messages are sent as the API's `system`, the others as the conversation."""
    messages = [{"role": "system", "content": content} for content in contents]
    async with AnthropicModel("claude", base_url=server.url) as model:
        await model.generate([*messages, {"role": "user", "content": "2+2?"}])
    assert server.requests[0].json["system"] == system
    assert server.requests[0].json["messages"] == [{"role": "user", "content": "2+2?"}]


async def test_the_version_may_be_left_out_of_the_url(server: RawServer) -> None:
    """A base URL as Anthropic's SDK wants it, without the version, means the same."""
    async with AnthropicModel("claude", base_url=server.url.removesuffix("/v1")) as model:
        await model.generate("2+2?")
    assert server.requests[0].target == "/v1/messages"


async def test_an_overloaded_provider_is_a_server_error(server: RawServer) -> None:
    """529 is a `ServerError` with the provider's own type and words."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    server.respond = answer(error, status="529 Overloaded")
    async with AnthropicModel("claude", base_url=server.url) as model:
        with pytest.raises(ServerError, match=r"529 Overloaded \(overloaded_error\): Overloaded") as caught:
            await model.generate("2+2?")
    assert (caught.value.status_code, caught.value.code) == (529, "overloaded_error")


async def test_an_answer_without_content_is_malformed(server: RawServer) -> None:
    """An answer without its content is malformed, and the field is named."""
    server.respond = answer({"type": "message"})
    async with AnthropicModel("claude", base_url=server.url) as model:
        with pytest.raises(MalformedResponse, match="content"):
            await model.generate("2+2?")


async def test_the_simulated_server_is_understood() -> None:
    """The simulated model server and the model speak the same protocol."""
    async with (
        ModelServer(answer="4", api_key="sk-ant").serve() as address,
        AnthropicModel("claude", base_url=address.anthropic_url, api_key="sk-ant") as model,
    ):
        reply = await model.chat(
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
        )
    assert reply.text == "4"
    assert reply.usage.total_tokens > 0
