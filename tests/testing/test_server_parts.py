import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.errors import ConfigurationError
from aeval.testing import Faults, Lognormal, ModelRequest, ServerAddress, solve_arithmetic
from aeval.testing.server import count_tokens
from aeval.testing.server.api import retry_headers
from aeval.testing.server.faults import FaultSource
from aeval.testing.server.latency import latency_of
from aeval.testing.server.openai_api import duration


def asked(prompt):
    return ModelRequest(
        route="/v1/chat/completions",
        model="m",
        messages=(),
        prompt=prompt,
        max_tokens=None,
        stream=False,
        input_tokens=0,
        headers={},
        body={},
    )


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("What is 17 + 25?", "42"),
        ("What is 2+2?", "4"),
        ("What is 5 minus 8?", "-3"),
        ("Compute -3 * 4.", "-12"),
        ("What is 6 \N{MULTIPLICATION SIGN} 7?", "42"),
        ("What is 6 x 7?", "42"),
        ("What is 3 Times 4?", "12"),
        ("what is 9 \N{MINUS SIGN} 4", "5"),
        ("What is 12 divided by 4?", "3"),
        ("What is 1 / 4?", "0.25"),
        ("What is 7 \N{DIVISION SIGN} 2?", "3.5"),
        ("What is 1.5 + 0.25?", "1.75"),
        ("What is 1.5 * 2?", "3"),
        ("What is 1 / 0?", "I don't know."),
        ("Who wrote Hamlet?", "I don't know."),
    ],
)
def test_arithmetic_is_solved(prompt, answer):
    """The simulated model computes with two numbers, and admits what it does not know."""
    assert solve_arithmetic(asked(prompt)) == answer


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_sums_are_exact(left, right):
    """Sums of whole numbers come out exactly, whatever their size."""
    assert solve_arithmetic(asked(f"What is {left} + {right}?")) == str(left + right)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2)])
def test_tokens_are_four_characters(text, tokens):
    """A token is counted for every four characters begun."""
    assert count_tokens(text) == tokens


def test_lognormal_has_its_median():
    """Half of a lognormal's latencies are above its median, and none are below zero."""
    chance = random.Random(1)
    drawn = [Lognormal(0.3, 0.5)(chance) for _ in range(4000)]
    assert statistics.median(drawn) == pytest.approx(0.3, rel=0.05)
    assert min(drawn) > 0
    assert max(drawn) > 1.0


def test_latency_may_be_any_callable():
    """A callable draws latencies from the seeded source; a negative one counts as none."""
    draw = latency_of(lambda chance: chance.uniform(-1.0, 1.0), seed=5)
    again = latency_of(lambda chance: chance.uniform(-1.0, 1.0), seed=5)
    drawn = [draw() for _ in range(100)]
    assert drawn == [again() for _ in range(100)]
    assert min(drawn) == 0.0
    assert latency_of(0.25, seed=0)() == 0.25


def test_faults_come_as_often_as_told():
    """Each fault's share of many requests is its probability, and the same seed brings the same faults."""
    faults = Faults(
        server_error=0.2, overloaded=0.1, dropped=0.1, disconnected=0.1, stalled=0.1, malformed=0.1, html=0.1
    )
    drawn = [source.next("p") for source in [FaultSource(faults, 3)] for _ in range(5000)]
    assert drawn == [source.next("p") for source in [FaultSource(faults, 3)] for _ in range(5000)]
    assert drawn != [source.next("p") for source in [FaultSource(faults, 4)] for _ in range(5000)]
    shares = {kind: drawn.count(kind) / 5000 for kind in set(drawn)}
    expected = dict.fromkeys(["overloaded", "drop", "disconnect", "stall", "malformed", "html"], 0.1)
    assert shares == pytest.approx({**expected, "500": 0.2, None: 0.2}, abs=0.03)


def test_scripted_faults_come_in_order_and_end():
    """A script's faults come one after another, and none after its end."""
    source = FaultSource(["500", None, 503, "drop"], 0)
    assert [source.next("p") for _ in range(6)] == ["500", None, "503", "drop", None, None]


def test_first_attempts_fail_once_for_each_prompt():
    """With `first_attempts` the first request with each prompt goes wrong, and later ones do not."""
    source = FaultSource(Faults(first_attempts="drop"), 0)
    assert [source.next(prompt) for prompt in "abab"] == ["drop", "drop", None, None]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Faults(server_error=1.5), "probability server_error=1.5 must lie between 0 and 1"),
        (lambda: Faults(stalled=-0.1), "stalled=-0.1"),
        (lambda: Faults(dropped=0.7, malformed=0.7), "add up to 1.4"),
        (lambda: Faults(first_attempts="explode"), "'explode' is unknown: use one of"),
        (lambda: FaultSource(["200"], 0), "'200' is unknown"),
        (lambda: FaultSource("drop", 0), r"as in \['drop'\]"),
        (lambda: FaultSource(iter(["drip"]), 0).next("p"), "'drip'"),
        (lambda: Lognormal(0.0), "median latency must be above 0 seconds, but is 0.0"),
        (lambda: Lognormal(1.0, -1), "sigma of a latency must be 0 or more, but is -1"),
        (lambda: latency_of(-0.5, 0), "latency must be 0 seconds or more, but is -0.5"),
    ],
)
def test_impossible_faults_and_latencies_are_refused(make, message):
    """A fault or latency that cannot work is an error that names the value."""
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.12, "120ms"), (1, "1s"), (1.5, "1.5s"), (59.9995, "1m0s"), (360, "6m0s"), (3661, "1h1m1s")],
)
def test_durations_look_like_openais(seconds, text):
    """Durations in headers are written as OpenAI writes them."""
    assert duration(seconds) == text


def test_retry_headers_come_in_three_styles():
    """The wait of a refused call is told in seconds and milliseconds, as a date, or not at all."""
    assert retry_headers(1.25, "seconds") == [(b"retry-after", b"2"), (b"retry-after-ms", b"1250")]
    ((name, value),) = retry_headers(1.25, "date")
    assert name == b"retry-after"
    assert value.endswith(b" GMT")
    assert retry_headers(1.25, None) == []
    assert retry_headers(float("inf"), "seconds") == []


def test_address_knows_each_client_base_url():
    """An address gives the root, and the base URLs of OpenAI's and Anthropic's clients."""
    address = ServerAddress("127.0.0.1", 8000)
    assert address.url == address.anthropic_url == "http://127.0.0.1:8000"
    assert address.openai_url == str(address) == "http://127.0.0.1:8000/v1"
    assert ServerAddress("::1", 80).url == "http://[::1]:80"
