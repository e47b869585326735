from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.binding import Shape, bind, columns_of
from aeval.dataset import UnreadableRow
from aeval.errors import BindingError, ConfigurationError, RowError
from aeval.sample import Sample

NONE: Any = object()


class Pair(NamedTuple):
    q: str
    a: str


class WithId(NamedTuple):
    id: str
    q: str


@dataclasses.dataclass
class Data:
    q: str = "Q"
    a: str = "A"
    id: str = "d-1"


@attrs.define
class Attrs:
    q: str = "Q"
    a: str = "A"


def called(
    call: Callable[..., Any], row: Any, columns: Any = None, output: Any = NONE, *, task: bool = False
) -> Any:
    """Bind a call to a row's columns, and make the call."""
    shape = Shape.of(row, columns_of(columns))
    bound = bind(call, shape, after_task=output is not NONE, is_task=task)
    return bound(Sample(0, 0, 0, row), output)


def echo(*args: Any, **kwargs: Any) -> Any:
    return (*args, kwargs) if kwargs else args


class Judge:
    def __call__(self, q: str, a: str) -> Any:
        return q, a

    def method(self, a: str) -> Any:
        return a


MAPPING = {"q": "Q", "a": "A", "n": 1}


@pytest.mark.parametrize(
    ("call", "row", "seen"),
    [
        (lambda q, a: (q, a), MAPPING, ("Q", "A")),
        (lambda a, q: (a, q), MAPPING, ("A", "Q")),
        (lambda a: a, MAPPING, "A"),
        (lambda a, n=5, m=7: (a, n, m), MAPPING, ("A", 1, 7)),
        (lambda m=7, a="": (m, a), MAPPING, (7, "A")),
        (lambda q, /, *, a: (q, a), MAPPING, ("Q", "A")),
        (lambda *args, q: (args, q), MAPPING, ((), "Q")),
        (lambda **rest: rest, MAPPING, MAPPING),
        (lambda q, **rest: (q, rest), MAPPING, ("Q", {"a": "A", "n": 1})),
        (lambda row: row, MAPPING, MAPPING),
        (lambda q, row: (q, row["n"]), MAPPING, ("Q", 1)),
        (lambda row: row, {"row": "its own"}, "its own"),
        (lambda q, *args: (q, args), {"q": "Q", "args": "x"}, ("Q", ())),
        (lambda q, **kwargs: (q, kwargs), {"q": "Q", "kwargs": "x"}, ("Q", {"kwargs": "x"})),
        (lambda q, a: (q, a), MappingProxyType(MAPPING), ("Q", "A")),
        (lambda q, a: (q, a), Pair("Q", "A"), ("Q", "A")),
        (lambda a: a, Pair("Q", "A"), "A"),
        (lambda q, a: (q, a), Data(), ("Q", "A")),
        (lambda a, q="": (a, q), Data(), ("A", "Q")),
        (lambda q="": q, Data(), "Q"),
        (lambda **rest: rest, Data(), {"q": "Q", "a": "A", "id": "d-1"}),
        (lambda point: point, Data(), Data()),
        (lambda point, q="kept": (point, q), Data(), (Data(), "kept")),
        (lambda row, q: (row, q), Data(), (Data(), "Q")),
        (lambda a: a, Attrs(), "A"),
        (lambda thing: thing, Attrs(), Attrs()),
        (Judge(), MAPPING, ("Q", "A")),
        (Judge().method, MAPPING, "A"),
        (functools.partial(lambda q, a, n: (q, a, n), n=9), {"q": "Q", "a": "A"}, ("Q", "A", 9)),
        (functools.partial(lambda n, a: (n, a), 9), {"q": "Q", "a": "A"}, (9, "A")),
    ],
)
def test_columns_with_names_go_to_the_parameters_of_their_names(call: Any, row: Any, seen: Any) -> None:
    """The columns of mappings, named tuples and data classes go to the parameters that have their names."""
    assert called(call, row) == seen


@pytest.mark.parametrize(
    ("call", "row", "seen"),
    [
        (lambda x, y: (x, y), ("Q", "A"), ("Q", "A")),
        (lambda x, y: (x, y), ["Q", "A"], ("Q", "A")),
        (lambda x, y, z=3: (x, y, z), ("Q", "A"), ("Q", "A", 3)),
        (lambda x, /, y: (x, y), ("Q", "A"), ("Q", "A")),
        (echo, ("Q", "A", 3), ("Q", "A", 3)),
        (lambda x: x, ("Q",), "Q"),
        (lambda x, y, *, n=1: (x, y, n), ("Q", "A"), ("Q", "A", 1)),
        (lambda row: row, ("Q", "A"), ("Q", "A")),
        (lambda x, y, row: (x, y, row), ("Q", "A"), ("Q", "A", ("Q", "A"))),
        (lambda row, x, y: (x, y, row), ("Q", "A"), ("Q", "A", ("Q", "A"))),
        (lambda x, y, *, row: (x, y, row), ("Q", "A"), ("Q", "A", ("Q", "A"))),
        (
            lambda messages: messages,
            [{"role": "user"}, {"role": "assistant"}],
            [{"role": "user"}, {"role": "assistant"}],
        ),
        (Judge(), ("Q", "A"), ("Q", "A")),
        (max, (1, 2), 2),
    ],
)
def test_columns_without_names_go_by_their_places(call: Any, row: Any, seen: Any) -> None:
    """The columns of tuples and lists go to the parameters in order; `row`, if there is room for it, is the whole."""
    assert called(call, row) == seen


@pytest.mark.parametrize("columns", ["q,a", " q , a ", ("q", "a"), ["q", "a"]])
def test_columns_that_were_named_go_by_name(columns: Any) -> None:
    """Names given in `columns` make the columns of tuples go to the parameters that have these names."""
    assert called(lambda a, q: (a, q), ("Q", "A"), columns) == ("A", "Q")
    assert called(lambda a: a, ["Q", "A"], columns) == "A"


@pytest.mark.parametrize(
    ("call", "row", "columns", "seen"),
    [
        (lambda prompt: prompt, "text", None, "text"),
        (lambda row: row, "text", None, "text"),
        (lambda q: q, "text", "q", "text"),
        (lambda other: other, "text", "q", "text"),
        (lambda *, prompt: prompt, "text", None, "text"),
        (lambda prompt, n=2: (prompt, n), 5, None, (5, 2)),
        (lambda prompt=None: prompt, None, None, None),
        (len, "text", None, 4),
        (int, "12", None, 12),
        (echo, "text", None, ("text",)),
        (lambda space: space.a, SimpleNamespace(a=1), None, 1),
        (lambda **kwargs: kwargs, "text", "q", {"q": "text"}),
    ],
)
def test_single_value_goes_to_the_one_parameter(call: Any, row: Any, columns: Any, seen: Any) -> None:
    """A row that is one value goes to the one parameter, whatever that is called."""
    assert called(call, row, columns) == seen


def test_columns_choose_of_a_mapping() -> None:
    """Names given in `columns` for mappings are the columns that a call may take."""
    assert called(lambda **rest: rest, MAPPING, "q,a") == {"q": "Q", "a": "A"}


@pytest.mark.parametrize(
    ("call", "row", "columns", "seen"),
    [
        (lambda question: question, ("I", "E"), None, "I"),
        (lambda question, row: (question, row), ("I", "E"), None, ("I", ("I", "E"))),
        (lambda q: q, MAPPING, None, "Q"),
        (lambda a, q: (a, q), ("Q", "A"), "q,a", ("A", "Q")),
        (lambda q: q, Pair("Q", "A"), None, "Q"),
        (lambda prompt: prompt, "text", None, "text"),
        (lambda q: q, Data(), None, "Q"),
    ],
)
def test_task_takes_the_input(call: Any, row: Any, columns: Any, seen: Any) -> None:
    """A task takes the columns that its parameters name; of a pair without names, the first."""
    assert called(call, row, columns, task=True) == seen


@pytest.mark.parametrize(
    ("call", "row", "columns", "seen"),
    [
        (lambda output, expected: (output, expected), ("I", "E"), None, ("O", "E")),
        (lambda guess, truth: (guess, truth), ("I", "E"), None, ("O", "E")),
        (lambda expected, output: (expected, output), ("I", "E"), None, ("E", "O")),
        (lambda expected=0, output=0: (expected, output), ("I", "E"), None, ("E", "O")),
        (lambda output, input: (output, input), ("I", "E"), None, ("O", "I")),  # noqa: A006 - the column's name
        (lambda output: output, ("I", "E"), None, "O"),
        (lambda output, row: (output, row), ("I", "E"), None, ("O", ("I", "E"))),
        (echo, ("I", "E"), None, ("O", "E")),
        (lambda output, a: (output, a), MAPPING, None, ("O", "A")),
        (lambda a, output: (a, output), MAPPING, None, ("A", "O")),
        (lambda q, a: (q, a), MAPPING, None, ("Q", "A")),
        (lambda output: output, {"output": "a column"}, None, "O"),
        (lambda output, a: (output, a), ("Q", "A"), "q,a", ("O", "A")),
        (lambda output, a: (output, a), Pair("Q", "A"), None, ("O", "A")),
        (lambda output, a: (output, a), Data(), None, ("O", "A")),
        (lambda output, row: (output, row), Data(), None, ("O", Data())),
        (lambda output, prompt: (output, prompt), "text", None, ("O", "text")),
        (lambda prompt, output, /: (prompt, output), "text", None, ("text", "O")),
        (lambda output, *, prompt: (output, prompt), "text", None, ("O", "text")),
        (lambda output: output, "text", None, "O"),
        (lambda prompt, output=None: (prompt, output), "text", None, ("text", "O")),
        (lambda **rest: rest, MAPPING, None, {**MAPPING, "output": "O"}),
    ],
)
def test_scorer_behind_a_task_takes_the_output(call: Any, row: Any, columns: Any, seen: Any) -> None:
    """A scorer takes `output` and the columns it names; of pairs without names the output and the expected one."""
    assert called(call, row, columns, "O") == seen


def named(missing: str, q: str) -> None: ...
def nothing() -> None: ...
def strangers(*args: str) -> None: ...
def keyword(q: str, a: str, *, model: str) -> None: ...
def one(text: str) -> None: ...


@pytest.mark.parametrize(
    ("call", "row", "columns", "message"),
    [
        (named, MAPPING, None, r"the parameter 'missing' of 'named' can be filled by no column: the columns are q, a, n\. Rename the parameter or the column, give it a default, or wrap the call, as in `lambda a, q: named\(a, q\)`"),
        (named, Pair("Q", "A"), None, "the parameter 'missing' of 'named'.*the columns are q, a"),
        (named, ("Q", "A"), "q,a", "the parameter 'missing' of 'named'.*the columns are q, a"),
        (named, Data(), None, "the parameter 'missing' of 'named'.*the columns are q, a, id"),
        (named, "text", "q", "the parameter 'missing' of 'named'.*the columns are q"),
        (functools.partial(named), MAPPING, None, "the parameter 'missing' of 'named'"),
        (Judge(), {"q": 1}, None, "the parameter 'a' of 'Judge'"),
        (nothing, MAPPING, None, "'nothing' takes none of the columns q, a, n: give it a parameter for one"),
        (strangers, MAPPING, None, "'strangers' takes none of the columns"),
        (int, MAPPING, None, "'int' takes none of the columns"),
        (nothing, "text", None, "'nothing' takes nothing, and each row is a single value of type str: .* fill 'a parameter'"),
        (named, "text", None, "'named' takes missing, q, and each row is a single value of type str: no column can fill 'q'"),
        (one, ("Q", "A"), None, r"'one' takes 1 positional parameters and would be given 2 \(the row's columns, in order\): change its parameters, or name the columns, as in columns='question,answer'"),
        (lambda x, y=1: None, (1, 2, 3), None, "takes 1 to 2 positional parameters and would be given 3"),
        (lambda x, y, *z: None, (1,), None, "takes 2 or more positional parameters and would be given 1"),
        (keyword, ("Q", "A"), None, "the parameter 'model' of 'keyword' can be filled by no column, as these have no names"),
        (one, MAPPING, "q,missing", "no column 'missing' in the first row, which has: q, a, n"),
        (one, ("Q", "A"), "q,a,n", r"columns names 3 columns \(q, a, n\), and the first row has 2"),
        (one, "text", "q,a", r"columns names 2 columns \(q, a\), and the rows are single values of type str"),
    ],
)  # fmt: skip
def test_parameter_that_no_column_fills_is_an_error(call: Any, row: Any, columns: Any, message: str) -> None:
    """What does not fit is an error that names the parameter, the columns, and what to do."""
    with pytest.raises(BindingError, match=message):
        called(call, row, columns)


@pytest.mark.parametrize(
    ("call", "row", "message"),
    [
        (
            one,
            (1, 2, 3),
            "the rows have 3 columns and no names, so it is not known which of them 'one' gets: name them",
        ),
        (one, (1,), "the rows have 1 column and no names"),
        (one, ("I", "E"), r"'one' takes 1 .* given 2 \(the task's output and the expected one\)"),
        (lambda x, y, output: None, "text", "takes x, y, and each row is a single value of type str"),
        (
            lambda output, x, y: None,
            Data(),
            "the parameter 'x' of '<lambda>' .* the columns are q, a, id, output",
        ),
    ],
)
def test_scorer_that_does_not_fit_behind_a_task_is_an_error(call: Any, row: Any, message: str) -> None:
    """A scorer behind a task that cannot be given its parameters is an error that says why."""
    with pytest.raises(BindingError, match=message):
        called(call, row, output="O")


def test_task_that_does_not_fit_is_an_error() -> None:
    """A task that takes two parameters cannot be given a pair's one input."""
    with pytest.raises(BindingError, match=r"takes 2 positional parameters and would be given 1 \(the input\)"):
        called(lambda x, y: None, ("I", "E"), task=True)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("", "the column ''"),
        ("q,,a", "the column ''"),
        ("q a", "the column 'q a'"),
        ("q,q", "the column 'q' is named twice"),
        (["q", "2"], "the column '2'"),
        (["q", 2], "columns=.*2"),
        (5, "columns=5"),
    ],
)
def test_columns_that_are_no_names_are_refused(columns: Any, message: str) -> None:
    """Names of columns must be names, each its own."""
    with pytest.raises(ConfigurationError, match=message):
        columns_of(columns)


def test_no_columns() -> None:
    """Where no columns were named, there are none."""
    assert columns_of(None) is None


@pytest.mark.parametrize(
    ("call", "first", "row", "message"),
    [
        (lambda q: q, {"q": 1}, {"x": 1, "y": 2}, "has no column 'q': it has x, y"),
        (lambda q: q, {"q": 1}, ("Q", "A"), r"is a tuple where the first row is a dict: \('Q', 'A'\)"),
        (lambda q: q, {"q": 1}, ["x" * 99], r"is a list where the first row is a dict: .*\.\.\."),
        (lambda x, y: x, (1, 2), (1, 2, 3), r"has 3 columns where the first row has 2: \(1, 2, 3\)"),
        (lambda x, y: x, (1, 2), (1,), r"has 1 column where the first row has 2: \(1,\)"),
        (lambda x, y: x, (1, 2), {"q": 1}, "is a dict where the first row is a tuple"),
        (lambda a: a, Pair("Q", "A"), "text", "is a str where the first row is a Pair: 'text'"),
        (lambda q: q, Data(), SimpleNamespace(), "is a SimpleNamespace where the first row is a Data"),
    ],
)
def test_row_that_does_not_fit_is_its_samples_error(call: Any, first: Any, row: Any, message: str) -> None:
    """A later row that is not like the first one is an error that names the column, or what the row is."""
    bound = bind(call, Shape.of(first, None))
    with pytest.raises(RowError, match=f"^{message}"):
        bound(Sample(1, 1, 0, row))


@pytest.mark.parametrize("first", [{"q": 1}, ("Q",), "text", Data()])
def test_unreadable_row_raises_its_own_error(first: Any) -> None:
    """A row that a file could not give raises the file's error, whatever the rows are like."""
    error = RowError("is not JSON")
    bound = bind(lambda q: q, Shape.of(first, None))
    with pytest.raises(RowError) as caught:
        bound(Sample(1, 1, 0, UnreadableRow(error)))
    assert caught.value is error


def test_rows_of_another_kind_that_fit_are_taken() -> None:
    """Rows may change between tuple and list, and objects may be of another class, if their columns are there."""
    assert bind(lambda x, y: (x, y), Shape.of((1, 2), None))(Sample(1, 1, 0, [3, 4])) == (3, 4)
    assert bind(lambda q: q, Shape.of(Data(), None))(Sample(1, 1, 0, SimpleNamespace(q="other"))) == "other"


@pytest.mark.parametrize(
    ("row", "columns", "expected", "has_ids"),
    [
        ({"id": "x-1", "q": 1}, None, "x-1", True),
        ({"id": 12}, None, 12, True),
        ({"id": None}, None, 7, True),
        ({"q": 1}, None, 7, True),
        ({"id": 1.5}, None, "1.5", True),
        ({"id": "x", "q": 1}, "q", "x", True),
        ((1, "x"), "q,id", "x", True),
        ((1, "x"), None, 7, False),
        (WithId("x", "Q"), None, "x", True),
        (Data(), None, "d-1", True),
        (Attrs(), None, 7, False),
        ("text", None, 7, False),
    ],
)
def test_rows_own_id_is_the_samples(row: Any, columns: Any, expected: Any, has_ids: bool) -> None:
    """A sample's id is its row's own id, by key, column or attribute; else its index."""
    shape = Shape.of(row, columns_of(columns))
    assert shape.has_ids is has_ids
    assert shape.id_of(row, 7) == expected


@pytest.mark.parametrize(("first", "row"), [({"id": 1}, ("x",)), (Pair("Q", "A"), "text"), (Data(), {"id": 1})])
def test_row_that_does_not_fit_has_its_index_for_an_id(first: Any, row: Any) -> None:
    """A row that is not like the first one is known by its index."""
    assert Shape.of(first, None).id_of(row, 7) == 7


def test_short_row_has_its_index_for_an_id() -> None:
    """A tuple too short to hold its id is known by its index."""
    assert Shape.of((1, "x"), ("q", "id")).id_of((1,), 7) == 7


def test_pydantic_model_binds_by_its_fields() -> None:
    """A pydantic model's fields are its columns, and its id is the sample's."""
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")
    row = pydantic.create_model("Row", q=(str, "Q"), a=(str, "A"), id=(str, "p-1"))()
    assert called(lambda a, q: (a, q), row) == ("A", "Q")
    assert called(lambda whole: whole, row) is row
    assert Shape.of(row, None).id_of(row, 7) == "p-1"


NAMES = st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=6, unique=True)


@given(names=NAMES, data=st.data())
def test_whatever_the_names_and_their_order(names: list[str], data: st.DataObject) -> None:
    """Each of a call's parameters gets the column of its name, for mappings and named tuples alike."""
    names = [f"c_{name}" for name in names]
    wanted = data.draw(
        st.permutations(names).flatmap(lambda order: st.integers(1, len(order)).map(lambda n: order[:n]))
    )
    scope: dict[str, Any] = {}
    exec(f"def call({', '.join(wanted)}): return [{', '.join(wanted)}]", scope)
    row = {name: place for place, name in enumerate(names)}
    expected = [row[name] for name in wanted]
    assert called(scope["call"], row) == expected
    assert called(scope["call"], tuple(row.values()), names) == expected
