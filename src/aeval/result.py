"""Result: what became of one sample. Its parts: Failure, Timing, Usage, RetriedAttempt."""

from __future__ import annotations

import linecache
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs

from aeval.errors import ScoreError
from aeval.sample import SampleId
from aeval.score import Score, ScoreValue, scores_of
from aeval.transient import is_refusal, is_transient, leaf_of, status_of

__all__ = ["Failure", "Result", "RetriedAttempt", "Timing", "Usage"]

RowT = TypeVar("RowT")
OutputT = TypeVar("OutputT")


@attrs.frozen
class Usage:
    """What a sample, or a run, used of a provider.

    :param input_tokens: tokens of the prompts
    :param output_tokens: tokens of the answers
    :param cached_input_tokens: those of the prompts' tokens that the provider read from its cache
    :param requests: requests that were answered
    :param cache_hits: calls that were answered from a cache, without a request
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    requests: int = 0
    cache_hits: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens of prompts and answers together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.requests + other.requests,
            self.cache_hits + other.cache_hits,
        )


@attrs.frozen
class Timing:
    """Where one sample's time went, in seconds.

    `total` is the time from the sample's start to its end. The other parts add up to it, unless the task
    itself made several limited calls at once: then each call's waits are counted.

    :param total: from start to end
    :param slot: waiting for a concurrency slot
    :param rate: waiting for the rate
    :param backoff: sleeping between attempts
    :param task: in the task, without the waits above
    :param scorers: in the scorers (and in the failed attempts), without the waits above
    """

    total: float = 0.0
    slot: float = 0.0
    rate: float = 0.0
    backoff: float = 0.0
    task: float = 0.0

    @property
    def scorers(self) -> float:
        """In the scorers, and in attempts that failed, without the waits."""
        return max(0.0, self.total - self.slot - self.rate - self.backoff - self.task)


@attrs.frozen
class RetriedAttempt:
    """An attempt that failed and was tried again.

    :param kind: the error's class, or `"ResultRefused"`
    :param message: the error's message
    :param status: the HTTP status that it carried, if any
    :param refused: whether a server refused it for load (429, 503, 529)
    :param duration: seconds that the attempt took
    :param backoff: seconds slept before the next attempt
    """

    kind: str
    message: str
    status: int | None
    refused: bool
    duration: float
    backoff: float

    @classmethod
    def of(cls, error: BaseException, *, duration: float, backoff: float) -> RetriedAttempt:
        """Describe the attempt that ended with an error."""
        return cls(type(error).__name__, text_of(error), status_of(error), is_refusal(error), duration, backoff)


_Place = tuple[str, int, str]


def text_of(error: BaseException) -> str:
    """Return an error's message, even of one that fails to give it."""
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 - whatever a `__str__` of somebody's raises
        return f"(its message cannot be shown: {type(worse).__name__})"


@attrs.frozen
class Failure:
    """Why a sample has no score.

    :param kind: the error's class, as in `"RateLimited"`
    :param message: the error's message
    :param retriable: whether trying again may help
    :param status: the HTTP status that it carried, if any
    :param refused: whether a server refused the call for load (429, 503, 529)
    """

    kind: str
    message: str
    retriable: bool = False
    status: int | None = None
    refused: bool = False
    # The stack of each error of the chain, outermost first: its places and the line that names the error.
    # The source lines are read only when someone looks, never on the event loop.
    _chain: tuple[tuple[tuple[_Place, ...], str, str], ...] = attrs.field(default=(), repr=False, alias="chain")

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception, keeping no reference to it or to its frames; of a group of one, its member."""
        error = leaf_of(error)
        return cls(
            kind=type(error).__name__,
            message=text_of(error),
            retriable=is_transient(error),
            status=status_of(error),
            refused=is_refusal(error),
            chain=_chain_of(error),
        )

    @property
    def traceback(self) -> str:
        """The traceback as Python prints it, without aeval's own frames."""
        lines: list[str] = []
        for places, line, link in reversed(self._chain):
            if places:
                lines.append("Traceback (most recent call last):")
            for filename, number, name in places:
                lines.append(f'  File "{filename}", line {number}, in {name}')
                source = linecache.getline(filename, number).strip()
                if source:
                    lines.append(f"    {source}")
            lines.append(line)
            if link:
                lines.extend(["", link, ""])
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


def _chain_of(error: BaseException) -> tuple[tuple[tuple[_Place, ...], str, str], ...]:
    chain: list[tuple[tuple[_Place, ...], str, str]] = []
    link = ""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        chain.append((_places_of(current), _line_of(current), link))
        if current.__cause__ is not None:
            current, link = current.__cause__, _CAUSE
        elif current.__suppress_context__:
            current = None
        else:
            current, link = current.__context__, _CONTEXT
    return tuple(chain)


_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"
# Between a user's code and its error these say nothing: the run's own machinery.
_INNARDS = frozenset({"aeval", "anyio", "concurrent", "stamina", "tenacity"})


def _places_of(error: BaseException) -> tuple[_Place, ...]:
    places: list[_Place] = []
    step = error.__traceback__
    while step is not None and len(places) < 100:
        code = step.tb_frame.f_code
        if str(step.tb_frame.f_globals.get("__name__")).partition(".")[0] not in _INNARDS:
            places.append((code.co_filename, step.tb_lineno, code.co_name))
        step = step.tb_next
    return tuple(places)


def _line_of(error: BaseException) -> str:
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ in {"builtins", "__main__"}
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    text = text_of(error)
    return f"{name}: {text}" if text else name


@attrs.define
class Fields(Generic[RowT, OutputT]):
    """The fields of a `Result`, while they may still be set."""

    id: SampleId
    index: int
    repeat: int
    evaluation: str
    row: RowT
    output: OutputT | None
    scores: Mapping[str, Score]
    error: Failure | None
    attempts: int
    # The arguments of its Timing, which is made when someone asks: most of a run's are never looked at.
    times: tuple[float, ...]
    usage: Usage | None
    metadata: dict[str, Any]
    retried: tuple[RetriedAttempt, ...]


class Result(Fields[RowT, OutputT]):
    """What became of one sample: its output and scores, or its error.

    A scorer may build one, to give more than scores; the run fills in the rest::

        return Result(exact_match(answer, expected), prompt=prompt, output=answer)

    :param scores: `Score` objects, or what can be made into one
    :param output: what the system under test answered
    :param metadata: anything else worth keeping
    :param usage: what the sample used, where no client of aeval's noted it
    :param extra: more metadata, by name, as in `prompt=`

    As it comes out of a run it has:

    :ivar id: the row's own `id`, else its index
    :ivar index: the row's place in the dataset, from 0
    :ivar repeat: which of the row's repeats this is, from 0
    :ivar evaluation: the evaluation's name
    :ivar row: the row, as the dataset gave it
    :ivar output: the task's output, or the one that the scorer's own `Result` gave
    :ivar scores: mapping of name to `Score`; empty where the sample errored
    :ivar error: None, or the `Failure`
    :ivar attempts: how many attempts were made, wherever the retrying layer sits
    :ivar retried: the attempts that failed and were tried again, with what each cost
    :ivar usage: tokens and requests, or None where none were noted
    :ivar metadata: what the scorer gave
    """

    __slots__ = ()

    def __init__(
        self,
        *scores: object,
        output: OutputT | None = None,
        metadata: Mapping[str, Any] | None = None,
        usage: Usage | None = None,
        **extra: Any,
    ) -> None:
        made: dict[str, Score] = {}
        for position, score in enumerate(scores):
            found = scores_of(score, "score" if position == 0 else f"score_{position + 1}")
            if twice := made.keys() & found.keys():
                raise ScoreError(
                    f"two scores of a Result are named {min(twice)!r}: give each a name of its own"
                )
            made.update(found)
        fields = Fields.__setattr__
        for name, value in (
            ("id", ""),
            ("index", -1),
            ("repeat", 0),
            ("evaluation", ""),
            ("row", None),
            ("output", output),
            ("scores", made),
            ("error", None),
            ("attempts", 1),
            ("times", ()),
            ("usage", usage),
            ("metadata", {**(metadata or {}), **extra}),
            ("retried", ()),
        ):
            fields(self, name, value)

    @classmethod
    def restored(cls, **fields: Any) -> Result[Any, Any]:
        """Make a result of its fields, as a storage does that kept them."""
        made: Any = Fields(**fields)
        made.__class__ = cls
        result: Result[Any, Any] = made
        return result

    @property
    def timing(self) -> Timing:
        """Where the sample's time went."""
        return Timing(*self.times)

    @property
    def ok(self) -> bool:
        """Whether the sample has scores: False where it errored. A wrong answer is ok."""
        return self.error is None

    @property
    def value(self) -> ScoreValue | None:
        """The single score's value; None where the sample errored or has several scores."""
        if len(self.scores) != 1:
            return None
        return next(iter(self.scores.values())).value

    def _repr_html_(self) -> str:
        from aeval.report.render import result_as_html

        return result_as_html(self)

    def __setattr__(self, name: str, value: object) -> None:
        raise attrs.exceptions.FrozenInstanceError

    def __delattr__(self, name: str) -> None:
        raise attrs.exceptions.FrozenInstanceError
