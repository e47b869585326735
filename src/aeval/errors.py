"""The errors of aeval, under one root.

::

    AevalError
    ├── ConfigurationError (ValueError)      an argument that cannot work; raised before anything runs
    │   ├── BindingError                     a parameter that no column can fill
    │   ├── ExperimentError                  a name of an experiment, run or evaluation that cannot be used, or is not there
    │   └── MissingExtraError (ImportError)  a part that needs a package which is not installed
    ├── DatasetError                         a dataset that cannot be read
    ├── RunError (RuntimeError)              a run used in a way that it cannot be
    │   ├── RunInProgress                    another process is running this evaluation of the experiment
    │   └── TooManyErrors                    more samples errored than `max_errors` allows
    ├── StorageError                         a storage that cannot be read or written
    │   └── StorageVersionError              one that was written by a later version of aeval
    ├── RowError                             a row that does not fit the columns; its sample's error
    ├── ScoreError (TypeError)               a scorer returned what cannot be a score; its sample's error
    ├── ResultRefused                        every attempt returned a result that `Retry` was told to refuse
    ├── CallTimeout (TimeoutError)           a call that outlived its `Timeout`
    └── ModelError                           a call to a model's API that failed
        ├── ModelConnectionError             no answer: the connection was refused, dropped or cut
        ├── ModelTimeout (TimeoutError)      no answer in time
        ├── MalformedResponse                an answer that is not what the API promises
        └── ModelStatusError                 an answer with an error status
            ├── BadRequest                   400, 404, 413, 422 ...: the request itself is wrong
            ├── AuthenticationError          401, 403: the key is wrong or may not do this
            ├── RateLimited                  429: too many requests or tokens
            └── ServerError                  5xx: the provider failed or is overloaded
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "AevalError",
    "AuthenticationError",
    "BadRequest",
    "BindingError",
    "CallTimeout",
    "ConfigurationError",
    "DatasetError",
    "ExperimentError",
    "MalformedResponse",
    "MissingExtraError",
    "ModelConnectionError",
    "ModelError",
    "ModelStatusError",
    "ModelTimeout",
    "RateLimited",
    "ResultRefused",
    "RowError",
    "RunError",
    "RunInProgress",
    "ScoreError",
    "ServerError",
    "StorageError",
    "StorageVersionError",
    "TooManyErrors",
]


class AevalError(Exception):
    """Root of every error that aeval raises."""


class ConfigurationError(AevalError, ValueError):
    """An argument that cannot work. Raised before anything runs."""


class BindingError(ConfigurationError):
    """A parameter of a task or scorer that no column can fill."""


class ExperimentError(ConfigurationError):
    """A name of an experiment, run or evaluation that cannot be used, is taken, or is not there."""


class MissingExtraError(ConfigurationError, ImportError):
    """A part of aeval that needs a package which is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package!r}, which is not installed: run `pip install 'aeval[{extra}]'`"
        )


class DatasetError(AevalError):
    """A dataset that cannot be read."""


class RunError(AevalError, RuntimeError):
    """A run that was used in a way that it cannot be."""


class RunInProgress(RunError):
    """Another process is running this evaluation of the experiment."""


class TooManyErrors(RunError):
    """More samples errored than `max_errors` allows.

    :ivar errored: samples that errored
    :ivar finished: samples that finished, the errored ones among them
    """

    def __init__(self, message: str, *, errored: int, finished: int) -> None:
        super().__init__(message)
        self.errored = errored
        self.finished = finished


class StorageError(AevalError):
    """A storage that cannot be read or written."""


class StorageVersionError(StorageError):
    """A storage that was written by a later version of aeval than this one."""


class RowError(AevalError):
    """A row that does not fit the columns."""


class ScoreError(AevalError, TypeError):
    """A scorer returned what cannot be made into a score."""


class ResultRefused(AevalError):
    """Every attempt returned a result that `Retry` was told to refuse.

    :ivar result: the last result
    """

    def __init__(self, message: str, result: object) -> None:
        super().__init__(message)
        self.result = result


class CallTimeout(AevalError, TimeoutError):
    """A call that outlived its `Timeout`."""


class ModelError(AevalError):
    """A call to a model's API that failed."""


class ModelConnectionError(ModelError):
    """No answer: the connection was refused, dropped or cut."""


class ModelTimeout(ModelError, TimeoutError):
    """No answer in time."""


class MalformedResponse(ModelError):
    """An answer that is not what the API promises: not JSON, or without its fields."""


class ModelStatusError(ModelError):
    """An answer with an error status.

    :ivar status_code: the HTTP status
    :ivar code: the provider's own code or type for the error, where it gave one
    :ivar headers: the answer's headers, their names in lower case
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.code = code
        self.headers: Mapping[str, str] = headers if headers is not None else {}


class BadRequest(ModelStatusError):
    """The request itself is wrong: 400, 404, 413, 422 and their kind."""


class AuthenticationError(ModelStatusError):
    """The key is wrong, or may not do this: 401, 403."""


class RateLimited(ModelStatusError):
    """Too many requests or tokens: 429."""


class ServerError(ModelStatusError):
    """The provider failed or is overloaded: 5xx."""
