"""The command line, as real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EVALUATION = """
import asyncio
from aeval import Concurrency, Evaluation, Retry

async def even(value):
    await asyncio.sleep(0)
    return value % 2 == 0

async def small(value):
    return value < 3

async def fails(value):
    raise KeyError("nothing here")

one = Evaluation(range(40), even)
two = Evaluation(range(10), small, name="second", middleware=[Retry(2), Concurrency(2)])
broken = Evaluation(range(5), fails, middleware=[])
"""


def aeval(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "aeval", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file with three evaluations of its own."""
    path = tmp_path / "my_evaluation.py"
    path.write_text(EVALUATION)
    return path


def test_run_prints_the_report_and_exits_0(file: Path) -> None:
    """`aeval run FILE::NAME` prints the evaluation's report on stdout, its progress on stderr."""
    done = aeval("run", f"{file}::even")
    assert done.returncode == 0
    assert re.search(r"even +accuracy +0\.5 ", done.stdout)
    assert "samples   40: 40 scored, 0 errored" in done.stdout
    assert "even: done 40" in done.stderr


@pytest.mark.parametrize("name", ["second", "two"])
def test_an_evaluation_is_found_by_its_name_or_its_variable(file: Path, name: str) -> None:
    """`::NAME` may be the evaluation's own name, or the variable that holds it."""
    done = aeval("run", f"{file}::{name}", "--progress", "none", "--format", "json")
    assert json.loads(done.stdout)["name"] == "second"
    assert re.fullmatch(r"aeval: the results are kept as .*\n  aeval show second-\S+\n", done.stderr)


def test_all_evaluations_of_a_file_run_together(file: Path) -> None:
    """Without a name every evaluation of the file runs, each with its own part of the report."""
    done = aeval("run", str(file), "--progress", "none", "--format", "json", "--samples", "4", "--repeats", "2")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert {name: part["n"] for name, part in report["evaluations"].items()} == {
        "even": 8,
        "second": 8,
        "fails": 8,
    }
    assert (report["scored"], report["errored"], report["errors"]["KeyError"]["n"]) == (16, 8, 8)


def test_limits_of_the_command_line_take_hold(tmp_path: Path) -> None:
    """--max-concurrency, --rate and --timeout replace the file's own, or are put in."""
    file = tmp_path / "limits.py"
    file.write_text(
        """
import asyncio, time
from aeval import Concurrency, Evaluation, Retry
inside = most = 0
started = []
async def score(value):
    global inside, most
    inside += 1; most = max(most, inside); started.append(time.monotonic())
    try:
        await asyncio.sleep(30 if value == 3 else 0.02)
    finally:
        inside -= 1
    return {"most": most, "seconds": started[-1] - started[0]}
limited = Evaluation(range(12), score, middleware=[Concurrency(9)])
"""
    )
    options = [
        "--max-concurrency",
        "3",
        "--rate",
        "20/s",
        "--timeout",
        "0.3",
        "--progress",
        "none",
        "--format",
        "json",
    ]
    report = json.loads(aeval("run", str(file), *options).stdout)
    assert report["errors"]["CallTimeout"]["n"] == 1
    assert report["summary"]["most"]["mean"] <= 3
    assert report["duration"] > 11 / 20 * 0.9


def test_a_run_in_which_nothing_was_scored_exits_1(file: Path) -> None:
    """A run without a single score did not end as it should."""
    done = aeval("run", f"{file}::fails", "--progress", "none")
    assert done.returncode == 1
    assert "no sample was scored" in done.stderr
    assert "nothing here" in done.stdout


def test_too_many_errors_exit_1(file: Path) -> None:
    """More errors than --max-errors stop the run, print the partial report and exit 1."""
    done = aeval("run", str(file), "--max-errors", "2", "--progress", "none")
    assert done.returncode == 1
    assert re.search(r"aeval: 3 of \d+ finished samples errored, more than max_errors=2 allows", done.stderr)
    assert "(failed)" in done.stdout


def test_a_broken_dataset_exits_1_with_what_finished(tmp_path: Path) -> None:
    """A dataset that raises shows its own traceback, and the report of what finished."""
    file = tmp_path / "breaks.py"
    file.write_text(
        "from aeval import Evaluation\n"
        "def rows():\n    yield 1\n    yield 2\n    raise LookupError('row 3 is gone')\n"
        "async def score(value): return True\n"
        "evaluation = Evaluation(rows, score)\n"
    )
    done = aeval("run", str(file), "--progress", "none")
    assert done.returncode == 1
    assert "LookupError: row 3 is gone" in done.stderr
    assert "samples   2: 2 scored" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.py"], "the file 'nowhere.py' does not exist"),
        (["run", "."], "is a directory"),
        (["run", "{file}::evn"], "there is no evaluation 'evn' in .* did you mean even"),
        (["run", "{file}", "--rate", "fast"], "the rate is 'fast': write N/PERIOD"),
        (["run", "{file}", "--rate", "0/s"], "Rate's n is 0.0: give a number of calls above 0"),
        (["run", "{file}", "--max-concurrency", "0"], "0 is not in the range x>=1"),
        (["run", "{file}", "--timeout", "-1"], "the timeout is -1.0"),
        (["run", "{file}", "--max-errors", "some"], "max-errors is 'some'"),
        (["run", "{file}", "--samples", "0"], "0 is not in the range x>=1"),
        (["run", "{file}", "--format", "yaml"], "'yaml' is not one of 'table', 'json'"),
        (["walk"], "No such command 'walk'"),
    ],
)
def test_a_command_that_cannot_run_exits_2(file: Path, arguments: list[str], message: str) -> None:
    """What is wrong with a command is said in a line, with the value and the fix; no traceback, exit code 2."""
    done = aeval(*[argument.format(file=file) for argument in arguments], cwd=file.parent)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "message", "traceback"),
    [
        ("x = 1\n", "there is no evaluation in", False),
        ("import nonexistent_module\n", "could not be imported", True),
        ("def broken(:\n", "could not be imported", False),
    ],
)
def test_a_file_that_cannot_be_used_exits_2(tmp_path: Path, text: str, message: str, traceback: bool) -> None:
    """A file that fails shows the user's own lines of the traceback, and none of aeval's."""
    file = tmp_path / "wrong.py"
    file.write_text(text)
    done = aeval("run", str(file))
    assert done.returncode == 2
    assert message in done.stderr
    assert (f'File "{file}"' in done.stderr) == (traceback or "def" in text)
    assert "aeval/cli" not in done.stderr


def test_a_parameter_without_a_column_exits_2(tmp_path: Path) -> None:
    """A mistake that is only found when the rows are looked at is a misuse as well."""
    file = tmp_path / "unbound.py"
    file.write_text(
        "from aeval import Evaluation\n"
        "async def score(question, reference): return True\n"
        "evaluation = Evaluation([{'question': 1, 'answer': 2}], score)\n"
    )
    done = aeval("run", str(file), "--progress", "none")
    assert done.returncode == 2
    assert "the parameter 'reference' of 'score' can be filled by no column" in done.stderr


def test_version_and_help() -> None:
    """`--version` and `--help` answer at once."""
    from importlib.metadata import version

    assert aeval("--version").stdout == f"aeval {version('aeval')}\n"
    shown = aeval("run", "--help").stdout
    for option in (
        "--samples",
        "--max-concurrency",
        "--rate",
        "--timeout",
        "--progress",
        "--format",
        "--max-errors",
    ):
        assert option in shown


SLOW = """
import sys, threading, time
import asyncio
from aeval import Concurrency, Evaluation

started = 0

def rows():
    for n in range(1000):
        yield n

async def score(value):
    global started
    started += 1
    if started == 12:
        print("twelve started", file=sys.stderr, flush=True)
    await asyncio.sleep(0.01 if value < 8 else LONG)
    return True

def blocked(value):
    print("in a thread", file=sys.stderr, flush=True)
    threading.Event().wait()

slow = Evaluation(rows, score, middleware=[Concurrency(4)])
stuck = Evaluation(rows, blocked, middleware=[Concurrency(2)])
"""


def interrupted(file: Path, target: str, sign: str, signals: int) -> tuple[int, str, str, float]:
    """Start a run, send Ctrl-C so many times once a line is seen, and return how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aeval", "run", f"{file}::{target}", "--progress", "none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = ""
    while sign not in seen:
        line = process.stderr.readline()
        assert line, "the process ended before it was interrupted"
        seen += line
    began = time.monotonic()
    for count in range(signals):
        process.send_signal(signal.SIGINT)
        if count + 1 < signals:
            while "Ctrl-C again" not in seen:
                seen += process.stderr.readline()
    out, err = process.communicate(timeout=30)
    return process.returncode, out, seen + err, time.monotonic() - began


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to a child, which Windows cannot")
class TestInterrupt:
    """Ctrl-C."""

    def test_once_lets_what_is_in_flight_finish(self, tmp_path: Path) -> None:
        """Once: no new samples, those in flight finish, the partial report is printed, exit code 130."""
        file = tmp_path / "slow.py"
        file.write_text(SLOW.replace("LONG", "1"))
        code, out, err, _ = interrupted(file, "slow", "twelve started", 1)
        assert code == 130
        assert "(stopped)" in out
        scored = re.search(r"samples   (\d+): (\d+) scored, 0 errored", out)
        assert scored[1] == scored[2]
        assert 12 <= int(scored[1]) <= 16  # eight were done, four at work, and the others in line
        assert "Traceback" not in err

    def test_once_cancels_what_takes_too_long(self, tmp_path: Path) -> None:
        """Once: what is still in flight after some seconds is cancelled, and what finished is reported."""
        file = tmp_path / "slow.py"
        file.write_text(SLOW.replace("LONG", "3600"))
        code, out, err, seconds = interrupted(file, "slow", "twelve started", 1)
        assert code == 130
        assert "samples   8: 8 scored, 0 errored" in out
        assert seconds < 20
        assert "Traceback" not in err

    def test_once_leaves_threads_that_never_end(self, tmp_path: Path) -> None:
        """Once: a sync scorer that never ends does not keep the process."""
        file = tmp_path / "slow.py"
        file.write_text(SLOW.replace("LONG", "1"))
        code, out, _, seconds = interrupted(file, "stuck", "in a thread", 1)
        assert code == 130
        assert "threads" in out
        assert seconds < 20

    def test_twice_ends_at_once(self, tmp_path: Path) -> None:
        """Twice: the process is gone, whatever is in flight."""
        file = tmp_path / "slow.py"
        file.write_text(SLOW.replace("LONG", "3600"))
        code, _, err, _ = interrupted(file, "slow", "twelve started", 2)
        assert code == 130
        assert "Traceback" not in err


def test_demo(tmp_path: Path) -> None:
    """`aeval demo` evaluates over real HTTP, survives the faults, and says what to try next."""
    done = aeval("demo", "--samples", "120", "--seed", "3")
    assert done.returncode == 0
    assert re.search(r"numeric +accuracy +0\.[89]", done.stdout)
    assert "samples   120: 120 scored, 0 errored" in done.stdout
    assert re.search(r"The server saw \d+ requests, refused \d+, failed [1-9]\d*", done.stderr)
    assert "aeval run" in done.stderr


def test_demo_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    """Without uvicorn the demo names the extra, and exits 2."""
    (tmp_path / "uvicorn.py").write_text("raise ImportError('not here')")
    done = aeval("demo", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    assert "pip install 'aeval[server]'" in done.stderr
    assert "Traceback" not in done.stderr
