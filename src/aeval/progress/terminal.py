"""Progress in a terminal, painted by rich."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from aeval.progress.line import facts, share_done

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from aeval.standing import Stats

__all__ = ["TerminalDisplay"]


class TerminalDisplay:
    """Paint a bar and a line of figures at the terminal's foot."""

    interval = 0.25

    def __init__(self, title: str, stats: Callable[[], Stats]) -> None:
        self._title = title
        self._stats = stats
        self._live: Live | None = None
        self._columns = 80

    def paint(self, *, last: bool) -> None:
        """Paint the bar anew, and leave it standing at the end."""
        if self._live is None:
            self._live = self._start()
        self._live.update(self._line(), refresh=True)
        if last:
            self._live.stop()

    def _start(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        self._columns = console.width
        live = Live(
            console=console,
            auto_refresh=False,
            # What the user prints goes above the bar, but a stdout that is a file stays one.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )
        live.start()
        return live

    def _line(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        stats = self._stats()
        text = Text(self._title, style="bold", end=" ")
        for name, value in facts(stats):
            style = "red" if name in {"errors", "refused"} else "cyan"
            text.append(f"  {name} ", style="dim").append(value, style=style)
        share = share_done(stats)
        grid = Table.grid(padding=(0, 1))
        width = max(6, min(24, (self._columns - 80) // 2))
        bar = ProgressBar(total=1.0, completed=share or 0.0, width=width, pulse=share is None)
        text.no_wrap, text.overflow = True, "ellipsis"
        grid.add_row(bar, text)
        return grid
