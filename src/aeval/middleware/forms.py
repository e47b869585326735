"""Values in a form that JSON holds, and back exactly as they were.

A storage of results may write a tuple as an array; a cache must not, since what it gives back stands in for the
call's own answer. So each type that JSON does not have is written with its name, and what cannot be restored is
refused. Nothing but data is ever read: classes are imported by name and their fields set.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import sys
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from importlib import import_module
from typing import Any, TypeAlias
from uuid import UUID

import attrs
import msgspec

__all__ = ["Formless", "canonical", "decoded", "encoded", "form_of", "path_of", "value_of"]

# Says what a mapping stands for; a mapping of somebody's that has this key is written as pairs.
TAG = "@"
WORDS = (date, datetime, Decimal, UUID)

Hook: TypeAlias = Callable[[Any], Any]

_encode: Callable[[Any], bytes] = msgspec.json.Encoder(order="deterministic").encode
_encode_in_order: Callable[[Any], bytes] = msgspec.json.Encoder().encode
_decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


class Formless(Exception):
    """A value that has no form from which it can be told again.

    :ivar type: path of the value's class
    """

    def __init__(self, value: object) -> None:
        self.type = path_of(type(value))
        super().__init__(self.type)


def path_of(kind: type) -> str:
    """Return where a class is found, as in `"package.module:Class"`."""
    return f"{kind.__module__}:{kind.__qualname__}"


def encoded(value: Any) -> bytes:
    """Write a value as JSON from which exactly the same can be made again.

    :raises Formless: if there is no such form
    """
    form = form_of(value)
    text = _encode_in_order(form)
    if form is not value and f'"{TAG}"'.encode() in text and not _comes_back(text):
        raise Formless(value)
    return text


def decoded(text: bytes) -> Any:
    """Read what `encoded` wrote.

    :raises Exception: of whatever kind, if it is not that, or if one of its classes is not what it was
    """
    return value_of(_decode(text))


def canonical(form: Any) -> bytes:
    """Write a form so that the order of a mapping's keys makes no difference."""
    return _encode(form)


def form_of(value: Any, hook: Hook | None = None) -> Any:
    """Return the form of a value.

    :param value: any value
    :param hook: called with each value in it that is none of Python's simplest; returns the value's form, or
        `NotImplemented` where it has none to give
    :raises Formless: if a value in it has no form
    """
    try:
        return _form(value, hook)
    except RecursionError:
        raise Formless(value) from None


def _form(value: Any, hook: Hook | None) -> Any:  # noqa: C901 - a line for each type
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return value if _is_text(value) else _tagged("str", value.encode("utf-8", "surrogatepass").hex())
    if kind is int:
        return value if -(1 << 63) <= value < 1 << 64 else _tagged("int", hex(value))
    if kind is float:
        return value if math.isfinite(value) else _tagged("float", str(value))
    if kind is list:
        return [_form(item, hook) for item in value]
    if kind is dict:
        if all(type(key) is str and key != TAG and _is_text(key) for key in value):
            return {key: _form(item, hook) for key, item in value.items()}
        return _tagged("dict", [[_form(key, hook), _form(item, hook)] for key, item in value.items()])
    if kind is tuple:
        return _tagged("tuple", [_form(item, hook) for item in value])
    if kind is set or kind is frozenset:
        return _tagged(kind.__name__, sorted((_form(item, hook) for item in value), key=_encode))
    if kind is bytes:
        return _tagged("bytes", base64.b64encode(value).decode())
    if hook is not None and (form := hook(value)) is not NotImplemented:
        return form
    return _form_of_object(value, kind, hook)


def _form_of_object(value: Any, kind: type, hook: Hook | None) -> Any:
    path = path_of(kind)
    if isinstance(value, Enum):
        if kind.__members__.get(value.name) is not value:  # type: ignore[attr-defined] # that an enum's class has
            raise Formless(value)  # several flags at once
        return _tagged("enum", value.name, path)
    if kind in WORDS:
        if isinstance(value, datetime) and (type(value.tzinfo) not in {type(None), timezone} or value.fold):
            raise Formless(value)
        return _tagged("word", str(value), path)
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return _tagged("named", [_form(item, hook) for item in value], path)
    if _is_pydantic(kind):
        return _tagged("model", _form(value.__getstate__(), hook), path)
    names = _names(kind)
    if names is None or (not isinstance(value, msgspec.Struct) and _attributes(value) != names):
        raise Formless(value)
    return _tagged("object", {name: _form(getattr(value, name), hook) for name in sorted(names)}, path)


def value_of(form: Any) -> Any:
    """Return the value that has a form.

    :raises Exception: of whatever kind, if it is no form, or if one of its classes is not what it was
    """
    if isinstance(form, list):
        return [value_of(item) for item in form]
    if not isinstance(form, dict):
        return form
    if TAG not in form:
        return {name: value_of(item) for name, item in form.items()}
    of = form["of"]
    if "type" in form:
        return _object(form[TAG], _class(form["type"]), of)
    return _MAKERS[form[TAG]](of)


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "str": lambda of: bytes.fromhex(of).decode("utf-8", "surrogatepass"),
    "int": lambda of: int(of, 16),
    "float": float,
    "bytes": base64.b64decode,
    "dict": lambda of: {value_of(key): value_of(item) for key, item in of},
    "tuple": lambda of: tuple(map(value_of, of)),
    "set": lambda of: set(map(value_of, of)),
    "frozenset": lambda of: frozenset(map(value_of, of)),
}


def _object(tag: str, kind: Any, of: Any) -> Any:
    if tag == "enum":
        return kind.__members__[of]
    if tag == "word" and kind in WORDS:
        return kind.fromisoformat(of) if issubclass(kind, date) else kind(of)
    if tag == "named" and tuple in kind.__mro__ and len(of) == len(kind._fields):
        return kind._make(map(value_of, of))
    if tag == "model" and _is_pydantic(kind):
        state = value_of(of)
        # The SDKs leave out what a server left out, and add attributes of their own.
        optional = {name for name, field in kind.__pydantic_fields__.items() if not field.is_required()}
        if state["__dict__"].keys() >= optional:
            made = kind.__new__(kind)
            made.__setstate__(state)
            return made
    elif tag == "object" and of.keys() == _names(kind):
        values = {name: value_of(item) for name, item in of.items()}
        if issubclass(kind, msgspec.Struct):
            return kind(**values)
        made = object.__new__(kind)
        for name, value in values.items():
            # By object's own: a frozen class refuses, and the values have been converted and validated before.
            object.__setattr__(made, name, value)
        return made
    raise TypeError(f"{path_of(kind)} is not the class that it was")


def _comes_back(text: bytes) -> bool:
    """Tell whether the value that is made of a text is written as the same text."""
    try:
        return _encode_in_order(form_of(decoded(text))) == text
    except Exception:  # noqa: BLE001 - a class within a function, one that cannot be made anew: whatever it is, no
        return False


def _tagged(tag: str, of: Any, path: str | None = None) -> dict[str, Any]:
    return {TAG: tag, "of": of} if path is None else {TAG: tag, "type": path, "of": of}


def _is_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _is_pydantic(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_fields__") and hasattr(kind, "__pydantic_fields_set__")


def _names(kind: Any) -> set[str] | None:
    """Return the names of a class's fields; None where it does not say."""
    if attrs.has(kind):
        return {field.name for field in attrs.fields(kind)}
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind)}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return set(kind.__struct_fields__)
    return None


def _attributes(value: Any) -> set[str]:
    """Return the names of all that an object has, so that nothing is left behind."""
    names: set[str] = set(getattr(value, "__dict__", ()))
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        names.update([slots] if isinstance(slots, str) else slots)
    return names - {"__dict__", "__weakref__"}


def _class(path: str) -> Any:
    module, _, name = path.partition(":")
    kind: Any = sys.modules.get(module) or import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    if not isinstance(kind, type):
        raise TypeError(f"{path} is no class")
    return kind
