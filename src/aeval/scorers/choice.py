"""Scoring an output that should choose one of several options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import index
from string import ascii_uppercase
from typing import SupportsIndex

from aeval.errors import ConfigurationError, ScoreError
from aeval.score import Score
from aeval.scorers._verdict import nothing, refuse_unusable, right, shown, text_of, wrong
from aeval.scorers.letters import Options, chosen_letter, squeezed

__all__ = ["multiple_choice"]


def multiple_choice(
    output: object,
    expected: object,
    *,
    choices: str | Sequence[object] | Mapping[str, object] = "ABCD",
) -> Score:
    r"""Score whether the output chooses the expected option.

    The letter that the output chooses is looked for in this order, and the first place that has one decides:

    1. an output that is nothing but a letter ("B", "(b)", "**B.**") or an option's whole text;
    2. the last `\boxed{...}`;
    3. what is said to be the answer ("The answer is (B)", "Answer: b", `{"answer": "B"}`, "I choose B", "B is
       correct") and a last line that is nothing but a letter: the last of these counts;
    4. a letter that opens the output as a label does ("B) Paris"), unless other lines open so too;
    5. letters in brackets, bold or quotes, if they are all the same letter;
    6. capital letters that stand alone and options' texts, if they all mean the same option.

    The article "A" and the pronoun "I" are not taken for letters, nor is one that is said not to be the answer
    ("not B", "B is wrong"). Where two letters are named alike ("A or B") none is chosen, which is a wrong answer.

    >>> multiple_choice("A good answer is **C**", "C").value
    True
    >>> multiple_choice("It must be Paris.", 1, choices=["Rome", "Paris"]).metadata["extracted"]
    'B'
    >>> multiple_choice("Either A or B", "A").reason
    "no single choice of A, B, C, D in 'Either A or B', expected A"

    :param output: what the system under test answered; None is a wrong answer
    :param expected: the right option: its letter in either case, or its place from 0 as an int, or its text
    :param choices: the options: a string of their letters; or a sequence of their texts, lettered A, B, C ...
        in order; or a mapping of letter to text, or one with the columns "label" and "text"
    :return: a score named "multiple_choice"; its metadata's `extracted` is the letter that was chosen, as
        `choices` writes it, or None
    :raises ScoreError: if the expected answer is None or none of the choices, or if something was not awaited
    :raises ConfigurationError: if the choices are not two or more options with a letter or digit each
    """
    refuse_unusable("multiple_choice", output, expected)
    options = _options(choices)
    wanted = _wanted(expected, options)
    if output is None:
        return nothing("multiple_choice", wanted, extracted=None)
    chosen = chosen_letter(text_of(output), options)
    if chosen == wanted:
        return right("multiple_choice", extracted=chosen)
    if chosen is None:
        letters = ", ".join(options.letters)
        reason = f"no single choice of {letters} in {shown(output)}, expected {wanted}"
    else:
        reason = f"chose {chosen}, expected {wanted}"
    return wrong("multiple_choice", reason, extracted=chosen)


def _options(choices: str | Sequence[object] | Mapping[str, object]) -> Options:
    letters: Sequence[object]
    texts: Sequence[object] = ()
    if isinstance(choices, str):
        letters = choices
    elif isinstance(choices, Mapping):
        if set(choices) == {"label", "text"}:
            letters, texts = (_sequence(choices[column], choices) for column in ("label", "text"))
        else:
            letters, texts = list(choices), list(choices.values())
    else:
        texts = _sequence(choices, choices)
        letters = ascii_uppercase[: len(texts)]
    labels = tuple(str(letter) for letter in letters)
    _check(labels, texts, choices)
    return Options(labels, tuple(squeezed(text_of(text)) for text in texts))


def _sequence(value: object, choices: object) -> Sequence[object]:
    if isinstance(value, (str, bytes, set, frozenset)) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"the choices of multiple_choice, {shown(choices)}, are not a sequence of options: "
            "give a string of letters, a list of texts, or a mapping of letter to text"
        )
    return list(value)


def _check(letters: Sequence[str], texts: Sequence[object], choices: object) -> None:
    fault = None
    if len(letters) < 2:
        fault = "are fewer than two: give all the options"
    elif texts and len(texts) != len(letters):
        fault = f"are {len(texts)} texts for {len(letters)} letters: give as many (at most 26 without letters)"
    elif any(len(letter) != 1 or not (letter.isascii() and letter.isalnum()) for letter in letters):
        fault = "have a label that is not one letter or digit: use A to Z, a to z or 0 to 9"
    elif len({letter.upper() for letter in letters}) != len(letters):
        fault = "use a letter twice: give each option a letter of its own"
    if fault:
        raise ConfigurationError(f"the choices of multiple_choice, {shown(choices)}, {fault}")


def _wanted(expected: object, options: Options) -> str:
    place = None
    if isinstance(expected, str):
        letter = options.letter(expected.strip().strip("().:* "))
        if letter is not None:
            return letter
        if options.texts.count(squeezed(expected)) == 1:
            place = options.texts.index(squeezed(expected))
    elif isinstance(expected, SupportsIndex) and not isinstance(expected, bool):
        place = index(expected)
    if place is None or not 0 <= place < len(options.letters):
        raise ScoreError(
            f"the expected answer given to multiple_choice, {shown(expected)}, is none of the choices: give one of "
            f"{', '.join(options.letters)}, an option's place from 0 to {len(options.letters) - 1}, or its text"
        )
    return options.letters[place]
