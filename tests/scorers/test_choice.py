from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.errors import ConfigurationError, ScoreError
from aeval.scorers import multiple_choice

CITIES = ["Rome", "Paris", "Paris, Texas", "a dog"]


@pytest.mark.parametrize(
    ("expected", "choices"),
    [
        ("B", "ABCD"),
        ("b", "ABCD"),
        ("(B)", "ABCD"),
        (" B. ", "ABCD"),
        (1, "ABCD"),
        ("B", CITIES),
        (1, CITIES),
        ("Paris", CITIES),
        ("paris.", CITIES),
        ("B", tuple(CITIES)),
        ("B", {"A": "Rome", "B": "Paris"}),
        ("Paris", {"A": "Rome", "B": "Paris"}),
        ("B", {"label": ["A", "B"], "text": ["Rome", "Paris"]}),
        ("B", {"text": ["Rome", "Paris"], "label": ["A", "B"]}),
    ],
)
def test_expected(expected, choices):
    """The right option is given as a letter, a place from 0, or a text."""
    score = multiple_choice("The answer is (B).", expected, choices=choices)
    assert (score.value, score.metadata) == (True, {"extracted": "B"})
    assert multiple_choice("The answer is (A).", expected, choices=choices).value is False


@pytest.mark.parametrize("letters", ["abcd", "ABCD", "1234", "WXYZ"])
def test_letters_as_given(letters):
    """The extracted letter is written as the choices write it, whichever letters they are."""
    second = letters[1]
    for text in (second.upper(), second.lower(), f"The answer is {second}.", f"({second})", f"I take {second}"):
        assert multiple_choice(text, 1, choices=letters).metadata == {"extracted": second}


@pytest.mark.parametrize("expected", ["E", "AB", "", "London", 4, -1, 1.0, True, ["A"], "Paris, France"])
def test_expected_is_no_choice(expected):
    """An expected answer that is none of the choices is an error that names them."""
    with pytest.raises(
        ScoreError, match=r"is none of the choices: give one of A, B, C, D, an option's place from 0 to 3"
    ):
        multiple_choice("A", expected, choices=CITIES)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ("", "are fewer than two"),
        ("A", "are fewer than two"),
        ("ABA", "use a letter twice"),
        ("Aa", "use a letter twice"),
        ("A B", "label that is not one letter or digit"),
        ({"yes": 1, "no": 0}, "label that is not one letter or digit"),
        ({"label": ["A", "B"], "text": ["Rome"]}, "are 1 texts for 2 letters"),
        (["x"] * 27, "are 27 texts for 26 letters"),
        ({"Rome", "Paris"}, "are not a sequence of options"),
        (4, "are not a sequence of options"),
        ({"label": "AB", "text": ["Rome", "Paris"]}, "are not a sequence of options"),
    ],
)
def test_unusable_choices(choices, message):
    """Choices that cannot work are an error that says why."""
    with pytest.raises(ConfigurationError, match=f"the choices of multiple_choice, .*{message}"):
        multiple_choice("A", "A", choices=choices)


def test_reason():
    """A wrong answer says what was chosen, or that nothing was."""
    assert multiple_choice("It is B", "C").reason == "chose B, expected C"
    assert multiple_choice("Pass", "C").reason == "no single choice of A, B, C, D in 'Pass', expected C"
    assert multiple_choice("Pass", "C").metadata == {"extracted": None}


@given(
    text=st.text(),
    choices=st.sampled_from(["ABCD", "abc", "12345", CITIES, dict(zip("PQ", CITIES, strict=False))]),
)
def test_only_choices(text, choices):
    """What is extracted is one of the choices' letters, or None."""
    letters = "ABCD" if isinstance(choices, list) else list(choices)
    assert multiple_choice(text, 0, choices=choices).metadata["extracted"] in {*letters, None}


PIECES = [
    "A",
    "B",
    "a",
    "I",
    "K",
    " ",
    "\n",
    "(",
    ")",
    "**",
    ".",
    ":",
    ",",
    "answer",
    " is ",
    "not ",
    "or",
    "\\boxed{",
    "}",
    "\u212a",
    "\u0130",
    "\u017f",
    "Paris",
]


@given(text=st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_only_choices_among_many(text):
    """However letters and words are strung together, what is extracted is one of the choices' letters, or None."""
    extracted = multiple_choice(text, 0, choices="ABIKS").metadata["extracted"]
    assert extracted in {*"ABIKS", None}
    extracted = multiple_choice(text, 0, choices=["Paris", "\u0130\u0130", "s", "k"]).metadata["extracted"]
    assert extracted in {*"ABCD", None}
