"""Tests of an evaluation. Run them with pytest, or as a script."""

import asyncio

from aeval import Concurrency, Evaluation, Rate, Retry, numeric, run
from aeval.models import ChatModel
from aeval.testing import Limit, ModelServer, run_virtual, solve_arithmetic

LAYERS = [Retry(attempts=4), Concurrency(5), Rate(10, per=60)]


def evaluation_with(task):
    rows = [("What is 2 + 3?", 5), ("What is 4 * 4?", 16), ("Who are you?", 0)]
    return Evaluation(rows, numeric, task=task, name="sums")


def test_hours_of_waiting_take_no_time():
    """A hundred calls at ten a minute take more than nine minutes, on the virtual clock."""

    async def slow_model(prompt):
        await asyncio.sleep(30)
        return prompt

    rows = [(str(number), number) for number in range(100)]

    async def main():
        report = await run(Evaluation(rows, numeric, task=slow_model), middleware=LAYERS)
        assert report.scored == 100
        assert 9 * 60 < report.duration < 11 * 60

    run_virtual(main)


def test_faults_and_refusals_are_got_over():
    """A provider that fails and refuses is asked again, and no answer is lost."""
    provider = ModelServer(
        solve_arithmetic,
        requests=Limit(2, per=0.5),
        faults=["500", None, "drop", None, "malformed"],
    )

    async def main():
        async with (
            provider.serve() as address,
            ChatModel("simulated", base_url=address.openai_url, api_key="none") as model,
        ):
            layers = [Retry(attempts=10, wait_initial=0.01, wait_jitter=0.01), Concurrency(5)]
            return await run(evaluation_with(model), middleware=layers)

    report = asyncio.run(main())
    assert (report.scored, report.errored) == (3, 0)
    assert report.summary["numeric"]["accuracy"] == 2 / 3
    assert report.attempts == provider.stats.received
    assert provider.stats.refused
    assert provider.stats.faults == 3


if __name__ == "__main__":
    test_hours_of_waiting_take_no_time()
    test_faults_and_refusals_are_got_over()
    print("passed")
