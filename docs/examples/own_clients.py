"""Evaluate with clients of your own: the openai and anthropic SDKs, and plain httpx."""

import anthropic
import anyio
import httpx
import openai

from aeval import Concurrency, Evaluation, Retry, numeric, record_usage, run
from aeval.models import AiohttpTransport
from aeval.testing import ModelServer, solve_arithmetic

rows = [(f"What is {number} + 5?", number + 5) for number in range(10)]
# Stands for a provider, on this machine. The first and the third call get status 500.
provider = ModelServer(solve_arithmetic, faults=["500", None, "500"])


async def main():
    async with provider.serve() as address:
        # max_retries=0: the SDK raises at once, and aeval's Retry does what there is to do.
        openai_client = openai.AsyncOpenAI(base_url=address.openai_url, api_key="none", max_retries=0)
        anthropic_client = anthropic.AsyncAnthropic(
            base_url=address.anthropic_url, api_key="none", max_retries=0
        )
        httpx_client = httpx.AsyncClient(
            base_url=address.openai_url, transport=AiohttpTransport(max_connections=20)
        )

        async def by_openai(question):
            completion = await openai_client.chat.completions.create(
                model="simulated", messages=[{"role": "user", "content": question}]
            )
            usage = completion.usage
            record_usage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)
            return completion.choices[0].message.content

        async def by_anthropic(question):
            message = await anthropic_client.messages.create(
                model="simulated", max_tokens=100, messages=[{"role": "user", "content": question}]
            )
            return message.content[0].text

        async def by_httpx(question):
            body = {"model": "simulated", "messages": [{"role": "user", "content": question}]}
            response = await httpx_client.post("/chat/completions", json=body)
            response.raise_for_status()  # makes an error of a status that says so
            return response.json()["choices"][0]["message"]["content"]

        evaluations = [
            Evaluation(rows, numeric, task=task, name=task.__name__)
            for task in (by_openai, by_anthropic, by_httpx)
        ]
        async with openai_client, anthropic_client, httpx_client:
            report = await run(
                evaluations,
                middleware=[Retry(attempts=3, wait_initial=0.05, wait_jitter=0), Concurrency(10)],
            )
    for name, part in report.evaluations.items():
        print(name, part.summary["numeric"]["accuracy"])
    print("samples:", report.n, "attempts:", report.attempts)
    print("tokens noted:", report["by_openai"].usage.total_tokens)


anyio.run(main)
