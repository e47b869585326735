"""Names of files: any text as one, on any file system."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

from xxhash import xxh3_64_hexdigest

__all__ = ["chosen", "is_marked", "mark_of", "matches", "unquoted"]

# File systems allow 255 bytes; a number and an ending come to it.
MOST_BYTES = 150
_FORBIDDEN = frozenset('<>:"/\\|?*%~')
# What Windows takes for devices, whatever their ending, and the storage's own file.
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
)
_OWN = "aeval.json"


def chosen(name: str, ending: str, taken: Iterable[str]) -> str:
    """Return a file name for a name: itself, percent-encoded where need be.

    One that is too long, or that only differs in its letters' case from one that is taken, is told apart by a
    digest after a tilde.

    :param ending: what comes after it
    :param taken: the file names that are there
    """
    plain = _quoted(name)
    folded = _folded(plain + ending)
    if len(plain.encode()) > MOST_BYTES or any(_folded(other) == folded for other in taken):
        return f"{_cut(plain)}~{mark_of(name)}{ending}"
    return plain + ending


def matches(text: str, name: str) -> bool:
    """Tell whether a file name, without its ending, is that of a name."""
    if is_marked(text):
        return text.rpartition("~")[2] == mark_of(name)
    return unquoted(text) == name


def is_marked(text: str) -> bool:
    """Tell whether a file name has a digest in it, so that its name is not to be read from it."""
    return "~" in text


def mark_of(name: str) -> str:
    """Return a name's digest."""
    return xxh3_64_hexdigest(name.encode("utf-8", "surrogatepass"))


def unquoted(text: str) -> str:
    """Return the name that a file name without a digest stands for."""
    # Some file systems take letters and their accents apart.
    return "" if text == "%" else unquote(unicodedata.normalize("NFC", text), errors="surrogatepass")


def _quoted(name: str) -> str:
    # One that a file system would change is kept as bytes.
    plain_only = unicodedata.normalize("NFC", name) != name
    text = "".join(
        char
        if char.isprintable() and char not in _FORBIDDEN and (char.isascii() or not plain_only)
        else _percent(char)
        for char in name
    )
    if (
        text.partition(".")[0].rstrip().casefold() in _DEVICES
        or text.casefold() == _OWN
        or text.startswith(".")
    ):
        text = _percent(text[0]) + text[1:]
    if text.endswith((".", " ")):
        text = text[:-1] + _percent(text[-1])
    return text or "%"


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))


def _cut(text: str) -> str:
    return text.encode()[: MOST_BYTES // 2].decode(errors="ignore")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())
