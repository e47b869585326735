"""The letter that a free text chooses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import attrs

from aeval.scorers._latex import last_box

_OPEN = r"[\s(\[{\"'`*_$\\\u201c\u2018]{0,12}"
_CLOSE = r"[)\]}\"'`*_$\\.:,\u201d\u2019]{0,12}"
# A letter that stands for an option is no part of a word or number: "C++", "B's", "A-level", "vitamin-C", "2.5".
_BEFORE = r"(?<![A-Za-z0-9\u00c0-\u024f])(?<![A-Za-z0-9]['\u2019_-])(?<!\d[.,])"
_AFTER = r"(?![A-Za-z0-9\u00c0-\u024f+#]|['\u2019_-][A-Za-z0-9]|[.,]\d)"
_STYLE = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mathsf|bf|rm)\b\s?")
_WRAPPING = " \t\n*_`\"'\u201c\u201d\u2018\u2019.,;:!?()[]{}$"

_WORD = re.compile(r"[ \t]+[^\W\d_]")
# "Answer A dog" has an article, "Answer A because" a letter: what may follow a letter.
_GOES_ON = re.compile(
    r"[ \t]+(?:and|as|because|but|by|due|for|given|if|is|it|not|or|rather|since|so|that|the|then|this|though|was"
    r"|where|which|while|with)\b",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:wrong|incorrect)\s+(?:answer|option|choice)\s+is"
    r"|(?:\bnot|n['\u2019]t|\bnever|\bneither|\bnor)(?:\s+(?:be|choose|pick|select))?)"
    r"(?:\s+(?:option|choice))?\s+[(\"'*]{0,3}$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[)\]\"'*.]{0,4}\s+(?:(?:is|was)(?:\s+clearly)?\s+(?:not|never|wrong|incorrect|false)\b|(?:is|was)n['\u2019]t)",
    re.IGNORECASE,
)
_NEAR = 40  # Characters before a letter in which a "not" may stand.

_FILLER = (
    r"(?:\s+(?:the|clearly|definitely|therefore|thus|most|likely|probably|correct|final|option|choice|answer"
    r"|letter|number)\b){0,4}"
)
_SAYS = rf"""
    (?<![A-Za-z])(?<!wrong\s)(?<!incorrect\s)(?<!not\s)(?<!n['\u2019]t\s)(?<!never\s)
    (?: (?:answer|ans|solution|option|choice) ["'*_`)\]]{{0,4}} (?:\s+(?:to|for)\s[^.:\n]{{1,60}}?)? {_FILLER}
        \s* (?:(?:would|should|must|will|has\s+to)\s+be\b|is\b|was\b|[:=\uff1a\u2192\u2013-]) ["'*_`]{{0,4}} :?
      | (?:answer|choose|chose|select|selected|pick|picked|go\s+with|going\s+with)\b(?=\s)
    ) {_FILLER}
"""
_PRAISE = r"""\s+(?:is|was)\s+(?:(?:clearly|definitely|indeed|therefore|thus|the|most|only|best)\s+){0,4}
    (?:correct|right|best|answer|true|accurate|appropriate)\b"""


@attrs.frozen
class Options:
    """The options of a question.

    :param letters: a letter or digit for each
    :param texts: their texts, squeezed; empty where they are not known
    """

    letters: tuple[str, ...]
    texts: tuple[str, ...] = ()

    def letter(self, text: str) -> str | None:
        """Find the letter that a text is, in either case."""
        return next((letter for letter in self.letters if letter.upper() == text.upper()), None)

    def with_text(self, text: str) -> str | None:
        """Find the letter of the one option that has this text."""
        return self.letters[self.texts.index(text)] if self.texts.count(text) == 1 else None

    def by_length(self) -> list[tuple[str, set[str]]]:
        """List the texts, each with the letters of the options that have it, the longest text first."""
        pairs = list(zip(self.texts, self.letters, strict=False))
        longest_first = sorted(set(self.texts), key=lambda text: (-len(text), text))
        return [(text, {letter for other, letter in pairs if other == text}) for text in longest_first]


@attrs.frozen
class _Patterns:
    bare: re.Pattern[str]
    here: re.Pattern[str]
    said: re.Pattern[str]
    praised: re.Pattern[str]
    opening: re.Pattern[str]
    marked: re.Pattern[str]
    alone: re.Pattern[str]
    more: re.Pattern[str]


@lru_cache(maxsize=64)
def _patterns(letters: tuple[str, ...]) -> _Patterns:
    either = "".join(sorted({case for letter in letters for case in (letter, letter.upper(), letter.lower())}))
    letter, capital = f"([{either}])", f"([{''.join(letters)}{''.join(letters).upper()}])"
    flags = re.VERBOSE | re.IGNORECASE | re.MULTILINE
    return _Patterns(
        bare=re.compile(rf"{_OPEN}{letter}{_CLOSE}"),
        here=re.compile(rf"{_OPEN}{letter}{_AFTER}"),
        # A transcript's "A:" is an answer where nothing but a letter follows it.
        said=re.compile(rf"{_SAYS} | ^[ \t]*A:(?=[ \t]*{_OPEN}{letter}{_CLOSE}[ \t]*$)", flags),
        praised=re.compile(rf"{_BEFORE}{letter}{_CLOSE}{_PRAISE}", flags),
        opening=re.compile(
            rf"^[ \t>#(\[{{\"'`*_$]{{0,12}}{letter}(?:\s?[)\]}}:]|\.(?=\s|$)|\*\*)", re.MULTILINE
        ),
        marked=re.compile(
            rf"(?<![A-Za-z0-9'\u2019])(?:[(\[\"'`\u201c\u2018]|\*\*\(?){letter}(?=[)\]\"'`\u201d\u2019]|[.:]?\*\*)"
        ),
        alone=re.compile(rf"{_BEFORE}(?<!\b[A-Za-z]\(){capital}{_AFTER}"),
        more=re.compile(
            rf"{_CLOSE}\s*(?:[,/&]|and|or)+(?:\s+(?:or|and))?(?:\s+(?:option|choice))?{_OPEN}{_BEFORE}{letter}{_AFTER}"
            r"(?!\s+(?:is|was)\b)"
        ),
    )


def chosen_letter(text: str, options: Options) -> str | None:
    """Find the letter that a text chooses; None where it chooses none, or more than one."""
    text = _STYLE.sub("", text).strip()
    for look in (_whole, _boxed, _stated, _opening, _marked, _mentioned):
        found = look(text, options)
        if found is not None:
            return found.pop() if len(found) == 1 else None
    return None


def squeezed(text: str) -> str:
    """Reduce an option's text to what is compared: lower case, single spaces, no wrapping."""
    text = _lowered(" ".join(text.split()))
    return text.strip(_WRAPPING) or text


# Each of these looks in one place: it gives the letters found there, or None where the place says nothing.


def _whole(text: str, options: Options) -> set[str] | None:
    match = _patterns(options.letters).bare.fullmatch(text)
    letter = options.letter(match[1]) if match else options.with_text(squeezed(text))
    return None if letter is None else {letter}


def _boxed(text: str, options: Options) -> set[str] | None:
    box = last_box(text)
    return None if box is None else _whole(box, options) or _opening(box, options)


def _stated(text: str, options: Options) -> set[str] | None:
    patterns = _patterns(options.letters)
    said: list[tuple[int, set[str]]] = []
    for statement in patterns.said.finditer(text):
        letters = _said_at(text, statement.end(), options)
        if letters:
            said.append((statement.start(), letters))
    for match in patterns.praised.finditer(text):
        letter = options.letter(match[1])
        if letter is not None and not _DENIED_BEFORE.search(text, max(0, match.start() - _NEAR), match.start()):
            said.append((match.start(), {letter}))
    last_line = text.rpartition("\n")[2]
    bare = patterns.bare.fullmatch(last_line)
    if bare:
        said.append((len(text), {str(options.letter(bare[1]))}))
    return max(said, key=lambda found: found[0])[1] if said else None


def _said_at(text: str, position: int, options: Options) -> set[str]:
    """Find what stands directly after "the answer is"."""
    named = _text_at(text, position, options)
    if named:
        return named
    match = _patterns(options.letters).here.match(text, position)
    if match is None or not _is_letter(match[1], text, match.end()) or _DENIED_AFTER.match(text, match.end()):
        return set()
    letters = {match[1]}
    more = _patterns(options.letters).more.match(text, match.end())
    if more and _is_letter(more[1], text, more.end()):
        letters.add(more[1])
    return {str(options.letter(letter)) for letter in letters}


def _text_at(text: str, position: int, options: Options) -> set[str]:
    longest = max(map(len, options.texts), default=0)
    rest = _lowered(" ".join(text[position : position + 2 * longest + 50].split())).lstrip(_WRAPPING)
    for option, letters in options.by_length():
        if len(option) > 1 and rest.startswith(option) and not rest[len(option) : len(option) + 1].isalnum():
            return letters
    return set()


def _is_letter(letter: str, text: str, end: int) -> bool:
    """Tell a letter that was said to be the answer from the article "a" and the pronoun "I"."""
    word = _WORD.match(text, end)
    if letter.upper() not in {"A", "I"} or word is None:
        return True
    return (letter.isupper() and word[0][-1].isupper()) or _GOES_ON.match(text, end) is not None


def _opening(text: str, options: Options) -> set[str] | None:
    opening = _patterns(options.letters).opening
    letters = {str(options.letter(match[1])) for match in opening.finditer(text)}
    return letters if len(letters) == 1 and opening.match(text) else None


def _marked(text: str, options: Options) -> set[str] | None:
    matches = _patterns(options.letters).marked.finditer(text)
    letters = {
        str(options.letter(match[1])) for match in matches if not _denied(text, match.start(1), match.end(1))
    }
    return letters if len(letters) == 1 else None


def _mentioned(text: str, options: Options) -> set[str] | None:
    text = " ".join(text.split())
    lowered = _lowered(text)
    found: set[str] = set()
    for option, letters in options.by_length():
        places = list(_places(option, lowered))
        if not all(_denied(text, start, end) for start, end in places):
            found |= letters
        # What an option's text covers is neither a letter nor part of a shorter text.
        text, lowered = _blanked(text, places), _blanked(lowered, places)
    for match in _patterns(options.letters).alone.finditer(text):
        letter, end = match[1], match.end()
        if letter in "Ii" and _WORD.match(text, end):
            continue
        if letter in "Aa" and _WORD.match(text, end) and not _GOES_ON.match(text, end):
            continue
        if not _denied(text, match.start(), end):
            found.add(str(options.letter(letter)))
    return found or None


def _places(option: str, text: str) -> Iterator[tuple[int, int]]:
    """Find where an option's text stands alone in a text."""
    start = text.find(option)
    while start >= 0:
        end = start + len(option)
        before, after = text[max(0, start - 1) : start], text[end : end + 1]
        decimals = after in {".", ","} and text[end + 1 : end + 2].isdigit()
        if not (before.isalnum() or before in {"-", ".", "\u2212"} or after.isalnum() or decimals):
            yield start, end
        start = text.find(option, end)


def _blanked(text: str, places: list[tuple[int, int]]) -> str:
    parts, done = [], 0
    for start, end in places:
        parts += [text[done:start], " " * (end - start)]
        done = end
    return "".join([*parts, text[done:]])


def _denied(text: str, start: int, end: int) -> bool:
    before = _DENIED_BEFORE.search(text, max(0, start - _NEAR), start)
    return before is not None or _DENIED_AFTER.match(text, end) is not None


def _lowered(text: str) -> str:
    """Lower a text, character by character, so that places in it stay the same."""
    lowered = text.lower()
    return (
        lowered if len(lowered) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    )
