"""Serve the simulated model from a shell, for clients in other processes."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence

from aeval.errors import AevalError
from aeval.testing.server.answers import solve_arithmetic
from aeval.testing.server.faults import Faults
from aeval.testing.server.latency import Lognormal
from aeval.testing.server.limits import Limit
from aeval.testing.server.model_server import ModelServer

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the server's URL on a line of its own, and serve until killed.

    :param arguments: the command line without the program's name; the process's own where it is None
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        server = _server(options)
    except AevalError as error:
        parser.error(str(error))
    with server.serving(options.host, options.port) as address:
        try:
            print(address.openai_url, flush=True)  # noqa: T201 - what a shell reads
            threading.Event().wait()
        except KeyboardInterrupt:
            return


def _server(options: argparse.Namespace) -> ModelServer:
    def limit(amount: float | None) -> Limit | None:
        if amount is None:
            return None
        return Limit(amount, per=options.per, algorithm=options.algorithm)

    return ModelServer(
        answer=options.answer or solve_arithmetic,
        latency=Lognormal(options.latency, options.sigma) if options.sigma else options.latency,
        concurrency=options.concurrency,
        requests=limit(options.requests),
        tokens=limit(options.tokens),
        in_flight=options.in_flight,
        faults=Faults(
            server_error=options.server_error,
            overloaded=options.overloaded,
            dropped=options.dropped,
            stalled=options.stalled,
            malformed=options.malformed,
        ),
        seed=options.seed,
        api_key=options.api_key,
        keep=options.keep,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m aeval.testing.server", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=0, help="port; 0 chooses a free one")
    add("--answer", help="what the model says; without it, it solves arithmetic")
    add("--latency", type=float, default=0.0, metavar="SECONDS", help="latency, or its median with --sigma")
    add("--sigma", type=float, default=0.0, help="spread of a lognormal latency")
    add("--concurrency", type=int, metavar="N", help="calls worked on at once; others queue")
    add("--requests", type=float, metavar="N", help="limit on requests in a period")
    add("--tokens", type=float, metavar="N", help="limit on tokens in a period")
    add("--per", type=float, default=60.0, metavar="SECONDS", help="period of the limits")
    add(
        "--algorithm",
        default="sliding-window",
        help="how the limits count: sliding-window, fixed-window or token-bucket",
    )
    add("--in-flight", type=int, metavar="N", help="calls in flight at once; others are refused")
    for fault in ("server-error", "overloaded", "dropped", "stalled", "malformed"):
        add(f"--{fault}", type=float, default=0.0, metavar="P", help="probability of this fault")
    add("--seed", type=int, default=0, help="decides latencies and faults")
    add("--api-key", metavar="KEY", help="key that clients must present")
    add("--keep", type=int, default=100_000, metavar="N", help="finished requests to remember")
    return parser


if __name__ == "__main__":
    main()
