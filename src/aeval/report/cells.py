"""Cells: what stands in a table for a result's row, scores and metadata, and for a single value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain, count
from typing import Any

from aeval.result import Result
from aeval.storage.codec import decode_value, encode_value

__all__ = [
    "BOOL", "EXACT", "FLOAT", "LONG", "OTHER", "TEXT", "Cells", "Names", "as_text", "key_text", "kind_of",
    "mapping_cells", "plain", "row_cells", "utf8",
]  # fmt: skip

# The names that evaluations gave to their rows' columns, by evaluation.
Names = Mapping[str, tuple[str, ...] | None]
Cells = Mapping[Any, Any]

# What a value is. `EXACT` are whole numbers that a float can be, `LONG` are the others of 64 bits.
BOOL, EXACT, LONG, FLOAT, TEXT, OTHER = 1, 2, 4, 8, 16, 32


class _Json(str):
    """A value as JSON, to be told from a text."""

    __slots__ = ()


_KINDS: dict[type, int] = {
    type(None): 0, bool: BOOL, float: FLOAT, str: TEXT, dict: OTHER, list: OTHER, tuple: OTHER, _Json: OTHER,
}  # fmt: skip


def plain(value: Any) -> Any:
    """Return a value as the scalar that the stated form gives back of it, or as that form.

    A result that was stored and one that was not give the same.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is int or kind is float:
        return value
    text = encode_value(value)
    if text.startswith((b"[", b'{"$object"')) or (text.startswith(b"{") and not text.startswith(b'{"$')):
        return _Json(text.decode())
    restored = decode_value(text)
    return _Json(text.decode()) if isinstance(restored, (dict, list)) else restored


def kind_of(value: Any) -> int:
    """Tell what a value is; nothing of all, if it is None."""
    if type(value) is int:
        if -(1 << 53) <= value <= 1 << 53:
            return EXACT
        return LONG if -(1 << 63) <= value < 1 << 63 else OTHER
    kind = _KINDS.get(type(value))
    return kind_of(plain(value)) if kind is None else kind


def as_text(value: Any) -> str | None:
    """Return a text as it is, and anything else but None as JSON."""
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = value if isinstance(value, str) else encode_value(value).decode()
    return utf8(text)


def utf8(text: str) -> str:
    """Return a text in which each half of a surrogate pair is its escape, since UTF-8 has none."""
    return str(text) if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def row_cells(result: Result[Any, Any], names: Names) -> Cells:
    """Return the columns of a result's row; under None, a row that is a single value."""
    row: Any = result.row
    kind = type(row)
    if kind is not dict and kind is not tuple and kind not in _KINDS and kind is not int:
        # Somebody's object, as what a storage gives back of it.
        row = decode_value(encode_value(row))
    if isinstance(row, (tuple, list)):
        # A list of mappings is a chat's messages: one value.
        if not row or (isinstance(row, list) and all(isinstance(part, Mapping) for part in row)):
            return {None: row}
        given = names.get(result.evaluation) or ()
        return dict(zip(chain(given, map(_place, count(len(given)))), row, strict=False))
    return mapping_cells(row)


def mapping_cells(value: Any) -> Cells:
    """Return a mapping's items; under None, what is no mapping."""
    if type(value) is dict and (not value or all(type(key) is str for key in value)):
        return value if "$object" not in value else {None: value}
    if isinstance(value, Mapping):
        return {_key(key): item for key, item in dict(value).items()}
    return {None: value}


def _place(place: int) -> Any:
    return "place", str(place)


def _key(key: Any) -> Any:
    """Return what tells a key from all others, the number 1 from the text too."""
    return key if type(key) is str else (type(key).__name__, "null" if key is None else as_text(key))


def key_text(key: Any) -> str:
    """Return the name of a cell's key."""
    return key if isinstance(key, str) else str(key[1])
