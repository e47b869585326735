"""`aeval rename`, `delete`, `cleanup`, `export` and `score`, as real processes."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from pathlib import Path

import anyio
import attrs
import pytest
from consoles import aeval, done, ran, read_until, shown, start

from aeval import open_storage

pytestmark = pytest.mark.usefixtures("file")


def names() -> set[str]:
    """Return the names of the experiments that there are."""
    return {line["experiment"] for line in json.loads(done("list", "--format", "json"))}


def age(experiment: str, days: float) -> None:
    """Make it so that an experiment was run some days ago."""

    async def age() -> None:
        async with open_storage() as storage:
            async for run in storage.runs(experiment):
                by = days * 86400
                session = attrs.evolve(run.sessions[-1], started=run.sessions[-1].started - by)
                changed = attrs.evolve(
                    run, started=run.started - by, ended=run.ended and run.ended - by, sessions=(session,)
                )
                assert await storage.backend.update_run(changed)

    anyio.run(age)


def test_rename_gives_another_name() -> None:
    """A renamed experiment has its results under the new name only."""
    ran("a")
    assert done("rename", "a", "b") == "a is now b\n"
    assert names() == {"b"}
    assert "samples   40: 40 scored" in done("show", "b")


class TestDelete:
    """`aeval delete`."""

    def test_it_says_what_it_removes(self) -> None:
        """With --yes the experiment is gone, and what went with it was said."""
        ran("a", "checks.py::sums")
        ran("b")
        text = done("delete", "a", "--yes")
        assert re.search(r"^a  sums  finished  20 results  last used \d{4}-", text)
        assert text.endswith("removed 1 run of a\n")
        assert names() == {"b"}

    def test_one_evaluation_of_several(self) -> None:
        """With EVALUATION only the runs of that one are removed."""
        ran("a")
        ran("a", "checks.py::sums")
        done("delete", "a", "sums", "--yes")
        assert [run["label"] for run in shown("a")["runs"]] == ["numbers"]

    def test_without_a_terminal_it_wants_yes(self) -> None:
        """Where nobody can be asked, nothing is removed, and --yes is asked for."""
        ran("a")
        ended = aeval("delete", "a")
        assert ended.returncode == 2
        assert "Remove 1 run of 'a' for good? There is no terminal to ask on: give --yes" in ended.stderr
        assert names() == {"a"}

    @pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
    @pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, set()), ("n", 1, {"a"})])
    def test_on_a_terminal_it_asks(self, answer: str, code: int, left: set[str]) -> None:
        """On a terminal the answer decides."""
        ran("a")
        ours, theirs = os.openpty()
        os.write(ours, f"{answer}\n".encode())
        ended = aeval("delete", "a", stdin=theirs)
        os.close(ours)
        os.close(theirs)
        assert ended.returncode == code
        assert "Remove 1 run of 'a' for good? [y/N]" in ended.stderr
        assert names() == left

    def test_what_is_running_is_not_removed(self) -> None:
        """An experiment that a process writes to is neither removed nor renamed nor cleaned up."""
        process = start("run", "checks.py::slow", "--experiment", "a", "--progress", "none")
        try:
            read_until(process, "five are done")
            refused = [aeval("delete", "a", "--yes"), aeval("rename", "a", "b")]
            cleaned = aeval("cleanup", "--older-than", "0s", "--yes")
        finally:
            Path("go on").touch()
            process.communicate(timeout=30)
        assert all(ended.returncode == 2 and f"process {process.pid}" in ended.stderr for ended in refused)
        assert "no experiment in sqlite:///.aeval/results.db is older than 0s" in cleaned.stderr
        assert names() == {"a"}


class TestCleanup:
    """`aeval cleanup`."""

    def test_what_is_old_is_removed(self) -> None:
        """Experiments that ended before are removed, and the others are not."""
        for name, days in (("old", 31), ("older", 400), ("new", 29)):
            ran(name)
            age(name, days)
        text = done("cleanup", "--older-than", "30d", "--yes")
        assert re.findall(r"^(\S+)  numbers  finished  40 results  last used", text, re.MULTILINE) == [
            "old",
            "older",
        ]
        assert text.endswith("removed 2 experiments\n")
        assert names() == {"new"}

    def test_dry_run_removes_nothing(self) -> None:
        """--dry-run lists what would be removed, and removes nothing."""
        ran("a")
        age("a", 8)
        assert done("cleanup", "--older-than", "1w", "--dry-run").endswith("1 experiment would be removed\n")
        assert names() == {"a"}

    def test_without_a_terminal_it_wants_yes(self) -> None:
        """Where nobody can be asked, nothing is removed."""
        ran("a")
        age("a", 8)
        ended = aeval("cleanup", "--older-than", "12h")
        assert ended.returncode == 2
        assert "give --yes" in ended.stderr
        assert names() == {"a"}


class TestExport:
    """`aeval export`."""

    def test_lines_of_json_to_stdout(self) -> None:
        """Without more, the results are lines of JSON on stdout."""
        ran("a", "checks.py::sums")
        lines = [json.loads(line) for line in done("export", "a").splitlines()]
        assert {line["id"] for line in lines} == {f"row {n}" for n in range(20)}
        assert done("export", "a", "sums", "-o", "-") == done("export", "a")

    def test_csv_to_a_file(self, tmp_path: Path) -> None:
        """The file's ending tells the format, and the file has a row for each result."""
        ran("a", "checks.py::sums")
        assert done("export", "a", "-o", "a.csv") == ""
        with (tmp_path / "a.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["id"] for row in rows} == {f"row {n}" for n in range(20)}

    def test_parquet_needs_a_file(self, tmp_path: Path) -> None:
        """Parquet goes to a file, and not to stdout."""
        parquet = pytest.importorskip("pyarrow.parquet")
        ran("a")
        ended = aeval("export", "a", "--format", "parquet")
        assert ended.returncode == 2
        assert "give a file, as in -o results.parquet" in ended.stderr
        done("export", "a", "--format", "parquet", "-o", "a.parquet")
        assert parquet.read_table(tmp_path / "a.parquet").num_rows == 40

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("there.csv", "the file 'there.csv' exists: give another one, or --force to write over it"),
            (".", "the output '.' is a directory"),
            ("no/where.csv", "the folder of the output 'no/where.csv' does not exist"),
        ],
    )
    def test_where_it_cannot_be_written(self, tmp_path: Path, path: str, message: str) -> None:
        """A file that is there is kept, and a place that is none is refused, with exit code 2."""
        ran("a")
        (tmp_path / "there.csv").write_text("mine")
        ended = aeval("export", "a", "-o", path)
        assert ended.returncode == 2
        assert message in ended.stderr
        assert (tmp_path / "there.csv").read_text() == "mine"

    def test_force_writes_over_a_file(self, tmp_path: Path) -> None:
        """With --force a file that is there is written over."""
        ran("a")
        (tmp_path / "there.csv").write_text("mine")
        done("export", "a", "-o", "there.csv", "--force")
        assert len((tmp_path / "there.csv").read_text().splitlines()) == 41

    @pytest.mark.skipif(os.name == "nt", reason="a closed pipe is another error on Windows")
    def test_a_reader_who_has_seen_enough_ends_it_quietly(self, file: Path) -> None:
        """Where the reader closes the pipe, the command ends without a word."""
        file.write_text(file.read_text().replace("range(40)", "range(5000)"))
        ran("a")
        process = start("export", "a")
        assert process.stdout.readline()
        process.stdout.close()
        with process.stderr:
            assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 0


class TestScore:
    """`aeval score`."""

    def test_outputs_are_scored_again(self) -> None:
        """The outputs get new scores, from a scorer of a file and one of aeval's own, and the task is not called."""
        ran("a", "checks.py::sums")
        ended = aeval("score", "a", "checks.py::close", "includes", "--progress", "none")
        assert ended.returncode == 0
        assert re.search(r"close +accuracy +1 ", ended.stdout)
        assert re.search(r"includes +accuracy +1 ", ended.stdout)
        assert "kept beside the earlier ones in 'a': look at them with\n  aeval show a\n" in ended.stderr

    def test_json_is_nothing_but_the_report(self) -> None:
        """--format json prints the report as JSON, and the first scores stay what they were."""
        ran("a", "checks.py::sums")
        options = ["--evaluation", "sums", "--samples", "5", "--format", "json"]
        assert json.loads(done("score", "a", "includes", *options))["n"] == 5
        labels = [(run["label"], run["rescored"], run["report"]["n"]) for run in shown("a")["runs"]]
        assert labels == [("sums", None, 20), ("sums#2", 1, 5)]

    def test_results_without_outputs_exit_2(self) -> None:
        """Where no outputs were kept, it is said what to do about it."""
        ran("a")
        ended = aeval("score", "a", "numeric", "--progress", "none")
        assert ended.returncode == 2
        assert "has no outputs to score" in ended.stderr
        assert "Traceback" not in ended.stderr
