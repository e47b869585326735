"""Progress in a notebook, as HTML that is replaced in place."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aeval.progress.line import facts, share_done

if TYPE_CHECKING:
    from aeval.standing import Stats

__all__ = ["NotebookDisplay"]


class NotebookDisplay:
    """Show a bar and a line of figures below the cell."""

    interval = 0.5

    def __init__(self, title: str, stats: Callable[[], Stats]) -> None:
        self._title = title
        self._stats = stats
        self._handle: Any = None

    def paint(self, *, last: bool) -> None:  # noqa: ARG002 - the last painting is like the others
        """Replace what is shown."""
        ipython: Any = import_module("IPython.display")
        page = ipython.HTML(self._html())
        if self._handle is None:
            self._handle = ipython.display(page, display_id=True)
        else:
            self._handle.update(page)

    def _html(self) -> str:
        stats = self._stats()
        share = share_done(stats)
        bar = "<progress></progress>" if share is None else f'<progress max="1" value="{share:.4f}"></progress>'
        line = " &nbsp; ".join(f"{escape(name)} <b>{escape(value)}</b>" for name, value in facts(stats))
        return f'<div class="aeval-progress">{bar} <b>{escape(self._title)}</b> &nbsp; {line}</div>'
