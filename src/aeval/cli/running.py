"""`aeval run`: the evaluations of a file, to their report and exit code."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import attrs

from aeval.cli.interrupts import Interrupts, exit_now
from aeval.cli.loading import load_evaluations
from aeval.cli.messages import FAILED, INTERRUPTED, MISUSED, TERMINATED, code_of, complain, say, show_log
from aeval.cli.options import parse_max_errors, parse_rate, with_limits
from aeval.cli.stores import make_folder, with_storage
from aeval.errors import AevalError, ConfigurationError
from aeval.evaluation import Evaluation
from aeval.middleware import Concurrency, Middleware, Timeout
from aeval.progress import Progress
from aeval.report.report import Report
from aeval.storage.storage import open_storage
from aeval.stream import Run, run

__all__ = ["PROGRESS", "RunOptions", "finish", "quiet_stdout", "run_file", "run_to_report"]

PROGRESS: dict[str, Progress] = {"auto": True, "plain": "plain", "none": False}
# What is said again in the command that goes on with a run: what changes which samples there are, and how they go.
_AGAIN = ("samples", "repeats", "max_concurrency", "rate", "timeout", "max_errors")


@attrs.frozen
class RunOptions:
    """The options of `aeval run`, as they were given."""

    samples: int | None
    repeats: int | None
    max_concurrency: int | None
    rate: str | None
    timeout: float | None
    max_errors: str | None
    experiment: str | None
    storage: str | None
    retry_errors: bool
    fresh: bool
    progress: str
    form: str


def run_file(target: str, options: RunOptions) -> int:
    """Run the evaluations of a file, and print their report.

    :return: the exit code: 0 if the run ended as it should, 1 if it did not or no sample was scored, 2 for a
        command that cannot be run, 130 after Ctrl-C, 143 after SIGTERM
    """
    show_log()
    try:
        made = _made(target, options)
        make_folder(options.storage)
        again = _again(target, options, made.experiment or "")
        with quiet_stdout(options.form):
            report, code = run_to_report(made, last_words=f"Go on with\n  {again}")
        code = finish(report, code, options.form, lambda code: _say_where(made, report, code, again, options))
    except ConfigurationError as error:
        return complain(error, MISUSED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _made(target: str, options: RunOptions) -> Run[Any, Any]:
    limits: list[Middleware] = []
    if options.max_concurrency is not None:
        limits.append(Concurrency(options.max_concurrency))
    if options.rate is not None:
        limits.append(parse_rate(options.rate))
    if options.timeout is not None:
        limits.append(Timeout(options.timeout))
    # What is wrong with it is said before a user's file is imported, which may take long.
    storage = open_storage(options.storage)
    with quiet_stdout(options.form):
        evaluations = load_evaluations(target)
    return run(
        [_limited(each, limits) if limits else each for each in evaluations],
        samples=options.samples,
        repeats=options.repeats,
        max_errors=None if options.max_errors is None else parse_max_errors(options.max_errors),
        progress=PROGRESS[options.progress],
        storage=storage,
        experiment=options.experiment,
        fresh=options.fresh,
        retry_errors=options.retry_errors,
    )


def quiet_stdout(form: str) -> contextlib.AbstractContextManager[Any]:
    """Send what a user's code prints to stderr, where it would come between the braces of the JSON."""
    return contextlib.redirect_stdout(sys.stderr) if form == "json" else contextlib.nullcontext()


def run_to_report(
    made: Run[Any, Any], closing: Callable[[], Awaitable[None]] | None = None, last_words: str = ""
) -> tuple[Report[Any, Any], int]:
    """Run to the end, or to Ctrl-C, and return the report and the exit code.

    :param closing: what to await at the end, in the run's event loop
    :param last_words: what to print where the process is ended at once
    """

    async def whole() -> tuple[Report[Any, Any], int]:
        try:
            return await _drain(made, last_words)
        finally:
            if closing is not None:
                await closing()

    return anyio.run(whole)


def finish(
    report: Report[Any, Any], code: int, form: str, say_more: Callable[[int], None] | None = None
) -> int:
    """Print the report, and return the exit code.

    :param say_more: given the exit code, prints what there is to say beside the report
    """
    if report.n or code not in {FAILED, MISUSED}:  # else there is nothing to report
        try:
            print(json.dumps(report.to_dict(), indent=2) if form == "json" else report, flush=True)  # noqa: T201 - this is what was asked for
        except BrokenPipeError:  # whoever reads the report has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if code == 0 and report.n and not report.scored:
        code = complain("no sample was scored: every one of them errored", FAILED)
    if say_more is not None:
        say_more(code)
    if report.abandoned_threads:
        # Python would wait for them, and a call that was given up may never end.
        exit_now(code)
    return code


async def _drain(made: Run[Any, Any], last_words: str) -> tuple[Report[Any, Any], int]:
    code = 0
    interrupts = Interrupts(made, last_words)
    with interrupts:
        try:
            async with made as results:
                async for _ in results:
                    pass
        except AevalError as error:
            code = complain(error, code_of(error))
        except Exception as error:  # noqa: BLE001 - a user's dataset may raise anything
            traceback.print_exception(error)
            code = FAILED
    return made.report, interrupts.code or code


def _say_where(
    made: Run[Any, Any], report: Report[Any, Any], code: int, again: str, options: RunOptions
) -> None:
    """Say where the results are kept, how to look at them, and how to go on."""
    name, resumed = made.experiment, report.resumed
    fleeting = options.storage is not None and options.storage.startswith("memory:")
    if name is None or resumed is None or code == MISUSED or fleeting:
        return
    is_new = made.stats.done > 0
    if report.status != "finished":
        if is_new or resumed.stored or code in {INTERRUPTED, TERMINATED}:
            say(f"aeval: what has finished is kept as the experiment {name!r}: go on with\n  {again}")
    elif resumed.stored and not is_new:
        say(
            f"aeval: the experiment {name!r} is finished: {resumed.kept:,} results were kept, and nothing was "
            f"evaluated; --fresh begins a new run of it"
        )
    else:
        show = with_storage(["aeval", "show", name], options.storage)
        say(f"aeval: the results are kept as the experiment {name!r}: look at them with\n  {show}")


def _again(target: str, options: RunOptions, name: str) -> str:
    words = ["aeval", "run", target]
    for option in _AGAIN:
        value = getattr(options, option)
        if value is not None:
            words += [f"--{option.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    if not options.retry_errors:
        words.append("--no-retry-errors")
    return with_storage([*words, "--experiment", name], options.storage)


def _limited(evaluation: Evaluation[Any, Any], limits: list[Middleware]) -> Evaluation[Any, Any]:
    changed: Evaluation[Any, Any] = attrs.evolve(
        cast("Any", evaluation), middleware=with_limits(evaluation, limits)
    )
    return changed
