"""Completion by the shell, as the shells ask for it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from consoles import EVALUATIONS, aeval


def completed(words: str) -> list[str]:
    """Return what is offered for the last of some words."""
    given = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    ended = aeval(env={**os.environ, **given, "_AEVAL_COMPLETE": "bash_complete"})
    assert ended.stderr == ""
    return [line for line in ended.stdout.splitlines() if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with experiments in two storages."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "checks.py").write_text(EVALUATIONS)
    here = "sqlite:///.aeval/results.db"
    kept = {"baseline": here, "better": here, "other": here, "elsewhere": "jsonl://kept"}
    for name, url in kept.items():
        options = ["--experiment", name, "--storage", url, "--samples", "2", "--progress", "none"]
        assert aeval("run", "checks.py::numbers", *options, cwd=folder).returncode == 0
    return folder


@pytest.fixture
def _kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.mark.usefixtures("_kept")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("aeval show ", ["baseline", "better", "other"]),
        ("aeval show b", ["baseline", "better"]),
        ("aeval delete other", ["other"]),
        ("aeval rename x", []),
        ("aeval show baseline ", ["numbers"]),
        ("aeval show nowhere ", []),
        ("aeval run checks.py --experiment be", ["better"]),
        ("aeval show --storage jsonl://kept ", ["elsewhere"]),
        ("aeval show --storage mysql://x ", []),
    ],
)
def test_names_are_offered(words: str, offered: list[str]) -> None:
    """The names of experiments and evaluations are offered, from the storage that was given."""
    assert completed(words) == [f"plain,{name}" for name in offered]


def test_commands_and_files_are_offered() -> None:
    """Commands are offered in the help's order, and files where one belongs."""
    commands = ["run", "list", "show", "score", "export", "rename", "delete", "cleanup", "demo"]
    assert completed("aeval ") == [f"plain,{name}" for name in commands]
    assert completed("aeval run che") == ["file,che"]


def test_no_storage_is_made(tmp_path: Path) -> None:
    """Where there is no storage nothing is offered, and none is made."""
    assert completed("aeval show b") == []
    assert completed("aeval show --storage jsonl://kept b") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_kept")
def test_a_storage_that_does_not_answer_is_given_up() -> None:
    """A locked file does not hold up the shell."""
    connection = sqlite3.connect(".aeval/results.db")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    assert completed("aeval show b") == []
    connection.close()
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("_kept")
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path: Path) -> None:
    """The line that is put into ~/.bashrc makes bash offer the names."""
    script = """
    set -e
    eval "$(_AEVAL_COMPLETE=bash_source aeval)"
    COMP_WORDS=(aeval show b) COMP_CWORD=2
    _aeval_completion aeval
    echo "${COMPREPLY[@]}"
    """
    program = tmp_path / "aeval"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m aeval "$@"\n')
    program.chmod(0o755)
    ended = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )
    assert (ended.stdout, ended.stderr) == ("baseline better\n", "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str) -> None:
    """The other shells have a script of theirs."""
    ended = aeval(env={**os.environ, "_AEVAL_COMPLETE": f"{shell}_source"})
    assert ended.returncode == 0
    assert f"_AEVAL_COMPLETE={shell}_complete" in ended.stdout
