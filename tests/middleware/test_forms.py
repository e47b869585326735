from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval import Score
from aeval.middleware.forms import Formless, canonical, decoded, encoded, form_of

texts = st.text(st.characters(codec=None, exclude_categories=()))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(texts | st.just("@"), inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.booleans(), inner)
        | st.frozensets(st.integers() | texts)
    ),
    max_leaves=20,
)


class Colour(enum.Enum):
    RED = "red"


class Place(NamedTuple):
    x: int
    y: Any


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    parts: Any = ()


@dataclass
class Derived:
    text: str
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.text)


@attrs.frozen
class Verdict:
    value: Any
    _hidden: int = 0


class Packet(msgspec.Struct, frozen=True, rename="camel"):
    some_value: Any


class Message(pydantic.BaseModel, extra="allow"):
    role: str
    content: Any = None
    _note: str = pydantic.PrivateAttr("")


def shape(value: Any) -> Any:
    """Return a value with its types, which equality passes over."""
    if isinstance(value, dict):
        return dict, [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [shape(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return type(value), value
    return type(value), repr(value)


@given(values)
def test_values_come_back_exactly(value: Any) -> None:
    """What is written comes back with every type, number, key and order as it was."""
    assert shape(decoded(encoded(value))) == shape(value)


@pytest.mark.parametrize(
    "value",
    [
        Answer("a", parts=[Answer("b"), (1, 2)]),
        Derived("abc"),
        Verdict({"a": Colour.RED}, hidden=3),
        Packet([Packet(1)]),
        Place(1, Place(2, None)),
        Score(True, "right", metadata={"n": 1}),
        [datetime(2025, 1, 2, 3, tzinfo=UTC), date(2025, 1, 2), Decimal("1.10"), UUID(int=5)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_objects_come_back_as_their_class(value: Any) -> None:
    """Objects of dataclasses, attrs, msgspec and their like come back equal, and of their own class."""
    back = decoded(encoded(value))
    assert type(back) is type(value)
    assert back == value


def test_pydantic_models_come_back_as_they_were() -> None:
    """A pydantic model comes back with its extra fields and private attributes, and without being validated again."""
    message = Message.model_construct(role=3, content=Message(role="user"), more=[1])
    message._note = "kept"
    back = decoded(encoded(message))
    assert back == message
    assert (back.role, back.more, back._note, back.model_fields_set) == (
        3,
        [1],
        "kept",
        message.model_fields_set,
    )


def local() -> Any:
    @dataclass
    class Local:
        text: str

    return Local("x")


class Opened:
    pass


def extended() -> Any:
    value = Derived("abc")
    value.more = 1  # type: ignore[attr-defined]
    return value


def cyclic() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [Opened(), [local()], extended(), object, lambda: 1, cyclic(), 1j])
def test_what_cannot_come_back_is_refused(value: Any) -> None:
    """An object that could not be restored as it was is refused, and not altered."""
    with pytest.raises(Formless):
        encoded(value)


@pytest.mark.parametrize(
    "text",
    [
        b"no JSON",
        b'{"@":"unknown","of":1}',
        b'{"@":"object","type":"builtins:len","of":{}}',
        b'{"@":"object","type":"os:system","of":{}}',
        b'{"@":"object","type":"test_forms:Answer","of":{"text":"a"}}',
        b'{"@":"object","type":"test_forms:Gone","of":{}}',
        b'{"@":"word","type":"test_forms:Answer","of":"a"}',
    ],
)
def test_what_is_damaged_or_foreign_is_not_read(text: bytes) -> None:
    """A form that is damaged, or whose class is another one now, is an error and never a wrong value."""
    with pytest.raises(Exception, match=r"."):
        decoded(text)


def test_order_of_keys_makes_no_other_key() -> None:
    """Mappings with the same items in another order have the same canonical form."""
    assert canonical(form_of({"a": 1, "b": [2]})) == canonical(form_of({"b": [2], "a": 1}))
    assert canonical(form_of([1])) != canonical(form_of((1,)))
    assert canonical(form_of(1)) != canonical(form_of(True)) != canonical(form_of("1"))
