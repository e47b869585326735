"""The forms in which ids, texts and runs are stored: as bytes.

Texts are the bytes of their UTF-8, which sort by code points whatever the database's encoding and collation, and may
hold what PostgreSQL's own text cannot (NUL).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import attrs
import msgspec

from aeval.sample import SampleId
from aeval.storage.base import StoredRun
from aeval.storage.codec import decode_value, encode_value

__all__ = ["bytes_of", "fields_of", "id_of", "restored", "text_of"]

# An index takes no value that is longer than a third of a page.
MOST_ID_BYTES: Final = 200


def id_of(sample_id: SampleId) -> bytes:
    """Return the bytes that stand for an id: its own where they are few, else a digest."""
    # Not in decimal digits, of which Python writes only so many.
    text = b"s" + bytes_of(sample_id) if isinstance(sample_id, str) else b"i%x" % sample_id
    return text if len(text) <= MOST_ID_BYTES else b"d" + sha256(text).digest()


def bytes_of(text: str) -> bytes:
    """Return the bytes of a text's UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def text_of(text: bytes) -> str:
    """Return the text that these are the bytes of."""
    return text.decode("utf-8", "surrogatepass")


def fields_of(run: StoredRun) -> tuple[bytes, bytes, int, bytes]:
    """Return a run's experiment, evaluation, number and data as they are stored."""
    data = encode_value(attrs.evolve(run, key=0, version=0))
    return bytes_of(run.experiment), bytes_of(run.evaluation), run.number, data


def restored(key: int, version: int, experiment: bytes, data: bytes) -> StoredRun:
    """Return the run that is stored so."""
    run = msgspec.convert(decode_value(data), StoredRun)
    return attrs.evolve(run, experiment=text_of(experiment), key=key, version=version)
