from __future__ import annotations

import functools
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import openai
import pydantic
import pytest

from aeval import Concurrency, Retry, exact_match, includes, json_equal, multiple_choice, numeric, regex
from aeval.errors import ConfigurationError
from aeval.middleware.forms import Formless, canonical
from aeval.middleware.identity import Identity, form_of_argument
from aeval.models import AnthropicModel, ChatModel

logger = logging.getLogger(__name__)
lock = threading.Lock()
calls = 0


def told(call: Callable[..., Any], **options: Any) -> bytes:
    return canonical(Identity(call, **options).form())


def chat(model: str = "m", **options: Any) -> ChatModel:
    return ChatModel(model, base_url=options.pop("base_url", "http://localhost:1/v1"), **options)


def made(source: str, **names: Any) -> Any:
    """Return the function `ask` that a user's module defines."""
    places: dict[str, Any] = {"__name__": "users_module", **names}
    exec(source, places)
    return places["ask"]


def through(model: Any) -> Callable[..., Any]:
    return lambda question: model.generate(question)  # noqa: PLW0108 - it is the closure that is tested


def test_models_are_told_apart_by_every_setting() -> None:
    """Another model, address, parameter or kind of API is another call; another key, timeout or pool is not."""
    same = [chat(), chat(api_key="sk-1"), chat(timeout=5, max_connections=1, headers={"Authorization": "x"})]
    others = [
        chat("m2"),
        chat(base_url="http://localhost:2/v1"),
        chat(temperature=0),
        chat(temperature=1),
        chat(headers={"X-Beta": "1"}),
        AnthropicModel("m", base_url="http://localhost:1/v1"),
    ]
    for form in (
        lambda m: told(m.generate),
        told,
        lambda m: told(through(m)),
        lambda m: told(m.chat, lenient=True),
    ):
        assert len({form(model) for model in same}) == 1
        assert len({form(model) for model in [*same, *others]}) == 1 + len(others)
    assert told(chat().generate) != told(chat().chat)


def test_settings_hold_no_secret() -> None:
    """A model's settings hold its name, address and parameters, and nothing of its key or secret headers."""
    model = chat(api_key="sk-secret", headers={"X-Api-Key": "sk-other", "X-Title": "mine"}, temperature=0)
    shown = repr(model.settings)
    assert "sk-" not in shown
    assert "mine" not in shown
    assert {**model.settings, "headers": ""} == {
        "model": "m",
        "base_url": "http://localhost:1/v1",
        "parameters": {"temperature": 0},
        "headers": "",
    }
    assert "headers" not in chat().settings


def test_installed_clients_are_told_apart_by_their_address() -> None:
    """An SDK's resource is known by its shape: its class, the method, and where its client sends."""

    def create(url: str, key: str = "a", **options: Any) -> bytes:
        client = openai.AsyncOpenAI(base_url=url, api_key=key, **options)
        by_method, by_closure = told(client.chat.completions.create), told(lambda: client.chat)
        assert by_method != by_closure
        return by_method + by_closure

    assert create("http://a/v1") == create("http://a/v1", key="b")
    assert create("http://a/v1") != create("http://b/v1")
    assert create("http://a/v1") != create("http://a/v1", default_query={"api-version": "2"})
    assert told(httpx.AsyncClient(base_url="http://a").post) != told(
        httpx.AsyncClient(base_url="http://b").post
    )


def test_an_edited_function_is_another_one() -> None:
    """A function's code, defaults, constants, globals and the functions that it calls tell it from what it was."""
    source = "def prompt(q): return 'Q: ' + q\nLIMIT = 3\ndef ask(q, n=1): return prompt(q) * LIMIT"
    edits = [
        ("'Q: '", "'q: '"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("n=1", "n=2"),
        ("* LIMIT", "+ LIMIT"),
        ("def ask(q,", "def ask(q, *,"),
        ("def ask(q", "def ask(r, q"),
    ]
    forms = {told(made(source))} | {told(made(source.replace(*edit))) for edit in edits}
    assert len(forms) == 1 + len(edits)
    assert told(made(source)) == told(made("\n\n" + source)) == told(made(source, UNUSED=1))


def test_globals_are_looked_at_again_when_they_change() -> None:
    """A global, a closed-over variable or a setting that changes between two calls makes another call."""
    ask = made("MODEL = 'a'\ndef ask(q): return MODEL")
    model = chat(temperature=0)
    forms = []
    by_name, by_cell = Identity(ask), Identity(through(model))
    for name, temperature in [("a", 0), ("a", 0), ("b", 1), ("a", 0)]:
        ask.__globals__["MODEL"], model.defaults["temperature"] = name, temperature
        forms.append(canonical(by_name.form()) + canonical(by_cell.form()))
    assert forms[0] == forms[1] == forms[3] != forms[2]


def test_counters_and_loggers_make_no_difference() -> None:
    """What a function only counts with, logs to or locks has no part in what it is."""
    ask = made(
        "calls = 0\ndef ask(q):\n    global calls\n    calls += 1\n    logger.info(q)\n    return lock",
        logger=logger,
        lock=lock,
    )
    before = told(ask)
    ask.__globals__["calls"] = 5
    assert told(ask) == before
    count = 0

    def counting(question: str) -> str:
        nonlocal count
        count += 1
        logger.info(question)
        return question if lock else ""

    before = told(counting)
    counting("q")
    assert (told(counting), count) == (before, 1)


def test_layers_make_no_difference() -> None:
    """A call within Retry and Concurrency is the same call."""
    model = chat()
    assert told(Retry()(Concurrency(3)(model.generate))) == told(model.generate)


def test_partials_and_callable_objects_are_told_by_what_they_hold() -> None:
    """A partial is told by its arguments, an object of fields by its fields, a builtin by its owner."""

    @dataclass
    class Judge:
        model: ChatModel
        prompt: str

        def __call__(self, text: str) -> str:
            return self.prompt + text

        def judge(self, text: str) -> str:
            return text

    ask = functools.partial(exact_match, ignore_case=True)
    assert told(ask) != told(functools.partial(exact_match, ignore_case=False)) != told(exact_match)
    assert told(Judge(chat(), "p")) == told(Judge(chat(), "p")) != told(Judge(chat("m2"), "p"))
    assert told(Judge(chat(), "p").judge) != told(Judge(chat(), "q").judge)
    assert told("a".join) != told("b".join)
    assert told(len) != told(dict)


class Opaque:
    async def generate(self, prompt: str) -> str:
        return prompt


class Installed:
    __module__ = "openai"

    def __init__(self, model: str) -> None:
        self.model = model


def test_what_cannot_be_told_is_an_error() -> None:
    """An object that may hold anything is an error that names its class and the ways out, wherever it is used."""
    in_a_global = made("def ask(q): return thing", thing=Opaque())
    for call in (Opaque().generate, through(Opaque()), functools.partial(through, Opaque()), in_a_global):
        with pytest.raises(ConfigurationError, match=r"test_identity:Opaque.*`settings`.*key="):
            Identity(call).form()
    for call in (Opaque().generate, through(Opaque()), in_a_global):
        assert told(call, lenient=True) == told(call, lenient=True)


def test_installed_objects_may_be_globals() -> None:
    """A global of an installed class may hold anything; where it names a model, it is told by that."""
    source = "def ask(q): return thing"
    assert told(made(source, thing=Installed("a"))) == told(made(source, thing=Installed("a")))
    assert told(made(source, thing=Installed("a"))) != told(made(source, thing=Installed("b")))
    with pytest.raises(ConfigurationError, match="openai:Installed"):
        told(through(Installed("a")))


CLASS = """
class Judge:
    settings = {}
    def prompt(self, q): return 'Q: ' + q
    @property
    def limit(self): return 3
    @staticmethod
    def strip(q): return q.strip()
    def ask(self, q): return self.prompt(q)
def ask(q): return Judge().ask(q)
"""


@pytest.mark.parametrize("edit", [("'Q: '", "'q: '"), ("return 3", "return 4"), ("strip()", "lstrip()")])
def test_an_edited_class_is_another_one(edit: tuple[str, str]) -> None:
    """The code of a class counts for its methods, its objects, and the functions that use it by name."""
    before, after = made(CLASS), made(CLASS.replace(*edit))
    for of in (lambda ask: ask, lambda ask: ask.__globals__["Judge"]().ask):
        assert told(of(before)) == told(of(made(CLASS)))
        assert told(of(before)) != told(of(after))


def test_decorated_functions_are_told_by_what_is_within() -> None:
    """A function that remembers its results, or that a package decorated, is told by its own code."""
    source = "@decorate\ndef within(q): return 1\ndef ask(q): return within(q)"
    for decorate in (functools.cache, openai._utils.required_args(["q"])):
        forms = [told(made(text, decorate=decorate)) for text in (source, source, source.replace("1", "2"))]
        assert forms[0] == forms[1] != forms[2]
        assert told(made(source, decorate=decorate).__globals__["within"])


@pytest.mark.parametrize("scorer", [exact_match, includes, regex, numeric, multiple_choice, json_equal])
def test_scorers_of_aevals_are_told(scorer: Callable[..., Any]) -> None:
    """Each scorer of aeval's can be told, by its code."""
    assert told(scorer) == told(scorer)
    assert told(functools.partial(scorer, x=1)) != told(functools.partial(scorer, x=2))


def test_secrets_have_no_part() -> None:
    """A secret in a model of pydantic's makes no difference, what stands beside it does."""

    class Client(pydantic.BaseModel):
        name: str
        key: pydantic.SecretStr

    def form(name: str, key: str) -> bytes:
        return canonical(form_of_argument(Client(name=name, key=pydantic.SecretStr(key))))

    assert form("a", "1") == form("a", "2") != form("b", "1")


def test_recursive_and_unfinished_functions_are_told() -> None:
    """Functions that call each other, and a variable that was not yet given a value, can be told."""
    assert told(made("def other(q): return ask(q)\ndef ask(q): return other(q)"))

    def outer() -> Callable[[], Any]:
        inner = lambda: later  # noqa: E731
        assert told(inner) == told(inner)
        identity = Identity(inner)
        before = identity.form()
        later = 1
        assert identity.form() != before
        return inner

    assert outer()() == 1


class Schema(pydantic.BaseModel):
    name: str


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1, 2]), np.array([1, 3])),
        (np.float64(1), np.float32(1)),
        (np.zeros((2, 1)), np.zeros((1, 2))),
        (Path("a"), "a"),
        (re.compile("a"), re.compile("a", re.IGNORECASE)),
        (Schema, dict),
        (Schema(name="a"), {"name": "a"}),
        (OrderedDict(a=1), {"a": 1}),
        (Name("a"), "a"),
        (range(3), range(4)),
        ((1, 2), [1, 2]),
        (len, max),
        (re, functools),
        (chat(), chat("m2")),
    ],
)
def test_arguments_are_told_apart_by_value_and_type(one: Any, other: Any) -> None:
    """Arguments of another value or type are others, and the same ones have the same form each time."""
    assert canonical(form_of_argument([one])) == canonical(form_of_argument([one]))
    assert canonical(form_of_argument(one)) != canonical(form_of_argument(other))


@pytest.mark.parametrize(
    "value", [Opaque(), [{"a": object()}], SimpleNamespace(a=1), iter([1])], ids=lambda v: type(v).__name__
)
def test_arguments_that_cannot_be_told_are_refused(value: Any) -> None:
    """An argument that may hold anything has no form, so that it can share no answer."""
    with pytest.raises(Formless):
        form_of_argument(value)
