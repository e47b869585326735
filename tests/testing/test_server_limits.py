import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeval.errors import ConfigurationError
from aeval.testing import Limit

LIMITS = st.builds(
    Limit,
    st.integers(1, 50),
    per=st.sampled_from([0.1, 1.0, 7.3, 60.0]),
    algorithm=st.sampled_from(["sliding-window", "fixed-window", "token-bucket"]),
)
BUCKETS = st.builds(
    lambda amount, per, burst: Limit(amount, per=per, algorithm="token-bucket", burst=burst),
    st.integers(1, 50),
    st.sampled_from([0.1, 1.0, 60.0]),
    st.integers(1, 80),
)
ARRIVALS = st.lists(
    st.tuples(st.floats(0, 20, allow_nan=False), st.integers(1, 12), st.booleans()), min_size=1, max_size=80
)


def admitted(limit, arrivals):
    """Play arrivals (gap, cost, whether it waits as told), and give the times and costs of the admitted."""
    meter = limit.meter()
    now, uses = 1000.0, []
    for gap, cost, patient in arrivals:
        now += gap * limit.per / 20
        wait = meter.wait(cost, now)
        if patient and 0 < wait < math.inf:
            now += wait
            assert meter.wait(cost, now) == 0, "who waits as told is let in"
            wait = 0
        if wait == 0:
            assert cost <= meter.remaining(now) + 1e-6
            meter.take(cost, now)
            uses.append((now, cost))
        assert 0 <= meter.remaining(now) <= limit.capacity
        assert 0 <= meter.reset(now) <= limit.per * max(1, limit.capacity / limit.amount) + 1e-6
    return uses


@given(LIMITS, ARRIVALS)
def test_never_admits_more_than_the_limit(limit, arrivals):
    """However calls arrive, none of the algorithms admits more than it promises."""
    uses = admitted(limit, arrivals)
    for place, (first, _) in enumerate(uses):
        within = sum(cost for moment, cost in uses[place:] if moment - first < limit.per - 1e-6)
        promised = limit.amount if limit.algorithm == "sliding-window" else 2 * limit.amount
        assert within <= promised + 1e-6
        if limit.algorithm == "fixed-window":
            began = 1000.0 if not uses else uses[0][0]
            period = math.floor((first - began + 1e-9) / limit.per)
            of_period = [cost for at, cost in uses if math.floor((at - began + 1e-9) / limit.per) == period]
            assert sum(of_period) <= limit.amount


@given(BUCKETS, ARRIVALS)
def test_bucket_admits_its_burst_and_then_its_rate(limit, arrivals):
    """In no interval does a bucket admit more than its burst and what has flowed in."""
    uses = admitted(limit, arrivals)
    for place, (first, _) in enumerate(uses):
        total = 0
        for moment, cost in uses[place:]:
            total += cost
            assert total <= limit.capacity + (moment - first) * limit.amount / limit.per + 1e-6


def test_sliding_window_tells_when_enough_has_left_it():
    """The wait of a sliding window ends when the oldest uses that are in the way are a period old."""
    meter = Limit(3, per=10).meter()
    for moment in (0.0, 1.0, 4.0):
        meter.take(1, moment)
    assert meter.remaining(5.0) == 0
    assert meter.wait(1, 5.0) == 5.0
    assert meter.wait(2, 5.0) == 6.0
    assert meter.wait(3, 5.0) == 9.0
    assert meter.reset(5.0) == 9.0
    assert meter.wait(1, 10.0) == 0.0
    assert meter.reset(20.0) == 0.0


def test_fixed_window_begins_with_the_first_use():
    """A fixed window gives its whole amount back at once, at multiples of the period since the first use."""
    meter = Limit(2, per=10, algorithm="fixed-window").meter()
    assert meter.reset(3.0) == 0.0
    meter.take(2, 3.0)
    assert meter.wait(1, 12.0) == 1.0
    assert meter.wait(2, 13.0) == 0.0
    meter.take(1, 34.0)
    assert meter.reset(34.0) == 9.0
    assert meter.remaining(34.0) == 1


def test_bucket_refills_evenly():
    """A bucket gives its burst at once and refills at the limit's rate."""
    meter = Limit(60, per=60, algorithm="token-bucket", burst=5).meter()
    assert meter.wait(5, 0.0) == 0.0
    meter.take(5, 0.0)
    assert meter.wait(1, 0.0) == 1.0
    assert meter.remaining(2.0) == 2.0
    assert meter.reset(2.0) == 3.0
    assert meter.remaining(100.0) == 5.0


@pytest.mark.parametrize("algorithm", ["sliding-window", "fixed-window", "token-bucket"])
def test_cost_above_the_limit_never_fits(algorithm):
    """What is larger than the whole limit is told that it need not wait."""
    assert Limit(5, algorithm=algorithm).meter().wait(6, 0.0) == math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"amount": 0}, "amount of a limit must be a number above 0, but is 0"),
        ({"amount": -3}, "-3"),
        ({"amount": math.nan}, "nan"),
        ({"amount": 1, "per": 0}, "per of a limit"),
        ({"amount": 1, "burst": -1, "algorithm": "token-bucket"}, "burst of a limit"),
        ({"amount": 1, "burst": 5}, "only a token bucket has a burst"),
        ({"amount": 1, "algorithm": "leaky"}, "'leaky': use one of 'sliding-window'"),
    ],
)
def test_impossible_limits_are_refused(arguments, message):
    """A limit that cannot work is an error that names the value and the fix."""
    with pytest.raises(ConfigurationError, match=message):
        Limit(**arguments)
