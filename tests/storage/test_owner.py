"""Whether the process that writes to a run still lives."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from aeval.storage import owner as module
from aeval.storage.owner import STALE_SECONDS, Owner

# Named by bytes that are no text, as a process may be, and with what ends the name in the kernel's words.
PROGRAM = "open('/proc/self/comm', 'wb').write(b'\\xff) (x'); print(flush=True); input()"
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux's kernel")


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Give another process, which lives until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM if sys.platform == "linux" else "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def owner_of(pid: int) -> Owner:
    return attrs.evolve(Owner.mine(), pid=pid, born=module._born(pid))


def test_this_process_lives() -> None:
    """The owner of this process is this process, and lives."""
    before = time.time()
    mine = Owner.mine()
    assert (mine.host, mine.pid) == (socket.gethostname(), os.getpid())
    assert before <= mine.since == mine.beat <= time.time()
    assert mine.is_me()
    assert not mine.is_dead()


def test_beating_moves_the_beat_only() -> None:
    """An owner that says that it lives is the same one, at a later time."""
    first = attrs.evolve(Owner.mine(), beat=1.0)
    later = first.beating()
    assert later.beat > first.beat
    assert attrs.evolve(later, beat=1.0) == first


def test_other_process_dies(process: subprocess.Popen[bytes]) -> None:
    """Another process of this host is alive until it ends, and is dead from that moment on."""
    owner = owner_of(process.pid)
    assert not owner.is_dead()
    assert not owner.is_me()
    process.kill()
    process.wait()
    assert owner.is_dead()
    assert not owner.is_me()


@linux
def test_process_that_nobody_waited_for_is_dead(process: subprocess.Popen[bytes]) -> None:
    """A process that has ended is dead, though its parent has not taken note of it yet."""
    owner = owner_of(process.pid)
    assert owner.born
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owner.is_dead()


@linux
def test_number_that_was_given_to_another_process(process: subprocess.Popen[bytes]) -> None:
    """An owner is dead if its number belongs to a process that started at another time."""
    stranger = attrs.evolve(owner_of(process.pid), born=Owner.mine().born)
    assert stranger.is_dead()
    assert attrs.evolve(Owner.mine(), born="another system 1", beat=0.0).is_dead()


def test_machine_of_the_same_name() -> None:
    """An owner on another machine, or in another container, of the same name lives for as long as it says so."""
    there = attrs.evolve(Owner.mine(), born="another system 1")
    assert not there.is_dead()
    assert attrs.evolve(there, beat=there.beat - 61).is_dead()


def test_number_is_believed_where_the_start_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody tells when a process started, its number decides."""

    def unreadable(*_: object) -> str:
        raise FileNotFoundError

    known = Owner.mine()
    monkeypatch.setattr(module.Path, "read_text", unreadable)
    unknown = Owner.mine()
    assert unknown.born == ""
    assert not unknown.is_dead()
    assert not known.is_dead()


def test_process_of_another_user_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that this one may not signal lives."""

    def refused(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(module.os, "kill", refused)
    assert not Owner.mine().is_dead()


@pytest.mark.parametrize(
    ("silence", "dead"), [(0.0, False), (STALE_SECONDS - 10, False), (STALE_SECONDS + 10, True)]
)
def test_other_host_is_dead_once_it_is_silent(silence: float, dead: bool) -> None:
    """A process on another host is taken for dead after a long silence, and not before."""
    owner = Owner("elsewhere.example", os.getpid(), "", 0.0, time.time() - silence)
    assert owner.is_dead() == dead
    assert not owner.is_me()


def test_owner_is_named_for_messages() -> None:
    """The text of an owner says which process it is, where, and since when."""
    owner = Owner("gpu7", 1234, "", 1_700_000_000.0, 0.0)
    assert re.fullmatch(r"process 1234 on gpu7, since 2023-11-1[45] \d\d:\d\d:20", str(owner))
