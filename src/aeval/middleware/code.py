"""Code: what a function does, which names it uses, and whose it is."""

from __future__ import annotations

import dis
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from types import CodeType
from typing import Any

from aeval.middleware.forms import canonical, form_of

__all__ = ["digest", "is_installed", "names_read", "names_written"]

_STDLIB = sysconfig.get_paths()["stdlib"]


@lru_cache(maxsize=1024)
def digest(code: CodeType) -> str:
    """Return the digest of what a function does, wherever it stands in its file."""
    parts: list[Any] = [
        code.co_code,
        code.co_exceptiontable,
        code.co_flags,
        code.co_argcount,
        code.co_kwonlyargcount,
    ]
    parts += [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars]
    constants = [digest(each) if isinstance(each, CodeType) else _constant(each) for each in code.co_consts]
    return sha256(canonical(form_of([*parts, constants]))).hexdigest()


def _constant(value: Any) -> Any:
    return form_of(value, lambda other: {"@": "constant", "of": repr(other)})


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def names_read(code: CodeType) -> set[str]:
    """Return the names of the globals and attributes that a function uses."""
    return {name for each in _codes(code) for name in each.co_names}


@lru_cache(maxsize=1024)
def names_written(code: CodeType) -> frozenset[str]:
    """Return the names of the globals and outer variables that a function assigns to: counters and their like."""
    return frozenset(
        step.argval
        for each in _codes(code)
        for step in dis.get_instructions(each)
        if step.opname in {"STORE_GLOBAL", "STORE_DEREF"}
    )


def is_installed(module: str, file: str | None = None) -> bool:
    """Tell whether a module is Python's, a package's, or aeval's, and not the user's own."""
    if module.startswith("aeval.scorers."):
        return False  # what they do is part of a sample's outcome
    if file is None:
        file = str(getattr(sys.modules.get(module), "__file__", None) or "")
    if module.partition(".")[0] == "aeval" or "site-packages" in file or "dist-packages" in file:
        return True
    if not file or file.startswith("<frozen"):
        return module.partition(".")[0] in sys.stdlib_module_names
    return file.startswith(_STDLIB)
