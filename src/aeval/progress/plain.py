"""Progress as plain lines, for logs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from aeval.progress.line import facts

if TYPE_CHECKING:
    from aeval.standing import Stats

__all__ = ["PlainDisplay"]


class PlainDisplay:
    """Write a line to stderr every few seconds, and one at the end."""

    interval = 5.0

    def __init__(self, title: str, stats: Callable[[], Stats]) -> None:
        self._title = title
        self._stats = stats

    def paint(self, *, last: bool) -> None:
        """Write a line."""
        line = ", ".join(f"{name} {value}" for name, value in facts(self._stats()))
        sys.stderr.write(f"{self._title}: {line}{' (end)' if last else ''}\n")
        sys.stderr.flush()
