"""Middleware: what wraps one async call in another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar

__all__ = ["Middleware", "name_of"]

P = ParamSpec("P")
R = TypeVar("R")


class Middleware(Protocol):
    """A callable from one async callable to another with the same parameters."""

    def __call__(self, call: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]:
        """Wrap a call."""
        ...


def name_of(call: Any) -> str:
    """Return what to call a callable in a message: its name, else its type's."""
    call = getattr(call, "func", call)
    return getattr(call, "__name__", None) or type(call).__name__
