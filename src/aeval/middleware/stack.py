"""Stack: layers composed into one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import ParamSpec, TypeVar

from aeval.errors import ConfigurationError
from aeval.middleware.base import Middleware
from aeval.middleware.concurrency import Concurrency
from aeval.middleware.rate import Rate

__all__ = ["Stack", "stack"]

P = ParamSpec("P")
R = TypeVar("R")


class Stack(Middleware):
    """Layers composed into one, outermost first. Made by `stack`."""

    def __init__(self, layers: tuple[Middleware, ...]) -> None:
        self.layers = layers

    def __call__(self, call: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]:
        """Wrap a call in every layer, the last one nearest to it."""
        for layer in reversed(self.layers):
            call = layer(call)
        return call

    def __iter__(self) -> Iterator[Middleware]:
        return iter(self.layers)

    def __repr__(self) -> str:
        return f"stack({', '.join(map(repr, self.layers))})"

    @property
    def max_concurrency(self) -> int | None:
        """The largest cap among the layers; None where there is none."""
        caps = [cap for layer in self.layers if (cap := getattr(layer, "max_concurrency", None)) is not None]
        return max(caps) if caps else None


def stack(*layers: Middleware) -> Stack:
    """Compose layers into one, outermost first.

    `stack(a, b)(call)` is `a(b(call))`, but for one thing: where a `Rate` stands directly around a
    `Concurrency`, the two change places. A call that had paid the rate and then waited for a slot would
    start later than it was allowed to, and several such calls would start together, faster than the rate.

    :param layers: middleware; a `Stack` among them is taken as its layers
    :raises ConfigurationError: if one of them is not callable
    """
    flat: list[Middleware] = []
    for layer in layers:
        if isinstance(layer, type):
            raise ConfigurationError(f"{layer.__name__} is a class: make one, as in {layer.__name__}(...)")
        if not callable(layer):
            raise ConfigurationError(
                f"{layer!r} is not middleware: give a callable that takes an async callable and returns one"
            )
        flat.extend(layer if isinstance(layer, Stack) else (layer,))
    position = 0
    while position + 1 < len(flat):
        outer, inner = flat[position : position + 2]
        if isinstance(outer, Rate) and isinstance(inner, Concurrency):
            flat[position : position + 2] = [inner, outer]
            position = max(0, position - 1)
        else:
            position += 1
    return Stack(tuple(flat))
