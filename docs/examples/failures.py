"""Read what went wrong, and evaluate again what errored."""

import anyio

from aeval import Evaluation, Retry, run

rows = [
    {"id": "sum", "question": "2 + 2", "answer": 4},
    {"id": "wrong", "question": "2 * 3", "answer": 5},
    {"id": "broken", "question": "1 / 0", "answer": 0},
    {"id": "flaky", "question": "7 - 4", "answer": 3},
]
network = {"up": False}


async def calculate(question):
    if question == "7 - 4" and not network["up"]:
        raise ConnectionError("the calculator hung up")
    return eval(question)


def equal(output, answer):
    return output == answer


def evaluation_of(rows):
    return Evaluation(rows, equal, task=calculate, name="arithmetic")


async def main():
    layers = [Retry(attempts=2, wait_initial=0.01, wait_jitter=0)]
    errored = []
    results = run(evaluation_of(rows), middleware=layers, ordered=True)
    async for result in results:
        if result.error is not None:
            errored.append(result)
            print(
                f"{result.id}: {result.error} (may pass: {result.error.retriable}, {result.attempts} attempts)"
            )
        elif not result.value:
            print(f"{result.id}: wrong, {result.output}")
    report = results.report
    print(f"{report.scored} scored, {report.errored} errored, accuracy {report.summary['equal']['accuracy']}")

    print()
    print(errored[0].error.traceback)

    print()
    network["up"] = True
    again = [result.row for result in errored if result.error.retriable]
    report = await run(evaluation_of(again), middleware=layers)
    print("again:", report.scored, "scored")


anyio.run(main)
