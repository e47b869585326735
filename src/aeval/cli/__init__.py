"""The command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any

import click

from aeval.cli.completion import complete_files
from aeval.cli.experiments import COMMANDS, experiment_option, storage_option

__all__ = ["command", "main"]


class _InOrder(click.Group):
    """A group whose help lists its commands as they are added: what is done first stands first."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aeval", message="aeval %(version)s")
def command() -> None:
    """Run evaluations of language models, and of the programs built on them."""


@command.command("run")
@click.argument("target", metavar="FILE[::NAME]", shell_complete=complete_files)
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Evaluate the first N rows only.")
@click.option("--repeats", type=click.IntRange(min=1), metavar="N", help="Evaluate each row N times.")
@click.option("--max-concurrency", type=click.IntRange(min=1), metavar="N", help="At most N calls at once.")
@click.option("--rate", metavar="N/PERIOD", help="At most N calls a period, as in 100/min, 5/s or 1000/10s.")
@click.option("--timeout", type=float, metavar="SECONDS", help="End each attempt after so many seconds.")
@click.option(
    "--max-errors", metavar="N", help="Stop when more samples errored: a count, or a fraction as 0.1."
)
@experiment_option
@storage_option
@click.option(
    "--retry-errors/--no-retry-errors",
    default=True,
    show_default=True,
    help="Try samples again that errored when the experiment was run before.",
)
@click.option("--fresh", is_flag=True, help="Begin a new run in the experiment, beside the earlier ones.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "none"]),
    default="auto",
    is_flag=False,
    flag_value="auto",
    show_default=True,
    help="How to show progress, on stderr.",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def run_command(target: str, **options: Any) -> None:
    """Run the evaluations of a Python file, or the one called NAME.

    The results are kept in a storage, as an experiment. Run again with the same --experiment, it goes on where it
    stopped: what was scored is not evaluated again.

    Ctrl-C once starts no more samples and reports on those that finished; twice ends at once.
    """
    from aeval.cli.running import RunOptions, run_file

    sys.exit(run_file(target, RunOptions(**options)))


for each in COMMANDS:
    command.add_command(each)


@command.command("demo")
@click.option("--samples", type=click.IntRange(min=1), default=300, show_default=True, metavar="N")
@click.option("--seed", type=int, default=0, show_default=True, help="Which questions, delays and faults.")
def demo_command(samples: int, seed: int) -> None:
    """Evaluate arithmetic against a simulated model that is as unreliable as real ones.

    Everything is on this machine: a model server on a loopback port, with a limit on requests, delays and faults.
    """
    from aeval.cli.demo import run_demo

    sys.exit(run_demo(samples, seed))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    :param arguments: instead of the process's own
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A model's output may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    command.main(args=None if arguments is None else list(arguments), prog_name="aeval")
