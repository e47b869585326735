from __future__ import annotations

import asyncio
import gzip
from typing import Any

import anyio
import httpx
import pytest
from raw_server import ANSWER, Connection, RawServer, answer

from aeval.errors import AuthenticationError, ConfigurationError, MalformedResponse, ServerError
from aeval.models import ChatModel, Reply
from aeval.result import Usage
from aeval.testing.server import ModelServer

pytestmark = pytest.mark.anyio


def choice(message: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"message": message}]}


async def test_generate_returns_the_text(server: RawServer) -> None:
    """`generate` sends a prompt as a user's message and returns the answer's text."""
    async with ChatModel("m", base_url=server.url, temperature=0) as model:
        assert await model.generate("What is 2+2?") == "4"
    [request] = server.requests
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.json == {
        "model": "m",
        "messages": [{"role": "user", "content": "What is 2+2?"}],
        "temperature": 0,
    }
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers


async def test_chat_returns_the_reply(server: RawServer) -> None:
    """`chat` sends messages as they are, and returns the text with the usage, the reason and the raw answer."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
    async with ChatModel("m", base_url=server.url) as model:
        reply = await model.chat(messages)
    assert reply == Reply("4", "m-2025", "stop", Usage(10, 2, 3, 1), ANSWER)
    assert server.requests[0].json["messages"] == messages


async def test_a_model_is_a_task(server: RawServer) -> None:
    """Called with one prompt, a model returns the text."""
    async with ChatModel("m", base_url=server.url) as model:
        assert await model("What is 2+2?") == "4"


async def test_options_go_over_the_defaults(server: RawServer) -> None:
    """An option replaces a default, and None leaves it out."""
    async with ChatModel("m", base_url=server.url, temperature=0, max_tokens=5) as model:
        await model.generate("?", temperature=1, max_tokens=None, stop=["."])
    assert server.requests[0].json == {
        "model": "m",
        "messages": [{"role": "user", "content": "?"}],
        "temperature": 1,
        "stop": ["."],
    }


async def test_headers_go_over_those_sent_anyway(server: RawServer) -> None:
    """A user's headers replace the model's, and its own authorization makes a key unnecessary."""
    headers = {"Authorization": "Basic abcdef", "User-Agent": "mine", "X-Title": "my evaluation"}
    async with ChatModel("m", base_url=server.url, headers=headers) as model:
        await model.generate("?")
    sent = server.requests[0].headers
    assert (sent["authorization"], sent["user-agent"], sent["x-title"]) == (
        "Basic abcdef",
        "mine",
        "my evaluation",
    )


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None, "tool_calls": []}, ""),
        ({}, ""),
        ({"content": None, "refusal": "I cannot."}, "I cannot."),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": []},
                    {"type": "text", "text": "a"},
                    {"type": "text", "text": "b"},
                ]
            },
            "ab",
        ),
    ],
)
async def test_answers_of_many_servers_have_a_text(
    server: RawServer, message: dict[str, Any], text: str
) -> None:
    """A null content, a refusal and a list of parts each have their text."""
    server.respond = answer(choice(message))
    async with ChatModel("m", base_url=server.url) as model:
        reply = await model.chat("?")
    assert (reply.text, reply.model, reply.finish_reason) == (text, "m", None)


@pytest.mark.parametrize(
    "usage", [None, {}, "many", {"prompt_tokens": None}, {"prompt_tokens": "5", "prompt_tokens_details": 3}]
)
async def test_a_strange_usage_costs_no_answer(server: RawServer, usage: Any) -> None:
    """A usage that is missing or strange counts as zero tokens, and the answer is kept."""
    server.respond = answer({**ANSWER, "usage": usage})
    async with ChatModel("m", base_url=server.url) as model:
        assert (await model.chat("?")).usage == Usage(requests=1)


async def test_usage_is_noted_with_the_sample(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens of every answered call are added to the sample's usage, those of a useless answer too."""
    noted = []
    monkeypatch.setattr("aeval.models.client.record_usage", lambda **used: noted.append(used))
    async with ChatModel("m", base_url=server.url) as model:
        await model.generate("?")
        server.respond = answer({**ANSWER, "choices": []})
        with pytest.raises(MalformedResponse):
            await model.generate("?")
        server.respond = answer({}, status="500 Internal Server Error")
        with pytest.raises(ServerError):
            await model.generate("?")
    assert noted == [{"input_tokens": 10, "output_tokens": 2, "cached_input_tokens": 3}] * 2


async def test_a_large_answer_is_decoded_in_a_thread(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The JSON of an answer above a megabyte does not block the loop."""
    threads = []
    run_sync = anyio.to_thread.run_sync

    async def noted(function: Any, *arguments: Any) -> Any:
        threads.append(function)
        return await run_sync(function, *arguments)

    monkeypatch.setattr(anyio.to_thread, "run_sync", noted)
    text = "x" * 1_100_000
    server.respond = answer(choice({"content": text}))
    async with ChatModel("m", base_url=server.url) as model:
        assert await model.generate("?") == text
    assert len(threads) == 1


async def test_a_large_prompt_is_sent(server: RawServer) -> None:
    """A prompt above a megabyte, as with images, arrives whole."""
    prompt = "x" * 3_000_000
    async with ChatModel("m", base_url=server.url) as model:
        assert await model.generate(prompt) == "4"
    assert server.requests[0].json["messages"][0]["content"] == prompt


async def test_a_compressed_answer_is_read(server: RawServer) -> None:
    """A server may compress its answers."""
    server.respond = answer(
        gzip.compress(answer().partition(b"\r\n\r\n")[2]), headers={"content-encoding": "gzip"}
    )
    async with ChatModel("m", base_url=server.url) as model:
        assert await model.generate("?") == "4"


async def test_calls_beyond_max_connections_wait(server: RawServer) -> None:
    """No more calls are in flight than allowed, and the time of those that wait does not run."""
    held: list[Connection] = []
    two = asyncio.Event()

    def hold(connection: Connection) -> None:
        held.append(connection)
        if len(held) == 2:
            two.set()

    server.respond = hold
    async with ChatModel("m", base_url=server.url, max_connections=2) as model:
        calls = [asyncio.create_task(model.generate("?")) for _ in range(6)]
        await two.wait()
        assert len(server.requests) == 2
        server.respond = answer()
        for connection in held:
            connection.write(answer())
        assert await asyncio.gather(*calls) == ["4"] * 6
    assert len(server.connections) == 2


async def test_a_cancelled_call_gives_its_connection_back(server: RawServer) -> None:
    """A cancelled call frees its place at once."""
    server.respond = lambda connection: None
    async with ChatModel("m", base_url=server.url, max_connections=1) as model:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(model.generate, "?")
                await server.asked.wait()
                scope.cancel()
        server.respond = answer()
        assert await model.generate("?") == "4"


@pytest.mark.parametrize("prompt", [None, 3, b"bytes", [], {"role": "user"}, ["Hello"], [{"content": "Hello"}]])
async def test_a_prompt_that_is_none_is_named(prompt: Any) -> None:
    """A prompt that is neither a string nor messages is an error that shows it."""
    model = ChatModel("m", base_url="http://localhost/v1")
    with pytest.raises(ConfigurationError, match=r"as in"):
        await model.generate(prompt)


@pytest.mark.parametrize("value", [object(), "\ud800"])
async def test_an_option_that_is_no_json_is_named(value: Any) -> None:
    """An option that cannot be sent is an error before anything is sent."""
    model = ChatModel("m", base_url="http://localhost/v1")
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        await model.generate("?", stop=value)


@pytest.mark.parametrize("name", ["messages", "model", "stream"])
async def test_reserved_options_are_refused(name: str) -> None:
    """What the model sets itself cannot be an option, neither of a call nor as a default."""
    with pytest.raises(ConfigurationError, match=f"'{name}' cannot be an option"):
        await ChatModel("m", base_url="http://localhost/v1").generate("?", **{name: 1})


async def test_a_users_client_is_used_as_it_is(server: RawServer) -> None:
    """A client of the user's own carries the calls with its headers and hooks, and stays open."""
    seen = []

    async def hook(request: httpx.Request) -> None:
        seen.append(request.url.path)

    async with httpx.AsyncClient(headers={"x-client": "mine"}, event_hooks={"request": [hook]}) as client:
        async with ChatModel("m", base_url=server.url, http_client=client) as model:
            assert await model.generate("?") == "4"
        assert not client.is_closed
    assert seen == ["/v1/chat/completions"]
    assert server.requests[0].headers["x-client"] == "mine"


async def test_a_users_client_may_bring_the_key(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authorization of the user's client is not replaced by the environment's key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    async with httpx.AsyncClient(headers={"authorization": "Bearer sk-client"}) as client:
        await ChatModel("m", base_url=server.url, http_client=client).generate("?")
    assert server.requests[0].headers["authorization"] == "Bearer sk-client"


async def test_a_key_in_a_users_client_is_not_shown(server: RawServer) -> None:
    """A key that the user's client brings is hidden in errors as one of the model's own."""
    server.respond = answer({"error": "Wrong key: sk-client"}, status="401 Unauthorized")
    async with httpx.AsyncClient(headers={"authorization": "Bearer sk-client"}) as client:
        with pytest.raises(AuthenticationError, match=r"Wrong key: \*\*\*"):
            await ChatModel("m", base_url=server.url, http_client=client).generate("?")


async def test_a_users_client_needs_no_key_for_openai() -> None:
    """With a client of the user's own, OpenAI's own API may be called without a key: the client may add it."""
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=ANSWER))
    async with httpx.AsyncClient(transport=transport) as client:
        assert await ChatModel("m", http_client=client).generate("?") == "4"


async def test_the_simulated_server_is_understood() -> None:
    """The simulated model server and the model speak the same protocol, at a hundred calls at once."""
    simulated = ModelServer(answer="4", api_key="sk-test")
    async with (
        simulated.serve() as address,
        ChatModel("m", base_url=address.openai_url, api_key="sk-test") as model,
    ):
        replies = await asyncio.gather(*(model.chat("What is 2+2?") for _ in range(100)))
    assert {reply.text for reply in replies} == {"4"}
    assert all(reply.usage.total_tokens > 0 for reply in replies)
