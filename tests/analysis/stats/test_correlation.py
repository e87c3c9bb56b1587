"""Whether a run knows how far its requests resemble each other."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.correlation import FEWEST, LEAST_WORTH, PairedSeries, correlation_time, measure


def first_order(rng: Any, n: int, factor: float) -> Any:
    x, steps = np.empty(n), rng.standard_normal(n) * math.sqrt(1 - factor**2)
    x[0] = rng.standard_normal()
    for i in range(1, n):
        x[i] = factor * x[i - 1] + steps[i]
    return x


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.8])
def test_the_correlation_time_is_that_of_the_process(factor: float) -> None:
    rng = np.random.default_rng(1)
    found = np.mean([correlation_time(first_order(rng, 5000, factor)) for _ in range(20)])
    assert found == pytest.approx((1 + factor) / (1 - factor), rel=0.1)


def test_independent_requests_are_worth_nearly_as_many_and_always_tell() -> None:
    rng = np.random.default_rng(2)
    for n in (30, 100, 1000):
        found = [measure(rng.lognormal(0, 1, n)) for _ in range(300)]
        assert {each.why_unknown for each in found} == {None}
        assert np.median([each.alike for each in found]) < 1 + 6 / math.sqrt(n)


def test_a_run_that_is_short_against_its_correlation_says_so() -> None:
    rng = np.random.default_rng(3)
    short, long = measure(first_order(rng, 100, 0.9)), measure(first_order(rng, 5000, 0.9))
    assert "resemble those before them" in str(short.why_wide)
    assert (short.why_unknown, long.why_wide) == (None, None)
    assert long.worth > LEAST_WORTH
    assert 19 < long.alike < 40


def test_too_few_requests_say_nothing() -> None:
    found = measure(np.arange(FEWEST - 1.0))
    assert found.why_unknown == "an interval needs 30 requests with a value, there are 29"


def test_what_shares_a_wait_is_as_correlated_as_the_wait() -> None:
    rng = np.random.default_rng(4)
    wait, work = first_order(rng, 300, 0.97), rng.standard_normal(300)
    both = 0.6 * wait + work
    alone = measure(both)
    beside = measure(both, PairedSeries(wait, measure(wait)))
    assert beside.alike > 2 * alone.alike
    assert measure(work, PairedSeries(wait, measure(wait))).alike <= 2 * measure(work).alike


@settings(deadline=None)
@given(values=st.lists(st.floats(-1e9, 1e9), max_size=200))
def test_any_series_has_a_correlation_that_makes_sense(values: list[float]) -> None:
    found = measure(np.array(values, np.float64))
    assert 1 <= found.time <= found.alike
    assert 0 <= found.worth <= found.n
    assert measure(np.array(values, np.float64) * 2.0).level == found.level
