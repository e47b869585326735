"""The LaTeX that models wrap their answers in."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\f?boxed\s?\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def last_box(text: str) -> str | None:
    r"""Find what the last `\boxed{...}` of a text holds; to the text's end where it is not closed."""
    start = None
    for match in _BOX.finditer(text):
        start = match.end()
    if start is None:
        return None
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start : brace.start()]
    return text[start:]
