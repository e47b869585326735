"""Run evaluations of language models, and of the programs built on them.

Everything public is here, loaded when it is first used, so that importing aeval stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aeval.context import record_usage as record_usage
    from aeval.dataset import Dataset as Dataset
    from aeval.errors import AevalError as AevalError
    from aeval.errors import RunInProgress as RunInProgress
    from aeval.errors import StorageError as StorageError
    from aeval.evaluation import Evaluation as Evaluation
    from aeval.middleware.base import Middleware as Middleware
    from aeval.middleware.cache import Cache as Cache
    from aeval.middleware.concurrency import Concurrency as Concurrency
    from aeval.middleware.rate import Rate as Rate
    from aeval.middleware.retry import Retry as Retry
    from aeval.middleware.stack import stack as stack
    from aeval.middleware.timeout import Timeout as Timeout
    from aeval.monitor import LoopBlockedWarning as LoopBlockedWarning
    from aeval.report.report import Report as Report
    from aeval.rescoring import rescore as rescore
    from aeval.result import Failure as Failure
    from aeval.result import Result as Result
    from aeval.result import Timing as Timing
    from aeval.result import Usage as Usage
    from aeval.sample import Sample as Sample
    from aeval.score import Score as Score
    from aeval.scorers.choice import multiple_choice as multiple_choice
    from aeval.scorers.exact import exact_match as exact_match
    from aeval.scorers.json_value import json_equal as json_equal
    from aeval.scorers.number import numeric as numeric
    from aeval.scorers.numerals import last_number as last_number
    from aeval.scorers.text import includes as includes
    from aeval.scorers.text import regex as regex
    from aeval.standing import Stats as Stats
    from aeval.storage.storage import Storage as Storage
    from aeval.storage.storage import open_storage as open_storage
    from aeval.stream import Run as Run
    from aeval.stream import run as run
    from aeval.stream import run_sync as run_sync
    from aeval.threads import in_process as in_process

_HOMES = {
    "AevalError": "errors",
    "Cache": "middleware.cache",
    "Concurrency": "middleware.concurrency",
    "Dataset": "dataset",
    "Evaluation": "evaluation",
    "Failure": "result",
    "LoopBlockedWarning": "monitor",
    "Middleware": "middleware.base",
    "Rate": "middleware.rate",
    "Report": "report.report",
    "Result": "result",
    "Retry": "middleware.retry",
    "Run": "stream",
    "RunInProgress": "errors",
    "Sample": "sample",
    "Score": "score",
    "Stats": "standing",
    "Storage": "storage.storage",
    "StorageError": "errors",
    "Timeout": "middleware.timeout",
    "Timing": "result",
    "Usage": "result",
    "exact_match": "scorers.exact",
    "in_process": "threads",
    "includes": "scorers.text",
    "json_equal": "scorers.json_value",
    "last_number": "scorers.numerals",
    "multiple_choice": "scorers.choice",
    "numeric": "scorers.number",
    "open_storage": "storage.storage",
    "record_usage": "context",
    "regex": "scorers.text",
    "rescore": "rescoring",
    "run": "stream",
    "run_sync": "stream",
    "stack": "middleware.stack",
}

__all__ = [
    "AevalError",
    "Cache",
    "Concurrency",
    "Dataset",
    "Evaluation",
    "Failure",
    "LoopBlockedWarning",
    "Middleware",
    "Rate",
    "Report",
    "Result",
    "Retry",
    "Run",
    "RunInProgress",
    "Sample",
    "Score",
    "Stats",
    "Storage",
    "StorageError",
    "Timeout",
    "Timing",
    "Usage",
    "exact_match",
    "in_process",
    "includes",
    "json_equal",
    "last_number",
    "multiple_choice",
    "numeric",
    "open_storage",
    "record_usage",
    "regex",
    "rescore",
    "run",
    "run_sync",
    "stack",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'aeval' has no attribute {name!r}")
    value = getattr(import_module(f"aeval.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
