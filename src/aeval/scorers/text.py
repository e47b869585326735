"""Scoring an output that should hold a text, or match a pattern."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from aeval.errors import ConfigurationError, ScoreError
from aeval.score import Score
from aeval.scorers._verdict import answers, listed, nothing, refuse_unusable, right, shown, text_of, wrong

__all__ = ["includes", "regex"]


def includes(
    output: object, expected: object, *, ignore_case: bool = False, whole_words: bool = False
) -> Score:
    """Score whether the expected text is found in the output.

    Both are made texts with `str` (bytes: UTF-8) and brought to Unicode's composed form (NFC); whitespace
    around the expected text is dropped.

    >>> includes("The capital is Paris.", "Paris").value
    True
    >>> includes("It was 1914.", "14", whole_words=True).reason
    "'14' is not in 'It was 1914.'"

    :param output: what the system under test answered; None is a wrong answer
    :param expected: the text to find, or a list, tuple or set of texts of which any will do
    :param ignore_case: whether to search without regard to case (Unicode case folding)
    :param whole_words: whether the text must stand alone, with no letter, digit or underscore beside it
    :return: a score named "includes"; its metadata's `matched` is the first accepted text that was found
    :raises ScoreError: if an expected text is None or empty, or if something was not awaited
    """
    refuse_unusable("includes", output, expected)
    accepted = [text_of(answer).strip() for answer in answers("includes", expected)]
    if "" in accepted:
        raise ScoreError(
            f"the expected text given to includes, {shown(expected)}, is empty, which every output includes: "
            "give a text to find"
        )
    if output is None:
        return nothing("includes", expected)
    given = text_of(output)
    text = _comparable(given, ignore_case=ignore_case)
    for answer in accepted:
        if _found(_comparable(answer, ignore_case=ignore_case), text, whole_words=whole_words):
            return right("includes", matched=answer)
    missing = f"{shown(accepted[0])} is not" if len(accepted) == 1 else f"none of {listed(accepted)} is"
    return wrong("includes", f"{missing} in {shown(given)}")


def regex(
    output: object,
    expected: object,
    *,
    ignore_case: bool = False,
    flags: int = 0,
    full: bool = False,
    group: int | str = 0,
) -> Score:
    r"""Score whether the output matches a regular expression, as Python's `re` understands it.

    The output is made a text with `str` (bytes: UTF-8) and searched as it is. A pattern that backtracks
    without end, such as `(a+)+b`, does so here too.

    >>> regex("It took 12 days.", r"\b\d+ days").metadata["extracted"]
    '12 days'
    >>> regex("Answer: 42", r"Answer: (\d+)", full=True, group=1).metadata["extracted"]
    '42'
    >>> regex("about a week", r"\d+ days").reason
    "the pattern '\\\\d+ days' does not match 'about a week'"

    :param output: what the system under test answered; None is a wrong answer
    :param expected: the pattern, a text or a compiled one, or a list, tuple or set of which any will do
    :param ignore_case: whether to match without regard to case
    :param flags: flags of `re`, as in `re.DOTALL | re.MULTILINE`
    :param full: whether the pattern must match the whole output rather than some part of it
    :param group: the group, by number or name, whose text goes into the metadata; 0 is the whole match
    :return: a score named "regex"; its metadata has the `extracted` text (None where the group took no part)
        and the `pattern` that matched
    :raises ScoreError: if a pattern is None or not a regular expression, or if something was not awaited
    :raises ConfigurationError: if a pattern has no such group
    """
    refuse_unusable("regex", output, expected)
    if ignore_case:
        flags |= re.IGNORECASE
    patterns = [_compiled(pattern, flags) for pattern in answers("regex", expected)]
    for pattern in patterns:
        if group not in (range(pattern.groups + 1) if isinstance(group, int) else pattern.groupindex):
            raise ConfigurationError(
                f"group={group!r} of regex is not a group of the pattern {shown(pattern.pattern)}: "
                f"give a number from 0 to {pattern.groups}, or the name of a group written (?P<name>...)"
            )
    if output is None:
        return nothing("regex", patterns[0].pattern)
    text = text_of(output)
    for pattern in patterns:
        match = pattern.fullmatch(text) if full else pattern.search(text)
        if match:
            return right("regex", extracted=match[group], pattern=pattern.pattern)
    sources = [pattern.pattern for pattern in patterns]
    what = (
        f"the pattern {shown(sources[0])} does not" if len(sources) == 1 else f"none of {listed(sources)} does"
    )
    return wrong("regex", f"{what} match {'the whole of ' if full else ''}{shown(text)}")


def _comparable(text: str, *, ignore_case: bool) -> str:
    text = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", text.casefold()) if ignore_case else text


def _found(wanted: str, text: str, *, whole_words: bool) -> bool:
    if not whole_words:
        return wanted in text
    return re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text) is not None


def _compiled(pattern: Any, flags: int) -> re.Pattern[str]:
    if isinstance(pattern, re.Pattern):
        pattern, flags = pattern.pattern, pattern.flags | flags
    if not isinstance(pattern, str):
        raise ScoreError(
            f"the pattern given to regex, {shown(pattern)}, is a {type(pattern).__name__}: give a text"
        )
    try:
        return re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise ScoreError(
            f"the pattern {shown(pattern)} given to regex is not a regular expression: {error}. "
            "To find a text as it stands use `includes`, or escape it with `re.escape`"
        ) from error
