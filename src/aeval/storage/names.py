"""Names of experiments: which may be used, and which is meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import datetime

from aeval.errors import ExperimentError

__all__ = ["checked_name", "new_name", "not_there"]

MOST_CHARACTERS = 200
MOST_LISTED = 5
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def checked_name(name: object) -> str:
    """Return an experiment's name.

    :raises ExperimentError: if it is no name: empty, too long, or with characters that a file name may not have
    """
    if not isinstance(name, str) or not name.strip():
        raise ExperimentError(f"the experiment's name is {name!r}: give a text, as in 'baseline'")
    if "/" in name or "\\" in name:
        better = re.sub(r"[/\\]+", "-", name).strip("-.") or "baseline"
        raise ExperimentError(f"the experiment's name {name!r} has a path separator in it: write {better!r}")
    if name in {".", ".."} or name != name.strip():
        raise ExperimentError(
            f"the experiment's name is {name!r}: give one that begins and ends with a letter or digit"
        )
    if _UNPRINTABLE.search(name):
        raise ExperimentError(
            f"the experiment's name {name!r} has a character that cannot be printed: leave it out"
        )
    if len(name) > MOST_CHARACTERS:
        raise ExperimentError(
            f"the experiment's name {name[:40]!r}... has {len(name)} characters: {MOST_CHARACTERS} are allowed"
        )
    return name


def new_name(evaluations: Iterable[str]) -> str:
    """Return a name for an experiment that was given none: what is run, and when."""
    what = re.sub(r"[^\w.-]+", "-", next(iter(evaluations)))[:60].strip("-.") or "evaluation"
    return f"{what}-{datetime.now().astimezone():%Y%m%d-%H%M%S-%f}"


def not_there(what: str, name: str, names: Iterable[str], where: str = "") -> ExperimentError:
    """Return the error for a name that is not there, with the nearest ones that are.

    :param what: what is not there, as in `"experiment"`
    :param where: where it is not, as in `" in 'sqlite:///results.db'"`
    """
    known = list(names)
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        hint = f"did you mean {', '.join(map(repr, near))}?"
    elif known:
        more = ", ..." if len(known) > MOST_LISTED else ""
        hint = f"there are {', '.join(map(repr, sorted(known)[:MOST_LISTED]))}{more}"
    else:
        hint = "there is none yet"
    return ExperimentError(f"there is no {what} {name!r}{where}: {hint}")
