"""What the simulated model says: scripted, looked up, or computed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, TypeAlias

import attrs

from aeval.errors import ConfigurationError

__all__ = ["Answer", "ModelRequest", "NoAnswer", "count_tokens", "solve_arithmetic", "speaker"]


@attrs.frozen(kw_only=True)
class ModelRequest:
    """What a client asked of the simulated model.

    :param route: the path that was called, as in `"/v1/messages"`
    :param model: the model's name
    :param messages: the conversation, as it was sent
    :param prompt: the text of the last message of the user
    :param max_tokens: the most tokens that the answer may have, or None
    :param stream: whether the answer is to be streamed
    :param input_tokens: tokens of all messages, as `count_tokens` counts them
    :param headers: the request's headers, their names in lower case, without those that carry a key
    :param body: the whole request
    """

    route: str
    model: str
    messages: tuple[Mapping[str, Any], ...]
    prompt: str
    max_tokens: int | None
    stream: bool
    input_tokens: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: Mapping[str, Any] = attrs.field(repr=False)


Answer: TypeAlias = (
    str
    | Iterable[str]
    | Mapping[str, str]
    | Callable[[ModelRequest], str]
    | Callable[[ModelRequest], Awaitable[str]]
)
"""One text for all, texts to give out in order, a text for each prompt, or an (async) callable."""

_Number: TypeAlias = int | Fraction
Speaker: TypeAlias = Callable[[ModelRequest], Awaitable[str]]


class NoAnswer(Exception):
    """The script has no answer for this request: a fault of the test, not of the model."""


def speaker(answer: Answer) -> Speaker:
    """Make one async callable out of whatever may be an answer.

    :raises ConfigurationError: if it is none of them
    """
    if isinstance(answer, str):
        text = answer

        async def constant(_: ModelRequest) -> str:
            return text

        return constant
    if isinstance(answer, Mapping):
        return _looked_up(answer)
    if callable(answer):
        return _computed(answer)
    if isinstance(answer, Iterable):
        return _scripted(answer)
    raise ConfigurationError(
        f"the answer is {answer!r}: use a string, an iterable of strings, a mapping of prompts to strings, "
        "or a callable that takes a ModelRequest"
    )


def _looked_up(answers: Mapping[str, str]) -> Speaker:
    async def look_up(request: ModelRequest) -> str:
        try:
            return answers[request.prompt]
        except KeyError:
            raise NoAnswer(f"no answer is scripted for the prompt {request.prompt!r}") from None

    return look_up


def _scripted(answers: Iterable[str]) -> Speaker:
    script = iter(answers)
    given = 0

    async def give_next(_: ModelRequest) -> str:
        nonlocal given
        try:
            text = next(script)
        except StopIteration:
            raise NoAnswer(f"the script has ended: all of its {given} answers were given") from None
        given += 1
        return text

    return give_next


def _computed(answer: Callable[[ModelRequest], Any]) -> Speaker:
    async def compute(request: ModelRequest) -> str:
        text = answer(request)
        if inspect.isawaitable(text):
            text = await text
        if not isinstance(text, str):
            raise TypeError(f"the answer callable returned {text!r}: return a string")
        return text

    return compute


def count_tokens(text: str) -> int:
    """Count tokens as the simulated server does: one for every four characters begun."""
    return -(-len(text) // 4)


_OPERATIONS: dict[str, Callable[[_Number, _Number], _Number]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: Fraction(a) / b,
}
_WORDS = {"plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/"}
_SIGNS = {"\N{MINUS SIGN}": "-", "\N{MULTIPLICATION SIGN}": "*", "x": "*", "\N{DIVISION SIGN}": "/"}
_OPERATORS = {**{sign: sign for sign in _OPERATIONS}, **_WORDS, **_SIGNS}
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_QUESTION = re.compile(
    rf"{_NUMBER}\s*({'|'.join(map(re.escape, _OPERATORS))})\s*{_NUMBER}",
    re.IGNORECASE,
)


def solve_arithmetic(request: ModelRequest) -> str:
    """Answer the first sum, difference, product or quotient of two numbers in the prompt.

    :return: the number alone, as in `"42"` for "What is 17 + 25?"; "I don't know." where there is nothing to
        solve
    """
    found = _QUESTION.search(request.prompt)
    if found is None:
        return "I don't know."
    left, operator, right = found.groups()
    operation = _OPERATIONS[_OPERATORS[operator.lower()]]
    try:
        value = operation(_number(left), _number(right))
    except ZeroDivisionError:
        return "I don't know."
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"


def _number(digits: str) -> _Number:
    return Fraction(digits) if "." in digits else int(digits)
