from __future__ import annotations

import copy
import functools
import pickle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval import Failure, Result, Score, Timing, Usage
from aeval.context import Record, result_of
from aeval.errors import RateLimited, ScoreError
from aeval.result import RetriedAttempt

COUNTS = st.integers(min_value=0, max_value=10**12)


def made(**fields: object) -> Result[object, object]:
    """Return a result as it comes out of a run."""
    record = Record("7", 6, 1, ("row",))
    given_fields = {
        "output": "out",
        "scores": {"s": Score(True, "s")},
        "error": None,
        "usage": None,
        "metadata": {},
    } | fields
    return result_of(record, "quiz", 2.5, *given_fields.values())  # type: ignore[arg-type]


def test_usage_adds_up() -> None:
    """Two usages add up field by field, and the tokens of both directions are the total."""
    total = Usage(10, 5, 2, 1, 3) + Usage(1, 2, 3, 4, 4)
    assert total == Usage(input_tokens=11, output_tokens=7, cached_input_tokens=5, requests=5, cache_hits=7)
    assert total.total_tokens == 18


@given(st.lists(st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)))
def test_usage_adds_up_in_any_order(usages: list[Usage]) -> None:
    """The order in which usages are added does not matter."""
    assert functools.reduce(Usage.__add__, usages, Usage()) == functools.reduce(
        Usage.__add__, usages[::-1], Usage()
    )


def test_timing_gives_the_scorers_what_is_left() -> None:
    """What is neither waited nor spent in the task was spent in the scorers."""
    assert Timing(total=10.0, slot=1.0, rate=2.0, backoff=3.0, task=1.5).scorers == 2.5


def test_timing_of_scorers_is_never_negative() -> None:
    """Waits of calls that went on at once may add up to more than the whole; no time is negative then."""
    assert Timing(total=1.0, slot=5.0).scorers == 0.0


def test_retried_attempt_describes_its_error() -> None:
    """An attempt that was tried again keeps the error's class, message, status, and whether it was for load."""
    attempt = RetriedAttempt.of(RateLimited("slow", status_code=429), duration=0.5, backoff=2.0)
    assert attempt == RetriedAttempt("RateLimited", "slow", 429, refused=True, duration=0.5, backoff=2.0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("bad"), Failure("ValueError", "bad")),
        (ConnectionResetError("gone"), Failure("ConnectionResetError", "gone", retriable=True)),
        (
            RateLimited("slow", status_code=429),
            Failure("RateLimited", "slow", retriable=True, status=429, refused=True),
        ),
    ],
)
def test_failure_describes_its_error(error: Exception, expected: Failure) -> None:
    """A failure has the error's class and message, and says whether trying again may help."""
    assert attrs.evolve(Failure.of(error), chain=()) == expected


@pytest.mark.parametrize(("error", "text"), [(ValueError("bad"), "ValueError: bad"), (KeyError(), "KeyError")])
def test_failure_as_text(error: Exception, text: str) -> None:
    """A failure's text is the class and the message, where there is one."""
    assert str(Failure.of(error)) == text


def test_traceback_shows_the_place_and_the_chain() -> None:
    """A traceback shows the line of the user's code that raised, and the errors that it was raised from."""

    def inner() -> None:
        raise KeyError("missing")

    def outer() -> None:
        try:
            inner()
        except KeyError as error:
            raise ValueError("no answer") from error

    try:
        outer()
    except ValueError as error:
        text = Failure.of(error).traceback
    assert text.index("KeyError: 'missing'") < text.index("direct cause") < text.index("ValueError: no answer")
    assert 'raise ValueError("no answer") from error' in text
    assert f'File "{__file__}"' in text
    assert ", in inner" in text


def test_traceback_shows_an_error_while_another_was_handled() -> None:
    """An error that was raised while another was handled shows both, unless the other was suppressed."""
    texts = []
    for suppress in (False, True):
        try:
            try:
                raise KeyError("first")
            except KeyError:
                if suppress:
                    raise ValueError("second") from None
                raise ValueError("second")  # noqa: B904 - the implicit chain is what is tested
        except ValueError as error:
            texts.append(Failure.of(error).traceback)
    assert "During handling of the above exception" in texts[0]
    assert "first" not in texts[1]


def test_traceback_ends_where_a_chain_is_a_circle() -> None:
    """Errors that name each other as their causes do not make a traceback without end."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert Failure.of(first).traceback.count("first") == 1


def test_traceback_leaves_out_our_own_frames() -> None:
    """A traceback shows no frame of the library itself, and names errors by their module."""
    try:
        Result(None)
    except ScoreError as error:
        text = Failure.of(error).traceback
    assert "test_result.py" in text
    assert "score.py" not in text
    assert "aeval.errors.ScoreError: the scorer 'score' returned nothing" in text


def test_traceback_of_an_error_that_was_not_raised() -> None:
    """An error that was never raised has a traceback of its own line only."""
    assert Failure.of(ValueError()).traceback == "ValueError"


def test_traceback_without_source_has_its_places() -> None:
    """Where the source cannot be read, as of code that was typed in, a traceback has the places alone."""
    try:
        exec(compile("1 / 0", "typed in", "exec"))
    except ZeroDivisionError as error:
        lines = Failure.of(error).traceback.splitlines()
    assert lines[-2:] == ['  File "typed in", line 1, in <module>', "ZeroDivisionError: division by zero"]


def test_endless_recursion_makes_a_short_traceback() -> None:
    """Of a very deep stack only the outermost hundred places are kept."""

    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as caught:
        deeper()
    assert Failure.of(caught.value).traceback.count("  File ") == 100


def test_result_built_by_a_scorer() -> None:
    """A scorer's own Result makes scores of what it is given, and keeps other keywords as metadata."""
    result: Result[object, str] = Result(True, Score(0.5, "style"), output="4", metadata={"a": 1}, prompt="2+2")
    assert {name: score.value for name, score in result.scores.items()} == {"score": True, "style": 0.5}
    assert result.metadata == {"a": 1, "prompt": "2+2"}
    assert (result.output, result.ok, result.value, result.attempts) == ("4", True, None, 1)


def test_result_numbers_scores_without_names() -> None:
    """Several scores without names are numbered."""
    assert list(Result(1, 2, 3).scores) == ["score", "score_2", "score_3"]


def test_result_refuses_what_is_no_score() -> None:
    """A Result cannot be built of what is no score."""
    with pytest.raises(ScoreError, match="returned a object"):
        Result(object())


def test_result_of_a_run() -> None:
    """A run's result names the sample, its evaluation, the row, its scores and its time."""
    result = made()
    assert type(result) is Result
    assert (result.id, result.index, result.repeat, result.evaluation, result.row) == (
        "7",
        6,
        1,
        "quiz",
        ("row",),
    )
    assert (result.value, result.ok, result.error, result.attempts) == (True, True, None, 1)
    assert result.timing == Timing(total=2.5)


def test_errored_result_has_no_value() -> None:
    """A sample that errored has no value and is not ok."""
    result = made(scores={}, error=Failure("ValueError", "bad"))
    assert result.value is None
    assert not result.ok


def test_result_counts_and_times_what_was_noted() -> None:
    """Waits and retried attempts that were noted while the sample ran are in its result."""
    record = Record("7", 6, 0, "row")
    record.wait(slot=1.0, rate=0.5)
    record.retried = (RetriedAttempt("E", "m", None, refused=False, duration=1.0, backoff=2.0),)
    result = result_of(record, "quiz", 9.0, None, {}, None, None, {})
    assert result.attempts == 2
    assert result.timing == Timing(total=9.0, slot=1.0, rate=0.5)


@pytest.mark.parametrize("result", [made(), Result(True)], ids=["of a run", "of a scorer"])
def test_result_is_frozen(result: Result[object, object]) -> None:
    """A result's fields can be neither set nor deleted."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        result.output = "other"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del result.output


@pytest.mark.parametrize("remake", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
@pytest.mark.parametrize(
    "result",
    [made(error=Failure("E", "m", chain=((("f", 1, "g"),), "E: m", ""))), Result(True)],
    ids=["of a run", "of a scorer"],
)
def test_result_can_be_copied_and_pickled(result: Result[object, object], remake: object) -> None:
    """A result can be copied and pickled."""
    again = remake(result)  # type: ignore[operator]
    assert again == result
    assert type(again) is Result


def test_result_as_html_is_escaped() -> None:
    """In a notebook a result shows itself, and nothing of it is taken for HTML."""
    html = made(output="<script>", metadata={}, scores={"s": Score(True, "s", "<b>why</b>")})._repr_html_()
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;why&lt;/b&gt;" in html
    assert "<script>" not in html


def test_errored_result_as_html() -> None:
    """An errored result shows its error, and no output where there was none."""
    html = made(output=None, scores={}, error=Failure("ValueError", "1 < 2"))._repr_html_()
    assert "ValueError: 1 &lt; 2" in html
    assert "output" not in html
