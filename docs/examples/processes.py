"""Score in worker processes what takes long to compute."""

import anyio

from aeval import Evaluation, in_process, run

rows = [{"number": number, "expected": expected} for number, expected in [(10007, True), (10011, False)] * 4]


def is_prime(number, expected):
    found = number > 1 and all(number % divisor for divisor in range(2, number))
    return found is expected


evaluation = Evaluation(rows, in_process(is_prime))


async def main():
    report = await run(evaluation)
    print(report.n, report.summary["is_prime"]["accuracy"])


# Worker processes import this file anew: without the guard each would start a run of its own.
if __name__ == "__main__":
    anyio.run(main)
