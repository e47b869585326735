"""Cache: an answer that was given before is given again."""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from hashlib import sha256
from inspect import signature
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from anyio import to_thread

from aeval.context import Record, current_record, record_usage
from aeval.errors import ConfigurationError, ScoreError
from aeval.middleware.base import Middleware, name_of
from aeval.middleware.flights import Flight, Flights
from aeval.middleware.forms import Formless, canonical, decoded, encoded
from aeval.middleware.identity import Identity, form_of_argument
from aeval.middleware.outcome import identities_of, kept_outcome, restore_outcome
from aeval.middleware.store import CacheStore, Store

__all__ = ["Cache", "CacheStore"]

P = ParamSpec("P")
R = TypeVar("R")
Pack: TypeAlias = Callable[[Any], bytes]

# Reading takes some 10 ms a megabyte; above this, it is done in a thread.
LARGE = 1_000_000
# Goes into every key: what was kept in another form is never read.
_VERSION = 1
_UNREAD: Any = object()


class Cache(Middleware):
    """Answer a call that was made before with the answer that it got, from a storage.

    ::

        cached = Cache("sqlite:///answers.db")(model.generate)

    A call is told from others by its arguments and by what is called: of a model its name, address and settings,
    never its key; of a function its code, and the variables and functions that it reads. So an edited function is
    asked anew, and one that reads a list to which things are added as well. An object that holds its settings in a
    property `settings` is told by them. Of repeats each has its own answers; equal calls within one sample share one.

    Where equal calls are made at one time, one of them is made and the others wait for it. Errors are not kept. An
    answer that cannot be restored exactly, a stream for example, is handed on and not kept, with one warning; so is
    every answer while the storage fails. `usage.cache_hits` counts the calls that were answered from the cache.

    It belongs outside of `Retry`, `Rate` and `Concurrency`, so that an answer from the cache costs no slot and no
    rate: `stack(Cache(url), Retry(), Rate(100), Concurrency(10))`. Around whole samples, in `run(middleware=...)`,
    it restores the output and what the scorers returned, if neither the row nor the task nor a scorer changed; a
    `Retry` around it that refuses results would be given the same one again.

    The same object may wrap several callables, be shared by several runs, and be used from one event loop after
    another. A storage that was given by URL is opened at the first call and closed by `aclose()`, at the end of
    `async with`, and at the latest when the event loop is shut down.

    :param storage: URL of a storage, or an object with `recall` and `keep`, which stays yours to close
    :param key: a function of the call's arguments; what it returns stands for them, and for the objects that the
        call uses and that cannot be told from others of their class
    :param per_repeat: whether each of a row's repeats has answers of its own
    :raises ConfigurationError: if an argument cannot work. A call raises it if the answer may depend on something
        that cannot be told from others of its kind
    """

    def __init__(
        self,
        storage: str | CacheStore,
        *,
        key: Callable[..., object] | None = None,
        per_repeat: bool = True,
    ) -> None:
        if not isinstance(storage, str) and not (hasattr(storage, "recall") and hasattr(storage, "keep")):
            raise ConfigurationError(
                f"Cache's storage is a {type(storage).__name__}: give a URL such as 'sqlite:///answers.db', or an object "
                "with `async recall(key)` and `async keep(key, value)`"
            )
        if key is not None and not callable(key):
            raise ConfigurationError(f"Cache's key is {key!r}: give a function of the call's arguments")
        self._storage = storage
        self._key = key
        self._per_repeat = per_repeat
        self._places: dict[asyncio.AbstractEventLoop, _Place] = {}
        self._samples: WeakKeyDictionary[Any, list[Identity]] = WeakKeyDictionary()
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        if not isinstance(self._storage, str):
            return f"Cache({type(self._storage).__name__})"
        return f"Cache({re.sub('//[^/]*@', '//***@', self._storage).partition('?')[0]!r})"

    def __call__(self, call: Callable[P, Awaitable[R]], /) -> Callable[P, Awaitable[R]]:
        """Wrap a call."""
        identity = Identity(call, lenient=self._key is not None)

        @wraps(call)
        async def cached(*args: P.args, **kwargs: P.kwargs) -> R:
            ask = partial(call, *args, **kwargs)
            first = args[0] if len(args) == 1 and not kwargs else None
            answer: R
            if isinstance(first, Record):
                key = self._digest(first, self._sample_form(first))
                pack, unpack = partial(kept_outcome, first), partial(restore_outcome, first)
                answer = await self._answer(key, ask, pack, unpack)
            else:
                form = ["call", identity.form(), self._arguments_form(call, args, kwargs)]
                answer = await self._answer(self._digest(current_record(), form), ask, encoded, _itself)
            return answer

        return cached

    async def aclose(self) -> None:
        """Close the storage that was opened in the running event loop. Called again, the cache opens it anew."""
        place = self._places.pop(asyncio.get_running_loop(), None)
        if place is not None:
            await place.store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # The key.

    def _digest(self, record: Record | None, form: Any) -> str:
        repeat = record.repeat if record is not None and self._per_repeat else 0
        return sha256(canonical([_VERSION, repeat, form])).hexdigest()

    def _arguments_form(self, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._key is not None:
            return ["key", _form_of_key(self._key(*args, **kwargs), name_of(call))]
        forms: list[Any] = []
        given: list[tuple[str | int, Any]] = [*enumerate(args), *sorted(kwargs.items())]
        for place, value in given:
            try:
                forms.append([place, form_of_argument(value)])
            except Formless as error:
                raise ConfigurationError(
                    f"Cache cannot tell one call of {name_of(call)!r} from another by the argument "
                    f"{_parameter(call, place)!r}: in it is an object of the class {error.type!r}, in which there may be "
                    "anything. Give Cache(..., key=...), a function of the same arguments that returns what the "
                    "answer depends on"
                ) from None
        return forms

    def _sample_form(self, record: Record) -> Any:
        lane = record.lane
        identities = self._samples.get(lane)
        if identities is None:
            identities = self._samples[lane] = identities_of(lane, lenient=self._key is not None)
        if self._key is not None:
            of = ["key", _form_of_key(self._key(record), lane.name)]
        else:
            try:
                of = [record.id, form_of_argument(record.row)]
            except Formless as error:
                raise ConfigurationError(
                    f"Cache cannot tell one row of {lane.name!r} from another: in it is an object of the class "
                    f"{error.type!r}, in which there may be anything. Give Cache(..., key=...), a function of the "
                    "sample that returns what its outcome depends on, as in `key=lambda sample: sample.row.name`"
                ) from None
        return ["sample", lane.name, [identity.form() for identity in identities], of]

    # The answer.

    async def _answer(
        self, key: str, ask: Callable[[], Awaitable[Any]], pack: Pack, unpack: Callable[[Any], Any]
    ) -> Any:
        place = self._place()
        flight = await place.flights.join(key)
        if not isinstance(flight, Flight):
            value = await _read(flight)
            return await ask() if value is _UNREAD else unpack(_hit(value))
        try:
            kept = await place.store.recall(key)
            value = await _read(kept)
            if kept is None or value is _UNREAD:
                answer = await ask()
                await self._keep(place, key, flight, answer, pack)
                return answer
            flight.land(kept)
            return unpack(_hit(value))
        finally:
            flight.end()

    async def _keep(self, place: _Place, key: str, flight: Flight, answer: Any, pack: Pack) -> None:
        try:
            kept = pack(answer)
        except Formless as error:
            self._warn(
                "form",
                f"an object of the class {error.type!r} cannot be restored exactly: such answers are not kept",
            )
            flight.disband()
        except ScoreError:  # of which the sample is about to err
            flight.disband()
        else:
            flight.land(kept)
            await place.store.keep(key, kept)

    def _place(self) -> _Place:
        loop = asyncio.get_running_loop()
        place = self._places.get(loop)
        if place is None:
            for closed in [other for other in self._places if other.is_closed()]:
                del self._places[closed]
            place = self._places[loop] = _Place(Store(self._storage, self._failed))
        return place

    def _failed(self, error: Exception) -> None:
        self._warn(
            "storage", f"its storage failed, and calls go on without it: {type(error).__name__}: {error}"
        )

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(f"{self!r}: {text}", RuntimeWarning, stacklevel=2)


class _Place:
    """A cache's part in one event loop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.flights = Flights()


async def _read(kept: bytes | None) -> Any:
    """Return what was kept; `_UNREAD` where nothing was, or what cannot be read any more."""
    if kept is None:
        return _UNREAD
    try:
        return decoded(kept) if len(kept) <= LARGE else await to_thread.run_sync(decoded, kept)
    except Exception:  # noqa: BLE001 - it is damaged, or one of its classes has changed since
        return _UNREAD


def _hit(value: Any) -> Any:
    record_usage(requests=0, cache_hits=1)
    return value


def _itself(value: Any) -> Any:
    return value


def _form_of_key(key: object, name: str) -> Any:
    try:
        return form_of_argument(key)
    except Formless as error:
        raise ConfigurationError(
            f"Cache's key function returned for {name!r} an object of the class {error.type!r}, in which there may be "
            "anything: return texts, numbers, and lists or mappings of them"
        ) from None


def _parameter(call: Any, place: str | int) -> str | int:
    """Return the name of the parameter that an argument is given to, where it can be told."""
    if isinstance(place, str):
        return place
    try:
        return list(signature(call).parameters)[place]
    except (TypeError, ValueError, IndexError):
        return place
