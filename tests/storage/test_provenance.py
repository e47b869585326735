"""Where a run comes from."""

from __future__ import annotations

import math
import platform
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from aeval.storage import provenance
from aeval.storage.provenance import git_state, session_of, source_of

pytestmark = pytest.mark.anyio


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


# The session.


def test_session_says_what_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session has the versions, the command line, and what it was told of the evaluation."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "evaluate.py", "--name", "a b"])
    before = time.time()
    session = session_of(dataset="gsm8k", source="abc")
    assert before <= session.started <= time.time()
    assert session.python == platform.python_version()
    assert session.aeval[0].isdigit()
    assert session.command_line == "python evaluate.py --name 'a b'"
    assert (session.dataset, session.source) == ("gsm8k", "abc")
    assert (session.git_commit, session.git_dirty) == (None, None)


def test_version_is_not_known_of_a_folder_of_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is not installed, its version is unknown."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(provenance, "version", missing)
    assert session_of(dataset=None, source=None).aeval == "unknown"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--api-key", "xyz", "rows.csv"], "--api-key '***' rows.csv"),
        (["--api-key=xyz"], "'--api-key=***'"),
        (["-token", "-xyz", "-a"], "-token '***' -a"),
        (["OPENAI_API_KEY=xyz"], "'OPENAI_API_KEY=***'"),
        (["--header", "Authorization: Bearer xyz"], "--header 'Authorization: Bearer ***'"),
        (["sk-xyz_1", "a=sk-xyz,b"], "'***' 'a=***,b'"),
        (["--storage=postgresql://user:x/y@z@host/db"], "'--storage=postgresql://***@host/db'"),
        (
            ["postgresql://host/db?user=a&Password=xyz&sslmode=require"],
            "'postgresql://host/db?user=a&Password=***&sslmode=require'",
        ),
    ],
)
def test_secrets_are_left_out(monkeypatch: pytest.MonkeyPatch, arguments: list[str], shown: str) -> None:
    """No key or password of the command line is kept."""
    monkeypatch.setattr(sys, "orig_argv", ["aeval", *arguments])
    line = session_of(dataset=None, source=None).command_line
    assert line == f"aeval {shown}"
    assert "xyz" not in line


@pytest.mark.parametrize(
    "argument", ["--max-tokens=100", "ask-me", "task-sk", "user@host", "http://host/a", "key"]
)
def test_what_is_no_secret_is_kept(monkeypatch: pytest.MonkeyPatch, argument: str) -> None:
    """What only looks a little like a secret is kept, and so is what comes after it."""
    monkeypatch.setattr(sys, "orig_argv", ["aeval", argument, "next"])
    assert session_of(dataset=None, source=None).command_line == f"aeval {argument} next"


# The source.


def add(a: int, b: int) -> int:
    return a + b


class Scorer:
    def __call__(self, output: str) -> bool:
        return bool(output)

    def method(self, output: str) -> bool:
        return not output


def compiled(text: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(text, "<nowhere>", "exec"), names)
    return names["made"]


def test_source_tells_code_apart() -> None:
    """Each callable has a digest of its own, which is the same each time."""
    scorer = Scorer()
    calls = [add, lambda value: value, scorer, scorer.method, len, math.sqrt]
    digests = [source_of([call]) for call in calls]
    # What is built in has no source: it is known by its kind.
    assert len(set(digests)) == 5
    assert digests == [source_of([call]) for call in calls]
    assert all(len(digest) == 16 for digest in digests)
    assert source_of([add, scorer]) not in {source_of([scorer, scorer]), digests[0]}


def test_source_of_a_partial_is_that_of_its_function() -> None:
    """A function with some arguments filled in has the source of the function."""
    assert source_of([partial(partial(add, 1), b=2)]) == source_of([add])


def test_code_without_source_is_told_apart() -> None:
    """Functions whose source nobody has are known by their compiled code."""
    one, same, other, constant = (
        compiled(f"def made(x):\n    return {body}") for body in ("x + 1", "x + 1", "x * 1", "x + 2")
    )
    assert source_of([one]) == source_of([same])
    assert len({source_of([one]), source_of([other]), source_of([constant])}) == 3


# The state of the code.


async def test_commit_and_changes_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory's commit is found, and whether what it has was changed since."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    assert await git_state() == (None, None)
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert await git_state() == (commit, False)
    (tmp_path / "results.db").write_text("untracked")
    assert await git_state() == (commit, False)
    (tmp_path / "a.py").write_text("2")
    assert await git_state() == (commit, True)


async def test_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a repository, and where there is no git, nothing is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert await git_state() == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await git_state() == (None, None)


async def test_slow_git_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git takes too long to tell of changes, the commit is known and they are not."""
    slow = tmp_path / "git"
    slow.write_text('#!/bin/sh\ncase "$2" in status) read line < "$0.pipe";; *) echo abc;; esac\n')
    slow.chmod(0o755)
    subprocess.run(["mkfifo", f"{slow}.pipe"], check=True)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(provenance, "GIT_SECONDS", 0.5)
    assert await git_state() == ("abc", None)
