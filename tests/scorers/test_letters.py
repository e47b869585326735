from __future__ import annotations

from time import process_time

import pytest

from aeval.scorers.letters import Options, chosen_letter, squeezed

LETTERS = Options(tuple("ABCD"))
CITIES = Options(tuple("ABCD"), ("rome", "paris", "paris, texas", "a dog"))


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        # Nothing but a letter.
        ("B", "B"),
        ("b", "B"),
        ("a", "A"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("**(B).**", "B"),
        ("'B'", "B"),
        ("$B$", "B"),
        (r"\text{B}", "B"),
        # In a box.
        (r"\boxed{C}", "C"),
        (r"Not A: $\boxed{\text{C}}$", "C"),
        (r"\boxed{A}, no: \boxed{\textbf{(C)} 42}", "C"),
        (r"\boxed{42}, which is option B", "B"),
        # Said to be the answer.
        ("The answer is (B).", "B"),
        ("The answer is B, a city in Italy, and A is not.", "B"),
        ("Answer: b", "B"),
        ("Answer: d.", "D"),
        ("**Answer:** B", "B"),
        ("**Answer: B**", "B"),
        ("Answer:\n\n**(B)**", "B"),
        ("Answer: A\nExplanation: B is wrong", "A"),
        ("Answer: A Because", "A"),
        ("ANSWER B", "B"),
        ("Answer - B", "B"),
        ('{"answer": "C"}', "C"),
        ("correct_answer=C", "C"),
        ("The answer is A because it is not B", "A"),
        ("The correct option is option (d)", "D"),
        ("The answer to the question is therefore (B).", "B"),
        ("The answer would be: C.", "C"),
        (r"The answer is: \text{(B)}", "B"),
        ("I would go with D", "D"),
        ("I'd pick a", "A"),
        ("(A) is incorrect, (B) is correct", "B"),
        ("Option A is wrong. Option B is the best. Option C is wrong.", "B"),
        ("The answer is B. No wait, the answer is C.", "C"),
        ("The answer is not A but B", "B"),
        ("Between A and B I waver.\n\nC", "C"),
        ("A: C", "C"),
        # Opening the output.
        ("B) Paris", "B"),
        ("B. Paris, not C", "B"),
        ("(B) Paris, as A and C are not", "B"),
        ("B: Paris\nBecause A is in Texas", "B"),
        ("A: Paris", "A"),
        # Marked.
        ("I take **C**, as (C) beats A", "C"),
        # Alone.
        ("A good answer is C", "C"),
        ("I think B", "B"),
        ("Not A; it must be B", "B"),
        ("It isn't (A), so C", "C"),
        ("A is wrong, I take B", "B"),
        ("\u7b54\u6848\u662fB\u3002", "B"),
        ("<answer>B</answer>", "B"),
    ],
)
def test_chosen(text, letter):
    """The letter that a text chooses is found."""
    assert chosen_letter(text, LETTERS) == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I don't know",
        "E",
        "A dog",
        "a dog",
        "It is a.",
        "Answer: A dog",
        "The answer is a good one",
        "Either A or B",
        "The answer is A or B.",
        "The correct answers: A, B.",
        "The correct answer is A, B.",
        "Answer: B/C",
        "The answer is not A.",
        "not A",
        "The wrong answer is A.",
        "Answer A is wrong.",
        "I would never choose B",
        "I don't pick B, nor C",
        "A) Paris\nB) Rome\nC) London",
        "I like C++, B's and A-levels, and vitamin-C",
        "P(A) = 0.5",
        "Both (A) and (B)",
    ],
)
def test_none_chosen(text):
    """Where a text chooses no letter, or several, there is none."""
    assert chosen_letter(text, LETTERS) is None


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Paris", "B"),
        ("**paris.**", "B"),
        ("It's  Paris,\nTexas!", "C"),
        ("The answer is Paris, not Rome", "B"),
        ("Answer: A dog", "D"),
        ("Answer: **Paris, Texas**", "C"),
        (r"\boxed{Paris}", "B"),
        ("not Rome but Paris", "B"),
        ("B) Rome", "B"),
        ("Rome or Paris", None),
        ("A, which is Paris", None),
        ("Parisian", None),
        ("Answer: Parisian", None),
        ("\u0130 think: Paris", "B"),
    ],
)
def test_texts(text, letter):
    """An answer in the words of an option chooses it, the longest option first; a letter goes before."""
    assert chosen_letter(text, CITIES) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("it is -5", "B"),
        ("5", "A"),
        ("10.5", None),
        ("it is 10.", "C"),
        ("The answer is 5", "A"),
        ("x = 1", "D"),
        ("2", None),
    ],
)
def test_texts_that_are_numbers(text, letter):
    """A number chooses the option that is this number, not one that is a part of it."""
    assert chosen_letter(text, Options(tuple("ABCD"), ("5", "-5", "10", "1"))) == letter


def test_texts_that_hold_letters():
    """A letter inside an option's text is not a letter that was chosen."""
    options = Options(tuple("ABCD"), ("vitamin a", "vitamin b", "iron", "vitamin c"))
    assert chosen_letter("She lacks vitamin C", options) == "D"


def test_the_same_text_twice():
    """A text that two options have chooses neither."""
    options = Options(tuple("ABC"), ("rome", "rome", "paris"))
    assert chosen_letter("Rome", options) is None
    assert chosen_letter("The answer is Rome", options) is None
    assert chosen_letter("The answer is Paris", options) == "C"


def test_letters_that_only_look_alike():
    """A sign that Unicode folds to a letter, such as that of the kelvin, is not the letter."""
    assert chosen_letter("\u212a is correct", Options(("J", "K"))) is None


@pytest.mark.parametrize(
    ("text", "letter"),
    [("I think it is J", "J"), ("I am sure", None), ("The answer is I because", "I"), ("(I)", "I")],
)
def test_the_pronoun(text, letter):
    """Where I is an option, the pronoun is not taken for it."""
    assert chosen_letter(text, Options(tuple("ABCDEFGHIJ"))) == letter


@pytest.mark.parametrize(
    ("text", "squeezed_text"), [(" **Paris,\n Texas.** ", "paris, texas"), ("?", "?"), ("f(x)", "f(x")]
)
def test_squeezed(text, squeezed_text):
    """A text is reduced to its words, unless nothing would be left."""
    assert squeezed(text) == squeezed_text


@pytest.mark.parametrize(
    "piece",
    [
        "A",
        "A ",
        "A.",
        "A\n",
        "(",
        "(A)",
        " ",
        "answer is ",
        "answer to ",
        "answer ",
        "not ",
        "Paris ",
        "**",
        "A is ",
    ],
)
def test_long_texts(piece):
    """A text of a hundred thousand characters is read in about a second at most."""
    start = process_time()
    chosen_letter(piece * (100_000 // len(piece)), CITIES)
    assert process_time() - start < 2
