"""The ambient record of the sample that is being run.

The runner sets one `Record` for each sample. Whatever runs for that sample, however deep and in whichever
task or thread, finds it here and notes what it waited for, what was retried and what was used.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from aeval.result import RetriedAttempt, Usage

__all__ = ["Record", "current_record", "record_usage"]


class Record:
    """What has been noted of one sample so far. Times are in seconds of the event loop's clock."""

    # Class attributes are the starting values: most samples never write most of these, and an instance
    # with nothing in it costs a third of one that sets eight attributes.
    slot: float = 0.0
    rate: float = 0.0
    backoff: float = 0.0
    task: float = 0.0
    refused: int = 0
    retried: tuple[RetriedAttempt, ...] = ()
    usage: Usage | None = None
    output: Any = None

    @property
    def waited(self) -> float:
        """Seconds spent waiting, of whatever kind."""
        return self.slot + self.rate + self.backoff


current_record: ContextVar[Record | None] = ContextVar("aeval_record", default=None)


def record_usage(
    *, input_tokens: int = 0, output_tokens: int = 0, cached_input_tokens: int = 0, requests: int = 1
) -> None:
    """Add to the usage of the sample that is being run; outside of one, do nothing.

    :param input_tokens: tokens of the prompt
    :param output_tokens: tokens of the answer
    :param cached_input_tokens: those of the prompt's tokens that the provider read from its cache
    :param requests: requests made
    """
    record = current_record.get()
    if record is None:
        return
    used = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached_input_tokens,
        requests=requests,
    )
    record.usage = used if record.usage is None else record.usage + used
