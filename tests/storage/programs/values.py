"""A program that runs an evaluation of values which JSON cannot hold, and says what it evaluated.

    python values.py '{"url": "sqlite:///results.db"}'

It writes `["seen", ids]` and `["report", status, n, scored, errored]`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio

from aeval import Concurrency, Evaluation, Result, run

sys.path.append(str(Path(__file__).parents[1]))

from programs.odd import IDS, VALUES  # by the name that the test has for it


async def main(url: str) -> None:
    """Run, and say what was evaluated."""
    seen: list[str] = []

    async def echo(name: str, value: Any) -> Any:
        seen.append(name)
        return value

    def right(output: Any, value: Any) -> Result[Any, Any]:
        return Result(True, metadata={"value": value, "output": output})

    rows = [{"id": name, "name": name, "value": value} for name, value in VALUES.items()]
    rows += [{"id": sample_id, "name": f"id {place}", "value": place} for place, sample_id in enumerate(IDS)]
    evaluation = Evaluation(rows, right, task=echo, name="values", middleware=[Concurrency(4)])
    report = await run(evaluation, storage=url, experiment="kills", progress=False)
    print(json.dumps(["seen", seen]))
    errors = {kind: group.message for kind, group in report.errors.items()}
    print(json.dumps(["report", report.status, report.n, report.scored, errors]), flush=True)


if __name__ == "__main__":
    anyio.run(main, json.loads(sys.argv[1])["url"])
