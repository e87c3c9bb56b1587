"""Intervals are tested by what they promise: that they hold the truth in 95 of 100 samples."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.stats import (
    Sample,
    carries,
    describe,
    index_of_dispersion,
    mean_interval,
    order_statistics,
    quantile,
    quantile_interval,
    quantile_with_failures,
    t_quantile,
    values_needed,
)

SAMPLES = 400
P99_OF_NORMAL = 2.3263478740408408


def independent(values: Any) -> Sample:
    values = np.asarray(values, np.float64)
    return Sample(values, np.arange(len(values) + 1))


def coverage(samples: list[Sample], interval: Any, truth: float) -> float:
    hits = 0
    for sample in samples:
        low, high = interval(sample)
        hits += (-math.inf if low is None else low) <= truth <= (math.inf if high is None else high)
    return hits / SAMPLES


def interval_at(level: float) -> Any:
    return lambda sample: quantile_interval(sample, np.sort(sample.values), level)


def independent_samples(size: int, draw: Any) -> list[Sample]:
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


# Two-sided 95% and 99% points of Student's t, from the printed tables.
@pytest.mark.parametrize(
    ("level", "degrees", "table"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 3, 3.18245),
        (0.975, 4, 2.77645),
        (0.975, 5, 2.57058),
        (0.975, 10, 2.22814),
        (0.975, 30, 2.04227),
        (0.975, 120, 1.97993),
        (0.975, 100_000, 1.95999),
        (0.995, 1, 63.6567),
        (0.995, 3, 5.84091),
        (0.995, 8, 3.35539),
        (0.95, 4, 2.13185),
        (0.95, 20, 1.72472),
    ],
)
def test_t_quantile_agrees_with_the_printed_table(level: float, degrees: int, table: Any) -> None:
    assert t_quantile(level, degrees) == pytest.approx(table, rel=2e-6)


def test_quantile_interpolates_linearly_on_raw_values() -> None:
    assert quantile(np.arange(1.0, 102.0), 0.99) == pytest.approx(100.0)
    assert quantile(np.array([10.0, 20.0]), 0.5) == 15.0


@pytest.mark.parametrize(("level", "needed"), [(0.5, 2), (0.9, 10), (0.95, 20), (0.99, 100), (0.999, 1000)])
def test_a_percentile_is_unknown_until_the_sample_carries_it(level: float, needed: int) -> None:
    assert values_needed(level) == needed
    assert carries(needed, level)
    assert not carries(needed - 1, level)
    assert quantile(np.ones(needed - 1), level) is None
    assert quantile(np.ones(needed), level) == 1.0


# Ranks from the binomial tables: 10 and 100 values as in David and Nagaraja; a p99 has an upper bound from
# 0.99^n <= 0.025, that is 368 values.
@pytest.mark.parametrize(
    ("n", "level", "ranks"),
    [
        (5, 0.5, (None, None)),
        (6, 0.5, (1, 6)),
        (10, 0.5, (2, 9)),
        (100, 0.5, (40, 61)),
        (367, 0.99, (359, None)),
        (368, 0.99, (360, 368)),
    ],
)
def test_order_statistics_agree_with_the_binomial_tables(
    n: int, level: float, ranks: tuple[int | None, int | None]
) -> None:
    assert order_statistics(n, level) == ranks


@given(n=st.integers(1, 300), level=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_order_statistics_are_the_closest_pair_with_their_probability(n: int, level: float) -> None:
    pmf = [math.comb(n, k) * level**k * (1 - level) ** (n - k) for k in range(n + 1)]
    low, high = order_statistics(n, level)
    fits = [rank for rank in range(1, n + 1) if math.fsum(pmf[:rank]) <= 0.025]
    assert low == max(fits, default=None)
    fits = [rank for rank in range(1, n + 1) if math.fsum(pmf[rank:]) <= 0.025]
    assert high == min(fits, default=None)


def test_intervals_of_independent_values_hold_the_truth_95_times_in_100() -> None:
    exponential = independent_samples(60, lambda rng, n: rng.exponential(1.0, n))
    assert 0.93 <= coverage(exponential, interval_at(0.5), math.log(2)) <= 0.985
    normal = independent_samples(60, lambda rng, n: rng.standard_normal(n))
    assert 0.93 <= coverage(normal, mean_interval, 0.0) <= 0.975
    large = independent_samples(800, lambda rng, n: rng.exponential(1.0, n))
    assert 0.93 <= coverage(large, interval_at(0.99), math.log(100)) <= 0.99


def test_intervals_of_clustered_values_hold_the_truth_95_times_in_100() -> None:
    samples = clustered_samples()
    assert 0.93 <= coverage(samples, mean_interval, 0.0) <= 0.975
    assert 0.93 <= coverage(samples, interval_at(0.5), 0.0) <= 0.975
    assert 0.93 <= coverage(samples, interval_at(0.99), P99_OF_NORMAL * math.sqrt(2)) <= 0.985


def test_ignoring_the_clusters_would_promise_too_much() -> None:
    pooled = [independent(sample.values) for sample in clustered_samples()]
    assert coverage(pooled, mean_interval, 0.0) < 0.6


def test_one_request_carries_no_interval_of_its_gaps() -> None:
    gaps = Sample(np.arange(500.0), np.array([0, 500]))
    assert describe(gaps)["ci95"] == {"mean": [None, None], "p50": [None, None], "p99": [None, None]}


def test_requests_without_values_do_not_count_as_clusters() -> None:
    with_empty = Sample(np.array([1.0, 2.0, 3.0, 5.0]), np.array([0, 0, 2, 2, 4, 4]))
    without = Sample(np.array([1.0, 2.0, 3.0, 5.0]), np.array([0, 2, 4]))
    assert describe(with_empty) == describe(without)


def test_describe_golden() -> None:
    described = describe(independent([4.0, 1.0, 3.0, 2.0]))
    assert described["count"] == 4
    assert described["mean"] == 2.5
    assert described["std"] == pytest.approx(math.sqrt(5 / 3))
    assert (described["min"], described["max"], described["p50"]) == (1.0, 4.0, 2.5)
    assert (described["p90"], described["p95"], described["p99"]) == (None, None, None)
    margin = 3.182446 * math.sqrt(5 / 3 / 4)
    assert described["ci95"]["mean"] == pytest.approx([2.5 - margin, 2.5 + margin], rel=1e-5)
    assert described["ci95"]["p50"] == [None, None]


def test_describe_of_nothing_and_of_one_value_claims_nothing() -> None:
    nothing = describe(Sample(np.empty(0), np.array([0])))
    assert nothing.pop("count") == 0
    assert nothing.pop("ci95") == {"mean": [None, None], "p50": [None, None], "p99": [None, None]}
    assert set(nothing.values()) == {None}
    one = describe(independent([7.0]))
    assert (one["count"], one["mean"], one["min"], one["std"], one["p50"]) == (1, 7.0, 7.0, None, None)


@given(values=st.lists(st.floats(0, 1e6), min_size=2, max_size=300), per_request=st.integers(1, 7))
def test_percentiles_ascend_and_lie_inside_their_intervals_and_the_extremes(values: Any, per_request: int) -> None:
    edges = [*range(0, len(values), per_request), len(values)]
    described = describe(Sample(np.array(values), np.array(edges)))
    known = [described[name] for name in ("min", "p50", "p90", "p95", "p99", "max") if described[name] is not None]
    assert known == sorted(known)
    for name in ("p50", "p99"):
        low, high = described["ci95"][name]
        assert low is None or low <= described[name] + 1e-9
        assert high is None or high >= described[name] - 1e-9


def test_failures_count_as_infinite_values() -> None:
    ordered = np.arange(1.0, 100.0)
    assert quantile_with_failures(ordered, 0.5, 1) == 50.5
    assert quantile_with_failures(ordered, 0.99, 1) == math.inf
    assert quantile_with_failures(np.empty(0), 0.5, 10) == math.inf
    assert quantile_with_failures(ordered[:50], 0.99, 0) is None


@given(values=st.lists(st.floats(0, 1e6), min_size=2, max_size=200))
def test_without_failures_the_adjusted_quantile_is_the_quantile(values: Any) -> None:
    ordered = np.sort(values)
    assert quantile_with_failures(ordered, 0.5, 0) == quantile(ordered, 0.5)


def test_index_of_dispersion_tells_constant_from_poisson_from_bursts() -> None:
    rng = np.random.default_rng(3)
    end_ns = 100e9
    constant = np.arange(0, end_ns, end_ns / 5000)
    poisson = rng.uniform(0, end_ns, 5000)
    ten_at_once = np.repeat(rng.uniform(0, end_ns, 500), 10)
    assert index_of_dispersion(constant) == pytest.approx(0.0, abs=0.05)
    assert index_of_dispersion(poisson) == pytest.approx(1.0, abs=0.2)
    assert index_of_dispersion(ten_at_once) == pytest.approx(10.0, rel=0.3)
    assert index_of_dispersion(constant[:99]) is None
