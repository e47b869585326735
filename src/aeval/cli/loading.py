"""Finding the evaluations in a user's file."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from aeval.errors import ConfigurationError
from aeval.evaluation import Evaluation

__all__ = ["load_evaluations"]


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
    names = sorted({*found, *(each.name for each in found.values())})
    near = difflib.get_close_matches(name, names, n=3) or names
    raise ConfigurationError(f"there is no evaluation {name!r} in {path!r}: did you mean {', '.join(near)}?")


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
    spec.loader.exec_module(module)
    return module


def _evaluations_of(module: ModuleType) -> dict[str, Evaluation[Any, Any]]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Evaluation)}
