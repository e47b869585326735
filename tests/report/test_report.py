from __future__ import annotations

import json
import math
from typing import Any

import attrs
import pytest

from aeval import Report, Usage
from aeval.report.report import ErrorGroup, TimingReport

TIMES = TimingReport(
    mean=1.0,
    p50=0.0000005,
    p95=0.25,
    p99=30.0,
    max=300.0,
    slot=1.0,
    rate=2.0,
    backoff=3.0,
    task=4.0,
    scorers=0.5,
)


def report(**fields: Any) -> Report[Any, Any]:
    """Return the report of a run."""
    given: dict[str, Any] = {
        "name": "quiz",
        "status": "finished",
        "summary": {"right": {"accuracy": 0.8, "stderr": 0.126, "ci_low": 0.49, "ci_high": 0.943, "n": 10}},
        "n": 12,
        "errored": 2,
        "errors": {"KeyError": ErrorGroup("KeyError", 2, "'x'\nand more", 7)},
        "duration": 4.0,
        "timing": TIMES,
        "usage": None,
        "attempts": 15,
        "refused": 3,
    }
    return Report(**(given | fields))


def test_counts() -> None:
    """A report says how many samples finished, have scores, and errored, and how many finished in a second."""
    assert (report().n, report().scored, report().errored, report().throughput) == (12, 10, 2, 3.0)


def test_run_of_no_time_has_no_throughput() -> None:
    """A run that took no time, as on a virtual clock, has a throughput of 0."""
    assert report(duration=0.0).throughput == 0.0


def test_report_as_text() -> None:
    """A report prints as a table of its metrics, its counts, its times and its errors."""
    lines = str(report(usage=Usage(1200, 34, 0, 1), abandoned_threads=1)).splitlines()
    assert lines[:5] == [
        "quiz  (finished)",
        "",
        "score  metric    value  stderr  95 % interval  n",
        "-----  --------  -----  ------  -------------  --",
        "right  accuracy  0.8    0.126   0.49 to 0.943  10",
    ]
    assert lines[6:13] == [
        "samples   12: 10 scored, 2 errored",
        "attempts  15, 3 refused",
        "time      4.0 s, 3.0 samples/s",
        "a sample  p50 0 µs p95 250 ms p99 30.0 s max 5.0 min, waits included",
        "spent in  slot 1.0 s, rate 2.0 s, backoff 3.0 s, task 4.0 s, scorers 500 ms",
        "usage     1,200 input and 34 output tokens in 1 request",
        "threads   1 still at work on calls that were given up",
    ]
    assert lines[14] == "KeyError in 2 samples, first in 7: 'x' and more"
    assert (
        lines[-1]
        == "Hint: the server refused many calls: put a Rate below its limit around them, or allow fewer at once."
    )


def test_report_tells_of_the_cache() -> None:
    """Calls that were answered from the cache are told in the text, the HTML and the dictionary; none are not."""
    cached = report(usage=Usage(requests=2, cache_hits=1234))
    for text in (str(cached), cached._repr_html_()):
        assert "0 input and 0 output tokens in 2 requests, 1,234 calls answered from the cache" in text
    assert cached.to_dict()["usage"]["cache_hits"] == 1234
    assert "cache" not in str(report(usage=Usage(requests=2)))


def test_report_without_scores_or_errors() -> None:
    """A report of a run in which nothing was scored says so."""
    text = str(report(summary={}, errors={}, errored=0))
    assert "no scores" in text
    assert "first in" not in text


def test_uncertainty_that_is_not_known_is_said_to_be() -> None:
    """What cannot be told from one score is shown as unknown."""
    nan = math.nan
    text = str(report(summary={"s": {"mean": 0.5, "stderr": nan, "ci_low": nan, "ci_high": nan, "n": 1}}))
    assert "mean    0.5    unknown  unknown to unknown  1" in text


def test_further_metrics_have_no_interval() -> None:
    """Shares of labels and further metrics stand in rows of their own, without an interval."""
    text = str(report(summary={"style": {"share of 'dull'": 0.25, "n": 4, "spread": 123456.789}}))
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "style share of 'dull' 0.25 4" in rows
    assert "style spread 1.235e+05 4" in rows


def test_long_messages_are_wrapped() -> None:
    """An error's message is shown whole, over several lines, since the fix is at its end."""
    message = "the value was wrong " * 20 + "write another"
    lines = str(report(errors={"E": ErrorGroup("E", 1, message, "a")}, refused=0)).splitlines()
    assert lines[-1].endswith("write another")
    assert max(map(len, lines)) <= 110


def test_endless_messages_are_cut() -> None:
    """A message that is a page long is cut."""
    assert len(str(report(errors={"E": ErrorGroup("E", 1, "x " * 5000, "a")}))) < 2000


def test_report_as_html() -> None:
    """In a notebook a report shows itself as tables."""
    html = report(usage=Usage(1, 2, 0, 3))._repr_html_()
    assert "<td>accuracy</td><td>0.8</td>" in html
    assert "<td>KeyError</td><td>2</td>" in html
    assert "12: 10 scored, 2 errored" in html
    assert "3 requests" in html


def test_html_is_escaped() -> None:
    """Nothing that comes from a user or a model is taken for HTML."""
    bad = "<script>alert(1)</script>"
    html = report(
        name=bad, summary={bad: {"accuracy": 1.0, "n": 1}}, errors={bad: ErrorGroup(bad, 1, bad, bad)}
    )._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 5


def test_html_without_errors_has_no_table_of_them() -> None:
    """A report without errors shows no table of errors."""
    assert "first in" not in report(errors={})._repr_html_()


@pytest.mark.parametrize("usage", [None, Usage(1, 2, 3, 4)])
def test_report_as_what_json_can_hold(usage: Usage | None) -> None:
    """A report becomes JSON and comes back as it was, its own properties among it."""
    made = report(usage=usage, summary={"s": {"mean": 0.5, "stderr": math.nan, "ci_high": math.inf, "n": 1}})
    data = made.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["summary"] == {"s": {"mean": 0.5, "stderr": None, "ci_high": None, "n": 1}}
    assert (data["n"], data["scored"], data["errored"], data["status"]) == (12, 10, 2, "finished")
    assert data["errors"] == {"KeyError": {"kind": "KeyError", "n": 2, "message": "'x'\nand more", "id": 7}}
    assert data["timing"]["p95"] == 0.25
    assert data["usage"] == (None if usage is None else attrs.asdict(usage))
    assert data["evaluations"] == {}


def test_evaluations_are_found_by_name() -> None:
    """Of several evaluations each has its own report, by its name, also in the JSON."""
    parts = {"easy": report(name="easy"), "hard": report(name="hard", n=3)}
    whole = report(name="easy, hard", evaluations=parts)
    assert whole["hard"] is parts["hard"]
    assert whole.to_dict()["evaluations"]["hard"]["n"] == 3
    with pytest.raises(KeyError):
        whole["other"]


def test_report_shows_no_results_in_its_repr() -> None:
    """A report's repr is short, whatever results were kept."""
    assert "results" not in repr(report(results=()))
