from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import stamina
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st

from aeval import Retry, transient
from aeval.context import Record
from aeval.errors import ConfigurationError, RateLimited, ResultRefused
from aeval.testing import run_virtual


class Script:
    """A call that plays its outcomes one after another, the last one for ever; and when it was called."""

    def __init__(self, *outcomes: Any, seconds: float = 0.0) -> None:
        self.outcomes = outcomes
        self.seconds = seconds
        self.times: list[float] = []

    async def call(self) -> Any:
        """Play the next outcome."""
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        outcome = self.outcomes[min(len(self.times), len(self.outcomes)) - 1]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def waits(self) -> list[float]:
        """Seconds between one attempt's end and the next one's start."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [later - earlier - self.seconds for earlier, later in pairs]


def limited(**headers: str) -> RateLimited:
    return RateLimited(
        "slow down", status_code=429, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


def play(retry: Retry, script: Script) -> Any:
    """Run the script within the retry; return what it gives, or the error that it raises."""

    async def main() -> Any:
        try:
            return await retry(script.call)()
        except Exception as error:
            return error

    return run_virtual(main)


STEADY: dict[str, Any] = {"wait_jitter": 0.0}


def test_call_that_succeeds_is_made_once() -> None:
    """A call that succeeds is made once, and gives its result."""
    script = Script("fine")
    assert play(Retry(), script) == "fine"
    assert len(script.times) == 1


def test_call_is_tried_again_until_it_succeeds() -> None:
    """A call that fails in a way that may pass is made again, with growing waits, until it succeeds."""
    script = Script(ConnectionError(), TimeoutError(), limited(), "fine")
    assert play(Retry(attempts=9, **STEADY), script) == "fine"
    assert script.waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_last_error_comes_out_as_itself(attempts: int) -> None:
    """After the last attempt the call's own error comes out: the object that it raised."""
    errors = [ConnectionError(number) for number in range(attempts)]
    script = Script(*errors)
    assert play(Retry(attempts=attempts), script) is errors[-1]
    assert len(script.times) == attempts


@pytest.mark.parametrize("error", [ValueError("bad"), RateLimited("no", status_code=400), FileNotFoundError()])
def test_error_that_will_not_pass_is_not_retried(error: Exception) -> None:
    """An error that no further attempt can mend comes out at once."""
    script = Script(error)
    assert play(Retry(), script) is error
    assert len(script.times) == 1


def test_error_that_will_not_pass_ends_the_attempts() -> None:
    """An error that cannot be mended ends the attempts, whichever of them it comes from."""
    error = ValueError("bad")
    script = Script(ConnectionError(), error, "never")
    assert play(Retry(attempts=9), script) is error


@pytest.mark.parametrize(
    ("on", "retried"),
    [
        (LookupError, True),
        (KeyError, True),
        (ValueError, False),
        ((), False),
        ((ValueError, KeyError), True),
        (lambda error: "x" in str(error), True),
        (lambda error: False, False),
    ],
)
def test_which_errors_are_retried_can_be_said(on: Any, retried: bool) -> None:
    """Errors to retry are told by a class, several, or a function of the error."""
    script = Script(KeyError("x"), "fine")
    result = play(Retry(on=on), script)
    assert (result == "fine") is retried


@pytest.mark.parametrize("seconds", [0.0, 7.5, 1000])
def test_function_of_the_error_may_give_the_seconds(seconds: float) -> None:
    """A function of the error may give the seconds to wait, which may be more than the longest wait."""
    script = Script(KeyError(), "fine")
    assert play(Retry(on=lambda error: seconds), script) == "fine"
    assert script.waits == [seconds]


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit()])
def test_what_is_no_exception_is_not_caught(end: BaseException) -> None:
    """What ends the program is not retried."""
    script = Script(end)
    with pytest.raises(type(end)):
        play(Retry(), script)
    assert len(script.times) == 1


def test_cancelled_in_backoff_it_ends() -> None:
    """A call that is cancelled while it waits for its next attempt ends, and is not made again."""
    script = Script(ConnectionError())

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Retry(wait_initial=10)(script.call)(), 3.0)
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == 3.0
    assert len(script.times) == 1


@given(
    initial=st.floats(0, 10),
    most=st.floats(0, 100),
    jitter=st.floats(0, 5),
    base=st.floats(1, 4),
)
@settings(max_examples=50, deadline=None)
def test_waits_grow_within_their_bounds(initial: float, most: float, jitter: float, base: float) -> None:
    """Each wait is what its formula says, with no more chance in it than allowed, and never above the longest."""
    script = Script(ConnectionError())
    play(Retry(attempts=6, wait_initial=initial, wait_max=most, wait_jitter=jitter, wait_exp_base=base), script)
    for number, wait in enumerate(script.waits):
        steady = initial * base**number
        assert min(most, steady) * 0.999999 <= wait <= min(most, steady + jitter) * 1.000001 + 1e-9


def test_jitter_differs() -> None:
    """Calls that failed together do not come back together."""
    scripts = [Script(ConnectionError(), "fine") for _ in range(20)]

    async def main() -> None:
        retry = Retry()
        await asyncio.gather(*(retry(script.call)() for script in scripts))

    run_virtual(main)
    assert len({script.waits[0] for script in scripts}) > 10


# Retry-After.


@pytest.mark.parametrize("headers", [{"retry_after": "7"}, {"retry_after_ms": "7000"}, {"retry_after": "7.0"}])
@pytest.mark.parametrize("on", [transient.is_transient, RateLimited, lambda error: True])
def test_wait_that_the_server_asks_for_is_kept(headers: dict[str, str], on: Any) -> None:
    """The seconds in Retry-After are waited for exactly, however the error was chosen."""
    script = Script(limited(**headers), "fine")
    assert play(Retry(on=on), script) == "fine"
    assert script.waits == [7.0]


def test_date_that_the_server_asks_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A date in Retry-After is waited for."""
    now = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    monkeypatch.setattr(transient, "time", SimpleNamespace(time=lambda: now))
    at = format_datetime(datetime.fromtimestamp(now + 42, UTC), usegmt=True)
    script = Script(limited(retry_after=at), "fine")
    assert play(Retry(), script) == "fine"
    assert script.waits == [42.0]


def test_wait_of_the_server_may_be_longer_than_the_longest() -> None:
    """A Retry-After may be longer than the longest wait of one's own."""
    script = Script(limited(retry_after="500"), "fine")
    assert play(Retry(wait_max=5.0), script) == "fine"
    assert script.waits == [500.0]


@pytest.mark.parametrize(
    ("asked", "most", "waited"), [("600", 600.0, True), ("601", 600.0, False), ("9", 8.5, False)]
)
def test_wait_that_is_too_long_fails_at_once(asked: str, most: float, waited: bool) -> None:
    """Where the server asks for more than is put up with, its error comes out at once."""
    error = limited(retry_after=asked)
    script = Script(error, "fine")
    result = play(Retry(max_retry_after=most), script)
    assert result == "fine" if waited else result is error
    assert script.waits == ([float(asked)] if waited else [])


# Results.


def test_result_that_is_refused_is_tried_again() -> None:
    """A result that is refused is tried again as an error is."""
    script = Script("", None, "fine")
    assert play(Retry(results=lambda result: not result, **STEADY), script) == "fine"
    assert script.waits == [1.0, 2.0]


@pytest.mark.parametrize(("result", "shown"), [("bad", "'bad'"), ("x" * 300, "xxx...")])
def test_result_that_is_refused_to_the_end_is_an_error(result: str, shown: str) -> None:
    """A result that is refused at every attempt is an error that shows and holds it."""
    error = play(Retry(results=lambda _: True), Script(result))
    assert isinstance(error, ResultRefused)
    assert str(error).endswith(f"refused at every attempt; the last one: {shown}") or shown in str(error)
    assert error.result == result


def test_result_refused_within_is_not_retried_without() -> None:
    """What an inner Retry gave up is not begun again by one around it."""
    script = Script("bad")
    inner, outer = Retry(attempts=2, results=lambda _: True), Retry(attempts=5, on=Exception)
    assert isinstance(play(outer, SimpleNamespace(call=inner(script.call))), ResultRefused)  # type: ignore[arg-type]
    assert len(script.times) == 2


# What is noted.


def test_retried_attempts_are_noted(record: Record) -> None:
    """Each attempt that was tried again is noted with its error, what it took, and the wait behind it."""
    script = Script(limited(retry_after="5"), ConnectionError("gone"), "fine", seconds=2.0)
    play(Retry(**STEADY), script)
    noted = [(a.kind, a.message, a.status, a.refused, a.duration, a.backoff) for a in record.retried]
    assert noted == [
        ("RateLimited", "slow down", 429, True, 2.0, 5.0),
        ("ConnectionError", "gone", None, False, 2.0, 2.0),
    ]
    assert record.backoff == 7.0
    assert (record.lane.totals.retried, record.lane.totals.refused) == (2, 1)


def test_last_attempt_is_not_noted_as_retried(record: Record) -> None:
    """The attempt whose error comes out was not tried again."""
    play(Retry(attempts=3), Script(ConnectionError()))
    assert len(record.retried) == 2


def test_refused_results_are_noted(record: Record) -> None:
    """An attempt whose result was refused is noted as such."""
    play(Retry(results=lambda result: not result), Script("", "fine"))
    assert [attempt.kind for attempt in record.retried] == ["ResultRefused"]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """A retry writes nothing to a program's output that set up no logging."""
    play(Retry(), Script(ConnectionError(), "fine"))
    assert capfd.readouterr() == ("", "")


def test_wrapped_call_is_the_call() -> None:
    """The name of the wrapped call is the call's."""
    script = Script("fine")
    policy = tenacity.AsyncRetrying()
    for retry in (Retry(), Retry(policy), Retry(results=bool)):
        assert (retry(script.call).__name__, retry(script.call).__doc__) == ("call", "Play the next outcome.")


@pytest.fixture
def stamina_off() -> Iterator[None]:
    stamina.set_active(False)
    yield
    stamina.set_active(True)


@pytest.mark.usefixtures("stamina_off")
def test_stamina_switched_off_makes_one_attempt(record: Record) -> None:
    """Where stamina was deactivated, as tests do, there is one attempt, and its own error comes out."""
    error = ConnectionError()
    script = Script(error)
    assert play(Retry(attempts=5), script) is error
    assert len(script.times) == 1
    assert record.retried == ()


# tenacity's rules.


def rules(**options: Any) -> tenacity.AsyncRetrying:
    options = {"wait": tenacity.wait_fixed(3), "stop": tenacity.stop_after_attempt(3)} | options
    return tenacity.AsyncRetrying(**options)


def test_tenacity_decides_on_errors(record: Record) -> None:
    """A tenacity policy decides which errors are retried, how often, and after how long."""
    script = Script(KeyError("x"), KeyError("x"), "fine", seconds=1.0)
    assert play(Retry(rules(retry=tenacity.retry_if_exception_type(KeyError))), script) == "fine"
    assert script.waits == [3.0, 3.0]
    assert [(a.kind, a.duration, a.backoff) for a in record.retried] == [("KeyError", 1.0, 3.0)] * 2


@pytest.mark.parametrize("reraise", [False, True])
def test_tenacity_gives_up_with_the_calls_own_error(reraise: bool) -> None:
    """After the last attempt the call's own error comes out, not tenacity's, whatever the policy says."""
    errors = [KeyError(number) for number in range(3)]
    assert play(Retry(rules(reraise=reraise)), Script(*errors)) is errors[-1]


def test_tenacity_lets_other_errors_out() -> None:
    """An error that the policy does not retry comes out at once."""
    error = ValueError("bad")
    script = Script(error)
    assert play(Retry(rules(retry=tenacity.retry_if_exception_type(KeyError))), script) is error
    assert len(script.times) == 1


def test_tenacity_decides_on_results(record: Record) -> None:
    """A tenacity policy may refuse results; to the end, that is an error that holds the last one."""
    policy = rules(retry=tenacity.retry_if_result(lambda result: not result))
    assert play(Retry(policy), Script("", "fine")) == "fine"
    assert [attempt.kind for attempt in record.retried] == ["ResultRefused"]
    error = play(Retry(policy), Script(""))
    assert isinstance(error, ResultRefused)
    assert error.result == ""


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_tenacity_hook_is_called(kind: str) -> None:
    """The policy's own hook before a sleep is called, be it sync or async, with the state of its call."""
    seen: list[int] = []

    def sync_hook(state: tenacity.RetryCallState) -> None:
        seen.append(state.attempt_number)

    async def async_hook(state: tenacity.RetryCallState) -> None:
        await asyncio.sleep(1)
        seen.append(state.attempt_number)

    policy = rules(before_sleep=sync_hook if kind == "sync" else async_hook)
    script = Script(KeyError(), KeyError(), "fine")
    assert play(Retry(policy), script) == "fine"
    assert seen == [1, 2]
    assert script.waits == ([3.0, 3.0] if kind == "sync" else [4.0, 4.0])


def test_one_tenacity_policy_serves_calls_at_once() -> None:
    """Calls that share a policy each have attempts of their own."""
    scripts = [Script(*[KeyError()] * failures, "fine") for failures in (0, 1, 2, 2)]

    async def main() -> list[str]:
        retry = Retry(rules())
        return await asyncio.gather(*(retry(script.call)() for script in scripts))

    assert run_virtual(main) == ["fine"] * 4
    assert [len(script.times) for script in scripts] == [1, 2, 3, 3]


def test_tenacity_error_of_the_call_itself_comes_out() -> None:
    """A RetryError that the call itself raised, by a policy of its own within, gives the error behind it."""
    error = KeyError("x")

    @rules().wraps
    async def inner() -> None:
        raise error

    async def main() -> None:
        await Retry(rules(retry=tenacity.retry_never))(inner)()

    with pytest.raises(KeyError) as caught:
        run_virtual(main)
    assert caught.value is error


# Arguments.


@pytest.mark.parametrize("value", [0, -1, True, False, 2.0, float("nan"), "3", None, tenacity.Retrying()])
def test_attempts_that_cannot_be_are_refused(value: Any) -> None:
    """The attempts must be a whole number of 1 or more, or an async policy of tenacity's."""
    with pytest.raises(ConfigurationError, match="Retry's attempts is ") as caught:
        Retry(value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [-1, -0.5, True, float("nan"), float("inf"), "3", None])
@pytest.mark.parametrize(
    "name", ["wait_initial", "wait_max", "wait_jitter", "wait_exp_base", "max_retry_after"]
)
def test_number_that_cannot_be_is_refused(name: str, value: Any) -> None:
    """Waits must be finite numbers of 0 or more; the error names which is not, and what was given."""
    with pytest.raises(ConfigurationError, match=f"Retry's {name} is {value!r}: give a number, 0 or more"):
        Retry(**{name: value})


@pytest.mark.parametrize(
    "on", [5, None, "ValueError", [ValueError], (ValueError, 5), int, asyncio.CancelledError]
)
def test_errors_that_cannot_be_are_refused(on: Any) -> None:
    """What says which errors to retry must be exceptions' classes or a function."""
    with pytest.raises(ConfigurationError, match="Retry's on is ") as caught:
        Retry(on=on)
    assert repr(on) in str(caught.value)


def test_results_that_cannot_be_are_refused() -> None:
    """What says which results to retry must be a function."""
    results: Any = "bad"
    with pytest.raises(ConfigurationError, match="Retry's results is 'bad': give a function of a result"):
        Retry(results=results)


def test_shows_itself() -> None:
    """A retry shows its attempts, or whose rules it follows."""
    policy = rules()
    assert repr(Retry(attempts=5)) == "Retry(5)"
    assert repr(Retry(policy)) == f"Retry({policy!r})"


def test_outside_of_a_sample_nothing_is_noted() -> None:
    """A retry works as well where no sample is being run."""
    assert run_virtual(partial(Retry()(Script(ConnectionError(), "fine").call))) == "fine"
