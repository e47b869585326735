"""Owner: the one process that writes to a run, and whether it still lives."""

from __future__ import annotations

import os
import socket
import time
import uuid
from datetime import datetime
from pathlib import Path
from weakref import WeakValueDictionary

import attrs

__all__ = ["BEAT_SECONDS", "STALE_SECONDS", "Owner"]

# How often an owner says that it lives, and after how long a silence one on another host is taken for dead.
BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


# The claims of this process that are still held, by their tokens.
_HELD: WeakValueDictionary[str, object] = WeakValueDictionary()


@attrs.frozen
class Owner:
    """A process that writes to a run.

    :param host: name of its host
    :param pid: its process id
    :param born: when the process started, in the words of its host's kernel; empty where that is not known
    :param since: Unix time at which it began to write to the run, in seconds
    :param beat: Unix time at which it last said that it lives, in seconds
    :param token: tells its claims apart; empty for one that lasts as long as the process
    """

    host: str
    pid: int
    born: str
    since: float
    beat: float
    token: str = ""

    @classmethod
    def mine(cls, holder: object = None) -> Owner:
        """Return this process, as of now.

        :param holder: what the claim ends with, in whatever way it comes to its end; None for the process itself
        """
        now, token = time.time(), ""
        if holder is not None:
            token = uuid.uuid4().hex
            _HELD[token] = holder
        return cls(socket.gethostname(), os.getpid(), _born(os.getpid()), now, now, token)

    def let_go(self) -> None:
        """Say that the claim is not held any longer."""
        _HELD.pop(self.token, None)

    def beating(self) -> Owner:
        """Return this owner, as of now."""
        return attrs.evolve(self, beat=time.time())

    def is_me(self) -> bool:
        """Tell whether it is this process."""
        return (self.host, self.pid) == (socket.gethostname(), os.getpid()) and not self.is_dead()

    def is_dead(self) -> bool:
        """Tell whether it has ended: for certain on this host, by its silence on another one."""
        # On Windows, the call below would not ask after a process but end it.
        system, mine = _system(self.born), _system(_born(os.getpid()))
        elsewhere = self.host != socket.gethostname() or (system and mine and system != mine)
        if elsewhere or os.name == "nt":
            return time.time() - self.beat > STALE_SECONDS
        if self.pid == os.getpid() and self.token:
            return self.token not in _HELD
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # it is somebody else's, and lives
            pass
        # Its number may have been given to another process since.
        return bool(self.born) and _born(self.pid) not in {"", self.born}

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since).astimezone()
        return f"process {self.pid} on {self.host}, since {since:%Y-%m-%d %H:%M:%S}"


def _born(pid: int) -> str:
    """Return a process's start in ticks since the host's boot, with the boot's own id, where Linux tells them."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")  # with a name, which may be any bytes
        # Two machines, or two containers of one, may have the same name, and the same number for different processes.
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path(f"/proc/{os.getpid()}/ns/pid").readlink().name
        fields = stat.rpartition(")")[2].split()
    except OSError:
        return ""
    # A process that has ended and that nobody has waited for yet is dead too.
    return "dead" if fields[0] == "Z" else f"{boot} {space} {fields[19]}"


def _system(born: str) -> str:
    return born.rpartition(" ")[0]
