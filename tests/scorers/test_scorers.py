"""What holds for all scorers."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aeval.scorers
from aeval.errors import ScoreError
from aeval.score import Score
from aeval.scorers import exact_match, includes, json_equal, multiple_choice, numeric, regex

SCORERS = {
    exact_match: "A",
    includes: "A",
    regex: "A",
    numeric: 1,
    multiple_choice: "A",
    json_equal: "1",
}
MODULES = [module.name for module in pkgutil.iter_modules(aeval.scorers.__path__, "aeval.scorers.")]
PAGE = Path(__file__).parents[2] / "docs/reference/scorers.md"


async def forgotten() -> str:
    return "A"


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    """The examples of the docstrings are true."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_page():
    """The examples of the documentation's page are true."""
    results = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert results.attempted > 10
    assert results.failed == 0


def test_public_names():
    """The public names are sorted, and there."""
    names = aeval.scorers.__all__
    assert names == sorted(names)
    assert all(callable(getattr(aeval.scorers, name)) for name in names)


@pytest.mark.parametrize("scorer", SCORERS)
def test_parameters(scorer):
    """A scorer takes the output and the expected answer, and options by name, each with a default."""
    first, second, *options = inspect.signature(scorer).parameters.values()
    assert (first.name, second.name) == ("output", "expected")
    assert all(option.kind is option.KEYWORD_ONLY for option in options)
    assert all(option.default is not option.empty for option in options)


@pytest.mark.parametrize(("scorer", "expected"), SCORERS.items())
def test_no_output(scorer, expected):
    """An output that is None is a wrong answer with a reason."""
    score = scorer(None, expected)
    assert score.value is False
    assert score.reason.startswith("there is no output (None), expected ")


@pytest.mark.parametrize("scorer", SCORERS)
def test_no_expected_answer(scorer):
    """An expected answer that is None is an error that names the scorer."""
    with pytest.raises(ScoreError, match=f"given to {scorer.__name__} is None: give"):
        scorer("A", None)


@pytest.mark.parametrize(("scorer", "expected"), SCORERS.items())
def test_forgotten_await(scorer, expected):
    """A coroutine in place of a value is an error that says to await."""
    with pytest.raises(ScoreError, match=f"the output given to {scorer.__name__} .*await"):
        scorer(forgotten(), expected)
    with pytest.raises(ScoreError, match=f"the expected answer given to {scorer.__name__} .*await"):
        scorer("A", forgotten())


@pytest.mark.parametrize("scorer", [exact_match, includes, regex, numeric])
def test_accepted_answers(scorer):
    """A list, tuple or set of expected answers accepts any of them."""
    for accepted in (["7", "8"], ("7", "8"), {"7", "8"}, frozenset({"7", "8"})):
        assert scorer("8", accepted).value is True
        assert scorer("9", accepted).value is False
    assert "'7'" in scorer("9", {"7", "8"}).reason or "7 or 8" in scorer("9", {"7", "8"}).reason


@pytest.mark.parametrize("scorer", [exact_match, includes, regex, numeric])
def test_unusable_accepted_answers(scorer):
    """An empty collection, a None or a coroutine among the accepted answers is an error."""
    with pytest.raises(ScoreError, match=f"given to {scorer.__name__} is an empty list"):
        scorer("8", [])
    with pytest.raises(ScoreError, match=f"accepted answer 1 given to {scorer.__name__} is None"):
        scorer("8", ["7", None])
    with pytest.raises(ScoreError, match="await"):
        scorer("8", [forgotten(), "7"])


@pytest.mark.parametrize(("scorer", "expected"), SCORERS.items())
@given(text=st.text())
def test_any_text(scorer, expected, text):
    """Any text is right or wrong, and where it is wrong it is said why."""
    score = scorer(text, expected)
    assert isinstance(score, Score)
    assert score.name == scorer.__name__
    assert isinstance(score.value, bool)
    assert (score.reason is None) == score.value


@pytest.mark.parametrize(("scorer", "expected"), SCORERS.items())
def test_bytes(scorer, expected):
    """Bytes are a text in UTF-8, whatever they hold."""
    assert scorer(str(expected).encode(), expected).value is True
    assert scorer(b"\xff", expected).value is False
