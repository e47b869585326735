"""Scoring an output that should be the expected text itself."""

from __future__ import annotations

import re
import string
import unicodedata

from aeval.score import Score
from aeval.scorers._verdict import (
    answers,
    contrast,
    listed,
    nothing,
    refuse_unusable,
    right,
    shown,
    text_of,
    wrong,
)

__all__ = ["exact_match"]

_ARTICLES = re.compile(r"\b(?:an?|the)\b", re.IGNORECASE)


def exact_match(
    output: object,
    expected: object,
    *,
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    ignore_articles: bool = False,
    collapse_whitespace: bool = False,
) -> Score:
    r"""Score whether the output is the expected text.

    Both are made texts with `str` (bytes: UTF-8), brought to Unicode's composed form (NFC), and freed of
    the whitespace around them. Nothing else is done to them unless an option says so: 4 is "4", but 4.0 is
    not. An option is passed over for a text of which it would leave nothing: "A" stays "A" where articles
    are ignored.

    With `ignore_case`, `ignore_punctuation` and `ignore_articles` together this is the exact match of SQuAD
    (Rajpurkar, Zhang, Lopyrev, Liang: SQuAD: 100,000+ Questions for Machine Comprehension of Text, 2016).

    >>> exact_match(" Paris\n", "Paris").value
    True
    >>> exact_match("The Beatles!", "beatles", ignore_case=True, ignore_punctuation=True, ignore_articles=True).value
    True
    >>> exact_match("paris", ["Paris", "Lutetia"]).reason
    "'paris' is none of 'Paris', 'Lutetia'"

    :param output: what the system under test answered; None is a wrong answer
    :param expected: the right answer, or a list, tuple or set of accepted answers
    :param ignore_case: whether to compare without regard to case (Unicode case folding)
    :param ignore_punctuation: whether to drop punctuation, which joins what it parted ("3.5" is "35"), and
        then to collapse whitespace
    :param ignore_articles: whether to drop the words "a", "an" and "the", and then to collapse whitespace
    :param collapse_whitespace: whether each stretch of whitespace counts as one space
    :return: a score named "exact_match"; its metadata's `matched` is the accepted answer that the output is
    :raises ScoreError: if the expected answer is None or an empty collection, or if something was not awaited
    """
    refuse_unusable("exact_match", output, expected)
    accepted = answers("exact_match", expected)
    if output is None:
        return nothing("exact_match", expected)

    def normal(value: object) -> str:
        text = _composed(text_of(value), ignore_case=ignore_case)
        if ignore_punctuation:
            text = _without_punctuation(text) or text
        if ignore_articles:
            text = _ARTICLES.sub(" ", text).strip() or text
        if ignore_punctuation or ignore_articles or collapse_whitespace:
            text = " ".join(text.split())
        return text

    got = normal(output)
    wanted = [normal(answer) for answer in accepted]
    if got in wanted:
        return right("exact_match", matched=text_of(accepted[wanted.index(got)]))
    return wrong("exact_match", _reason(got, wanted))


def _composed(text: str, *, ignore_case: bool) -> str:
    text = unicodedata.normalize("NFC", text)
    # Folding can take a composed letter apart.
    return (unicodedata.normalize("NFC", text.casefold()) if ignore_case else text).strip()


def _without_punctuation(text: str) -> str:
    return "".join(c for c in text if c not in string.punctuation and unicodedata.category(c)[0] != "P").strip()


def _reason(got: str, wanted: list[str]) -> str:
    if len(wanted) == 1:
        return "{} is not {}".format(*contrast(got, wanted[0]))
    return f"{shown(got)} is none of {listed(wanted)}"
