from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest
from raw_server import RawServer, answer

import aeval.models
from aeval.errors import AuthenticationError, ConfigurationError
from aeval.models import AnthropicModel, ChatModel

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-0123456789"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": ""}, "model is ''"),
        ({"model": 3}, "model is 3"),
        ({"timeout": -1}, "timeout is -1"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"timeout": None}, "timeout is None"),
        ({"timeout": True}, "timeout is True"),
        ({"connect_timeout": "5"}, "connect_timeout is '5'"),
        ({"max_connections": 0}, "max_connections is 0"),
        ({"max_connections": 2.5}, "max_connections is 2.5"),
        ({"max_connections": True}, "max_connections is True"),
        ({"base_url": "api.openai.com/v1"}, "base_url is 'api.openai.com/v1'"),
        ({"base_url": "ftp://host/v1"}, "base_url is 'ftp://host/v1'"),
        ({"base_url": "http:///v1"}, "base_url is 'http:///v1'"),
        ({"base_url": "http://host:port/v1"}, "base_url is 'http://host:port/v1'"),
        ({"base_url": "http://ho st/v1"}, "base_url is 'http://ho st/v1'"),
        ({"base_url": 3}, "base_url is 3"),
        ({"base_url": "http://host/v1/chat/completions"}, "leave out '/chat/completions'"),
        ({"base_url": f"http://me:{KEY}@host/v1"}, "leave them out"),
        ({"base_url": f"http://host/v1?key={KEY}"}, "leave them out"),
        ({"api_key": f"{KEY}\nx"}, "api_key has characters"),
        ({"api_key": f"{KEY} x"}, "api_key has characters"),
        ({"api_key": 3}, "api_key is of type int"),
        ({"headers": [("a", KEY)]}, "headers is of type list"),
        ({"headers": {"a b": KEY}}, "'a b'"),
        ({"headers": {"x-key": f"{KEY}\r\nx-other: 1"}}, "'x-key'"),
        ({"headers": {"x-key": 3}}, "'x-key'"),
        ({"http_client": "client"}, "http_client is a str"),
        ({"stream": True}, "'stream' cannot be an option"),
    ],
)
def test_what_cannot_work_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    """An argument that cannot work is an error at construction that names it, and shows no secret."""
    with pytest.raises(ConfigurationError) as caught:
        ChatModel(**{"model": "m", **arguments})
    assert message in str(caught.value)
    assert KEY not in str(caught.value)


async def test_a_client_of_the_sync_kind_is_refused() -> None:
    """Httpx's synchronous client cannot be used."""
    with httpx.Client() as client, pytest.raises(ConfigurationError, match="give an httpx"):
        ChatModel("m", http_client=client)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        (ChatModel("m"), "OPENAI_API_KEY"),
        (AnthropicModel("m"), "ANTHROPIC_API_KEY"),
        (ChatModel("m", api_key=""), "api_key"),
    ],
)
async def test_a_missing_key_is_named_at_the_first_call(
    model: ChatModel | AnthropicModel, variable: str
) -> None:
    """Without a key, the provider's own API is not called, and the error says how to give one."""
    with pytest.raises(ConfigurationError, match=rf"needs a key: .*{variable}"):
        await model.generate("?")


async def test_the_key_is_read_from_the_environment_when_it_is_needed(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's key is read at the first call, without the line break that a file left at its end."""
    async with ChatModel("m", base_url=server.url) as model:
        monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
        await model.generate("?")
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_given_key_goes_before_the_environments(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`api_key` replaces the environment's key, and an empty one sends none."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    async with ChatModel("m", base_url=server.url, api_key=KEY) as model:
        await model.generate("?")
    async with ChatModel("m", base_url=server.url, api_key="") as model:
        await model.generate("?")
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in server.requests[1].headers


async def test_a_corrected_key_is_found(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a refusal the environment is looked at again."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    server.respond = answer({}, status="401 Unauthorized")
    async with ChatModel("m", base_url=server.url) as model:
        with pytest.raises(AuthenticationError):
            await model.generate("?")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        server.respond = answer()
        assert await model.generate("?") == "4"
    assert server.requests[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("arguments", "environment", "advice"),
    [
        ({"api_key": KEY}, "", "The key was given as api_key="),
        ({"headers": {"api-key": KEY}}, "", "The key was given in the headers"),
        ({}, KEY, "The key is that of the environment variable OPENAI_API_KEY"),
        ({}, "", "No key was sent: set the environment variable OPENAI_API_KEY, or pass api_key="),
    ],
)
async def test_a_refused_key_is_found_by_its_place(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], environment: str, advice: str
) -> None:
    """The error for a refused key says where the key came from, and shows it nowhere, though the server does."""
    monkeypatch.setenv("OPENAI_API_KEY", environment)
    error = {"error": {"message": f"Incorrect API key: {KEY}.", "code": f"bad:{KEY}"}}
    server.respond = answer(error, status="401 Unauthorized", headers={"x-echo": KEY})
    async with ChatModel("m", base_url=server.url, **arguments) as model:
        with pytest.raises(AuthenticationError) as caught:
            await model.generate("?")
    assert advice in str(caught.value)
    shown = [
        repr(model),
        str(caught.value),
        repr(caught.value),
        str(caught.value.code),
        str(caught.value.headers),
    ]
    if arguments or environment:
        assert not any(KEY in text for text in shown)
        assert repr(model) == f"ChatModel('m', base_url='{server.url}')"


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    """Importing the package imports neither httpx nor aiohttp."""
    code = "import aeval.models, sys; sys.exit(bool({'httpx', 'aiohttp'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_names_are_those_of_all() -> None:
    """Every public name can be imported and is listed, and others are missed as usual."""
    assert aeval.models.__all__ == sorted(aeval.models.__all__)
    assert all(getattr(aeval.models, name) is not None for name in aeval.models.__all__)
    assert set(aeval.models.__all__) <= set(dir(aeval.models))
    with pytest.raises(AttributeError, match="no attribute 'Model'"):
        _ = aeval.models.Model
