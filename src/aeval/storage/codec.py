r"""The stated form of a result: one line of JSON, in every storage.

Fields that have nothing to say are left out. What JSON cannot hold takes these forms:

==========================================  =========================================================
a dataclass, attrs object or msgspec        an object of its fields; of attrs', without the private
Struct, a pydantic model                    ones; of pydantic's, without the excluded ones
a mapping                                   an object; a key that is no text is the text of its form
a tuple, named or not, a deque, a range     an array
a set                                       an array
an array, tensor or number of numpy's kind  its `tolist()`
bytes                                       base64
a date, time or duration                    as in ISO 8601
a UUID, Decimal or path                     its usual text
an enum                                     its value
NaN, infinities                             `{"$float": "nan"}`, `"inf"`, `"-inf"`
an integer of more than 4,200 digits        `{"$int": "0x..."}`
a text with half of a surrogate pair        `{"$str": "\ud800"}`: those as escapes, a backslash doubled
a mapping with such a key, or with nothing  `{"$dict": [[key, value], ...]}`
but one named like a form of these four
anything else                               `{"$object": "module.Class", "repr": "..."}`
==========================================  =========================================================

Numbers, texts and mappings come back as they were; what has one of the other forms comes back as that form. The
attributes of anything else are never looked at, for they may hold keys of APIs, and its repr is kept without the
addresses of memory. (msgspec takes all public attributes of an attrs object without slots for its fields.) In the
place of what holds itself, or is nested too deep, stands the last of the forms.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields as fields_of
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

import attrs
import msgspec
from xxhash import xxh3_64_intdigest

from aeval.result import Failure, Result, RetriedAttempt, Usage
from aeval.sample import SampleId
from aeval.score import Score

__all__ = ["DIGEST_BITS", "decode", "decode_value", "digest_of", "digests_of", "encode", "encode_value"]

# So few that the digests of a thousand samples can be summed up in 64 bits.
DIGEST_BITS = 52
MOST_DEPTH = 100
MOST_REPR = 10_000
# Python refuses to write 4,300 digits and more.
MOST_INT_BITS = 14_000
_MASK = (1 << DIGEST_BITS) - 1
_DOLLAR, _NEWLINE = b"$\n"
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def digest_of(sample_id: SampleId, row: Any) -> int:
    """Return the digest by which it is told whether a sample's row changed.

    XXH3 (Yann Collet, "xxHash: extremely fast non-cryptographic hash algorithm", 2012) of its MessagePack, which keeps
    apart what JSON does not, such as NaN and None; cut to 52 bits. It is the same in every process, in whatever order
    keys and members of sets come; only where a set holds sets or NaN it may be another.

    :return: from 0 to 2**52 - 1
    """
    try:
        packed = _pack_sorted((sample_id, row))
    except Exception:  # noqa: BLE001 - keys that are no texts, half surrogates, cycles: the slow way knows them all
        packed = _encode_sorted(_in_order(_stated((sample_id, row))))
    return xxh3_64_intdigest(packed) & _MASK


def _in_order(form: Any) -> Any:
    """Return a stated form with the pairs of each `$dict` in an order that does not depend on that of the keys."""
    if isinstance(form, list):
        return [_in_order(item) for item in form]
    if not isinstance(form, dict):
        return form
    if isinstance(pairs := form.get("$dict"), list):
        return {"$dict": sorted(map(_in_order, pairs), key=_encode_sorted)}
    return {key: _in_order(item) for key, item in form.items()}


def digests_of(ids: Sequence[SampleId], rows: Sequence[Any]) -> list[int]:
    """Return the digests of many samples, in less time than one by one."""
    try:
        return [xxh3_64_intdigest(packed) & _MASK for packed in map(_pack_sorted, zip(ids, rows, strict=True))]
    except Exception:  # noqa: BLE001 - as above: one of them
        return list(map(digest_of, ids, rows))


def encode_value(value: Any) -> bytes:
    """Write any value as one line of JSON, in the stated form."""
    try:
        text = _encode(value)
        if not (
            # Data may look like a form; a NaN was written as null; and only a `msgspec.Raw` breaks lines.
            (_DOLLAR in text and _find_form(text))
            or (_find_null(text) and _find_non_finite(_pack(value)))
            or _NEWLINE in text
        ):
            return text
    except Exception:  # noqa: BLE001, S110 - as above
        pass
    return _encode(_stated(value))


def decode_value(text: bytes) -> Any:
    """Read what `encode_value` wrote.

    :raises msgspec.DecodeError: if it is not JSON
    """
    try:
        value = _decode(text)
        return _restored(value) if _DOLLAR in text and _find_form(text) else value
    except RecursionError:  # It was written with more of the stack to spare, or by somebody else.
        return _restored(_decode(_cut(text)))


def encode(result: Result[Any, Any]) -> bytes:
    """Write a result as one line of JSON, without the name of its evaluation."""
    text = _encode_plain_result(result)
    if text is not None:
        return text
    fields: dict[str, Any] = {"id": result.id, "index": result.index}
    if result.repeat:
        fields["repeat"] = result.repeat
    fields["row"] = result.row
    if result.output is not None:
        fields["output"] = result.output
    if result.error is None:
        fields["scores"] = {name: _score_fields(score) for name, score in result.scores.items()}
    else:
        fields["error"] = _error_fields(result.error)
    if result.attempts > 1:
        fields["attempts"] = result.attempts
    fields["times"] = result.times
    if result.usage is not None:
        fields["usage"] = {name: count for name in _USAGE if (count := getattr(result.usage, name))}
    if type(result.metadata) is not dict or result.metadata:
        fields["metadata"] = result.metadata
    if result.retried:
        fields["retried"] = result.retried
    return encode_value(fields)


class _PlainScore(msgspec.Struct, gc=False):
    value: object


class _PlainResult(msgspec.Struct, gc=False):
    id: object
    index: int
    row: object
    scores: object
    times: tuple[float, ...]


def _encode_plain_result(result: Result[Any, Any]) -> bytes | None:
    """Write a result that has one value and nothing more to say, which takes two thirds of the time; else None."""
    if (
        len(result.scores) != 1
        or result.output is not None
        or result.repeat
        or result.attempts > 1
        or result.usage is not None
        or type(result.metadata) is not dict
        or result.metadata
    ):
        return None
    ((name, score),) = result.scores.items()
    if score.reason is not None or type(score.metadata) is not dict or score.metadata:
        return None
    plain = _PlainResult(result.id, result.index, result.row, {name: _PlainScore(score.value)}, result.times)
    try:
        text = _encode(plain)
    except Exception:  # noqa: BLE001 - the long way round knows what to do with it
        return None
    return None if _DOLLAR in text or _NEWLINE in text or _find_null(text) else text


def decode(body: bytes, evaluation: str, row_type: str | None = None) -> Result[Any, Any]:
    """Read what `encode` wrote.

    :param evaluation: name of the evaluation
    :param row_type: `"tuple"` if rows are tuples
    """
    fields = decode_value(body)
    known = fields.get
    row, error, usage, retried = fields["row"], known("error"), known("usage"), known("retried")
    result: Result[Any, Any] = Result.restored(
        id=fields["id"],
        index=fields["index"],
        repeat=known("repeat", 0),
        evaluation=evaluation,
        row=tuple(row) if row_type == "tuple" and isinstance(row, list) else row,
        output=known("output"),
        scores={
            name: Score(score["value"], name, score.get("reason"), score.get("metadata", {}))
            for name, score in known("scores", {}).items()
        },
        error=None if error is None else _failure(**error),
        attempts=known("attempts", 1),
        times=tuple(fields["times"]),
        usage=None if usage is None else Usage(**usage),
        metadata=known("metadata", {}),
        retried=() if retried is None else tuple(RetriedAttempt(**attempt) for attempt in retried),
    )
    return result


def _score_fields(score: Score) -> dict[str, Any]:
    fields: dict[str, Any] = {"value": score.value}
    if score.reason is not None:
        fields["reason"] = score.reason
    # Of anything but a dict, even the question whether it is empty may raise.
    if type(score.metadata) is not dict or score.metadata:
        fields["metadata"] = score.metadata
    return fields


def _error_fields(error: Failure) -> dict[str, Any]:
    names = ("kind", "message", "retriable", "status", "refused", "traceback")
    fields = {name: getattr(error, name) for name in names}
    return {name: value for name, value in fields.items() if value is not None and value is not False}


def _failure(traceback: str = "", **fields: Any) -> Failure:
    return Failure(**fields, chain=(((), traceback, ""),))


_USAGE = tuple(field.name for field in attrs.fields(Usage))


def _plainer(value: Any) -> Any:
    """Return what to write in a value's place; what comes of it may need the same again.

    Everything is asked of the class, since an object may answer whatever it is asked for.

    :raises TypeError: if there is nothing but its repr
    """
    kind = type(value)
    made = next((made for kinds, made in _PLAINER if issubclass(kind, kinds)), None) or next(
        (made for name, made in _DECLARED if any(name in vars(base) for base in kind.__mro__)), None
    )
    if made is None or kind is bool:  # True, as a key, is not the number 1.
        raise TypeError
    plain = made(value)
    if type(plain) is kind:
        raise TypeError
    return plain


def _struct_fields(value: msgspec.Struct) -> dict[str, Any]:
    kind, config = type(value), value.__struct_config__
    written = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    fields = {written[name]: item for name, item in _fields(value, written).items()}
    return {config.tag_field: config.tag} | fields if config.tag_field else fields


def _attrs_fields(value: Any) -> dict[str, Any]:
    return _fields(value, (field.name for field in attrs.fields(type(value)) if field.name[0] != "_"))


def _model_fields(value: Any) -> Any:
    try:
        return value.model_dump(warnings=False)
    except Exception:  # noqa: BLE001 - a cycle, or somebody's serializer; the repr would show what is excluded
        return _fields(value, (name for name, field in type(value).model_fields.items() if not field.exclude))


def _fields(value: Any, names: Iterable[str]) -> dict[str, Any]:
    items = ((name, getattr(value, name, msgspec.UNSET)) for name in names)
    return {name: item for name, item in items if item is not msgspec.UNSET}


_decode = msgspec.json.Decoder().decode
_PLAINER: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Enum, lambda value: value.value),
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    ((bytes, bytearray, memoryview), bytes),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, lambda value: timedelta(value.days, value.seconds, value.microseconds)),
    ((PurePath, UUID, Decimal), str),
    (Mapping, dict),
    ((deque, range), list),
    (msgspec.Struct, _struct_fields),
    (msgspec.Raw, _decode),
)
_DECLARED: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("__dataclass_fields__", lambda value: _fields(value, (field.name for field in fields_of(value)))),
    ("__attrs_attrs__", _attrs_fields),
    ("model_dump", _model_fields),
    ("tolist", lambda value: value.tolist()),
    ("_asdict", lambda value: value._asdict()),
)
_encode = msgspec.json.Encoder(enc_hook=_plainer).encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_pack = msgspec.msgpack.Encoder(enc_hook=_plainer).encode
_pack_sorted = msgspec.msgpack.Encoder(enc_hook=_plainer, order="deterministic").encode
_find_form = re.compile(rb'\{"\$(?:float|int|str|dict)":').search
_find_null = re.compile(rb"null").search
# A float of MessagePack whose exponent has all of its bits.
_find_non_finite = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search


def _stated(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Return a value with everything in it in its stated form: the slow way, which knows all of them.

    :param above: the `id` of each thing that it is in
    """
    try:
        return _form(value, above)
    except Exception:  # noqa: BLE001 - whatever somebody's object raises, it has a form
        return _object(value)


def _form(value: Any, above: tuple[int, ...]) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _text_form(value)
    if kind is int:
        return value if value.bit_length() <= MOST_INT_BITS else {"$int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if kind in _TEXTS:
        return msgspec.to_builtins(value)
    if id(value) in above:
        return _object(value, "(it holds itself)")
    if len(above) >= MOST_DEPTH:
        return _object(value, "(nested too deep)")
    above = (*above, id(value))
    if issubclass(kind, dict):
        return _mapping_form(value, above)
    if issubclass(kind, Enum) or not issubclass(kind, (list, tuple, set, frozenset)):
        return _stated(_plainer(value), above)
    items = [_stated(item, above) for item in value]
    return sorted(items, key=_encode_sorted) if issubclass(kind, (set, frozenset)) else items


_TEXTS = frozenset({bytes, bytearray, memoryview, datetime, date, time, timedelta, UUID, Decimal})


def _mapping_form(value: dict[Any, Any], above: tuple[int, ...]) -> Any:
    pairs = [(_key_form(key, above), _stated(item, above)) for key, item in dict.items(value)]
    plain = {key: item for key, item in pairs if type(key) is str}
    if len(plain) < len(pairs) or (len(plain) == 1 and pairs[0][0] in _READERS):
        return {"$dict": [list(pair) for pair in pairs]}
    return plain


def _key_form(key: Any, above: tuple[int, ...]) -> Any:
    form = _stated(key, above)
    if isinstance(form, dict) and "$float" in form:
        return form["$float"]
    is_text = isinstance(form, str) or (isinstance(form, dict) and "$str" in form)
    return form if is_text else _encode(form).decode()


def _text_form(text: str) -> Any:
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"$str": text.replace("\\", r"\\").encode("utf-8", "backslashreplace").decode()}
    return text


def _object(value: object, said: str | None = None) -> dict[str, str]:
    kind = type(value)
    return {
        "$object": _shown(lambda: f"{kind.__module__}.{kind.__qualname__}"),
        "repr": _shown(lambda: repr(value)) if said is None else said,
    }


def _shown(show: Callable[[], str]) -> str:
    try:
        # An address would make the same value another one in each process.
        text = _ADDRESS.sub("...", show())[:MOST_REPR]
    except Exception as error:  # noqa: BLE001 - whatever a `__repr__` of somebody's raises
        return f"(it cannot be shown: {type(error).__name__})"
    return text.encode("utf-8", "backslashreplace").decode()


_ADDRESS = re.compile(r"(?<=\b0x)[0-9a-fA-F]{6,}|(?<=\bid=')\d{6,}")


def _restored(value: Any) -> Any:
    """Return a value with the forms in it turned back; what only looks like a form is left as it is."""
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, form),) = value.items()
        if name in _READERS:
            try:
                return _READERS[name](form)
            except (KeyError, TypeError, ValueError):
                pass
    return {key: _restored(item) for key, item in value.items()}


def _mapping_of(pairs: Any) -> dict[str, Any]:
    if not all(isinstance(pair, list) for pair in pairs):
        raise TypeError
    return {_restored(key): _restored(item) for key, item in pairs}


def _text_of(escaped: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", escaped)


_ESCAPE = re.compile(r"\\(?:\\|u(d[89a-f][0-9a-f]{2}))")
_READERS: dict[str, Callable[[Any], Any]] = {
    "$float": _FLOATS.__getitem__,
    "$int": lambda form: int(form, 0),
    "$str": _text_of,
    "$dict": _mapping_of,
}


def _cut(text: bytes) -> bytes:
    """Return JSON with the form of what is nested too deep in the place of what is."""
    kept: list[bytes] = []
    depth = start = 0
    for found in _TOKEN.finditer(text):
        if found[0] in (b"[", b"{"):
            depth += 1
            if depth == MOST_DEPTH + 1:
                kept.append(text[start : found.start()])
        elif found[0] in (b"]", b"}"):
            if depth == MOST_DEPTH + 1:
                kept.append(b'{"$object":"","repr":"(nested too deep)"}')
                start = found.end()
            depth -= 1
    return b"".join([*kept, text[start:]])


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
