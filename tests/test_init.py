from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

import aeval


def test_public_names_are_sorted() -> None:
    """The public names are sorted, each once."""
    assert list(aeval.__all__) == sorted(set(aeval.__all__))


def test_public_names_are_those_of_the_table() -> None:
    """The public names are those that are loaded when they are first used."""
    assert set(aeval.__all__) == set(aeval._HOMES)
    assert list(aeval._HOMES) == sorted(aeval._HOMES)


def test_type_checkers_see_the_same_names() -> None:
    """Type checkers are told each name's home as it is."""
    (block,) = [node for node in ast.parse(inspect.getsource(aeval)).body if isinstance(node, ast.If)]
    seen = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: f"aeval.{home}.{name}" for name, home in aeval._HOMES.items()}


@pytest.mark.parametrize("name", aeval.__all__)
def test_public_name_is_public_at_home(name: str) -> None:
    """Each public name is its home's public name."""
    home = import_module(f"aeval.{aeval._HOMES[name]}")
    assert name in home.__all__
    assert getattr(aeval, name) is getattr(home, name)
    assert getattr(aeval, name).__doc__


def test_everything_can_be_imported_at_once() -> None:
    """A star gives all public names, and nothing else."""
    scope: dict[str, Any] = {}
    exec("from aeval import *", scope)
    scope.pop("__builtins__")
    assert sorted(scope) == list(aeval.__all__)


def test_names_are_listed() -> None:
    """What a shell completes has all public names, sorted, whether or not they were loaded."""
    assert set(aeval.__all__) <= set(dir(aeval))
    assert dir(aeval) == sorted(dir(aeval))


def test_unknown_name_is_an_error() -> None:
    """A name that is not there is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="module 'aeval' has no attribute 'Evaluaton'"):
        aeval.Evaluaton  # noqa: B018 - the looking up is what is tested


def test_unknown_name_cannot_be_imported() -> None:
    """A name that is not there cannot be imported."""
    with pytest.raises(ImportError, match="Evaluaton"):
        exec("from aeval import Evaluaton", {})


def test_importing_loads_nothing() -> None:
    """Importing the package loads none of its parts and none of what they need."""
    code = "import sys, aeval; print([m for m in sys.modules if m.startswith(('aeval.', 'anyio', 'httpx', 'asyncio'))])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
