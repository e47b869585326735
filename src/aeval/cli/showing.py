"""`aeval show`: the reports of an experiment, and its results."""

from __future__ import annotations

from contextlib import aclosing

import attrs

from aeval.cli.about import title_of
from aeval.cli.forms import FORMS, Form
from aeval.cli.messages import call, show_log
from aeval.cli.stores import existing
from aeval.report.stored import stored_report
from aeval.storage.base import StoredRun
from aeval.storage.storage import Storage

__all__ = ["show_experiment"]


def show_experiment(
    experiment: str, evaluation: str | None, url: str | None, *, errors: bool, full: bool, form: str
) -> int:
    """Print the reports of an experiment's runs, and return the exit code.

    :param evaluation: only that evaluation's; `"sums#2"` is its second run
    :param errors: list the samples that errored
    :param full: list all that is known of each sample
    """
    show_log()
    listed = "errors" if errors else "results" if full else ""

    async def command() -> None:
        async with existing(url) as storage:
            runs, earlier = await _chosen(storage, experiment, evaluation)
            printed: Form = FORMS[form](full=full)
            printed.begin(experiment, storage.url)
            for run in runs:
                report = await stored_report(storage, run)
                printed.run(run, attrs.evolve(report, name=title_of(run)), listed)
                if listed:
                    async with aclosing(storage.results_of(run, ok=False if errors else None)) as results:
                        async for result in results:
                            printed.result(result)
            printed.end(earlier)

    return call(command)


async def _chosen(
    storage: Storage, experiment: str, evaluation: str | None
) -> tuple[list[StoredRun], list[str]]:
    """Return the runs to show, and the names of those that are not shown since later ones count."""
    latest = await storage.latest(experiment, evaluation)
    runs = [run async for run in storage.runs(experiment)]
    shown = {run.key for run in latest}
    # Scores that were given again stand beside those that the run itself gave.
    shown |= {run.key for run in runs if run.rescored is not None and evaluation in {None, run.evaluation}}
    earlier = [f"{run.evaluation}#{run.number}" for run in runs if run.key not in shown]
    return [run for run in runs if run.key in shown], earlier if evaluation is None else []
