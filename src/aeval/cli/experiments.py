"""The commands that look at experiments, and change them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from aeval.cli.completion import complete_evaluations, complete_experiments, complete_files

__all__ = ["COMMANDS", "experiment_option", "storage_option"]

experiment_option = click.option(
    "--experiment",
    metavar="NAME",
    shell_complete=complete_experiments,
    help="Keep the results under this name, and go on with what is there. By default a new name.",
)
storage_option = click.option(
    "--storage",
    metavar="URL",
    help="Where results are kept: sqlite:///FILE, jsonl://FOLDER or postgresql://HOST/NAME. "
    "By default sqlite:///.aeval/results.db.",
)
_experiment = click.argument("experiment", shell_complete=complete_experiments)
_evaluation = click.argument("evaluation", required=False, shell_complete=complete_evaluations)
_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.command("list")
@storage_option
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_command(storage: str | None, form: str) -> None:
    """List the experiments that a storage holds."""
    from aeval.cli.listing import list_experiments

    sys.exit(list_experiments(storage, form))


@click.command("show")
@_experiment
@_evaluation
@storage_option
@click.option("--errors", is_flag=True, help="List the samples that errored.")
@click.option("--full", is_flag=True, help="List all that is known: of each sample, and of each session.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
)
def show_command(experiment: str, evaluation: str | None, storage: str | None, **options: Any) -> None:
    """Show an experiment: its metrics, its errors, and where it came from.

    It may be running. EVALUATION is the name of one of its evaluations; NAME#2 is the second run of that one.
    """
    from aeval.cli.showing import show_experiment

    sys.exit(show_experiment(experiment, evaluation, storage, **options))


@click.command("score")
@_experiment
@click.argument("scorers", metavar="SCORER...", nargs=-1, required=True, shell_complete=complete_files)
@click.option(
    "--evaluation",
    metavar="NAME",
    shell_complete=complete_evaluations,
    help="Score the outputs of this evaluation only.",
)
@storage_option
@click.option("--expected", metavar="COLUMN", help="The column with the right answer, for aeval's own scorers.")
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Score the first N rows only.")
@click.option(
    "--max-errors", metavar="N", help="Stop when more samples errored: a count, or a fraction as 0.1."
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "none"]),
    default="auto",
    show_default=True,
    help="How to show progress, on stderr.",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def score_command(experiment: str, scorers: tuple[str, ...], **options: Any) -> None:
    """Score the stored outputs of an experiment again, without calling the task.

    SCORER is one of aeval's own (exact_match, includes, json_equal, multiple_choice, numeric, regex), or
    FILE.py::NAME.
    """
    from aeval.cli.scoring import ScoreOptions, score_experiment

    sys.exit(score_experiment(experiment, scorers, ScoreOptions(**options)))


@click.command("export")
@_experiment
@_evaluation
@storage_option
@click.option("--format", "form", type=click.Choice(["jsonl", "csv", "parquet"]), help="By default jsonl.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write; - is stdout, the default. Its ending tells the format, where none is given.",
)
@click.option("--yes", "--force", "-y", is_flag=True, help="Write over a file that is there.")
def export_command(
    experiment: str,
    evaluation: str | None,
    storage: str | None,
    form: str | None,
    output: Path | None,
    yes: bool,
) -> None:
    """Write the results of an experiment to a file that other programs read."""
    from aeval.cli.exporting import export_results

    sys.exit(export_results(experiment, evaluation, storage, form, output, force=yes))


@click.command("rename")
@_experiment
@click.argument("name")
@storage_option
def rename_command(experiment: str, name: str, storage: str | None) -> None:
    """Give an experiment another name."""
    from aeval.cli.changing import rename_experiment

    sys.exit(rename_experiment(experiment, name, storage))


@click.command("delete")
@_experiment
@_evaluation
@storage_option
@_yes
def delete_command(experiment: str, evaluation: str | None, storage: str | None, **options: Any) -> None:
    """Remove an experiment with all of its results, or one evaluation's runs of it."""
    from aeval.cli.changing import delete_experiment

    sys.exit(delete_experiment(experiment, evaluation, storage, **options))


@click.command("cleanup")
@click.option("--older-than", required=True, metavar="AGE", help="As in 12h, 30d or 4w.")
@storage_option
@_yes
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def cleanup_command(older_than: str, storage: str | None, **options: Any) -> None:
    """Remove the experiments that were last run some time ago.

    What counts is when an experiment's last run ended, or was started where it did not end. One that is running is
    never removed.
    """
    from aeval.cli.changing import clean_up

    sys.exit(clean_up(older_than, storage, **options))


COMMANDS = (
    list_command,
    show_command,
    score_command,
    export_command,
    rename_command,
    delete_command,
    cleanup_command,
)
