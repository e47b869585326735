"""Ctrl-C and SIGTERM, sent to real processes whose results are kept."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from consoles import read_until, shown, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends signals, which Windows cannot")

SLOW = """
import asyncio, sys
from aeval import Concurrency, Evaluation

async def score(value):
    if value == 8:
        print("eight are done", file=sys.stderr, flush=True)
    await asyncio.sleep(0 if value < 8 else LONG)
    return True

slow = Evaluation(range(100), score, middleware=[Concurrency(1)])
"""


def stopped(long: str, *signals: signal.Signals) -> tuple[int, str, str]:
    """Start a run, send it signals, and return its exit code, stdout and stderr."""
    Path("slow.py").write_text(SLOW.replace("LONG", long))
    process = start("run", "slow.py", "--experiment", "my a", "--progress", "none")
    seen = read_until(process, "eight are done")
    for number, sent in enumerate(signals, start=1):
        process.send_signal(sent)
        if number < len(signals):
            seen += read_until(process, "Stopping")
    out, err = process.communicate(timeout=30)
    return process.returncode, out, seen + err


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
class TestStopped:
    """One signal, of either kind."""

    def test_what_finished_is_kept_and_goes_on(self, sent: signal.Signals, code: int) -> None:
        """What is in flight finishes and is kept as interrupted, and the command that is said goes on with it."""
        ended, out, err = stopped("0.5", sent)
        assert ended == code
        assert "(stopped)" in out
        assert "Traceback" not in err
        (run,) = shown("my a")["runs"]
        assert (run["status"], run["running_by"]) == ("interrupted", None)
        assert 9 <= run["report"]["n"] < 100
        command = shlex.split(re.search(r"go on with\n  aeval (.*)\n", err)[1])
        Path("slow.py").write_text(SLOW.replace("LONG", "0"))
        more = subprocess.run(
            [sys.executable, "-m", "aeval", *command], capture_output=True, text=True, timeout=60, check=False
        )
        assert more.returncode == 0
        assert f"resumed   {run['report']['n']} kept, 0 tried again" in more.stdout
        assert "samples   100: 100 scored, 0 errored" in more.stdout

    def test_what_takes_too_long_is_cancelled(self, sent: signal.Signals, code: int) -> None:
        """What does not finish in time is cancelled, and nothing that had finished is lost."""
        ended, out, err = stopped("3600", sent)
        assert ended == code
        assert "samples   8: 8 scored, 0 errored" in out
        assert "Traceback" not in err
        (run,) = shown("my a")["runs"]
        assert (run["status"], run["report"]["n"]) == ("interrupted", 8)

    def test_twice_ends_at_once(self, sent: signal.Signals, code: int) -> None:
        """The second one ends the process at once, after it has said how to go on; the run counts as interrupted."""
        ended, _, err = stopped("3600", sent, sent)
        assert ended == code
        assert "Go on with\n  aeval run slow.py --experiment 'my a'\n" in err
        assert "Traceback" not in err
        (run,) = shown("my a")["runs"]
        assert run["status"] == "interrupted"
        assert run["report"]["n"] <= 8  # the last ones may have been on their way


def test_killed_it_counts_as_interrupted() -> None:
    """A run whose process was killed is shown as interrupted, with what was committed by then."""
    stopped("3600", signal.SIGKILL)
    (run,) = shown("my a")["runs"]
    assert run["status"] == "interrupted"
    assert run["report"]["n"] <= 8  # the last ones may have been on their way
