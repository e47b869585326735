"""Four models on GSM8K's 1,319 test questions, over HTTP, their recorded solutions served by a simulated server.

    python benchmarks/gsm8k.py [DATA] [--latency 0.1] [--concurrency 100] [--quick] [--check] [--uvloop]

DATA is `test_with_solutions.jsonl`, which has for each question the human answer and the solutions of four models
of Cobbe and others (Training Verifiers to Solve Math Word Problems, 2021). It is not part of aeval: its path is
the argument, or the environment variable AEVAL_GSM8K, or `../shared/data/gsm8k/test_with_solutions.jsonl` beside
the repository.

The server runs in a process of its own and answers each model's questions with that model's solution,
after a while. aeval asks it through `aeval.models.ChatModel`, as four evaluations in one run, and scores with
`numeric`: the last number of the solution against the last of the human answer. Every accuracy is counted once more
without aeval, from the lines that begin with "A: ", and the samples where the two differ are shown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from aeval import Concurrency, Evaluation, Report, Retry, run
from aeval.models import ChatModel
from aeval.scorers import numeric
from aeval.testing import ModelServer
from common import Targets, heading, parser_of, run_loop, table

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
DEFAULT = Path(__file__).parents[2] / "shared/data/gsm8k/test_with_solutions.jsonl"


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def stated(solution: str) -> float | None:
    """Read the number after the last "A:" that begins a line; None where there is no such number.

    It is on purpose as simple as can be, and shares nothing with aeval.
    """
    lines = [line for line in solution.splitlines() if line.startswith("A:")]
    if not lines:
        return None
    try:
        return float(lines[-1].removeprefix("A:").strip().replace(",", "").replace("$", "").rstrip("."))
    except ValueError:
        return None


@contextmanager
def served(path: Path, options: Namespace) -> Iterator[str]:
    """Serve the solutions from a process of its own, so that the server's work is not done in the client's time."""
    command = [sys.executable, __file__, str(path), "--serve", "--latency", str(options.latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        with server.stdin:  # it serves until this is closed
            yield server.stdout.readline().strip()


def serve(path: Path, options: Namespace) -> None:
    """Serve the solutions until there is no more to read."""
    answers: dict[str, dict[str, str]] = {model: {} for model in MODELS}
    for row in rows_of(path):
        for model in MODELS:
            answers[model][row["question"]] = row["solutions"][model]
    server = ModelServer(answers=answers, latency=options.latency)
    with server.serving() as address:
        print(address.url, flush=True)
        sys.stdin.read()


async def evaluate(
    rows: list[dict[str, Any]], url: str, concurrency: int
) -> tuple[Report[Any, Any], dict[str, dict[str, bool]], float]:
    """Run the four evaluations; return the report, each sample's value, and the seconds."""
    values: dict[str, dict[str, bool]] = {model: {} for model in MODELS}
    models = {
        name: ChatModel(name, base_url=f"{url}/v1", api_key="none", max_connections=concurrency, temperature=0)
        for name in MODELS
    }
    evaluations = [evaluation_of(model, rows, name) for name, model in models.items()]
    begun = time.perf_counter()
    whole = run(evaluations, middleware=[Retry(attempts=3), Concurrency(concurrency)], progress=False)
    async with whole as results:
        async for result in results:
            if result.error is not None:
                print(f"{result.evaluation} {result.id}: {result.error}")
            else:
                values[result.evaluation][str(result.id)] = result.value is True
    seconds = time.perf_counter() - begun
    for model in models.values():
        await model.aclose()
    return whole.report, values, seconds


def evaluation_of(model: ChatModel, rows: list[dict[str, Any]], name: str) -> Evaluation[Any, str]:
    async def solve(question: str) -> str:
        return await model.generate(question)

    questions = [{"id": row["id"], "question": row["question"], "expected": row["answer"]} for row in rows]
    return Evaluation(questions, numeric, task=solve, name=name)


def show_differences(
    rows: list[dict[str, Any]], values: dict[str, dict[str, bool]], offline: dict[str, dict[str, bool]]
) -> None:
    """Print the samples where aeval and the plain reading of the "A:" lines come to different ends."""
    by_id = {row["id"]: row for row in rows}
    for model in MODELS:
        for sample in (id_ for id_, value in values[model].items() if value != offline[model][id_]):
            solution, answer = by_id[sample]["solutions"][model], by_id[sample]["answer"]
            last = solution.strip().splitlines()[-1] if solution.strip() else ""
            print(
                f"\n{model} {sample}: aeval says {values[model][sample]}, "
                f"the plain reading {offline[model][sample]}\n  ends in {last!r}; the human answer in "
                f"{answer.splitlines()[-1]!r}\n  {numeric(solution, answer).reason or 'the numbers are equal'}"
            )


async def main(path: Path, options: Namespace) -> int:
    """Measure, and print."""
    rows = list(rows_of(path))
    if options.quick:
        rows = rows[:200]
    with served(path, options) as url:
        before = time.process_time()
        report, values, seconds = await evaluate(rows, url, options.concurrency)
        busy = time.process_time() - before
        async with httpx.AsyncClient() as client:
            most = (await client.get(f"{url}/stats")).json()["max_in_flight"]
    offline = {
        model: {
            row["id"]: (said := stated(row["solutions"][model])) is not None and said == stated(row["answer"])
            for row in rows
        }
        for model in MODELS
    }
    lines, differences = [], 0
    for model in MODELS:
        of = report[model]
        found = next(iter(of.summary.values()))
        interval = f"{found['ci_low']:.1%} to {found['ci_high']:.1%}"
        by_hand = f"{sum(offline[model].values()) / len(rows):.1%}"
        counts = f"{of.n:,}", f"{of.scored:,}", f"{of.errored:,}"
        differ = sum(value != offline[model][id_] for id_, value in values[model].items())
        differences += differ
        lines.append((model, *counts, f"{found['accuracy']:.1%}", interval, by_hand, f"{differ}"))
    table(("model", "n", "scored", "errored", "accuracy", "95 % interval", "by A: lines", "differ"), lines)
    show_differences(rows, values, offline)
    ideal = len(rows) * len(MODELS) * options.latency / options.concurrency
    print(
        f"\n{report.n:,} samples in {seconds:.2f} s: {report.n / seconds:,.0f} samples/s; {ideal:.2f} s at best, with "
        f"{options.concurrency} calls of {options.latency * 1000:g} ms at once; most in flight at the server: {most}"
    )
    tokens = f"{report.usage.total_tokens:,}" if report.usage else "none"
    print(f"{busy / report.n * 1000:.2f} ms of the client's CPU for a sample; tokens noted: {tokens}")
    targets = Targets()
    targets.at_most("samples that errored", report.errored, 0)
    targets.at_least("samples that were scored", report.scored, len(rows) * len(MODELS))
    targets.at_most("samples where the two ways of scoring differ", differences, 0)
    return targets.finish(options)


if __name__ == "__main__":
    parser = parser_of(__doc__)
    parser.add_argument("data", nargs="?", help="the path of test_with_solutions.jsonl")
    parser.add_argument(
        "--latency", type=float, default=0.1, help="seconds that an answer takes (default: 0.1)"
    )
    parser.add_argument("--concurrency", type=int, default=100, help="calls in flight at once (default: 100)")
    parser.add_argument("--serve", action="store_true", help="only serve the solutions, until stdin is closed")
    given = parser.parse_args()
    data = Path(given.data or os.environ.get("AEVAL_GSM8K") or DEFAULT)
    if given.serve:
        serve(data, given)
        sys.exit(0)
    heading(__doc__, uvloop=given.uvloop)
    if not data.is_file():
        print(f"{data} is not there: give the path of test_with_solutions.jsonl, or set AEVAL_GSM8K")
        sys.exit(0)
    sys.exit(run_loop(lambda: main(data, given), uvloop=given.uvloop))
