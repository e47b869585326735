"""What tests of evaluations need: a virtual clock, and a simulated model server."""

from aeval.testing.clock import VirtualClockLoop, VirtualDeadlock, run_virtual
from aeval.testing.server import (
    Faults,
    Limit,
    Lognormal,
    ModelRequest,
    ModelServer,
    RecordedRequest,
    ServerAddress,
    ServerStats,
    solve_arithmetic,
)

__all__ = [
    "Faults",
    "Limit",
    "Lognormal",
    "ModelRequest",
    "ModelServer",
    "RecordedRequest",
    "ServerAddress",
    "ServerStats",
    "VirtualClockLoop",
    "VirtualDeadlock",
    "run_virtual",
    "solve_arithmetic",
]
