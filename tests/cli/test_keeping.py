"""What `aeval run` keeps, as real processes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from consoles import aeval, done, ran, read_until, shown, start

pytestmark = pytest.mark.usefixtures("file")


def test_results_are_kept_under_a_name_of_their_own(tmp_path: Path) -> None:
    """Without --experiment the results are kept under a new name, which the last lines say how to look at."""
    ended = aeval("run", "checks.py::numbers", "--progress", "none")
    name = re.search(r"kept as the experiment '(numbers-[\d-]+)'", ended.stderr)[1]
    assert f"\n  aeval show {name}\n" in ended.stderr
    assert "samples   40: 40 scored" in done("show", name)


def test_the_folder_keeps_out_of_version_control(tmp_path: Path) -> None:
    """The default storage lies in `.aeval`, which has a `.gitignore` for all that is in it."""
    ran("a")
    assert (tmp_path / ".aeval" / ".gitignore").read_text() == "*\n"
    assert (tmp_path / ".aeval" / "results.db").is_file()


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    """Somebody's `.aeval` that has no `.gitignore` gets none."""
    (tmp_path / ".aeval").mkdir()
    ran("a")
    assert not (tmp_path / ".aeval" / ".gitignore").exists()


@pytest.mark.parametrize("url", ["sqlite:///my results/kept.db", "jsonl://kept"])
def test_another_storage_is_named_in_the_command_to_look_at_it(tmp_path: Path, url: str) -> None:
    """With --storage the results are kept there, nothing else is made, and the next command says where."""
    said = ran("a", "checks.py::numbers", "--storage", url)
    command = said.partition("look at them with\n  aeval ")[2].strip()
    assert not (tmp_path / ".aeval").exists()
    assert (
        subprocess.run(
            [sys.executable, "-m", "aeval", *shlex.split(command)], check=False, stdout=subprocess.DEVNULL
        ).returncode
        == 0
    )


def test_a_finished_experiment_says_so() -> None:
    """A finished experiment that is run again evaluates nothing, says how many results it kept, and exits 0."""
    ran("a")
    assert "the experiment 'a' is finished: 40 results were kept, and nothing was evaluated" in ran("a")


def test_errors_are_tried_again(tmp_path: Path) -> None:
    """What errored is tried again, unless --no-retry-errors; the report says how many were kept and tried."""
    ran("a", "checks.py::shaky")
    kept = aeval("run", "checks.py::shaky", "--experiment", "a", "--no-retry-errors", "--format", "json")
    resumed = json.loads(kept.stdout)["resumed"]
    assert [resumed[name] for name in ("experiment", "stored", "kept", "retried", "changed")] == [
        "a",
        30,
        30,
        0,
        0,
    ]
    (tmp_path / "mended").touch()
    again = aeval("run", "checks.py::shaky", "--experiment", "a")
    assert "resumed   27 kept, 3 tried again" in again.stdout
    assert "samples   30: 30 scored, 0 errored" in again.stdout


def test_rows_that_changed_are_evaluated_anew(file: Path) -> None:
    """A row that changed is evaluated again, and the report says so."""
    ran("a")
    file.write_text(file.read_text().replace("range(40)", "[100, *range(1, 40)]"))
    ended = aeval("run", "checks.py::numbers", "--experiment", "a")
    assert "39 kept, 0 tried again, 1 evaluated anew, since their rows had changed" in ended.stdout


def test_what_the_library_warns_of_is_shown(file: Path) -> None:
    """A warning in the library's log is a line of the command line's own."""
    ran("a", "checks.py::shaky")
    file.write_text(file.read_text().replace("value < 6", "value < 7"))
    assert re.search(
        r"^aeval: the code of the evaluation 'shaky' has changed", ran("a", "checks.py::shaky"), re.MULTILINE
    )


def test_fresh_begins_a_new_run() -> None:
    """--fresh runs all samples again, beside the earlier run, which `show NAME#1` still shows."""
    ran("a")
    assert "nothing was evaluated" not in ran("a", "checks.py::numbers", "--fresh")
    report = shown("a")
    assert [run["label"] for run in report["runs"]] == ["numbers#2"]
    assert report["earlier"] == ["numbers#1"]
    assert [run["label"] for run in shown("a", "numbers#1")["runs"]] == ["numbers"]


def test_too_many_errors_say_how_to_go_on() -> None:
    """A run that fails says with which command it goes on, with all that it was given."""
    options = ["--storage", "sqlite:///my.db", "--samples", "25", "--no-retry-errors"]
    ended = aeval("run", "checks.py::shaky", "--experiment", "my a", "--max-errors", "1", "--fresh", *options)
    assert ended.returncode == 1
    assert (
        "go on with\n  aeval run checks.py::shaky --samples 25 --max-errors 1 --no-retry-errors "
        "--experiment 'my a' --storage sqlite:///my.db\n"
    ) in ended.stderr


def test_a_storage_that_fails_says_how_to_go_on(file: Path) -> None:
    """A storage that fails in the middle ends the run with exit code 1, without a traceback of ours."""
    file.write_text(
        "import asyncio, sqlite3\n"
        "from aeval import Concurrency, Evaluation\n"
        "async def score(value):\n"
        "    await asyncio.sleep(0.01)\n"
        "    if value == 20:\n"
        "        with sqlite3.connect('.aeval/results.db') as base: base.execute('DROP TABLE results')\n"
        "    return True\n"
        "numbers = Evaluation(range(100), score, middleware=[Concurrency(1)])\n"
    )
    ended = aeval("run", "checks.py", "--experiment", "a", "--progress", "none")
    assert ended.returncode == 1
    assert "aeval: the storage 'sqlite:///.aeval/results.db' failed: no such table: results" in ended.stderr
    assert "go on with\n  aeval run checks.py --experiment a\n" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_passwords_are_not_shown() -> None:
    """A storage that does not answer is named without its password."""
    url = "postgresql://ada:secret@127.0.0.1:1/evals"
    for command in (["run", "checks.py::numbers"], ["list"]):
        ended = aeval(*command, "--storage", url)
        assert ended.returncode in {1, 2}
        assert "secret" not in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr


def test_what_is_kept_in_memory_is_not_spoken_of() -> None:
    """A storage that is gone with the process is not said to be there afterwards."""
    assert ran("a", "checks.py::numbers", "--storage", "memory://") == ""


def test_two_processes_do_not_run_one_experiment() -> None:
    """An experiment that is being run is refused with exit code 2, naming the process, its host and since when."""
    process = start("run", "checks.py::slow", "--experiment", "a", "--progress", "none")
    try:
        read_until(process, "five are done")
        ended = aeval("run", "checks.py::slow", "--experiment", "a", "--progress", "none")
    finally:
        Path("go on").touch()
        process.communicate(timeout=30)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert re.search(rf"being run by process {process.pid} on \S+, since \d{{4}}-", ended.stderr)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--storage", "mysql://x"], "the storage 'mysql://x' is of an unknown kind, 'mysql'"),
        (["--storage", "results.db"], "write 'sqlite:///results.db' for a file"),
        (["--storage", "sqlite:///."], "is a directory"),
        (["--storage", "jsonl://checks.py"], "'.*checks.py' is a file; give another path"),
        (["--storage", "sqlite:///checks.py"], "checks.py' is not an SQLite database"),
        (["--experiment", "a/b"], "'a/b' has a path separator in it: write 'a-b'"),
        (["--experiment", ""], "the experiment's name is ''"),
    ],
)
def test_what_cannot_be_kept_exits_2(options: list[str], message: str) -> None:
    """A storage or name that cannot be is said in a line, with the value and the fix; nothing is made."""
    ended = aeval("run", "checks.py::numbers", *options)
    assert ended.returncode == 2
    assert re.search(message, ended.stderr)
    assert "Traceback" not in ended.stderr


def test_a_folder_that_cannot_be_made_exits_2(tmp_path: Path) -> None:
    """Where a file stands in the way of the folder, it is said which."""
    (tmp_path / ".aeval").touch()
    ended = aeval("run", "checks.py::numbers")
    assert ended.returncode == 2
    assert "the folder of the storage 'sqlite:///.aeval/results.db' cannot be made" in ended.stderr
