"""`aeval score`: the stored outputs of an experiment, scored again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import attrs

from aeval.cli.loading import load_scorer
from aeval.cli.messages import INTERRUPTED, MISUSED, complain, say, show_log
from aeval.cli.options import parse_max_errors
from aeval.cli.running import PROGRESS, finish, quiet_stdout, run_to_report
from aeval.cli.stores import checked, with_storage
from aeval.errors import ConfigurationError
from aeval.report.report import Report
from aeval.rescoring import rescore

__all__ = ["ScoreOptions", "score_experiment"]


@attrs.frozen
class ScoreOptions:
    """The options of `aeval score`, as they were given."""

    evaluation: str | None
    expected: str | None
    storage: str | None
    samples: int | None
    max_errors: str | None
    progress: str
    form: str


def score_experiment(experiment: str, scorers: tuple[str, ...], options: ScoreOptions) -> int:
    """Score the outputs of an experiment again, and print the report.

    :param scorers: names of aeval's own, or `FILE.py::NAME`
    :return: the exit code, as of `aeval run`
    """
    show_log()
    try:
        storage = checked(options.storage)
        with quiet_stdout(options.form):
            loaded = [_scorer(text, options.expected) for text in scorers]
        made = rescore(
            experiment,
            loaded,
            storage=storage,
            evaluation=options.evaluation,
            samples=options.samples,
            max_errors=None if options.max_errors is None else parse_max_errors(options.max_errors),
            progress=PROGRESS[options.progress],
        )
        with quiet_stdout(options.form):
            report, code = run_to_report(made)
        return finish(report, code, options.form, lambda code: _say_where(report, code, experiment, options))
    except ConfigurationError as error:
        return complain(error, MISUSED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _scorer(text: str, expected: str | None) -> Callable[..., Any]:
    """Return a scorer; one of aeval's own takes the right answer from the column that is named."""
    scorer = load_scorer(text)
    if expected is None or "::" in text:
        return scorer
    if not expected.isidentifier():
        raise ConfigurationError(f"the column {expected!r} of --expected is not a name: give that of a column")

    @wraps(scorer)
    def with_column(output: Any, **columns: Any) -> Any:
        return scorer(output, columns[expected])

    kind = inspect.Parameter.KEYWORD_ONLY
    with_column.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("output", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            inspect.Parameter(expected, kind),
        ]
    )
    return with_column


def _say_where(report: Report[Any, Any], code: int, experiment: str, options: ScoreOptions) -> None:
    if code != MISUSED and report.n:
        show = with_storage(["aeval", "show", experiment], options.storage)
        say(
            f"aeval: the scores are kept beside the earlier ones in {experiment!r}: look at them with\n  {show}"
        )
