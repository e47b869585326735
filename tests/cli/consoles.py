"""The command line, as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

EVALUATIONS = '''
import os, sys
from aeval import Concurrency, Evaluation

async def even(value):
    return value % 2 == 0

def rows():
    yield from ({"id": f"row {n}", "question": f"What is {n}+1?", "expected": str(n + 1)} for n in range(20))

async def answer(question, expected):
    if expected == "13":
        raise LookupError("no answer | to this")
    return expected if len(expected) == 1 else f"about {expected}"

def exact(output, expected):
    return output == expected

def close(output, expected):
    return expected in output

async def flaky(value):
    if value % 10 == 3 and not os.path.exists("mended"):
        raise ConnectionError("not now")
    return value < 6

async def held(value):
    """Says that it runs, and waits for a file to appear."""
    import asyncio
    if value >= 5:
        print("five are done", file=sys.stderr, flush=True)
        while not os.path.exists("go on"):
            await asyncio.sleep(0.01)
    return True

numbers = Evaluation(range(40), even, name="numbers")
sums = Evaluation(rows, exact, task=answer, name="sums", middleware=[])
shaky = Evaluation(range(30), flaky, name="shaky", middleware=[])
slow = Evaluation(range(10), held, name="slow", middleware=[Concurrency(1)])
'''


def aeval(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "aeval", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **{"stdin": subprocess.DEVNULL} | options,
    )


def done(*arguments: str) -> str:
    """Run a command that is to end well, and return what it printed."""
    ended = aeval(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def ran(experiment: str, target: str = "checks.py::numbers", *more: str) -> str:
    """Run an evaluation as an experiment, and return what it said on stderr."""
    ended = aeval("run", target, "--experiment", experiment, "--progress", "none", *more)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def shown(experiment: str, *more: str) -> Any:
    """Return what `aeval show --format json` prints."""
    return json.loads(done("show", experiment, "--format", "json", *more))


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "aeval", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ),
    )


def read_until(process: subprocess.Popen[str], sign: str) -> str:
    """Read what a process says on stderr, up to the line with a sign."""
    seen = ""
    while sign not in seen:
        line = process.stderr.readline()
        assert line, f"the process ended before it said {sign!r}: {seen}"
        seen += line
    return seen
