"""Showing how far a run is."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest

from aeval import Evaluation, Stats, run
from aeval.progress import display_for
from aeval.progress.line import clock, facts, share_done
from aeval.progress.notebook import NotebookDisplay
from aeval.progress.plain import PlainDisplay
from aeval.progress.terminal import TerminalDisplay

STATS = Stats(
    done=1200,
    errored=3,
    in_flight=40,
    total=2000,
    attempts=1300,
    retried=60,
    refused=7,
    waits={},
    tokens=0,
    seconds=60.0,
    throughput=20.0,
    abandoned_threads=0,
    metric=("exact_match", 0.8125),
)


def test_a_line_says_what_there_is_to_say() -> None:
    """Done of total, rate, in flight, the running metric, errors, retries, refusals and the time left."""
    assert list(facts(STATS)) == [
        ("done", "1,200 of 2,000"),
        ("rate", "20.0/s"),
        ("in flight", "40"),
        ("exact_match", "0.812"),
        ("errors", "3"),
        ("retries", "60"),
        ("refused", "7"),
        ("left", "0:40"),
    ]


def test_a_line_of_an_endless_run_tells_how_long_it_goes_on() -> None:
    """Where the number of samples is not known, the line has neither total nor time left."""
    endless = attrs.evolve(STATS, total=None, errored=0, retried=0, refused=0, metric=None)
    assert list(facts(endless)) == [("done", "1,200"), ("rate", "20.0/s"), ("in flight", "40"), ("for", "1:00")]
    assert share_done(endless) is None
    assert share_done(STATS) == 0.6


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3725, "1:02:05")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    """Seconds become minutes and hours."""
    assert clock(seconds) == text


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A plain display writes a line to stderr, and marks the last."""
    display = PlainDisplay("math", lambda: STATS)
    display.paint(last=False)
    display.paint(last=True)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("math: done 1,200 of 2,000, rate 20.0/s, in flight 40")
    assert last == f"{first} (end)"


def test_notebook_html_escapes_names() -> None:
    """The notebook's HTML shows the bar and the figures, and trusts no name."""
    html = NotebookDisplay("<b>math</b>", lambda: STATS)._html()
    assert '<progress max="1" value="0.6000"></progress>' in html
    assert "&lt;b&gt;math" in html
    assert "<progress></progress>" in NotebookDisplay("x", lambda: attrs.evolve(STATS, total=None))._html()


@pytest.mark.parametrize(
    ("progress", "tty", "term", "kind"),
    [
        (None, True, "xterm", TerminalDisplay),
        (None, True, "dumb", type(None)),
        (None, False, "xterm", type(None)),
        (True, True, "xterm", TerminalDisplay),
        (True, False, "xterm", PlainDisplay),
        ("plain", True, "xterm", PlainDisplay),
        (False, True, "xterm", type(None)),
    ],
)
def test_progress_is_shown_where_someone_is_looking(progress, tty, term, kind, monkeypatch) -> None:
    """None shows it in a terminal only, True everywhere, False nowhere."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return tty

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", term)
    assert isinstance(display_for(progress, "math", lambda: STATS), kind)


def test_progress_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook's kernel progress is HTML, shown once and then replaced."""
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)

    def display(page: str, display_id: bool) -> SimpleNamespace:
        assert display_id
        shown.append(page)
        return handle

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=display))
    chosen = display_for(None, "math", lambda: STATS)
    assert isinstance(chosen, NotebookDisplay)
    chosen.paint(last=False)
    chosen.paint(last=True)
    assert len(shown) == 2


def test_a_run_paints_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """A run with progress writes its last line when it is at its end."""

    async def score(value: int) -> bool:
        return True

    async def main() -> None:
        await run(Evaluation(range(5), score, name="five"), progress=True)

    asyncio.run(main())
    assert re.fullmatch(
        r"five: done 5 of 5, rate .*/s, in flight 0, score 1, left 0:00 \(end\)\n", capsys.readouterr().err
    )


PROGRAM = """
import asyncio
from aeval import Concurrency, Evaluation, run

async def score(value):
    await asyncio.sleep(0.05)
    return True

async def main():
    async for result in run(Evaluation(list(range(60)), score, name="sixty"), middleware=[Concurrency(5)]):
        if result.index == 20:
            print("printed meanwhile", flush=True)

asyncio.run(main())
"""


def test_a_real_terminal_shows_the_bar_and_keeps_what_is_printed(tmp_path: Path) -> None:
    """In a pseudo-terminal the bar is painted in place, and a stdout that is a file gets only what was printed."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ours, theirs = pty.openpty()
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(program)],
            stdout=out,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(theirs)
        painted = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:
                break
            if not piece:
                break
            painted += piece
        assert process.wait() == 0
    os.close(ours)
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", painted).decode()
    assert "sixty" in text
    assert "60 of 60" in text
    assert (tmp_path / "out").read_text() == "printed meanwhile\n"
