"""`aeval list` and `aeval show`, as real processes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from consoles import aeval, done, ran, read_until, shown, start

pytestmark = pytest.mark.usefixtures("file")


class TestList:
    """`aeval list`."""

    def test_experiments_are_listed_with_their_evaluations(self) -> None:
        """Each run has a line: its status, counts, first metric, start and duration."""
        ran("b", "checks.py::shaky")
        ran("a")
        lines = done("list").splitlines()
        assert lines[0].split() == [
            "experiment",
            "evaluation",
            "status",
            "n",
            "errored",
            "metric",
            "started",
            "took",
        ]
        assert re.match(r"a +numbers +finished +40 +0  even 0.5 +\d{4}-\d\d-\d\d \d\d:\d\d  ", lines[2])
        assert re.match(r"b +shaky +finished +30 +3  flaky 0.\d+ +\d{4}-", lines[3])

    def test_json_holds_the_same(self) -> None:
        """--format json is a list with an object for each run."""
        ran("a", "checks.py::sums")
        (only,) = json.loads(done("list", "--format", "json"))
        assert (only["experiment"], only["evaluation"], only["n"], only["errored"]) == ("a", "sums", 20, 1)
        assert (only["metric"], only["value"]) == ("exact", pytest.approx(9 / 19))

    def test_an_empty_storage_is_no_error(self) -> None:
        """A storage whose experiments were removed lists nothing, and says so."""
        ran("a")
        done("delete", "a", "--yes")
        assert json.loads(done("list", "--format", "json")) == []
        ended = aeval("list")
        assert (ended.returncode, ended.stdout) == (0, "")
        assert "there is no experiment in sqlite:///.aeval/results.db yet" in ended.stderr


class TestShow:
    """`aeval show`."""

    def test_the_report_comes_with_where_it_is_from(self) -> None:
        """The report is that of the run; beside it stand the code, the command line and the layers."""
        ran("a", "checks.py::sums", "--samples", "15")
        text = done("show", "a")
        assert text.startswith("a  in sqlite:///.aeval/results.db\n\nsums  (finished)\n")
        assert re.search(r"exact +accuracy +0\.6429 ", text)
        assert "samples   15: 14 scored, 1 errored" in text
        assert "LookupError in 1 sample, first in row 12: no answer | to this" in text
        assert re.search(r"^code      aeval \S+, Python 3", text, re.MULTILINE)
        assert re.search(r"^command   .*run checks.py::sums --experiment a", text, re.MULTILINE)
        assert re.search(r"^limits    the first 15 rows only$", text, re.MULTILINE)

    def test_json_holds_the_report_and_the_provenance(self) -> None:
        """--format json has each run's report as `aeval run` prints it, with its status and provenance."""
        ran("a", "checks.py")
        fields = shown("a", "--full")
        assert {run["label"]: run["report"]["n"] for run in fields["runs"]} == {
            "numbers": 40,
            "sums": 20,
            "shaky": 30,
            "slow": 10,
        }
        first = fields["runs"][0]
        assert (first["status"], first["running_by"], len(first["sessions"])) == ("finished", None, 1)
        assert first["provenance"]["source"]
        assert [result["id"] for result in first["results"]] == list(range(40))

    @pytest.fixture(autouse=True)
    def _go_on(self) -> None:
        Path("go on").touch()

    def test_markdown_has_tables(self) -> None:
        """--format markdown prints tables, in which what the user wrote is escaped."""
        ran("a", "checks.py::sums")
        text = done("show", "a", "--format", "markdown", "--errors")
        assert "## sums\n\nfinished\n\n| score | metric |" in text
        assert "| row 12 | LookupError | no answer \\| to this |" in text

    def test_errors_are_listed(self) -> None:
        """--errors lists the samples that errored; with --full, their rows and tracebacks."""
        ran("a", "checks.py::sums")
        assert "errored samples of sums:\n  row 12  LookupError: no answer | to this\n" in done(
            "show", "a", "--errors"
        )
        full = done("show", "a", "sums", "--errors", "--full")
        assert re.search(r"row +\{.*'question': 'What is 12\+1\?'", full)
        assert re.search(r'traceback Traceback .*\n +File ".*checks.py", line \d+, in answer', full)
        (run,) = shown("a", "--errors")["runs"]
        assert run["errors"] == [
            {"id": "row 12", "index": 12, "repeat": 0, "kind": "LookupError", "message": "no answer | to this"}
        ]

    def test_full_lists_the_results(self) -> None:
        """--full lists each sample with its row, output and scores."""
        ran("a", "checks.py::sums")
        text = done("show", "a", "--full")
        assert re.search(r"row 3\n    row +\{.*\}\n    output +4\n    exact +True\n", text)

    def test_a_rescored_run_has_a_section_of_its_own(self) -> None:
        """Scores that were given again stand beside the run's own."""
        ran("a", "checks.py::sums")
        done("score", "a", "includes", "--progress", "none")
        text = done("show", "a")
        assert "\nsums  (finished)\n" in text
        assert "\nsums#2 (scores of #1 given again)  (finished)\n" in text

    def test_a_run_is_shown_while_it_writes(self) -> None:
        """A run that is going on is shown with what is committed, and by whom it is run."""
        Path("go on").unlink()
        process = start("run", "checks.py::slow", "--experiment", "a", "--progress", "none")
        try:
            read_until(process, "five are done")
            (run,) = shown("a")["runs"]
            text = done("show", "a")
        finally:
            Path("go on").touch()
            process.communicate(timeout=30)
        assert (run["status"], run["running_by"]["pid"], run["report"]["n"]) == ("running", process.pid, 5)
        assert run["report"]["duration"] > 0
        assert f"running   by process {process.pid} on " in text
        assert shown("a")["runs"][0]["status"] == "finished"

    @pytest.mark.skipif(os.name == "nt", reason="a closed pipe is another error on Windows")
    @pytest.mark.parametrize("form", ["table", "json", "markdown"])
    def test_a_reader_who_has_seen_enough_ends_it_quietly(self, file: Path, form: str) -> None:
        """Where the reader closes the pipe, the command ends without a word."""
        file.write_text(file.read_text().replace("range(40)", "range(5000)"))
        ran("a")
        process = start("show", "a", "--full", "--format", form)
        assert process.stdout.readline()
        process.stdout.close()
        with process.stderr:
            assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 0
