"""Retry: try again what may pass."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from aeval.clock import clock_of
from aeval.context import current_record
from aeval.errors import ConfigurationError, ResultRefused
from aeval.middleware.base import Middleware
from aeval.result import RetriedAttempt
from aeval.transient import is_transient, retry_after

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

__all__ = ["Retry"]

_QUIET = logging.NullHandler()

P = ParamSpec("P")
R = TypeVar("R")
On: TypeAlias = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool | float]


class Retry(Middleware):
    """Try a call again when it fails with an error that may pass, or returns a result that is refused.

    The wait before the next attempt is what the server asked for in `Retry-After`; else it grows
    exponentially, `min(wait_max, wait_initial * wait_exp_base ** (attempt - 1) + random(0, wait_jitter))`.
    Layers inside of this one are left while it waits: a call asleep holds no slot and no rate.

    :param attempts: attempts in all, 1 or more; or a tenacity `AsyncRetrying`, whose rules are then followed
        instead of those below
    :param on: which errors: a class, a tuple of classes, or a function that is given the error and returns
        whether to try again, or after how many seconds. By default connection errors, timeouts,
        network-related OS errors, and HTTP 408, 409, 425, 429 and 5xx, of whichever client.
    :param results: which results: a function that is given the result and returns whether to try again
    :param wait_initial: the first wait, in seconds
    :param wait_max: the longest wait, in seconds; a `Retry-After` may be longer
    :param wait_jitter: up to so many seconds, by chance, are added to each wait
    :param wait_exp_base: by what factor the wait grows with each attempt
    :param max_retry_after: the longest `Retry-After` that is waited for, in seconds; where a server asks for
        more the call fails at once with the server's error
    :raises ConfigurationError: if a number cannot be
    """

    def __init__(
        self,
        attempts: int | AsyncRetrying = 3,
        *,
        on: On = is_transient,
        results: Callable[[Any], bool] | None = None,
        wait_initial: float = 1.0,
        wait_max: float = 60.0,
        wait_jitter: float = 1.0,
        wait_exp_base: float = 2.0,
        max_retry_after: float = 600.0,
    ) -> None:
        policy: AsyncRetrying | None = None
        if isinstance(attempts, bool) or not isinstance(attempts, int):
            policy, attempts = _as_policy(attempts), 0
        elif attempts < 1:
            raise ConfigurationError(f"Retry's attempts is {attempts!r}: give a whole number, 1 or more")
        waits = {"wait_initial": wait_initial, "wait_max": wait_max, "wait_jitter": wait_jitter}
        for name, value in {
            **waits,
            "wait_exp_base": wait_exp_base,
            "max_retry_after": max_retry_after,
        }.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value >= 0):
                raise ConfigurationError(f"Retry's {name} is {value!r}: give a number, 0 or more")
        _check_rules(on, results)
        self._policy = policy
        self._attempts = attempts
        self._on = on
        self._results = results
        self._waits = {**waits, "wait_exp_base": wait_exp_base}
        self._max_retry_after = max_retry_after
        # Imported before the run starts, since the import takes long enough to hold up the loop. Its default hook
        # would print a line to stderr for every retry of a program that set up no logging.
        import stamina

        logging.getLogger("stamina").addHandler(_QUIET)
        self._retry_context = stamina.retry_context

    def __repr__(self) -> str:
        return f"Retry({self._policy or self._attempts!r})"

    def __call__(self, call: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]:
        """Wrap a call."""
        if self._policy is not None:
            return _with_tenacity(self._policy, call)
        retry_context = self._retry_context
        accepted = call if self._results is None else self._accepting(call)
        worth = self._worth

        @wraps(call)
        async def retried(*args: P.args, **kwargs: P.kwargs) -> R:
            loop = asyncio.get_running_loop()
            started = loop.time()
            try:
                return await accepted(*args, **kwargs)
            except Exception as caught:  # noqa: BLE001 - raised again below, by stamina
                error: Exception = caught
            # Stamina is entered only now: it costs more than most samples do. Its first attempt is the one
            # that was just made.
            now = loop.time
            failed = now()
            async for attempt in retry_context(on=worth, attempts=self._attempts, timeout=None, **self._waits):
                if attempt.num > 1:
                    resumed = now()
                    _note(error, duration=failed - started, backoff=resumed - failed)
                    started = resumed
                with attempt:
                    if attempt.num == 1:
                        raise error
                    try:
                        return await accepted(*args, **kwargs)
                    except Exception as caught:
                        error, failed = caught, now()
                        raise
            raise error  # pragma: no cover - stamina's last attempt raises by itself

        return retried

    def _accepting(self, call: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        """Make a call raise where its result is refused."""
        refused = self._results
        assert refused is not None

        async def accepting(*args: P.args, **kwargs: P.kwargs) -> R:
            result = await call(*args, **kwargs)
            if refused(result):
                raise _refusal(result)
            return result

        return accepting

    def _worth(self, error: Exception) -> bool | float:
        if isinstance(error, ResultRefused):
            return self._results is not None
        on = self._on
        if isinstance(on, (type, tuple)):
            verdict: bool | float = isinstance(error, on)
        else:
            given = on(error)
            verdict = given if isinstance(given, (int, float)) else bool(given)
        if verdict is not True:
            return verdict
        asked = retry_after(error)
        if asked is None:
            return True
        return asked if asked <= self._max_retry_after else False


def _check_rules(on: object, results: object) -> None:
    kinds = on if isinstance(on, tuple) else (on,)
    classes = all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds)
    if not classes and (isinstance(on, (type, tuple)) or not callable(on)):
        raise ConfigurationError(
            f"Retry's on is {on!r}: give a class of exceptions, a tuple of them, or a function of an error"
        )
    if results is not None and not callable(results):
        raise ConfigurationError(f"Retry's results is {results!r}: give a function of a result")


def _refusal(result: object) -> ResultRefused:
    text = repr(result)
    shown = text if len(text) <= 200 else text[:197] + "..."
    return ResultRefused(f"the result was refused at every attempt; the last one: {shown}", result)


def _note(error: BaseException, *, duration: float, backoff: float) -> None:
    record = current_record()
    if record is not None:
        record.retry(RetriedAttempt.of(error, duration=duration, backoff=backoff))


def _as_policy(attempts: object) -> AsyncRetrying:
    from tenacity import AsyncRetrying

    if not isinstance(attempts, AsyncRetrying):
        raise ConfigurationError(
            f"Retry's attempts is {attempts!r}: give a whole number, 1 or more, or a tenacity AsyncRetrying"
        )
    return attempts


def _with_tenacity(policy: AsyncRetrying, call: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    from tenacity import RetryError

    @wraps(call)
    async def retried(*args: P.args, **kwargs: P.kwargs) -> R:
        now = clock_of(asyncio.get_running_loop())
        started, failed = now(), 0.0
        pending: BaseException | None = None

        async def attempt() -> R:
            nonlocal started, pending
            resumed = now()
            if pending is not None:
                _note(pending, duration=failed - started, backoff=resumed - failed)
                pending = None
            started = resumed
            return await call(*args, **kwargs)

        async def before_sleep(state: RetryCallState) -> None:
            nonlocal pending, failed
            outcome = state.outcome
            assert outcome is not None  # the one that is slept after
            pending, failed = outcome.exception() or _refusal(outcome.result()), now()
            theirs = policy.before_sleep
            if theirs is not None:
                answer: Any = theirs(state)
                if answer is not None:
                    await answer

        try:
            # A copy for each call: a policy keeps the state of the call that it is retrying.
            return await policy.copy(before_sleep=before_sleep)(attempt)
        except RetryError as error:
            last = error.last_attempt
            raise (last.exception() or _refusal(last.result())) from None

    return retried
