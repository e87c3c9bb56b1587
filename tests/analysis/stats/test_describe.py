"""Intervals are tested by what they promise: that they hold the truth in 95 of 100 samples."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.describe import (
    batch_interval,
    dependence,
    describe,
    quantile_interval,
    rate_interval,
    share_interval,
)
from analysis.stats.distributions import LEVELS, Sample
from tests.processes import PROCESSES
from tests.speed.coverage import LENGTHS, Cell, coverage

SAMPLES = 400
P99_OF_NORMAL = 2.3263478740408408
NO_INTERVALS = {name: [None, None] for name in ("mean", *LEVELS)}


def independent(values: Any) -> Sample:
    values = np.asarray(values, np.float64)
    return Sample(values, np.arange(len(values) + 1))


def held(samples: list[Sample], interval: Any, truth: float) -> float:
    cell = Cell(SAMPLES)
    for sample in samples:
        cell = cell.and_(interval(sample), truth)
    return cell.held / SAMPLES


def of_mean(sample: Sample) -> Any:
    return batch_interval(sample, dependence(sample))


def at(level: float) -> Any:
    return lambda sample: quantile_interval(sample, np.sort(sample.values), level, dependence(sample))


def samples_of(size: int, draw: Any) -> list[Sample]:
    rng = np.random.default_rng(7)
    return [independent(draw(rng, size)) for _ in range(SAMPLES)]


def clustered_samples(clusters: int = 150) -> list[Sample]:
    """Pooled values are N(0, 2), half of the variance shared by all values of a cluster, of 1 to 40 values each."""
    rng = np.random.default_rng(11)
    samples = []
    for _ in range(SAMPLES):
        sizes = rng.integers(1, 41, clusters)
        values = np.repeat(rng.standard_normal(clusters), sizes) + rng.standard_normal(sizes.sum())
        samples.append(Sample(values, np.concatenate([[0], np.cumsum(sizes)])))
    return samples


def test_intervals_of_independent_values_hold_the_truth_95_times_in_100() -> None:
    exponential = samples_of(60, lambda rng, n: rng.exponential(1.0, n))
    assert held(exponential, at(0.5), math.log(2)) >= 0.93
    normal = samples_of(60, lambda rng, n: rng.standard_normal(n))
    assert held(normal, of_mean, 0.0) >= 0.93
    skewed = samples_of(100, lambda rng, n: rng.lognormal(0, 1.5, n))
    assert held(skewed, of_mean, math.exp(1.5**2 / 2)) >= 0.91
    large = samples_of(800, lambda rng, n: rng.exponential(1.0, n))
    assert held(large, at(0.99), math.log(100)) >= 0.93


def test_intervals_of_clustered_values_hold_the_truth_95_times_in_100() -> None:
    samples = clustered_samples()
    assert held(samples, of_mean, 0.0) >= 0.93
    assert held(samples, at(0.5), 0.0) >= 0.93
    assert held(samples, at(0.99), P99_OF_NORMAL * math.sqrt(2)) >= 0.93


def test_ignoring_the_clusters_would_promise_too_much() -> None:
    rng = np.random.default_rng(0)
    pooled = [independent(rng.permutation(sample.values)) for sample in clustered_samples()]
    assert held(pooled, of_mean, 0.0) < 0.6


def test_intervals_of_requests_that_wait_for_each_other_hold_or_are_not_given() -> None:
    for name, n in (("one server, 50%", 1000), ("four slots, 80%", 300), ("first order, 0.8", 1000)):
        for cell in coverage(PROCESSES[name], n, 60).values():
            assert cell.given <= 3 or cell.coverage >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("name", PROCESSES)
def test_intervals_that_are_given_hold_the_long_run_value(name: str) -> None:
    """Of those of one process and length at least 90%, but for chance; where few are given, of all together."""
    runs, all_lengths = 100, Cell(0)
    for n in LENGTHS:
        for statistic, cell in coverage(PROCESSES[name], n, runs).items():
            all_lengths = Cell(0, all_lengths.given + cell.given, all_lengths.held + cell.held)
            spread = math.sqrt(0.9 * 0.1 / max(cell.given, 1))
            assert cell.given < runs / 2 or cell.coverage >= 0.9 - 2 * spread, (n, statistic, cell)
            if "σ" in name:
                assert cell.given >= runs - 2, (n, statistic, cell)
    assert all_lengths.given < 100 or all_lengths.coverage >= 0.9


def test_one_request_carries_no_interval_of_its_gaps() -> None:
    gaps = Sample(np.arange(500.0), np.array([0, 500]))
    assert describe(gaps)["ci95"] == NO_INTERVALS
    assert describe(gaps)["why"] == "an interval wants 30 requests, 1 have a value"


def test_requests_without_values_do_not_count_as_clusters() -> None:
    values = np.random.default_rng(1).exponential(1.0, 80)
    without = Sample(values, np.arange(0, 82, 2))
    with_empty = Sample(values, np.repeat(np.arange(0, 82, 2), 2)[:-1])
    assert describe(with_empty) == describe(without)


def test_describe_golden() -> None:
    described = describe(independent([4.0, 1.0, 3.0, 2.0]))
    assert described["count"] == 4
    assert described["mean"] == 2.5
    assert described["std"] == pytest.approx(math.sqrt(5 / 3))
    assert (described["min"], described["max"], described["p50"]) == (1.0, 4.0, 2.5)
    assert (described["p90"], described["p95"], described["p99"]) == (None, None, None)
    assert described["ci95"] == NO_INTERVALS


def test_describe_of_nothing_and_of_one_value_claims_nothing() -> None:
    nothing = describe(Sample(np.empty(0), np.array([0])))
    assert (nothing.pop("count"), nothing.pop("ci95")) == (0, NO_INTERVALS)
    assert nothing.pop("why") == "an interval wants 30 requests, 0 have a value"
    assert set(nothing.values()) == {None}
    one = describe(independent([7.0]))
    assert (one["count"], one["mean"], one["min"], one["std"], one["p50"]) == (1, 7.0, 7.0, None, None)


def test_equal_values_have_an_interval_without_width() -> None:
    described = describe(independent(np.full(50, 16.0)))
    assert described["ci95"]["mean"] == [16.0, 16.0]
    assert described["ci95"]["p50"] == [16.0, 16.0]


@settings(deadline=None, max_examples=60)
@given(values=st.lists(st.floats(0, 1e6), min_size=2, max_size=300), per_request=st.integers(1, 7))
def test_percentiles_ascend_and_lie_inside_their_intervals_and_the_extremes(values: Any, per_request: int) -> None:
    edges = [*range(0, len(values), per_request), len(values)]
    described = describe(Sample(np.array(values), np.array(edges)))
    known = [described[name] for name in ("min", "p50", "p90", "p95", "p99", "max") if described[name] is not None]
    assert known == sorted(known)
    for name in ("mean", *LEVELS):
        low, high = described["ci95"][name]
        assert low is None or low <= described[name] + 1e-9 * max(1, abs(low))
        assert high is None or high >= described[name] - 1e-9 * max(1, abs(high))
        assert (described["why"] is None) or (low is None and high is None)


def test_a_rate_has_the_interval_of_what_arrives_at_random() -> None:
    rng, cell = np.random.default_rng(5), Cell(SAMPLES)
    for _ in range(SAMPLES):
        t_ns = rng.uniform(0, 100e9, rng.poisson(500))
        cell = cell.and_(rate_interval(t_ns, np.ones(len(t_ns)), (0, 100 * 10**9), len(t_ns))[0], 5.0)
    assert cell.given == SAMPLES
    assert cell.coverage >= 0.93


def test_a_window_with_few_requests_has_no_interval_of_its_rate() -> None:
    interval, why = rate_interval(np.arange(10.0), np.ones(10), (0, 10), 10)
    assert (interval, why) == ((None, None), "an interval wants 30 requests in the window, there were 10")


def test_no_failure_of_a_hundred_may_be_up_to_four_percent() -> None:
    (low, high), why = share_interval(np.zeros(100, np.bool_))
    assert (low, why) == (0.0, None)
    assert high == pytest.approx(1 - 0.025**0.01)
    assert share_interval(np.zeros(0, np.bool_)) == ((None, None), "no request was due")


def test_failures_that_come_together_tell_less_than_failures_apart() -> None:
    apart, together = np.arange(1000) % 20 == 0, np.arange(1000) % 400 < 20
    found, why = share_interval(together)
    assert why is None or "resemble those before them" in why
    widths = [high - low for low, high in (share_interval(apart)[0], found) if low is not None and high is not None]
    assert len(widths) == 1 or widths[1] > 2 * widths[0]
