"""A real notebook, executed by a real kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

# Their import warns on its own account.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

CELLS = {
    "setup": """
import asyncio
from aeval import Concurrency, Evaluation, run, run_sync

rows = [(f"What is {n}+{n}?", str(2 * n)) for n in range(30)]

async def score(question, answer):
    await asyncio.sleep(0.05)
    return "1" not in answer

evaluation = Evaluation(rows, score)
""",
    "stream": """
count = 0
async for result in run(evaluation):
    count += 1
print(count, result.evaluation)
""",
    "break": """
async for result in run(evaluation):
    break
await asyncio.sleep(0.2)
print([task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("aeval")])
""",
    "block": """
async with run(evaluation, progress=False) as results:
    print(len([result async for result in results]))
""",
    "report": "await run(evaluation, middleware=[Concurrency(5)])",
    "result": "result",
    "sync": """
try:
    run_sync(evaluation)
except Exception as error:
    print(error)
""",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """Execute the cells in a kernel of their own, and return each one's outputs."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    folder: Path = tmp_path_factory.mktemp("notebook")
    NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}


def printed(cell: list) -> str:
    """Return what a cell printed to stdout."""
    return "".join(output.text for output in cell if output.output_type == "stream" and output.name == "stdout")


def html(cell: list, kind: str) -> list[str]:
    """Return the HTML that a cell displayed, or that is its value."""
    return [
        output.data["text/html"] for output in cell if output.output_type == kind and "text/html" in output.data
    ]


def test_stream_at_top_level(outputs: dict[str, list]) -> None:
    """`async for` works at a notebook's top level, and shows progress below the cell."""
    assert printed(outputs["stream"]) == "30 score\n"
    (shown,) = html(outputs["stream"], "display_data")
    assert 'class="aeval-progress"' in shown
    assert "30 of 30" in shown


def test_breaking_a_cells_loop_leaves_nothing_running(outputs: dict[str, list]) -> None:
    """After `break` in a cell the kernel's loop, which lives on, has nothing of the run left."""
    assert printed(outputs["break"]) == "[]\n"


def test_block_at_top_level(outputs: dict[str, list]) -> None:
    """`async with` works at top level, and without progress where that was asked for."""
    assert printed(outputs["block"]) == "30\n"
    assert html(outputs["block"], "display_data") == []


def test_report_renders_as_html(outputs: dict[str, list]) -> None:
    """A report that is a cell's value is shown as a table."""
    (shown,) = html(outputs["report"], "execute_result")
    assert 'class="aeval-report"' in shown
    assert "<td>accuracy</td>" in shown


def test_result_renders_as_html(outputs: dict[str, list]) -> None:
    """A result that is a cell's value is shown as a table."""
    (shown,) = html(outputs["result"], "execute_result")
    assert 'class="aeval-result"' in shown
    assert "What is " in shown


def test_run_sync_says_to_await(outputs: dict[str, list]) -> None:
    """`run_sync` in a notebook says what to write instead."""
    assert "await run(...)" in printed(outputs["sync"])
