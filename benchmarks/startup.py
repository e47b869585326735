"""Starting up: whole processes that import aeval, beside those that import only what it stands on.

    python benchmarks/startup.py [--rounds 21] [--quick] [--check]

Each figure is the time from a process's start to its end, the interpreter's own start included. The rounds are
interleaved, and a ratio is the median of the rounds' ratios. aeval loads each public name when it is first used,
so `import aeval` is not what a program pays that runs an evaluation; its imports, and a whole process that runs
one sample with the default stack, have rows of their own.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

from common import Figures, Targets, heading, interleaved, parser_of, run_loop, table

BARE, BASE, AEVAL = "python -c pass", "import anyio, attrs", "import aeval"
NAMES = "from aeval import Evaluation, run, Retry, Rate, Concurrency"
FIRST_RUN = "a run of one sample"
FIRST_RUN_CODE = """
from aeval import Evaluation, run_sync

async def score(question):
    return True

run_sync(Evaluation(["What is 2+2?"], score), progress=False)
"""
CLI_BASE = "import aeval, click"
COMMAND, MODULE = "aeval --help", "python -m aeval --help"
BOUND = 1.5


def commands() -> dict[str, list[str]]:
    """Return the processes to start, by name."""
    found = {BARE: [sys.executable, "-c", "pass"]}
    for code in (BASE, AEVAL, NAMES, CLI_BASE):
        found[code] = [sys.executable, "-c", code]
    found[FIRST_RUN] = [sys.executable, "-c", FIRST_RUN_CODE]
    script = Path(sysconfig.get_path("scripts")) / ("aeval.exe" if sys.platform == "win32" else "aeval")
    if find_spec("aeval.cli") is None:
        print("this aeval has no command line, which is left out\n")
        return found
    if script.exists():
        found[COMMAND] = [str(script), "--help"]
    if find_spec("aeval.__main__") is not None:
        found[MODULE] = [sys.executable, "-m", "aeval", "--help"]
    return found


async def main(options: Namespace) -> int:
    """Measure, and print."""
    processes = commands()

    def started(command: list[str]):
        async def once() -> float:
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - begun

        return once

    rounds = 7 if options.quick else options.rounds
    # The round that does not count writes the bytecode and brings the files into memory.
    figures = await interleaved({name: started(command) for name, command in processes.items()}, rounds)
    print(f"{rounds} rounds\n")
    show(figures)
    targets = Targets()
    targets.at_most(f"`{AEVAL}` over `{BASE}`", figures.ratio(AEVAL, BASE), BOUND)
    for command in (COMMAND, MODULE):
        if command in figures:
            targets.at_most(f"`{command}` over `{CLI_BASE}`", figures.ratio(command, CLI_BASE), BOUND)
    return targets.finish(options)


def show(figures: Figures) -> None:
    """Print each process's time."""
    lines = []
    for name in figures:
        base = CLI_BASE if name in {COMMAND, MODULE} else BASE
        ratio = "" if name in {BARE, BASE, CLI_BASE} else f"{figures.ratio(name, base):.2f} x `{base}`"
        lines.append((name, f"{figures.median(name) * 1000:.1f}", ratio))
    table(("process", "ms", "ratio"), lines)


if __name__ == "__main__":
    given = parser_of(__doc__, rounds=21, loops=False).parse_args()
    heading(__doc__)
    sys.exit(run_loop(lambda: main(given), uvloop=False))
