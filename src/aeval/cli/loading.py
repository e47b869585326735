"""Finding evaluations and scorers in a user's file."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from aeval.errors import ConfigurationError
from aeval.evaluation import Evaluation

__all__ = ["load_evaluations", "load_scorer"]

_HERE = str(Path(__file__).parent)
# Those of aeval's own that need nothing but an output and what is expected.
SCORERS = ("exact_match", "includes", "json_equal", "multiple_choice", "numeric", "regex")


def load_evaluations(target: str) -> list[Evaluation[Any, Any]]:
    """Return the evaluations of `FILE`, or the one that `FILE::NAME` names.

    An evaluation is found by its own name, or by the variable that holds it.

    :raises ConfigurationError: if there is no such file, or no such evaluation in it
    """
    path, _, name = target.partition("::")
    found = _evaluations_of(_load(Path(path)))
    if not found:
        raise ConfigurationError(
            f"there is no evaluation in {path!r}: assign one to a variable, as in `check = Evaluation(rows, score)`"
        )
    if not name:
        return list({id(each): each for each in found.values()}.values())
    for each in found.values():
        if each.name == name:
            return [each]
    if name in found:
        return [found[name]]
    names = {*found, *(each.name for each in found.values())}
    raise ConfigurationError(f"there is no evaluation {name!r} in {path!r}: did you mean {_near(name, names)}?")


def load_scorer(text: str) -> Callable[..., Any]:
    """Return the scorer that `FILE.py::NAME` names, or the one of aeval's own that `NAME` does.

    :raises ConfigurationError: if there is no such file or scorer
    """
    path, separator, name = text.partition("::")
    if not separator:
        if text.endswith(".py"):
            raise ConfigurationError(
                f"the scorer {text!r} is a file: say which of its functions, as in {text}::score"
            )
        if text not in SCORERS:
            raise ConfigurationError(
                f"there is no scorer {text!r}: did you mean {_near(text, SCORERS)}? One of your own is FILE.py::NAME"
            )
        import aeval

        own: Callable[..., Any] = getattr(aeval, text)
        return own
    module = _load(Path(path))
    found = getattr(module, name, None)
    if callable(found) and not inspect.isclass(found):
        scorer: Callable[..., Any] = found
        return scorer
    functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
    hint = f"did you mean {_near(name, functions)}?" if functions else "it has no functions"
    raise ConfigurationError(f"there is no scorer {name!r} in {path!r}: {hint}")


def _near(name: str, names: Iterable[str]) -> str:
    known = sorted(names)
    return ", ".join(difflib.get_close_matches(name, known, n=3) or known)


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise ConfigurationError(f"the file {str(path)!r} {what}: give the path of a Python file")
    if path.suffix != ".py":
        raise ConfigurationError(f"the file {str(path)!r} is no Python file: give one that ends in .py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"the file {str(path)!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    # As if it had been started by Python: what stands beside it can be imported, and so can it, by the processes
    # that `in_process` starts.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's file may raise anything
        _show(error)
        raise ConfigurationError(f"{str(path)!r} could not be imported: see above") from None
    return module


def _show(error: Exception) -> None:
    """Print of a traceback what is the user's: not the way here, and not Python's import machinery."""
    shown = traceback.TracebackException.from_exception(error)
    shown.stack = traceback.StackSummary.from_list(
        [frame for frame in shown.stack if not frame.filename.startswith((_HERE, "<frozen importlib"))]
    )
    sys.stderr.write("".join(shown.format()))


def _evaluations_of(module: ModuleType) -> dict[str, Evaluation[Any, Any]]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Evaluation)}
