from __future__ import annotations

import collections
import enum
import json
import math
import os
import subprocess
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from unittest.mock import MagicMock
from uuid import UUID

import attrs
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, SecretStr, model_serializer

from aeval.result import Failure, Result, RetriedAttempt, Usage
from aeval.score import Score
from aeval.storage import codec
from aeval.storage.codec import decode, decode_value, digest_of, encode, encode_value


def strict(text: bytes) -> Any:
    """Read a line of JSON as the strictest of readers does."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert b"\n" not in text
    assert b"\r" not in text
    msgspec.json.decode(text)
    return json.loads(text, parse_constant=refuse)


def written(value: Any) -> Any:
    """Return what is written of a value, whichever way it takes."""
    quick, slow = strict(encode_value([value])), strict(encode_value([value, "\ud800"]))
    assert quick[0] == slow[0]
    return quick[0]


def result_of(**fields: Any) -> Result[Any, Any]:
    return Result.restored(
        **{
            "id": "a",
            "index": 3,
            "repeat": 0,
            "evaluation": "sums",
            "row": ("2+2", "4"),
            "output": None,
            "scores": {"match": Score(True, "match")},
            "error": None,
            "attempts": 1,
            "times": (0.5, 0.0, 0.0, 0.0, 0.25),
            "usage": None,
            "metadata": {},
            "retried": (),
            **fields,
        }
    )


def same(a: Any, b: Any) -> bool:
    """Tell whether two values of JSON are the same, down to the sign of a zero and the type of a number."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(item, b[key]) for key, item in a.items())
    return a == b


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)
    NONE = math.nan


class Level(enum.IntFlag):
    LOW = 1
    HIGH = 2


class Label(enum.StrEnum):
    GOOD = "good"

    def __str__(self) -> str:
        return "something else"


class Pair(NamedTuple):
    left: int
    right: Any


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Whole(int): ...


class Real(float): ...


class Bytes(bytes): ...


class Span(timedelta): ...


class Moment(datetime): ...


class Id(UUID): ...


class Sum(Decimal): ...


@dataclass
class Point:
    x: Any
    _y: Any = 2
    unit: ClassVar[str] = "m"


@attrs.define
class Tree:
    leaf: Any
    _private: Any = 2


class Undecorated(Tree):
    """Of which msgspec knows nothing, unlike of `Tree`."""

    def __init__(self, leaf: Any) -> None:
        super().__init__(leaf)
        self.api_key = "sk-secret"


class Tagged(msgspec.Struct, tag="t", rename="camel"):
    the_value: Any
    never: Any = msgspec.UNSET


class Untagged(msgspec.Struct):
    value: Any


class Inner(BaseModel):
    name: Any = Field(alias="theName")
    hidden: str = Field(default="sk-secret", exclude=True)


class Outer(BaseModel):
    inner: Inner
    many: list[Inner] = []
    key: SecretStr = SecretStr("sk-secret")


class Broken(BaseModel):
    x: int = 1
    hidden: str = Field(default="sk-secret", exclude=True)

    @model_serializer
    def serialize(self) -> dict[str, Any]:
        raise RuntimeError


class Plain:
    """A user's object, of which nothing but its repr may be looked at."""

    def __init__(self) -> None:
        self.api_key = "sk-secret"


class NoRepr:
    def __repr__(self) -> str:
        raise RuntimeError


class BadRepr:
    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]


class HalfRepr:
    def __repr__(self) -> str:
        return "half \ud800\n of a pair"


class Raising:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Answering:
    def __getattr__(self, name: str) -> Any:
        return lambda *args, **keywords: self


class Meta(type):
    def __getattr__(cls, name: str) -> Any:
        return {}


class AnsweringClass(metaclass=Meta): ...


class BrokenMapping(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise RuntimeError

    def __iter__(self) -> Any:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


class BrokenList(list[int]):
    def __iter__(self) -> Any:
        raise RuntimeError


class Forever:
    def tolist(self) -> Any:
        return [Forever()]


class Itself:
    def tolist(self) -> Any:
        return Itself()


class Row:
    """As a row of SQLAlchemy's is."""

    def _asdict(self) -> dict[str, Any]:
        return {"a": math.nan}


NAN = {"$float": "nan"}


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (b"\x00\xff", "AP8="),
        (bytearray(b"a"), "YQ=="),
        (memoryview(b"a"), "YQ=="),
        (Bytes(b"a"), "YQ=="),
        ({3}, [3]),
        (frozenset("a"), ["a"]),
        (math.nan, NAN),
        (math.inf, {"$float": "inf"}),
        ([{"a": (-math.inf,)}], [{"a": [{"$float": "-inf"}]}]),
        (datetime(2020, 1, 2, 3, tzinfo=UTC), "2020-01-02T03:00:00Z"),
        (Moment(2020, 1, 2, 3), "2020-01-02T03:00:00"),
        (date(2020, 1, 2), "2020-01-02"),
        (time(1, 2, 3), "01:02:03"),
        (timedelta(days=1, seconds=1.5), "P1DT1.5S"),
        (Span(days=1), "P1D"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Id(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (Sum("NaN"), "NaN"),
        (Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Colour.PAIR, [1, 2]),
        (Colour.NONE, NAN),
        (Level.LOW | Level.HIGH, 3),
        (Label.GOOD, "good"),
        (Text("a"), "a"),
        (Whole(5), 5),
        (Real(0.5), 0.5),
        (Real("nan"), NAN),
        (1 + 2j, {"$object": "builtins.complex", "repr": "(1+2j)"}),
        (2**64, 2**64),
        (-(10**100), -(10**100)),
        (16**5000, {"$int": "0x1" + "0" * 5000}),
        ("a\\\ud800é", {"$str": "a\\\\\\ud800é"}),
        ({"\udfff": 1}, {"$dict": [[{"$str": "\\udfff"}, 1]]}),
        ({"$int": "5"}, {"$dict": [["$int", "5"]]}),
        ({"$dict": 1, "b": 2}, {"$dict": 1, "b": 2}),
        ({"$ref": "#/a"}, {"$ref": "#/a"}),
        ({1: "a", 1.5: "b", None: "c"}, {"1": "a", "1.5": "b", "null": "c"}),
        ({True: 1}, {"true": 1}),
        ({(1, "b"): 1}, {'[1,"b"]': 1}),
        ({math.nan: 1}, {"nan": 1}),
        ({Colour.RED: 1, b"a": 2, UUID(int=1): 3}, {"red": 1, "YQ==": 2, str(UUID(int=1)): 3}),
        ({Text("a"): 1, Whole(2): 2, np.int64(3): 3}, {"a": 1, "2": 2, "3": 3}),
        (Pair(1, math.nan), [1, NAN]),
        (collections.deque([1, b"a"]), [1, "YQ=="]),
        (range(3), [0, 1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.UserDict(a=math.nan), {"a": NAN}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (Point(1), {"x": 1, "_y": 2}),
        (Point(Point(math.nan)), {"x": {"x": NAN, "_y": 2}, "_y": 2}),
        (Tree(1), {"leaf": 1}),
        (Tree([Tree(math.inf)]), {"leaf": [{"leaf": {"$float": "inf"}}]}),
        (Undecorated(1), {"leaf": 1}),
        (Tagged(1), {"type": "t", "theValue": 1}),
        (Untagged({math.nan}), {"value": [NAN]}),
        (Inner(theName="a"), {"name": "a"}),
        (
            Outer(inner=Inner(theName=math.nan), many=[Inner(theName=b"a")]),
            {
                "inner": {"name": NAN},
                "many": [{"name": "YQ=="}],
                "key": {"$object": "pydantic.types.SecretStr", "repr": "SecretStr('**********')"},
            },
        ),
        (RootModel[list[int]]([1]), [1]),
        (Inner.model_construct(name=5, hidden=5), {"name": 5}),
        (Broken(), {"x": 1}),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(5), 5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([[1.0, math.nan]]), [[1.0, NAN]]),
        (np.array([Point(1)], dtype=object), [{"x": 1, "_y": 2}]),
        (np.datetime64("2020-01-02"), "2020-01-02"),
        (Row(), {"a": NAN}),
        (ValueError("no"), {"$object": "builtins.ValueError", "repr": "ValueError('no')"}),
        (int, {"$object": "builtins.type", "repr": "<class 'int'>"}),
        (..., {"$object": "builtins.ellipsis", "repr": "Ellipsis"}),
        (msgspec.Raw(b'{"a":\n1}'), {"a": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_forms(value: Any, form: Any) -> None:
    """What JSON cannot hold is written in the form that is stated, whatever stands beside it."""
    assert written(value) == form


def test_long_double() -> None:
    """A number of numpy's that Python has no type for is written as its repr."""
    assert written(np.longdouble(1))["repr"] == repr(np.longdouble(1))


@pytest.mark.parametrize(
    "value",
    [
        Plain(),
        Raising(),
        Answering(),
        AnsweringClass(),
        NoRepr(),
        BadRepr(),
        HalfRepr(),
        MagicMock(),
        object(),
        Itself(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(
    "hold",
    [
        lambda o: o,
        lambda o: [o],
        lambda o: {"a": (o,)},
        Point,
        Tree,
        Untagged,
        lambda o: {o: 1},
        lambda o: Inner(theName=o),
    ],
)
def test_objects(value: Any, hold: Any) -> None:
    """Of an object that says nothing of its data, its class and its repr are written, without secrets or addresses."""
    text = encode_value(hold(value))
    strict(text)
    # Around some, pydantic puts an object of its own.
    assert type(value).__qualname__ in text.decode()
    assert b"sk-secret" not in text
    assert str(id(value)) not in text.decode()
    assert f"{id(value):x}" not in text.decode().lower()
    assert 0 <= digest_of("a", hold(value)) < 2**52


@pytest.mark.parametrize(
    "spec", [dict, list, str, int, float, Point, Path, Mapping, Inner, np.ndarray], ids=str
)
def test_pretenders(spec: Any) -> None:
    """A mock that pretends to be of another class is written as what it is."""
    assert written(MagicMock(spec=spec))["$object"] == "unittest.mock.MagicMock"


@pytest.mark.parametrize("value", [BrokenMapping(), BrokenList([1])], ids=lambda value: type(value).__name__)
def test_broken_containers(value: Any) -> None:
    """A container that raises when it is read is written as an object."""
    strict(encode_value({"a": value, "b": math.nan}))
    assert isinstance(digest_of("\ud800", {"a": value}), int)


def test_repr_is_cut() -> None:
    """A long repr is cut, and an object's address at the place of the cut leaves no trace."""

    class Long:
        def __repr__(self) -> str:
            return "x" * (codec.MOST_REPR - 6) + f" at {id(self):#x}"

    assert len(written(Long())["repr"]) == codec.MOST_REPR
    assert digest_of("a", Long()) == digest_of("a", Long())


def test_generator_is_left_alone() -> None:
    """A generator is not consumed."""
    numbers = iter([1, 2])
    generated = (number for number in [1, 2])
    for held in (numbers, generated):
        for holder in (held, [held], {"a": held}, Point(held), Inner(theName=held)):
            encode_value([holder, math.nan])
            encode(result_of(row=holder, output=holder))
            digest_of("a", holder)
    assert list(numbers) == list(generated) == [1, 2]


def cycles() -> list[Any]:
    plain: list[Any] = []
    plain += [plain, plain]
    mapping: dict[str, Any] = {}
    mapping["a"] = {"b": mapping, "c": [mapping]}
    point = Point(1)
    point.x = [point, point]
    tree = Tree(1)
    tree.leaf = {"a": tree}
    struct = Untagged(1)
    struct.value = (struct,)
    model = Inner(theName=1)
    model.name = [model]
    array = np.array([None], dtype=object)
    array[0] = array
    return [plain, mapping, point, tree, struct, model, array, Forever()]


@pytest.mark.parametrize("value", cycles(), ids=lambda value: type(value).__name__)
def test_cycles(value: Any) -> None:
    """What holds itself is written as far as it goes, in little space."""
    assert len(encode_value({"a": value})) < 30_000
    strict(encode_value({"a": value}))
    assert digest_of("a", value) == digest_of("a", value)


def test_shared_is_no_cycle() -> None:
    """What merely stands in two places is written in both."""
    shared = [math.nan]
    assert written([shared, shared]) == [[NAN], [NAN]]


@pytest.mark.parametrize("depth", [90, 500, 5_000, 100_000])
@pytest.mark.parametrize(
    "wrap", [lambda v: [v], lambda v: {"a": v}, lambda v: {"$dict": v}, lambda v: (v, math.nan)]
)
def test_deep(depth: int, wrap: Any) -> None:
    """What is nested too deep for JSON is written as far as it goes, and can be read."""
    value: Any = "leaf"
    for _ in range(depth):
        value = wrap(value)
    text = encode_value(value)
    strict(text)
    decode_value(text)
    assert digest_of("a", value) == digest_of("a", value)
    assert depth > 90 or "leaf" in str(decode_value(text))
    while isinstance(value, (list, dict, tuple)):  # Taken apart, since Python itself may fail to let go of it.
        value = value[0] if isinstance(value, (list, tuple)) else next(iter(value.values()))


def test_deep_json_of_others() -> None:
    """JSON that is nested deeper than it can be read is read without what is too deep."""
    body = b'{"a":[1,"]\\"["],"b":' + b'[{"x":' * 5_000 + b"1" + b"}]" * 5_000 + b',"c":2}'
    read = decode_value(body)
    assert (read["a"], read["c"]) == ([1, ']"['], 2)
    assert "nested too deep" in str(read["b"])


texts = st.text(st.characters(exclude_categories=()))
keys = texts | st.sampled_from(["$float", "$int", "$str", "$dict", "$object", "$", "$ref"])
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats()
    | texts
    | st.sampled_from(
        ["nan", "inf", "5", "0x5", "\\ud800", "$5", "null", -0.0, 10**3000, -(10**4250), 2**64, -(2**63)]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=3)
        | st.builds(lambda key, item: {key: item}, keys, inner)
    ),
    max_leaves=12,
)


@given(json_values)
@settings(deadline=None, max_examples=400)
def test_round_trip(value: Any) -> None:
    """Data of JSON come back as they were, also where they look like a form."""
    text = encode_value(value)
    try:
        json.dumps(value)
    except ValueError:  # Python's own reader refuses integers of so many digits.
        msgspec.json.decode(text)
    else:
        strict(text)
    assert same(decode_value(text), value)


@given(json_values)
@settings(deadline=None)
def test_round_trip_slow(value: Any) -> None:
    """Beside what needs a form data come back as they were, too."""
    assert same(decode_value(encode_value([value, math.nan]))[0], value)


@pytest.mark.parametrize(
    "data",
    [
        {"$float": "nan"},
        {"$float": 5},
        {"$int": "5"},
        {"$str": "\\ud800"},
        {"$dict": [["a", 1]]},
        {"$dict": {"$dict": []}},
        {"$object": "a", "repr": "b"},
        {"$object": "a"},
        {"a": {"$int": {"$int": "1"}}},
    ],
)
def test_data_like_forms(data: Any) -> None:
    """Data that look like a form come back as the data that they are."""
    assert decode_value(encode_value(data)) == data
    assert decode(encode(result_of(row=data, output=data, metadata=data)), "sums") == result_of(
        row=data, output=data, metadata=data
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"$int":"abc"}',
        '{"$int":5}',
        '{"$int":null}',
        '{"$int":"' + "9" * 5000 + '"}',
        '{"$float":"1.5"}',
        '{"$float":["nan"]}',
        '{"$str":5}',
        '{"$dict":5}',
        '{"$dict":["ab"]}',
        '{"$dict":{"ab":1}}',
        '{"$dict":[["a"]]}',
        '{"$dict":[["a",1,2]]}',
        '{"$dict":[[["a"],1]]}',
        '[{"$int":{"$int":"x"}}]',
    ],
)
def test_malformed_forms(text: str) -> None:
    """What only looks like a form is read as the data that it is."""
    assert decode_value(text.encode()) == json.loads(text)


def test_forms_in_malformed_forms() -> None:
    """What is well-formed within what only looks like a form is read as what it is."""
    assert decode_value(b'{"$str":{"$str":"a"}}') == {"$str": "a"}
    assert decode_value(b'{"$dict":[[{"$dict":[]},1]]}') == {"$dict": [[{}, 1]]}


def test_odd_escapes() -> None:
    """A text whose escapes somebody else wrote is read as far as it makes sense."""
    assert decode_value(b'{"$str":"\\\\q\\\\ud83d\\\\ude0\\\\"}') == "\\q\ud83d\\ude0\\"


def test_layout() -> None:
    """The layout of a plain result is the one that storages hold."""
    assert encode(result_of()) == (
        b'{"id":"a","index":3,"row":["2+2","4"],"scores":{"match":{"value":true}},"times":[0.5,0.0,0.0,0.0,0.25]}'
    )


def test_layout_of_all_fields() -> None:
    """Each field has its place."""
    full = result_of(
        repeat=1,
        output="4",
        scores={"match": Score(1.5, "match", "why", {"a": None})},
        attempts=2,
        usage=Usage(input_tokens=5, requests=1),
        metadata={"b": None},
        retried=(RetriedAttempt("E", "m", 429, True, 0.5, 1.0),),
    )
    assert json.loads(encode(full)) == {
        "id": "a",
        "index": 3,
        "repeat": 1,
        "row": ["2+2", "4"],
        "output": "4",
        "scores": {"match": {"value": 1.5, "reason": "why", "metadata": {"a": None}}},
        "attempts": 2,
        "times": [0.5, 0.0, 0.0, 0.0, 0.25],
        "usage": {"input_tokens": 5, "requests": 1},
        "metadata": {"b": None},
        "retried": [
            {"kind": "E", "message": "m", "status": 429, "refused": True, "duration": 0.5, "backoff": 1.0}
        ],
    }
    assert list(json.loads(encode(full))) == list(json.loads(encode_value(json.loads(encode(full)))))
    assert decode(encode(full), "sums", "tuple") == full


counts = st.integers(0, 2**40)
seconds = st.floats(0, 1e6)
metadata = st.dictionaries(keys, json_values, max_size=2)
scores = st.dictionaries(
    keys,
    st.builds(
        Score,
        value=st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
        reason=st.none() | texts,
        metadata=metadata,
    ),
    min_size=1,
    max_size=2,
)
failures = st.builds(
    lambda traceback, **fields: Failure(**fields, chain=(((), traceback, ""),)),
    traceback=texts,
    kind=texts,
    message=texts,
    retriable=st.booleans(),
    status=st.none() | st.integers(0, 599),
    refused=st.booleans(),
)
results = st.builds(
    lambda scores, error, **fields: result_of(
        **fields,
        error=error,
        scores={name: attrs.evolve(score, name=name) for name, score in scores.items()}
        if error is None
        else {},
    ),
    id=texts | st.integers(),
    index=counts,
    repeat=counts,
    row=json_values,
    output=json_values,
    scores=scores,
    error=st.none() | failures,
    attempts=st.integers(1, 9),
    times=st.tuples(seconds, seconds, seconds, seconds, seconds) | st.just(()),
    usage=st.none() | st.builds(Usage, counts, counts, counts, counts),
    metadata=metadata,
    retried=st.lists(
        st.builds(RetriedAttempt, texts, texts, st.none() | counts, st.booleans(), seconds, seconds), max_size=2
    ).map(tuple),
)


@given(results)
@settings(deadline=None, max_examples=300)
def test_results_round_trip(result: Result[Any, Any]) -> None:
    """A result comes back field by field."""
    back = decode(encode(result), "sums")
    for name in (field.name for field in attrs.fields(type(result))):
        if name in {"row", "output", "metadata"}:
            assert same(getattr(back, name), getattr(result, name))
        elif name not in {"scores", "error"}:
            assert getattr(back, name) == getattr(result, name)
    assert (
        list(back.scores) == list(result.scores) or not encode(result).isascii() or b'"$dict"' in encode(result)
    )
    for name, score in result.scores.items():
        kept = back.scores[name]
        assert same(
            [kept.value, kept.name, kept.reason, kept.metadata],
            [score.value, name, score.reason, score.metadata],
        )
    assert (back.error is None) == (result.error is None)
    if result.error is not None and back.error is not None:
        for name in ("kind", "message", "retriable", "status", "refused", "traceback"):
            assert getattr(back.error, name) == getattr(result.error, name)


def test_traceback_comes_back() -> None:
    """The traceback of an exception comes back as its text."""
    try:
        raise ValueError("no\ud800")
    except ValueError as error:
        failure = Failure.of(error)
    back = decode(encode(result_of(error=failure, scores={})), "sums").error
    assert back is not None
    assert "ValueError: no\ud800" in failure.traceback
    assert back.traceback == failure.traceback


@pytest.mark.parametrize(
    ("row", "row_type", "back"),
    [
        ((1, (2, math.nan)), "tuple", (1, [2, math.nan])),
        ([1], None, [1]),
        ((1,), None, [1]),
        ({"a": 1}, "tuple", {"a": 1}),
        (5, "tuple", 5),
    ],
)
def test_tuple_rows(row: Any, row_type: str | None, back: Any) -> None:
    """Rows that were tuples come back as tuples."""
    read = decode(encode(result_of(row=row)), "sums", row_type).row
    assert type(read) is type(back)
    assert repr(read) == repr(back)


@pytest.mark.parametrize(
    "junk",
    [
        np.array([1, 2]),
        np.array([]),
        Plain(),
        NoRepr(),
        MagicMock(),
        Raising(),
        {1: {2}},
        [],
        None,
        "\ud800",
        math.nan,
    ],
    ids=lambda value: type(value).__name__,
)
def test_junk_everywhere(junk: Any) -> None:
    """Whatever stands in any place that a user fills, the result is written and can be read."""
    result = result_of(
        row=junk,
        output=junk,
        metadata={"a": junk},
        scores={"match": Score(False, "match", junk, junk), "\ud800": Score(junk, "x", metadata={"a": junk})},
    )
    text = encode(result)
    strict(text)
    assert decode(text, "sums").scores["match"].value is False
    strict(encode(result_of(metadata=junk)))
    assert 0 <= digest_of("a", junk) < 2**52


ROWS = """
import enum, math
from datetime import datetime, UTC
from decimal import Decimal
from unittest.mock import MagicMock
from aeval.storage.codec import digest_of

class Plain: pass
class Colour(enum.Enum):
    RED = "red"; BLUE = "blue"; GREEN = "green"

names = ["alpha", "beta", "gamma", "delta", "epsilon"]
rows = [
    set(names), {"tags": frozenset(names)}, {1, "a", None, (2, "b")}, set(Colour), {name: 1 for name in set(names)},
    {1: set(names), None: 2, "\\ud800": 3, (1, frozenset(names)): {"$int": 1}}, {"\\ud800" + name: 1 for name in set(names)},
    Plain(), [Plain(), MagicMock(), MagicMock(name="m").child, lambda: 0, (x for x in ())], ValueError(Plain()),
    {Plain(): 1}, math.nan, -0.0, 2**70, Decimal("1.5"), datetime(2020, 1, 1, tzinfo=UTC), b"bytes",
    {"a": {"b": set(names)}, "c": math.nan}, ("q", "a"), {"$str": set(names)}, Ellipsis, 16**5000,
]
print([digest_of("id", row) for row in rows])
"""


def test_digest_in_other_processes() -> None:
    """A row has one digest in all processes, in whatever order they keep sets."""
    printed = [
        subprocess.run(
            [sys.executable, "-c", ROWS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2", "3")
    ]
    assert len(set(printed)) == 1
    digests = json.loads(printed[0])
    assert len(set(digests)) == len(digests)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(item) for key, item in reversed(value.items())}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(texts | st.integers(), json_values)
@settings(deadline=None)
def test_digest_and_order(sample_id: str | int, row: Any) -> None:
    """The order of a mapping's keys is no change of a row."""
    assert digest_of(sample_id, row) == digest_of(sample_id, reordered(row))
    assert 0 <= digest_of(sample_id, row) < 2**52


@given(json_values, json_values)
@settings(deadline=None)
def test_digest_tells_rows_apart(one: Any, other: Any) -> None:
    """A row that changed, however little, or a sample of another id has another digest."""
    assert (digest_of("a", one) == digest_of("a", other)) == same(one, other)
    assert digest_of("a", one) != digest_of("b", one)
    assert digest_of(1, one) != digest_of("1", one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, math.nan),
        (math.inf, math.nan),
        (0.0, -0.0),
        (1, True),
        (1, 1.0),
        ({1: "a"}, {1: "b"}),
        ({1: "a", "1": "b"}, {1: "c", "1": "b"}),
        ({"\ud800": 1}, {"\ud801": 1}),
        ([{1}, {2}], [{2}, {1}]),
        (Point(1), Point(2)),
        (Outer(inner=Inner(theName=1)), Outer(inner=Inner(theName=2))),
        (ValueError(1), ValueError(2)),
        (b"a", b"b"),
        (2**64, 2**64 + 1),
        ("\\ud800", "\ud800"),
    ],
)
def test_digest_of_small_changes(one: Any, other: Any) -> None:
    """Values that JSON would not tell apart have digests of their own."""
    assert digest_of("a", one) != digest_of("a", other)
    assert digest_of("a", [one]) != digest_of("a", [other])


def test_all() -> None:
    """The public names are sorted."""
    assert codec.__all__ == sorted(codec.__all__, key=lambda name: (not name.isupper(), name))
