"""A simulated model server: the APIs of OpenAI and Anthropic, with limits, latency and faults, and a record.

::

    server = ModelServer(answer=solve_arithmetic, latency=Lognormal(0.3), requests=Limit(100, per=60))
    async with server.serve() as address:
        ...  # any client, with address.openai_url or address.anthropic_url as its base_url
    assert server.max_in_flight <= 20 and not server.refused

From a shell: `python -m aeval.testing.server --port 8000 --latency 0.05`.
"""

from aeval.testing.server.answers import Answer, ModelRequest, count_tokens, solve_arithmetic
from aeval.testing.server.faults import Fault, Faults
from aeval.testing.server.latency import Latency, Lognormal
from aeval.testing.server.limits import Limit
from aeval.testing.server.model_server import ModelServer
from aeval.testing.server.record import RecordedRequest, ServerStats
from aeval.testing.server.serving import ServerAddress

__all__ = [
    "Answer",
    "Fault",
    "Faults",
    "Latency",
    "Limit",
    "Lognormal",
    "ModelRequest",
    "ModelServer",
    "RecordedRequest",
    "ServerAddress",
    "ServerStats",
    "count_tokens",
    "solve_arithmetic",
]
