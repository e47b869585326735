"""The binding of a row's columns to a callable's parameters, worked out once for an evaluation."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from aeval.dataset import UnreadableRow
from aeval.errors import BindingError, ConfigurationError, RowError
from aeval.middleware.base import name_of
from aeval.sample import Sample, SampleId

__all__ = ["Bound", "Shape", "bind", "columns_of"]

# Makes the call for a sample and, behind a task, its output.
Bound: TypeAlias = Callable[..., Any]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
# What a parameter may ask for that is not a column, and where it then comes from.
_OUTPUT, _ROW = "<output>", "<row>"


def columns_of(columns: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names of the columns, from `"question,answer"` or a sequence of names.

    :raises ConfigurationError: if a name is empty, is no identifier, or comes twice
    """
    if columns is None:
        return None
    given: list[object] = [columns]
    if isinstance(columns, Iterable):
        given = [*(columns.split(",") if isinstance(columns, str) else columns)]
    names = tuple(name.strip() for name in given if isinstance(name, str))
    if len(names) < len(given):
        raise ConfigurationError(f"columns={columns!r} are no names: write 'question,answer'")
    for name in names:
        if not name.isidentifier():
            raise ConfigurationError(
                f"the column {name!r} of columns={columns!r} is not a name: write 'question,answer'"
            )
        if names.count(name) > 1:
            raise ConfigurationError(f"the column {name!r} is named twice in columns={columns!r}")
    return names


@attrs.frozen
class Shape:
    """What the rows of a dataset look like, told from the first one.

    :param kind: `"mapping"`, `"sequence"`, `"object"` or `"value"`
    :param names: the columns' names; for an object, its attributes; None where they have none
    :param width: how many columns a sequence has
    :param type: the first row's type, for messages
    """

    kind: str
    names: tuple[str, ...] | None
    width: int
    type: str

    @classmethod
    def of(cls, row: object, columns: tuple[str, ...] | None) -> Shape:
        """Tell the shape from a row.

        :raises BindingError: if the row does not have the columns that were named
        """
        kind = type(row).__name__
        if isinstance(row, Mapping):
            missing = [name for name in columns or () if name not in row]
            if missing:
                raise BindingError(f"no column {missing[0]!r} in the first row, which has: {_listed(row)}")
            return cls("mapping", columns or tuple(str(name) for name in row), len(row), kind)
        # A list of mappings is a chat's messages, however many there are: one value.
        chat = isinstance(row, list) and row and all(isinstance(part, Mapping) for part in row)
        if isinstance(row, (tuple, list)) and (columns is not None or not chat):
            fields = columns or getattr(row, "_fields", None)
            if fields is not None and len(fields) != len(row):
                raise BindingError(
                    f"columns names {len(fields)} columns ({', '.join(fields)}), and the first row has {len(row)}"
                )
            return cls("sequence", fields, len(row), kind)
        attributes = _attributes_of(row)
        if columns is not None and not set(columns) <= set(attributes):
            if len(columns) != 1:
                raise BindingError(
                    f"columns names {len(columns)} columns ({', '.join(columns)}), and the rows are single "
                    f"values of type {kind}: name one column, or give tuples or mappings"
                )
            return cls("value", columns, 1, kind)
        names = columns or attributes
        return cls("object", names, len(names), kind) if names else cls("value", None, 1, kind)

    def getter(self, column: str | int) -> Callable[[Any], Any]:
        """Return what takes a column out of a row, or raises a `RowError` where the row does not fit.

        :param column: the column's name; for a sequence its place will do
        """
        if self.kind == "value":
            return self.whole
        if self.kind == "sequence":
            place = column if isinstance(column, int) else (self.names or ()).index(column)
            return lambda row: self.sequence(row)[place]
        name = str(column)
        return (
            (lambda row: self._item(row, name))
            if self.kind == "mapping"
            else (lambda row: self._attribute(row, name))
        )

    def sequence(self, row: Any) -> Sequence[Any]:
        """Return the row, if it is a sequence as wide as the first one.

        :raises RowError: if it is not
        """
        if not isinstance(row, (tuple, list)):
            raise self._mismatch(row)
        if len(row) != self.width:
            raise RowError(
                f"has {_count(len(row), 'column')} where the first row has {self.width}: {_shown(row)}"
            )
        return row

    def whole(self, row: Any) -> Any:
        """Return the row itself, if it could be read."""
        if isinstance(row, UnreadableRow):
            raise row.error
        return row

    def _item(self, row: Any, name: str) -> Any:
        if not isinstance(row, Mapping):
            raise self._mismatch(row)
        if name not in row:
            raise RowError(f"has no column {name!r}: it has {_listed(row)}")
        return row[name]

    def _attribute(self, row: Any, name: str) -> Any:
        if not hasattr(row, name):
            raise self._mismatch(row)
        return getattr(row, name)

    def _mismatch(self, row: object) -> RowError:
        if isinstance(row, UnreadableRow):
            return row.error
        return RowError(f"is a {type(row).__name__} where the first row is a {self.type}: {_shown(row)}")

    def id_of(self, row: Any, index: int) -> SampleId:
        """Return the row's own id, else its index."""
        found: Any = None
        if self.kind == "mapping":
            found = row.get("id") if isinstance(row, Mapping) else None
        elif self.kind == "object":
            found = getattr(row, "id", None)
        elif self.names is not None and "id" in self.names and isinstance(row, (tuple, list)):
            place = self.names.index("id")
            found = row[place] if place < len(row) else None
        if found is None:
            return index
        return found if isinstance(found, (str, int)) else str(found)

    @property
    def has_ids(self) -> bool:
        """Whether rows may have ids of their own."""
        return self.kind == "mapping" or (self.names is not None and "id" in self.names)


def bind(call: Callable[..., Any], shape: Shape, *, after_task: bool = False, is_task: bool = False) -> Bound:
    """Work out how to call a task or scorer with a sample's columns.

    :param call: the task or scorer
    :param shape: what the rows look like
    :param after_task: whether this is a scorer that gets a task's output beside the columns
    :param is_task: whether this is the task
    :return: a function of a sample and the task's output, that makes the call
    :raises BindingError: if a parameter can be filled by no column
    """
    parameters = _parameters_of(call)
    extra = {"output": _OUTPUT} if after_task else {}
    if shape.kind == "sequence" and shape.names is None:
        if is_task or after_task:
            return _bind_pair(call, parameters, shape, extra)
        if _arity(parameters) == (1, 1) and shape.type == "list" and shape.width != 1:
            return _make(call, shape, [_ROW], {})  # a list that is one value, as a chat's messages are
        places: list[str | int] = list(range(shape.width))
        return _make(call, shape, *_by_place(call, parameters, places, "the row's columns, in order"))
    sources = {**{name: name for name in shape.names or ()}, **extra}
    several = len(_required(parameters)) > 1
    if (
        shape.kind in {"mapping", "sequence"}
        or _fits(parameters, sources)
        or (several and shape.names is not None)
    ):
        return _make(call, shape, *_by_name(call, parameters, sources))
    return _make(call, attrs.evolve(shape, kind="value"), *_whole(call, parameters, shape, extra))


def _bind_pair(
    call: Callable[..., Any], parameters: list[inspect.Parameter] | None, shape: Shape, extra: Mapping[str, str]
) -> Bound:
    """Bind to rows without names where there is a task: they must be pairs of input and expected output."""
    if shape.width != 2:
        raise BindingError(
            f"the rows have {_count(shape.width, 'column')} and no names, so it is not known which of them "
            f"{name_of(call)!r} gets: name them, as in columns='input,expected'"
        )
    pair = attrs.evolve(shape, names=("input", "expected"))
    if not extra:
        return _make(call, pair, *_by_place(call, parameters, [0], "the input"))
    sources = {"input": "input", "expected": "expected", **extra}
    if _fits(parameters, sources):
        return _make(call, pair, *_by_name(call, parameters, sources))
    given: list[str | int] = [_OUTPUT, 1]
    return _make(call, pair, *_by_place(call, parameters, given, "the task's output and the expected one"))


def _by_place(
    call: Callable[..., Any], parameters: list[inspect.Parameter] | None, given: list[str | int], what: str
) -> tuple[list[str | int], dict[str, str | int]]:
    keyword: dict[str, str | int] = {}
    for parameter in _required(parameters):
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if parameter.name != "row":
            raise BindingError(
                f"the parameter {parameter.name!r} of {name_of(call)!r} can be filled by no column, as these have no "
                "names: name the columns, as in columns='question,answer', or give it a default"
            )
        keyword["row"] = _ROW
    least, most = _arity(parameters)
    if least <= len(given) <= most:
        return given, keyword
    places = [parameter.name for parameter in parameters or () if parameter.kind in _POSITIONAL]
    if places == ["row"]:
        return [_ROW], keyword
    if "row" in places and least <= len(given) + 1 <= most:
        place = places.index("row")
        return [*given[:place], _ROW, *given[place:]], keyword
    takes = (
        f"{least}" if least == most else f"{least} to {most:g}" if most != float("inf") else f"{least} or more"
    )
    raise BindingError(
        f"{name_of(call)!r} takes {takes} positional parameters and would be given {len(given)} ({what}): "
        "change its parameters, or name the columns, as in columns='question,answer'"
    )


def _by_name(
    call: Callable[..., Any], parameters: list[inspect.Parameter] | None, sources: Mapping[str, str]
) -> tuple[list[str | int], dict[str, str | int]]:
    positional: list[str | int] = []
    keyword: dict[str, str | int] = {}
    rest = False
    gap = False  # behind a parameter that is left at its default, the others must be given by name
    for parameter in parameters or ():
        name = parameter.name
        source = sources.get(name, _ROW if name == "row" else None)
        if source is not None and parameter.kind not in _VARIABLE:
            if parameter.kind in _POSITIONAL and not gap:
                positional.append(source)
            else:
                keyword[name] = source
            continue
        gap = True
        rest = rest or parameter.kind is parameter.VAR_KEYWORD
        if parameter in _required([parameter]):
            raise BindingError(
                f"the parameter {name!r} of {name_of(call)!r} can be filled by no column: the columns are "
                f"{_listed(sources)}. {_advice(call, parameters, sources)}"
            )
    if rest:
        keyword.update({name: source for name, source in sources.items() if source not in positional})
    if not positional and not keyword:
        raise BindingError(
            f"{name_of(call)!r} takes none of the columns {_listed(sources)}: give it a parameter for one"
        )
    return positional, keyword


# What the column is called that holds the right answer.
_ANSWERS = ("answer", "target", "reference", "label", "gold", "solution", "ideal")


def _advice(
    call: Callable[..., Any], parameters: list[inspect.Parameter] | None, sources: Mapping[str, str]
) -> str:
    """Say how to give a call the columns that it probably means."""
    required = [parameter.name for parameter in _required(parameters)]
    unused = [name for name in sources if name not in required and name != "id"]
    meant: list[str] = []
    for name in required:
        if name in sources:
            meant.append(name)
            continue
        likely = [column for column in _ANSWERS if column in unused] if name == "expected" else []
        near = difflib.get_close_matches(name.lower(), unused, n=1) or likely[:1] or unused[:1]
        meant.extend(near)
        unused = [column for column in unused if column not in near]
    called = name_of(call) if hasattr(call, "__name__") and name_of(call).isidentifier() else "f"
    wrapped = f"lambda {', '.join(meant)}: {called}({', '.join(meant)})"
    return f"Rename the parameter or the column, give it a default, or wrap the call, as in `{wrapped}`"


def _whole(
    call: Callable[..., Any], parameters: list[inspect.Parameter] | None, shape: Shape, extra: Mapping[str, str]
) -> tuple[list[str | int], dict[str, str | int]]:
    """Give the row, which is one value, to the one parameter that takes it; behind a task the output goes first."""
    required = _required(parameters)
    output = [p.name for p in parameters or () if p.name in extra]
    if extra and not output:
        given: list[str | int] = [_OUTPUT, _ROW] if len(required) > 1 else [_OUTPUT]
        return _by_place(call, parameters, given, "the task's output" + " and the row" * (len(given) > 1))
    others = [p for p in required if p.name not in output]
    if len(others) > 1 or (not output and _arity(parameters)[1] == 0 and not others):
        takes = _listed(p.name for p in others) or "nothing"
        raise BindingError(
            f"{name_of(call)!r} takes {takes}, and each row is a single value of type {shape.type}: no column can "
            f"fill {others[-1].name if others else 'a parameter'!r}. Take one parameter, or give tuples or mappings"
        )
    if output or (others and others[0].kind not in _POSITIONAL):
        whole = dict.fromkeys((p.name for p in others), _ROW)
        return _by_name(call, parameters, {**whole, **{name: extra[name] for name in output}})
    return [_ROW], {}


def _make(
    call: Callable[..., Any], shape: Shape, positional: list[str | int], keyword: Mapping[str, str | int]
) -> Bound:
    """Compile where each argument comes from into the call itself."""
    if not keyword and shape.kind == "sequence" and _places(shape, positional) == list(range(shape.width)):
        width, sequence = shape.width, shape.sequence

        def all_columns(sample: Sample[Any], _: Any = None) -> Any:
            row = sample.row
            if type(row) is tuple and len(row) == width:
                return call(*row)
            return call(*sequence(row))

        return all_columns
    arguments = [_argument(shape, source) for source in positional]
    if not keyword and len(arguments) == 1:
        (only,) = arguments
        return lambda sample, output=None: call(only(sample, output))
    named = {name: _argument(shape, source) for name, source in keyword.items()}

    def bound(sample: Sample[Any], output: Any = None) -> Any:
        values = [argument(sample, output) for argument in arguments]
        if not named:
            return call(*values)
        return call(*values, **{name: argument(sample, output) for name, argument in named.items()})

    return bound


def _places(shape: Shape, sources: list[str | int]) -> list[int]:
    names = shape.names or ()
    return [s if isinstance(s, int) else names.index(s) if s in names else -1 for s in sources]


def _argument(shape: Shape, source: str | int) -> Callable[[Sample[Any], Any], Any]:
    if source == _OUTPUT:
        return lambda _, output: output
    if source == _ROW:
        return lambda sample, _: shape.whole(sample.row)
    get = shape.getter(source)
    return lambda sample, _: get(sample.row)


def _parameters_of(call: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return None  # some callables written in C tell nothing of their parameters


def _required(parameters: list[inspect.Parameter] | None) -> list[inspect.Parameter]:
    return [p for p in parameters or () if p.default is p.empty and p.kind not in _VARIABLE]


def _fits(parameters: list[inspect.Parameter] | None, available: Collection[str]) -> bool:
    """Tell whether the names are what a call asks for: all that it requires, or some of what it may be given."""
    required = _required(parameters)
    if required:
        return all(p.name in available or p.name == "row" for p in required)
    kinds = {p.kind for p in parameters or ()}
    if kinds.issuperset(_VARIABLE):
        return False  # a wrapper that passes on whatever it is given
    return bool(available) and (
        inspect.Parameter.VAR_KEYWORD in kinds or any(p.name in available for p in parameters or ())
    )


def _arity(parameters: list[inspect.Parameter] | None) -> tuple[int, float]:
    """How few and how many positional arguments a call takes."""
    if parameters is None:
        return 0, float("inf")
    places = [p for p in parameters if p.kind in _POSITIONAL]
    most = float("inf") if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(places)
    return sum(p.default is p.empty for p in places), most


def _attributes_of(row: object) -> tuple[str, ...]:
    """Return the fields of a dataclass, an attrs class or a pydantic model; of other objects none."""
    kind = type(row)
    for found in (
        getattr(kind, "__dataclass_fields__", None),
        getattr(kind, "model_fields", None),
    ):
        if isinstance(found, Mapping):
            return tuple(found)
    if attrs.has(kind) and not isinstance(row, UnreadableRow):
        return tuple(field.name for field in attrs.fields(kind))
    return ()


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _shown(row: object) -> str:
    text = repr(row)
    return text if len(text) <= 80 else text[:77] + "..."
