"""What a storage knows of a run beside its results: its state, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import attrs

from aeval.report.render import counted
from aeval.storage.base import Session, StoredRun

__all__ = ["facts_of", "fields_of", "stamp", "title_of"]


def title_of(run: StoredRun) -> str:
    """Return what to call a run, above its report."""
    return run.label if run.rescored is None else f"{run.label} (scores of #{run.rescored} given again)"


def facts_of(run: StoredRun, *, full: bool) -> Iterator[tuple[str, str]]:
    """Give what there is to say of a run, as names and values.

    :param full: with all of its sessions, and not only the latest
    """
    if run.state == "running":
        yield "running", f"by {run.owner}"
    elif run.ended is not None:
        yield "ended", stamp(run.ended)
    sessions = f" in {counted(len(run.sessions), 'session')}" if len(run.sessions) > 1 else ""
    yield "started", f"{stamp(run.started)}{sessions}"
    limits = [] if run.samples is None else [f"the first {counted(run.samples, 'row')} only"]
    limits += [] if run.repeats == 1 else [f"each row {run.repeats} times"]
    if limits:
        yield "limits", ", ".join(limits)
    for session in run.sessions if full else run.sessions[-1:]:
        if full and len(run.sessions) > 1:
            yield "session", stamp(session.started)
        yield from _session_facts(session)


def _session_facts(session: Session) -> Iterator[tuple[str, str]]:
    code = [f"aeval {session.aeval}", f"Python {session.python}"]
    if session.git_commit is not None:
        dirty = ", with changes that are not in it" if session.git_dirty else ""
        code.append(f"git {session.git_commit[:12]}{dirty}")
    yield "code", ", ".join(code)
    if session.source is not None:
        yield "source", f"{session.source} (digest of the task and the scorers)"
    yield "command", session.command_line
    if session.middleware:
        yield "layers", session.middleware
    if session.dataset is not None:
        yield "dataset", session.dataset


def fields_of(run: StoredRun, *, full: bool) -> dict[str, Any]:
    """Return what there is to say of a run, as what JSON can hold; times as in ISO 8601."""
    owner = None
    if run.state == "running" and run.owner is not None:
        owner = {"host": run.owner.host, "pid": run.owner.pid, "since": _iso(run.owner.since)}
    sessions = [attrs.asdict(each) | {"started": _iso(each.started)} for each in run.sessions]
    return {
        "evaluation": run.evaluation,
        "number": run.number,
        "label": run.label,
        "rescored": run.rescored,
        "status": run.state,
        "running_by": owner,
        "started": _iso(run.started),
        "ended": None if run.ended is None else _iso(run.ended),
        "samples": run.samples,
        "repeats": run.repeats,
        "provenance": sessions[-1] if sessions else None,
        **({"sessions": sessions} if full else {"n_sessions": len(sessions)}),
    }


def stamp(moment: float) -> str:
    """Return a Unix time as it is read here."""
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat(timespec="seconds")
