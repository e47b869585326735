"""`aeval export`: the results of an experiment, as a file."""

from __future__ import annotations

from pathlib import Path

from aeval.cli.messages import call, say, show_log
from aeval.cli.stores import existing
from aeval.errors import ConfigurationError
from aeval.report.export import FORMS, export
from aeval.report.render import counted

__all__ = ["export_results"]


def export_results(
    experiment: str,
    evaluation: str | None,
    url: str | None,
    form: str | None,
    output: Path | None,
    *,
    force: bool,
) -> int:
    """Write the results of an experiment to a file or to stdout, and return the exit code.

    :param form: `"jsonl"`, `"csv"` or `"parquet"`; by default what the file's ending tells, else `"jsonl"`
    :param output: the file; None or `-` for stdout
    :param force: write over a file that is there
    """
    show_log()
    path = None if output is None or str(output) == "-" else output

    async def command() -> None:
        chosen = form or _form_of(path)
        if path is None and chosen == "parquet":
            raise ConfigurationError("parquet is no text to print: give a file, as in -o results.parquet")
        if path is not None:
            _check(path, force=force)
        async with existing(url) as storage:
            n = await export(storage, await storage.latest(experiment, evaluation), path, chosen)
        if path is not None:
            say(f"aeval: {counted(n, 'result')} of {experiment!r} written to {path}")

    return call(command)


def _form_of(path: Path | None) -> str:
    ending = "" if path is None else path.suffix.removeprefix(".").lower()
    if ending and ending not in FORMS:
        raise ConfigurationError(
            f"the output {str(path)!r} ends in {'.' + ending!r}, of which no form is known: end it in "
            f"{', '.join('.' + form for form in FORMS)}, or give --format"
        )
    return ending or "jsonl"


def _check(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise ConfigurationError(f"the output {str(path)!r} is a directory: give the path of a file in it")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(
            f"the folder of the output {str(path)!r} does not exist: make it, or give another path"
        )
    if path.is_file() and not force:
        raise ConfigurationError(
            f"the file {str(path)!r} exists: give another one, or --force to write over it"
        )
