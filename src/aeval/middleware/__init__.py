"""Layers around an async call: each takes an async callable and gives back another."""

from aeval.middleware.base import Middleware
from aeval.middleware.cache import Cache, CacheStore
from aeval.middleware.concurrency import Concurrency
from aeval.middleware.rate import Rate
from aeval.middleware.retry import Retry
from aeval.middleware.stack import Stack, stack
from aeval.middleware.timeout import Timeout

__all__ = ["Cache", "CacheStore", "Concurrency", "Middleware", "Rate", "Retry", "Stack", "Timeout", "stack"]
