"""Evaluate rows of a file, of a Hugging Face dataset, of a generator, and of a source without an end."""

import json
import random
import tempfile
from pathlib import Path

import anyio
import anyio.lowlevel
import datasets

from aeval import Evaluation, run


async def short(question):
    return len(question) <= 12


def generated():
    for number in range(100):
        yield {"id": f"q{number}", "question": f"What is {number}?"}


async def endless():
    while True:
        await anyio.lowlevel.checkpoint()  # as if the next row came from elsewhere
        yield {"question": "What is " + random.choice(["1", "12", "123456"]) + "?"}


async def main():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "questions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in generated()))
        report = await run(Evaluation(path, short, name="a file"))
        print(report.name, report.n)

    table = datasets.Dataset.from_list(list(generated()))
    report = await run(Evaluation(table, short, name="a Hugging Face dataset"))
    print(report.name, report.n)

    # The generator function itself, not what it returns: it can then be run again.
    evaluation = Evaluation(generated, short, name="a generator")
    for _ in range(2):
        report = await run(evaluation, samples=30)
        print(report.name, report.n)

    # Until the interval is narrow enough. The rows of an endless source are never held, nor are the results.
    async with run(Evaluation(endless, short, name="an endless source")) as results:
        async for result in results:
            if result.index % 100 == 99:
                found = results.report.summary["short"]
                if found["ci_high"] - found["ci_low"] < 0.05:
                    break
        print(results.report.name, "was left after more than 1,000:", results.report.n > 1000)


anyio.run(main)
