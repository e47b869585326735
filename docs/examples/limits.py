"""Keep to a provider's limits: 50 requests a second, 20 at once, with faults and refusals tried again."""

import anyio

from aeval import Concurrency, Evaluation, Rate, Retry, Timeout, numeric, run
from aeval.models import ChatModel
from aeval.testing import Faults, Limit, ModelServer, solve_arithmetic

rows = [(f"What is {a} + {b}?", a + b) for a in range(8) for b in range(10)]

# Stands for a provider on this machine. With a real one, leave it out, and the base_url below.
provider = ModelServer(
    solve_arithmetic,
    latency=0.05,
    requests=Limit(50, per=1),
    faults=Faults(server_error=0.05, dropped=0.02),
)


async def main():
    async with (
        provider.serve() as address,
        ChatModel("simulated", base_url=address.openai_url, api_key="none") as model,
    ):
        report = await run(
            Evaluation(rows, numeric, task=model, name="sums"),
            middleware=[
                Retry(attempts=5, wait_initial=0.1, wait_jitter=0.1),
                Concurrency(20),
                Rate(45, per=1),
                Timeout(10),
            ],
        )
    print(report)
    print("seen by the provider:", provider.stats.received, "requests,", provider.max_in_flight, "at once")


anyio.run(main)
