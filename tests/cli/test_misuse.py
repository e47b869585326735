"""Commands that cannot be run, as real processes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from consoles import EVALUATIONS, aeval


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with two experiments in it."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "checks.py").write_text(EVALUATIONS)
    for name, target in (("baseline", "sums"), ("second", "numbers")):
        options = ["--experiment", name, "--samples", "3", "--progress", "none"]
        assert aeval("run", f"checks.py::{target}", *options, cwd=folder).returncode == 0
    return folder


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["list", "--storage", "jsonl://nowhere"],
        ["list", "--storage", "sqlite:///no/where.db"],
        ["show", "a"],
        ["score", "a", "numeric"],
        ["export", "a"],
        ["rename", "a", "b"],
        ["delete", "a", "--yes"],
        ["cleanup", "--older-than", "1d"],
    ],
    ids=" ".join,
)
def test_a_storage_that_is_not_there_is_not_made(tmp_path: Path, command: list[str]) -> None:
    """A command that reads a storage which does not exist says so, exits 2, and makes none."""
    ended = aeval(*command)
    assert ended.returncode == 2
    assert re.search(r"there is no storage at '\S+': nothing was run with it yet", ended.stderr)
    assert {path.name for path in tmp_path.iterdir()} == {"checks.py"}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["show", "baselnie"],
            "there is no experiment 'baselnie' in 'sqlite:///.aeval/results.db': did you mean 'baseline'?",
        ),
        (["show", "baseline", "smus"], "there is no evaluation .* 'smus': did you mean 'sums'"),
        (
            ["export", "other"],
            "there is no experiment 'other' in 'sqlite:///.aeval/results.db': there are 'baseline'",
        ),
        (["delete", "other", "--yes"], "there is no experiment 'other'"),
        (["delete", "baseline", "other", "--yes"], "there is no evaluation .* 'other'"),
        (["rename", "other", "more"], "there is no experiment 'other'"),
        (["rename", "baseline", "a/b"], "'a/b' has a path separator in it: write 'a-b'"),
        (["rename", "baseline", "second"], "the name 'second' is taken"),
        (["score", "other", "numeric"], "there is no experiment 'other'"),
        (["score", "baseline", "numerci"], "there is no scorer 'numerci': did you mean numeric?"),
        (
            ["score", "baseline", "checks.py::clsoe"],
            "there is no scorer 'clsoe' in 'checks.py': did you mean close?",
        ),
        (["score", "baseline", "nowhere.py::close"], "the file 'nowhere.py' does not exist"),
        (["score", "baseline", "checks.py"], "say which of its functions, as in checks.py::score"),
        (["score", "baseline", "numeric", "--evaluation", "smus"], "there is no evaluation .* 'smus'"),
        (["cleanup", "--older-than", "soon"], "the age is 'soon': write a number and min, h, d or w"),
        (["list", "--storage", "mysql://x"], "of an unknown kind, 'mysql'"),
        (["list", "--storage", "sqlite:///."], "is a directory"),
    ],
)
def test_bad_input_exits_2(kept: Path, command: list[str], message: str) -> None:
    """What is wrong with a command is said in a line, with the value and the fix; no traceback, exit code 2."""
    ended = aeval(*command, cwd=kept)
    assert ended.returncode == 2, ended.stderr
    assert re.search(message, ended.stderr), ended.stderr
    assert "Traceback" not in ended.stderr
