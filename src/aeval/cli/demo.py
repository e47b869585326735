"""`aeval demo`: the main job, on embedded parts."""

from __future__ import annotations

import random
from collections.abc import Iterator

from aeval.cli.messages import MISUSED, complain, say
from aeval.cli.running import finish, run_to_report
from aeval.errors import MissingExtraError
from aeval.evaluation import Evaluation
from aeval.middleware import Concurrency, Middleware, Rate, Retry
from aeval.models import ChatModel
from aeval.scorers import numeric
from aeval.stream import run
from aeval.testing import Faults, Limit, Lognormal, ModelRequest, ModelServer, solve_arithmetic

__all__ = ["run_demo"]

REQUESTS, SECONDS = 100, 1.0
# One product in three is beyond what the simulated model can do in its head.
HARD_FOR_THE_MODEL = 3

NEXT = """
What to try next:
  aeval demo --samples 2000 --seed 7      more questions, other faults
  aeval run my_evaluation.py              the evaluations of a file of yours
  aeval run my_evaluation.py --samples 20 --max-concurrency 5 --rate 100/min --format json
  aeval run --help                        all of its options
"""


def run_demo(samples: int, seed: int) -> int:
    """Evaluate arithmetic questions against a simulated model, and print the report.

    :return: the exit code, as of `aeval run`
    """
    server = ModelServer(
        answer=_answer,
        latency=Lognormal(median=0.12, sigma=0.5),
        requests=Limit(REQUESTS, per=SECONDS),
        faults=Faults(server_error=0.03, dropped=0.01, overloaded=0.01, malformed=0.01),
        seed=seed,
    )
    try:
        with server.serving() as address:
            say(f"A simulated model listens at {address.openai_url}: it allows {REQUESTS} requests a second,")
            say("takes its time, and fails one call in seventeen.")
            model = ChatModel("simulated", base_url=address.openai_url, api_key="none", max_connections=20)

            async def score(question: str, answer: int) -> object:
                return numeric(await model.generate(question), answer)

            layers: list[Middleware] = [
                Retry(attempts=5, wait_initial=0.1, wait_jitter=0.1),
                Concurrency(20),
                Rate(REQUESTS, per=SECONDS),
            ]
            rows = list(_questions(samples, random.Random(seed)))
            evaluation = Evaluation(rows, score, name="arithmetic")
            report, code = run_to_report(
                run(evaluation, middleware=layers, progress=True), closing=model.aclose
            )
    except MissingExtraError as error:
        return complain(error, MISUSED)
    stats = server.stats
    say(f"\nThe server saw {stats.received} requests, refused {stats.refused}, failed {stats.faults}.\n")
    code = finish(report, code, "table")
    say(NEXT)
    return code


def _questions(samples: int, chance: random.Random) -> Iterator[tuple[str, int]]:
    for _ in range(samples):
        left, right = chance.randint(2, 99), chance.randint(2, 99)
        sign, answer = chance.choice([("+", left + right), ("-", left - right), ("*", left * right)])
        yield f"What is {left} {sign} {right}?", answer


def _answer(request: ModelRequest) -> str:
    answer = solve_arithmetic(request)
    if "*" in request.prompt and sum(map(ord, request.prompt)) % HARD_FOR_THE_MODEL == 0:
        return f"{answer}0"
    return answer
