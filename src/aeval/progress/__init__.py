"""Showing how far a run is: in a terminal, in a notebook, or as plain lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from aeval.monitor import Display

if TYPE_CHECKING:
    from aeval.standing import Stats

__all__ = ["Progress", "display_for"]

Progress: TypeAlias = bool | Literal["plain"] | None


def display_for(progress: Progress, title: str, stats: Callable[[], Stats]) -> Display | None:
    """Choose how to show a run's progress.

    :param progress: None where someone is looking, True always, `"plain"` as lines, False never
    :param title: what is being run
    :param stats: returns the run's figures of the moment
    """
    if progress is False:
        return None
    if progress != "plain" and _in_notebook():
        from aeval.progress.notebook import NotebookDisplay

        return NotebookDisplay(title, stats)
    if progress != "plain" and _is_terminal() and os.environ.get("TERM") != "dumb":
        from aeval.progress.terminal import TerminalDisplay

        return TerminalDisplay(title, stats)
    if progress is None:
        return None
    from aeval.progress.plain import PlainDisplay

    return PlainDisplay(title, stats)


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:
        return False  # it was closed


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell is not None and hasattr(shell, "kernel")
