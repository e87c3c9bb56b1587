"""Intervals are tested by what they promise: that they hold the truth in 95 of 100 samples."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.describe import (
    batch_interval,
    cells_of,
    dependence,
    describe,
    quantile_intervals,
    rate_interval,
    share_interval,
)
from analysis.stats.distributions import LEVELS, Sample, carries
from tests.processes import OTHERS, PROCESSES
from tests.speed.coverage import LENGTHS, Cell, coverage

SAMPLES = 200
RUNS = 80
P99_OF_NORMAL = 2.3263478740408408
NO_INTERVALS = dict.fromkeys(("mean", *LEVELS), (None, None))


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
    return lambda sample: quantile_intervals(sample, {"": level}, dependence(sample))[""]


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


def hold_or_not(make: Any, lengths: Any, runs: int) -> None:
    """Each run has each interval, and of those of one length at least 90% hold, but for the chance of so few runs.

    A cell at exactly 90% falls below three standard errors once in 700; over all lengths none is left. Of 80 runs
    of each of five lengths it is found 96 times in 100 that only 87% hold; `tests/speed/coverage.py` tries 200.
    """
    of_all: dict[str, Cell] = {}
    for n in lengths:
        for statistic, cell in coverage(make, n, runs).items():
            # A rate is counted between the first and the last call, which of 100 may be fewer than 30.
            assert cell.given == runs or (statistic == "rate" and n < 300), (n, statistic, cell)
            assert cell.coverage >= 0.9 - 3 * math.sqrt(0.9 * 0.1 / cell.given), (n, statistic, cell)
            seen = of_all.get(statistic, Cell(0))
            of_all[statistic] = Cell(seen.runs + runs, seen.given + cell.given, seen.held + cell.held)
    assert all(cell.coverage >= 0.9 for cell in of_all.values()), of_all


@pytest.mark.parametrize("name", ["four slots, 80%", "whole answers, 95%"])
def test_intervals_of_short_runs_hold_whatever_the_requests_have_in_common(name: str) -> None:
    hold_or_not(PROCESSES[name], [100, 300], 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROCESSES)
def test_every_run_has_its_intervals_and_nine_in_ten_hold_the_long_run_value(name: str) -> None:
    hold_or_not(PROCESSES[name], LENGTHS, RUNS)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_intervals_hold_of_processes_that_they_were_not_made_by(name: str) -> None:
    hold_or_not(OTHERS[name], [200, 500, 3000], RUNS)


def test_independent_requests_have_every_interval_from_thirty_on_even_where_they_seem_alike() -> None:
    rng = np.random.default_rng(13)
    for n in (30, 31, 50, 120):
        for _ in range(40):
            described = describe(independent(rng.lognormal(0, 1, n)))
            for name, level in (("mean", 0.5), *LEVELS.items()):
                assert not carries(n, level) or described["ci95"][name] != (None, None)


def test_one_request_carries_no_interval_of_its_gaps() -> None:
    gaps = Sample(np.arange(500.0), np.array([0, 500]))
    assert describe(gaps)["ci95"] == NO_INTERVALS
    assert describe(gaps)["why"] == "an interval needs 30 requests with a value, there are 1"


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
    assert nothing.pop("why") == "an interval needs 30 requests with a value, there are 0"
    assert set(nothing.values()) == {None}
    one = describe(independent([7.0]))
    assert (one["count"], one["mean"], one["min"], one["std"], one["p50"]) == (1, 7.0, 7.0, None, None)


def test_equal_values_have_an_interval_without_width() -> None:
    described = describe(independent(np.full(50, 16.0)))
    assert described["ci95"]["mean"] == (16.0, 16.0)
    assert described["ci95"]["p50"] == (16.0, 16.0)


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
        if len(edges) > 30 and described[name] is not None:
            assert (low, high) != (None, None)


def test_a_percentile_that_the_values_cannot_bound_is_bounded_by_the_mean() -> None:
    rng = np.random.default_rng(17)
    values = 10 + np.cumsum(rng.standard_normal(100)) ** 2
    described = describe(independent(values))
    low, high = described["ci95"]["p90"]
    assert low is None
    assert high == pytest.approx(described["ci95"]["mean"][1] / 0.1)
    assert "resemble those before them" in described["why"]


def test_a_rate_has_the_interval_of_what_arrives_at_random() -> None:
    rng, cell = np.random.default_rng(5), Cell(SAMPLES)
    for _ in range(SAMPLES):
        t_ns = rng.uniform(0, 100e9, rng.poisson(500))
        units, _ = np.histogram(t_ns, cells_of(len(t_ns)), (0, 100 * 10**9))
        cell = cell.and_(rate_interval(units * 1.0, (0, 100 * 10**9), len(t_ns))[0], 5.0)
    assert cell.given == SAMPLES
    assert cell.coverage >= 0.93


def test_a_window_with_few_requests_has_no_interval_of_its_rate() -> None:
    interval, why = rate_interval(np.ones(10), (0, 10), 10)
    assert (interval, why) == ((None, None), "an interval needs 30 requests in the window, there were 10")


def test_no_failure_of_a_hundred_may_be_up_to_four_percent() -> None:
    (low, high), why = share_interval(np.zeros(100, np.bool_))
    assert (low, why) == (0.0, None)
    assert high == pytest.approx(1 - 0.025**0.01)
    assert share_interval(np.zeros(0, np.bool_)) == ((None, None), "no request was due")


def test_failures_that_come_together_tell_less_than_failures_apart() -> None:
    apart, together = np.arange(1000) % 20 == 0, np.arange(1000) % 400 < 20
    (low, high), why = share_interval(together)
    (low_apart, high_apart), _ = share_interval(apart)
    assert "resemble those before them" in str(why)
    assert None not in (low, high, low_apart, high_apart)
    assert float(high or 0) - float(low or 0) > 2 * (float(high_apart or 0) - float(low_apart or 0))


def test_a_bound_kept_by_all_in_one_queue_is_not_kept_for_sure() -> None:
    rng = np.random.default_rng(3)
    waits = dependence(independent(np.cumsum(rng.standard_normal(300))))
    (low, high), why = share_interval(np.ones(300, np.bool_), waits)
    assert low is not None and low < 0.5
    assert high == 1.0
    assert "resemble those before them" in str(why)
    assert share_interval(np.ones(300, np.bool_))[0][0] == pytest.approx(0.025 ** (1 / 300))
