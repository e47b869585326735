"""What the benchmarks share: interleaved rounds, their medians, tables, and targets that can be missed."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

import attrs

__all__ = [
    "Contender",
    "Figures",
    "Targets",
    "heading",
    "interleaved",
    "parser_of",
    "peer",
    "run_loop",
    "table",
]

Contender = Callable[[], Awaitable[float]]
"""Runs once and returns its figure, usually seconds."""

_missing: set[str] = set()


@attrs.frozen
class Figures:
    """What each contender measured, round by round."""

    rounds: Mapping[str, Sequence[float]]

    def __contains__(self, name: str) -> bool:
        return name in self.rounds

    def __iter__(self) -> Iterator[str]:
        return iter(self.rounds)

    def median(self, name: str) -> float:
        """Return a contender's median over the rounds."""
        return median(self.rounds[name])

    def ratio(self, name: str, other: str, scale: float = 1.0) -> float:
        """Return the median of the rounds' ratios, one contender's figure over another's, times `scale`.

        A busy spell of the machine falls on both parts of a round's ratio.
        """
        pairs = zip(self.rounds[name], self.rounds[other], strict=True)
        return median(scale * mine / theirs for mine, theirs in pairs)


class Targets:
    """The figures that were promised, each beside the one that was measured."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, str]] = []
        self.missed = False

    def at_most(self, what: str, value: float, bound: float, unit: str = "") -> None:
        """Hold a figure that must not be above a bound."""
        self._add(what, f"<= {bound:,g}", value, met=value <= bound, unit=unit)

    def at_least(self, what: str, value: float, bound: float, unit: str = "") -> None:
        """Hold a figure that must not be below a bound."""
        self._add(what, f">= {bound:,g}", value, met=value >= bound, unit=unit)

    def _add(self, what: str, bound: str, value: float, *, met: bool, unit: str) -> None:
        self.missed |= not met
        measured = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
        self._rows.append((what, f"{bound}{unit}", f"{measured}{unit}", "met" if met else "MISSED"))

    def finish(self, options: argparse.Namespace) -> int:
        """Print the targets; return the exit code, which is 1 where one was missed and `--check` was given."""
        print()
        if options.quick:
            print("The targets are those of the full form: runs this short weigh their start too much.\n")
        table(("target", "bound", "measured", ""), self._rows)
        return int(self.missed and options.check)


def parser_of(doc: str | None, *, rounds: int | None = None, loops: bool = True) -> argparse.ArgumentParser:
    """Make a parser with the options that every benchmark has.

    :param doc: the script's docstring
    :param rounds: how many rounds there are by default; None where there is but one run
    :param loops: whether it makes sense on another event loop as well
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds (default: {rounds})")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds, to see that it works")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    if loops:
        parser.add_argument("--uvloop", action="store_true", help="run on uvloop instead of asyncio's own loop")
    return parser


def heading(doc: str | None, *, uvloop: bool = False) -> None:
    """Print what is measured, and on what."""
    print((doc or "").strip().splitlines()[0])
    python = f"{platform.python_implementation()} {platform.python_version()}"
    loop = f"uvloop {version('uvloop')}" if uvloop else "asyncio's loop"
    print(f"aeval {version('aeval')}, {python}, {loop}, {os.cpu_count()} cores, {platform.machine()}\n")


def peer(module: str, distribution: str | None = None) -> Any:
    """Import a peer; None, with a message, where it is not installed.

    :param module: what to import
    :param distribution: what to install, where it is named otherwise
    """
    name = distribution or module
    try:
        version(name)
        return import_module(module)
    except (ImportError, PackageNotFoundError):
        if name not in _missing:
            _missing.add(name)
            print(f"{name} is not installed and is left out: pip install -r benchmarks/requirements.txt")
        return None


def run_loop(main: Callable[[], Coroutine[Any, Any, int]], *, uvloop: bool) -> int:
    """Run the benchmark's main function in an event loop, and return what it returns."""
    factory = import_module("uvloop").new_event_loop if uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


async def interleaved(contenders: Mapping[str, Contender], rounds: int, *, warm: bool = True) -> Figures:
    """Run each contender once a round, every other round in the opposite order.

    Garbage is collected before each turn, so that nobody pays for what another one left.

    :param warm: whether a round that does not count goes first
    """
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-1 if warm else 0, rounds):
        for name in list(contenders) if number % 2 == 0 else list(reversed(contenders)):
            gc.collect()
            figure = await contenders[name]()
            if number >= 0:
                measured[name].append(figure)
        _dot(f"\rround {number + 1} of {rounds} " if number + 1 < rounds else f"\r{'':20}\r")
    return Figures(measured)


def _dot(text: str) -> None:
    if sys.stdout.isatty():
        print(text, end="", flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for number, line in enumerate(lines):
        first, *others = (
            cell.ljust(w) if not i else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join((first, *others)).rstrip())
        if not number:
            print("  ".join("-" * width for width in widths))
