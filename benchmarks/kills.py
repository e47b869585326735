"""Runs that are killed again and again: nothing that was given is lost, and nothing is done twice.

    python benchmarks/kills.py [--kills 200] [--storage sqlite|jsonl|postgresql] [--signal KILL|INT]

A program runs two evaluations of 600 samples together, one of them with two repeats, 16 at once, every seventh of
which errors in the session that begins it first; it writes each result that it gets to its standard output. It is
killed with SIGKILL, or gets Ctrl-C's SIGINT, while it starts, at random times, after random numbers of results, and
while it closes. It is started again until it is done; then another experiment begins, until there were as many kills
as were asked for. After each kill, and at the end:

- each result that was read is in the storage, with its value; an error that was given and replaced is in its history
- no sample whose score was read is evaluated again
- no sample has two records, and in the end each has one, by the library and by SQL or the files' lines
- the storage says that the run was interrupted
- the last report is about all samples, and running once more evaluates none

Exits with 1 where one of these did not hold. The server of the storage in PostgreSQL is one of its own, made for
this by `initdb`, which must be installed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from signal import Signals

from common import heading, table

sys.path.append(str(Path(__file__).parents[1] / "tests" / "storage"))

from killing import MOMENTS, Trial
from stores import Postgres, programs

KINDS = ("sqlite", "jsonl", "postgresql")
MOST_IN_A_TRIAL = 25


@contextmanager
def server_of(kind: str) -> Iterator[Postgres | None]:
    """Start a server, where the storage needs one."""
    if kind != "postgresql":
        yield None
        return
    found = programs()
    if found is None:
        sys.exit("PostgreSQL's server is not installed: initdb is neither in PATH nor in /usr/lib/postgresql")
    with tempfile.TemporaryDirectory(prefix="aeval-pg-") as folder:
        server = Postgres(found, Path(folder))
        try:
            yield server
        finally:
            server.stop("immediate")


def torment(kind: str, kills: int, seed: int, number: Signals) -> tuple[tuple[str, ...], list[str]]:
    """Run and kill until there were so many kills; return the figures and what did not hold."""
    done: Counter[str] = Counter()
    violations: list[str] = []
    sessions = trials = 0
    begun = time.monotonic()
    with server_of(kind) as server:
        for turn in count():
            if done.total() >= kills:
                break
            with tempfile.TemporaryDirectory(prefix="aeval-kills-") as folder:
                place = Path(folder) / "storage" / "results"
                place.parent.mkdir()
                where = str(place) if server is None else server.url(server.create_database())
                trial = Trial(kind, where, Path(folder), seed + turn, number)
                trial.play(min(MOST_IN_A_TRIAL, kills - done.total()))
            done += trial.kills
            sessions += trial.sessions
            trials += 1
            violations += trial.violations
            for violation in trial.violations:
                print(f"VIOLATED: {violation}", flush=True)
    by_moment = (f"{done[moment]}" for moment in MOMENTS)
    seconds = time.monotonic() - begun
    figures = (kind, f"{done.total()}", *by_moment, f"{trials}", f"{sessions}", f"{seconds:.0f}")
    return (*figures, f"{len(violations)}"), violations


def main(options: Namespace) -> int:
    """Run and kill on each storage, and print."""
    kinds = KINDS if options.storage is None else (options.storage,)
    kills = 20 if options.quick else options.kills
    number = Signals[f"SIG{options.signal}"]
    done = [torment(kind, kills, options.seed, number) for kind in kinds]
    header = ("storage", "kills", *MOMENTS, "experiments", "sessions", "seconds", "violations")
    table(header, [figures for figures, _ in done])
    return int(any(violations for _, violations in done))


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="kills on each storage (default: 200)")
    parser.add_argument("--storage", choices=KINDS, help="only on this one")
    parser.add_argument("--signal", choices=("KILL", "INT"), default="KILL", help="(default: KILL)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--quick", action="store_true", help="20 kills, to see that it works")
    heading(__doc__)
    sys.exit(main(parser.parse_args()))
