"""Limit one client inside of a task, and share its limit between two evaluations."""

import anyio

from aeval import Concurrency, Evaluation, Rate, Retry, includes, run, stack
from aeval.models import ChatModel
from aeval.testing import ModelServer

writer_server = ModelServer("A poem about rain.", latency=0.02)
judge_server = ModelServer("Verdict: good", latency=0.05)


async def main():
    async with (
        writer_server.serve() as writing,
        judge_server.serve() as judging,
        ChatModel("writer", base_url=writing.openai_url, api_key="none") as writer,
        ChatModel("judge", base_url=judging.openai_url, api_key="none") as judge,
    ):
        # The judge's provider allows 2 calls at once and 40 a second, whoever asks.
        ask_judge = stack(Retry(attempts=3), Concurrency(2), Rate(40, per=1))(judge.generate)

        async def judged(output):
            return includes(await ask_judge(f"Is this good? {output}"), "good")

        poems = Evaluation(["rain", "sea"] * 5, judged, task=writer, name="poems")
        songs = Evaluation(["love", "home"] * 5, judged, task=writer, name="songs")
        report = await run([poems, songs], middleware=[Concurrency(10)])
    for name, part in report.evaluations.items():
        print(name, part.n, part.summary["includes"]["accuracy"])
    print("most calls of the judge at once:", judge_server.max_in_flight)


anyio.run(main)
