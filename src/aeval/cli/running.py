"""`aeval run`: the evaluations of a file, to their report and exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn, cast

import anyio
import attrs

from aeval.cli.loading import load_evaluations
from aeval.cli.options import parse_max_errors, parse_rate, with_limits
from aeval.errors import AevalError, ConfigurationError
from aeval.evaluation import Evaluation
from aeval.middleware import Concurrency, Middleware, Timeout
from aeval.progress import Progress
from aeval.report.report import Report
from aeval.stream import Run, run

__all__ = ["finish", "run_file", "run_to_report"]

_HERE = str(Path(__file__).parent)
FAILED, MISUSED, INTERRUPTED = 1, 2, 130
_PROGRESS: dict[str, Progress] = {"auto": True, "plain": "plain", "none": False}
# How long the samples in flight may take to finish after Ctrl-C, in seconds.
GRACE = 3.0


def run_file(
    target: str,
    *,
    samples: int | None,
    repeats: int | None,
    max_concurrency: int | None,
    rate: str | None,
    timeout: float | None,
    max_errors: str | None,
    progress: str,
    form: str,
) -> int:
    """Run the evaluations of a file and print their report.

    :return: the exit code: 0 if the run ended as it should, 1 if it did not or no sample was scored, 2 for a
        command that cannot be run, 130 after Ctrl-C
    """
    try:
        limits: list[Middleware] = []
        if max_concurrency is not None:
            limits.append(Concurrency(max_concurrency))
        if rate is not None:
            limits.append(parse_rate(rate))
        if timeout is not None:
            limits.append(Timeout(timeout))
        evaluations = [_limited(each, limits) if limits else each for each in _load(target, form)]
        made = run(
            evaluations,
            samples=samples,
            repeats=repeats,
            max_errors=None if max_errors is None else parse_max_errors(max_errors),
            progress=_PROGRESS[progress],
        )
    except ConfigurationError as error:
        return _complain(error, MISUSED)
    except KeyboardInterrupt:
        return INTERRUPTED
    # What a user's code prints must not come between the braces of the JSON.
    with contextlib.redirect_stdout(sys.stderr) if form == "json" else contextlib.nullcontext():
        report, code = run_to_report(made)
    return finish(report, code, form)


def run_to_report(
    made: Run[Any, Any], closing: Callable[[], Awaitable[None]] | None = None
) -> tuple[Report[Any, Any], int]:
    """Run to the end, or to Ctrl-C, and return the report and the exit code.

    :param closing: what to await at the end, in the run's event loop
    """

    async def whole() -> tuple[Report[Any, Any], int]:
        try:
            return await _drain(made)
        finally:
            if closing is not None:
                await closing()

    return anyio.run(whole)


def finish(report: Report[Any, Any], code: int, form: str) -> int:
    """Print the report, and return the exit code."""
    print(json.dumps(report.to_dict(), indent=2) if form == "json" else report)  # noqa: T201 - this is what was asked for
    if code == 0 and report.n and not report.scored:
        code = _complain("no sample was scored: every one of them errored", FAILED)
    if report.abandoned_threads:
        # Python would wait for them, and a call that was given up may never end.
        _exit_now(code)
    return code


async def _drain(made: Run[Any, Any]) -> tuple[Report[Any, Any], int]:
    code = 0
    interrupts = _Interrupts(made)
    with interrupts:
        try:
            async with made as results:
                async for _ in results:
                    pass
        except AevalError as error:
            code = _complain(error, MISUSED if isinstance(error, ConfigurationError) else FAILED)
        except Exception as error:  # noqa: BLE001 - a user's dataset may raise anything
            traceback.print_exception(error)
            code = FAILED
    return made.report, INTERRUPTED if interrupts.seen else code


class _Interrupts:
    """What Ctrl-C does: once, the run stops; twice, the process does."""

    def __init__(self, made: Run[Any, Any]) -> None:
        self.seen = 0
        self._run = made
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        # Not a handler of the loop's: that one would wait for a loop which is blocked.
        self._before = signal.signal(signal.SIGINT, self._signalled)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _signalled(self, *_: object) -> None:
        self.seen += 1
        if self.seen > 1:
            _exit_now(INTERRUPTED)
        self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        self._run.stop()
        in_flight = self._run.stats.in_flight
        print(  # noqa: T201
            f"\nStopping: {in_flight} in flight have {GRACE:.0f} s to finish. Ctrl-C again ends at once.",
            file=sys.stderr,
        )
        self._loop.call_later(GRACE, self._run.cancel)


def _limited(evaluation: Evaluation[Any, Any], limits: list[Middleware]) -> Evaluation[Any, Any]:
    changed: Evaluation[Any, Any] = attrs.evolve(
        cast("Any", evaluation), middleware=with_limits(evaluation, limits)
    )
    return changed


def _load(target: str, form: str) -> list[Evaluation[Any, Any]]:
    try:
        with contextlib.redirect_stdout(sys.stderr) if form == "json" else contextlib.nullcontext():
            return load_evaluations(target)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's file may raise anything
        # Of the traceback, what is the user's: not the way here, and not Python's import machinery.
        shown = traceback.TracebackException.from_exception(error)
        shown.stack = traceback.StackSummary.from_list(
            [frame for frame in shown.stack if not frame.filename.startswith((_HERE, "<frozen importlib"))]
        )
        sys.stderr.write("".join(shown.format()))
        raise ConfigurationError(f"{target.partition('::')[0]!r} could not be imported: see above") from None


def _complain(error: object, code: int) -> int:
    print(f"aeval: {error}", file=sys.stderr)  # noqa: T201
    return code


def _exit_now(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
